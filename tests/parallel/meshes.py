"""Run with eight virtual CPU devices (see test_step.py): every step on every kind of mesh that eight.py leaves out.

Prints one JSON object: for every step and mesh, the largest difference from one device.
"""

import json
import sys

import jax

from cai_jax.parallel.mesh import make_mesh
from tests.parallel import eight

MESHES = {
    "data": make_mesh(8),
    "fsdp": make_mesh(1, 8, 1),
    "tensor": make_mesh(1, 1, 4, devices=jax.devices()[:4]),
    "mixed": make_mesh(2, 2, 2),
}


def main():
    found = {}
    for step, (run, ways) in eight.CASES.items():
        alone = jax.device_get(run("one"))
        for name, mesh in MESHES.items():
            if name not in ways:
                found[f"{step} {name}"] = eight.difference(run(mesh), alone)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
