"""One of two processes with two devices each (see test_processes.py), which write and score as one.

Arguments: its number and the coordinator's address. Prints the largest difference from one device.
"""

import json
import sys

import jax

from cai_jax.parallel.mesh import make_mesh
from tests.parallel import engine


def main():
    number, address = sys.argv[1:]
    jax.distributed.initialize(address, num_processes=2, process_id=int(number))
    # Rows are split over the processes, heads over the devices of each.
    json.dump(engine.difference(make_mesh(2, 1, 2)), sys.stdout)


if __name__ == "__main__":
    main()
