"""`cai-jax compile` as a user sees it."""

import gzip
import importlib.util
import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial

import jax
import pytest

from cai_jax.errors import UserError
from cai_jax.exit_codes import Interrupted, StageFailed
from cai_jax.forecast.aot import AotStep, Chip, OutOfMemory, Topology
from cai_jax.forecast.compile_context import Step
from cai_jax.forecast.hlo import HloWork
from cai_jax.lang import assets
from cai_jax.report import compiled_steps
from cai_jax.runs import programs
from cai_jax.runs.compile_cache import Compilers
from cai_jax.runs.signals import Interrupts
from cai_jax.stages import registry
from tests.support.compiling import called

PROGRAM = """\
world = documents("builtin:world", rows=64)
tiny = world |> finetune(model("init:tiny"), steps=2, batch=8, length=128)
"""


def products(width):
    """Forward products of a row of 128 tokens of the tiny model, heads padded to `width`: 2·m·n·k each."""
    matrices = 5 * 2 * 128 * (4 * 128 * 128 + 3 * 128 * 384)
    attention = 5 * 2 * 2 * 4 * 128 * 128 * width
    return matrices, attention, 2 * 127 * 128 * 1024


def test_a_step_takes_what_can_be_worked_out_by_hand(tmp_path):
    done = called(tmp_path, "--topology", "cpu:8", "--json", program=PROGRAM)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (step,) = found["steps"]
    assert (found["devices"], step["node"], step["step"], step["calls"]) == (8, "tiny", "train", 2)
    # One row a device; a gradient takes two products where the forward takes one.
    assert step["flops"] == 3 * sum(products(32))
    # Parameters and two moments in float32 are 12 bytes a parameter; the model that was loaded lies beside.
    size = 1024 * 128 + 5 * (4 * 128 * 128 + 3 * 128 * 384 + 2 * 128) + 128
    assert step["arguments"]["state"] == 12 * size + 3 * 4  # three counters
    assert step["beside"] == {'model("init:tiny")': 4 * size}
    assert step["memory"] >= 16 * size
    # Gradients are summed once over the eight devices, in a ring.
    assert step["collective_bytes"]["all-reduce"] == pytest.approx(2 * 4 * size * 7 / 8, rel=0.12)


def test_of_a_program_one_node_alone_can_be_compiled(tmp_path):
    program = PROGRAM + "other = world |> finetune(tiny, steps=3, batch=8, length=64)\n"
    done = called(tmp_path, "--topology", "cpu:1", "--only", "other", "--json", program=program)
    assert done.returncode == 0, done.stderr
    (step,) = json.loads(done.stdout)["steps"]
    assert (step["node"], step["calls"]) == ("other", 3)
    assert step["beside"].keys() == {'model("init:tiny")', "tiny"}, "what an earlier node has loaded stays"
    unknown = called(tmp_path, "--topology", "cpu:1", "--only", "othr", program=program)
    assert unknown.returncode == 2 and "othr" in unknown.stderr and "other" in unknown.stderr


def test_what_compiling_told_is_kept_and_not_asked_for_again(tmp_path):
    machine = Topology("cpu:1", tuple(jax.devices()[:1]), None)
    square = jax.ShapeDtypeStruct((8, 8), "float32")
    step = Step("square", 1, {"x": square}, {}, lambda: jax.jit(lambda x: x @ x).lower(square))

    def told():
        with Compilers(tmp_path / "compiled", machine, Interrupts()) as compilers:
            first, second = compilers.begin(step), compilers.begin(step)
            assert first() is second()
            return first()

    found = told()
    assert found.work.flops == 2 * 8**3 and found.seconds > 0
    (kept,) = (tmp_path / "compiled").iterdir()
    record = json.loads(gzip.decompress(kept.read_bytes()))
    kept.write_bytes(gzip.compress(json.dumps({**record, "seconds": -1.0}).encode()))
    assert told() == replace(found, seconds=-1.0)
    kept.write_text("{")
    assert told().seconds > 0


