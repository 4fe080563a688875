"""Runs that are killed or told to stop: the next one goes on, and makes the same."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cai_jax.exit_codes import Interrupted
from cai_jax.runs.context import RunContext
from cai_jax.runs.signals import Interrupts
from tests.runs import _toy as toy
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]


def start(out, pause):
    command = [sys.executable, "-m", "tests.runs._toy", str(out), str(pause)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process


@pytest.mark.parametrize("left", range(5))
def test_killed_while_a_node_is_cleared_it_is_made_anew(left, tmp_path, monkeypatch):
    nodes = toy.pipeline()
    toy.executor(tmp_path).run(nodes)
    before = toy.contents(tmp_path, nodes)
    unlink, removed = Path.unlink, []

    def killed(path, **more):
        if len(removed) == left:
            raise KeyboardInterrupt
        removed.append(path)
        unlink(path, **more)

    monkeypatch.setattr(Path, "iterdir", lambda folder: iter(sorted(folder.glob("*"))))  # the first parts first
    entry = toy.executor(tmp_path).cache.entry(nodes[1].key)
    with monkeypatch.context() as dying:
        dying.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            entry.clear()
    again = toy.executor(tmp_path).run(nodes)
    assert again[nodes[1].key].cached is (left == 0)
    assert toy.contents(tmp_path, nodes) == before


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_the_result_is_the_same(seed, tmp_path):
    nodes = toy.pipeline(n=24, steps=18, pause=0.02)
    toy.executor(tmp_path / "whole").run(nodes)
    draw = random.Random(seed)
    # Of the 24 lines that a whole run logs; the rest of it takes so long that no kill comes too late.
    for line in sorted(draw.choices(range(1, 17), k=2)):
        kill_after(line, draw.uniform(0.0, 0.03), tmp_path / "killed")  # anywhere within a batch or a step
    toy.executor(tmp_path / "killed").run(nodes)
    assert toy.contents(tmp_path / "killed", nodes) == toy.contents(tmp_path / "whole", nodes)


def kill_after(line, seconds, out):
    """Starts a run into `out`, and kills it so many seconds after its nodes have so many lines of metrics.jsonl."""
    process = start(out, 0.02)
    logs = lambda: (path.read_bytes() for path in out.glob("cache/*/metrics.jsonl"))  # noqa: E731
    until(lambda: sum(log.count(b"\n") for log in logs()) >= line)
    time.sleep(seconds)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was still at work"


def test_a_killed_run_goes_on_from_the_last_batch_and_checkpoint(tmp_path):
    nodes = toy.pipeline(n=24, steps=18, pause=0.02)
    process = start(tmp_path, 0.02)
    parts = tmp_path / "cache" / nodes[1].key
    until(lambda: list(parts.glob("part-00001-*")))
    process.kill()
    process.communicate()
    held = {path: path.stat().st_mtime_ns for path in parts.glob("part-*")}
    assert held and not (parts / "DONE").exists()
    toy.executor(tmp_path).run(nodes)
    assert {path: path.stat().st_mtime_ns for path in held} == held


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_lets_the_batch_finish(number, code, tmp_path):
    nodes = toy.pipeline(n=40)
    with Interrupts() as interrupts:
        runner = toy.executor(tmp_path, interrupts=interrupts)
        whole = runner.reporter.progress

        def progress(done, total, **more):
            whole(done, total, **more)
            if done == 8:
                os.kill(os.getpid(), number)

        runner.reporter.progress = progress
        with pytest.raises(Interrupted) as caught:
            runner.run(nodes)
    assert caught.value.exit_code == code
    folder = tmp_path / "cache" / nodes[1].key
    assert len(list(folder.glob("part-*"))) == 2
    assert not (folder / "LEASE").exists()
    assert toy.executor(tmp_path).run(nodes)[nodes[3].key].artefact.result["n"] == 40


def test_a_trainer_that_sees_the_signal_saves_before_it_stops(tmp_path):
    nodes = toy.pipeline(n=4, steps=9)
    with Interrupts() as interrupts:
        runner = toy.executor(tmp_path, interrupts=interrupts)
        whole = runner.reporter.progress

        def progress(done, total, **more):
            whole(done, total, **more)
            if more["unit"] == "steps" and done == 4:
                os.kill(os.getpid(), signal.SIGINT)

        runner.reporter.progress = progress
        with pytest.raises(Interrupted):
            runner.run(nodes)
    assert {p.name for p in (tmp_path / "cache" / nodes[2].key / "ckpt").iterdir()} == {"3", "3.json"}
    # The signal came inside `progress` of step 4, so step 5 is not taken and step 4 not saved.
    resumed = toy.executor(tmp_path).run(nodes)
    assert resumed[nodes[2].key].artefact.result == {"seen": 9}


def test_a_second_ctrl_c_does_not_wait():
    before = signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.pending
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("lost, begun", [([6], "the one of step 3"), ([6, 3], "the beginning")])
def test_a_checkpoint_that_has_lost_a_file_is_passed_over(lost, begun, tmp_path, monkeypatch):
    nodes = toy.pipeline(steps=9)
    whole = toy.executor(tmp_path / "whole").run(nodes)[nodes[2].key].artefact
    saved, executor = RunContext.save, toy.executor(tmp_path / "parts")

    def save(self, step, tree):
        saved(self, step, tree)
        if step == 6:
            executor.interrupts._handle(signal.SIGTERM, None)

    monkeypatch.setattr(RunContext, "save", save)
    with pytest.raises(Interrupted):
        executor.run(nodes)
    monkeypatch.undo()
    folder = tmp_path / "parts" / "cache" / nodes[2].key / "ckpt"
    assert sorted(path.name for path in folder.glob("[0-9]")) == ["3", "6"]
    for step in lost:
        next(path for path in (folder / str(step)).rglob("*") if path.is_file()).unlink()
    made = toy.executor(tmp_path / "parts").run(nodes)[nodes[2].key].artefact
    (note,) = made.record["notes"]
    assert note["code"] == "checkpoint" and note["message"].endswith(f"had lost files; training went on from {begun}")
    assert (made.path / "weights.json").read_bytes() == (whole.path / "weights.json").read_bytes()


def test_checkpoints_left_by_a_kill_after_done_are_dropped(tmp_path):
    nodes = toy.pipeline()
    toy.executor(tmp_path).run(nodes)
    left = tmp_path / "cache" / nodes[2].key / "ckpt" / "9"
    left.mkdir(parents=True)
    again = toy.executor(tmp_path).run(nodes)
    assert not left.parent.exists() and again[nodes[2].key].cached


def test_a_note_survives_an_interruption(tmp_path):
    def run(ctx):
        if not ctx.committed():
            ctx.note("first", "said before the interruption")
            ctx.commit([{"id": "a"}])
            raise KeyboardInterrupt
        ctx.note("second", "said after it")

    registry = {"fail": toy.stage("fail", run, toy.Kind.RESPONSES)}
    bad = toy.node("bad", "fail")
    with pytest.raises(KeyboardInterrupt):
        toy.executor(tmp_path, registry=registry).run([bad])
    made = toy.executor(tmp_path, registry=registry).run([bad])[bad.key].artefact
    assert [note["code"] for note in made.record["notes"]] == ["first", "second"]
    assert not (made.dir / "notes.json").exists()
