"""Scoring replies with a preference model, or with a weighted sum of several."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cai_jax.data import formats
from cai_jax.data.render import END, data, encode
from cai_jax.stages.parts.training import bucket

if TYPE_CHECKING:
    from cai_jax.models.checkpoint import Model

Turns = Sequence[Mapping[str, str]]
BATCH = 64


def parts(artefact) -> list[dict[str, Any]]:
    """The preference models that an artefact stands for: path, dtype and weight each."""
    if "parts" in artefact.result:
        return artefact.result["parts"]
    return [{"path": str(artefact.path), "dtype": artefact.result.get("dtype", "float32"), "weight": 1.0}]


def scored_ids(model: Model, turns: Turns, reply: str, limit: int) -> list[int]:
    """Token ids of prompt, reply and end of text, where the score is read; over-long ones lose their beginning."""
    return encode(model.tokenizer, [*formats.ask(turns), data(reply), END])[0][-limit:]


def padded(rows: Sequence[Sequence[int]], length: int, pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Right-padded tokens int32 [N, length], and lengths int32 [N]."""
    tokens = np.full((len(rows), length), pad, np.int32)
    for index, ids in enumerate(rows):
        tokens[index, : len(ids)] = ids
    return tokens, np.array([len(ids) for ids in rows], np.int32)


class Scorer:
    """Scores of replies: the weighted sum of one or more preference models, each with its own tokenizer."""

    def __init__(self, artefact) -> None:
        from cai_jax.stages.parts.models import load

        self.models = [(part["weight"], load(part["path"], part["dtype"])) for part in parts(artefact)]

    def scores(self, replies: Sequence[tuple[Turns, str]]) -> np.ndarray:
        """Score of each (turns, reply), float64 [N]; text crosses to the preference model, token ids never do."""
        total = np.zeros(len(replies))
        for weight, model in self.models:
            total += weight * raw_scores(model, replies)
        return total


def raw_scores(model: Model, replies: Sequence[tuple[Turns, str]]) -> np.ndarray:
    """One model's scores, float64 [N], in batches of a fixed size, each row padded by its own length alone."""
    limit = model.config.max_position
    ids = [scored_ids(model, turns, reply, limit) for turns, reply in replies]
    widths = [bucket(len(row), limit) for row in ids]
    out = np.zeros(len(ids))
    for width in sorted(set(widths)):
        members = [index for index, each in enumerate(widths) if each == width]
        for start in range(0, len(members), BATCH):
            chosen = members[start : start + BATCH]
            filler = [[model.tokenizer.eos_id]] * (BATCH - len(chosen))
            tokens, lengths = padded([ids[i] for i in chosen] + filler, width, model.tokenizer.pad_id or 0)
            out[chosen] = np.asarray(_score(model, tokens, lengths))[: len(chosen)]
    return out


def _score(model: Model, tokens: np.ndarray, lengths: np.ndarray):
    params = {"decoder": model.params, "head": model.head}
    return _compiled(model.config, model.params["embed"].dtype.name)(params, tokens, lengths)


@functools.cache
def _compiled(config, dtype: str):
    import jax

    from cai_jax.learn.preference import scores

    return jax.jit(lambda params, tokens, lengths: scores(params, config, tokens, lengths, dtype=dtype))
