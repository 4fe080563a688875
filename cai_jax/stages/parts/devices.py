"""The devices that a node runs on: what its schedule asks for (`with (mesh=…)`), on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cai_jax.errors import UserError

if TYPE_CHECKING:
    from jax.sharding import Mesh


def devices_of(ctx) -> Mesh | Literal["one", "pmap"]:
    """A mesh, or "one" for the first device, or "pmap"; noted in the node's schedule.

    Raises:
      UserError: the mesh asked for does not fit this machine.
    """
    import jax

    from cai_jax.parallel.mesh import make_mesh

    asked = ctx.node.schedule
    mesh = asked.get("mesh", "auto")
    sizes = {"data": asked.get("data", 0) or -1, "fsdp": asked.get("fsdp", 1), "tensor": asked.get("tensor", 1)}
    if mesh == "auto" and len(jax.devices()) == 1 and list(sizes.values()) == [-1, 1, 1]:
        mesh = "one"
    if mesh == "auto":
        try:
            mesh = make_mesh(**sizes)
        except ValueError:
            shape = ", ".join(f"{axis}={size}" for axis, size in sizes.items() if size > 1)
            raise UserError(
                f"with ({shape}) does not fit the {len(jax.devices())} devices of this machine",
                "choose sizes whose product is the number of devices, or leave data= out",
            ) from None
    ctx.used(**({"mesh": mesh} if isinstance(mesh, str) else {"mesh": "mesh", **mesh.shape}))
    return mesh
