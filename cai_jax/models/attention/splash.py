"""JAX's Splash attention, a Pallas kernel for TPUs; elsewhere it is interpreted, which is slow but the same."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P

from cai_jax.models import attention_blocks
from cai_jax.models.attention.cases import KV, Case
from cai_jax.parallel import target
from cai_jax.parallel.mesh import HEADS, ROWS
from cai_jax.parallel.placement import mesh_set
from cai_jax.parallel.sharding_rules import spec_that_divides


def can(q: Array, kv: KV, case: Case) -> bool:
    """Accept all but decoding and alternatives; rows must be a multiple of 128 tokens long."""
    return case.starts is None and case.groups is None and q.shape[1] % attention_blocks.LANES == 0


def attention(q: Array, kv: KV, case: Case) -> tuple[Array, Array | None]:
    """Compute attention as `cases.Kernel` says. With a prefix, which only inference has, it is not differentiable."""
    width = q.shape[3]
    padding = [(0, 0)] * 3 + [(0, -width % attention_blocks.LANES)]
    q, k, v = (jnp.pad(x, padding) for x in (q.swapaxes(1, 2) * case.scale, *kv))
    segments = jnp.zeros((q.shape[0], q.shape[2]), jnp.int32) if case.segments is None else case.segments
    run = functools.partial(_rows, window=case.window, softcap=case.softcap, residual=bool(case.prefix))
    seen, log_total = _sharded(run, q.shape, k.shape)(q, k, v, segments)
    seen = seen[..., :width].swapaxes(1, 2).astype(kv.v.dtype)
    return seen, None if log_total is None else log_total.swapaxes(1, 2)


def _rows(
    q: Array, k: Array, v: Array, segments: Array, *, window: int | None, softcap: float | None, residual: bool
) -> tuple[Array, Array | None]:
    """Run the kernel over rows: q `[B, N, T, H]`, k and v `[B, K, T, H]`, segments `[B, T]`."""
    from jax.experimental.pallas.ops.tpu import splash_attention as splash

    heads, length = q.shape[1:3]
    size = (length, length)
    one = splash.CausalMask(size) if window is None else splash.LocalMask(size, (window - 1, 0), 0)
    block = attention_blocks.kernel(length)
    sizes = splash.BlockSizes(
        block_q=block, block_kv=block, block_q_dkv=block, block_kv_dkv=block, block_q_dq=block, block_kv_dq=block
    )
    kernel = splash.make_splash_mha(
        splash.MultiHeadMask([one] * heads),
        block_sizes=sizes,
        save_residuals=residual,
        attn_logits_soft_cap=softcap,
        head_shards=1,
        q_seq_shards=1,
        interpret=target.platform() != "tpu",
    )
    found = jax.vmap(kernel)(q, k, v, splash.SegmentIds(segments, segments))
    return (found[0], found[1][0]) if residual else (found, None)


def _sharded(run: Callable, queries: tuple[int, ...], keys: tuple[int, ...]) -> Callable:
    """Return `run` on each device's own rows and heads, where a mesh is set: XLA cannot divide a kernel by itself.

    Every device takes all of the rows, or heads, that do not divide; `queries` and `keys` are their shapes.
    """
    mesh = mesh_set()
    if mesh is None:
        return run
    whole = P(ROWS, HEADS, None, None)
    rows = min(
        (spec_that_divides(whole, shape, mesh) for shape in (queries, keys)), key=lambda spec: spec[1] is not None
    )
    in_specs = (rows, rows, rows, P(rows[0]))
    # A kernel does not say how its outputs vary over the mesh, so that cannot be checked.
    out_specs = (rows, P(*rows[:3]))  # the logarithms of the sums have no width
    return jax.shard_map(run, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
