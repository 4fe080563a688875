"""Models in and out of the Hugging Face directory layout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cai_jax.models import decoder
from cai_jax.models.config import Config, ModelError
from cai_jax.models.tokenizer import Tokenizer

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"

# Our name within a block, transformers' name within a layer, and whether the kernel is transposed there.
_BLOCK = (
    ("attention_norm", "input_layernorm", False),
    ("mlp_norm", "post_attention_layernorm", False),
    ("attention/q_proj", "self_attn.q_proj", True),
    ("attention/k_proj", "self_attn.k_proj", True),
    ("attention/v_proj", "self_attn.v_proj", True),
    ("attention/o_proj", "self_attn.o_proj", True),
    ("mlp/gate_proj", "mlp.gate_proj", True),
    ("mlp/up_proj", "mlp.up_proj", True),
    ("mlp/down_proj", "mlp.down_proj", True),
)


@dataclass(frozen=True, eq=False)
class Model:
    """A decoder with its tokenizer, and for a reward model the scalar head.

    Attributes:
      params: as models/decoder.py lays them out.
      head: {"kernel" [D], "bias" []} of a reward model (models/heads.py), else None.
    """

    config: Config
    params: decoder.Params
    tokenizer: Tokenizer
    head: Mapping[str, jax.Array] | None = None

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """Next-token logits `[T, V]` float32 after each of `ids` (T of them)."""
        # Padded behind, which no token sees, so that few lengths are compiled.
        tokens = np.zeros((1, 1 << (len(ids) - 1).bit_length()), np.int32)
        tokens[0, : len(ids)] = ids
        return np.asarray(_logits(self.params, self.config, tokens))[0, : len(ids)]


def load(path: str | Path, dtype: str = "float32") -> Model:
    """Read config.json, the safetensors weights and the tokenizer of a model directory.

    Weights are converted to `dtype`, whatever they are stored in. Raises ModelError, which names the file and
    the cure, if anything is missing, cut off, of another shape, or of an unsupported architecture.
    """
    path = Path(path)
    if not path.is_dir():
        raise ModelError(f"{path} is not a directory; a model is one, with config.json and {_WEIGHTS}")
    values = _read_json(path / "config.json")
    config = Config.from_hf(values)
    tensors = _read_tensors(path)
    scored = "score.weight" in tensors
    params: dict[str, Any] = {}
    for name, theirs, shape, transposed in _table(config, with_unembed=not scored):
        _insert(params, name, jnp.asarray(_take(tensors, theirs, shape, transposed, path), dtype))
    head = _take_head(tensors, config, values, path) if scored else None
    _refuse_left_over(tensors, config, path)
    return Model(config, params, Tokenizer.load(path, config), head)


def save(model: Model, path: str | Path) -> None:
    """Write `model` as a directory that `load` and transformers read; config.json comes last.

    A head is written as transformers' LlamaForSequenceClassification has it; its bias, for which there is no
    place there, goes into config.json as "score_offset", which transformers ignores.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    scored = model.head is not None
    tensors = {}
    for name, theirs, _, transposed in _table(model.config, with_unembed=not scored):
        leaf = np.asarray(_lookup(model.params, name))
        tensors[theirs] = np.ascontiguousarray(leaf.T if transposed else leaf)
    values = model.config.to_hf() | {"torch_dtype": str(tensors["model.norm.weight"].dtype)}
    if scored:
        tensors["score.weight"] = np.asarray(model.head["kernel"])[None]
        values |= {
            "architectures": ["LlamaForSequenceClassification"],
            "id2label": {"0": "score"},
            "label2id": {"score": 0},
            "score_offset": float(model.head["bias"]),
        }
    save_file(tensors, path / _WEIGHTS, metadata={"format": "pt"})
    model.tokenizer.save(path)
    (path / "config.json").write_text(json.dumps(values, indent=2) + "\n", "utf-8")


def _table(config: Config, with_unembed: bool) -> Iterator[tuple[str, str, tuple[int, ...], bool]]:
    """(our path, transformers' name, our shape, transposed there) of every tensor."""
    shapes = jax.eval_shape(lambda: decoder.init(config, jax.random.key(0)))
    names = [("embed", "model.embed_tokens", False), ("final_norm", "model.norm", False)]
    for i in range(config.layers):
        names += [(f"layers_{i}/{ours}", f"model.layers.{i}.{theirs}", turn) for ours, theirs, turn in _BLOCK]
    if with_unembed and not config.tie_embeddings:
        names.append(("unembed", "lm_head", True))
    for ours, theirs, transposed in names:
        yield ours, f"{theirs}.weight", _lookup(shapes, ours).shape, transposed


def _take(tensors: dict[str, np.ndarray], name: str, shape: tuple[int, ...], transposed: bool, path: Path) -> Any:
    """Remove a tensor from `tensors` and return it in our orientation."""
    if name not in tensors:
        raise ModelError(f"{path}: the weights lack {name}; the files are incomplete, fetch them again")
    tensor = tensors.pop(name)
    found, asked = list(tensor.shape), list(shape[::-1] if transposed else shape)
    if found != asked:
        raise ModelError(
            f"{path}: {name} has shape {found}, but config.json asks for {asked}; the two files belong to "
            "different models"
        )
    return tensor.T if transposed else tensor


def _take_head(
    tensors: dict[str, np.ndarray], config: Config, values: Mapping[str, Any], path: Path
) -> dict[str, jax.Array]:
    kernel = _take(tensors, "score.weight", (1, config.hidden_size), False, path)[0]
    bias = jnp.asarray(values.get("score_offset", 0.0), jnp.float32)
    return {"kernel": jnp.asarray(kernel, jnp.float32), "bias": bias}


def _refuse_left_over(tensors: Mapping[str, np.ndarray], config: Config, path: Path) -> None:
    """A tensor that nothing reads means another architecture than config.json claims."""
    harmless = (
        "lm_head.weight",
        "rotary_emb.inv_freq",
    )  # a tied or unused unembedding; a buffer of old versions
    strange = sorted(name for name in tensors if not name.endswith(harmless))
    if strange:
        raise ModelError(f"{path}: the weights hold {strange[0]}, which this decoder does not have; it is unsupported")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{file} does not exist; a model directory has one") from None
    except ValueError as error:
        raise ModelError(f"{file} is not valid JSON ({error}); fetch it again") from None


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of the directory's safetensors file, or of its shards."""
    if (path / _WEIGHTS).exists():
        names = [_WEIGHTS]
    elif (path / _INDEX).exists():
        names = sorted(set(_read_json(path / _INDEX).get("weight_map", {}).values()))
    else:
        raise ModelError(
            f"{path / _WEIGHTS} does not exist; weights in another format are converted with transformers' "
            "save_pretrained"
        )
    tensors: dict[str, np.ndarray] = {}
    for name in names:
        try:
            with safe_open(path / name, "np") as file:
                tensors |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        except FileNotFoundError:
            raise ModelError(f"{path / name} does not exist, but {_INDEX} lists it; fetch it") from None
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path / name} is cut off or damaged ({error}); fetch it again") from None
    return tensors


def _lookup(tree: Mapping[str, Any], name: str) -> Any:
    for part in name.split("/"):
        tree = tree[part]
    return tree


def _insert(tree: dict[str, Any], name: str, leaf: Any) -> None:
    *parents, last = name.split("/")
    for part in parents:
        tree = tree.setdefault(part, {})
    tree[last] = leaf


@partial(jax.jit, static_argnums=1)
def _logits(params: decoder.Params, config: Config, tokens: jax.Array) -> jax.Array:
    return decoder.unembed(params, config, decoder.hidden(params, config, tokens))
