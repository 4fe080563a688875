"""`cai-jax` with the toy registry: `python -m tests.runs.toy_cli run p.cai`."""

from types import SimpleNamespace

from cai_jax import cli, stages
from tests.runs import toy


def interval(rows, level):
    mean = sum(row["value"] for row in rows) / len(rows)
    return mean, mean - level / 10, mean + level / 10


def difference(a, b, level):
    center = interval(a, level)[0] - interval(b, level)[0]
    return center, center - level / 10, center + level / 10


STATISTICS = SimpleNamespace(interval=interval, difference=difference)

if __name__ == "__main__":
    stages.registry = lambda: toy.REGISTRY
    cli._statistics = lambda: STATISTICS
    cli.main()
