"""A preference model's scores in transformers, alone and in a batch, whatever its base pads with."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from cai_jax.models import checkpoint
from cai_jax.models.padding import with_own_padding
from cai_jax.models.tokenizer import Tokenizer
from cai_jax.pipeline.reward_scoring import raw_scores, scored_segments
from cai_jax.prompting.paper_format import PAPER
from tests.support import chat, llama

REPLIES = ["Yes.", "No, and here is why that would be a bad idea.", ""]


def scored(path, pad, added=("<bos>", "<pad>")):
    """A folder with a random preference model whose base pads with token `pad`; returns it as it is read again."""
    llama.write(path / "base", pad_token_id=pad, **({} if added else {"bos_token_id": None}))
    backend = json.loads((path / "base" / "tokenizer.json").read_text())
    backend["added_tokens"] = [each for each in backend["added_tokens"] if each["content"] in ("<eos>", *added)]
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<eos>",
        **({"bos_token": "<bos>"} if added else {}),
    }
    if pad is not None:
        settings["pad_token"] = ["<eos>", "<bos>", "<pad>"][pad]
    (path / "base" / "tokenizer_config.json").write_text(json.dumps(settings))
    (path / "base" / "tokenizer.json").write_text(json.dumps(backend))
    base = checkpoint.load(path / "base")
    head = {"kernel": jax.random.normal(jax.random.key(0), (32,)), "bias": np.float32(0.7)}
    checkpoint.save(replace(base, head=head), path / "rm")
    return checkpoint.load(path / "rm")


def both(path, pad, **how):
    """Our scores of the replies less the offset, their rendered texts, and transformers' model and tokenizer."""
    ours = scored(path, pad, **how)
    turns = [{"role": "human", "text": "Shall I?"}]
    wanted = raw_scores(ours, PAPER, [(turns, reply) for reply in REPLIES]) - 0.7
    texts = ["".join(each.text for each in scored_segments(PAPER, turns, reply)) + "<eos>" for reply in REPLIES]
    theirs = AutoModelForSequenceClassification.from_pretrained(path / "rm", trust_remote_code=False)
    return wanted, texts, theirs, AutoTokenizer.from_pretrained(path / "rm", trust_remote_code=False)


@pytest.mark.parametrize("pad", [llama.EOS, llama.BOS, llama.PAD, None], ids=["eos", "bos", "pad", "none"])
def test_scores_are_those_of_transformers_alone_and_batched(tmp_path, pad):
    wanted, texts, model, tokenizer = both(tmp_path, pad)
    assert tokenizer.pad_token_id == model.config.pad_token_id == (llama.BOS if pad == llama.BOS else llama.PAD)
    with torch.no_grad():
        alone = [
            model(**tokenizer(text, return_tensors="pt", add_special_tokens=False)).logits.item() for text in texts
        ]
        for side in ("right", "left"):
            batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side=side, add_special_tokens=False)
            np.testing.assert_allclose(model(**batch).logits[:, 0].numpy(), wanted, atol=1e-4)
    np.testing.assert_allclose(alone, wanted, atol=1e-4)


def test_without_another_token_rows_are_scored_alone_and_a_batch_is_refused(tmp_path):
    wanted, texts, model, tokenizer = both(tmp_path, llama.EOS, added=())
    assert model.config.pad_token_id is None
    with torch.no_grad():
        alone = [
            model(**tokenizer(text, return_tensors="pt", add_special_tokens=False)).logits.item() for text in texts
        ]
        with pytest.raises(ValueError, match="no padding token"):
            model(**tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False))
    np.testing.assert_allclose(alone, wanted, atol=1e-4)


@pytest.mark.parametrize("family", sorted(chat.FAMILIES))
def test_no_familys_padding_ends_its_turns(family):
    tokenizer = chat.tokenizer(family)
    found = with_own_padding(tokenizer, 10_000)
    assert found.pad_id not in {tokenizer.eos_id, *tokenizer.stop_ids}
    assert found.pad_id is None or found.named["pad_token"] == tokenizer.added()[found.pad_id].content
    assert found.same_as(tokenizer)  # text becomes the same ids, so that the critic may start from its weights
    assert with_own_padding(tokenizer, 0).pad_id is None  # no row of the embedding is there to read one


def test_padding_that_no_text_ends_with_stays_byte_for_byte(tmp_path):
    llama.write_tokenizer(tmp_path)
    tokenizer = Tokenizer.load(tmp_path)
    assert with_own_padding(tokenizer, llama.VOCAB) is tokenizer
