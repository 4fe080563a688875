"""One device, pmap, a mesh of eight and a mixed mesh agree; a process of its own holds the eight devices."""

import pytest

from tests.support import processes


@pytest.fixture(scope="module")
def found():
    return processes.one("tests.parallel._eight_devices", devices=8)


CASES = ("sft pmap", "sft mixed", "preference data", "dpo mixed", "ppo mixed", "sft-adapter mixed")


@pytest.mark.parametrize("case", CASES)
def test_every_way_of_running_a_step_agrees_with_one_device(found, case):
    assert found["devices"] == 8
    assert found[case] < 3e-6


@pytest.fixture(scope="module")
def rest():
    return processes.one("tests.parallel._meshes", devices=8)


@pytest.mark.slow
def test_training_sends_gradients_once_and_gathers_split_weights_once(rest):
    sent, ring = rest["sent"], 7 / 8  # of an array, what one of eight devices sends to gather or to scatter it
    data, fsdp = sent["data"], sent["fsdp"]
    assert data.keys() == fsdp.keys() == {"all-reduce", "all-gather"}
    # Beside the gradients there are figures of rows, which weigh something only in a model as small as this.
    assert data["all-reduce"] == pytest.approx(2 * ring, abs=0.25) and data["all-gather"] < 0.1
    assert fsdp["all-reduce"] == pytest.approx(2 * ring, abs=0.25)
    assert fsdp["all-gather"] == pytest.approx(ring, abs=0.1)
    # A loop gathers the weights of its layers in the backward pass again, instead of holding all.
    looped = sent["looped"]
    assert looped["all-reduce"] == pytest.approx(2 * ring, abs=0.1)
    assert looped["all-gather"] == pytest.approx(2 * ring, abs=0.1)


@pytest.mark.slow
def test_an_adapter_of_split_heads_sends_columns_of_its_rank_and_nothing_else(rest):
    full, adapter = rest["sent"]["heads"]["full"], rest["sent"]["heads"]["adapter"]
    assert full.keys() == adapter.keys() == {"all-reduce"}
    # Four bytes a number of 8 rows of 12 tokens, summed over a ring of four.
    number = 2 * (3 / 4) * 4 * 8 * 12
    # An adapter sums its rank's 3 columns for each of the seven kernels; below the first layer nothing has a gradient,
    # for which full training sums what comes back from queries, keys and values, 16 wide.
    wanted = full["all-reduce"] + number * (7 * 3 - 3 * 16)
    assert adapter["all-reduce"] == pytest.approx(wanted, abs=number / 2)


@pytest.mark.slow
def test_every_other_way_agrees_with_one_device(rest):
    steps = {case: apart for case, apart in rest.items() if case != "sent" and not case.startswith("engine")}
    assert len(steps) == 27 and max(steps.values()) < 3e-6, steps


@pytest.mark.slow
@pytest.mark.parametrize("case", ["engine data", "engine odd", "engine adapter"])
def test_the_engine_writes_the_same_texts_on_every_other_mesh(rest, case):
    assert rest[case] is not None and rest[case] < 1e-5


def test_parameters_and_moments_keep_the_layout_of_the_rules(found):
    assert found["layout"] == found["moment"] == ["fsdp", "tensor"]


def test_rows_that_do_not_divide_are_refused(found):
    assert found["refused"] == "6 rows in a micro-batch do not divide over 8 devices"


def test_a_kernel_is_divided_over_the_mesh(found):
    assert found["splash"] < 3e-6


def test_the_engine_writes_the_same_texts_on_a_mesh(found):
    assert found["engine"] is not None and found["engine"] < 1e-5


@pytest.mark.parametrize("step", ["fill", "decode", "score"])
def test_a_layer_of_the_engine_sums_twice_over_devices_and_sends_nothing_else(found, step):
    layer = [["all-reduce", "attention"], ["all-reduce", "mlp"]]
    # To fill slots, the last layer's keys and values are all that is needed of it.
    assert found["collectives"][step] == sorted(layer * (1 if step == "fill" else 2))