def test_what_is_interrupted_begins_no_other_step_and_goes_on_from_what_is_kept(tmp_path):
    machine = Topology("cpu:1", tuple(jax.devices()[:1]), None)

    def compiled(interrupts, *sizes):
        shapes = [jax.ShapeDtypeStruct((size, size), "float32") for size in sizes]
        steps = [Step("square", 1, {"x": x}, {}, partial(jax.jit(lambda x: x @ x).lower, x)) for x in shapes]
        with Compilers(tmp_path, machine, interrupts) as compilers:
            return [told().work.flops for told in [compilers.begin(step) for step in steps]]

    class Signalled(Interrupts):
        """A signal arrives behind the first of two steps, while the second waits."""

        asked = 0

        def check(self):
            self.asked += 1
            if self.asked > 3:  # twice to begin, once to compile
                raise Interrupted(signal.SIGINT)

    with pytest.raises(Interrupted):
        compiled(Signalled(), 8, 16)
    assert len([*tmp_path.iterdir()]) == 1
    assert compiled(Interrupts(), 8, 16) == [2 * 8**3, 2 * 16**3]


def test_a_compiler_may_go_deeper_than_a_threads_usual_stack(tmp_path):
    here, seen = threading.stack_size(), []

    def lower():
        seen.append(threading.stack_size())
        return jax.jit(lambda x: x).lower(1.0)

    with Compilers(tmp_path, Topology("cpu:1", tuple(jax.devices()[:1]), None), Interrupts()) as compilers:
        compilers.begin(Step("nothing", 1, {}, {}, lower))()
    assert seen[0] >= 2**28 and threading.stack_size() == here


def test_ctrl_c_stops_behind_the_steps_that_are_being_compiled(tmp_path):
    program = (
        'world = documents("builtin:world", rows=64)\na = world |> finetune(model("init:tiny"), steps=2, batch=8)\n'
    )
    program += "".join(f"b{n} = world |> finetune(a, steps=2, batch=8, length={16 + 8 * n})\n" for n in range(16))
    (tmp_path / "p.cai").write_text(program)
    command = [sys.executable, "-m", "cai_jax", "compile", "p.cai", "--topology", "cpu:1"]
    kept = tmp_path / "runs" / "compiled"
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not [*kept.glob("*.gz")]:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130
    assert "stopping after the steps that are being compiled" in said and "Traceback" not in said
    assert 0 < len([*kept.glob("*.gz")]) < 16


@pytest.mark.parametrize(
    ("topology", "said"),
    [("v5e:3x5", "8x8"), ("v4:2x2", "v5p: 2x2x1"), ("cpu:0", "cpu:N"), ("tpu", "v6e")],
)
def test_an_unknown_topology_is_told_what_is_known(tmp_path, topology, said):
    done = called(tmp_path, "--topology", topology, program=PROGRAM)
    assert done.returncode == 2 and not done.stdout
    assert f"there is no topology '{topology}'" in done.stderr and said in done.stderr


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="the extra [tpu] is installed")
def test_without_the_tpu_compiler_the_extra_is_named(tmp_path):
    done = called(tmp_path, "--topology", "v6e:2x2", program=PROGRAM)
    assert done.returncode == 2 and 'pip install "cai-jax[tpu]"' in done.stderr


def test_what_a_flow_runs_is_described(tmp_path):
    program = assets.find("programs") / "guard.cai"
    checked = programs.checked(program, program.read_bytes(), (), registry())
    plan = programs.planned(checked, registry(), None, None)
    labels = [label for label, _ in compiled_steps.described(plan, registry(), 32)]
    assert {"sample", "screen", "revise"} <= {label.partition("(")[0] for label in labels}


def test_a_model_of_unknown_shape_is_asked_for(tmp_path):
    program = 'a = model("hf:nobody/nothing")\nred = prompts("builtin:red_team")\nr = red.train |> sample(a)\n'
    program += "expect harm_rate(r) < 50%\n"
    done = called(tmp_path, "--topology", "cpu:1", program=program)
    assert done.returncode == 2 and 'shape="llama-3.1-8b"' in done.stderr


CHIP = Chip(memory=100, flops=10, bandwidth=5, links=2)


def row(**changed):
    told = AotStep(1.0, 40, 10, 5, HloWork(flops=40, bytes=10))
    return compiled_steps.Row(
        **{"node": "sl", "step": "train", "calls": 3, "compiled": told, "beside": {"base": 20},
           "wanted": {"state": 30, "batch": 10}, "largest": ("state/params/embed", 8), **changed}
    )  # fmt: skip


