"""Rounds of critique and revision (arXiv 2212.08073 §3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cai_jax.data.row_columns import Round, Row, Thoughts
from cai_jax.data.rows import legible, replaced
from cai_jax.lang.signature import Principle
from cai_jax.pipeline.context import Context
from cai_jax.pipeline.context_length import Fitted
from cai_jax.pipeline.generation import Generated, Writer, note_unended
from cai_jax.pipeline.model_store import format_of, model_of
from cai_jax.pipeline.principles import critique_shots, principles
from cai_jax.pipeline.rng import Draw, Which, draw_of
from cai_jax.pipeline.row_counts import rows_each
from cai_jax.pipeline.screening import joined, screeners_of
from cai_jax.prompting.paper_format import Format, Prompt
from cai_jax.prompting.render import Segment, text_of

Reply = tuple[Row, Which]


def chosen(draw: Draw, able: Sequence[Principle], row: Row, which: Which) -> Principle:
    """The principle of a reply's next round: that which flagged it, if one did and can revise; else a drawn one."""
    flag = row.get("flag")
    flagged = [p for p in able if flag and p.name == flag["principle"]]
    return flagged[0] if flagged else draw.principle(able, "principle", row["id"], which, row.get("round", 0) + 1)


def critique_prompt(format: Format, row: Row, principle: Principle) -> Prompt:
    """The critic's prompt after the few-shots."""
    return format.critique(row["turns"], row["reply"], principle.critique)


def revision_prompt(format: Format, row: Row, principle: Principle, critique: str, direct: bool) -> Prompt:
    """The reviser's prompt after the few-shots; a direct revision has no critique (arXiv 2212.08073 §3.5)."""
    if direct:
        return format.direct_revision(row["turns"], row["reply"], principle.revise)
    return format.revision(critique_prompt(format, row, principle), critique, principle.revise)


