"""One run from its plan to its verdicts: what `cai-jax run` does, without the command line."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cai_jax.lang.plan import Expect, Plan
from cai_jax.lang.types import Node
from cai_jax.runs import files, results
from cai_jax.runs.allocator import keep_memory
from cai_jax.runs.cache import Cache, meaning
from cai_jax.runs.errors import Interrupted
from cai_jax.runs.executor import Executor, Outcome, Reporter, dependants, needed
from cai_jax.runs.expectations import Statistics, Verdict, judge
from cai_jax.runs.folder import RunFolder
from cai_jax.runs.labels import find, labels
from cai_jax.runs.preflight import data, overlaps
from cai_jax.runs.results import Measured
from cai_jax.runs.signals import Interrupts
from cai_jax.stages.protocol import Stage


@dataclass(frozen=True)
class Options:
    """How a plan is to be run.

    Attributes:
      out: the folder that holds `cache` and the runs.
      only: the one name (or key) to make, with all that it is made from; "" makes everything.
      force: names or keys to make anew, with all that is made from them.
    """

    out: Path
    only: str = ""
    force: Collection[str] = ()


@dataclass
class Shown:
    """What a run has come to, complete or not.

    Attributes:
      run: the run's folder.
      status: "ok", "expectation failed", "failed", "interrupted" or "preempted".
      outcomes: of the nodes made or found, in order.
      metrics, verdicts: of the program's measures and claims whose nodes were made.
    """

    run: Path
    status: str = "running"
    outcomes: list[Outcome] = field(default_factory=list)
    metrics: list[Measured] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    def as_json(self) -> Mapping[str, Any]:
        """The object of `cai-jax run --json`."""
        return results.as_json(self.run.name, self.status, self.outcomes, self.metrics, self.verdicts)


def chosen(plan: Plan, name: str) -> str:
    """The key of the node that is meant by a name, or by the beginning of a key.

    Raises:
      UserError: nothing is called so, or several are.
    """
    return find(name, plan.names, [node.key for node in plan.nodes], "this program")


def check_options(plan: Plan, options: Options) -> None:
    """Raises UserError if a name in the options is not the plan's."""
    for name in (*options.force, *([options.only] if options.only else ())):
        chosen(plan, name)


def prepare_jax(out: Path) -> None:
    """Lets JAX keep what it compiles under `out`, so that a resumed run does not compile again, and its memory.

    The former works by the environment, which JAX reads when it is imported, because a run out of the cache must not
    import it. A folder that the user has chosen stays.
    """
    keep_memory()
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str((out / "jax").resolve()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
    if "jax" in sys.modules:
        import jax

        jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])


def run(
    plan: Plan,
    folder: RunFolder,
    options: Options,
    registry: Mapping[str, Stage],
    reporter: Reporter,
    interrupts: Interrupts,
    statistics: Statistics,
) -> Shown:
    """Runs a plan. What came of it stands in the folder's manifest, also if this raises.

    Raises:
      StageFailed, Interrupted: as `Executor.run`; the attribute `shown` of the exception holds what was reached.
    """
    prepare_jax(options.out)
    nodes: Sequence[Node] = plan.nodes
    if options.only:
        nodes = needed(plan.nodes, [chosen(plan, options.only)])
    executor = Executor(
        registry=registry,
        cache=Cache(options.out / "cache"),
        seed=plan.settings["seed"],
        reporter=reporter,
        interrupts=interrupts,
        traces=folder.path,
        force=dependants(plan.nodes, [chosen(plan, name) for name in options.force]),
        total=len(nodes),
        labels=labels(plan, registry),
    )
    shown = Shown(folder.path)
    try:
        _make(plan, nodes, executor, statistics, shown)
    except BaseException as error:
        shown.status = _status(error)
        error.shown = shown
        raise
    finally:
        shown.outcomes = list(executor.outcomes.values())
        shown.metrics = _measured(plan, executor.outcomes)
        _write(folder, shown)
    return shown


def _make(plan: Plan, nodes: Sequence[Node], executor: Executor, statistics: Statistics, shown: Shown) -> None:
    """Makes the nodes, then measures and judges."""
    # The data goes first, for what can be said about it before hours are spent.
    read = data(nodes, executor.registry)
    outcomes = executor.run(read)
    for warning in overlaps(nodes, executor.labels, read, lambda key: outcomes[key].artefact.rows()):
        executor.reporter.say(f"warning: {warning}")
    executor.run(nodes)
    shown.verdicts = [
        _verdict(claim, outcomes, statistics)
        for claim in plan.expects
        if all(side.key is None or side.key in outcomes for side in (claim.left, claim.right))
    ]
    shown.status = "ok" if all(verdict.holds for verdict in shown.verdicts) else "expectation failed"


def plan_json(plan: Plan, registry: Mapping[str, Stage]) -> Mapping[str, Any]:
    """A plan as its run's folder keeps it."""
    nodes = [meaning(node, registry[node.stage].SIGNATURE.version) for node in plan.nodes]
    return {
        "nodes": nodes,
        "names": dict(plan.names),
        "knobs": dict(plan.knobs),
        "settings": dict(plan.settings),
    }


def summary(shown: Shown) -> str:
    """The run's tables and notes, for people."""
    parts = [results.metrics_table(shown.outcomes, shown.metrics)] if shown.metrics else []
    if shown.verdicts:
        # The interval covers prompts and draws, and readers should know what it leaves out.
        about = "intervals cover prompts and draws, not training seeds"
        parts.append(f"{results.verdicts_table(shown.verdicts)}\n({about})")
    noted = [[f"{name}:", f"[{code}]", message] for name, code, message in results.notes(shown.outcomes)]
    if noted:
        parts.append("notes\n" + results.aligned(noted))
    parts.append(f"{shown.status}: {shown.run}")
    return "\n\n".join(part for part in parts if part)


def _measured(plan: Plan, outcomes: Mapping[str, Outcome]) -> list[Measured]:
    found = []
    for measure in plan.measures:
        if measure.key in outcomes:
            of = f"{measure.of}[{measure.arm}]" if measure.arm else measure.of
            found.append(results.measured(outcomes[measure.key], of, measure.on, measure.given))
    return found


def _verdict(claim: Expect, outcomes: Mapping[str, Outcome], statistics: Statistics) -> Verdict:
    return judge(
        claim,
        # A claim asks for them more than once, and every time they are read from disk.
        rows=functools.cache(lambda key: outcomes[key].artefact.rows()),
        value=lambda key: outcomes[key].artefact.result.get("value"),
        statistics=statistics,
        own=lambda key: tuple(outcomes[key].artefact.result[name] for name in ("value", "low", "high")),
    )


def _status(error: BaseException) -> str:
    if isinstance(error, Interrupted):
        return "preempted" if error.exit_code == 75 else "interrupted"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"


def _write(folder: RunFolder, shown: Shown) -> None:
    """The run's manifest and metrics.jsonl."""
    metrics = [asdict(metric) for metric in shown.metrics]
    files.write_text(folder.path / "metrics.jsonl", files.json_lines(metrics))
    folder.finish(
        shown.status,
        nodes=shown.as_json()["nodes"],
        metrics=metrics,
        expectations=[asdict(verdict) for verdict in shown.verdicts],
        notes=[dict(zip(("node", "code", "message"), note, strict=True)) for note in results.notes(shown.outcomes)],
    )
