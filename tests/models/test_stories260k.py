"""A really trained checkpoint: the published greedy sample, to the letter."""

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from cai_jax.engine.generate import Request, generate
from cai_jax.engine.generation_config import GenerationConfig
from cai_jax.engine.rng import row_key
from cai_jax.models import checkpoint as checkpoints
from tests.support import stories260k

pytestmark = pytest.mark.skipif(stories260k.source() is None, reason="stories260K.bin is not on this machine")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return stories260k.convert(stories260k.source(), tmp_path_factory.mktemp("stories"))


@pytest.fixture(scope="module")
def model(directory):
    return checkpoints.load(directory)


def test_its_logits_are_those_of_transformers(directory, model):
    ids = [1, *model.tokenizer.encode(" Once upon a time, there was a little girl who did not like to count.")]
    with torch.no_grad():
        wanted = LlamaForCausalLM.from_pretrained(directory)(torch.tensor([ids])).logits[0].numpy()
    np.testing.assert_allclose(model.logits([ids])[0], wanted, atol=1e-4)


def test_it_reproduces_its_published_greedy_sample(model):
    wanted = (stories260k.source() / "stories260K_greedy_sample.txt").read_text().strip()
    settings = GenerationConfig(max_new=256, temperature=0.0, slots=1, stop_ids=(1, 2))
    request = Request([model.config.bos_id], row_key(0, 0, "sample", "reply", "", 0, 0))
    (reply,) = generate(model.params, model.config, [request], settings)
    # llama2.c leaves out the space that its first piece begins with.
    assert model.tokenizer.decode(reply.ids).strip() == wanted


@pytest.mark.parametrize("text", [" Once upon a time", "naïve 🙂\n\ttabs </s><s>", "", "a  b"])
def test_its_tokenizer_keeps_any_text(model, text):
    ids = model.tokenizer.encode(text)
    assert model.tokenizer.decode(ids) == text
    assert not {0, 1, 2} & set(ids)
