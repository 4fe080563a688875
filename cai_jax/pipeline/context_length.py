"""Rows that fit a model's context: over-long ones are left out, cut or refused, and counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from cai_jax.errors import UserError
from cai_jax.pipeline.context import Context
from cai_jax.prompting.render import Encoder, Segment, Tokens, encode, read

if TYPE_CHECKING:
    from cai_jax.engine.prefix_cache import Prefix
    from cai_jax.models.checkpoint import Model

T = TypeVar("T")


class Fitted(NamedTuple):
    """A rendered prompt that fits.

    Its token ids, for each of them if a loss is taken on it, if the prompt's beginning was cut, and if data was
    tokenised separately from the template next to it.
    """

    ids: list[int]
    trained: list[bool]
    cut: bool
    apart: bool = False


def fitted(tokenizer: Encoder, segments: Sequence[Segment], room: int) -> Fitted | None:
    """A prompt in at most `room` tokens; None where even without what may be cut it is too long.

    Only what was said in the conversation is cut, oldest words first: markers, replies and options stay whole.
    """
    return fitted_alike(tokenizer, [segments], room)[0]


def fitted_alike(tokenizer: Encoder, prompts: Sequence[Sequence[Segment]], room: int) -> list[Fitted | None]:
    """Replies to one conversation, of which all lose the same beginning, that which the longest has to lose.

    Otherwise replies to be compared would follow different conversations, which would reveal their lengths.
    """
    found = [read(tokenizer, segments) for segments in prompts]
    excess = max(sum(map(len, each.of)) for each in found) - room
    return [_without(excess, *each) for each in zip(found, prompts, strict=True)]


def bare(tokenizer: Encoder, segments: Sequence[Segment]) -> list[int]:
    """Token ids of a prompt without all that may be cut."""
    of = read(tokenizer, segments).of
    return [number for segment, ids in zip(segments, of, strict=True) if not segment.truncatable for number in ids]


def _without(excess: int, tokens: Tokens, segments: Sequence[Segment]) -> Fitted | None:
    """A prompt without the first `excess` tokens that may be cut; None where these are too few."""
    found, apart = tokens
    cut = excess > 0
    for index, segment in enumerate(segments):
        if excess > 0 and segment.truncatable:
            length = len(found[index])
            found[index] = found[index][excess:]
            excess -= min(excess, length)
    if excess > 0:
        return None
    trained = [segment.trained for segment, ids in zip(segments, found, strict=True) for _ in ids]
    return Fitted([number for ids in found for number in ids], trained, cut, apart)


def room_of(model: Model, prefix: Prefix | None, new: int) -> int:
    """Tokens of a prompt that leaves room for `new` tokens after it and the few-shots before it.

    Raises:
      UserError: there is no room at all.
    """
    before = int(prefix.end()) if prefix is not None else 0
    room = model.config.max_position - new - before
    if room < 1:
        raise UserError(
            f"examples of {before} tokens and {new} new ones leave no room in a context of {model.config.max_position}",
            "use fewer few-shots (fewshots=0) or fewer new tokens (max_new=…)",
        )
    return room


@dataclass
class Fitting:
    """Fit rows into a number of tokens, and count those that were cut or left out.

    Attributes:
      tokenizer: of the model that reads them.
      room: tokens.
      overlong: "skip", "error" or "truncate_left".
      what: the rows' name, a plural.
      kept, cut, left_out: rows so far; those that were cut are among the kept.
      apart: those in which data and template would have made a marker of a turn together (`prompting.render`).
      ambiguous: those left out because the text to be trained on reads as turns of its own.
    """

    tokenizer: Encoder
    room: int
    overlong: str
    what: str = "rows"
    kept: int = 0
    cut: int = 0
    left_out: int = 0
    apart: int = 0
    ambiguous: int = 0

    def fit(self, *prompts: Sequence[Segment]) -> list[Fitted] | None:
        """The prompts that one row consists of, cut alike; None for a row to leave out.

        Raises:
          UserError: one of them is too long, and `overlong` is "error".
        """
        found = fitted_alike(self.tokenizer, prompts, self.room)
        long = any(each is None or each.cut for each in found)
        if long and self.overlong == "error":
            length = max(len(encode(self.tokenizer, segments)[0]) for segments in prompts)
            raise UserError(
                f"one of the {self.what} has {length} tokens and does not fit: there is room for {self.room}",
                "leave such rows out with overlong=skip, or cut them with overlong=truncate_left",
            )
        kept = [each for each in found if each is not None]
        if len(kept) < len(found) or (long and self.overlong == "skip"):
            self.left_out += 1
            return None
        self.kept += 1
        self.cut += long
        self.apart += any(each.apart for each in kept)
        return kept

    def note(self, ctx: Context) -> None:
        """Note how many rows were left out or cut, if any.

        Raises:
          UserError: none fits.
        """
        if self.ambiguous and not self.kept and not self.left_out:
            raise UserError(
                f"all {self.what} would read as several turns",
                "they hold markers of the model's format, such as lines that begin with a role; take those out",
            )
        if self.left_out and not self.kept:
            raise UserError(
                f"none of the {self.what} fits: there is room for {self.room} tokens",
                "shorten them, use fewer few-shots, raise length= if the stage has it, or take a longer context",
            )
        total = self.kept + self.left_out
        done = [(self.left_out, "were left out"), (self.cut, "lost their beginning")]
        told = [f"{count} of {total} {self.what} are too long and {became}" for count, became in done if count]
        if told:
            ctx.note("overlong", "; ".join(told))
        if self.ambiguous:
            ctx.note("ambiguous", f"left out {self.ambiguous} of the {self.what}, which read as several turns")
        note_apart(ctx, self.apart, self.what)


def note_apart(ctx: Context, count: int, what: str) -> None:
    """Note in how many texts, which a plural names, data was tokenised separately from the template next to it."""
    if count:
        ctx.note("apart", f"{count} of the {what} would make a marker together with the template's text")


def fitting(ctx: Context, rows: Sequence[T], fitter: Fitting, segments_of: Callable[[T], Sequence[Segment]]) -> list[T]:
    """The rows whose prompt fits; a note counts the others.

    Raises:
      UserError: none fits, or one does not and `overlong` is "error".
    """
    kept = [row for row in rows if fitter.fit(segments_of(row)) is not None]
    fitter.note(ctx)
    return kept
