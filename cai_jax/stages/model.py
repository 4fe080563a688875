"""`model`: a decoder from the package, from disk, from the local Hugging Face cache, or a fresh one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cai_jax.data.hf_cache import snapshot
from cai_jax.errors import UserError
from cai_jax.lang.signature import Call, Kind, Param, Problem, Signature, Type
from cai_jax.models.errors import ModelError
from cai_jax.models.locate import BUILTIN, MODELS, bases, described, locate
from cai_jax.pipeline.context import Context
from cai_jax.stages.declare import names

if TYPE_CHECKING:
    from cai_jax.models.config import Config

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")  # any of them is the core of a tokenizer


def _config(call: Call) -> Config | None:
    """The shape, from the folder's config.json, the `shape=` given, or the name after `init:`; None if unknown.

    Raises:
      ModelError: there is a config.json, but none of a decoder that can be had, or the base of an adapter is missing.
    """
    from cai_jax.models.config import Config, read_json
    from cai_jax.models.shapes import SHAPES

    path = call.resolve(call.values["path"])
    folder = locate(path)
    name = call.values.get("shape") or (path.partition(":")[2] if path.startswith("init:") else "")
    if folder is not None:
        bases(folder)  # all of them have to be here
    file = described(folder) / "config.json" if folder is not None else None
    if file is not None and file.is_file():
        return Config.from_hf(read_json(file))
    return SHAPES.get(name)


def _result(call: Call) -> Type:
    from cai_jax.models.config import parameters

    try:
        config = _config(call)
    except ModelError:
        config = None
    if config is None:
        return Type(Kind.MODEL)
    decoders = ((config, call.values["dtype"]),)
    return Type(
        Kind.MODEL,
        context=config.max_position,
        tokenizer=_tokenizer_of(call),
        size=parameters(config),
        heads=config.heads,
        decoders=decoders,
    )


def _tokenizer_of(call: Call) -> str:
    """The folder of the model's tokenizer; "" where it is not here."""
    path = call.resolve(call.values["path"])
    folder = locate(path)
    if folder is None and path.startswith("init:"):
        asked = call.values["tokenizer"]
        folder = locate(asked if asked.startswith("builtin:") else call.resolve(asked))
    folder = folder and described(folder)
    return str(folder) if folder and any((folder / name).is_file() for name in TOKENIZER_FILES) else ""


def _no_tokenizer(call: Call) -> Iterable[Problem]:
    """A problem where fresh weights are to take the tokenizer of a folder that has none."""
    asked = call.values["tokenizer"]
    folder = Path(call.resolve(asked))
    if asked.startswith("builtin:") or any((folder / name).is_file() for name in TOKENIZER_FILES):
        return
    hint = f"name a folder with one of {', '.join(TOKENIZER_FILES)}"
    yield Problem("E227", "tokenizer", f"there is no tokenizer in {asked}", "holds none", hint)


def _check(call: Call) -> Iterable[Problem]:
    from cai_jax.models.shapes import SHAPES

    path = call.resolve(call.values["path"])
    scheme, _, name = path.partition(":")
    shapes = ", ".join(SHAPES)
    try:
        known = _config(call) is not None
    except ModelError as error:
        yield _unusable(call, "path", error)
        return
    yield from _no_tokenizer(call)
    if call.values.get("shape") and call.values["shape"] not in SHAPES:
        yield Problem("E222", "shape", f"no known shape is called {call.values['shape']!r}", hint=f"known: {shapes}")
    if scheme == "init" and name not in SHAPES:
        yield Problem("E222", "path", f"no known shape is called {name!r}", hint=f"known: {shapes}")
    elif scheme == "builtin" and name not in BUILTIN:
        yield Problem(
            "E221",
            "path",
            f"there is no built-in model {name!r}",
            hint=f"give {MODELS}",
        )
    elif scheme == "hf" and snapshot("models", name) is None:
        hint = f"fetch it first, for example with `hf download {name}`"
        if not known:
            hint += f'; to plan without it, say shape="…", one of {shapes}'
        yield Problem("W301", "path", f"{name} is not in the local Hugging Face cache", hint=hint, warning=True)
    elif scheme not in ("init", "builtin", "hf"):
        folder = Path(path)
        if not folder.is_dir():
            yield Problem(
                "E221",
                "path",
                f"there is no model folder {path}",
                hint="give a folder in the Hugging Face layout",
            )
        elif not (described(folder) / "config.json").is_file():
            yield Problem(
                "E221",
                "path",
                f"{path} holds no config.json",
                hint="give a folder in the Hugging Face layout",
            )
        elif {each.name for each in folder.iterdir()} <= {"config.json", "generation_config.json"}:
            hint = "`plan` and `compile` need no more; to run it, fetch its weights and its tokenizer"
            yield Problem("W301", "path", f"{path} says a model's shape and holds no weights", hint=hint, warning=True)
        else:
            yield from _verified(call, "path", folder)
    if scheme == "hf" and known and (found := locate(path)) is not None:
        yield from _verified(call, "path", found)
    if scheme == "init" and name in SHAPES and call.values["tokenizer"] != "builtin:tiny":
        yield from _verified(call, "tokenizer", Path(call.resolve(call.values["tokenizer"])))


