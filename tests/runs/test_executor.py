"""The executor: what runs, what is found in the cache, and what becomes of errors."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cai_jax.exit_codes import Interrupted, StageFailed
from cai_jax.runs import executor as executor_module
from cai_jax.runs import leases
from cai_jax.runs.executor import dependants, needed
from tests.runs import _toy as toy
from tests.support.waiting import PATIENCE, until

ROOT = Path(__file__).parents[2]


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