def test_memory_is_the_steps_own_and_what_lies_beside():
    fits, machine = row(), Topology("v5e:1x1", (None,), CHIP)
    assert fits.memory == 75 and fits.fits(CHIP)
    assert fits.seconds(CHIP) == 4.0, "products take the longest: 40 at 10 a second"
    assert compiled_steps.run_seconds([fits, fits], machine) == 24.0
    compiled_steps.refuse([fits], machine)


def test_over_memory_names_the_largest_tensors_and_the_cure():
    machine, gib = Topology("v5e:1x1", (None,), replace(CHIP, memory=100 * 2**30)), 2**30
    told = AotStep(1.0, 40 * gib, 10 * gib, 5 * gib, HloWork())
    found = row(
        compiled=told,
        beside={"base": 80 * gib},
        wanted={"state": 30 * gib, "batch": 10 * gib},
        largest=("state/params/embed", 8 * gib),
        cure="mesh=mesh(fsdp=4)",
    )
    with pytest.raises(StageFailed) as refused:
        compiled_steps.refuse([row(), found], machine)
    assert refused.value.message == (
        "1 step does not fit v5e:1x1: 'train' needs 135.00 GiB, where a chip has 100.00 GiB: base 80.00 GiB, state "
        "30.00 GiB, what it makes itself 15.00 GiB, batch 10.00 GiB; its largest tensor is state/params/embed, 8.00 GiB"
    )
    assert refused.value.hint == "with (mesh=mesh(fsdp=4)) it fits"


def test_what_the_compiler_says_of_memory_is_read():
    said = (
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (38.40G) exceeds "
    )
    for each in (said + "available HBM (15.75G).", "… in memory space hbm. Used 38.40G of 15.75G hbm. Exceeded …"):
        error = OutOfMemory(each)
        assert error.used == 38.4 * 2**30 and error.limit == 15.75 * 2**30
    over = row(compiled=None, over=error)
    assert over.memory == 38.4 * 2**30 + 20 and over.made == 38.4 * 2**30 - 40 and not over.fits(CHIP)


def searched(fits, arguments=lambda schedule: 0):
    """The schedule that is found for two steps on 16 chips, and what was compiled in search of it: (step, schedule).

    The batch has 64 rows. fits: of a step's number and a schedule. arguments: bytes of a step's arguments.
    """
    tried = []

    def make(schedule):
        if 64 % schedule.get("microbatch", 64):
            raise UserError("does not divide", "")
        state = jax.ShapeDtypeStruct((arguments(schedule),), "int8")
        return [Step("", 1, {"state": state}, {}, partial(tuple, (number, schedule))) for number in range(2)]

    class Compilers:
        def begin(self, step):
            number, schedule = step.lower()
            tried.append((number, {**schedule, "mesh": schedule["mesh"]["fsdp"]}))
            return lambda: AotStep(1.0, 0 if fits(number, schedule) else 200, 0, 0, HloWork())

    machine = Topology("v5e:4x4", (None,) * 16, CHIP)
    return compiled_steps._cure(make, make({"mesh": {"fsdp": 1}}), [1], machine, lambda _: None, Compilers()), tried


def test_a_schedule_is_sought_that_saves_no_more_than_it_must():
    found, tried = searched(lambda number, schedule: schedule.get("microbatch", 64) <= 32)
    assert found == "mesh=mesh(fsdp=16, tensor=1), remat=true, microbatch=32"
    again = {"mesh": 16, "remat": True}
    # The step that did not fit is asked first, the other one once that fits; 128 rows are not to be had.
    least = {**again, "microbatch": 32}
    assert tried == [(1, {"mesh": 16}), (1, again), (1, {**again, "microbatch": 64}), (1, least), (0, least)]


def test_a_schedule_must_suit_all_steps_of_a_node():
    found, tried = searched(lambda number, schedule: number == 1 or schedule["mesh"]["tensor"] == 4)
    assert found == "mesh=mesh(fsdp=4, tensor=4)"
    assert [number for number, schedule in tried[:4]] == [1, 0, 1, 0]


def test_nothing_is_compiled_whose_arguments_are_too_large():
    large = lambda schedule: 0 if schedule["mesh"]["fsdp"] in (8, 2) else 101  # noqa: E731
    found, tried = searched(lambda *_: False, large)
    assert found == "" and {schedule["mesh"] for _, schedule in tried} == {8, 2}
