"""Names that the tool prints are names that it takes: of every command, wherever a node is named."""

from __future__ import annotations

import contextlib
import io
import json
import re

import pytest

from cai_jax import cli
from cai_jax.console import session
from cai_jax.exit_codes import UserError
from cai_jax.forecast import machines
from cai_jax.lang.assets import find
from cai_jax.pipeline import generation
from cai_jax.report import compiled_steps, plan_view
from cai_jax.runs import data_sizes, programs
from cai_jax.runs.cache import Cache
from cai_jax.runs.node_labels import every, labels
from cai_jax.stages import registry

# Nodes without a name, with two, and with one in each arm of a sweep; a flow; strings that are long or have two lines.
PAGE = r"""base = model("builtin:tiny")
again = base
red = prompts("builtin:red_team")
ask = prompts("builtin:helpful")
let heat = 1
sweep heat in [1, 2]
drawn = red.train |> sample(again, n=2, max_new=2, temperature=heat)
guarded = _ |> sample(base, max_new=2) |> refuse("No.\nNever, \"friend\".")
dodged = drawn |> evasive_rate()
sure = red.train |> sample(base, max_new=2)
     |> refuse("I can give you no help with this, for it would do harm to others.")
     |> evasive_rate()
expect harm_rate(guarded, red.test) < 99%
expect evasive_rate((red.test + ask.test) |> sample(base, max_new=2)) < 99%
"""
SEVERAL = {  # what nodes are called that differ only in the arm, or in what is piped into them
    "dodged": "dodged[heat=1], dodged[heat=2]",
    "drawn": "drawn[heat=1], drawn[heat=2]",
    "dodged = evasive_rate": "dodged[heat=1], dodged[heat=2]",
    "evasive_rate()": "dodged[heat=1], sure, dodged[heat=2]",
}


