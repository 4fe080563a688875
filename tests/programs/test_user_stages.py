"""Stages of the user's own, run: by programs and by Python, on one cache; their errors; and whose code it is."""

from __future__ import annotations

import json
import sys

import pytest

from cai_jax import cli
from cai_jax.api import stage_calls
from cai_jax.errors import UserError
from cai_jax.exit_codes import PROGRAM_WRONG, STAGE_FAILED, USAGE
from cai_jax.runs import programs
from cai_jax.stages import registry
from cai_jax.stages.user_stages import FileStage, with_user_stages
from tests.programs._running import ROOT

BRIEF = (ROOT / "programs" / "brief.py").read_text("utf-8")
PROGRAM = """use stage brief_rate from "brief.py"
told = replies("told.jsonl")
rate = brief_rate(told, words=3)
expect rate > 50%
"""
REPLIES = ["One.", "One two.", "One two three.", "One two three four."]  # three of four have at most three words
KEEP = '''import cai_jax


@cai_jax.stage(
    result="Responses",
    params={"replies": {"about": "All of them.", "kinds": ["Responses"]}},
)
def keep_short(ctx):
    """Replies of one word."""
    ctx.commit([row for row in ctx.inputs["replies"].rows() if " " not in row["reply"]])
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a program, the file of its stage, and four replies."""
    (tmp_path / "brief.py").write_text(BRIEF, encoding="utf-8")
    (tmp_path / "p.cai").write_text(PROGRAM, encoding="utf-8")
    rows = [{"prompt": f"Question {i}?", "response": reply} for i, reply in enumerate(REPLIES)]
    (tmp_path / "told.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAI_JAX_OUT", "runs")
    monkeypatch.setattr("cai_jax.console.session.prepare_jax", lambda out: None)
    monkeypatch.setattr(stage_calls, "prepare_jax", lambda out: None)
    return tmp_path


@pytest.fixture
def call(capfd):
    """Runs a command; returns its exit code, stdout and stderr."""

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in words])
        shown = capfd.readouterr()
        return ended.value.code or 0, shown.out, shown.err

    return run


def ran(call):
    """The metric's value, and the stages whose nodes were made."""
    code, out, err = call("run", "p.cai", "--json")
    assert code in (0, 1), err
    told = json.loads(out)
    return told["metrics"][0]["value"], {node["stage"] for node in told["nodes"] if not node["cached"]}


def test_a_program_runs_it_and_an_edit_runs_it_again(folder, call):
    assert ran(call) == (0.75, {"replies", "brief_rate"})
    assert ran(call) == (0.75, set())
    (folder / "brief.py").write_text(BRIEF.replace("<= most", "< most"), encoding="utf-8")
    code, out, _ = call("plan", "p.cai")
    assert code == 0 and "runs: the file of `brief_rate` edited" in out
    assert ran(call) == (0.5, {"brief_rate"})


def test_a_file_that_is_cached_is_not_run(folder, call, monkeypatch):
    ran(call)
    monkeypatch.setattr(FileStage, "load", lambda self: pytest.fail("it was run"))
    assert ran(call) == (0.75, set())


def test_a_stage_makes_rows_for_the_next(folder, call):
    (folder / "keep.py").write_text(KEEP, encoding="utf-8")
    text = 'use stage keep_short from "keep.py"\n' + PROGRAM.replace("(told, words", "(told |> keep_short(), words")
    (folder / "p.cai").write_text(text, encoding="utf-8")
    assert ran(call) == (1.0, {"replies", "keep_short", "brief_rate"})


def test_python_and_programs_share_the_cache(folder, call, monkeypatch):
    import cai_jax

    ran(call)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "brief", raising=False)
    import brief

    assert brief.brief_rate.__name__ == "brief_rate"
    rate = brief.brief_rate(cai_jax.replies("told.jsonl"), words=3)
    assert rate.result["value"] == 0.75
    assert [path.name for path in (folder / "runs" / "cache").glob("brief_rate-*")] == [rate.key]
    with pytest.raises(UserError, match="`brief_rate` has no parameter `word`"):
        brief.brief_rate(cai_jax.replies("told.jsonl"), word=3)
    monkeypatch.delitem(sys.modules, "brief")


def test_a_stage_without_source_can_not_be_called(folder):
    names = {}
    exec(KEEP, names)
    with pytest.raises(UserError, match="source of `keep_short`"):
        names["keep_short"]("told.jsonl")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (KEEP.replace("keep_short", "sample"), "`sample` is a stage already"),
        (KEEP.replace('"Responses",\n', '"Replies",\n', 1), "`result` cannot be 'Replies'"),
        (KEEP.replace('    """Replies of one word."""\n', ""), "does not say what it is about"),
    ],
)
def test_a_wrong_declaration_is_told_in_python_too(text, message):
    with pytest.raises(UserError, match=message):
        exec(text, {})


def test_every_command_says_whose_code_it_is(folder, call):
    note = "note: running this program runs `brief_rate` of brief.py\n"
    code, out, _ = call("check", "p.cai")
    assert (code, out) == (0, f"{note}p.cai: 0 errors, 0 warnings\n")
    code, out, err = call("plan", "p.cai")
    assert (code, err) == (0, note)
    assert json.loads(call("check", "p.cai", "--json")[1])["user_code"] == {"brief.py": ["brief_rate"]}
    assert json.loads(call("plan", "p.cai", "--json")[1])["user_code"] == {"brief.py": ["brief_rate"]}
    assert call("run", "p.cai")[2].startswith(note)
    (manifest,) = (folder / "runs").glob("p-*/manifest.json")
    assert json.loads(manifest.read_text())["user_code"] == {"brief.py": ["brief_rate"]}


@pytest.mark.parametrize("words", [["check"], ["plan"], ["run"], ["guard"], ["compile", "--topology", "cpu:1"]])
def test_code_of_ones_own_can_be_refused(words, folder, call):
    (folder / "brief.py").write_text(BRIEF + "\nraise SystemExit\n", encoding="utf-8")
    code, _, err = call(words[0], "p.cai", *words[1:], "--no-user-code")
    assert code == USAGE
    assert err.startswith("error: p.cai runs `brief_rate` of brief.py, which --no-user-code refuses\n  = help: read ")
    (folder / "plain.cai").write_text('told = replies("told.jsonl")\n', encoding="utf-8")
    assert call("check", "plain.cai", "--no-user-code")[0] == 0


def test_what_runs_nothing_does_not_run_the_file(folder, call):
    (folder / "brief.py").write_text(BRIEF + "\nopen('ran', 'w').close()\n", encoding="utf-8")
    for words in (["check"], ["plan"], ["plan", "--prompts", "1"]):
        assert call(words[0], "p.cai", *words[1:])[0] == 0
    assert not (folder / "ran").exists()
    assert call("run", "p.cai")[0] == 0
    assert (folder / "ran").exists()


def test_a_file_that_raises_is_told_before_anything_is_made(folder, call):
    (folder / "brief.py").write_text(BRIEF.replace("import cai_jax\n", "import cai_jax, no_such_module\n"), "utf-8")
    code, _, err = call("run", "p.cai")
    assert code == USAGE
    assert "error: brief.py:3:1: ModuleNotFoundError: No module named 'no_such_module'\n  = help: mend the file" in err
    assert not list((folder / "runs" / "cache").glob("replies-*"))


def test_a_stage_that_raises_names_its_line_and_keeps_the_traceback(folder, call):
    (folder / "brief.py").write_text(BRIEF.replace("<= most", "<= most / 0"), encoding="utf-8")
    code, _, err = call("run", "p.cai")
    assert code == STAGE_FAILED
    line = next(n for n, text in enumerate(BRIEF.splitlines(), 1) if "<= most" in text)
    column = BRIEF.splitlines()[line - 1].index("most)") + 1
    assert f"error: rate (brief_rate) failed: brief.py:{line}:{column}: ZeroDivisionError: division by zero\n" in err
    assert "= help: mend the file and run again; the traceback is in " in err
    (trace,) = (folder / "runs").glob("p-*/traceback-brief_rate-*.txt")
    assert "<= most / 0" in trace.read_text("utf-8")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    return measured", "    measured", "the metric `brief_rate` returns no figure"),
        (" <= most", "", "lies outside of 0..1"),
    ],
)
def test_a_metric_that_measures_no_share_is_told(old, new, message, folder, call):
    (folder / "brief.py").write_text(BRIEF.replace(old, new), encoding="utf-8")
    code, _, err = call("run", "p.cai")
    assert code == STAGE_FAILED and message in err


def test_a_wrong_file_makes_the_program_wrong(folder, call):
    (folder / "brief.py").write_text("def brief_rate(:\n", encoding="utf-8")
    code, out, _ = call("check", "p.cai")
    assert code == PROGRAM_WRONG and "--> brief.py:1:16\n" in out


def test_its_prompts_are_shown(folder, call):
    shown = """def prompts_of(ctx, n):
    from cai_jax.prompting.render import Segment

    return [[Segment(f"Brief? {row['reply']}")] for row in ctx.inputs["of"].rows()[:n]]


@cai_jax.stage(
    rendered=prompts_of,
"""
    (folder / "brief.py").write_text(BRIEF.replace("@cai_jax.stage(\n", shown), encoding="utf-8")
    code, out, err = call("plan", "p.cai", "--prompts", "1")
    assert code == 0 and "Brief? One." in out, err


def test_a_stage_has_the_optional_functions_that_its_file_gives(folder):
    def of(text):
        (folder / "brief.py").write_text(text, encoding="utf-8")
        found = programs.checked(folder / "p.cai", PROGRAM.encode(), (), registry())
        return with_user_stages(registry(), found.user_stages)["brief_rate"]

    plain = of(BRIEF)
    assert not hasattr(plain, "steps") and not hasattr(plain, "rendered")
    own = "def own(ctx):\n    return [ctx]\n\n\n"
    given = of(BRIEF.replace("@cai_jax.stage(\n", f"{own}@cai_jax.stage(\n    steps=own,\n"))
    assert given.steps("the context") == ["the context"] and not hasattr(given, "rendered")


def test_new_writes_the_stage_beside_the_program(folder, call):
    assert call("new", "mine/own.cai", "--template", "brief")[0] == 0
    assert (folder / "mine" / "brief.py").read_text("utf-8") == BRIEF
    assert call("check", "mine/own.cai")[0] == 0
