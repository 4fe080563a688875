"""`cai-jax compile` for slices of TPUs: against sums made by hand."""

import json
import re

import pytest

from tests.commands.test_compile import PROGRAM, products
from tests.support import tpu
from tests.support.compiling import called

pytestmark = tpu.NEEDED


def test_decoding_reads_weights_and_cache_once_a_token(tmp_path):
    # One head of keys and values, as a chip has where heads are split; a layer's are too large to stay on the chip.
    tpu.write_shape(tmp_path / "m", num_key_value_heads=1)
    program = """\
run (mesh=one, slots=256)
m = model("m", dtype=bfloat16)
red = prompts("builtin:red_team")
r = red.train |> sample(m, max_new=512)
"""
    done = called(tmp_path, "--topology", "v5e:1x1", "--prompt-tokens", "1536", "--json", program=program)
    assert done.returncode == 0, done.stderr
    decode = json.loads(done.stdout)["steps"][1]
    assert decode["step"] == "sample: decode 8 tokens"
    attention, mlp, unembed = 2 * 1024 * (8 + 1) * 128, 3 * 1024 * 4096, 1024 * 8192
    cache = 2 * 2 * 256 * 4096 * 128  # layers, keys and values, slots, positions to a power of two, width
    floor = 8 * 2 * (2 * (attention + mlp) + unembed + cache)
    assert floor < decode["bytes"] < 1.1 * floor


@pytest.mark.parametrize(("topology", "chips"), [("v5e:1x1", 1), ("v5e:2x2", 4), ("v5p:2x2x1", 4), ("v6e:2x2", 4)])
def test_a_step_compiles_for_every_kind_of_chip_with_its_kernel(tmp_path, topology, chips):
    done = called(tmp_path, "--topology", topology, "--json", program=PROGRAM)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["devices"] == chips
    (step,) = found["steps"]
    matrices, attention, logits = products(128)
    # Of attention's two products the kernel's gradient takes three and four.
    assert step["flops"] == pytest.approx(8 / chips * (3 * matrices + 4.5 * attention + 3 * logits), rel=0.01)
    assert 0 < step["seconds"] < 2e-3 and step["memory"] < 2**28


FINETUNE = """\
m = model("m", dtype=bfloat16)
world = documents("builtin:world", rows=64)
t = world |> finetune(m, steps=2, batch=16, length=128)"""
# Nearly all of it embeddings, so that it is large and soon compiled.
WIDE = {"vocab_size": 65536, "hidden_size": 8192, "intermediate_size": 1024, "num_hidden_layers": 1}


def test_what_does_not_fit_is_told_a_schedule_with_which_it_does(tmp_path):
    tpu.write_shape(tmp_path / "m", **WIDE)
    done = called(tmp_path, "--topology", "v5e:2x2", program=FINETUNE)
    assert done.returncode == 4, done.stderr
    # Copies on all four chips: weights and two moments in float32, and the weights that were loaded in bfloat16.
    weights = 2 * 65536 * 8192 + 4 * 8192 * 1024 + 3 * 8192 * 1024 + 3 * 8192
    state, model = (f"{size * weights / 2**30:.2f} GiB" for size in (12, 2))
    assert f"where a chip has 15.75 GiB: state {state}, " in done.stderr and f"m {model}" in done.stderr
    assert "its largest tensor is state/params/embed, 2.00 GiB" in done.stderr
    schedule = re.search(r"help: (with \(.*\)) it fits", done.stderr).group(1)
    cured = called(tmp_path, "--topology", "v5e:2x2", "--json", program=f"{FINETUNE} {schedule}\n")
    assert cured.returncode == 0, cured.stderr
    (step,) = json.loads(cured.stdout)["steps"]
    assert step["fits"] and step["arguments"]["state"] == pytest.approx(12 * weights / 4, rel=0.001)


def test_what_fits_in_no_way_asks_for_more_chips(tmp_path):
    # On one chip there is nothing to split, and what could be saved is little beside the weights.
    tpu.write_shape(tmp_path / "m", **WIDE)
    done = called(tmp_path, "--topology", "v5e:1x1", program=FINETUNE)
    assert done.returncode == 4 and "help: take a larger slice, or a smaller batch" in done.stderr
    assert "with (mesh=mesh(fsdp=1, tensor=1), remat=true, microbatch=1): train:" in done.stderr, "the last resort"
    assert "its largest tensor is state/params/embed, 2.00 GiB" in done.stderr


def test_layers_in_a_loop_count_as_often_as_it_runs_and_computed_again_keep_little(tmp_path):
    tpu.write_shape(tmp_path / "m", num_hidden_layers=12)
    program = """\
run (mesh=one)
m = model("m", dtype=bfloat16)
world = documents("builtin:world", rows=64)
kept = world |> finetune(m, steps=2, batch=4, length=1024)
again = world |> finetune(kept, steps=2, batch=4, length=1024) with (remat=true)
"""
    done = called(tmp_path, "--topology", "v5e:1x1", "--json", program=program)
    assert done.returncode == 0, done.stderr
    kept, again = json.loads(done.stdout)["steps"]
    tokens, down = 4 * 1024, 1024 * 4096
    matrices = 12 * 2 * tokens * (4 * 1024 * 1024 + 3 * down)
    attention = 12 * 4 * tokens * 1024 * 1024 * 3 / 4  # of four blocks of 512 x 512 the causal mask leaves three
    logits = 2 * tokens * 1024 * 8192  # of eight blocks, which the gradient computes again
    assert kept["flops"] == pytest.approx(3 * matrices + 4.5 * attention + 4 * logits, rel=0.01)
    # What a layer's last product makes no gradient needs.
    more = matrices - 12 * 2 * tokens * down + attention
    assert again["flops"] == pytest.approx(kept["flops"] + more, rel=0.01)
    # Of a layer its input stays, of the 11 widths and more that its gradient reads.
    assert again["temporaries"] < kept["temporaries"] - 11 * 6 * 2 * tokens * 1024
