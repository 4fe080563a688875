"""What parts of stages are tested with: a tokenizer of letters, pairs, and the context of a node."""

from types import SimpleNamespace

from cai_jax.pipeline.context_length import Fitting
from cai_jax.pipeline.rng import Draw
from cai_jax.prompting.render import Span
from tests.support.contexts import Context

DRAW = Draw(run=0, seed=0, stage="judge")


class Words:
    """A model without weights, whose tokenizer has one id per letter."""

    class tokenizer:
        pad_id, eos_id, begin, special_ids = 0, 1, "", frozenset({0, 1})
        encode = staticmethod(lambda text: [ord(letter) for letter in text])
        spans = staticmethod(lambda text, place: [Span(ord(letter), n, n + 1) for n, letter in enumerate(text)])

    def __init__(self, positions=32):
        self.config = SimpleNamespace(max_position=positions)


def labelled(count, **more):
    return [
        {"turns": [{"role": "human", "text": "?"}], "a": chr(65 + n), "b": "no", "p": n / count, **more}
        for n in range(count)
    ]


def noted(**params):
    """A node that trains on pairs, for three epochs in batches of three."""
    return Context("reward", **{"batch": 3, "epochs": 3} | params)


def letters(room, overlong="truncate_left"):
    return Fitting(Words.tokenizer, room, overlong)


def text(found):
    return "".join(map(chr, found.ids))
