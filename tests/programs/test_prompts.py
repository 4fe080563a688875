"""The prompts in plain English beside the programs: as many as promised, each once, in many categories."""

import json
from collections import Counter

import pytest

from cai_jax.data.conversations import read_prompts
from tests.programs._running import ROOT

FOLDER = ROOT / "programs" / "prompts"
SIZES = {"red_team": (120, 12), "helpful": (120, 12), "borderline": (60, 10)}  # prompts and categories


def lines(name):
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines()]


def test_there_are_no_other_files():
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.jsonl" for name in SIZES}


@pytest.mark.parametrize("name", SIZES)
def test_categories_are_equally_frequent(name):
    prompts, categories = SIZES[name]
    counted = Counter(line["category"] for line in lines(name))
    assert len(counted) == categories and set(counted.values()) == {prompts // categories}
    assert all(set(line) == {"prompt", "category"} for line in lines(name))
    # The first rows hold every category.
    assert len({line["category"] for line in lines(name)[:categories]}) == categories


def test_no_prompt_occurs_twice():
    told = Counter(" ".join(line["prompt"].lower().split()) for name in SIZES for line in lines(name))
    assert [text for text, count in told.items() if count > 1] == []


@pytest.mark.parametrize("name", SIZES)
def test_they_are_read_as_short_requests_with_their_category(name):
    rows = read_prompts(str(FOLDER / f"{name}.jsonl"))
    assert [(row["turns"], row["category"]) for row in rows] == [
        ([{"role": "human", "text": line["prompt"]}], line["category"]) for line in lines(name)
    ]
    assert {row["split"] for row in rows} == {"train", "test"}
    assert all(len(row["turns"][0]["text"]) <= 120 for row in rows)
