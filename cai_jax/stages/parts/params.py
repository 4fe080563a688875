"""Parameters that several stages have, defined once so that they mean the same everywhere."""

from __future__ import annotations

from collections.abc import Iterable

from cai_jax.lang.types import Call, Kind, Param, Problem, Signature, Type

SEED = Param("seed", "Another number, another independent draw.", value="int", default=0, low=0, high=2**32 - 1)
TEMPERATURE = Param(
    "temperature", "Divides the logits before sampling; 0 is greedy.", value="float", default=1.0, low=0
)
TOP_P = Param(
    "top_p",
    "Samples from the most probable tokens that together have this probability.",
    value="float",
    default=1.0,
    low=0,
    high=1,
    open_low=True,
    unit="fraction",
)
MAX_NEW = Param("max_new", "Longest text to write, in tokens.", value="int", default=128, low=1, unit="tokens")
OVERLONG = Param(
    "overlong",
    "What becomes of a row that does not fit the model's context: left out, an error, or the beginning of its "
    "conversation cut; rows left out or cut are counted.",
    value="enum",
    default="skip",
    choices=("skip", "error", "truncate_left"),
)
FEWSHOTS = Param(
    "fewshots",
    "How many of the constitution's examples stand in front of every prompt.",
    value="int",
    default=5,
    low=0,
    high=32,
)
WHERE = Param(
    "where",
    "Which replies to change: all, or those that `screen` flagged.",
    value="enum",
    default="all",
    choices=("all", "flagged"),
)
SAMPLING = (TEMPERATURE, TOP_P, MAX_NEW, OVERLONG, SEED)  # of stages that write with a model
EPOCHS = Param("epochs", "Passes over the data.", value="float", default=1.0, low=0, open_low=True)
LENGTH = Param(
    "length",
    "Tokens of a training row, into which several examples are packed; 0 takes the shortest that holds every example.",
    value="int",
    default=0,
    low=0,
    unit="tokens",
)
OPTIMIZER = Param("optimizer", "Which optimiser.", value="enum", default="adamw", choices=("adamw", "muon"))
DECAY = Param(
    "schedule",
    "How the learning rate goes after the warm-up.",
    value="enum",
    default="constant",
    choices=("constant", "linear", "cosine"),
)
WARMUP = Param("warmup", "Updates over which the learning rate rises.", value="int", default=0, low=0)
LORA = Signature(
    name="lora",
    about="A low-rank adapter of every linear layer: x goes through W + (alpha / rank) A B, of which W stays as it is.",
    params=(
        Param("rank", "Columns of A and rows of B.", value="int", default=8, low=1),
        Param("alpha", "What the adapter adds is scaled by alpha / rank.", value="float", default=16.0, low=0,
              open_low=True),
    ),
    result=lambda call: Type(Kind.ERROR),
    example="lora(rank=8, alpha=16)",
)  # fmt: skip
ADAPTER = Param(
    "adapter",
    "What is trained: all weights, or a low-rank adapter on top of them, which shares them with all else that stands "
    "on the same base.",
    value="enum",
    default="full",
    choices=("full",),
    record=LORA,
)
CONSTITUTION = Param("constitution", "The principles.", kinds=(Kind.CONSTITUTION,))
BY = Param(
    "by",
    "The model that does it; by default the one that wrote the replies.",
    kinds=(Kind.MODEL,),
    inherit=True,
)


def rate(default: float, about: str) -> Param:
    """A learning rate."""
    return Param("learning_rate", about, value="float", default=default, low=0, open_low=True, high=1)


def batch(default: int, about: str) -> Param:
    """A batch size."""
    return Param("batch", about, value="int", default=default, low=1, unit="rows")


def needs(call: Call, ability: str, stage: str) -> Iterable[Problem]:
    """A problem where the constitution given has no principle that supports `ability`."""
    constitution = call.types.get("constitution")
    if constitution is not None and ability not in constitution.can:
        texts = {"revise": "`critique` and `revise`", "judge": "`compare`", "audit": "`critique`"}[ability]
        yield Problem(
            "E211",
            "constitution",
            f"`{stage}` needs principles with {texts}, and this constitution has none",
            label=f"cannot {ability}",
            hint=f"add {texts} to at least one of its principles",
        )


def fits(call: Call, model: str) -> Iterable[Problem]:
    """A problem where the new tokens alone exceed the context of the model given as parameter `model`."""
    given, new = call.types.get(model), call.values.get("max_new")
    if given is not None and given.context is not None and new is not None and new >= given.context:
        yield Problem(
            "E220",
            "max_new",
            f"{new} new tokens do not fit the model's context of {given.context}",
            label=f"at most {given.context - 1}",
            hint="ask for fewer new tokens, or use a model with a longer context",
        )


def flagged(call: Call) -> Iterable[Problem]:
    """A problem where flagged replies are asked for and nothing has flagged any."""
    if call.values["where"] == "flagged" and not call.types["replies"].screened:
        yield Problem(
            "E219",
            "where",
            "no reply is flagged: these were never screened",
            label="nothing flags them",
            hint="put `screen(…)` in front, or leave `where` out",
            also=(("replies", "not screened"),),
        )
