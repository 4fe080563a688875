"""Models in and out of the Hugging Face directory layout."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from cai_jax.models import decoder, hf_layout, lora, padding, peft, safetensors_io
from cai_jax.models.config import Config, ModelError, read_json
from cai_jax.models.families import FAMILIES, Family
from cai_jax.models.hf_layout import HEAD, Slices, Stored
from cai_jax.models.locate import bases
from cai_jax.models.safetensors_io import Tensor
from cai_jax.models.tokenizer import Tokenizer, has_tokenizer
from cai_jax.parallel import multihost

# Placement of leaves: a tree of shapes and dtypes -> a tree of shardings (parallel/sharding_rules.py has one).
Shardings = Callable[[Any], Any]

_DTYPES = ("float32", "bfloat16", "float16")

# Rows turned at a time: about what fills a cache line of a column. Measured: six times as fast as all at once.
_ROWS = 16


@dataclass(frozen=True, eq=False)
class Model:
    """A decoder with its tokenizer, and for a reward model the scalar head.

    Attributes:
      params: in the layout of models/decoder.py, with its adapter, if it has one (models/lora.py).
      text: the tokenizer; None where the folder that was read has none that can be used. `tokenizer` is the same, but
        insists on one.
      head: {"kernel" [D], "bias" []} of a reward model (models/heads.py), else None.
      base: the folder that `params` but for their adapter were read from; None where they are in no folder.
      fault: why the tokenizer in the folder cannot be used; "" where it can, or there is none.
    """

    config: Config
    params: decoder.Params
    text: Tokenizer | None
    head: Mapping[str, jax.Array] | None = None
    base: Path | None = None
    fault: str = ""

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer; raises ModelError where the model came without one that can be used."""
        if self.text is None:
            lacks = f"{self.base} holds no tokenizer; fetch the model's tokenizer files (tokenizer.json)"
            raise ModelError(self.fault or lacks)
        return self.text

    def logits(self, ids: jax.Array | np.ndarray | Sequence[Sequence[int]]) -> np.ndarray:
        """Compute next-token logits `[B, T, V]` float32 after each of `ids` `[B, T]`.

        ids may also be rows of different lengths, of which T is the longest; logits after a row's end are meaningless.

        Raises:
          ValueError: ids are not rows, a row is longer than the model's context, or it is a reward model.
        """
        if self.head is not None:
            raise ValueError("a reward model has a score and no logits")
        rows = [np.asarray(row, np.int32) for row in ids]
        if not rows or any(row.ndim != 1 for row in rows):
            raise ValueError("ids are rows of token ids, [B, T]; one row is [[…]]")
        longest = max(map(len, rows))
        if longest > self.config.max_position:
            raise ValueError(f"a row has {longest} tokens, but the model's context is {self.config.max_position}")
        # Padded on the right, which no token sees, so that few lengths are compiled.
        tokens = np.zeros((len(rows), 1 << max(longest - 1, 0).bit_length()), np.int32)
        for padded, row in zip(tokens, rows, strict=True):
            padded[: len(row)] = row
        last = np.array([[max(len(row) - 1, 0)] for row in rows])
        positions = np.minimum(np.arange(tokens.shape[1]), last)  # padding must not make a row count as longer
        return np.asarray(_logits(self.params, self.config, tokens, positions))[:, :longest]

    def save(self, path: str | Path) -> None:
        """Write the model into a directory (`save`)."""
        save(self, path)