class Folder:
    """Where a page is run, by the built-in model."""

    def __init__(self, root):
        self.page, self.out = root / "names.cai", root / "runs"
        self.page.write_text(PAGE, encoding="utf-8")

    def call(self, *words):
        """Exit code, stdout and stderr of a command line."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            cli.main([*map(str, words), "--out", str(self.out)])
        return ended.value.code, out.getvalue(), err.getvalue()

    def json(self, *words):
        return json.loads(self.call(*words, "--json")[1])

    def key(self, name):
        return self.json("show", name, "--rows", 0)["key"]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    write = lambda self, prompts, keys: [generation.Generated("Well…", [-1.0], [5], False)] * len(prompts)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation.Writer, "generate", write)  # at once
        patch.setattr(session, "prepare_jax", lambda out: None)
        yield Folder(tmp_path_factory.mktemp("names"))


@pytest.fixture(scope="module")
def ran(here):
    code, shown, err = here.call("run", here.page, "--limit", 2, "--json")
    assert code in (0, 1), err
    return json.loads(shown), err


def plan_of(path, limit=None):
    return programs.planned(programs.checked(path, path.read_bytes(), (), registry()), registry(), None, limit)


def first_column(table):
    """Of a table, what stands in its first column."""
    head, _, *lines = table.split("\n")
    width = re.search(r"  (?=\S)", head).end()
    return [line[:width].strip() for line in lines]


def printed(here, ran):
    """(command, a name that it printed, the key of the node if it said so)."""
    shown, err = ran
    for node in shown["nodes"]:
        yield from (("run", name, node["key"]) for name in (node["name"], *node["name"].split(", ")))
    yield from (("progress", name, None) for name in re.findall(r"^\[\d+/\d+\] (.*): (?:done|cached)", err, re.M))
    for metric in shown["metrics"]:
        for arm in {"", f"[{metric['arm']}]" if metric["arm"] else ""}:
            key = metric["key"] if arm or not metric["arm"] else None
            yield from (("metrics", metric[name] + arm, key) for name in ("name", "expression"))
            yield from (("metrics", metric[name] + arm, None) for name in ("of", "on") if metric[name])
    yield from (("notes", note[name], note["key"]) for note in shown["notes"] for name in ("node", "expression"))
    text = here.call("run", here.page, "--limit", 2)[1]
    yield from (("notes", name, None) for name in re.findall(r"^(\S.*?): +\[[\w-]+\]", text, re.M))
    measured = re.findall(r"\w+ = \w+(?:\(.*?\))?(?=  )", text.partition("notes")[0])
    yield from (("metrics", name, None) for name in measured)
    words = ("plan", here.page, "--limit", 2)
    for node in here.json(*words)["nodes"]:
        yield from (("plan", node[name], node["key"]) for name in ("name", "label", "key"))
    text = here.call(*words, "--prompts", 1)[1]
    yield from (("table", name, None) for name in first_column(text.partition("\n\n")[0]))
    yield from (("prompts", name, None) for name in re.findall(r"^=== (.*): \d+ prompts", text, re.M))
    for node in here.json("ls", "--nodes"):
        yield from (("ls", name, node["key"]) for name in (node["label"], *node["names"], node["key"]))
        made = here.json("show", node["key"], "--rows", 0)
        text = here.call("show", node["key"], "--rows", 0)[1]
        yield from (("show", name, node["key"]) for name in (made["label"], *made["names"]))
        yield "show", re.search(r"^called +(.*?) *$", text, re.M)[1], node["key"]
        keys = re.findall(r"[a-z_]+-[0-9a-f]{16}", json.dumps(made["inputs"]))
        yield from (("show", key, key) for key in keys)


def test_every_name_that_is_printed_is_taken_back(here, ran):
    found = {entry for entry in printed(here, ran) if entry[1]}
    assert {command for command, *_ in found} == set("run progress metrics notes plan table prompts ls show".split())
    names = {name for _, name, _ in found}
    assert names >= {"red.train", "sample(red.train, base, max_new=2)", "again", "base, again", "guarded"}
    assert names >= SEVERAL.keys()
    assert names >= {"sure = evasive_rate", "drawn[heat=1] = sample(red.train, base, n=2, max_new=2)"}
    plan = plan_of(here.page, 2)
    for command, name, key in sorted(found, key=str):
        if name in SEVERAL:
            continue
        shown = here.key(name)
        assert key in (None, shown), (command, name)
        assert session.chosen(plan, registry(), name, plan.nodes) == shown, "--only and --force mean the same"


@pytest.mark.parametrize("name", SEVERAL)
def test_a_name_of_several_nodes_says_what_to_write_instead(name, here, ran):
    code, _, err = here.call("show", name)
    assert code == 2 and f"`{name}` is the name of several nodes" in err and err.endswith(f"of {SEVERAL[name]}\n")
    assert len({here.key(other) for other in SEVERAL[name].split(", ")}) == SEVERAL[name].count(", ") + 1


@pytest.mark.parametrize(
    "name, same",
    [
        ("sample(red.train,base,max_new=2)", "sample(red.train, base, max_new=2)"),
        ("sample(red.train,\n     base, max_new=2)\n", "sample(red.train, base, max_new=2)"),
        ("model(builtin:tiny)", "again"),
        ("drawn[heat = 2]", "drawn[heat=2]"),
    ],
)
def test_what_shells_and_tables_do_to_a_name_makes_no_difference(name, same, here, ran):
    assert here.key(name) == here.key(same)


def test_only_and_force_take_nodes_without_a_name(here, ran):
    words = ("run", here.page, "--limit", 2, "--only", "red.test + ask.test")
    assert [node["stage"] for node in here.json(*words)["nodes"]][-1] == "join"
    made = here.json(*words, "--force", "red.test (select)")["nodes"]
    assert [node["stage"] for node in made if not node["cached"]] == ["select", "join"]


def test_a_name_of_another_run_is_not_taken_for_a_key(here, ran):
    first = (here.out / "latest").read_text().strip()
    other = here.page.with_name("other.cai")
    other.write_text('red = prompts("builtin:red_team")\nbase = model("builtin:tiny")\nr = harm_rate(base, red.test)\n')
    here.call("run", other, "--limit", 1)
    code, _, err = here.call("show", "again")
    assert code == 2 and "`again` is no node of the run other-" in err and f"--run {first}" in err
    code, _, err = here.call("show", "ha")  # keys of harm_rate begin so
    assert code == 2 and "`ha` is no node of the run other-" in err
    assert here.json("show", "again", "--run", first)["stage"] == "model"
    # The cache knows the node by its first name, and the run by its own.
    assert here.json("show", "sample(red.test, base)")["label"] == "sample(red.test, base)"


def test_a_node_is_shown_under_the_name_that_the_run_has_for_it(here, ran):
    page = here.page.with_name("renamed.cai")
    page.write_text(PAGE.replace("drawn", "replies").replace("sure", "dodgy"))
    here.call("run", page, "--limit", 2)
    assert here.json("show", "replies[heat=1]")["names"] == ["replies[heat=1]"]
    assert re.search(r"^called +dodgy$", here.call("show", "dodgy")[1], re.MULTILINE)


@pytest.mark.parametrize("page", ["programs/quickstart.cai", "programs/guard.cai", "tests/programs/pages/every.cai"])
def test_every_name_of_a_plan_is_whole_and_taken_back(page, tmp_path):
    plan = plan_of(find("programs").parent / page)
    sized = data_sizes.sized(plan, registry(), {}, {}, None)
    machine = machines.named("cpu:1")
    shown = plan_view.lines(sized, registry(), Cache(tmp_path), machine)
    nodes = plan_view.as_json(shown)
    labelled = [node["label"] for node in nodes]
    assert first_column(plan_view.text(shown, sized.data, machine).partition("\n\n")[0]) == labelled
    for node in nodes:
        for name in (node["label"], node["key"], node["key"][: node["key"].index("-") + 9]):
            assert session.chosen(plan, registry(), name, plan.nodes) == node["key"]
    for label in labels(plan, registry()).values():  # `compile` has the nodes of flows too
        session.chosen(plan, registry(), label, every(plan))


def test_a_node_of_a_flow_is_for_compile_alone(tmp_path):
    plan = plan_of(find("programs") / "guard.cai")
    (flow,) = plan.flows.values()
    told = {label for label, _ in compiled_steps.described(plan, registry(), 32)}
    assert "sample(_, base)" in told
    assert session.chosen(plan, registry(), "sample(_, base)", every(plan)) in {node.key for node in flow.nodes}
    with pytest.raises(UserError, match="no node of this program"):
        session.chosen(plan, registry(), "sample(_, base)", plan.nodes)


def test_names_do_not_grow_with_every_step(tmp_path):
    """An expression names the model twice: for the replies, and for their revisions."""
    expression = "base"
    for _ in range(12):
        expression = f"(red.train |> sample({expression}) |> revise(rules) |> finetune(base))"
    page = tmp_path / "deep.cai"
    rules = 'constitution rules { principle p { critique = "c" revise = "r" } }\n'
    page.write_text(f"{rules}{''.join(PAGE.splitlines(keepends=True)[0:3:2])}sl = {expression}\n")
    plan = plan_of(page)
    named = labels(plan, registry())
    assert len(plan.nodes) == 4 + 3 * 12 and max(map(len, named.values())) < 1000
    for key, label in named.items():
        assert session.chosen(plan, registry(), label, plan.nodes) == key


def test_two_nodes_that_are_called_alike_go_by_their_keys(tmp_path):
    page = tmp_path / "alike.cai"
    page.write_text(
        "".join(PAGE.splitlines(keepends=True)[:1])
        + "".join(
            f'expect evasive_rate(prompts("builtin:red_team", limit={n}) |> sample(base)) < 50%\n' for n in (1, 2)
        )
    )
    plan = plan_of(page)
    keys = [node.key for node in plan.nodes if node.stage == "prompts"]
    with pytest.raises(UserError) as caught:
        session.chosen(plan, registry(), 'prompts("builtin:red_team")', plan.nodes)
    assert len(keys) == 2 and all(key in caught.value.hint for key in keys)
    for key in keys:
        assert session.chosen(plan, registry(), key, plan.nodes) == key
