"""What a stage is, and the small protocol through which it works: commit a batch, resume, log.

`runs` implements `Context` and `Artefact`; stages see nothing else of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from cai_jax.lang.signature import Node, Signature, Type

Row = dict[str, Any]


class Artefact(Protocol):
    """A finished node, as those that follow see it.

    Attributes:
      key: the node's key.
      type: what it is.
      dir: its folder, read-only for everybody else.
      params: its node's parameters, as the program at hand states them.
      inputs: parameter name -> the artefact that it was made from, or a tuple of them.
      result: what its stage returned; {} if nothing. It names no paths, which may hold something else by the next run,
        and other artefacts by their keys.
    """

    key: str
    type: Type
    dir: Path
    params: Mapping[str, Any]
    inputs: Mapping[str, Any]
    result: Mapping[str, Any]

    def rows(self) -> list[Row]:
        """All committed rows, in order; a fresh list at every call."""
        ...

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def __iter__(self) -> Iterator[Row]: ...

    @property
    def path(self) -> Path:
        """Folder of a model in the HF layout: where its stage says that it lies (`located`), or "hf" in `dir`.

        Raises:
          UserError: as `source`.
        """
        ...

    @property
    def bases(self) -> tuple[Path, ...]:
        """Of a model that is an adapter, the folders of all models below it, the whole weights last."""
        ...

    def source(self, name: str) -> str:
        """The outside data that a parameter names, where it lies now; "" if it names none.

        Raises:
          UserError: it holds something else by now than the key was made from.
        """
        ...

    def made_from(self, key: str) -> Artefact:
        """The artefact with this key: itself, or one that it was made from, by however many steps."""
        ...


class Context(Protocol):
    """One node while its stage runs.

    Attributes:
      node: what is to be made.
      params: the node's parameters, filled in.
      inputs: parameter name -> its artefact, or a tuple of them where the parameter takes many.
      seed: the run's seed.
      dir: the node's own folder; models are written to `dir / "hf"`.
      stopping: Ctrl-C or a preemption is pending; a stage that sees this may save before its next `progress`.
    """

    node: Node
    params: Mapping[str, Any]
    inputs: Mapping[str, Any]
    seed: int
    dir: Path

    @property
    def stopping(self) -> bool: ...

    def committed(self) -> list[Row]:
        """Rows that earlier, interrupted attempts have committed, in order."""
        ...

    def commit(self, rows: Sequence[Row]) -> None:
        """Appends rows as one immutable part, durable when this returns; no rows, no part."""
        ...

    def save(self, step: int, tree: Any) -> None:
        """Saves a pytree of arrays as the state after `step` steps; the last two are kept while it runs."""
        ...

    def restore(self, template: Any) -> tuple[int, Any] | None:
        """The latest saved `(step, tree)`, typed and placed like `template`; None if there is none."""
        ...

    def log(self, step: int, **metrics: float) -> None:
        """One line of metrics.jsonl; after a restart, a step logged again replaces all from it on.

        Log a step before the `commit` or `save` that makes it final: killed in between, it is done and logged
        again, where the other way round its line would be lost.
        """
        ...

    def note(self, code: str, message: str) -> None:
        """A named diagnosis (uninformative labels): kept with the node, shown at the end of every run."""
        ...

    def used(self, **schedule: Any) -> None:
        """What settings of the schedule came to where they leave it open, for node.json."""
        ...

    def progress(self, done: int, total: int, *, tokens: int = 0, unit: str = "rows") -> None:
        """How far the stage is; also where a pending interruption is raised, so call it after committing.

        Args:
          done: units done, those of earlier attempts included.
          total: units in all.
          tokens: tokens processed so far by this attempt.
          unit: what is counted.
        """
        ...


class StepContext(Protocol):
    """One node before it runs, as its stage's `steps` sees it; in forecast/ for `plan` and for `compile`.

    Every method returns steps, and `models` and `shots` what other methods take. `held` is what lies in memory while a
    step runs, where that is more than the models loaded.

    Attributes:
      node, params: as a `Context`'s.
      inputs: parameter name -> what it will be made from: `node`, `label`, `type` and `inputs`; or a tuple of them.
      prompt: tokens of the longest prompt of the program.
      reply: tokens of the longest reply that is acted on.
    """

    node: Node
    params: Mapping[str, Any]
    inputs: Mapping[str, Any]
    prompt: int

    @property
    def reply(self) -> int: ...

    def models(self, name: str, trained: bool = False) -> list[Any]:
        """The models of the artefact given as parameter `name`, laid out to be read or to be `trained`.

        Each has a `config`. There are none for `plan` where a model's shape is not known.

        Raises:
          UserError: the shape is not known, and steps are to be compiled.
        """
        ...

    def shots(self, model: Any, constitution: str = "constitution") -> Any:
        """The examples in front of every prompt."""
        ...

    def reading_shots(self, model: Any, shots: Any) -> list[Any]:
        """Reading them once."""
        ...

    def generating(
        self,
        model: Any,
        name: str,
        texts: float,
        longest: int,
        shots: Any = ...,
        exact: bool = False,
        held: Any = None,
    ) -> list[Any]:
        """Writing `texts` texts behind prompts of up to `longest` tokens: reading prompts, and decoding in chunks.

        The cache is made for prompts of so many tokens: to a power of two, or with `exact` for just as many.
        """
        ...

    def asking(self, model: Any, name: str, questions: float, longest: int, shots: Any = ...) -> list[Any]:
        """Scoring the two options behind so many questions of up to `longest` tokens."""
        ...

    def auditing(self, model: Any, constitution: str, replies: float) -> list[Any]:
        """Reading few-shots, and asking about every principle of every reply."""
        ...

    def scoring(self, name: str, replies: float, held: Any = None) -> list[Any]:
        """Scoring replies with the preference model given as parameter `name`, or with all of a mixture."""
        ...

    def learning(
        self,
        model: Any,
        learner: Callable[[Any], Any],
        rows: int,
        arrays: Mapping[str, tuple[tuple[int, ...], str]],
        calls: float,
        chunk: int | None = None,
        scored: bool = False,
    ) -> Any:
        """Updates on batches of `rows` rows, as an object with `steps`, the `model` trained, and what is then `held`.

        Args:
          learner: of a model the compiled step, what is frozen below it, and `weights -> the state before the first
            step`.
          arrays: of a batch, by name: shape of a row and dtype. "tokens" are `[T]`, or `[S, T]` for S texts a row.
          chunk: positions of a row that are unembedded at a time; None: none are.
          scored: the model has a scalar head in the place of its unembedding.
        """
        ...

    def score_references(self, learning: Any, replies: float) -> list[Any]:
        """Scoring replies with the preference model that is being trained."""
        ...

    def reinforcing(self, model: Any, scorers: Sequence[Any], width: int) -> Any:
        """Of PPO, the reference's log-probabilities, preparing the rollout, and the updates; as `learning`.

        Args:
          scorers: the preference models that are the reward, whose weights the critic may start from.
          width: tokens of a rollout's rows.
        """
        ...


class Stage(Protocol):
    """A module in `cai_jax/stages`, or anything with its attributes. It may also have

    `rendered(ctx, n) -> list[list[Segment]]`: the exact prompts of the first n rows, for `plan --prompts`;
    `located(params) -> Path | None`: of a source of models, the folder outside in which the model lies;
    `steps(ctx) -> list`: every jitted step that its run takes, put together from what the methods of its `StepContext`
    return. `plan` and `compile` are two readings of it. A stage without it computes nothing on the devices.
    """

    SIGNATURE: Signature

    def run(self, ctx: Context) -> Mapping[str, Any] | None:
        """Makes the node; returns a JSON-able result."""
        ...
