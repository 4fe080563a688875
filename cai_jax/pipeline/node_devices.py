"""The devices that a node runs on: what its schedule asks for (`with (mesh=…)`), on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from cai_jax.errors import UserError
from cai_jax.pipeline.context import CompilingContext

if TYPE_CHECKING:
    from jax.sharding import Mesh


def devices_of(ctx: CompilingContext) -> Mesh | Literal["one", "pmap"]:
    """A mesh, or "one" for this process's first device, or "pmap"; noted in the node's schedule.

    Raises:
      UserError: the mesh asked for does not fit the devices at hand.
    """
    from cai_jax.parallel import multihost, target
    from cai_jax.parallel.mesh import make_mesh

    asked: Literal["auto", "one", "pmap"] | Mapping[str, int] = ctx.node.schedule.get("mesh", "auto")
    if asked == "auto" and len(target.devices()) == 1:
        asked = "one"
    if asked == "pmap" and multihost.is_multihost():
        raise UserError(
            "pmap maps a step over the devices of one process, and this run has several",
            "use  with (mesh=auto)  or a mesh(…)",
        )
    if asked == "one" or asked == "pmap":
        ctx.used(mesh=asked)
        return asked
    wanted: Mapping[str, int] = {} if asked == "auto" else asked
    sizes: dict[str, Any] = {**wanted, "data": wanted.get("data") or -1}
    try:
        mesh = make_mesh(**sizes)
    except ValueError:
        shape = ", ".join(f"{axis}={size}" for axis, size in wanted.items() if size)
        raise UserError(
            f"mesh({shape}) does not fit the {len(target.devices())} devices of this machine",
            "choose sizes whose product is the number of devices, or leave data= out",
        ) from None
    ctx.used(mesh=dict(mesh.shape))
    return mesh
