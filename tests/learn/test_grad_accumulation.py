"""What steps share in summing gradients."""

import jax.numpy as jnp
import numpy as np
import pytest

from cai_jax.learn import grad_accumulation


@pytest.mark.parametrize("lost", [np.nan, np.inf, -np.inf])
def test_leaves_that_are_not_finite_are_told_apart(lost):
    grads = {"a": jnp.ones(3), "b": {"c": jnp.array([1.0, lost]), "d": jnp.zeros((2, 2))}}
    assert grad_accumulation.finite(grads).tolist() == [True, False, True]
