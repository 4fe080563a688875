"""A judge whose answers are given: it reads which option stands behind which letter, and knows what it likes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

# Of a prompt, by option, how probable each is; they may sum up to less than 1.
Opinion = Callable[[str], Mapping[str, float]]
_OPTION = re.compile(r"^ \(([A-Z])\) (.*)$", re.MULTILINE)


def judging(opinion: Opinion, bias: Mapping[str, float] | None = None) -> Callable[..., Any]:
    """A stand-in for `questions.score`, which answers by what the prompt says.

    Args:
      opinion: how probable each option is to a prompt's reader.
      bias: factors by letter, with which the sum is 1 again.
    """
    from cai_jax.pipeline.questions import Scored

    def score(model: Any, prompts: Sequence[list[int]], options: Sequence[str], prefix: Any = None) -> Scored:
        found = np.full((len(prompts), len(options)), 1e-9)
        for row, ids in zip(found, prompts, strict=True):
            text = model.tokenizer.decode(ids)
            asked = dict(_OPTION.findall(text[text.rindex(" Options:") :]))
            liked = opinion(text)
            p = np.array([liked[said] * (bias or {}).get(letter, 1.0) for letter, said in asked.items()])
            row[: len(p)] = p / p.sum() if bias else p
        with np.errstate(divide="ignore"):
            return Scored(np.log(found))

    return score
