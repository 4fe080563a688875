"""Assignment of the dimensions of parameters to mesh axes: a table of regular expressions.

The expressions are searched in a leaf's path ("policy/opt_state/1/0/mu/layers_0/mlp/up_proj"), so that a
parameter, its moments and its place in a larger state all meet the same rule. The layout is that of arXiv 1909.08053
over "tensor" and of arXiv 1910.02054 over "fsdp".
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

# Kernels are [in, out]. Columns of the first product and rows of the second are split over "tensor", so that a block
# needs one all-reduce each for attention and feed-forward; the other dimension is gathered over "fsdp".
RULES = (
    (r"(^|/)embed$", P("tensor", "fsdp")),
    (r"(^|/)embed_positions$", P(None, "fsdp")),
    (r"(^|/)unembed$", P("fsdp", "tensor")),
    (r"attention/(q|k|v)_proj$", P("fsdp", "tensor")),
    (r"attention/o_proj$", P("tensor", "fsdp")),
    (r"mlp/(gate|up)_proj$", P("fsdp", "tensor")),
    (r"mlp/down_proj$", P("tensor", "fsdp")),
    # An adapter's A is split as the inputs of its kernel, its B as the outputs; the rank between them is small.
    (r"attention/(q|k|v)_proj_a$|mlp/(gate|up)_proj_a$", P("fsdp", None)),
    (r"attention/(q|k|v)_proj_b$|mlp/(gate|up)_proj_b$", P(None, "tensor")),
    (r"(o|down)_proj_a$", P("tensor", None)),
    (r"(o|down)_proj_b$", P(None, "fsdp")),
    # A bias is split as the outputs that it is added to; after a row-wise product it is added once, to the whole.
    (r"attention/(q|k|v)_bias$|mlp/(gate|up)_bias$", P("tensor")),
    (r"(o|down)_bias$|norm(_bias)?$|head/(kernel|bias)$", P()),
    (r"ns_coeffs$", P()),  # Muon's polynomial, kept in its state
)


# Axes that split parameters. Training gathers them layer by layer over "fsdp"; inference, which would gather them
# for every token, holds copies along it.
TRAINED, SERVED = ("fsdp", "tensor"), ("tensor",)


def spec_that_divides(spec: P, shape: tuple[int, ...], mesh: Mesh | AbstractMesh) -> P:
    """Return the spec without the axes whose size does not divide their dimension: that dimension is kept whole."""

    def parts(axes: str | tuple[str, ...] | None) -> int:
        names = (axes,) if isinstance(axes, str) else axes or ()
        return math.prod(mesh.shape[name] for name in names)

    return P(*(axes if size % parts(axes) == 0 else None for axes, size in zip(spec, shape, strict=True)))


def shardings(tree: Any, mesh: Mesh | AbstractMesh, axes: Collection[str] = TRAINED) -> Any:
    """Return a NamedSharding for every leaf of `tree` (arrays or shape structs), by the first of `RULES` that matches.

    Scalars (step counters, coefficients) are replicated, and so is a dimension that its axis does not divide, or whose
    axis is not among `axes`.

    Raises:
      ValueError: no rule matches a leaf, or the rule has another number of dimensions.
    """

    def of(path: jax.tree_util.KeyPath, leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if leaf.ndim == 0:
            return NamedSharding(mesh, P())
        for pattern, spec in RULES:
            if re.search(pattern, name):
                if spec and len(spec) != leaf.ndim:
                    raise ValueError(f"{name} has shape {leaf.shape}, but the rule {pattern!r} says {spec}")
                kept = P(*(axis if axis in axes else None for axis in spec))
                return NamedSharding(mesh, spec_that_divides(kept, leaf.shape, mesh) if spec else P())
        raise ValueError(f"no partition rule for {name} of shape {leaf.shape}")

    return jax.tree_util.tree_map_with_path(of, tree)
