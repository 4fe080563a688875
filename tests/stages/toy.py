"""What parts of stages are tested with: a tokenizer of letters, pairs, and the context of a node."""

from types import SimpleNamespace

from cai_jax.pipeline.context_length import Fitting
from cai_jax.pipeline.rng import Draw
from cai_jax.prompting.render import Span

DRAW = Draw(run=0, seed=0, stage="judge")


class Words:
    """A tokenizer of one id per letter, in a model of 32 positions."""

    config = SimpleNamespace(max_position=32)

    class tokenizer:
        pad_id, eos_id, begin, special_ids = 0, 1, "", frozenset({0, 1})
        encode = staticmethod(lambda text: [ord(letter) for letter in text])
        spans = staticmethod(lambda text, place: [Span(ord(letter), n, n + 1) for n, letter in enumerate(text)])


def labelled(count, **more):
    return [
        {"turns": [{"role": "human", "text": "?"}], "a": chr(65 + n), "b": "no", "p": n / count, **more}
        for n in range(count)
    ]


def noted(**params):
    notes = {}
    params = {"length": 0, "overlong": "skip", "batch": 3, "epochs": 3, "seed": 0} | params
    node = SimpleNamespace(stage="reward")
    return SimpleNamespace(params=params, seed=0, node=node, note=notes.__setitem__, notes=notes)


def letters(room, overlong="truncate_left"):
    return Fitting(Words.tokenizer, room, overlong)


def text(found):
    return "".join(map(chr, found.ids))
