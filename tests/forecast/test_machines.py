"""Times from a machine's rates, this machine's rates as they are measured and kept, and what follows for a plan."""

import json
from dataclasses import replace

import pytest

from cai_jax.forecast import calibration, machines, this_machine
from cai_jax.forecast.cost_context import Cost
from cai_jax.forecast.machines import Machine
from cai_jax.lang.signature import Kind, Node, Type
from cai_jax.report import plan_view
from cai_jax.report.plan_view import Line

MEASURED = {
    "platform": "cpu",
    "devices": 1,
    "memory": 8 * 2**30,
    "flops": {"float32": 4e10, "bfloat16": 1e10},
    "bandwidth": 8e9,
}


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Measuring as it would end, and how often it was asked for."""
    asked = []
    monkeypatch.setattr(this_machine, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(this_machine, "_measure", lambda environment: asked.append(environment) or dict(MEASURED))
    return asked


def test_the_slower_of_products_and_memory_counts():
    machine = Machine("m", "cpu", 1, flops={4: 1e10, 2: 1e9}, bandwidth=1e9)
    assert machine.seconds(2e10, 1e9, 4) == 2
    assert machine.seconds(2e10, 3e9, 4) == 3
    assert machine.seconds(2e10, 1e9, 2) == 20
    assert Machine("m", "cpu", 1).seconds(1, 1, 4) is None


def test_a_slice_is_as_fast_as_its_maker_says():
    found = machines.named("v5e:4x4")
    assert (found.devices, found.memory, found.flops[4], found.bandwidth) == (16, 15.75 * 2**30, 197e12, 819e9)
    assert not found.measured


def test_a_machine_is_measured_once(kept):
    first = this_machine.machine(None)
    assert (first.devices, first.memory, first.flops, first.bandwidth) == (1, 8 * 2**30, {4: 4e10, 2: 1e10}, 8e9)
    assert this_machine.machine(None) == first and kept == [{}]
    this_machine.machine(None, again=True)
    assert kept == [{}, {}]


def test_virtual_devices_share_the_machine(kept):
    found = this_machine.machine("cpu:8")
    assert kept == [{}] and this_machine.machine("cpu:1").flops == {4: 4e10, 2: 1e10} and kept == [{}]
    assert (found.devices, found.memory, found.flops[4], found.bandwidth) == (8, 2**30, 5e9, 1e9)


def test_virtual_devices_are_those_of_the_cpu_where_there_is_an_accelerator(kept, monkeypatch):
    one = {**MEASURED, "platform": "gpu", "bandwidth": 1e12}
    measure = lambda environment: kept.append(environment) or dict(MEASURED if environment else one)  # noqa: E731
    monkeypatch.setattr(this_machine, "_measure", measure)
    assert this_machine.machine("cpu:2").bandwidth == 4e9 and kept == [{}, {"JAX_PLATFORMS": "cpu"}]
    assert this_machine.machine(None).bandwidth == 1e12 and len(kept) == 2


def test_what_computes_nothing_measures_nothing(kept):
    assert this_machine.machine(None, rates=False).flops is None and not kept


def test_a_machine_that_cannot_be_measured_has_no_rates(tmp_path, monkeypatch):
    monkeypatch.setattr(this_machine, "cache_folder", lambda: tmp_path)
    monkeypatch.setenv("JAX_PLATFORMS", "nothing")
    found = this_machine.machine(None)
    assert (found.devices, found.memory, found.flops) == (1, None, None) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("held", ["", "{", "[]", '{"flops": 3}'])
def test_a_damaged_record_is_measured_again(held, kept, tmp_path):
    this_machine.machine(None)
    (record,) = tmp_path.iterdir()
    record.write_text(held)
    assert this_machine.machine(None).flops == {4: 4e10, 2: 1e10} and len(kept) == 2


def test_measuring_finds_what_jax_sees(monkeypatch):
    monkeypatch.setattr(calibration, "LEAST", 0.0)  # few rows of a small model are enough
    monkeypatch.setattr(calibration, "WIDTH", 64)
    monkeypatch.setattr(calibration, "STREAM", 2**20)
    found = json.loads(json.dumps(calibration.measured()))
    assert (found["platform"], found["devices"]) == ("cpu", 1) and 2**28 < found["memory"] < 2**50
    assert min(*found["flops"].values(), found["bandwidth"]) > 1e6


def line(memory, cost=True, why="runs: first time"):
    node = Node("sample-1", "sample", {}, {}, Type(Kind.RESPONSES))
    return Line(node, "drawn", why, 8, Cost(10, 4e10, 1e9, 1.0, memory) if cost else None)


@pytest.mark.parametrize(
    ("shown", "fits"),
    [
        ([line(4 * 2**30)], True),
        ([line(5 * 2**30)], None),
        ([line(9 * 2**30)], False),
        ([line(2**30), line(9 * 2**30)], False),
        ([line(2**30), line(9 * 2**30, why="cached")], True),
        ([line(2**30), line(0, cost=False)], None),
    ],
)
def test_whether_it_fits(shown, fits):
    machine = Machine("m", "cpu", 1, 8.0 * 2**30, {4: 4e10}, 8e9, measured=True)
    assert plan_view.Total.of(shown).fits(machine) is fits
    told = plan_view.text(shown, [], machine)
    assert {True: ": fits", False: ": does not fit;", None: ": may not fit;"}[fits] in told


def test_a_mesh_of_more_devices_than_there_are_does_not_fit():
    machine = Machine("this machine", "cpu", 1, 8.0 * 2**30, {4: 4e10}, 8e9, measured=True)
    whole = line(2**30)
    shown = [replace(whole, cost=replace(whole.cost, devices=64))]
    assert plan_view.Total.of(shown).fits(machine) is False
    told = plan_view.text(shown, [], machine)
    assert "does not fit: a mesh needs 64 devices, and this machine has 1" in told and "time: about" not in told
    assert plan_view.Total.of(shown).fits(replace(machine, devices=64)) is True


def test_a_plan_sums_times_and_takes_the_most_memory():
    machine = Machine("this machine", "cpu", 1, 8.0 * 2**30, {4: 4e10}, 8e9, measured=True)
    told = plan_view.text([line(2**30), line(3 * 2**30)], [], machine)
    assert "2 of 2 nodes to run: 20 tokens, 80.0G FLOPs (estimates)" in told
    assert "time: about 2.0 s on this machine (1 device, 40.0GFLOP/s, 8.0GB/s, as measured)" in told
    assert "memory of a device: at least 3.00 GiB (drawn) of 8.00 GiB: fits" in told
