"""`cai-jax plan` beside `cai-jax compile`: what a node's steps come to in the one and in the other."""

import json
from typing import NamedTuple

from cai_jax import cli
from tests.support.compiling import called


class Shares(NamedTuple):
    """What is planned of a node, over what is compiled: FLOPs and bytes of all devices, memory of one."""

    flops: float
    bytes: float
    memory: float


def both(folder, program, topology, prompt, capsys):
    """{label of a node that has steps: Shares}."""
    words = ["--topology", topology, "--prompt-tokens", str(prompt), "--json"]
    done = called(folder, *words, program=program)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    compiled = {}
    for step in found["steps"]:
        flops, moved, memory = compiled.get(step["node"], (0.0, 0.0, 0.0))
        calls = step["calls"] * found["devices"]
        done = flops + calls * step["flops"], moved + calls * step["bytes"], max(memory, step["memory"])
        compiled[step["node"]] = done
    capsys.readouterr()
    cli.cli.main(["plan", str(folder / "p.cai"), "--out", str(folder / "runs"), *words], standalone_mode=False)
    planned = {node["label"]: node for node in json.loads(capsys.readouterr().out)["nodes"]}
    assert {label for label, node in planned.items() if node["flops"]} == compiled.keys()
    return {
        label: Shares(*(planned[label][name] / value for name, value in zip(Shares._fields, values, strict=True)))
        for label, values in compiled.items()
    }
