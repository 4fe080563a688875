"""cuDNN's flash attention, for NVIDIA GPUs, through `jax.nn.dot_product_attention`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from cai_jax.models.attention.cases import KV, Case

_WIDTHS = range(8, 129, 8)  # of heads


def can(q: Array, kv: KV, case: Case) -> bool:
    """Accept half precision only; no decoding, no packed texts or alternatives, no softcap.

    Padding is on the right, after every query that counts, so that no lengths are needed.
    """
    plain = case.starts is None and case.segments is None and case.groups is None and case.softcap is None
    return plain and q.dtype in (jnp.bfloat16, jnp.float16) and q.shape[3] in _WIDTHS


def attention(q: Array, kv: KV, case: Case) -> tuple[Array, Array | None]:
    """Compute attention as `cases.Kernel` says."""
    k, v = (x.swapaxes(1, 2) for x in kv)
    window = None if case.window is None else (case.window - 1, 0)
    if case.prefix:
        return jax.nn.dot_product_attention(
            q,
            k,
            v,
            scale=case.scale,
            is_causal=True,
            local_window_size=window,
            implementation="cudnn",
            return_residual=True,
        )
    seen = jax.nn.dot_product_attention(
        q, k, v, scale=case.scale, is_causal=True, local_window_size=window, implementation="cudnn"
    )
    return seen, None
