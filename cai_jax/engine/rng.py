"""Keys for sampling that depend on what is drawn, never on when or beside what. Imports no JAX."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def row_key(
    run_seed: int, seed: int, stage: str, purpose: str, text_hash: str, occurrence: int, sample: int | tuple[int, ...]
) -> np.ndarray:
    """The threefry key, uint32 `[2]`, of one row's draws.

    Args:
      run_seed: the run's seed; seed: the `seed=` of the expression.
      stage, purpose: who draws, and what for ("reply", "critique round 2").
      text_hash: hash of the prompt's text; occurrence: which of several equal prompts it is.
      sample: which of several replies to it; an integer, or several as a tuple.
    """
    identity = json.dumps([run_seed, seed, stage, purpose, text_hash, occurrence, sample])
    digest = hashlib.blake2b(identity.encode(), digest_size=8).digest()
    return np.frombuffer(digest, "<u4").astype(np.uint32)
