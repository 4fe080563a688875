"""Scoring replies with a preference model, or with a weighted sum of several."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cai_jax.data.formats import Format
from cai_jax.data.render import Segment, encode
from cai_jax.engine import buckets
from cai_jax.stages.parts.fitting import fitted
from cai_jax.stages.parts.models import choices, load, read_format

if TYPE_CHECKING:
    from cai_jax.models.checkpoint import Model

Turns = Sequence[Mapping[str, str]]
BATCH = 64


def parts(artefact) -> list[dict[str, Any]]:
    """The preference models that an artefact stands for: path, dtype, format and weight each."""
    if "parts" in artefact.result:
        return artefact.result["parts"]
    return [{"path": str(artefact.path), **choices(artefact), "weight": 1.0}]


def scored_segments(format: Format, turns: Turns, reply: str) -> list[Segment]:
    """Prompt, reply and what ends it, where the score is read."""
    return [*format.ask(turns), format.reply(reply), format.end]


def scored_ids(model: Model, format: Format, turns: Turns, reply: str, limit: int) -> list[int]:
    """Their token ids; of what is too long the beginning is cut, the conversation's before the reply's."""
    segments = scored_segments(format, turns, reply)
    found = fitted(model.tokenizer, segments, limit)
    return found.ids if found else encode(model.tokenizer, segments)[0][-limit:]


class Scorer:
    """Scores of replies: the weighted sum of one or more preference models, each with its own tokenizer and format.

    Attributes:
      models: weight, model and format of each.
    """

    def __init__(self, ctx, artefact) -> None:
        self.models = [
            (part["weight"], load(ctx, part["path"], part["dtype"]), read_format(part["path"], part["format"]))
            for part in parts(artefact)
        ]

    def scores(self, replies: Sequence[tuple[Turns, str]]) -> np.ndarray:
        """Score of each (turns, reply), float64 [N]; text crosses to the preference model, token ids never do."""
        total = np.zeros(len(replies))
        for weight, model, format in self.models:
            total += weight * raw_scores(model, format, replies)
        return total

    def note_cut(self, ctx, replies: Sequence[tuple[Turns, str]]) -> None:
        """Tells in a note how many of these (turns, reply) have to be cut to be scored."""
        for _, model, format in self.models:
            segments = [scored_segments(format, *each) for each in replies]
            found = [fitted(model.tokenizer, each, model.config.max_position) for each in segments]
            cut = sum(each is None or each.cut for each in found)
            if cut:
                ctx.note("overlong", f"{cut} of {len(replies)} replies were cut to be scored")


def raw_scores(model: Model, format: Format, replies: Sequence[tuple[Turns, str]]) -> np.ndarray:
    """One model's scores, float64 [N], in batches of a fixed size, each row padded by its own length alone."""
    limit = model.config.max_position
    ids = [scored_ids(model, format, turns, reply, limit) for turns, reply in replies]
    out = np.zeros(len(ids))
    for width, chosen in buckets.batches([len(row) for row in ids], BATCH, limit):
        tokens = buckets.pad([ids[i] for i in chosen], BATCH, width)
        lengths = np.ones(BATCH, np.int32)
        lengths[: len(chosen)] = [len(ids[i]) for i in chosen]
        out[chosen] = np.asarray(_score(model, tokens, lengths))[: len(chosen)]
    return out


def _score(model: Model, tokens: np.ndarray, lengths: np.ndarray):
    from cai_jax.parallel.placing import on_mesh_of

    params = {"decoder": model.params, "head": model.head}
    with on_mesh_of(model.params):
        return compiled(model.config, model.params["embed"].dtype.name)(params, tokens, lengths)


@functools.cache
def compiled(config, dtype: str):
    """The jitted `(params, tokens [R, T], lengths [R]) -> scores [R]` of models of this shape."""
    import jax

    from cai_jax.learn.preference import scores
    from cai_jax.parallel.mesh import ROWS
    from cai_jax.parallel.placing import constrain

    @jax.jit
    def scored(params, tokens, lengths):
        return constrain(scores(params, config, constrain(tokens, ROWS), lengths, dtype=dtype))

    return scored