def load(path: str | Path, dtype: str = "float32", shardings: Shardings | None = None) -> Model:
    """Read config.json, the safetensors weights and the tokenizer of a model directory, or an adapter with its base.

    Weights are converted to `dtype`, whatever they are stored in. With `shardings`, given the tree of parameters as
    shapes, every leaf goes straight into its place, and a process reads the parts of its own devices only. The host
    never holds more than the weights and, for a moment, a copy of one tensor. Where config.json and the weights differ
    about tied embeddings, the weights decide, as in transformers 5.

    Raises:
      ModelError: anything is missing, cut off, of another shape, or of an unsupported architecture; it names the file
        and the cure. An error in the tokenizer is raised where it is used (`Model.tokenizer`).
    """
    path = Path(path)
    if not path.is_dir():
        raise ModelError(f"{path} is not a directory; a model is one, with config.json and model.safetensors")
    if dtype not in _DTYPES:
        raise ModelError(f"weights cannot be had in dtype {dtype!r}; supported: {', '.join(_DTYPES)}")
    below = bases(path)
    if below:
        return adapted(load(below[0], dtype, shardings), path, shardings)
    values = read_json(path / "config.json")
    config = Config.from_hf(values)
    text, fault = _text(path, config)
    files = _named(FAMILIES[config.family], safetensors_io.tensors(path))
    hf_layout.refuse_shallow(path, config, files)
    scored = HEAD in files
    if not scored:
        config, files = _tied(config, files)
    abstract = _abstract(config, dtype, scored)
    shapes = {name: leaf.shape for name, leaf in abstract.items()}
    places = {each.name: each for each in hf_layout.stored(config, shapes)}
    found = _matched(files, places, config, path)
    where = None if shardings is None else _flat(shardings(_nested(abstract)))
    leaves: dict[str, jax.Array] = {}
    # The largest first: the copy of it that the host holds meanwhile adds to few others.
    for name in sorted(places, key=lambda name: -np.prod(places[name].shape)):
        for leaf in places[name].leaves:
            read = partial(_read, found[name], places[name], leaf, abstract[leaf])
            leaves[leaf] = _placed(read, abstract[leaf], None if where is None else where[leaf])
    params = _nested(leaves)
    head = params.pop("head", None)
    if head is not None:
        head["bias"] = jnp.asarray(_offset(values), jnp.float32)
    return Model(config, params, text, head, path, fault)


def chain(folders: Sequence[Path], dtype: str = "float32", shardings: Shardings | None = None) -> Model:
    """Load the model in the first folder, an adapter of that in the next one and so on, as `load`."""
    path, *below = folders
    return adapted(chain(below, dtype, shardings), path, shardings) if below else load(path, dtype, shardings)


def adapted(base: Model, path: Path, shardings: Shardings | None = None) -> Model:
    """Load the adapter in a folder onto its base, whose arrays the result shares; raises ModelError as `load`."""
    shapes = {name: leaf.shape for name, leaf in _flat(lora.split(base.params)[0]).items()}
    found, kernel = peft.read(path, base.config, shapes)
    adapter = _nested({name: leaf.astype(base.params["embed"].dtype) for name, leaf in found.items()})
    if shardings is None:
        adapter = jax.device_put(adapter)
    else:
        adapter = jax.tree.map(multihost.from_host, adapter, shardings(adapter))
    described = next((each for each in (path, base.base) if each and (each / "config.json").is_file()), path)
    own = described == path and has_tokenizer(path)
    text, fault = _text(path, base.config) if own else (base.text, base.fault)
    params = lora.joined(base.params, adapter)
    if kernel is None:
        return replace(base, params=params, text=text, fault=fault)
    values = read_json(described / "config.json")
    head = {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(_offset(values), jnp.float32)}
    return replace(base, params=decoder.trunk(params), text=text, head=head, fault=fault)


def _text(path: Path, config: Config) -> tuple[Tokenizer | None, str]:
    """Return the tokenizer of a model directory, or the reason why it cannot be used; weights and logits need none."""
    if not has_tokenizer(path):
        return None, ""
    try:
        return Tokenizer.load(path, config), ""
    except ModelError as error:
        return None, str(error)


def _offset(values: Mapping[str, Any]) -> float:
    """Return the bias of a reward model's head, which config.json holds."""
    found = values.get("score_offset", 0.0)
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise ModelError(f"config.json has score_offset {found!r}; it is a number")
    return float(found)


