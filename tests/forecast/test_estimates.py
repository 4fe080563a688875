"""What `plan` says beside what `compile` reads from the compiled steps, of the same run on the same machine."""

import pytest

from cai_jax.report.plan_view import SURE
from tests.support import tpu
from tests.support.planning import both

FEW = """\
base = model("builtin:tiny")
red = prompts("builtin:red_team", limit=100)
drawn = red.train |> sample(base, max_new=32)
sl = drawn |> finetune(base, batch=16)
rate = harm_rate(sl, red.test)
"""
# What writes, asks, trains and scores; layers wide enough that products are most of the work.
ALL = """\
use harmless from "constitutions/starter.cai"
base = model("m"{dtype})
red = prompts("builtin:red_team", limit=256)
human = prefs("builtin:helpful_prefs")
drawn = red.train |> sample(base, n=2, max_new=64)
sl = drawn |> finetune(base)
labels = drawn |> judge(harmless, by=base, fewshots=1)
rm = labels + human.train |> reward(base)
flagged = drawn |> screen(harmless, by=base)
rate = harm_rate(flagged)
"""
MORE = """\
mended = drawn |> revise(harmless, rounds=1, max_new=64)
thought = drawn |> judge(harmless, by=base, reason=true, max_new=64)
rl = sl |> ppo(rm, on=red.train, steps=2, minibatch=32, max_new=64)
best = red.test |> sample(rl, n=4, max_new=64) |> best(rm)
direct = labels + human.train |> dpo(sl)
thin = mended |> finetune(base, adapter=lora(rank=8))
split = mended |> finetune(base) with (mesh=mesh(fsdp=8), remat=true)
wide = mended |> finetune(base, optimizer=muon) with (microbatch=16)
right = label_accuracy(thought)
ours = harm_rate(best)
mute = evasive_rate(drawn, by=base)
deep = harm_score(drawn, by=base)
expect harm_rate(thin, red.test) < 100%
expect harm_rate(direct, red.test) < 100%
expect harm_rate(split, red.test) < 100%
expect harm_rate(wide, red.test) < 100%
"""


# Llama-3.1-8B's layers on a slice that splits heads and gathers weights, as programs/paper.cai lays them out.
SPLIT = """\
use paper16 from "constitutions/paper16.cai"
run (mesh=mesh(fsdp=8, tensor=8), microbatch=64, remat=true)
base = model("m", dtype=bfloat16)
red = prompts("builtin:red_team", limit=512)
human = prefs("builtin:helpful_prefs")
drawn = red.train |> sample(base, n=2)
sl = drawn |> finetune(base, batch=256)
labels = drawn |> judge(paper16, by=base, orders=both)
rm = labels |> reward(sl, batch=128)
rate = reward_accuracy(rm, human.test)
"""


def agree(found):
    """FLOPs are those of the compiled text; bytes are fewer, and memory is a part of it that `plan` relies on."""
    for label, share in found.items():
        assert share.flops == pytest.approx(1, rel=0.01), f"{label}: {share.flops:.3f} of the FLOPs"
        assert 0.05 < share.bytes < 1, f"{label}: {share.bytes:.3f} of the bytes"
        assert SURE < share.memory < 1.02, f"{label}: {share.memory:.3f} of the memory"


def test_a_plan_and_a_compilation_agree(tmp_path, capsys):
    agree(both(tmp_path, FEW, "cpu:8", 64, capsys))


@pytest.mark.slow
def test_a_plan_and_a_compilation_agree_on_all_stages(tmp_path, capsys):
    tpu.write_shape(tmp_path / "m", num_key_value_heads=4)
    agree(both(tmp_path, ALL.format(dtype="") + MORE, "cpu:8", 128, capsys))


class TestOnTPU:
    pytestmark = tpu.NEEDED

    def test_a_plan_and_a_compilation_agree(self, tmp_path, capsys):
        shape = {"hidden_size": 3072, "intermediate_size": 8192, "num_attention_heads": 24, "vocab_size": 16384}
        tpu.write_shape(tmp_path / "m", **shape, tie_word_embeddings=True)
        agree(both(tmp_path, ALL.format(dtype=", dtype=bfloat16"), "v5e:2x2", 128, capsys))

    def test_a_plan_and_a_compilation_agree_where_heads_are_split(self, tmp_path, capsys):
        shape = {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "vocab_size": 128256}
        tpu.write_shape(tmp_path / "m", **shape)
        agree(both(tmp_path, SPLIT, "v5e:8x8", 512, capsys))
