"""Bytes that go to and from memory, against XLA's own count where that is right: without loops."""

import pytest

from tests.support import processes, tpu

pytestmark = tpu.NEEDED


def test_programs_without_loops_move_what_xla_counts():
    found = processes.one("tests.parallel._traffic", devices=1)
    assert len(found) == 4
    for name, (ours, theirs) in found.items():
        assert ours == pytest.approx(theirs, rel=0.001), name
