"""Losses against torch's, and by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from cai_jax.learn import losses

DRAW = np.random.default_rng(0)


def unembedding(width=8, vocab=11):
    return DRAW.normal(size=(width, vocab)).astype(np.float32)


@pytest.mark.parametrize(("chunk", "temperature"), [(1, 1.0), (3, 0.7), (64, 1.0)])
def test_token_logprobs_and_their_gradients_are_torchs(chunk, temperature):
    hidden, kernel = DRAW.normal(size=(3, 7, 8)).astype(np.float32), unembedding()
    targets, keep = DRAW.integers(0, 11, (3, 7)), DRAW.random((3, 7)) < 0.4
    keep[1] = False

    @jax.jit
    @partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    def loss(hidden, kernel):
        found, entropy = losses.token_logprobs(
            lambda h: h @ kernel, hidden, targets, keep, temperature=temperature, chunk=chunk
        )
        return jnp.sum(jnp.sin(found)), (found, entropy)

    (_, (found, entropy)), grads = loss(hidden, kernel)

    theirs = [torch.tensor(x, requires_grad=True) for x in (hidden, kernel)]
    log_softmax = torch.log_softmax(theirs[0] @ theirs[1] / temperature, -1)
    chosen = torch.gather(log_softmax, -1, torch.tensor(targets)[..., None])[..., 0] * torch.tensor(keep)
    torch.sin(chosen).sum().backward()
    spread = -(log_softmax.exp() * log_softmax).sum(-1) * torch.tensor(keep)
    np.testing.assert_allclose(found, chosen.detach(), atol=1e-5)
    np.testing.assert_allclose(entropy, spread.detach(), atol=1e-5)
    np.testing.assert_allclose(grads[0], theirs[0].grad, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grads[1], theirs[1].grad, rtol=1e-4, atol=1e-5)


def test_no_buffer_of_all_logits():
    rows, length, vocab = 4, 64, 977

    def loss(hidden, kernel):
        keep = jnp.ones((rows, length), bool)
        targets = jnp.zeros((rows, length), jnp.int32)
        return losses.token_logprobs(lambda h: h @ kernel, hidden, targets, keep, chunk=8)[0].sum()

    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((rows, length, 8), (8, vocab))]
    compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*shapes).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < rows * length * vocab * 4


def test_bradley_terry_and_its_gradient_on_soft_labels_are_torchs():
    first, second = DRAW.normal(size=(2, 9)).astype(np.float32) * 3
    p = np.array([0, 1, 0.5, 0.3, 0.9, 0.49, 0.51, 0.6, 0.4], np.float32)
    loss = jax.value_and_grad(lambda a, b: losses.bradley_terry(a, b, p).sum(), argnums=(0, 1))
    ours, grads = loss(first, second)

    a, b = (torch.tensor(x, requires_grad=True) for x in (first, second))
    theirs = torch.nn.functional.binary_cross_entropy_with_logits(a - b, torch.tensor(p), reduction="sum")
    theirs.backward()
    np.testing.assert_allclose(ours, theirs.item(), rtol=1e-6)
    np.testing.assert_allclose(grads[0], a.grad, atol=1e-6)
    np.testing.assert_allclose(grads[1], b.grad, atol=1e-6)


def test_bradley_terry_by_hand():
    # Equal scores cost log 2 whatever the label; σ(log 3) = 3/4.
    assert losses.bradley_terry(jnp.float32(2.0), jnp.float32(2.0), 0.9) == pytest.approx(np.log(2), rel=1e-6)
    expected = -0.25 * np.log(0.75) - 0.75 * np.log(0.25)
    assert losses.bradley_terry(jnp.log(3.0), jnp.float32(0.0), 0.25) == pytest.approx(expected, rel=1e-6)
    # The log-sigmoid of a large margin must neither overflow nor lose its slope.
    assert losses.bradley_terry(jnp.float32(-200.0), jnp.float32(0.0), 1.0) == pytest.approx(200.0)


def test_clipped_policy_by_hand():
    ratio = jnp.array([1.5, 1.5, 0.5, 0.5, 1.1, 9.0])
    advantages = jnp.array([2.0, -2.0, 2.0, -2.0, 2.0, -2.0])
    loss, clipped = losses.clipped_policy(ratio, advantages, clip=0.2)
    np.testing.assert_allclose(loss, [-2.4, 3.0, -1.0, 1.6, -2.2, 18.0], rtol=1e-6)
    assert clipped.tolist() == [True, False, False, True, False, False]
    loss, _ = losses.clipped_policy(ratio, advantages, clip=0.2, dual_clip=3.0)
    np.testing.assert_allclose(loss, [-2.4, 3.0, -1.0, 1.6, -2.2, 6.0], rtol=1e-6)


def test_clipped_value_by_hand():
    # Old value 1, held within [0.8, 1.2]; the larger of the two errors counts.
    values, returns = jnp.array([2.0, 2.0, 1.1]), jnp.array([2.0, 0.0, 1.0])
    loss, clipped = losses.clipped_value(values, jnp.ones(3), returns, clip=0.2)
    np.testing.assert_allclose(loss, [0.5 * 0.8**2, 0.5 * 2.0**2, 0.5 * 0.1**2], rtol=1e-5)
    assert clipped.tolist() == [True, False, False]
