"""What is left of a run that was killed, stopped, or is run again: nothing is lost, and nothing is made twice.

The page runs every stage. It is killed with SIGKILL in each stage that works for long enough to be caught, then
interrupted, then run to its end, and what it leaves on disk must be what an undisturbed run leaves, to the byte.
"""

import json
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cai_jax.runs.cache import CHECKPOINTS, DONE, NODE
from tests.programs import running
from tests.programs.running import PAGES, told

pytestmark = pytest.mark.slow

# Small batches and a checkpoint after every step, so that a short run has many places to go on from.
OFTEN = """\
import sys
from cai_jax.stages.parts import training, writing
writing.BATCH, training.SAVE_EVERY = 8, 0.0
from cai_jax.cli import main
main(sys.argv[1:])
"""
PYTHON = ("-c", OFTEN)
# Stages to be killed in; a stage that occurs twice is caught where it first works.
KILLED = ("sample", "revise", "finetune", "judge", "reward", "ppo", "best", "screen", "win_rate")


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    copy = tmp_path_factory.mktemp("every") / "every.cai"
    copy.write_bytes((PAGES / "every.cai").read_bytes())
    return copy


@pytest.fixture(scope="module")
def undisturbed(page) -> running.Run:
    return running.run(page, page.parent / "undisturbed", python=PYTHON)


@pytest.fixture(scope="module")
def disturbed(page, undisturbed) -> running.Run:
    """A run in a folder of its own, killed in every stage and interrupted once before it came to its end."""
    out, draw = page.parent / "disturbed", random.Random(0)
    seconds = {node["stage"]: node["seconds"] for node in reversed(undisturbed.shown["nodes"])}
    parts: dict[Path, bytes] = {}
    caught = resumable = 0
    for stage in KILLED:
        process = started(page, out)
        # Compiled functions are found on disk later on, so a stage takes less than it did at first.
        if working(process, out, stage):
            time.sleep(draw.uniform(0.0, 0.7 * seconds[stage]))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        left = [folder for folder in (out / "cache").glob("*-*") if not (folder / DONE).exists()]
        caught += bool(left)
        resumable += any(list(folder.glob("part-*")) or list(folder.glob(f"{CHECKPOINTS}/[0-9]*")) for folder in left)
        kept = {path: path.read_bytes() for path in (out / "cache").glob("*/part-*.jsonl")}
        assert all(kept.get(path) == bytes_ for path, bytes_ in parts.items()), f"a part was lost after {stage}"
        parts = kept
    told(f"killed {len(KILLED)} times, {caught} within a node, {resumable} of them with batches or checkpoints")
    assert caught >= len(KILLED) // 2 and resumable >= 2
    interrupted(page, out)
    return running.run(page, out, python=PYTHON)


def started(page: Path, out: Path) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(running.command(page, out, python=PYTHON), env=running.clean(), **pipes)


def working(process: subprocess.Popen, out: Path, stage: str) -> bool:
    """Waits until a stage has begun to work on a node; False if the process ended before."""
    while process.poll() is None:
        if any(not (folder / DONE).exists() for folder in (out / "cache").glob(f"{stage}-*")):
            return True
        time.sleep(0.01)
    return False


def interrupted(page: Path, out: Path) -> None:
    """Ctrl-C while PPO is at work: whatever had been made of it goes, so that there is something to stop."""
    for folder in (out / "cache").glob("ppo-*"):
        (folder / DONE).unlink(missing_ok=True)
        (folder / NODE).unlink(missing_ok=True)
    process = started(page, out)
    assert working(process, out, "ppo")
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    shown, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "stopping after this batch" in said
    assert "everything finished is kept. To go on:" in said and f"run {page}" in said
    assert json.loads(shown)["status"] == "interrupted"


def made(out: Path) -> Iterator[tuple[str, bytes]]:
    """Everything that the nodes are made of; node.json, which says when, is left out."""
    for path in sorted((out / "cache").rglob("*")):
        if path.is_file() and path.name != NODE and path.parent != out / "cache":
            yield str(path.relative_to(out)), path.read_bytes()


def test_after_kills_the_bytes_are_those_of_an_undisturbed_run(undisturbed, disturbed):
    expected, found = dict(made(undisturbed.out)), dict(made(disturbed.out))
    assert sum(name.endswith("model.safetensors") for name in expected) == 4
    assert expected.keys() == found.keys()
    assert [name for name in expected if expected[name] != found[name]] == []


def test_after_kills_the_figures_are_those_of_an_undisturbed_run(undisturbed, disturbed):
    assert disturbed.shown["metrics"] == undisturbed.shown["metrics"]
    assert disturbed.shown["expectations"] == undisturbed.shown["expectations"]
    results = [
        {folder.name: json.loads((folder / NODE).read_text())["result"] for folder in (run.out / "cache").glob("*-*")}
        for run in (undisturbed, disturbed)
    ]
    assert results[0] == results[1]


def test_a_second_run_is_all_cache(page, undisturbed):
    again = running.run(page, undisturbed.out)
    told(f"a second run: {again.wall:.1f} s, {again.cpu:.1f} s of CPU")
    assert again.made == set()
    assert again.cpu < 5
    assert again.shown["metrics"] == undisturbed.shown["metrics"]


def test_a_knob_of_ppo_reruns_ppo_and_what_depends_on_it(page, undisturbed):
    after = running.run(page, undisturbed.out, "--set", "kl=0.1", python=PYTHON)
    depends = {"rl", "guarded", "of_guard", "sample", "screen", "revise"}
    measured = {"harm_rate", "win_rate", "helpful_rate", "refusal_rate"}
    assert after.made == depends | measured
    assert [node["stage"] for node in after.shown["nodes"] if not node["cached"]].count("ppo") == 1


def test_a_comment_a_rename_and_a_reformat_rerun_nothing(page, undisturbed):
    text = page.read_text()
    spread = text.replace("guarded", "watched").replace("n=2, max_new=40", "max_new = 40,\n  n = 2")
    assert spread.count("watched") == text.count("guarded") and "n = 2" in spread
    other = page.with_name("other.cai")
    other.write_text("# Something else.\n" + spread)
    assert running.run(other, undisturbed.out).made == set()
