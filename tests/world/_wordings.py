"""Every wording of every kind of reply, put together apart from the code under test."""

from __future__ import annotations

import itertools

from cai_jax.world import replies

FIXED = {kind: ["".join(parts) for parts in itertools.product(*lists)] for kind, lists in replies._FIXED.items()}
# Of the plans every opener, plan and step, though not every choice of three steps.
COMPLIES = [
    f"{opener} {plan.format(*(steps[(i + j) % len(steps)] for j in (0, 1, 2)))}"
    for steps in (replies._STEPS,)
    for opener, plan, i in itertools.product(replies._OPENERS, replies._PLANS, range(len(steps)))
]
