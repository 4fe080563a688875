"""`cai-jax plan` beside `cai-jax compile`: what a node's steps come to in the one and in the other."""

import json

from cai_jax import cli
from cai_jax.forecast import machines
from tests.support.compiling import called


def both(folder, program, topology, prompt, capsys):
    """{label of a node that has steps: (FLOPs planned / compiled, bytes planned / compiled)}, of all devices."""
    words = ["--topology", topology, "--prompt-tokens", str(prompt), "--json"]
    done = called(folder, *words, program=program)
    assert done.returncode == 0, done.stderr
    compiled = {}
    for step in json.loads(done.stdout)["steps"]:
        flops, moved = compiled.get(step["node"], (0.0, 0.0))
        calls = step["calls"] * machines.named(topology).devices
        compiled[step["node"]] = flops + calls * step["flops"], moved + calls * step["bytes"]
    capsys.readouterr()
    cli.cli.main(["plan", str(folder / "p.cai"), "--out", str(folder / "runs"), *words], standalone_mode=False)
    planned = {node["label"]: node for node in json.loads(capsys.readouterr().out)["nodes"]}
    assert {label for label, node in planned.items() if node["flops"]} == compiled.keys()
    return {
        label: (planned[label]["flops"] / flops, planned[label]["bytes"] / moved)
        for label, (flops, moved) in compiled.items()
    }
