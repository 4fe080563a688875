"""One of two processes with two devices each (see test_multihost.py), which write and score as one.

Prints the largest difference from one device.
"""

import json
import sys

from cai_jax.parallel import multihost


def main():
    multihost.join()
    from cai_jax.parallel.mesh import make_mesh
    from tests.parallel import _engine as engine

    # Rows are split over the processes, heads over the devices of each.
    json.dump(engine.difference(make_mesh(2, 1, 2)), sys.stdout)


if __name__ == "__main__":
    main()
