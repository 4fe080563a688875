"""Keys of draws."""

import itertools
import subprocess
import sys

import numpy as np

from cai_jax.engine.rng import row_key

BASE = (0, 0, "sample", "reply", "abc", 0, 0)


def test_a_key_is_two_words_and_the_same_everywhere():
    key = row_key(*BASE)
    assert key.dtype == np.uint32 and key.shape == (2,)
    # Pinned: a change here changes the draws of every run.
    assert key.tolist() == [2204123448, 2497780129]


def test_every_part_of_the_identity_matters():
    others = [1, 1, "revise", "critique", "abd", 1, 1]
    identities = [BASE] + [(*BASE[:i], other, *BASE[i + 1 :]) for i, other in enumerate(others)]
    assert len({tuple(row_key(*identity)) for identity in identities}) == len(identities)


def test_parts_cannot_run_into_each_other():
    assert not np.array_equal(row_key(0, 0, "ab", "c", "", 0, 0), row_key(0, 0, "a", "bc", "", 0, 0))


def test_bits_are_balanced():
    keys = np.stack([row_key(run, 0, "s", "r", "h", n, 0) for run, n in itertools.product(range(20), range(50))])
    ones = np.unpackbits(keys.view(np.uint8), axis=1).mean(axis=0)
    assert np.abs(ones - 0.5).max() < 5 * 0.5 / 1000**0.5  # five standard errors


def test_keys_need_no_jax():
    code = "import sys, cai_jax.engine.rng; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
