"""What all tests share: a folder of compiled functions, and patience with examples that are drawn."""

import os
import tempfile

from hypothesis import settings

from tests.support.processes import CHEAP

settings.register_profile("patient", deadline=None)  # a busy machine takes as long as it takes
settings.load_profile("patient")


def pytest_configure(config):
    """Workers of -n, and the processes that tests start, compile nothing that another has compiled."""
    # Slow tests run long enough to be worth XLA's dear passes.
    if config.option.markexpr == "not slow":
        os.environ["XLA_FLAGS"] = f"{CHEAP} {os.environ.get('XLA_FLAGS', '')}"
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="cai-jax-tests-")
        os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
        config.add_cleanup(folder.cleanup)
    # Reading what took less costs about as much.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
