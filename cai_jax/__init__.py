"""Constitutional AI in JAX and Flax, driven by a small language.

Every stage of the language can be called at once, on the same cache as programs use:

    import cai_jax

    base = cai_jax.model("builtin:tiny")
    replies = cai_jax.sample(["How do I pick a lock?"], base, n=2)
    print([row["reply"] for row in replies])

A model can also be taken in hand: `cai_jax.load("org/name").logits(ids)`. Importing this imports no JAX.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from cai_jax.api.user_stages import Run, UserStage
    from cai_jax.models.checkpoint import Model, Shardings

__version__ = "0.1.0"


def load(
    path_or_id: str | Path,
    dtype: str = "float32",
    shardings: Shardings | None = None,
    base: str | Path | None = None,
) -> Model:
    """A model with its weights, its tokenizer, and for a reward model its head.

    Args:
      path_or_id: "builtin:tiny" or "builtin:novice", a folder in the Hugging Face layout or with an adapter in peft's,
        or "org/name" (also "hf:org/name") of the local Hugging Face cache; no network request is made.
      dtype: of the weights, whatever they are stored in: "float32" or "bfloat16".
      shardings: of the weights over several devices; see `models.checkpoint.load`.
      base: of an adapter, the model that it belongs to, named as `path_or_id`. By default, for an adapter that a run
        has made, the base in the run's record, unless that has changed since, and for any other adapter the one that
        its adapter_config.json names.

    Returns:
      A `Model` m: `m.logits(ids)` `[B, T, V]` float32, `m.save(path)`, `m.tokenizer`, `m.params`, `m.config`.

    Raises:
      ModelError: there is no such model, or it cannot be used; the message names the cure.
    """
    from cai_jax.api import loading
    from cai_jax.models import locate

    below = None if base is None else locate.folder(base)
    return loading.load(locate.folder(path_or_id), dtype, shardings, below)


def stage(
    *,
    result: str,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    settings: Sequence[str] | None = None,
    steps: Callable[..., Any] | None = None,
    rendered: Callable[..., Any] | None = None,
) -> Callable[[Run], UserStage]:
    """Declare a function as a stage, which programs take by `use stage name from "file.py"`.

    The function makes the node from a `pipeline.context.Context`; its name is the stage's, and the first paragraph of
    its docstring says what the stage is about. It can be called as `cai_jax.sample` is, on the same cache. All
    arguments but the last two are written out as literals, so that `cai-jax check` reads them without running the file.
    A metric returns the result of `stages.metrics.common.measured` for rows with values from 0 to 1.

    Args:
      result: the kind of its result: "Metric", "Responses", "Prompts", "Prefs", "Dialogs", "Documents", "Model" or
        "RewardModel".
      params: name -> fields of a parameter, those of `lang.signature.Param` that are plain values: `about`; `kinds`, a
        list, of artefacts, or else `value`, such as "int"; `default`, `low`, `high`, `open_low`, `unit`, `choices`,
        `many`, `inherit`. `lift_on` names the parameter with the prompts to which a model or flow replies first,
        where one is given instead of replies.
      settings: those of `with (…)` that it reads.
      steps, rendered: functions, as of `stages.protocol.Stage`.

    Raises:
      UserError: it does not declare a stage.
    """
    from cai_jax.api import user_stages

    fields = {"result": result, "params": params, "settings": settings}
    return user_stages.stage(fields, {"steps": steps, "rendered": rendered})


def __getattr__(name: str) -> Any:
    """`cai_jax.<stage>`: a callable for every stage that a program could call; see `api.stage_calls`."""
    # `from cai_jax import cli` asks here first; for a module of the package the import system has to go on.
    if not name.startswith("_") and importlib.util.find_spec(f"cai_jax.{name}") is None:
        from cai_jax.api import stage_calls

        if name in stage_calls.callables():
            return stage_calls.callables()[name]
    raise AttributeError(f"module 'cai_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    from cai_jax.api import stage_calls

    return [*globals(), *stage_calls.callables()]
