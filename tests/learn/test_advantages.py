"""Advantages and whitening, against plain Python loops."""

import jax.numpy as jnp
import numpy as np
import pytest

from cai_jax.learn.advantages import gae, whiten
from cai_jax.learn.grad_accumulation import over

DRAW = np.random.default_rng(1)
TOTAL = over(None)


def plain(rewards, values, mask, gamma, lam):
    """Eq. 16 of the paper, written out row by row over the drawn tokens only."""
    advantages = np.zeros(rewards.shape)
    for row in range(rewards.shape[0]):
        drawn = [t for t in range(rewards.shape[1]) if mask[row, t]]
        for i, t in enumerate(drawn):
            for k, u in enumerate(drawn[i:]):
                after = values[row, drawn[i + k + 1]] if i + k + 1 < len(drawn) else 0.0
                delta = rewards[row, u] + gamma * after - values[row, u]
                advantages[row, t] += (gamma * lam) ** k * delta
    return advantages


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.7), (1.0, 1.0), (1.0, 0.0)])
def test_gae_is_the_plain_loop(gamma, lam):
    rewards, values = DRAW.normal(size=(2, 5, 9)).astype(np.float32)
    positions = np.arange(9)
    mask = (positions >= 2) & (positions < np.array([9, 6, 3, 2, 7])[:, None])
    mask[4, 4] = False  # a gap: a token inside the reply that the policy did not draw
    # What stands at masked positions must not matter.
    rewards = np.where(mask, rewards, 1e6).astype(np.float32)
    values = np.where(mask, values, -1e6).astype(np.float32)
    advantages, returns = gae(rewards, values, mask, gamma=gamma, lam=lam)
    expected = plain(rewards, values, mask, gamma, lam)
    np.testing.assert_allclose(advantages, expected, atol=1e-5)
    np.testing.assert_allclose(returns, np.where(mask, expected + values, 0), atol=1e-5)


def test_with_lambda_one_the_return_is_the_sum_of_rewards_to_come():
    rewards = jnp.array([[1.0, 2.0, 4.0]])
    _, returns = gae(rewards, jnp.array([[5.0, -3.0, 0.5]]), jnp.ones((1, 3), bool), lam=1.0)
    np.testing.assert_allclose(returns, [[7.0, 6.0, 4.0]])


def test_whitening():
    x = DRAW.normal(3.0, 5.0, (4, 6)).astype(np.float32)
    mask = DRAW.random((4, 6)) < 0.7
    chosen = x[mask].astype(np.float64)
    ours = np.asarray(whiten(x, mask, TOTAL))
    np.testing.assert_allclose(ours[mask], (chosen - chosen.mean()) / chosen.std(), atol=1e-5)
    assert not ours[~mask].any()
    kept = np.asarray(whiten(x, mask, TOTAL, shift=False))[mask]
    assert kept.mean() == pytest.approx(chosen.mean(), rel=1e-5)
    assert kept.std() == pytest.approx(1.0, rel=1e-5)


def test_whitening_of_equal_entries_is_finite():
    assert not np.asarray(whiten(jnp.full((2, 2), 3.0), jnp.ones((2, 2), bool), TOTAL)).any()
    assert not np.asarray(whiten(jnp.full((2, 2), 3.0), jnp.zeros((2, 2), bool), TOTAL)).any()
