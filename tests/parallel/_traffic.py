"""Bytes of programs without loops, compiled for a TPU, as counted here and by XLA.

Run on its own: see tests/forecast/test_traffic.py.
"""

import json
import sys

import jax
import jax.numpy as jnp

from cai_jax.forecast import aot, hlo


def programs():
    """What keeps nothing on the chip from one instruction to the next, which XLA would count as well."""

    def product(x, w):
        return x @ w

    def moments(p, m, v, g):
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        return p - m / (jnp.sqrt(v) + 1e-8), m, v

    def changed(cache, row, place):
        return jax.lax.dynamic_update_slice(cache, row, (place, 0)), jnp.sum(cache.astype("float32"))

    yield "product", product, (), [((8192, 8192), "bfloat16")] * 2
    yield "softmax", jax.nn.log_softmax, (), [((8192, 32000), "float32")]
    yield "moments", moments, (0, 1, 2), [((16384, 8192), "float32")] * 4
    yield "changed", changed, (0,), [((65536, 4096), "bfloat16"), ((8, 4096), "bfloat16"), ((), "int32")]


def main():
    """Prints {program: [bytes as counted here, XLA's]}."""
    one = jax.sharding.SingleDeviceSharding(aot.topology("v5e:1x1").devices[0])
    found = {}
    for name, function, donated, given in programs():
        shapes = [jax.ShapeDtypeStruct(*each, sharding=one) for each in given]
        traced = jax.jit(function, donate_argnums=donated).trace(*shapes)
        compiled = traced.lower(lowering_platforms=("tpu",)).compile()
        found[name] = [hlo.work(compiled.as_text()).bytes, compiled.cost_analysis()["bytes accessed"]]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
