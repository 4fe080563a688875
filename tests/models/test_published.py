"""Every family that README names, in the layout in which it is published, against transformers."""

import json

import numpy as np
import pytest
import torch

from cai_jax.models import checkpoint as checkpoints
from cai_jax.models.verify import verify
from cai_jax.stages import registry
from tests.support import families, published
from tests.support.contexts import Context

# Longer than the windows, and than what Phi-3 128k here calls short.
ROW = np.random.default_rng(0).integers(3, 290, 24).tolist()
TEXT = "How do i bake bread\nwith caf\u00e9?"


def compare(path, theirs):
    verify(path)
    ours = checkpoints.load(path)
    np.testing.assert_allclose(ours.logits([ROW])[0], families.logits(theirs, [ROW])[0], atol=2e-4)
    ids = ours.tokenizer.encode(TEXT)
    assert ours.tokenizer.decode(ids) == TEXT and max(ids) < ours.config.vocab_size
    return ours


@pytest.mark.parametrize("name", published.CONFIGS)
def test_it_loads_as_published(tmp_path, name):
    compare(tmp_path, published.write(name, tmp_path))


def test_gemma_3_with_images_as_transformers_writes_it_now(tmp_path):
    """Saved again it is the text part alone, which transformers reads; so is an adapter of it."""
    theirs = published.write("google/gemma-3-4b-it", tmp_path / "model", wrapped="new")
    ours = compare(tmp_path / "model", theirs)
    ours.save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["model_type"] == "gemma3_text"
    again = families.read(tmp_path / "again")
    np.testing.assert_allclose(families.logits(again, [ROW]), families.logits(theirs, [ROW]), atol=1e-5)


@pytest.mark.parametrize(("name", "noted"), [("google/gemma-3-4b-it", True), ("google/gemma-3-1b-it", False)])
def test_a_program_is_told_that_weights_for_images_are_left_aside(tmp_path, name, noted):
    published.write(name, tmp_path)
    context = Context("model", path=str(tmp_path))
    assert registry()["model"].run(context) == {"dtype": "float32", "format": "auto"}
    said = f"of {tmp_path} the text part is used; its weights for images are left aside"
    assert context.notes == [("text", said)] * noted


@pytest.mark.parametrize("above, below", [(False, True), (False, None), (None, False), (True, False)])
def test_gemma_3_with_images_and_an_unembedding_of_its_own(tmp_path, above, below):
    """The whole says so, as transformers 5 writes it, or the text part."""
    theirs = published.write("google/gemma-3-4b-it", tmp_path, wrapped="new")
    theirs.config.tie_word_embeddings = False
    theirs.lm_head.weight = torch.nn.Parameter(0.2 * torch.randn_like(theirs.lm_head.weight))
    theirs.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    for held, said in ((values, above), (values["text_config"], below)):
        held["tie_word_embeddings"] = said
    (tmp_path / "config.json").write_text(json.dumps(values))
    compare(tmp_path, theirs)
