"""Shapes in and out of config.json."""

import copy
import math
import os
import random
import subprocess
import sys
import time

import pytest
import transformers

from cai_jax.models.config import Config, ModelError, parameters, read_json
from cai_jax.models.shapes import SHAPES
from tests.support import families, published


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


HOSTILE = (
    None, True, False, -1, 0, 1, 3, 2**31, 10**400, 0.0, -0.5, 0.3, 1e-320, 1e300, math.inf, math.nan, "", "x", "8",
    [], [1], [None], ["x"], [-1, 2], [[[[1]]]], {}, {"a": 1}, {"rope_type": "linear"}, {"factor": math.nan},
    {"full_attention": [1]}, {"sliding_attention": {"rope_type": "linear", "factor": 2.0}},
)  # fmt: skip


def mutants(values):
    """Every field left out, and replaced by every hostile value; also those within fields."""
    for key, old in values.items():
        yield {name: value for name, value in values.items() if name != key}
        yield from ({**values, key: value} for value in HOSTILE)
        if isinstance(old, dict):
            yield from ({**values, key: inner} for inner in mutants(old))
    extra = ("rope_parameters", "rope_scaling", "layer_types", "sliding_window", "use_sliding_window", "score_offset")
    extra += ("max_window_layers", "sliding_window_pattern", "partial_rotary_factor", "quantization_config")
    yield from ({**values, key: value} for key in extra if key not in values for value in HOSTILE)


@pytest.mark.parametrize("name", published.CONFIGS)
def test_a_config_of_any_content_is_a_decoder_or_an_error(name):
    rng = random.Random(name)
    first = list(mutants(published.CONFIGS[name]))
    twice = [rng.choice(list(mutants(rng.choice(first)))) for _ in range(20)]
    decoders = 0
    for values in [*first, *twice, {}]:
        begun = time.process_time()
        try:
            config = Config.from_hf(values)
        except ModelError as error:
            assert "config.json" in str(error) or error.hint or "heads" in str(error) or "windows" in str(error), error
        else:
            decoders += 1
            assert parameters(config) > 0 and config.period >= 1 and hash(config) is not None
            assert config.layers <= 1000 and config.vocab_size > 0
            assert all(isinstance(number, int) and number >= 0 for number in config.eos_ids)
            try:
                assert Config.from_hf(config.to_hf()) == config
            except ModelError as error:
                assert "has no place for" in str(error)
        assert time.process_time() - begun < 1
    assert 20 < decoders < len(first)


def test_json_of_any_content_is_an_object_or_an_error(tmp_path):
    file = tmp_path / "config.json"
    for text in (b"", b"\xff\xfe", b"[" * 100_000, b'{"a": ' + b"9" * 10_000 + b"}", b"[1]", b"null", b'"x"', b"{"):
        file.write_bytes(text)
        with pytest.raises(ModelError, match="config.json (is not valid JSON|holds no JSON object)"):
            read_json(file)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ModelError, match="config.json is no regular file"):
        read_json(file)
    with pytest.raises(ModelError, match="is no regular file|cannot be read"):
        read_json(tmp_path)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"attention_factor": 1.2}, "scaling 'longrope' with 'attention_factor'; that is not supported"),
        ({"short_factor": [1.0]}, "short_factor of another length than 4"),
        ({"long_factor": [1.0, 2.0, 3.0, -4.0]}, "long_factor with -4.0; it is a number above 0"),
    ],
)
def test_a_stretch_that_would_be_another_is_refused(changes, message):
    values = published.CONFIGS["microsoft/Phi-3-mini-128k-instruct"]
    with pytest.raises(ModelError, match=message):
        Config.from_hf({**values, "rope_scaling": {**values["rope_scaling"], **changes}})


@pytest.mark.parametrize("case", ["phi3-long", "llama-llama3"])
@pytest.mark.parametrize("above, within", [(32, 64), (64, 32), (32, None), (None, 32)])
def test_the_original_context_is_the_one_that_transformers_takes(case, above, within):
    """One beside the stretch goes before its own; Phi-3's class has one there where config.json has none."""
    key = "original_max_position_embeddings"
    values = families.configuration(case).to_dict()
    values["rope_parameters"][key], values[key] = within, above
    for held in (values, values["rope_parameters"]):
        if held[key] is None:
            del held[key]
    theirs = transformers.AutoConfig.for_model(**copy.deepcopy(values))
    theirs.standardize_rope_params()  # as each of their models does again
    ours = Config.from_hf(values).rope_scaling.original_max_position_embeddings
    assert ours == theirs.rope_parameters[key] == (above or (4096 if case == "phi3-long" else within))


def test_a_part_of_rotary_channels_is_refused_where_a_family_has_none():
    values = published.CONFIGS["TinyLlama/TinyLlama-1.1B-Chat-v1.0"]
    for changes in ({"partial_rotary_factor": 0.5}, {"rope_parameters": {"partial_rotary_factor": 0.5}}):
        with pytest.raises(ModelError, match="sets partial_rotary_factor; only 1 is supported"):
            Config.from_hf(values | changes)
