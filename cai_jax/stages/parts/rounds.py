"""Rounds of critique and revision (CAI §3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cai_jax.data import formats
from cai_jax.lang.types import Principle
from cai_jax.stages.parts.auditing import audits
from cai_jax.stages.parts.draws import Draw, draw_of
from cai_jax.stages.parts.models import model_of
from cai_jax.stages.parts.principles import critique_shots, principles
from cai_jax.stages.parts.writing import Writer
from cai_jax.stages.revise import rows_each


def drawn(draw: Draw, able: list[Principle], row: Mapping[str, Any], round_: int) -> Principle:
    """The principle of one round for one reply."""
    return draw.principle(able, "principle", row["id"], row["sample"], round_)


class Rounds:
    """The rounds of critique and revision that every reply goes through."""

    def __init__(self, ctx) -> None:
        self.params = ctx.params
        self.draw = draw_of(ctx)
        self.able = principles(ctx.inputs["constitution"], "revise")
        self.model = model_of(ctx.inputs["by"])
        shots = critique_shots(ctx.inputs["constitution"], ctx.params["fewshots"], direct=not ctx.params["critique"])
        self.reviser = Writer.of(ctx, self.model, formats.REVISION_STOPS, shots)
        self.critic = replace(self.reviser, stops=formats.CRITIQUE_STOPS)

    def of(self, batch: list[dict]) -> list[dict]:
        """All rows made of a batch of replies: of every reply its kept rounds, in order."""
        whole = self.params["where"] == "all"
        current = [{**row, "original": row["reply"], "round": 0, "unfit": 0} for row in batch]
        history = []
        for round_ in range(1, self.params["rounds"] + 1):
            todo = [index for index, row in enumerate(current) if whole or row.get("flag")]
            for index, row in zip(todo, self._round([current[i] for i in todo], round_), strict=True):
                current[index] = row
            if not whole:
                self._clear_flags(current, todo)
            history.append(list(current))
        if rows_each(self.params) == 1:
            return current
        return [row for rounds in zip(*history, strict=True) for row in rounds]

    def _round(self, rows: list[dict], round_: int) -> list[dict]:
        chosen = [self._principle(row, round_) for row in rows]
        critiques = self._critiques(rows, chosen, round_)
        asked = [self._asked(*each) for each in zip(rows, chosen, critiques, strict=True)]
        texts = self._write(self.reviser, asked, rows, f"revision {round_}")
        out = []
        for row, principle, critique, text in zip(rows, chosen, critiques, texts, strict=True):
            revised = {**row, "round": round_, "principle": principle.name, "critique": critique}
            if text is None:
                revised["unfit"] = row["unfit"] + 1
            else:
                revised |= {
                    "reply": text.text, "logprob": text.logprob, "tokens": text.tokens, "ended": text.ended
                }  # fmt: skip
            out.append(revised)
        return out

    def _asked(self, row: dict, principle: Principle, critique: str | None) -> list[int] | None:
        """The prompt for a revision; None where it, or its critique, does not fit."""
        if critique is None:
            return None
        if not self.params["critique"]:
            return self.reviser.fit(formats.direct_revision(row["turns"], row["reply"], principle.revise))
        before = formats.critique(row["turns"], row["reply"], principle.critique)
        return self.reviser.fit(formats.revision(before, critique, principle.revise))

    def _critiques(self, rows: list[dict], chosen: list[Principle], round_: int) -> list[str | None]:
        """The critique of each reply; "" where none is asked for, None where it does not fit."""
        if not self.params["critique"]:
            return [""] * len(rows)
        asked = [
            self.critic.fit(formats.critique(row["turns"], row["reply"], principle.critique))
            for row, principle in zip(rows, chosen, strict=True)
        ]
        texts = self._write(self.critic, asked, rows, f"critique {round_}")
        return [None if text is None else text.text for text in texts]

    def _write(self, writer, asked: list[list[int] | None], rows: list[dict], purpose: str) -> list:
        """What the writer says to each prompt; None for prompts that are None."""
        there = [index for index, ids in enumerate(asked) if ids is not None]
        keys = [self.draw.key(purpose, rows[i], rows[i]["sample"]) for i in there]
        written = dict(zip(there, writer.write([asked[i] for i in there], keys), strict=True))
        return [written.get(index) for index in range(len(asked))]

    def _principle(self, row: dict, round_: int) -> Principle:
        """The principle that flagged the reply, where one did and can revise it; else a drawn one."""
        flagged = [p for p in self.able if row.get("flag") and p.name == row["flag"]["principle"]]
        return flagged[0] if flagged else drawn(self.draw, self.able, row, round_)

    def _clear_flags(self, rows: list[dict], todo: list[int]) -> None:
        """Asks again whether revised replies break what they were flagged for, and unflags those that do not."""
        asked = [formats.audit(rows[i]["turns"], rows[i]["reply"], rows[i]["flag"]["request"]) for i in todo]
        for index, p in zip(todo, audits(self.model, asked).first, strict=True):
            flag = rows[index]["flag"]
            rows[index]["was_flagged"] = flag
            rows[index]["flag"] = {**flag, "p": float(p)} if p >= flag["limit"] else None
