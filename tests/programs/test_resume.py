"""What is left of a run that was killed, stopped, or is run again: nothing is lost, and nothing is made twice.

The page runs every stage. It is killed with SIGKILL thirty times, while it compiles, behind some batch or step, and
while it writes a checkpoint, and interrupted once; what it has left on disk in the end must be what an undisturbed run
leaves, to the byte.
"""

import json
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cai_jax.runs import leases
from cai_jax.runs.cache import CHECKPOINTS, LEASE, NODE
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
KILLS = 30
BEING_WRITTEN = "*.orbax-checkpoint-tmp*"


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
    """A run in a folder of its own, killed again and again, and interrupted in PPO, before it comes to its end."""
    out, draw = page.parent / "disturbed", random.Random(0)
    parts: dict[Path, bytes] = {}
    stages, writing, interruptions = Counter(), 0, 0
    for number in range(KILLS):
        process = started(page, out)
        folder = waited(process, lambda pid=process.pid: at_work(out, pid))
        if number % 3 == 0:
            time.sleep(draw.uniform(0.0, 4.0))
        elif number % 3 == 1:
            kept(process, out, draw.randint(1, 4))
            time.sleep(draw.uniform(0.0, 0.05))
        else:
            waited(process, lambda: any((out / "cache").glob(f"*/{CHECKPOINTS}/{BEING_WRITTEN}")))
        folder = at_work(out, process.pid) or folder
        process.send_signal(signal.SIGKILL)
        process.communicate()
        stages[folder.name.split("-")[0]] += 1
        writing += any((out / "cache").glob(f"*/{CHECKPOINTS}/{BEING_WRITTEN}"))
        there = {path: path.read_bytes() for path in (out / "cache").glob("*/part-*.jsonl")}
        assert [path for path in parts if there.get(path) != parts[path]] == [], f"a part was lost in {folder.name}"
        parts = there
        if stages["ppo"] and not interruptions:
            interruptions += interrupted(page, out)
    told(f"killed {KILLS} times, in {dict(stages)}, {writing} times within a checkpoint; interrupted {interruptions}×")
    assert len(stages) >= 5 and {"finetune", "reward", "ppo"} <= stages.keys() and writing >= 5 and interruptions == 1
    return running.run(page, out, python=PYTHON)


def started(page: Path, out: Path) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(running.command(page, out, python=PYTHON), env=running.clean(), **pipes)


def at_work(out: Path, pid: int) -> Path | None:
    """The node on which a process works now."""
    for lease in (out / "cache").glob(f"*-*/{LEASE}"):
        holder = leases.read(lease)
        if holder is not None and holder.pid == pid:
            return lease.parent
    return None


def kept(process: subprocess.Popen, out: Path, count: int) -> None:
    """Waits until a process has kept so many batches or checkpoints."""

    def there() -> set[Path]:
        return {*(out / "cache").glob("*/part-*"), *(out / "cache").glob(f"*/{CHECKPOINTS}/*.json")}

    before, seen = there(), set()
    waited(process, lambda: seen.update(there() - before) or len(seen) >= count)


def waited(process: subprocess.Popen, ready: Callable[[], Any]) -> Any:
    """What `ready` says as soon as it says anything."""
    while process.poll() is None:
        if found := ready():
            return found
        time.sleep(0.002)
    raise AssertionError(f"the run was over before it could be killed: {process.communicate()}")


def interrupted(page: Path, out: Path) -> bool:
    """Ctrl-C while PPO is at work."""
    process = started(page, out)
    waited(process, lambda: (folder := at_work(out, process.pid)) and folder.name.startswith("ppo-"))
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    shown, said = process.communicate()
    assert process.returncode == 130, said
    assert "stopping after this batch" in said
    assert "everything finished is kept. To go on:" in said and f"run {page}" in said
    assert json.loads(shown)["status"] == "interrupted"
    return True


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
