import jax
import pytest

from cai_jax.models import decoder
from cai_jax.models.config import Config


@pytest.fixture(scope="session")
def config():
    return Config(37, 16, 2, 4, 2, 4, 24, max_position=128, eos_ids=(0,))


@pytest.fixture(scope="session")
def params(config):
    return decoder.init(config, jax.random.key(3))
