"""Models of shapes alone, placed as loaded ones would be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from cai_jax.models.checkpoint import Model
    from cai_jax.models.config import Config

Devices: TypeAlias = 'Mesh | Literal["one", "pmap"]'  # as `node_devices.devices_of` gives them
Tree = Any  # a pytree of ShapeDtypeStruct


def abstract(config: Config, dtype: str, devices: Devices, trained: bool, scored: bool) -> Model:
    """A model as `model_store.model_of` would place it, of shapes alone."""
    import jax

    from cai_jax.models import decoder
    from cai_jax.models.checkpoint import Model

    params = jax.eval_shape(lambda: decoder.init(config, jax.random.key(0)))
    params = _laid(decoder.trunk(params) if scored else params, dtype, devices, trained)
    return Model(config, params, None, _head(config, devices) if scored else None)


def adapted(below: Model, rank: int, dtype: str, devices: Devices, trained: bool, scored: bool) -> Model:
    """A model with an adapter of this rank on top of another, whose shapes it shares."""
    import jax

    from cai_jax.models import decoder, lora

    fresh = jax.eval_shape(lambda params: lora.init(params, rank, jax.random.key(0)), below.params)
    params = on_top(below.params, _laid(fresh, dtype, devices, trained))
    head = _head(below.config, devices) if scored else None
    return replace(below, params=decoder.trunk(params) if scored else params, head=head)


def on_top(params: Mapping[str, Tree], adapter: Mapping[str, Tree]) -> dict[str, Tree]:
    """`lora.joined` of shapes."""
    import jax

    found = dict(params)
    for name, leaf in adapter.items():
        if isinstance(leaf, Mapping):
            found[name] = on_top(found[name], leaf)
        elif name in found:
            side = 1 if name.endswith("_a") else 0
            shape = [*leaf.shape]
            shape[side] += found[name].shape[side]
            found[name] = jax.ShapeDtypeStruct(tuple(shape), leaf.dtype, sharding=leaf.sharding)
        else:
            found[name] = leaf
    return found


def _head(config: Config, devices: Devices) -> Tree:
    import jax

    head = {"kernel": (config.hidden_size,), "bias": ()}
    shapes = {name: jax.ShapeDtypeStruct(shape, "float32") for name, shape in head.items()}
    return _laid({"head": shapes}, "float32", devices, trained=False)["head"]


def _laid(tree: Tree, dtype: str, devices: Devices, trained: bool) -> Tree:
    """Shapes in a dtype where a model's leaves lie."""
    import jax

    from cai_jax.parallel import target
    from cai_jax.parallel.sharding_rules import SERVED, TRAINED, shardings

    if isinstance(devices, str):
        one = jax.sharding.SingleDeviceSharding(target.local_devices()[0])
        where = jax.tree.map(lambda _: one, tree)
    else:
        where = shardings(tree, devices, TRAINED if trained else SERVED)
    return jax.tree.map(lambda x, at: jax.ShapeDtypeStruct(x.shape, dtype, sharding=at), tree, where)


def weights(model: Model) -> Tree:
    return model.params if model.head is None else {"decoder": model.params, "head": model.head}
