"""The shape of a decoder, read from and written to a Hugging Face `config.json`. Imports no JAX."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

from cai_jax.models import families
from cai_jax.models import rope_scaling as scalings
from cai_jax.models.errors import ModelError
from cai_jax.models.families import FAMILIES, Family

__all__ = ["ACTIVATIONS", "Config", "ModelError", "parameters", "read_json"]

# transformers' names of the activations that the decoder computes, and what it computes.
ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}


@dataclass(frozen=True)
class Config:
    """Static shape of a decoder; hashable, so that jit may close over it. By default the Llama architecture.

    Attributes:
      vocab_size: V, rows of the embedding.
      hidden_size: D, width of the residual stream.
      layers: number of blocks.
      heads: N, query heads; kv_heads: K, key/value heads, a divisor of N (arXiv 2305.13245).
      head_dim: H, width of one head.
      intermediate_size: F, width of the feed-forward layer.
      rope_theta: θ, base of the rotary frequencies (arXiv 2104.09864); rope_scaling: their stretch, if any.
      norm_eps: added to the mean square or variance in norms.
      tie_embeddings: the unembedding is the embedding transposed (arXiv 1608.05859).
      max_position: context, in tokens.
      bos_id, pad_id: None where the model has none; eos_ids: any of them ends a reply.
      family: row of models/families.py, for the names in files.
      activation: of the feed-forward layer, by transformers' name; gated: the layer is down(act(gate) * up) (arXiv
        2002.05202).
      norm: "rms" (arXiv 1910.07467), "rms_plus_one" (the weight is a difference from one) or "layer" (with a bias;
        arXiv 1607.06450).
      placement: of a block's norms: before attention and feed-forward ("pre"), after ("post"), or both ("sandwich").
      parallel: attention and feed-forward read the same residual stream (arXiv 2204.06745).
      qk_norm: norm of queries and keys, over each "head" or the whole "width" of all heads.
      qkv_bias, out_bias, mlp_bias: of attention's inputs, of its output, and of the feed-forward layer.
      learned_positions: a learned embedding of positions instead of the rotary one.
      rotary_fraction: of each head's channels that are turned.
      local_rope_theta: rope_theta of layers with a window, not stretched; None: as in the others.
      windows: by layer, the number of positions a token sees, itself included; None: all. Empty where no layer has one.
      query_scalar: scores are divided by its square root; None: by that of head_dim.
      attention_softcap, logit_softcap: c of c * tanh(x / c) (arXiv 2408.00118); None: no cap.
      scale_embeddings: multiply embeddings by sqrt(D).
    """

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    rope_theta: float = 10000.0
    rope_scaling: scalings.Scaling | None = None
    norm_eps: float = 1e-5
    tie_embeddings: bool = True
    max_position: int = 2048
    bos_id: int | None = None
    eos_ids: tuple[int, ...] = ()
    pad_id: int | None = None
    family: str = "llama"
    activation: str = "silu"
    gated: bool = True
    norm: str = "rms"
    placement: str = "pre"
    parallel: bool = False
    qk_norm: str | None = None
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    learned_positions: bool = False
    rotary_fraction: float = 1.0
    local_rope_theta: float | None = None
    windows: tuple[int | None, ...] = ()
    query_scalar: float | None = None
    attention_softcap: float | None = None
    logit_softcap: float | None = None
    scale_embeddings: bool = False

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ModelError(f"{self.heads} heads cannot share {self.kv_heads} key/value heads evenly")
        if not self.learned_positions and (self.rotary_dim % 2 or not self.rotary_dim):
            raise ModelError(f"{self.rotary_dim} channels of a head are rotary; they are turned in pairs")
        if self.activation not in ACTIVATIONS:
            raise ModelError(f"the activation {self.activation!r} is unknown; supported: {', '.join(ACTIVATIONS)}")
        if self.windows and len(self.windows) != self.layers:
            raise ModelError(f"{len(self.windows)} windows are given for {self.layers} layers")

    @property
    def rotary_dim(self) -> int:
        """Channels of a head that the rotary embedding turns; the first ones."""
        return int(self.head_dim * self.rotary_fraction)

    @property
    def attention_scale(self) -> float:
        """Factor of the attention scores: query_scalar^(-1/2), or head_dim^(-1/2) by default."""
        return (self.query_scalar or self.head_dim) ** -0.5

    def window(self, layer: int) -> int | None:
        """Return the number of positions that a token sees in this layer, itself included; None: all."""
        return self.windows[layer] if self.windows else None

    def reaching(self, length: int) -> Config:
        """The decoder as it reads texts of `length` tokens, where its rotary embedding depends on that (LongRope)."""
        if not isinstance(self.rope_scaling, scalings.LongRope):
            return self
        return replace(self, rope_scaling=self.rope_scaling.reaching(length, self.max_position))

    @property
    def period(self) -> int:
        """Number of layers after which their windows repeat; 1 where all are alike."""
        return next(n for n in range(1, self.layers + 1) if self.windows[n:] == self.windows[: len(self.windows) - n])

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> Config:
        """Read the fields of a `config.json`; raises ModelError for what this decoder cannot do."""
        values = families.of_text(values)
        kind = values.get("model_type")
        if not isinstance(kind, str) or kind not in FAMILIES:
            supported = [*FAMILIES, *families.WRAPPERS]
            raise ModelError(f"config.json has model_type {kind!r}; supported: {', '.join(supported)}")
        family = FAMILIES[kind]
        values = _lifted(family, families.settings(family, values))
        _refuse_unsupported(family, values)
        found = dict(family.fixed)
        found |= {name: values[key] for name, key in family.keys.items() if values.get(key) is not None}
        _check(found, family)
        _derive(found, family, values)
        found |= {name: float(found[name]) for name in ("rope_theta", "local_rope_theta") if name in found}
        found |= {name: None for name in ("bos_id", "pad_id") if found.get(name, 0) < 0}  # how old files say "none"
        return cls(
            **found,
            family=kind,
            eos_ids=_ids(values.get("eos_token_id")),
            rope_scaling=_scaling(found, family, values),
            windows=_windows(family, values, found["layers"]),
        )

    def to_hf(self) -> dict[str, Any]:
        """Return the `config.json` that transformers reads back as the same decoder.

        Raises:
          ModelError: the family's config.json cannot express it.
        """
        family = FAMILIES[self.family]
        values = {key: getattr(self, name) for name, key in family.keys.items()}
        if "kv_heads" not in family.keys and self.heads != self.kv_heads:
            raise ModelError(f"{self.family} has no place for {self.kv_heads} key/value heads of {self.heads} heads")
        return {
            "architectures": [family.causal],
            "model_type": self.family,
            **values,
            **family.demands,
            **(self._rotary_to_hf(family) if "rope_theta" in family.keys else {}),
            **(self._windows_to_hf(family) if family.slides else {}),
            "eos_token_id": self.eos_ids[0] if len(self.eos_ids) == 1 else list(self.eos_ids) or None,
            "torch_dtype": "float32",
        }

    def _rotary_to_hf(self, family: Family) -> dict[str, Any]:
        """The rotary settings: transformers 4 reads them from several keys, transformers 5 from rope_parameters."""
        stretch = scalings.to_hf(self.rope_scaling)
        turns = {**stretch, "rope_theta": self.rope_theta}
        if "rotary_fraction" in family.keys:
            turns["partial_rotary_factor"] = self.rotary_fraction
        if "local_rope_theta" in family.keys:
            local = {"rope_type": "default", "rope_theta": self.local_rope_theta}
            turns = {"full_attention": turns, "sliding_attention": local}
        found = {"rope_scaling": None if self.rope_scaling is None else stretch, "rope_parameters": turns}
        if isinstance(self.rope_scaling, scalings.LongRope):
            # Phi3Config of transformers 4 insists on exactly three entries.
            original = stretch.pop("original_max_position_embeddings")
            found["rope_scaling"] = {"type": stretch.pop("rope_type"), **stretch}
            found["original_max_position_embeddings"] = original
        return found

    def _windows_to_hf(self, family: Family) -> dict[str, Any]:
        sizes = {size for size in self.windows if size is not None}
        if len(sizes) > 1 or (sizes and None in self.windows and not family.layered):
            raise ModelError(f"{self.family} has no place for the windows {self.windows}")
        found: dict[str, Any] = {"sliding_window": next(iter(sizes), None)}
        if family.layered:
            kinds = ("full_attention" if self.window(i) is None else "sliding_attention" for i in range(self.layers))
            found |= {"use_sliding_window": bool(sizes), "layer_types": list(kinds)}
        return found


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raises ModelError if there is none."""
    if file.exists() and not file.is_file():  # of a pipe or a device there is no end
        raise ModelError(f"{file} is no regular file; fetch it again")
    try:
        found = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{file} does not exist; a model directory has one") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file} is not valid JSON ({error}); fetch it again") from None
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror}); make it readable") from None
    if not isinstance(found, dict):
        raise ModelError(f"{file} holds no JSON object; fetch it again")
    return found


