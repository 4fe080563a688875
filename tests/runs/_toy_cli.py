"""`cai-jax` with the toy registry: `python -m tests.runs._toy_cli run p.cai`."""

from cai_jax import cli, stages
from cai_jax.evals import intervals
from tests.runs import _toy as toy


def interval(rows, level):
    mean = sum(row["value"] for row in rows) / len(rows)
    return mean, mean - level / 10, mean + level / 10


def difference(a, b, level):
    center = interval(a, level)[0] - interval(b, level)[0]
    return center, center - level / 10, center + level / 10


def replace(setattr=setattr) -> None:
    """The toy stages, and intervals of known width, in the places of the real ones."""
    setattr(stages, "registry", lambda: toy.REGISTRY)
    setattr(intervals, "interval", interval)
    setattr(intervals, "difference", difference)


if __name__ == "__main__":
    replace()
    cli.main()
