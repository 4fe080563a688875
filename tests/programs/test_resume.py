"""What is left of a run that was killed, stopped, or is run again: nothing is lost, and nothing is made twice.

The page runs every stage. It is killed with SIGKILL in each stage that works for long enough to be caught, and
interrupted once; what it has left on disk in the end must be what an undisturbed run leaves, to the byte.
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
# Stages to be killed in, in their order in the page, and whether to wait until something of the node is on disk.
# Else it is killed at any moment, which is mostly while it compiles.
KILLED = (
    ("sample", False),
    ("revise", True),
    ("finetune", True),
    ("judge", True),
    ("reward", True),
    ("ppo", True),
    ("best", False),
    ("screen", True),
    ("win_rate", False),
)


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
    """A run in a folder of its own, killed in every stage and interrupted in PPO before it comes to its end."""
    out, draw = page.parent / "disturbed", random.Random(0)
    seconds = {node["stage"]: node["seconds"] for node in undisturbed.shown["nodes"]}
    parts: dict[Path, bytes] = {}
    within = begun = 0
    for stage, kept in KILLED:
        process = started(page, out)
        if working(process, out, stage, kept):
            time.sleep(draw.uniform(0.0, 0.05 if kept else seconds[stage]))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        left = unfinished(out)
        within += bool(left)
        begun += any(committed(folder) for folder in left)
        there = {path: path.read_bytes() for path in (out / "cache").glob("*/part-*.jsonl")}
        assert [path for path in parts if there.get(path) != parts[path]] == [], f"a part was lost after {stage}"
        parts = there
        if stage == "ppo":
            interrupted(page, out)
    told(f"killed {len(KILLED)} times, {within} within a node, {begun} where batches or checkpoints were kept")
    assert within >= 6 and begun >= 4
    return running.run(page, out, python=PYTHON)


def started(page: Path, out: Path) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(running.command(page, out, python=PYTHON), env=running.clean(), **pipes)


def unfinished(out: Path, stage: str = "*") -> list[Path]:
    """Folders of nodes that have been begun."""
    return [folder for folder in (out / "cache").glob(f"{stage}-*") if not (folder / DONE).exists()]


def committed(folder: Path) -> bool:
    """Something is on disk that the next attempt can go on from."""
    return any(folder.glob("part-*")) or any(folder.glob(f"{CHECKPOINTS}/[0-9]*"))


def working(process: subprocess.Popen, out: Path, stage: str, kept: bool = False) -> bool:
    """Waits until a stage has begun a node (and kept some of it); False if the process ended before."""
    while process.poll() is None:
        if any(committed(folder) or not kept for folder in unfinished(out, stage)):
            return True
        time.sleep(0.002)
    return False


def interrupted(page: Path, out: Path) -> None:
    """Ctrl-C while PPO is at work."""
    process = started(page, out)
    assert working(process, out, "ppo")
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    shown, said = process.communicate()
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
    assert sum(name.endswith("model.safetensors") for name in expected) == 5
    assert expected.keys() == found.keys()
    assert [name for name in expected if expected[name] != found[name]] == []


def test_after_kills_the_figures_are_those_of_an_undisturbed_run(undisturbed, disturbed):
    assert disturbed.shown["metrics"] == undisturbed.shown["metrics"]
    assert disturbed.shown["expectations"] == undisturbed.shown["expectations"]
    assert results(undisturbed.out) == results(disturbed.out)


def results(out: Path) -> dict[str, dict]:
    """What every node's stage returned; where it names another node's folder, from `out` on."""
    texts = {folder.name: (folder / NODE).read_text() for folder in (out / "cache").glob("*-*")}
    return {name: json.loads(text.replace(str(out), ""))["result"] for name, text in texts.items()}


def test_a_second_run_is_all_cache(page, undisturbed):
    again = running.run(page, undisturbed.out)
    assert again.made == set()
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
