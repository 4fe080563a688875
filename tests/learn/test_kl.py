"""Estimators and controllers of divergence, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from cai_jax.learn import kl

P = np.array([0.5, 0.3, 0.2])
Q = np.array([0.2, 0.2, 0.6])


@pytest.mark.parametrize("estimator", [kl.k1, kl.k3])
def test_estimators_are_unbiased(estimator):
    exact = np.sum(P * np.log(P / Q))
    found = np.sum(P * np.asarray(estimator(jnp.log(P), jnp.log(Q))))
    assert found == pytest.approx(exact, rel=1e-5)


def test_k3_is_never_negative_and_zero_only_for_equals():
    ratios = jnp.linspace(-5, 5, 101)
    values = np.asarray(kl.k3(jnp.zeros(101), ratios))
    assert (values >= 0).all()
    assert values[50] == pytest.approx(0, abs=1e-12)
    assert (np.delete(values, 50) > 1e-3).all()


def test_adaptive_controller_by_hand():
    settings = kl.KL(coefficient=0.1, target=6.0, horizon=1000)
    beta = jnp.float32(0.1)
    # 10 % above target over 100 replies: β grows by 1 %.
    assert kl.control(settings, beta, 6.6, 100) == pytest.approx(0.1 * 1.01, rel=1e-5)
    # The error is clipped to ±20 %.
    assert kl.control(settings, beta, 60.0, 100) == pytest.approx(0.1 * 1.02, rel=1e-5)
    assert kl.control(settings, beta, 0.0, 100) == pytest.approx(0.1 * 0.98, rel=1e-5)
    assert kl.control(settings, beta, 6.0, 100) == pytest.approx(0.1, rel=1e-6)


def test_fixed_controller_stays():
    assert kl.control(kl.KL(coefficient=0.05), jnp.float32(0.05), 60.0, 100) == jnp.float32(0.05)