def save_adapter(model: Model, path: str | Path) -> None:
    """Write a model's adapter and head as a directory that `load` and peft read, and that names their base.

    Of several processes all must call this, and the first writes.
    """
    path = Path(path)
    adapter = {name: multihost.to_host(leaf) for name, leaf in _flat(lora.split(model.params)[1]).items()}
    if not multihost.is_leader():
        return
    path.mkdir(parents=True, exist_ok=True)
    head = None if model.head is None else model.head["kernel"]
    assert model.base is not None  # an adapter is trained on top of a model that was loaded
    peft.write(path, model.config, adapter, head, model.base)
    _finish(model, path)


def save(model: Model, path: str | Path) -> None:
    """Write `model`, an adapter merged, as a directory that `load` and transformers read; config.json comes last.

    One tensor at a time is copied to the host. Of several processes all must call this, and the first writes. A head is
    written in the layout of transformers' …ForSequenceClassification, with padding that cannot be mistaken for the end
    of a text; its bias, which that layout lacks, goes into config.json as "score_offset", which transformers ignores.
    """
    path = Path(path)
    scored = model.head is not None
    params = dict(decoder.trunk(model.params) if scored else model.params)
    leaves = _flat(params | ({} if model.head is None else {"head": {"kernel": model.head["kernel"]}}))
    places = hf_layout.stored(model.config, {name: leaf.shape for name, leaf in leaves.items()})
    written = [_written(each, leaves) for each in places]
    if not multihost.is_leader():
        for tensor in written:  # whose parts here the first process waits for
            tensor.make()
        return
    path.mkdir(parents=True, exist_ok=True)
    safetensors_io.write(path, written)
    _finish(model, path)


def _finish(model: Model, path: Path) -> None:
    """Write tokenizer and settings, config.json last."""
    text, config = model.text, model.config
    if model.head is not None and text is not None:
        text = padding.with_own_padding(text, config.vocab_size)
        config = replace(config, pad_id=text.pad_id)
    values = config.to_hf() | {"torch_dtype": str(model.params["embed"].dtype)}
    if model.head is not None:
        values |= {
            "architectures": [FAMILIES[model.config.family].scored],
            "id2label": {"0": "score"},
            "label2id": {"score": 0},
            "score_offset": float(model.head["bias"]),
        }
    if text is not None:
        text.save(path)
    (path / "config.json").write_text(json.dumps(values, indent=2) + "\n", "utf-8")


def _written(stored: Stored, leaves: Mapping[str, Any]) -> safetensors_io.Written:
    def make() -> np.ndarray:
        return stored.joined({name: multihost.to_host(lora.whole(leaves, name)) for name in stored.leaves})

    return safetensors_io.Written(stored.name, stored.shape, np.dtype(leaves[stored.leaves[0]].dtype), make)


def _abstract(config: Config, dtype: str, scored: bool) -> dict[str, jax.ShapeDtypeStruct]:
    """Return shapes and dtypes of all leaves, by path; the head's is float32."""
    tree = jax.eval_shape(lambda: decoder.init(config, jax.random.key(0)))
    shapes = {name: leaf.shape for name, leaf in _flat(decoder.trunk(tree) if scored else tree).items()}
    abstract = {name: jax.ShapeDtypeStruct(shape, dtype) for name, shape in shapes.items()}
    if scored:
        abstract["head/kernel"] = jax.ShapeDtypeStruct((config.hidden_size,), jnp.float32)
    return abstract


