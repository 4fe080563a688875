"""The sides of a comparison, the model that they share, and what the machine can do."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from cai_jax.models.config import Config, read_json
from tests.benchmarks import bounds, works
from tests.benchmarks.figures import TIMES, Figure, interleaved, ratios
from tests.benchmarks.sides.worker import Process
from tests.support import llama

BATCHES = (8, 16, 32, 64)  # batch sizes that are tried

CACHES = ("dynamic", "static")  # for its generation

# About 34 M parameters. Weights small enough that draws spread over the vocabulary; rope_theta is the one that
# google-tunix 0.1.7 takes whatever its configuration says.
MODEL = dict(
    vocab_size=8192,
    hidden_size=512,
    intermediate_size=1376,
    num_hidden_layers=8,
    num_attention_heads=8,
    num_key_value_heads=8,
    max_position_embeddings=2048,
    rope_theta=1000000.0,
    initializer_range=0.02,
)


def batches(rows: int) -> list[int]:
    """Batch sizes that are tried for `rows` rows."""
    return sorted({min(batch, rows) for batch in BATCHES})


class Side(Protocol):
    def measure(self, name: str, work: works.Work, **options: Any) -> tuple[float, Any]: ...


@dataclass(frozen=True, eq=False)
class Arena:
    """tunix: None where it is not installed. times: measurements of each side. number_bytes: of a weight."""

    config: Config
    ours: Side
    theirs: Side
    tunix: Side | None = None
    times: int = TIMES
    number_bytes: int = 4

    @property
    def costs(self) -> bounds.Costs:
        return bounds.Costs.of(self.config, self.number_bytes)

    @cached_property
    def ceilings(self) -> bounds.Ceilings:
        """The best of all sides."""
        found = [side.measure("ceilings", works.Sampling())[1] for side in (self.ours, self.theirs)]
        gemm = {int(rows): max(flops, found[1]["gemm"][rows]) for rows, flops in found[0]["gemm"].items()}
        return bounds.Ceilings(gemm, max(each["bandwidth"] for each in found))

    def best(
        self,
        name: str,
        trial: Callable[[int], works.Work],
        sizes: Iterable[int],
        caches: Sequence[str] = (),
        side: Side | None = None,
        **fixed: Any,
    ) -> dict:
        """The batch size, then the cache, with which transformers (or `side`) is fastest a row at trial(batch size)."""
        side = side or self.theirs

        def seconds(options: dict) -> float:
            measured, made = side.measure(name, trial(options["batch"]), **options, **fixed)
            return measured / len(made)

        first = {"cache": caches[0]} if caches else {}
        best = min(({"batch": size, **first} for size in sizes), key=seconds)
        return min(({**best, "cache": cache} for cache in caches), key=seconds, default=best)

    def compare(self, *calls: tuple[Side, str, works.Work, dict]) -> list[tuple[float, ...]]:
        """Seconds of each call, in turn."""
        return interleaved(
            *(
                lambda side=side, name=name, work=work, options=options: side.measure(name, work, **options)[0]
                for side, name, work, options in calls
            ),
            times=self.times,
        )


@contextmanager
def arena() -> Iterator[Arena]:
    """All sides on one checkpoint of MODEL, written by transformers."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        llama.write(Path(folder), tie=False, **MODEL)
        config = Config.from_hf(read_json(Path(folder) / "config.json"))
        ours, theirs = stack.enter_context(closing(Process("ours", folder))), _quickest(folder, stack)
        python = tunix_python()
        tunix = stack.enter_context(closing(Process("tunix", folder, python))) if python else None
        yield Arena(config, ours, theirs, tunix)


def _quickest(folder: str, stack: ExitStack) -> Process:
    """transformers with torch's threads spinning between two operations, or asleep, whichever is faster here.

    Where other work shares the cores, threads that spin can make it several times slower.
    """
    policies = ({}, {"OMP_WAIT_POLICY": "passive"})
    tried = [stack.enter_context(closing(Process("theirs", folder, **policy))) for policy in policies]
    trial = works.Sampling(rows=8, new=8)
    return min(tried, key=lambda side: side.measure("sampling", trial, batch=8, cache="dynamic")[0])


def tunix_python() -> str | None:
    """The Python that runs google-tunix: that of TUNIX_PYTHON, or else this one where it has the package."""
    return os.environ.get("TUNIX_PYTHON") or (sys.executable if importlib.util.find_spec("tunix") else None)


def against(
    work: str, other: str, theirs: Sequence[float], ours: Sequence[float], target: str, share: float = 1.0
) -> Iterator[Figure]:
    """How many times faster ours is, and the other's seconds for the whole work, of which it did `share`."""
    whole = tuple(seconds / share for seconds in theirs)
    part = f", measured on {share:.3g} of the rows" if share < 1 else ""
    yield Figure(work, f"speed beside {other}", ratios(whole, ours), target=target)
    yield Figure(work, f"{other}{part}", whole, "s")


def ours_of(work: str, seconds: Sequence[float], bound: float, target: str = "") -> Iterator[Figure]:
    """Our seconds, and how much of them the bound is."""
    yield Figure(work, "cai_jax", tuple(seconds), "s")
    yield Figure(work, "bound of the machine", (bound,), "s")
    yield Figure(work, "share of the bound", tuple(bound / each for each in seconds), target=target)


def named(options: dict) -> str:
    """transformers with these options, in words."""
    cache = f", {options['cache']} cache" if "cache" in options else ""
    return f"transformers (batches of {options['batch']}{cache})"
