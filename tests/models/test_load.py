"""`cai_jax.load`: what can be given, and what is said of the rest."""

import subprocess
import sys

import numpy as np
import pytest

import cai_jax
from cai_jax.models.config import ModelError

IDS = [[5, 17, 200, 33], [4, 81]]


@pytest.fixture
def cached(directory, tmp_path, monkeypatch):
    """The random Llama as org/name of the local Hugging Face cache."""
    folder = tmp_path / "models--org--name"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots").mkdir()
    (folder / "snapshots" / "abc").symlink_to(directory, target_is_directory=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


def test_a_folder_and_both_ways_to_name_the_cache(cached, directory):
    first, *others = (cai_jax.load(name).logits(IDS) for name in (directory, "hf:org/name", "org/name"))
    assert first.shape == (2, 4, 300)
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_the_built_in_model_speaks():
    model = cai_jax.load("builtin:tiny", dtype="bfloat16")
    assert str(model.params["embed"].dtype) == "bfloat16"
    ids = model.tokenizer.encode("How do I")
    assert model.logits([ids]).shape == (1, len(ids), model.config.vocab_size)


@pytest.mark.parametrize(
    "name, message",
    [
        ("builtin:huge", 'no built-in model \'huge\'; give "builtin:tiny" or "builtin:novice"'),
        ("init:tiny", "fresh weights, which a program makes"),
        ("hf:org/other", "org/other is neither a folder nor in the local .* cache; .* `hf download org/other`"),
        ("org/other", "org/other is neither a folder nor in the local .* cache; .* `hf download org/other`"),
        ("hf:gpt3", "gpt3 is neither a folder nor in the local .* cache; .* `hf download gpt3`"),
        ("gpt3", "no model folder gpt3; give a folder"),
        ("/no/such/folder", "no model folder /no/such/folder; give a folder"),
    ],
)
def test_what_names_no_model_is_refused_with_the_cure(cached, name, message):
    with pytest.raises(ModelError, match=message):
        cai_jax.load(name)


def test_a_number_format_that_is_none(directory):
    with pytest.raises(ModelError, match="dtype 'int4'; supported: float32, bfloat16, float16"):
        cai_jax.load(directory, dtype="int4")


def test_the_package_imports_no_jax():
    code = "import sys, cai_jax; cai_jax.load; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
