"""Any part of any leaf is found in the file's tensor."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cai_jax.models.hf_layout import Stored


@st.composite
def stored(draw):
    """A tensor of up to three leaves in up to three groups, its leaves, and a part of one of them."""
    inputs, matrix = draw(st.integers(1, 4)), draw(st.booleans())
    transposed = matrix and draw(st.booleans())
    widths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    groups = draw(st.integers(1, 3)) if transposed or not matrix else 1
    total = groups * sum(widths)
    shape = ((total, inputs) if transposed else (inputs, total)) if matrix else (total,)
    leaves, seen = {}, 0
    for number, width in enumerate(widths):
        size = (inputs, groups * width) if matrix else (groups * width,)
        leaves[f"{number}"] = np.arange(seen, seen + np.prod(size)).reshape(size)
        seen += np.prod(size)
    tensor = Stored("name", shape, tuple(leaves), tuple(widths), groups, transposed)
    path = draw(st.sampled_from(sorted(leaves)))
    index = []
    for size in leaves[path].shape:
        start = draw(st.integers(0, size - 1))
        index.append(slice(start, draw(st.integers(start + 1, size))))
    return tensor, leaves, path, tuple(index)


@given(stored())
def test_a_part_is_read_where_joining_has_put_it(case):
    tensor, leaves, path, index = case
    file = tensor.joined(leaves)
    assert file.shape == tensor.shape and file.flags.c_contiguous
    table = file if file.ndim == 2 else file[:, None]
    rows, columns = tensor.where(path, index)
    found = np.concatenate([table[run] for run in rows])[:, columns]
    wanted = leaves[path][index]
    np.testing.assert_array_equal(
        found.T if tensor.transposed else found, wanted if wanted.ndim == 2 else wanted[:, None]
    )


def test_heads_alternate_by_hand():
    """GPT-NeoX: q, k and v of the first head, then of the second."""
    leaves = {name: np.arange(4)[None] + 10 * place for place, name in enumerate("qkv")}
    tensor = Stored("qkv", (12, 1), tuple("qkv"), (2, 2, 2), groups=2, transposed=True)
    assert tensor.joined(leaves)[:, 0].tolist() == [0, 1, 10, 11, 20, 21, 2, 3, 12, 13, 22, 23]
    assert tensor.outputs("k", slice(1, 4)) == [slice(3, 4), slice(8, 10)]