class Rounds:
    """The rounds of critique and revision that every reply goes through."""

    def __init__(self, ctx: Context) -> None:
        self.ctx, self.params, self.draw = ctx, ctx.params, draw_of(ctx)
        self.able = principles(ctx.inputs["constitution"], "revise")
        self.screeners = screeners_of(ctx, ctx.inputs["replies"])
        self.direct = not ctx.params["critique"]
        by, count = ctx.inputs["by"], ctx.params["fewshots"]
        self.shots = critique_shots(ctx.inputs["constitution"], count, format_of(by), self.direct)
        self.format = self.shots.format
        self.reviser = Writer.from_context(
            ctx, model_of(ctx, by), self.format, self.format.revision_stops, self.shots.segments
        )
        self.critic = replace(self.reviser, stops=self.format.critique_stops)
        self.fitter = self.reviser.fitter("revisions")

    def of(self, batch: Sequence[Reply]) -> list[Row]:
        """All rows made of a batch of replies: of every reply its kept rounds, in order."""
        whole = self.params["where"] == "all"
        current = [self._begun(row) for row, _ in batch]
        history: list[list[Row]] = []
        for _ in range(self.params["rounds"]):
            todo = [index for index, row in enumerate(current) if whole or row.get("flag")]
            revised = self._screened(self._round([(current[i], batch[i][1]) for i in todo]))
            for index, row in zip(todo, revised, strict=True):
                current[index] = row
            history.append(list(current))
        if rows_each(self.params) == 1:
            return current
        return [row for rounds in zip(*history, strict=True) for row in rounds]

    def _begun(self, row: Row) -> Row:
        """A reply before its first round here; earlier rounds are gone on from."""
        return {"original": row["reply"], "round": 0, "rounds": [], **row, "unfit": 0, "cut": 0, "apart": 0}

    def _round(self, replies: Sequence[Reply]) -> list[Row]:
        principles_ = [chosen(self.draw, self.able, *reply) for reply in replies]
        critiques = self._critiques(replies, principles_)
        asked = [
            None if critique is None else revision_prompt(self.format, row, principle, critique.text, self.direct)
            for (row, _), principle, critique in zip(replies, principles_, critiques, strict=True)
        ]
        fits = [None if segments is None else self._fit(segments) for segments in asked]
        texts = self._write(self.reviser, fits, replies, "revision")
        made = zip(replies, principles_, critiques, asked, fits, texts, strict=True)
        return [self._revised(row, *each) for (row, _), *each in made]

    def _revised(
        self,
        row: Row,
        principle: Principle,
        critique: Generated | None,
        asked: Prompt | None,
        fit: Fitted | None,
        text: Generated | None,
    ) -> Row:
        """The row after a round; the reply stays as it was where the prompt does not fit or the revision is empty."""
        number, told = row["round"] + 1, None if critique is None else critique.text
        thought: Thoughts = {} if text is None or text.thought is None else {"thought": text.thought}
        before: Thoughts = {}
        if critique is not None and critique.thought is not None:
            before = {"critique_thought": critique.thought}
        entry: Round = {
            "round": number,
            "principle": principle.name,
            "prompt": None if asked is None else text_of(asked),
            "critique": told,
            **before,
            "critique_ended": None if critique is None else critique.ended,
            "reply": None if text is None else text.text,
            **thought,
            "ended": None if text is None else text.ended,
            "logprob": None if text is None else text.logprob,
            "model": self.ctx.inputs["by"].key,
            "seed": self.params["seed"],
        }
        revised: Row = {**row, "round": number, "principle": principle.name, "critique": told}
        revised["rounds"] = [*row["rounds"], entry]
        if text is None or fit is None:
            return revised | {"unfit": row["unfit"] + 1}
        revised["apart"] = row["apart"] + fit.apart  # a critique's prompt is the beginning of the revision's
        if not legible(text.text):
            return revised
        revised.pop("refused", None)  # it was the fixed text's; a model has written this one
        return replaced(revised, text.fields) | {"cut": row["cut"] + fit.cut}

    def _critiques(self, replies: Sequence[Reply], principles_: Sequence[Principle]) -> list[Generated | None]:
        """The critique of each reply; an empty one where none is asked for, None where it does not fit."""
        if self.direct:
            return [Generated("", [], [], True)] * len(replies)
        asked = [critique_prompt(self.format, row, p) for (row, _), p in zip(replies, principles_, strict=True)]
        return self._write(self.critic, [self._fit(segments) for segments in asked], replies, "critique")

    def _fit(self, segments: Sequence[Segment]) -> Fitted | None:
        found = self.fitter.fit(segments)
        return found[0] if found else None

    def _write(
        self, writer: Writer, asked: Sequence[Fitted | None], replies: Sequence[Reply], purpose: str
    ) -> list[Generated | None]:
        """The writer's text after each prompt; None for prompts that are None."""
        there = {index: each.ids for index, each in enumerate(asked) if each is not None}
        about = [replies[index] for index in there]
        keys = [self.draw.key(f"{purpose} {row['round'] + 1}", row, which) for row, which in about]
        written = dict(zip(there, writer.generate(list(there.values()), keys), strict=True))
        return [written.get(index) for index in range(len(asked))]

    def _screened(self, rows: list[Row]) -> list[Row]:
        """Replies that were screened, screened in the same way again: a revision may make another thing worse."""
        if not self.screeners:
            return rows
        found = zip(*(screener.flags(rows) for screener in self.screeners), strict=True)
        return [
            {**row, "was_flagged": row.get("was_flagged") or row.get("flag"), **joined(each)}
            for row, each in zip(rows, found, strict=True)
        ]


def told(ctx: Context, entries: Sequence[Round]) -> dict[str, Any]:
    """Statistics of rounds, from the field `rounds` of their rows; those that a user should know of also go into notes.

    Returns:
      ended and critiques_ended (shares of the texts that end by themselves), empty (number of empty revisions).
    """
    written = [(reply, bool(entry["ended"])) for entry in entries if (reply := entry["reply"]) is not None]
    empty = sum(not legible(reply) for reply, _ in written)
    if empty:
        ctx.note("empty", f"{empty} of {len(written)} revisions are empty; those replies stayed as they were")
    found = {"ended": note_unended(ctx, "revisions", [ended for _, ended in written]), "empty": empty}
    if not ctx.params["critique"]:
        return found
    critiques = [entry for entry in entries if entry["critique"] is not None]
    silent = sum(not entry["critique"] for entry in critiques)
    if silent:
        ctx.note("empty", f"{silent} of {len(critiques)} critiques are empty")
    ended = note_unended(ctx, "critiques", [bool(entry["critique_ended"]) for entry in critiques])
    return found | {"critiques_ended": ended}
