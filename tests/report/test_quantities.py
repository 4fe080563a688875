"""Numbers for people."""

import pytest

from cai_jax.report.quantities import duration, quantity, size


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, ""), (950, "950"), (1234, "1.2k"), (999_600, "1.0M"), (3.4e6, "3.4M"), (5.6e9, "5.6G"), (2.5e20, "250E")],
)
def test_quantities(value, shown):
    assert quantity(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0082, "8.2 ms"), (12.34, "12.3 s"), (119, "119.0 s"), (120, "2 min"), (7199, "120 min"), (7200, "2.0 h"),
     (172_800, "2 days"), (3.55e7, "411 days"), (1e9, "11,574 days")],
)  # fmt: skip
def test_durations(seconds, shown):
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0.0 MiB"), (2**20, "1.0 MiB"), (2**27, "0.12 GiB"), (2**30, "1.00 GiB")]
)
def test_sizes(count, shown):
    assert size(count) == shown
