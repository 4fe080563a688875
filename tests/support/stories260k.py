"""Bring the really trained stories260K checkpoint from llama2.c's files into the Hugging Face layout.

Run as `python -m tests.support.stories260k OUT` to write it for use in a program as `model("OUT")`.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import numpy as np
import tokenizers
from safetensors.numpy import save_file
from tokenizers.decoders import ByteFallback, Fuse, Sequence
from tokenizers.models import BPE

from tests.support.shared_data import shared_data

_HEADER = ("dim", "hidden_dim", "layers", "heads", "kv_heads", "vocab", "context")


def source() -> Path | None:
    """The folder of stories260K.bin and tok512.bin, if this machine has it."""
    file = shared_data("checkpoint/stories260K.bin")
    return file and file.parent


def convert(folder: Path, out: Path) -> Path:
    """Write config.json, model.safetensors and the tokenizer into `out`; returns it."""
    out.mkdir(parents=True, exist_ok=True)
    shape, tensors = _read_weights((folder / "stories260K.bin").read_bytes())
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape["vocab"],
        "hidden_size": shape["dim"],
        "intermediate_size": shape["hidden_dim"],
        "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"],
        "num_key_value_heads": shape["kv_heads"],
        "max_position_embeddings": shape["context"],
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    (out / "config.json").write_text(json.dumps(config))
    _read_tokenizer((folder / "tok512.bin").read_bytes(), shape["vocab"]).save(str(out / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (out / "tokenizer_config.json").write_text(json.dumps(names))
    return out


def _read_weights(data: bytes) -> tuple[dict[str, int], dict[str, np.ndarray]]:
    """llama2.c's version 0: seven int32, then float32 tensors, each kind stacked over the layers."""
    shape = dict(zip(_HEADER, struct.unpack("7i", data[:28]), strict=True))
    dim, hidden, layers = shape["dim"], shape["hidden_dim"], shape["layers"]
    narrow = dim // shape["heads"] * shape["kv_heads"]
    rest = np.frombuffer(data, np.float32, offset=28)

    def take(*size: int) -> np.ndarray:
        nonlocal rest
        count = int(np.prod(size))
        tensor, rest = rest[:count].reshape(size), rest[count:]
        return tensor

    tensors = {"model.embed_tokens.weight": take(shape["vocab"], dim)}
    stacked = {
        "input_layernorm": take(layers, dim),
        "self_attn.q_proj": half_rotary(take(layers, dim, dim), shape["heads"]),
        "self_attn.k_proj": half_rotary(take(layers, narrow, dim), shape["kv_heads"]),
        "self_attn.v_proj": take(layers, narrow, dim),
        "self_attn.o_proj": take(layers, dim, dim),
        "post_attention_layernorm": take(layers, dim),
        "mlp.gate_proj": take(layers, hidden, dim),
        "mlp.down_proj": take(layers, dim, hidden),
        "mlp.up_proj": take(layers, hidden, dim),
    }
    tensors["model.norm.weight"] = take(dim)
    for name, tensor in stacked.items():
        tensors |= {f"model.layers.{i}.{name}.weight": tensor[i].copy() for i in range(layers)}
    return shape, {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def half_rotary(kernel: np.ndarray, heads: int) -> np.ndarray:
    """Reorder `[…, heads * H, D]` from rotary pairs (2i, 2i+1) to transformers' (i, i + H/2)."""
    *stacked, rows, dim = kernel.shape
    pairs = kernel.reshape(*stacked, heads, rows // heads // 2, 2, dim)
    return pairs.swapaxes(-3, -2).reshape(kernel.shape)


def _read_tokenizer(data: bytes, size: int) -> tokenizers.Tokenizer:
    """llama2.c's tokenizer (an int32, then score, length and bytes of every piece) as byte-fallback BPE.

    It merges the neighbours whose union scores highest, which is BPE with the merges in order of score.
    Its pieces spell spaces as spaces, so that no normaliser is needed.
    """
    pieces: list[tuple[str, float]] = []
    at = 4
    for _ in range(size):
        score, length = struct.unpack_from("fi", data, at)
        pieces.append((data[at + 8 : at + 8 + length].decode("utf-8"), score))
        at += 8 + length
    special = ["<unk>", "<s>", "</s>"]
    words = special + [piece for piece, _ in pieces[len(special) :]]
    vocab = {word: number for number, word in enumerate(words)}
    byte_pieces = len(special) + 256
    merges = [
        (left, right)
        for word, _ in sorted(pieces[byte_pieces:], key=lambda piece: -piece[1])
        for left, right in ((word[:i], word[i:]) for i in range(1, len(word)))
        if left in vocab and right in vocab
    ]
    model = BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.decoder = Sequence([ByteFallback(), Fuse()])
    tokenizer.add_special_tokens(special)
    return tokenizer


if __name__ == "__main__":
    files = source()
    if files is None:
        sys.exit("stories260K.bin not found: set CAI_JAX_SHARED to the folder that holds data/checkpoint")
    print(convert(files, Path(sys.argv[1])))
