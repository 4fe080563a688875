"""The program on DPO, whole: what it must show of both kinds of pairs. The quickstart has made what it begins with."""

import pytest

from tests.programs import _running as running
from tests.programs._running import ROOT, told

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ran(quickstart) -> running.Run:
    return running.run(ROOT / "programs" / "dpo.cai", quickstart.out)


def test_it_begins_with_what_the_quickstart_has_made(ran):
    assert ran.made >= {"mended", "taught", "judged"} and ran.made.isdisjoint({"revised", "chat", "sl", "labels"})


@pytest.mark.parametrize("policy", ["taught", "judged"])
def test_a_policy_learns_from_pairs_alone(ran, policy):
    before, after = (ran.metric("harm_rate", name, "red.test") for name in ("sl", policy))
    told(f"harm_rate: {before['value']:.3f} of sl, {after['value']:.3f} of {policy}, {after['n']} rows")
    assert after["value"] < 0.25 < before["value"]  # 0.14 and 0.12 of the first training seed, 0.19 and 0.16 of another


def test_every_claim_of_the_program_holds(ran):
    assert [claim["text"] for claim in ran.shown["expectations"] if not claim["holds"]] == []


def test_revisions_that_changed_nothing_make_no_pair(ran):
    revised, pairs = ran.rows("revised"), ran.rows("mended")
    same = sum(row["reply"].strip() == row["original"].strip() for row in revised)
    assert 0 < same and len(revised) - same - 5 <= len(pairs) <= len(revised) - same
    assert all(row["p"] == 1.0 and row["a"] != row["b"] for row in pairs)
