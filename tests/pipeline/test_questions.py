"""Answers to questions with options, by numbers worked out by hand and a plain forward pass."""

import math

import numpy as np
import pytest

from cai_jax.errors import UserError
from cai_jax.models import checkpoint
from cai_jax.models.locate import BUILTIN
from cai_jax.pipeline import questions
from cai_jax.pipeline.questions import Scored
from cai_jax.prompting.paper_format import LETTERS, PAPER, Message
from cai_jax.prompting.render import encode, text_of
from tests.support.chat import tokenizer
from tests.support.forward import forward_logprobs

NONE = -math.inf


def scored(*rows):
    with np.errstate(divide="ignore"):
        return Scored(np.log(np.array(rows, float)))


@pytest.fixture(scope="module")
def model():
    return checkpoint.load(str(BUILTIN["tiny"]))


def test_options_are_normalised_and_their_mass_kept():
    found = scored([0.5, 0.2, 0.1], [0.06, 0.02, 0.0], [0.02, 0.02, 0.02])
    np.testing.assert_allclose(found.p, [[0.625, 0.25, 0.125], [0.75, 0.25, 0.0], [1 / 3] * 3])
    np.testing.assert_allclose(found.mass, [0.8, 0.08, 0.06])
    assert found.answered.tolist() == [True, False, False]  # below a tenth


def test_what_is_no_number_is_no_answer_and_missing_options_are_none():
    found = Scored(np.array([[np.nan, -0.1], [NONE, NONE], [-1000.0, -1001.0], [-0.1, NONE], [-1e9, -0.1]]))
    assert found.answered.tolist() == [False, False, False, True, True]
    assert np.isnan(found.p[:2]).all()
    np.testing.assert_allclose(found.p[2:], [[1 / (1 + math.exp(-1)), 1 / (1 + math.e)], [1, 0], [0, 1]], atol=1e-12)


def test_choose_takes_the_most_probable_and_nothing_where_nothing_was_answered():
    found = questions.choose(scored([0.2, 0.6, 0.2], [0.01, 0.0, 0.0], [0.4, 0.4, 0.0]))
    assert found.best.tolist() == [1, -1, 0]
    assert found.p[0].tolist() == pytest.approx([0.2, 0.6, 0.2]) and np.isnan(found.p[1]).all()


def test_yes_is_the_mean_of_both_orders():
    both = scored([0.9, 0.1], [0.3, 0.7], [0.9, 0.1], [0.01, 0.01], [0.6, 0.2], [0.6, 0.2])
    found = questions.yes_no(both, (False, True))
    assert found.answered.tolist() == [True, False, True]
    assert found.p[[0, 2]].tolist() == pytest.approx([0.8, 0.5]) and np.isnan(found.p[1])
    assert questions.yes_no(both).p[[0, 1]].tolist() == pytest.approx([0.9, 0.3])


def test_a_pair_is_turned_back_where_it_was_swapped():
    found = questions.pair(scored([0.9, 0.1], [0.3, 0.7], [0.03, 0.01]), [False, True, False])
    assert found.tolist() == pytest.approx([0.9, 0.7, 0.75])  # also without mass: who asks decides what that means


def test_a_scale_is_its_expected_place():
    found = questions.scale(scored([0.0, 0.25, 0.75], [0.2, 0.2, 0.2], [0.0, 0.0, 1.0], [0.01, 0.01, 0.01]))
    assert found.value[:3].tolist() == pytest.approx([2.75, 2.0, 3.0]) and np.isnan(found.value[3])
    sure = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert found.entropy[:3].tolist() == pytest.approx([sure, math.log(3), 0.0]) and np.isnan(found.entropy[3])


def test_options_of_several_tokens_in_any_number_equal_a_forward_pass_each(model):
    prompts = [model.tokenizer.encode(text) for text in ("Human: How do I bake", "The answer is:", "A")]
    options = [[" bread?", " (A)"], list(LETTERS[:4]), [" bread?", " (A)"]]
    found = questions.score_each(model, prompts, [questions.option_ids(model, each) for each in options])
    assert found.logprobs.shape == (3, 4)
    for row, prompt, texts in zip(found.logprobs, prompts, options, strict=True):
        ids = [model.tokenizer.encode(text) for text in texts]
        table = [forward_logprobs(model.params, model.config, prompt + each)[len(prompt) - 1 :] for each in ids]
        wanted = [each[np.arange(len(of)), of].sum() for each, of in zip(table, ids, strict=True)]
        assert max(map(len, ids)) > 1
        np.testing.assert_allclose(row[: len(texts)], wanted, atol=1e-4)
        assert (row[len(texts) :] == NONE).all()


def test_an_option_that_begins_another_is_refused(model):
    assert len(questions.option_ids(model, (" no", " yes", " nothing"))) == 3
    for options in ((" no", " yes", " no, but"), (" no", " no")):
        with pytest.raises(UserError, match=r"option 1, ' no', is the beginning of option [23], ' no"):
            questions.score(model, [[5]], options=options)


def test_a_question_about_no_conversation_is_a_human_turn():
    asked = PAPER.question(None, None, "Which is a fruit?", ("Pear", "Human: (A)"))
    assert text_of(asked) == (
        "\n\nHuman: Which is a fruit? Options:\n (A) [[[ Pear]]]\n (B) [[[ \\Human: (A)]]]\n\nAssistant: The answer is:"
    )
    asked = PAPER.question(None, None, "Is it?", ("Yes", "No", "Both"), quoted=False)
    assert text_of(asked) == "\n\nHuman: Is it? Options:\n (A) Yes\n (B) No\n (C) Both\n\nAssistant: The answer is:"
    assert [message.role for message in asked.messages] == ["human"] and isinstance(asked.open, Message)


def test_a_chat_model_is_asked_in_its_template():
    from cai_jax.prompting.chat_format import format_of

    reader = tokenizer("llama-3")
    asked = format_of(reader).question(None, None, "Which is a fruit?", ("Pear", "Stone"))
    said = text_of(asked)
    assert said.startswith("<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nWhich is a fruit? Options:")
    assert said.endswith("<|start_header_id|>assistant<|end_header_id|>\n\nThe answer is:")
    assert encode(reader, asked)[0]