def parameters(config: Config) -> int:
    """Count the weights of the decoder, embeddings included, a tied unembedding once."""
    d, h, f = config.hidden_size, config.head_dim, config.intermediate_size
    q, kv = config.heads * h, config.kv_heads * h
    attention = 2 * d * q + 2 * d * kv + config.qkv_bias * (q + 2 * kv) + config.out_bias * d
    attention += {None: 0, "head": 2 * h, "width": q + kv}[config.qk_norm]
    inputs = 2 if config.gated else 1
    mlp = (inputs + 1) * d * f + config.mlp_bias * (inputs * f + d)
    norm = d * (2 if config.norm == "layer" else 1)
    norms = norm * (4 if config.placement == "sandwich" else 2)
    embeddings = config.vocab_size * d * (1 if config.tie_embeddings else 2)
    embeddings += config.learned_positions * config.max_position * d
    return embeddings + config.layers * (attention + mlp + norms) + norm


def _refuse_unsupported(family: Family, values: Mapping[str, Any]) -> None:
    for name in _listed(values, "architectures"):
        if name not in (family.causal, family.scored):
            raise ModelError(
                f"config.json names the architecture {name!r}; supported: {family.causal}, {family.scored}"
            )
    for key, only in family.demands.items():
        if values.get(key, only) not in (only, None):
            raise ModelError(f"config.json sets {key} to {values[key]!r}; only {only!r} is supported")
    if values.get("quantization_config"):
        raise ModelError("config.json has a quantization_config; take the model's unquantised weights")
    activation = values.get(family.keys["activation"], "silu")
    if activation not in list(ACTIVATIONS):
        key = family.keys["activation"]
        raise ModelError(f"config.json has {key} {activation!r}; supported: {', '.join(ACTIVATIONS)}")


