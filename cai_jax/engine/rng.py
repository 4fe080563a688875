"""Keys for sampling that depend on what is drawn, never on the order or the batch of the draws. Imports no JAX."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def row_key(
    run_seed: int, seed: int, stage: str, purpose: str, text_hash: str, occurrence: int, sample: int | tuple[int, ...]
) -> np.ndarray:
    """Return the threefry key, uint32 `[2]`, of one row's draws: a BLAKE2b digest of the arguments.

    Args:
      run_seed: the run's seed; seed: the `seed=` of the expression.
      stage, purpose: of the draw ("reply", "critique round 2").
      text_hash: hash of the prompt's text; occurrence: its number among equal prompts.
      sample: number of the reply to it; an integer, or several as a tuple.
    """
    identity = json.dumps([run_seed, seed, stage, purpose, text_hash, occurrence, sample])
    digest = hashlib.blake2b(identity.encode(), digest_size=8).digest()
    return np.frombuffer(digest, "<u4").astype(np.uint32)
