"""One of two processes with four devices each (see test_sharded.py) that load models onto one mesh of eight.

Arguments: folders of models. Prints a JSON list, for every model what it read.
"""

import json
import sys

import jax
import numpy as np

from cai_jax.models import checkpoint, safetensors_io
from cai_jax.parallel import multihost
from cai_jax.parallel.mesh import make_mesh
from cai_jax.parallel.sharding_rules import shardings

counted = 0
read = safetensors_io._part


def count(tensor, rows, columns):
    global counted
    found = read(tensor, rows, columns)
    counted += found.nbytes
    return found


def inspect(path, mesh):
    """Bytes read and held of one model, those of matrices held, and all of them; and whether the parts are right."""
    global counted
    whole = jax.tree.leaves(checkpoint.load(path).params)
    counted = 0
    laid = jax.tree.leaves(checkpoint.load(path, shardings=lambda tree: shardings(tree, mesh)).params)
    found = {"read": counted, "held": 0, "matrices": 0, "all matrices": 0, "right": True}
    for leaf, wanted in zip(laid, whole, strict=True):
        parts = {str(shard.index): shard for shard in leaf.addressable_shards}.values()
        held = sum(shard.data.nbytes for shard in parts)
        found["held"] += held
        found["matrices"] += held * (leaf.ndim == 2)
        found["all matrices"] += wanted.nbytes * (leaf.ndim == 2)
        found["right"] &= all(np.array_equal(shard.data, wanted[shard.index]) for shard in parts)
    return found


def main():
    multihost.join()
    safetensors_io._part = count
    # The first of the axes that cut matrices runs over the processes.
    mesh = make_mesh(1, 2, 4)
    json.dump([inspect(path, mesh) for path in sys.argv[1:]], sys.stdout)


if __name__ == "__main__":
    main()
