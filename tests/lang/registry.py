"""A small registry that resembles the real one, so that the language is tested without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cai_jax.lang.checker import Checked, check
from cai_jax.lang.signature import Call, Kind, Param, Problem, Signature, Type

_DATA = (Kind.RESPONSES, Kind.DIALOGS)


def _source_split(kind: Kind):
    def result(call: Call) -> Type:
        path = call.values["path"]
        oracle = path.startswith("builtin:")
        return Type(kind, splits=frozenset({"train", "test"}), lineage=frozenset({path}), oracle=oracle)

    return result


def _model_check(call: Call):
    name = call.values["path"]
    if name.startswith("hf:"):
        yield Problem(
            "W301", "path", f"`{name}` is not in the local cache", hint="it is fetched by `run`", warning=True
        )
    if call.values["shape"] == "none":
        yield Problem("E222", "shape", "no shape is called `none`")


def _select(call: Call) -> Type:
    data = call.types["data"]
    lineage = frozenset(f"{one}/{call.values['name']}" for one in data.lineage)
    return replace(data, splits=None, lineage=lineage)


def _join(call: Call) -> Type:
    data = call.types["data"]
    kind = Kind.DIALOGS if {one.kind for one in data} > {data[0].kind} else data[0].kind
    return replace(data[0], kind=kind, splits=None, lineage=frozenset().union(*(one.lineage for one in data)))


def _sample(call: Call) -> Type:
    prompts = call.types["prompts"]
    values = call.values
    return Type(Kind.RESPONSES, values["n"], lineage=prompts.lineage, oracle=prompts.oracle, length=values["max_new"])


def _sample_check(call: Call):
    context = call.types["model"].context
    if context and call.values["max_new"] >= context:
        message = f"{call.values['max_new']} new tokens do not fit a context of {context}"
        yield Problem("E220", "max_new", message, "too many", also=(("model", f"context {context}"),))


def _judge_check(call: Call):
    replies = call.types["replies"].replies
    if replies == 1:
        yield Problem(
            "E210",
            "",
            "`judge` compares replies, but each prompt has only one",
            "needs at least 2 replies per prompt",
            "write  sample(..., n=2)",
            also=(("replies", "draws n=1"),),
        )
    if "judge" not in call.types["constitution"].supports:
        yield Problem("E211", "constitution", "no principle of this constitution has `compare`", "cannot judge")


def _revise_check(call: Call):
    if "revise" not in call.types["constitution"].supports:
        yield Problem("E211", "constitution", "no principle of this constitution has `revise`", "cannot revise")


def _trained(*names: str):
    def result(call: Call) -> Type:
        model = call.types[names[0]]
        lineage = frozenset().union(*(call.types[name].lineage for name in names))
        return replace(model, lineage=lineage)

    return result


def _reward(call: Call) -> Type:
    lineage = call.types["model"].lineage | call.types["prefs"].lineage
    return Type(Kind.REWARD_MODEL, lineage=lineage, context=call.types["model"].context)


def _metric_check(call: Call):
    if not call.types["of"].oracle and "by" not in call.types:
        message = "nothing can say which of these replies are harmful"
        yield Problem("E212", "of", message, "no oracle for these prompts", "give  by=  a reward model")


def _p(name: str, *kinds: Kind, **more) -> Param:
    return Param(name, more.pop("about", f"the {name}"), tuple(kinds), **more)


_WHERE = Param("where", "which replies", value="enum", default="all", choices=("all", "flagged"))
_MEASURED = (
    _p("of", *_DATA, about="what is measured", lift="sample", lift_on="on"),
    _p("on", Kind.PROMPTS, about="prompts to reply to", default=None),
    _p("by", Kind.MODEL, Kind.REWARD_MODEL, about="who judges", default=None),
)


def _metric(name: str) -> Signature:
    return Signature(
        name,
        f"Share of replies: {name}.",
        _MEASURED,
        lambda call: Type(Kind.METRIC),
        _metric_check,
        group="metric",
        bounds=(0.0, 1.0),
    )


def signatures() -> list[Signature]:
    path = Param("path", "where it is", value="path")
    metric = lambda call: Type(Kind.METRIC)  # noqa: E731
    return [
        Signature(
            "model",
            "A decoder in HF layout.",
            (path, Param("shape", "a known shape", value="str", default=None)),
            lambda call: Type(Kind.MODEL, context=512),
            _model_check,
            group="source",
            source="path",
            example='model("builtin:tiny")',
        ),
        Signature(
            "prompts",
            "Prompts.",
            (path, Param("limit", "at most", value="int", default=None, low=1, unit="rows")),
            _source_split(Kind.PROMPTS),
            group="source",
            source="path",
        ),
        Signature("prefs", "Preferences.", (path,), _source_split(Kind.PREFS), group="source", source="path"),
        Signature(
            "sample",
            "Draws replies.",
            (
                _p("prompts", Kind.PROMPTS),
                _p("model", Kind.MODEL),
                Param("n", "replies per prompt", value="int", default=1, low=1, high=64),
                Param("max_new", "new tokens", value="int", default=64, low=1, unit="tokens"),
                Param("temperature", "of the draw", value="float", default=1.0, low=0),
                Param(
                    "top_p",
                    "nucleus",
                    value="float",
                    default=1.0,
                    low=0,
                    open_low=True,
                    high=1,
                    unit="fraction",
                ),
                Param("seed", "of the draw", value="int", default=0, low=0),
            ),
            _sample,
            _sample_check,
            settings=("mesh", "slots"),
            example="prompts |> sample(model)",
        ),
        Signature(
            "revise",
            "Critiques and revises.",
            (
                _p("replies", *_DATA),
                _p("constitution", Kind.CONSTITUTION),
                _p("by", Kind.MODEL, inherit=True),
                Param("rounds", "of revision", value="int", default=4, low=1, high=16),
                _WHERE,
            ),
            lambda call: replace(call.types["replies"], kind=Kind.RESPONSES),
            _revise_check,
            settings=("mesh", "slots"),
        ),
        Signature(
            "finetune",
            "Supervised training.",
            (
                _p("data", *_DATA),
                _p("model", Kind.MODEL),
                Param("epochs", "passes", value="int", default=1, low=1),
                Param("lr", "learning rate", value="float", default=1e-3, low=0, open_low=True),
                Param("batch", "rows a step", value="int", default=32, low=1, unit="rows"),
                Param("memory", "at most", value="int", default=None, unit="bytes"),
                Param("time", "at most", value="float", default=None, unit="seconds"),
                Param("shuffle", "the rows", value="bool", default=True),
            ),
            _trained("model", "data"),
            settings=("mesh", "microbatch", "remat"),
            example="replies |> finetune(model)",
        ),
        Signature(
            "judge",
            "AI feedback.",
            (
                _p("replies", *_DATA),
                _p("constitution", Kind.CONSTITUTION),
                _p("by", Kind.MODEL),
                Param(
                    "labels",
                    "how they are made",
                    value="enum",
                    default="soft",
                    choices=("soft", "hard", "clamped"),
                ),
                Param("clamp", "of labels", value="range", default=None, low=0, high=1, unit="fraction"),
            ),
            lambda call: Type(Kind.PREFS, lineage=call.types["replies"].lineage),
            _judge_check,
            settings=("mesh", "slots"),
        ),
        Signature(
            "reward",
            "A preference model.",
            (
                _p("prefs", Kind.PREFS),
                _p("model", Kind.MODEL),
                Param("epochs", "passes", value="int", default=1, low=1),
            ),
            _reward,
            settings=("mesh", "microbatch", "remat"),
        ),
        Signature(
            "ppo",
            "Reinforcement learning.",
            (
                _p("model", Kind.MODEL),
                _p("reward", Kind.REWARD_MODEL),
                _p("on", Kind.PROMPTS),
                Param("kl", "coefficient", value="float", default=0.05, low=0),
                Param("steps", "updates", value="int", default=100, low=1),
            ),
            _trained("model", "reward", "on"),
            settings=("mesh", "slots", "microbatch", "remat"),
        ),
        Signature(
            "screen",
            "Audits replies.",
            (
                _p("replies", *_DATA),
                _p("constitution", Kind.CONSTITUTION),
                _p("by", Kind.MODEL, inherit=True),
                Param("limit", "flags above", value="float", default=0.5, low=0, high=1, unit="fraction"),
            ),
            lambda call: call.types["replies"],
        ),
        Signature(
            "refuse",
            "Replaces replies.",
            (_p("replies", *_DATA), Param("text", "said instead", value="str", default="No."), _WHERE),
            lambda call: call.types["replies"],
        ),
        _metric("harm_rate"),
        _metric("refusal_rate"),
        Signature(
            "win_rate",
            "Share of wins.",
            (_MEASURED[0], replace(_MEASURED[0], name="against"), *_MEASURED[1:]),
            metric,
            _metric_check,
            group="metric",
            bounds=(0.0, 1.0),
        ),
        Signature("label_accuracy", "Of labels.", (_p("prefs", Kind.PREFS),), metric, group="metric"),
        Signature(
            "reward_accuracy",
            "Of scores.",
            (_p("reward", Kind.REWARD_MODEL), _p("prefs", Kind.PREFS)),
            metric,
            group="metric",
            bounds=(0.0, 1.0),
        ),
        Signature(
            "join",
            "Rows of all.",
            (Param("data", "to join", (Kind.PROMPTS, Kind.PREFS, Kind.REWARD_MODEL, *_DATA), many=True),),
            _join,
            group="operator",
            operator="+",
        ),
        Signature(
            "scale",
            "Weights a loss.",
            (
                Param("data", "to weight", (Kind.PREFS, Kind.REWARD_MODEL, *_DATA)),
                Param("weight", "factor", value="float", low=0, open_low=True, unit="fraction"),
            ),
            lambda call: call.types["data"],
            group="operator",
            operator="*",
        ),
        Signature(
            "select",
            "One split.",
            (
                Param("data", "to split", (Kind.PROMPTS, Kind.PREFS)),
                Param("name", "of the split", value="str"),
            ),
            _select,
            group="operator",
            operator=".",
        ),
    ]


REGISTRY = {signature.name: signature for signature in signatures()}


def checked(text: str | bytes, world: Path, **overrides: str) -> Checked:
    """A program checked as `world`/p.cai."""
    return check(text, world / "p.cai", REGISTRY, overrides=overrides, root=world)
