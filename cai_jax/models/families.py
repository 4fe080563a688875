"""The architectures that load: one row of a table each. Imports no JAX.

A row says how transformers names the settings and the weights of an architecture, and which settings the architecture
itself fixes. `Config` holds the settings under our names, models/hf_layout.py pairs the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cai_jax.models.errors import ModelError

# Config field -> key of config.json, where a family does not say otherwise.
_KEYS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "intermediate_size": "intermediate_size",
    "activation": "hidden_act",
    "norm_eps": "rms_norm_eps",
    "rope_theta": "rope_theta",
    "tie_embeddings": "tie_word_embeddings",
    "max_position": "max_position_embeddings",
    "bos_id": "bos_token_id",
    "pad_id": "pad_token_id",
}
_DEFAULTS = {"rms_norm_eps": 1e-6, "tie_word_embeddings": False}
_BIASED = {"qkv_bias": "attention_bias", "out_bias": "attention_bias"}
_GEMMA_KEYS = _KEYS | _BIASED | {"activation": "hidden_activation", "query_scalar": "query_pre_attn_scalar"}

# Our name of a leaf within a block -> transformers' module within a layer, in the order in which a module that
# several leaves share holds them.
_MODULES = {
    "attention_norm": "input_layernorm",
    "attention/q_proj": "self_attn.q_proj",
    "attention/k_proj": "self_attn.k_proj",
    "attention/v_proj": "self_attn.v_proj",
    "attention/q_norm": "self_attn.q_norm",
    "attention/k_norm": "self_attn.k_norm",
    "attention/o_proj": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "mlp/gate_proj": "mlp.gate_proj",
    "mlp/up_proj": "mlp.up_proj",
    "mlp/down_proj": "mlp.down_proj",
}
_POST_NORMED = _MODULES | {
    "attention_out_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "mlp_out_norm": "post_feedforward_layernorm",
}


def _fused(qkv: str) -> dict[str, str]:
    return dict.fromkeys(("attention/q_proj", "attention/k_proj", "attention/v_proj"), qkv)


@dataclass(frozen=True)
class Family:
    """One architecture.

    Attributes:
      causal, scored: transformers' classes of the language model and of the reward model.
      fixed: Config fields that the architecture fixes.
      keys: Config field -> key of config.json.
      defaults: transformers' values of keys that a config.json may leave out.
      demands: keys that must have this value, or be absent; another value means a decoder that we do not have.
      scalings: stretches of the rotary frequencies that it knows (models/rope_scaling.py).
      slides: given the values of config.json and a layer's number, True if the layer has the sliding window; None: no
        window.
      layered: config.json lists the kind of each layer as "layer_types".
      prefix: of the names of all weights except the unembedding's.
      outer: our name outside of the blocks -> transformers' module; "layers" is the list of blocks.
      modules: the same within a block; leaves of one module are concatenated in its tensor.
      unembed: the unembedding's module.
      transposed: kernels are stored `[out, in]`, as torch's Linear does.
      interleaved: a fused tensor holds q, k and v head by head.
      within: a wrapper's file has one of these in place of `prefix`, depending on the file's age.
      beside: first parts of the names of a wrapper's other weights.
    """

    causal: str
    scored: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=lambda: _KEYS)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    demands: Mapping[str, Any] = field(default_factory=dict)
    scalings: tuple[str, ...] = ("linear", "llama3")
    slides: Callable[[Mapping[str, Any], int], bool] | None = None
    layered: bool = False
    prefix: str = "model."
    outer: Mapping[str, str] = field(
        default_factory=lambda: {"embed": "embed_tokens", "final_norm": "norm", "layers": "layers"}
    )
    modules: Mapping[str, str] = field(default_factory=lambda: _MODULES)
    unembed: str = "lm_head"
    transposed: bool = True
    interleaved: bool = False
    within: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


def _above(values: Mapping[str, Any], layer: int) -> bool:
    return bool(values["use_sliding_window"]) and layer >= values["max_window_layers"]


def _but_every_nth(values: Mapping[str, Any], layer: int) -> bool:
    return (layer + 1) % values["sliding_window_pattern"] != 0


_QWEN_DEFAULTS = {"use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28}
_GEMMA_DEFAULTS = {
    "tie_word_embeddings": True,
    "hidden_activation": "gelu_pytorch_tanh",
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
}

FAMILIES: Mapping[str, Family] = {
    "llama": Family(
        "LlamaForCausalLM",
        "LlamaForSequenceClassification",
        keys=_KEYS | _BIASED | {"mlp_bias": "mlp_bias"},
    ),
    "mistral": Family(
        "MistralForCausalLM",
        "MistralForSequenceClassification",
        defaults={"sliding_window": 4096},
        slides=lambda values, layer: True,
    ),
    "qwen2": Family(
        "Qwen2ForCausalLM",
        "Qwen2ForSequenceClassification",
        fixed={"qkv_bias": True},
        defaults=_QWEN_DEFAULTS,
        slides=_above,
        layered=True,
    ),
    "qwen3": Family(
        "Qwen3ForCausalLM",
        "Qwen3ForSequenceClassification",
        fixed={"qk_norm": "head"},
        keys=_KEYS | _BIASED,
        defaults=_QWEN_DEFAULTS | {"head_dim": 128},
        slides=_above,
        layered=True,
    ),
    "gemma2": Family(
        "Gemma2ForCausalLM",
        "Gemma2ForSequenceClassification",
        fixed={"norm": "rms_plus_one", "placement": "sandwich", "scale_embeddings": True},
        keys=_GEMMA_KEYS | {"attention_softcap": "attn_logit_softcapping", "logit_softcap": "final_logit_softcapping"},
        defaults=_GEMMA_DEFAULTS
        | {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "sliding_window_pattern": 2},
        demands={"use_bidirectional_attention": False},
        slides=_but_every_nth,
        layered=True,
        modules=_POST_NORMED,
    ),
    "gemma3_text": Family(
        "Gemma3ForCausalLM",
        "Gemma3TextForSequenceClassification",
        fixed={"norm": "rms_plus_one", "placement": "sandwich", "scale_embeddings": True, "qk_norm": "head"},
        keys=_GEMMA_KEYS
        | {
            # transformers 5 keeps attn_logit_softcapping in Gemma 3's configs and never applies it.
            "logit_softcap": "final_logit_softcapping",
            "local_rope_theta": "rope_local_base_freq",
        },
        defaults=_GEMMA_DEFAULTS
        | {
            # A wrapper's text_config leaves out whatever is as in the class of transformers.
            "vocab_size": 262208,
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "num_hidden_layers": 26,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "sliding_window_pattern": 6,
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e4,
            "max_position_embeddings": 131072,
            "bos_token_id": 2,
            "eos_token_id": 1,
            "pad_token_id": 0,
        },
        demands={"use_bidirectional_attention": False},
        slides=_but_every_nth,
        layered=True,
        modules=_POST_NORMED,
        within=("language_model.model.", "model.language_model."),
        beside=("vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."),
    ),
    "gpt2": Family(
        "GPT2LMHeadModel",
        "GPT2ForSequenceClassification",
        fixed={
            "norm": "layer",
            "gated": False,
            "learned_positions": True,
            "qkv_bias": True,
            "out_bias": True,
            "mlp_bias": True,
        },
        keys={
            "vocab_size": "vocab_size",
            "hidden_size": "n_embd",
            "layers": "n_layer",
            "heads": "n_head",
            "intermediate_size": "n_inner",
            "activation": "activation_function",
            "norm_eps": "layer_norm_epsilon",
            "tie_embeddings": "tie_word_embeddings",
            "max_position": "n_positions",
            "bos_id": "bos_token_id",
            "pad_id": "pad_token_id",
        },
        defaults={
            "tie_word_embeddings": True,
            "n_inner": None,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5,
        },
        demands={
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        },
        scalings=(),
        prefix="transformer.",
        outer={"embed": "wte", "embed_positions": "wpe", "final_norm": "ln_f", "layers": "h"},
        modules={
            "attention_norm": "ln_1",
            **_fused("attn.c_attn"),
            "attention/o_proj": "attn.c_proj",
            "mlp_norm": "ln_2",
            "mlp/up_proj": "mlp.c_fc",
            "mlp/down_proj": "mlp.c_proj",
        },
        transposed=False,
    ),
    "gpt_neox": Family(
        "GPTNeoXForCausalLM",
        "GPTNeoXForSequenceClassification",
        fixed={"norm": "layer", "gated": False, "mlp_bias": True},
        keys={name: key for name, key in _KEYS.items() if name not in ("kv_heads", "head_dim")}
        | _BIASED
        | {
            "norm_eps": "layer_norm_eps",
            "parallel": "use_parallel_residual",
            "rope_theta": "rotary_emb_base",
            "rotary_fraction": "rotary_pct",
        },
        defaults={
            "hidden_act": "gelu",
            "attention_bias": True,
            "layer_norm_eps": 1e-5,
            "use_parallel_residual": True,
            "rotary_pct": 0.25,
        },
        scalings=("linear",),
        prefix="gpt_neox.",
        outer={"embed": "embed_in", "final_norm": "final_layer_norm", "layers": "layers"},
        modules={
            "attention_norm": "input_layernorm",
            **_fused("attention.query_key_value"),
            "attention/o_proj": "attention.dense",
            "mlp_norm": "post_attention_layernorm",
            "mlp/up_proj": "mlp.dense_h_to_4h",
            "mlp/down_proj": "mlp.dense_4h_to_h",
        },
        unembed="embed_out",
        interleaved=True,
    ),
    "olmo2": Family(
        "Olmo2ForCausalLM",
        "Olmo2ForSequenceClassification",
        fixed={"placement": "post", "qk_norm": "width"},
        keys=_KEYS | _BIASED,
        defaults={"rms_norm_eps": 1e-5},
        modules=_POST_NORMED,
    ),
    "phi3": Family(
        "Phi3ForCausalLM",
        "Phi3ForSequenceClassification",
        keys=_KEYS | {"rotary_fraction": "partial_rotary_factor"},
        defaults={"rms_norm_eps": 1e-5, "sliding_window": None, "original_max_position_embeddings": 4096},
        scalings=("longrope",),
        slides=lambda values, layer: True,
        modules=_MODULES
        | _fused("self_attn.qkv_proj")
        | dict.fromkeys(("mlp/gate_proj", "mlp/up_proj"), "mlp.gate_up_proj"),
    ),
}


# model_type of a model that reads images as well -> that of its text part, which is what is read of it.
WRAPPERS: Mapping[str, str] = {"gemma3": "gemma3_text"}


def of_text(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return config.json of a wrapper's text part, with the wrapper's settings of the whole; any other as it is.

    Raises:
      ModelError: a wrapper has no text part.
    """
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in WRAPPERS:
        return values
    text = values.get("text_config")
    if not isinstance(text, Mapping) or text.get("model_type", WRAPPERS[kind]) != WRAPPERS[kind]:
        raise ModelError(
            f"config.json has model_type {kind!r} without a text_config of {WRAPPERS[kind]}; fetch it again"
        )
    ids = ("bos_token_id", "eos_token_id", "pad_token_id", "quantization_config", "score_offset")
    above = {key: values[key] for key in ids if values.get(key) is not None}
    tied = "tie_word_embeddings"
    if values.get(tied, True) not in (True, None):  # transformers 5 says there alone that they are apart, 4 below
        above[tied] = values[tied]
    return {**text, **above, "model_type": WRAPPERS[kind], "architectures": None}


def settings(family: Family, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return config.json's values, with transformers' own where the file leaves them out."""
    return {**_DEFAULTS, **family.defaults, **values}
