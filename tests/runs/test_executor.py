import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cai_jax.exit_codes import Interrupted, StageFailed
from cai_jax.runs import executor as executor_module
from cai_jax.runs import leases
from cai_jax.runs.context import RunContext
from cai_jax.runs.executor import dependants, needed
from cai_jax.runs.signals import Interrupts
from tests.runs import toy

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0  # seconds, for what happens at once on a machine that is not busy


def until(happened):
    """Waits for what another thread or process does."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def start(out, pause):
    command = [sys.executable, "-m", "tests.runs.toy", str(out), str(pause)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process


def test_a_pipeline_runs_and_then_is_all_cache(tmp_path):
    nodes = toy.pipeline()
    first = toy.executor(tmp_path).run(nodes)
    assert [outcome.cached for outcome in first.values()] == [False] * 4
    assert first[nodes[3].key].artefact.result["n"] == 10
    assert len(first[nodes[1].key].artefact) == 10
    second = toy.executor(tmp_path).run(nodes)
    assert [outcome.cached for outcome in second.values()] == [True] * 4
    assert second[nodes[3].key].artefact.result == first[nodes[3].key].artefact.result


def test_only_what_depends_on_a_change_runs(tmp_path):
    toy.executor(tmp_path).run(toy.pipeline(steps=4))
    changed = toy.executor(tmp_path).run(toy.pipeline(steps=5))
    assert [outcome.cached for outcome in changed.values()] == [True, True, False, False]


def test_a_finished_node_keeps_no_checkpoints_and_no_lease(tmp_path):
    nodes = toy.pipeline()
    toy.executor(tmp_path).run(nodes)
    names = {path.name for path in (tmp_path / "cache" / nodes[2].key).iterdir()}
    assert names == {"node.json", "DONE", "metrics.jsonl", "hf"}


@pytest.mark.parametrize(
    ("at", "name"),
    [(1, "part-00002-*"), (1, "part-00000-*"), (2, "hf/weights.json"), (1, "node.json"), (2, "node.json")],
)
@pytest.mark.parametrize("text", [None, "[]\n"])
def test_a_node_that_has_lost_a_file_is_made_anew(at, name, text, tmp_path):
    nodes = toy.pipeline()
    toy.executor(tmp_path).run(nodes)
    before = toy.contents(tmp_path, nodes)
    (file,) = (tmp_path / "cache" / nodes[at].key).glob(name)
    file.unlink() if text is None else file.write_text(text)
    again = toy.executor(tmp_path).run(nodes)
    assert [outcome.cached for outcome in again.values()] == [i != at for i in range(4)]
    assert toy.contents(tmp_path, nodes) == before


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


def test_parts_with_a_gap_are_not_gone_on_from(tmp_path):
    nodes = toy.pipeline()
    toy.executor(tmp_path).run(nodes)
    before = toy.contents(tmp_path, nodes)
    for name in ("DONE", "part-00000-*"):
        next((tmp_path / "cache" / nodes[1].key).glob(name)).unlink()
    toy.executor(tmp_path).run(nodes)
    assert toy.contents(tmp_path, nodes) == before


@pytest.mark.parametrize("name", ["part-.jsonl", "part-0000x-0.jsonl", "part-00000.jsonl", "part-x.jsonl/part-y"])
def test_parts_that_no_run_has_written_are_not_gone_on_from(name, tmp_path):
    nodes = toy.pipeline()
    toy.executor(tmp_path).run(nodes)
    before = toy.contents(tmp_path, nodes)
    folder = tmp_path / "cache" / nodes[1].key
    (folder / "DONE").unlink()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).touch()
    toy.executor(tmp_path).run(nodes)
    assert toy.contents(tmp_path, nodes) == before


def test_rows_that_another_run_takes_away_are_missed(tmp_path):
    nodes = toy.pipeline(n=40)
    first, other = toy.executor(tmp_path), toy.executor(tmp_path, force={toy.pipeline(n=40)[1].key})
    first.run(nodes[:2])

    def stop(done, total, **more):
        raise KeyboardInterrupt

    other.reporter.progress = stop
    with pytest.raises(KeyboardInterrupt):
        other.run(nodes[:2])
    with pytest.raises(StageFailed, match="were deleted or changed during this run"):
        first.run(nodes)
    assert not (tmp_path / "cache" / nodes[2].key / "DONE").exists()
    toy.executor(tmp_path / "whole").run(nodes)
    toy.executor(tmp_path).run(nodes)
    assert toy.contents(tmp_path, nodes) == toy.contents(tmp_path / "whole", nodes)


def test_force_makes_a_node_anew(tmp_path):
    nodes = toy.pipeline()
    toy.executor(tmp_path).run(nodes)
    before = toy.contents(tmp_path, nodes)
    forced = dependants(nodes, [nodes[2].key])
    again = toy.executor(tmp_path, force=forced).run(nodes)
    assert [outcome.cached for outcome in again.values()] == [True, True, False, False]
    assert toy.contents(tmp_path, nodes) == before


def test_needed_and_dependants_follow_the_graph():
    red, drawn, model, harm = nodes = toy.pipeline()
    other = toy.node("other", "ask", {"n": 3})
    assert needed([other, *nodes], [model.key]) == [red, drawn, model]
    assert dependants([other, *nodes], [drawn.key]) == {drawn.key, model.key, harm.key}


def test_notes_and_identity_are_kept_with_the_node(tmp_path):
    nodes = toy.pipeline(complain=True)
    toy.executor(tmp_path).run(nodes)
    record = json.loads((tmp_path / "cache" / nodes[1].key / "node.json").read_text())
    assert record["notes"] == [{"code": "toy", "message": "the replies are random numbers"}]
    assert record["stage"] == "reply" and record["names"] == ["drawn"] and record["rows"] == 10
    assert record["inputs"] == {"prompts": nodes[0].key}


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_the_result_is_the_same(seed, tmp_path):
    nodes = toy.pipeline(n=24, steps=18, pause=0.02)
    toy.executor(tmp_path / "whole").run(nodes)
    draw = random.Random(seed)
    # Of the 24 lines that a whole run logs; the rest of it takes so long that no kill comes too late.
    for line in sorted(draw.choices(range(1, 17), k=3)):
        process = start(tmp_path / "killed", 0.02)
        while logged(tmp_path / "killed") < line and process.poll() is None:
            time.sleep(0.001)
        time.sleep(draw.uniform(0.0, 0.03))  # anywhere within a batch or a step
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    toy.executor(tmp_path / "killed").run(nodes)
    assert toy.contents(tmp_path / "killed", nodes) == toy.contents(tmp_path / "whole", nodes)


def logged(out):
    """Lines of metrics.jsonl, of all nodes."""
    return sum(path.read_bytes().count(b"\n") for path in out.glob("cache/*/metrics.jsonl"))


def test_a_killed_run_goes_on_from_the_last_batch_and_checkpoint(tmp_path):
    nodes = toy.pipeline(n=24, steps=18, pause=0.02)
    process = start(tmp_path, 0.02)
    parts = tmp_path / "cache" / nodes[1].key
    while not list(parts.glob("part-00001-*")):
        time.sleep(0.01)
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


def test_an_unknown_error_leaves_its_traceback_in_a_file(tmp_path):
    bad = toy.node("bad", "fail")
    with pytest.raises(StageFailed) as caught:
        toy.executor(tmp_path).run([bad])
    assert caught.value.where == "bad (fail)"
    assert caught.value.message == "ZeroDivisionError: oh"
    assert 'raise ZeroDivisionError("oh")' in caught.value.traceback.read_text()
    assert not (tmp_path / "cache" / bad.key / "LEASE").exists()


def test_a_user_error_needs_no_traceback(tmp_path):
    bad = toy.node("bad", "fail", {"mistake": ["no such thing", "make one"]})
    with pytest.raises(StageFailed) as caught:
        toy.executor(tmp_path).run([bad])
    assert (caught.value.message, caught.value.hint) == ("no such thing", "make one")
    assert caught.value.traceback is None and not list(tmp_path.glob("traceback*"))


def test_a_second_run_waits_and_reuses(tmp_path, monkeypatch):
    monkeypatch.setattr(executor_module, "POLL_S", 0.02)
    nodes = toy.pipeline()
    begun, said = threading.Event(), [io.StringIO(), io.StringIO()]
    runs = [toy.executor(tmp_path, stream) for stream in said]
    threads = [threading.Thread(target=run.run, args=(nodes,)) for run in runs]

    def reply_while_the_other_waits(ctx):
        begun.set()
        until(lambda: "is working on it" in said[1].getvalue())
        toy.reply(ctx)

    monkeypatch.setattr(toy.REGISTRY["reply"], "run", reply_while_the_other_waits)
    threads[0].start()
    assert begun.wait(PATIENCE)
    threads[1].start()
    for thread in threads:
        thread.join()
    made = [[outcome.cached for outcome in run.outcomes.values()] for run in runs]
    assert all(sum(not cached for cached in pair) == 1 for pair in zip(*made, strict=True))


def test_a_failed_write_raises_and_leaves_the_node_unfinished(tmp_path, monkeypatch):
    nodes = toy.pipeline()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StageFailed, match="No space left"):
        toy.executor(tmp_path).run(nodes)
    monkeypatch.undo()
    assert not list(tmp_path.rglob("part-*")) and not list(tmp_path.rglob(".tmp-*"))


def test_a_nan_in_a_row_is_refused(tmp_path):
    def run(ctx):
        ctx.commit([{"id": "a", "logprob": float("nan")}])

    registry = {"fail": toy.stage("fail", run, toy.Kind.RESPONSES)}
    with pytest.raises(StageFailed, match="ValueError"):
        toy.executor(tmp_path, registry=registry).run([toy.node("bad", "fail")])


def test_leases(tmp_path):
    held = leases.acquire(tmp_path)
    assert isinstance(held, leases.Lease)
    other = leases.acquire(tmp_path)
    assert isinstance(other, leases.Holder) and str(os.getpid()) in str(other)
    held.release()
    assert not list(tmp_path.iterdir())


def write_lease(folder, **change):
    mine = leases.this_process()
    fields = {"host": mine.host, "pid": mine.pid, "started": mine.started, "token": "x", **change}
    (folder / "LEASE").write_text(json.dumps(fields))


def test_a_dead_holder_is_recognised_by_process_and_by_start_time(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    for change in ({"pid": process.pid, "started": "1"}, {"started": "1"}):
        write_lease(tmp_path, **change)
        lease = leases.acquire(tmp_path)
        assert isinstance(lease, leases.Lease)
        lease.release()


@pytest.mark.parametrize("text", ["", '{"host": "el', "[]", '{"host": 1}'])
def test_a_lease_that_a_power_loss_has_spoilt_is_nobodys(text, tmp_path):
    (tmp_path / "LEASE").write_text(text)
    # At first it may be one that is being written.
    assert str(leases.acquire(tmp_path)) == "another process"
    old = time.time() - leases.STALE_S - 1
    os.utime(tmp_path / "LEASE", (old, old))
    lease = leases.acquire(tmp_path)
    assert isinstance(lease, leases.Lease)
    lease.release()
    assert not list(tmp_path.iterdir())


def test_a_lease_taken_over_is_not_broken_again(tmp_path):
    """Two find the same dead holder; the slower one must not remove what the faster one has put in its place."""
    write_lease(tmp_path, started="1")
    dead, mine = leases.read(tmp_path / "LEASE"), leases.this_process()
    first = leases.acquire(tmp_path)
    leases._break(tmp_path / "LEASE", dead, mine)
    assert isinstance(leases.acquire(tmp_path), leases.Holder)
    first.release()


def test_a_lease_that_is_being_broken_is_left_alone(tmp_path):
    write_lease(tmp_path, started="1")
    dead = leases.read(tmp_path / "LEASE")
    breaking = tmp_path / f".lease-{dead.token}LEASE"
    assert leases._create(breaking, leases.this_process())
    leases._break(tmp_path / "LEASE", dead, leases.this_process())
    assert leases.read(tmp_path / "LEASE") == dead
    # Its breaker dies in turn.
    breaking.write_text(json.dumps({**vars(leases.this_process()), "started": "1"}))
    lease = leases.acquire(tmp_path)
    assert isinstance(lease, leases.Lease)
    lease.release()
    assert not list(tmp_path.iterdir())


def test_of_many_only_one_takes_a_dead_ones_place(tmp_path):
    write_lease(tmp_path, started="1")
    got = []
    threads = [threading.Thread(target=lambda: got.append(leases.acquire(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (lease,) = [one for one in got if isinstance(one, leases.Lease)]
    lease.release()


def test_a_holder_elsewhere_lives_as_long_as_its_heart_beats(tmp_path):
    write_lease(tmp_path, host="elsewhere")
    assert isinstance(leases.acquire(tmp_path), leases.Holder)
    old = time.time() - leases.STALE_S - 1
    os.utime(tmp_path / "LEASE", (old, old))
    lease = leases.acquire(tmp_path)
    assert isinstance(lease, leases.Lease)
    lease.release()


def test_a_heartbeat_of_the_future_is_believed_only_while_it_goes_on(tmp_path, monkeypatch):
    write_lease(tmp_path, host="elsewhere")
    path, now = tmp_path / "LEASE", [100.0]
    os.utime(path, (4_070_908_800, 4_070_908_800))  # 2099
    monkeypatch.setattr(leases.time, "monotonic", lambda: now[0])
    assert isinstance(leases.acquire(tmp_path), leases.Holder)
    now[0] += leases.STALE_S - 1
    os.utime(path, (4_070_908_810, 4_070_908_810))
    assert isinstance(leases.acquire(tmp_path), leases.Holder)
    now[0] += leases.STALE_S - 1
    assert isinstance(leases.acquire(tmp_path), leases.Holder)
    now[0] += 1
    lease = leases.acquire(tmp_path)
    assert isinstance(lease, leases.Lease)
    lease.release()


@pytest.mark.parametrize("change", [{"pid": "1"}, {"started": None, "pid": 2**30}, {"token": "../x"}, {"host": []}])
def test_a_lease_of_another_form_is_nobodys(change, tmp_path):
    write_lease(tmp_path, **change)
    assert str(leases.acquire(tmp_path)) == "another process"
    os.utime(tmp_path / "LEASE", (0, 0))
    lease = leases.acquire(tmp_path)
    assert isinstance(lease, leases.Lease)
    lease.release()


def test_a_heartbeat(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "BEAT_S", 0.01)
    lease = leases.acquire(tmp_path)
    os.utime(tmp_path / "LEASE", (0, 0))
    until(lambda: (tmp_path / "LEASE").stat().st_mtime > 0)
    lease.release()


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


def test_a_node_that_another_run_has_is_not_tidied(tmp_path, monkeypatch):
    monkeypatch.setattr(executor_module, "POLL_S", 0.0)
    nodes = toy.pipeline()
    toy.executor(tmp_path).run(nodes)
    folder = tmp_path / "cache" / nodes[2].key
    (folder / "ckpt").mkdir()
    held = leases.acquire(folder)
    waiting = toy.executor(tmp_path)
    waiting.reporter.say = lambda text: waiting.interrupts._handle(signal.SIGINT, None)
    with pytest.raises(Interrupted):
        waiting.run(nodes)
    assert (folder / "ckpt").exists()
    held.release()


def test_the_schedule_used_is_recorded(tmp_path):
    nodes = toy.pipeline()
    made = toy.executor(tmp_path).run(nodes)
    assert made[nodes[2].key].artefact.record["schedule"] == {"micro": 1}


def test_what_could_not_be_measured_has_no_value(tmp_path):
    registry = {"fail": toy.stage("fail", lambda ctx: {"value": float("nan"), "n": 0}, toy.Kind.METRIC)}
    made = toy.executor(tmp_path, registry=registry).run([toy.node("bad", "fail")])
    assert next(iter(made.values())).artefact.result == {"value": None, "n": 0}


def test_the_compilation_cache_needs_no_jax(tmp_path):
    code = (
        "import sys; from pathlib import Path; from cai_jax.console.session import prepare_jax\n"
        "prepare_jax(Path(sys.argv[1])); assert 'jax' not in sys.modules\n"
        "import jax; assert jax.config.jax_compilation_cache_dir == sys.argv[1] + '/jax'\n"
        "prepare_jax(Path(sys.argv[1]) / 'b')\n"
        "assert jax.config.jax_compilation_cache_dir == sys.argv[1] + '/jax'"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=ROOT, env=clean)


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
