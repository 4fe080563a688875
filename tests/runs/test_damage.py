"""Records that were lost or damaged: made again, or an error that says how; never a traceback, never silently wrong."""

import json
import random
import shutil

import pytest

from cai_jax import cli
from cai_jax.console import session
from cai_jax.exit_codes import UserError
from cai_jax.runs.cache import Cache
from tests.runs import _toy as toy
from tests.runs import _toy_cli as toy_cli

PROGRAM = """\
red = ask(n=6)
drawn = red |> reply(complain=true)
model = drawn |> train(steps=4)
expect measure(model, red) > 0 at 95%
"""
TEXTS = [
    *("", "null", "[]", "{}", "7", '"a"', "{", "[" * 3000, "\xff", "[null]"),
    *(
        '{"parts": null}',
        '{"files": {"node.json": [1]}}',
        '[{"code": 1}]',
        '{"names": 3, "nodes": [1]}',
        '{"step": "x"}',
    ),
]


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    toy_cli.replace(monkeypatch.setattr)
    monkeypatch.setattr(session, "prepare_jax", lambda out: None)
    monkeypatch.chdir(tmp_path)

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in words])
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err and "this is a bug" not in shown.err, shown.err
        return ended.value.code, shown.out, shown.err

    (tmp_path / "toy.cai").write_text(PROGRAM)
    assert run("run", "toy.cai")[0] == 0
    return run


def measured(out):
    return [(each["name"], each["value"]) for each in json.loads(out)["metrics"]]


def test_damaged_records_of_finished_nodes(call, tmp_path):
    """Every record of every node, replaced by every text: the next run ends as the first, and so do looks at it."""
    whole = measured(call("run", "toy.cai", "--json")[1])
    shutil.copytree(tmp_path / "runs", tmp_path / "kept")
    draw = random.Random(1)
    cases = [(name, text) for name in ("node.json", "DONE", "metrics.jsonl", "notes.json") for text in TEXTS]
    for name, text in draw.sample(cases, 12):
        shutil.rmtree(tmp_path / "runs")
        shutil.copytree(tmp_path / "kept", tmp_path / "runs")
        for folder in (tmp_path / "runs" / "cache").iterdir():
            (folder / name).write_bytes(text.encode("latin-1"))
        for words in (["plan", "toy.cai"], ["ls", "--nodes"], ["show", "drawn"], ["ls", "--verify"]):
            code, out, err = call(*words)
            assert code == 0 or err or "damaged" in out, words
        code, out, _ = call("run", "toy.cai", "--json")
        assert (code, measured(out)) == (0, whole), (name, text)


def test_damaged_records_of_runs(call, tmp_path):
    (run,) = (path.parent for path in (tmp_path / "runs").glob("*/manifest.json"))
    kept = {name: (run / name).read_bytes() for name in ("manifest.json", "plan.json")}
    for text in TEXTS:
        for name in ("manifest.json", "plan.json"):
            (run / name).write_bytes(text.encode("latin-1"))
            code, out, _ = call("ls")
            assert code == 0 and ("damaged" in out) == (name == "manifest.json")
            code, _, err = call("show", "drawn")
            assert (code == 0) == (name == "manifest.json") and (code == 0 or "plan.json is damaged" in err)
            (run / name).write_bytes(kept[name])
    for text in ("", "..", "gone", "\0", "\xff"):
        (tmp_path / "runs" / "latest").write_bytes(text.encode("latin-1"))
        code, _, err = call("show", "drawn")
        assert code == 2 and "there is no run in" in err


@pytest.mark.parametrize(
    "name", ["node.json", "notes.json", "metrics.jsonl", "part-00000-*", "part-00001-*", "ckpt/x.json"]
)
def test_an_unfinished_node_goes_on_only_from_what_is_whole(name, tmp_path):
    nodes = toy.pipeline(n=12, complain=True)
    toy.executor(tmp_path / "whole").run(nodes)
    before = toy.contents(tmp_path / "whole", nodes)
    for text in ("null", "{", '{"id": "p0-0", "reply": "r0.5"}\n'):
        out = tmp_path / "damaged"
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", out)
        folder = out / "cache" / nodes[1].key
        (folder / "DONE").unlink()
        (folder / "ckpt").mkdir()
        next(iter(folder.glob(name)), folder / name).write_text(text)
        made = toy.executor(out).run(nodes)
        assert toy.contents(out, nodes) == before
        assert [note["code"] for note in made[nodes[1].key].artefact.record["notes"]] == ["toy"]


def test_rows_that_were_changed_in_place_are_not_read(tmp_path):
    nodes = toy.pipeline(n=12)
    toy.executor(tmp_path).run(nodes)
    part = next((tmp_path / "cache" / nodes[1].key).glob("part-00001-*"))
    text = part.read_text()
    part.write_text(text.replace("r0.", "r9."))
    entry = Cache(tmp_path / "cache").entry(nodes[1].key)
    assert entry.done and entry.lost() == [part.name]
    with pytest.raises(UserError, match="part-00001-.* is damaged"):
        entry.rows()


def test_verify_finds_a_flipped_bit_and_says_how_to_mend_it(call, tmp_path):
    code, out, _ = call("ls", "--verify")
    assert code == 0 and "every file of every node in the cache is as it was written" in out
    weights = next((tmp_path / "runs" / "cache").glob("train-*/hf/weights.json"))
    data = bytearray(weights.read_bytes())
    data[3] ^= 1
    weights.write_bytes(data)
    code, out, _ = call("ls", "--verify")
    assert code == 4 and "hf/weights.json" in out and weights.parents[1].name in out and "delete the folders" in out
    assert json.loads(call("ls", "--verify", "--json")[1])[0]["damaged"] == ["hf/weights.json"]
    shutil.rmtree(weights.parents[1])
    assert call("run", "toy.cai")[0] == 0 and call("ls", "--verify")[0] == 0
