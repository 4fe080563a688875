"""The judge's figures by hand, and log-probabilities of replies beside the model's logits."""

import math

import numpy as np
import pytest

from cai_jax.models import checkpoint
from cai_jax.models.locate import BUILTIN
from tests.benchmarks import smollm2judge


def label(name, given, swapped):
    """Labels of one pair: P(A) with the better reply first, and with it second; None where there is no answer."""
    asked = [(False, given), (True, swapped)]
    none = [math.log(0.01), math.log(0.01)]
    judgements = [
        {"swapped": turned, "logprobs": none if p is None else [math.log(p), math.log(1 - p)]} for turned, p in asked
    ]
    first, second = 0.5 if given is None else given, 0.5 if swapped is None else swapped
    turns = [{"role": "human", "text": name}]
    return {"id": f"{name}-0", "turns": turns, "soft": (first + 1 - second) / 2, "judgements": judgements}


def test_the_figures_of_labels_by_hand():
    labels = [
        label("right", 0.9, 0.2),  # averaged 0.85
        label("led", 0.9, 0.7),  # A twice: the first is right, the second wrong, averaged 0.6
        label("wrong", 0.3, 0.8),  # averaged 0.25
        label("silent", None, None),
    ]
    found = {each.what.partition(" (95")[0]: each.median for each in smollm2judge.of_labels("w", labels)}
    assert found == pytest.approx(
        {
            "share of pairs undecided": 1 / 4,
            "share of questions unanswered": 2 / 8,
            "mean P(A) + P(B) of 8 questions": (6 + 2 * 0.02) / 8,
            "mean P(A) of 8 questions, answered or not": (0.9 + 0.2 + 0.9 + 0.7 + 0.3 + 0.8 + 2 * 0.5) / 8,
            "right, both orders averaged, answered or not: of 4 pairs": (1 + 1 + 0 + 0.5) / 4,
            "right, both orders averaged: of 3 pairs": 2 / 3,
            "right, better reply first: of 3 pairs": 2 / 3,
            "right, better reply second: of 3 pairs": 1 / 3,
            "mean P(A) of 6 answered questions": (0.9 + 0.2 + 0.9 + 0.7 + 0.3 + 0.8) / 6,
            "share of 3 decided pairs that flip with the order": 1 / 3,
        }
    )


def test_nothing_is_right_where_nothing_is_decided():
    found = [each.what for each in smollm2judge.of_labels("w", [label("silent", None, None)])]
    assert found[:2] == ["share of pairs undecided", "share of questions unanswered"]
    assert all("answered or not" in what for what in found if what.startswith("right"))


def test_logprobs_of_replies_are_those_of_the_logits():
    model = checkpoint.load(BUILTIN["tiny"])
    texts = [([5, 9, 13, 7], [False, False, True, True]), (list(range(3, 40)), [False] * 30 + [True] * 7)]
    sums, counts = smollm2judge.reply_logprobs(model, texts)
    assert counts.tolist() == [2, 7]
    for total, (ids, mask) in zip(sums, texts, strict=True):
        logits = model.logits([ids])[0].astype(float)
        logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        wanted = sum(logprobs[place - 1, ids[place]] for place in range(len(ids)) if mask[place])
        assert total == pytest.approx(wanted, abs=1e-4)