def _named(family: Family, files: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a checkpoint's tensors under the names that we look for, whatever its age."""
    files, unembed = hf_layout.of_text(family, files), f"{family.unembed}.weight"
    if not any(name.startswith(family.prefix) for name in files):  # a model saved without its head
        outside = (unembed, "lm_head.weight", HEAD)
        files = {name if name in outside else family.prefix + name: tensor for name, tensor in files.items()}
    if "lm_head.weight" in files:  # so transformers 5 calls it in every family
        files[unembed] = files["lm_head.weight"]
    return files


def _tied(config: Config, files: dict[str, Tensor]) -> tuple[Config, dict[str, Tensor]]:
    """Return settings and tensors where the file has embeddings untied that config.json ties, or lacks one of the two.

    transformers 5 uses the one that is there for both, and ties two that are there only if they are equal.
    """
    family = FAMILIES[config.family]
    embed, unembed = f"{family.prefix}{family.outer['embed']}.weight", f"{family.unembed}.weight"
    if not config.tie_embeddings or unembed not in files:
        return config, files
    if embed not in files:
        return config, {**files, embed: files[unembed]}
    return replace(config, tie_embeddings=_alike(files[embed], files[unembed])), files


def _alike(one: Tensor, other: Tensor) -> bool:
    """Compare two tensors a few MB at a time; True if they hold the same values."""
    if (one.shape, one.dtype) != (other.shape, other.dtype) or not one.shape:
        return False
    chunks = (each.chunks([slice(0, each.shape[0])], slice(None)) for each in (one, other))
    return all(np.array_equal(a, b) for (_, a), (_, b) in zip(*chunks, strict=True))


def _matched(
    files: Mapping[str, Tensor], places: Mapping[str, Stored], config: Config, path: Path
) -> dict[str, Tensor]:
    """Return the file's tensor for every name; raises ModelError for those missing, misshapen or left over."""
    for name, stored in places.items():
        if name not in files:
            raise ModelError(f"{path}: the weights lack {name}; the files are incomplete, fetch them again")
        if files[name].shape != stored.shape:
            raise ModelError(
                f"{path}: {name} has shape {list(files[name].shape)}, but config.json asks for {list(stored.shape)}; "
                "the two files belong to different models"
            )
    # A tied or unused unembedding, and tables that old versions saved with the weights.
    harmless = (
        "lm_head.weight",
        "embed_out.weight",
        "rotary_emb.inv_freq",
        "masked_bias",
        "attn.bias",
        "attention.bias",
    )
    strange = sorted(name for name in files if name not in places and not name.endswith(harmless))
    if strange:
        raise ModelError(f"{path}: the weights hold {strange[0]}, which this decoder does not have; it is unsupported")
    return {name: files[name] for name in places}


def _read(tensor: Tensor, stored: Stored, leaf: str, like: jax.ShapeDtypeStruct, index: Slices) -> np.ndarray:
    """Read `index` of a leaf from its part of the file, converted on the way."""
    ends = tuple(slice(*each.indices(size)[:2]) for each, size in zip(index, like.shape, strict=True))
    out = np.empty([each.stop - each.start for each in ends], like.dtype)
    table = out.T if stored.transposed else out  # rows of the file become rows of this view
    if out.ndim == 1:
        table = out[:, None] if len(stored.shape) == 1 else out[None]
    rows, columns = stored.where(leaf, ends)
    for done, chunk in tensor.chunks(rows, columns):
        chunk = chunk.astype(out.dtype, copy=False)
        for first in range(0, len(chunk), _ROWS):
            some = chunk[first : first + _ROWS]
            table[done + first : done + first + len(some)] = some
    return out


def _placed(read: Callable[[Slices], np.ndarray], like: jax.ShapeDtypeStruct, sharding: Sharding | None) -> jax.Array:
    if sharding is None:
        whole = jax.device_put(read((slice(None),) * len(like.shape)))
        return whole.block_until_ready()  # so that the host's copy goes before the next is made
    parts: dict[str, np.ndarray] = {}  # devices that hold the same part share one reading of it

    def part(index: Slices | None) -> np.ndarray:
        assert index is not None  # of a device that holds a part, as JAX asserts too
        key = str(index)
        if key not in parts:
            parts[key] = read(index)
        return parts[key]

    return jax.make_array_from_callback(like.shape, sharding, part).block_until_ready()


def _flat(tree: Any) -> dict[str, Any]:
    """Leaves by path, as in "layers_0/mlp/up_proj"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *parents, last = name.split("/")
        inner = tree
        for part in parents:
            inner = inner.setdefault(part, {})
        inner[last] = leaf
    return tree


@partial(jax.jit, static_argnums=1)
def _logits(params: decoder.Params, config: Config, tokens: jax.Array, positions: jax.Array) -> jax.Array:
    return decoder.unembed(params, config, decoder.hidden(params, config, tokens, positions=positions))
