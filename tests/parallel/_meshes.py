"""Run with eight virtual CPU devices (see test_step.py): steps and the engine in the ways not in _eight_devices.py.

Prints one JSON object: for every step and way, the largest difference from one device, for the engine too (None where a
text differs); and "sent", what a step of supervised training sends by kind of collective: on each mesh, and of "looped"
layers, in multiples of the parameters' bytes, and of split "heads" in bytes.
"""

import json
import sys
from dataclasses import replace
from functools import partial

import jax

from cai_jax.forecast import hlo
from cai_jax.learn import optim, sft
from cai_jax.learn.state import TrainState
from cai_jax.parallel.mesh import make_mesh
from cai_jax.parallel.step import compile_step
from tests.learn import _toy as toy
from tests.parallel import _eight_devices as eight
from tests.parallel import _engine as engine

WAYS = {
    "pmap": "pmap",
    "data": make_mesh(8),
    "fsdp": make_mesh(1, 8, 1),
    "tensor": make_mesh(1, 1, 4, devices=jax.devices()[:4]),
    "mixed": make_mesh(2, 2, 2),
}


# More layers than are compiled one by one.
DEEP = replace(eight.CONFIG, layers=10)


def looped(mesh, looped=True):
    """A step of supervised training."""
    step = compile_step(partial(sft.make_step, DEEP, sft.SFT(eight.OPTIM, chunk=4, looped=looped)), mesh)
    state = step.place(TrainState.create(toy.params(0, DEEP), optim.optimizer(eight.OPTIM)))
    return step(state, toy.documents(2, 8))


def moved(mesh, config, trained, frozen=None):
    """Bytes that a step of supervised training sends, by kind of collective."""
    settings = sft.SFT(eight.OPTIM, chunk=4, looped=frozen is None)
    step = compile_step(partial(sft.make_step, config, settings), mesh, frozen=frozen)
    state = TrainState.create(trained, optim.optimizer(eight.OPTIM))
    lowered = step.lower(*step.shapes(state, toy.documents(1, 8, 0)))
    return hlo.work(lowered.compile().as_text()).moved


def sent(mesh, config=eight.CONFIG):
    params = toy.params(0, config)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    return {kind: each / size for kind, each in moved(mesh, config, params).items()}


def sent_with_heads_split():
    """What full training and that of an adapter of rank 3 send over four devices, in bytes, by kind."""
    config = replace(eight.CONFIG, heads=4, kv_heads=4)
    params = toy.params(0, config)
    full = moved(WAYS["tensor"], config, params)
    return {"full": full, "adapter": moved(WAYS["tensor"], config, toy.adapter(1, 3, config), params)}


def main():
    found = {"sent": {name: sent(WAYS[name]) for name in ("data", "fsdp")}}
    found["sent"]["looped"] = sent(WAYS["fsdp"], DEEP)
    found["sent"]["heads"] = sent_with_heads_split()
    alone = jax.device_get(looped("one", looped=False))
    found |= {f"looped {name}": eight.difference(looped(WAYS[name]), alone) for name in ("pmap", "fsdp", "mixed")}
    for step, (run, ways) in eight.CASES.items():
        alone = jax.device_get(run("one"))
        for name, way in WAYS.items():
            if name not in ways:
                found[f"{step} {name}"] = eight.difference(run(way), alone)
    found["engine data"] = engine.difference(WAYS["data"])
    # A vocabulary and heads that do not divide stay whole.
    found["engine odd"] = engine.difference(WAYS["mixed"], replace(engine.CONFIG, vocab_size=33, kv_heads=1))
    found["engine adapter"] = engine.difference(WAYS["mixed"], rank=3)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