def _verified(call: Call, param: str, folder: Path) -> Iterable[Problem]:
    """Problems with a model's folder, or with a tokenizer's, and the chat template in it."""
    from cai_jax.models.tokenizer import Tokenizer
    from cai_jax.models.verify import verify
    from cai_jax.prompting.chat_format import format_of

    try:
        format_of(verify(folder) if param == "path" else Tokenizer.load(folder), call.values["format"])
    except UserError as error:
        yield _unusable(call, param, error)


def _unusable(call: Call, param: str, error: UserError) -> Problem:
    return Problem("E227", param, f"the model {call.values[param]} cannot be used: {error.message}", hint=error.hint)


SIGNATURE = Signature(
    name="model",
    about="A decoder: built in, from a folder or the local cache in the Hugging Face layout, or fresh weights.",
    params=(
        Param(
            "path",
            '"builtin:tiny" or "builtin:novice", "hf:org/name", "init:shape" (fresh weights), or a folder.',
            value="path",
        ),
        Param(
            "shape",
            "A known shape, to check and plan before the files are here.",
            value="str",
            default="",
            needs=names("hf:"),
        ),
        Param(
            "tokenizer",
            "For `init:`: a folder whose tokenizer fresh weights take; by default one made for the built-in world.",
            value="path",
            default="builtin:tiny",
            needs=names("init:"),
        ),
        Param(
            "dtype",
            "Dtype in which it computes.",
            value="enum",
            default="float32",
            choices=("float32", "bfloat16"),
        ),
        Param(
            "format",
            "Format of its prompts: the paper's Human/Assistant format, or its chat template; `auto` is the latter "
            "where there is one.",
            value="enum",
            default="auto",
            choices=("auto", "paper", "chat"),
        ),
        Param("seed", "Of fresh weights.", value="int", default=0, low=0, needs=names("init:")),
    ),
    result=_result,
    check=_check,
    version=4,
    group="source",
    source="path",
    example='model("builtin:tiny")',
)


def located(params: Mapping[str, Any]) -> Path | None:
    """The folder of the model that these parameters name; None of fresh weights, which the node itself holds.

    Raises:
      UserError: it is not on this machine.
    """
    path = params["path"]
    folder = locate(path)
    if folder is None and not path.startswith("init:"):
        raise UserError(f"the model {path} is not on this machine", "fetch it into the local Hugging Face cache first")
    return folder


def run(ctx: Context) -> Mapping[str, Any]:
    """Check the folder, or write new weights; result: dtype, format."""
    from cai_jax.models.config import read_json
    from cai_jax.models.families import WRAPPERS
    from cai_jax.models.verify import verify
    from cai_jax.prompting.chat_format import format_of

    folder = located(ctx.params)
    if folder is None:
        _write_fresh(ctx, ctx.params["path"].partition(":")[2])
    else:
        format_of(verify(folder), ctx.params["format"])
        if read_json(described(folder) / "config.json").get("model_type") in WRAPPERS:
            ctx.note("text", f"of {ctx.params['path']} the text part is used; its weights for images are left aside")
    return {name: ctx.params[name] for name in ("dtype", "format")}


def _write_fresh(ctx: Context, shape: str) -> None:
    import dataclasses

    import jax

    from cai_jax.models import checkpoint, decoder
    from cai_jax.models.shapes import SHAPES
    from cai_jax.models.tokenizer import Tokenizer
    from cai_jax.parallel import multihost
    from cai_jax.prompting.chat_format import format_of

    folder = ctx.dir / "tokenizer"
    if ctx.params["tokenizer"] == "builtin:tiny":
        from cai_jax.world import tokenizer as world

        multihost.run_on_leader(lambda: world.write(folder))
    else:
        folder = Path(ctx.params["tokenizer"])
    tokenizer = Tokenizer.load(folder)
    format_of(tokenizer, ctx.params["format"])
    config = dataclasses.replace(
        SHAPES[shape],
        vocab_size=tokenizer.vocab_size,
        bos_id=tokenizer.bos_id,
        eos_ids=(tokenizer.eos_id,),
        pad_id=tokenizer.pad_id,
    )
    params = decoder.init(config, jax.random.key(ctx.params["seed"]))
    checkpoint.save(checkpoint.Model(config, params, tokenizer), ctx.dir / "hf")
