"""The processes of one run, one on every host: they make the same plan, run the same loop, and write once.

A value that could differ between them (a clock, a signal, the contents of a disk) is taken from the first, or from all,
before any process acts on it. So all of them must call these functions in the same order. In a run of one process they
do nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cai_jax.errors import UserError

if TYPE_CHECKING:
    import jax
    import numpy as np
    from jax.sharding import Sharding

# Bytes that one process sends to the others at a time: room for a flag, a path, an error.
_MESSAGE = 1 << 14


def join() -> None:
    """Make this process one of several (`jax.distributed`); to be called before any other function of JAX.

    On a TPU slice, under Slurm, MPI and Kubernetes JAX finds the others by itself. Elsewhere JAX_COORDINATOR_ADDRESS
    (host:port of the first process), JAX_NUM_PROCESSES and JAX_PROCESS_ID say where they are.

    Raises:
      UserError: nothing says where, or the others cannot be reached.
    """
    import jax

    try:
        count, place = (
            int(os.environ[name]) if name in os.environ else None for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
        )
        # A preemption is noticed by runs/signals.py, together with Ctrl-C.
        jax.config.update("jax_enable_preemption_service", False)
        jax.distributed.initialize(num_processes=count, process_id=place)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"the other processes of this run cannot be found: {error}",
            "set JAX_COORDINATOR_ADDRESS=host:port, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or run without --distributed",
        ) from None


def is_multihost() -> bool:
    """Return True if this is one of several processes."""
    jax = sys.modules.get("jax")  # which a run out of the cache must not import
    return jax is not None and jax.distributed.is_initialized() and jax.process_count() > 1


def process_index() -> int:
    """Return the index of this process, from 0 on."""
    return sys.modules["jax"].process_index() if is_multihost() else 0


def is_leader() -> bool:
    """Return True if this process is the one that writes."""
    return process_index() == 0


def run_on_leader(work: Callable[[], Any]) -> Any:
    """Return on all processes the result of `work` on the first (a JSON value of at most 16 KiB).

    Raises:
      UserError, OSError: on all of them, if `work` does on the first.
    """
    if not is_multihost():
        return work()
    told, raised = {}, None
    if is_leader():
        try:
            told["value"] = work()
        except (UserError, OSError) as error:
            raised = error
            if isinstance(error, UserError) and error.hint is not None:
                told["error"] = [error.message, error.hint]
            else:
                told["error"] = [str(error), None]
    told = _broadcast_from_leader(told)
    if raised is not None:
        raise raised
    if "error" in told:
        message, hint = told["error"]
        raise OSError(message) if hint is None else UserError(message, hint)
    return told["value"]


def max_over_processes(value: int | bool) -> int:
    """Return the largest of the processes' values, on all of them."""
    if not is_multihost():
        return int(value)
    import numpy as np
    from jax.experimental import multihost_utils

    return int(multihost_utils.process_allgather(np.int32(value)).max())


def barrier() -> None:
    """Wait for all processes."""
    max_over_processes(0)


def to_host(x: Any) -> np.ndarray:
    """Return an array on the host, also if its parts are on several hosts."""
    import jax
    import numpy as np

    if isinstance(x, jax.Array) and not (x.is_fully_addressable or x.is_fully_replicated):
        from jax.experimental import multihost_utils

        return multihost_utils.process_allgather(x, tiled=True)
    return np.asarray(x)


def from_host(x: np.ndarray, sharding: Sharding) -> jax.Array:
    """Put a host's array, which is the same on all of them, on the devices; each process gives its own their parts."""
    import jax

    if sharding.is_fully_addressable:
        return jax.device_put(x, sharding)
    # `device_put` would send it all around, to compare.
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def _broadcast_from_leader(value: Any) -> Any:
    import numpy as np
    from jax.experimental import multihost_utils

    text = json.dumps(value).encode()
    if len(text) > _MESSAGE:
        raise ValueError(f"a message of {len(text)} bytes is too long to be told to the other processes")
    sent = np.frombuffer(text.ljust(_MESSAGE), np.uint8)
    return json.loads(multihost_utils.broadcast_one_to_all(sent).astype(np.uint8).tobytes())
