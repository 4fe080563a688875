import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai_jax.data.packing import first_fit, pack


def test_worked_by_hand():
    packed = pack([[1, 2, 3], [4, 5, 6, 7], [8], [9, 10]], 5, weights=[[0, 1, 1], [1] * 4, [0.5], [1, 1]], pad=99)
    np.testing.assert_array_equal(packed.tokens, [[1, 2, 3, 8, 99], [4, 5, 6, 7, 99], [9, 10, 99, 99, 99]])
    np.testing.assert_array_equal(packed.segments, [[1, 1, 1, 2, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 0]])
    np.testing.assert_array_equal(packed.positions, [[0, 1, 2, 0, 0], [0, 1, 2, 3, 0], [0, 1, 0, 0, 0]])
    np.testing.assert_array_equal(packed.weights, [[0, 1, 1, 0.5, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 0]])
    assert [array.dtype for array in packed] == [np.int32, np.int32, np.int32, np.float32]


def test_without_weights_every_token_counts_once():
    packed = pack([[1, 2], [3]], 2)
    np.testing.assert_array_equal(packed.weights, [[1, 1], [1, 0]])


def by_scanning(lengths, length):
    """First fit as its definition says it."""
    rows, room = [], []
    for document, need in enumerate(lengths):
        for row in range(len(rows)):
            if room[row] >= need:
                break
        else:
            row = len(rows)
            rows.append([])
            room.append(length)
        rows[row].append(document)
        room[row] -= need
    return rows


@given(st.lists(st.integers(1, 16), max_size=70))
def test_first_fit_is_first_fit(lengths):
    assert first_fit(lengths, 16) == by_scanning(lengths, 16)


@pytest.mark.parametrize("length", [0, 6])
def test_what_does_not_fit_is_refused(length):
    with pytest.raises(ValueError, match=f"document 1 has {length} tokens"):
        pack([[1], [1] * length], 5)


def test_no_documents_no_rows():
    assert pack([], 8).tokens.shape == (0, 8)
