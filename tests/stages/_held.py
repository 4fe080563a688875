"""What lies in memory beside the steps of a program; run with two virtual CPU devices (tests/forecast/test_steps.py).

Prints {mesh: {node: {name: bytes per device}}}, of a node's first step.
"""

import json
import sys
from pathlib import Path

import jax

from cai_jax.forecast import aot
from cai_jax.parallel import target
from cai_jax.report import compiled_steps
from cai_jax.runs import programs
from cai_jax.stages import registry

PROGRAM = """\
run (mesh=mesh({axis}=2))
red = prompts("builtin:red_team")
human = prefs("builtin:helpful_prefs")
base = model("init:tiny")
first = red.train |> sample(base, max_new=8)
sl = first |> finetune(base, batch=4, steps=2, length=128)
rm = human.train |> reward(base, epochs=1, batch=4, length=128, adapter=lora(rank=2))
rl = base |> ppo(rm, on=red.train, batch=4, max_new=8, steps=1, adapter=lora(rank=2))
"""


def main():
    found = {}
    for axis in ("data", "fsdp"):
        file = Path(sys.argv[1]) / f"{axis}.cai"
        file.write_text(PROGRAM.format(axis=axis))
        plan = programs.planned(programs.checked(file, file.read_bytes(), (), registry()), registry())
        with target.compiling_for(jax.devices()):
            steps = {label: make({})[0] for label, make in compiled_steps.described(plan, registry(), 32)}
        found[axis] = {
            label: {name: aot.bytes_per_chip(tree) for name, tree in step.others().items()}
            for label, step in steps.items()
        }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
