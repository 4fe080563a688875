"""Checkpoints as their authors publish them: the keys of config.json, the names of weights, the tokenizer's files.

Sizes are shrunk and flags kept. The settings are those of the repositories named, at the version that people fetch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers
from safetensors.numpy import save_file
from tokenizers import decoders, models, normalizers, pre_tokenizers

from tests.support import families

ROWS = 320  # of the embedding: as published, somewhat more than tokens, but for Gemma 3

_SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": ROWS,
    "initializer_range": 0.2, "torch_dtype": "bfloat16",
}  # fmt: skip
_IMAGES = {
    "hidden_size": 16, "image_size": 28, "intermediate_size": 16, "model_type": "siglip_vision_model",
    "num_attention_heads": 2, "num_hidden_layers": 1, "patch_size": 14, "vision_use_head": False,
}  # fmt: skip

CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "meta-llama/Llama-3.1-8B-Instruct": _SIZES | {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 300,
        "eos_token_id": [301, 303, 304], "hidden_act": "silu", "max_position_embeddings": 131072, "mlp_bias": False,
        "model_type": "llama", "num_key_value_heads": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500000.0, "tie_word_embeddings": False, "transformers_version": "4.42.3", "use_cache": True,
    },
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": _SIZES | {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "bos_token_id": 1, "eos_token_id": 2,
        "hidden_act": "silu", "max_position_embeddings": 2048, "model_type": "llama", "num_key_value_heads": 2,
        "pad_token_id": -1, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000.0,
        "tie_word_embeddings": False, "transformers_version": "4.35.0", "use_cache": True,
    },
    "mistralai/Mistral-7B-v0.1": _SIZES | {
        "architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu",
        "max_position_embeddings": 32768, "model_type": "mistral", "num_key_value_heads": 2, "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0, "sliding_window": 8, "tie_word_embeddings": False, "transformers_version": "4.34.0.dev0",
        "use_cache": True,
    },
    "mistralai/Mistral-7B-Instruct-v0.3": _SIZES | {
        "architectures": ["MistralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
        "hidden_act": "silu", "max_position_embeddings": 32768, "model_type": "mistral", "num_key_value_heads": 2,
        "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "sliding_window": None, "tie_word_embeddings": False,
        "transformers_version": "4.42.0.dev0", "use_cache": True,
    },
    "Qwen/Qwen2.5-0.5B-Instruct": _SIZES | {
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 300, "eos_token_id": 302,
        "hidden_act": "silu", "max_position_embeddings": 32768, "max_window_layers": 21, "model_type": "qwen2",
        "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768,
        "tie_word_embeddings": True, "transformers_version": "4.43.1", "use_cache": True, "use_sliding_window": False,
    },
    "Qwen/Qwen3-8B": _SIZES | {
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 300,
        "eos_token_id": 302, "head_dim": 12, "hidden_act": "silu", "max_position_embeddings": 40960,
        "max_window_layers": 36, "model_type": "qwen3", "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
        "rope_scaling": None, "rope_theta": 1000000, "sliding_window": None, "tie_word_embeddings": False,
        "transformers_version": "4.51.0", "use_cache": True, "use_sliding_window": False,
    },
    "google/gemma-2-2b-it": _SIZES | {
        "architectures": ["Gemma2ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "attn_logit_softcapping": 50.0, "bos_token_id": 2, "cache_implementation": "hybrid", "eos_token_id": [1, 107],
        "final_logit_softcapping": 30.0, "head_dim": 12, "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh", "max_position_embeddings": 8192, "model_type": "gemma2",
        "num_key_value_heads": 2, "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06,
        "rope_theta": 10000.0, "sliding_window": 8, "transformers_version": "4.42.4", "use_cache": True,
    },
    "google/gemma-3-1b-it": _SIZES | {
        "architectures": ["Gemma3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "attn_logit_softcapping": None, "bos_token_id": 2, "cache_implementation": "hybrid", "eos_token_id": [1, 106],
        "final_logit_softcapping": None, "head_dim": 12, "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 32768, "model_type": "gemma3_text", "num_hidden_layers": 7,
        "num_key_value_heads": 1, "pad_token_id": 0, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000, "rope_scaling": None, "rope_theta": 1000000, "sliding_window": 8,
        "sliding_window_pattern": 6, "transformers_version": "4.50.0.dev0", "use_cache": True,
    },
    "google/gemma-3-4b-it": {
        "architectures": ["Gemma3ForConditionalGeneration"], "boi_token_index": 298, "eoi_token_index": 299,
        "eos_token_id": [1, 106], "image_token_index": ROWS, "initializer_range": 0.02, "mm_tokens_per_image": 4,
        "model_type": "gemma3",
        # Heads, their width, eps and the base of the rotary embedding are not said: transformers' own stand.
        "text_config": {
            "hidden_size": 32, "intermediate_size": 48, "model_type": "gemma3_text", "num_hidden_layers": 7,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 8, "vocab_size": ROWS,
            "initializer_range": 0.2,
        },
        "torch_dtype": "bfloat16", "transformers_version": "4.50.0.dev0", "vision_config": _IMAGES,
    },
    "openai-community/gpt2": {
        "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
        "bos_token_id": 300, "embd_pdrop": 0.1, "eos_token_id": 300, "initializer_range": 0.2,
        "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 64, "n_embd": 32, "n_head": 4, "n_layer": 2,
        "n_positions": 64, "resid_pdrop": 0.1, "summary_activation": None, "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True, "summary_type": "cls_index", "summary_use_proj": True,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}}, "vocab_size": ROWS,
    },
    "EleutherAI/pythia-1.4b-deduped": _SIZES | {
        "architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0, "classifier_dropout": 0.1, "eos_token_id": 0,
        "hidden_act": "gelu", "layer_norm_eps": 1e-05, "max_position_embeddings": 2048, "model_type": "gpt_neox",
        "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": False, "torch_dtype": "float16",
        "transformers_version": "4.24.0", "use_cache": True, "use_parallel_residual": True,
    },
    "allenai/OLMo-2-1124-7B": _SIZES | {
        "architectures": ["Olmo2ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "eos_token_id": 300,
        "hidden_act": "silu", "max_position_embeddings": 4096, "model_type": "olmo2", "num_key_value_heads": 4,
        "pad_token_id": 301, "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 500000,
        "tie_word_embeddings": False, "transformers_version": "4.47.0.dev0", "use_cache": False,
    },
    "microsoft/Phi-3-mini-4k-instruct": _SIZES | {
        "_name_or_path": "Phi-3-mini-4k-instruct", "architectures": ["Phi3ForCausalLM"], "attention_bias": False,
        "attention_dropout": 0.0,
        "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config", "AutoModelForCausalLM": "modeling_phi3.Phi3"},
        "bos_token_id": 1, "embd_pdrop": 0.0, "eos_token_id": 300, "hidden_act": "silu",
        "max_position_embeddings": 4096, "model_type": "phi3", "num_key_value_heads": 4,
        "original_max_position_embeddings": 4096, "pad_token_id": 300, "resid_pdrop": 0.0, "rms_norm_eps": 1e-05,
        "rope_scaling": None, "rope_theta": 10000.0, "sliding_window": 2047, "tie_word_embeddings": False,
        "transformers_version": "4.40.2", "use_cache": True,
    },
    "microsoft/Phi-3-mini-128k-instruct": _SIZES | {
        "_name_or_path": "Phi-3-mini-128k-instruct", "architectures": ["Phi3ForCausalLM"], "attention_bias": False,
        "attention_dropout": 0.0,
        "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config", "AutoModelForCausalLM": "modeling_phi3.Phi3"},
        "bos_token_id": 1, "embd_pdrop": 0.0, "eos_token_id": 300, "hidden_act": "silu",
        "max_position_embeddings": 131072, "model_type": "phi3", "num_key_value_heads": 4,
        "original_max_position_embeddings": 16, "pad_token_id": 300, "resid_pdrop": 0.0, "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "long_factor": [1.07, 1.12, 5.3, 29.0], "short_factor": [1.05, 1.05, 1.1, 2.0], "type": "longrope",
        },
        "rope_theta": 10000.0, "sliding_window": 262144, "tie_word_embeddings": False,
        "transformers_version": "4.40.2", "use_cache": True,
    },
}  # fmt: skip

# Tokens beside the text's own and where their ids begin; "sentencepiece" or "bytes"; the token that no text has.
_GEMMA = ("sentencepiece", {"<pad>": 0, "<eos>": 1, "<bos>": 2}, "<bos>", "<eos>")
_SPM = ("sentencepiece", {"<unk>": 0, "<s>": 1, "</s>": 2}, "<s>", "</s>")
_BYTES = ("bytes", {}, None, "<|endoftext|>")
TOKENIZERS = {"gemma": _GEMMA, "llama": _SPM, "mistral": _SPM, "phi3": _SPM}


def write(name: str, path: Path, *, wrapped: str = "published"):
    """A random model in the layout of the repository `name`; returns transformers', to compare with.

    wrapped: for Gemma 3 with images, whether names are as published or as transformers 5 writes them ("new").
    """
    torch.manual_seed(0)
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(CONFIGS[name]))
    for module in ("configuration_phi3", "modeling_phi3"):
        if "auto_map" in CONFIGS[name]:
            (path / f"{module}.py").write_text("raise SystemExit('code of the model folder ran')\n")
    config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=False)
    kind = (
        transformers.AutoModelForCausalLM
        if "vision_config" not in CONFIGS[name]
        else transformers.AutoModelForImageTextToText
    )
    model = kind.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    families.randomise(model)
    rename = _renames(name, wrapped)
    tensors = {rename(key): value.numpy() for key, value in model.state_dict().items() if not _tied(model, key)}
    save_file(tensors | _tables(name), path / "model.safetensors")
    _write_tokenizer(name, path)
    return model


def _tied(model, key: str) -> bool:
    return key == "lm_head.weight" and model.config.get_text_config().tie_word_embeddings


def _renames(name: str, wrapped: str) -> Callable[[str], str]:
    if name == "openai-community/gpt2":
        return lambda key: key.removeprefix("transformer.")
    if "pythia" in name:
        return lambda key: key.replace("lm_head.", "embed_out.")
    if name == "google/gemma-3-4b-it" and wrapped == "published":
        return lambda key: re.sub(
            r"^model\.language_model\.",
            "language_model.model.",
            key.replace("model.vision_tower.", "vision_tower.").replace(
                "model.multi_modal_projector.", "multi_modal_projector."
            ),
        )
    return lambda key: key


def _tables(name: str) -> dict[str, np.ndarray]:
    """What old versions saved beside the weights."""
    if name == "openai-community/gpt2":
        return {f"h.{layer}.attn.bias": np.ones((1, 1, 64, 64), np.float32) for layer in range(2)}
    if "pythia" in name:
        inner = "gpt_neox.layers.{}.attention"
        masks = {f"{inner.format(n)}.bias": np.ones((1, 1, 64, 64), bool) for n in range(2)}
        floors = {f"{inner.format(n)}.masked_bias": np.array(-1e9, np.float32) for n in range(2)}
        turns = {f"{inner.format(n)}.rotary_emb.inv_freq": np.ones(1, np.float32) for n in range(2)}
        return masks | floors | turns
    return {}


def _write_tokenizer(name: str, path: Path) -> None:
    """Bytes in the manner of the family, its special tokens, and the settings that stand beside them."""
    values = CONFIGS[name]
    llama3 = "Llama-3" in name
    how, first, bos, eos = _BYTES if llama3 else TOKENIZERS.get(values["model_type"].split("_")[0].rstrip("23"), _BYTES)
    how, first, bos, eos = TOKENIZERS["phi3"] if values["model_type"] == "phi3" else (how, first, bos, eos)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet()) if how == "bytes" else [f"<0x{n:02X}>" for n in range(256)]
    words = [*first, *alphabet] if how == "bytes" else [*first, *alphabet, "▁", *"abcdefghijklmnopqrstuvwxyz"]
    vocab = {word: number for number, word in enumerate(words)}
    if how == "bytes":
        backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[]))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
    else:
        backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[], byte_fallback=True, unk_token="<unk>"))
        before = [] if "gemma" in name else [normalizers.Prepend("▁")]
        backend.normalizer = normalizers.Sequence([*before, normalizers.Replace(" ", "▁")])
        after = [] if "gemma" in name else [decoders.Strip(" ", 1, 0)]
        replace, fuse = decoders.Replace("▁", " "), decoders.Fuse()
        backend.decoder = decoders.Sequence([replace, decoders.ByteFallback(), fuse, *after])
    backend.add_special_tokens(list(first))
    start = 300 if values["model_type"] != "gpt_neox" else None
    while start is not None and backend.get_vocab_size() < start:
        backend.add_tokens([f"<unused{backend.get_vocab_size()}>"])
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>"]
    backend.add_special_tokens(specials)
    if "gemma-3" in name:  # the token of images has the first id without an embedding
        backend.add_tokens([f"<unused{n}>" for n in range(backend.get_vocab_size(), ROWS)])
        backend.add_special_tokens(["<image_soft_token>"])
        assert backend.token_to_id("<image_soft_token>") == ROWS
    backend.save(str(path / "tokenizer.json"))
    settings = {"bos_token": bos, "eos_token": eos, "model_max_length": 131072, "clean_up_tokenization_spaces": False}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    (path / "special_tokens_map.json").write_text(json.dumps({"eos_token": {"content": eos, "lstrip": False}}))
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": values.get("eos_token_id")}))