def _lifted(family: Family, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return config.json with its rotary settings at the top, wherever this version of transformers put them.

    The settings of a stretch are one mapping under "rope".
    """
    nested = _mapping(values, "rope_parameters") or _mapping(values, "rope_scaling")
    turns = _mapping(nested, "full_attention") or nested
    local = _mapping(nested, "sliding_attention")
    if scalings.kind_of(local) != "default":
        raise ModelError("config.json stretches the rotary embedding of layers with a window; that is not supported")
    keys = {"rope_theta": "rope_theta", "partial_rotary_factor": "rotary_fraction"}
    found = {family.keys.get(ours, name): turns[name] for name, ours in keys.items() if turns.get(name) is not None}
    if local.get("rope_theta") is not None and "local_rope_theta" in family.keys:
        found[family.keys["local_rope_theta"]] = local["rope_theta"]
    lifted = {**values, **found}
    if lifted.get("partial_rotary_factor") not in (1, None) and "rotary_fraction" not in family.keys:
        raise ModelError("config.json sets partial_rotary_factor; only 1 is supported in this family")
    original = "original_max_position_embeddings"
    # At the top it goes before the stretch's own, as in transformers, whose default for Phi-3 is there as well.
    stretch = {**turns, original: values[original]} if values.get(original) is not None else turns
    return {**lifted, "rope": stretch}


def _scaling(found: Mapping[str, Any], family: Family, values: Mapping[str, Any]) -> scalings.Scaling | None:
    head_dim, fraction = found.get("head_dim", 0), found.get("rotary_fraction", 1.0)
    return scalings.from_hf(values["rope"], family.scalings, int(head_dim * fraction) // 2)


def _derive(found: dict[str, Any], family: Family, values: Mapping[str, Any]) -> None:
    """Fill in settings that config.json may leave to follow from the rest."""
    found.setdefault("kv_heads", found["heads"])
    found.setdefault("head_dim", found["hidden_size"] // found["heads"])
    if family.keys["intermediate_size"] in values:  # null, as in GPT-2
        found.setdefault("intermediate_size", 4 * found["hidden_size"])
    for each in fields(Config):
        if each.default is MISSING and each.name not in found:
            raise ModelError(f"config.json lacks {family.keys[each.name]!r}; fetch it again")


# Far beyond every decoder of these families: what is larger is a mistake, which would take long to be found.
_LAYERS = 1000
_SIZE = 2**31 - 1  # the largest int32
_LARGEST = 1e30  # of what is computed with in float32


def _check(found: Mapping[str, Any], family: Family) -> None:
    """Raise ModelError if a field that others follow from is missing, or one is not a valid value of its kind."""
    for name in ("hidden_size", "heads", "layers"):
        if name not in found:
            raise ModelError(f"config.json lacks {family.keys[name]!r}; fetch it again")
    for each in fields(Config):
        if each.name not in found or each.name not in family.keys:
            continue
        value, kind = found[each.name], each.type.partition(" ")[0]
        most = _LAYERS if each.name == "layers" else _SIZE
        least = -most if each.name in ("bos_id", "pad_id") else 1
        if kind == "int" and not (_whole(value) and least <= value <= most):
            wanted = f"it is a whole number from {max(least, 0)} to {most}"
        elif kind == "float" and not (_number(value) and 1 / _LARGEST <= value <= _LARGEST):
            wanted = "it is a number above 0"
        elif kind == "bool" and not isinstance(value, bool):
            wanted = "it is true or false"
        elif each.name == "rotary_fraction" and value > 1:
            wanted = "it is a part of 1"
        else:
            continue
        raise ModelError(f"config.json has {family.keys[each.name]} {_short(value)}; {wanted}")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and (_whole(value) or math.isfinite(value))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key) or {}
    if not isinstance(found, Mapping):
        raise ModelError(f"config.json has {key} {_short(found)}; it is an object")
    return found


def _listed(values: Mapping[str, Any], key: str) -> list[str]:
    found = values.get(key) or []
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ModelError(f"config.json has {key} {_short(found)}; it is a list of names")
    return found


def _ids(found: Any) -> tuple[int, ...]:
    ids = found if isinstance(found, list) else [] if found is None else [found]
    if not all(_whole(each) and abs(each) <= _SIZE for each in ids):
        raise ModelError(f"config.json has eos_token_id {_short(found)}; it is a token's id, or a list of them")
    return tuple(each for each in ids if each >= 0)


def _windows(family: Family, values: Mapping[str, Any], layers: int) -> tuple[int | None, ...]:
    size, slides = values.get("sliding_window"), values.get("use_sliding_window")
    if family.slides is None or size is None or slides is False:
        return ()
    for key, least in (("sliding_window", 1), ("max_window_layers", 0), ("sliding_window_pattern", 1)):
        if key in values and not (_whole(values[key]) and least <= values[key] <= _SIZE):
            raise ModelError(f"config.json has {key} {_short(values[key])}; it is a whole number from {least} on")
    if slides not in (True, None):
        raise ModelError(f"config.json has use_sliding_window {_short(slides)}; it is true or false")
    kinds = _listed(values, "layer_types") if family.layered else []
    if not kinds:
        kinds = ["sliding_attention" if family.slides(values, i) else "full_attention" for i in range(layers)]
    known = {"sliding_attention": size, "full_attention": None}
    strange = next((kind for kind in kinds if kind not in known), None)
    if strange is not None:
        raise ModelError(f"config.json has a layer of type {strange!r}; supported: {', '.join(known)}")
    windows = tuple(known[kind] for kind in kinds)
    return windows if any(windows) else ()
