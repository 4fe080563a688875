"""The works, as token ids drawn from a seed. Imports numpy only, so that every side's process can read them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FIRST = 3  # ids below are a model's special tokens

Ids = list[int]


@dataclass(frozen=True)
class Work:
    """vocabulary: ids are drawn from FIRST up to it. seed: of the draws."""

    vocabulary: int = 8192
    seed: int = 0

    def texts(self, lengths: list[int] | np.ndarray, stream: int = 0) -> list[Ids]:
        """One text of random ids for each length; streams differ from each other."""
        random = np.random.default_rng([self.seed, stream])
        return [random.integers(FIRST, self.vocabulary, length).tolist() for length in lengths]


@dataclass(frozen=True)
class Sampling(Work):
    """`rows` prompts of `prompt` tokens, each continued by exactly `new` tokens."""

    rows: int = 32
    prompt: int = 64
    new: int = 64
    temperature: float = 1.0

    def prompts(self) -> list[Ids]:
        return self.texts([self.prompt] * self.rows)


@dataclass(frozen=True)
class Mixed(Work):
    """Prompts of `shortest` to `longest` tokens, whose replies end after `least` to `most` tokens.

    Attributes:
      stops: so many ids end a reply.
      draws: which of its random draws each row takes, which decides where its reply ends.
      lengths: where that is, in tokens; for a side whose draws are others.
    """

    rows: int = 256
    shortest: int = 16
    longest: int = 128
    least: int = 8
    most: int = 128
    stops: int = 128
    draws: tuple[int, ...] = ()
    lengths: tuple[int, ...] = ()

    def prompts(self) -> list[Ids]:
        random = np.random.default_rng([self.seed, 1])
        return self.texts(random.integers(self.shortest, self.longest + 1, self.rows))

    def wanted(self) -> np.ndarray:
        """Lengths from `least` to `most`, all as likely, in random order."""
        spread = np.linspace(self.least, self.most, self.rows).round().astype(int)
        return np.random.default_rng([self.seed, 2]).permutation(spread)


@dataclass(frozen=True)
class Critique(Work):
    """Critique and revision, in rounds; a round's reply is the revision of the one before.

    Tokens: `shots` of the few-shots in front of every prompt, `prompt` of the human's text, `ask` of each
    request for a critique or a revision (with its principle), and `new` of each text that is written.
    """

    rows: int = 64
    shots: int = 1000
    prompt: int = 40
    ask: int = 30
    new: int = 48
    rounds: int = 2
    temperature: float = 1.0

    def few_shots(self) -> Ids:
        return self.texts([self.shots], 1)[0]

    def prompts(self) -> list[Ids]:
        return self.texts([self.prompt] * self.rows, 2)

    def replies(self) -> list[Ids]:
        return self.texts([self.new] * self.rows, 3)

    def requests(self) -> list[list[Ids]]:
        """For each round the request for a critique and the one for a revision."""
        asks = self.texts([self.ask] * 2 * self.rounds, 4)
        return [asks[2 * number : 2 * number + 2] for number in range(self.rounds)]


@dataclass(frozen=True)
class Judging(Work):
    """Comparisons in the paper's format: few-shots, conversation, principle, two options; which is better?

    Tokens: `shots` in front of everything; `lead` ("Consider the following conversation:"), `conversation`,
    `principle`, `opening` ("Options:\\n(A)"), a reply, `between` ("\\n(B)"), the other reply, `closing`
    ("The answer is: (").
    """

    pairs: int = 64
    principles: int = 16
    shots: int = 1000
    lead: int = 10
    conversation: int = 40
    principle: int = 40
    opening: int = 8
    reply: int = 32
    between: int = 4
    closing: int = 24
    options: tuple[int, int] = (3, 4)

    def few_shots(self) -> Ids:
        return self.texts([self.shots], 1)[0]

    def questions(self) -> list[Ids]:
        """What follows the few-shots: for every pair all principles, each in both orders."""
        lead, opening, between, closing = self.texts([self.lead, self.opening, self.between, self.closing], 2)
        conversations = self.texts([self.conversation] * self.pairs, 3)
        principles = self.texts([self.principle] * self.principles, 4)
        firsts, seconds = (self.texts([self.reply] * self.pairs, stream) for stream in (5, 6))
        return [
            [*lead, *conversation, *principle, *opening, *a, *between, *b, *closing]
            for conversation, first, second in zip(conversations, firsts, seconds, strict=True)
            for principle in principles
            for a, b in ((first, second), (second, first))
        ]


@dataclass(frozen=True)
class Logprobs(Work):
    """`rows` prompts of `prompt` tokens with given replies of `new` tokens."""

    rows: int = 64
    prompt: int = 64
    new: int = 64

    def texts_with_replies(self) -> list[Ids]:
        return self.texts([self.prompt + self.new] * self.rows)


@dataclass(frozen=True)
class Sft(Work):
    """One step of AdamW on `rows` texts of `length` tokens, all of them trained, gradients clipped to `clip`."""

    rows: int = 8
    length: int = 128
    learning_rate: float = 1e-4
    clip: float = 1.0

    def batch(self) -> list[Ids]:
        return self.texts([self.length] * self.rows)


WORKS = {kind.__name__: kind for kind in (Sampling, Mixed, Critique, Judging, Logprobs, Sft)}
