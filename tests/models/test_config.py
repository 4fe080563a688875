"""Shapes in and out of config.json."""

import subprocess
import sys

import pytest

from cai_jax.models.config import Config, ModelError, parameters
from cai_jax.models.shapes import SHAPES


@pytest.mark.parametrize("name", SHAPES)
def test_a_known_shape_survives_its_config_json(name):
    assert Config.from_hf(SHAPES[name].to_hf()) == SHAPES[name]


# Counts of the published checkpoints.
@pytest.mark.parametrize(
    "name, count",
    [
        ("llama-3.1-8b", 8_030_261_248),
        ("llama-3.2-1b", 1_235_814_400),
        ("llama-3.1-70b", 70_553_706_496),
        ("tinyllama-1.1b", 1_100_048_384),
        ("smollm2-135m", 134_515_008),
        ("mistral-7b", 7_241_732_096),
        ("qwen2.5-0.5b", 494_032_768),
        ("qwen2.5-7b", 7_615_616_512),
        ("qwen3-8b", 8_190_735_360),
        ("gemma-2-2b", 2_614_341_888),
        ("gemma-2-9b", 9_241_705_984),
        ("gemma-3-1b", 999_885_952),
        ("gpt2", 124_439_808),
        ("pythia-1.4b", 1_414_647_808),
        ("olmo-2-7b", 7_298_617_344),
        ("phi-3-mini", 3_821_079_552),
    ],
)
def test_known_shapes_have_the_published_size(name, count):
    assert parameters(SHAPES[name]) == count


def test_several_end_tokens():
    values = SHAPES["llama-3.1-8b"].to_hf() | {"eos_token_id": [128001, 128008, 128009]}
    assert Config.from_hf(values).eos_ids == (128001, 128008, 128009)


def test_a_missing_field_is_named():
    values = SHAPES["tiny"].to_hf()
    del values["hidden_size"]
    with pytest.raises(ModelError, match="config.json lacks 'hidden_size'"):
        Config.from_hf(values)


def test_shapes_need_no_jax():
    code = "import sys, cai_jax.models.shapes; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
