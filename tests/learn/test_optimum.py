"""PPO on a problem whose answer is known: the KL-regularised optimum of a six-armed bandit."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from cai_jax.learn import kl, optim, ppo, rollout
from cai_jax.models import decoder
from tests.learn import _toy as toy

ARMS, BETA, TEMPERATURE = 6, 0.5, 0.8
ITERATIONS, EPOCHS, ROWS = 60, 2, 2048
CONFIG = replace(toy.CONFIG, vocab_size=ARMS)
SCORES = np.array([0.0, 1.0, 0.3, -0.5, 0.7, 0.2], np.float32)


def logits(params):
    """Of the one drawn token, after a prompt of one token."""
    return decoder.unembed(params, CONFIG, decoder.hidden(params, CONFIG, jnp.zeros((1, 1), jnp.int32)))[0, 0]


def sampled(params, key):
    """A rollout of one-token replies: an arm is a token."""
    arms = jax.random.categorical(key, logits(params) / TEMPERATURE, shape=(1, ROWS, 1))
    return {
        "tokens": jnp.concatenate([jnp.zeros_like(arms), arms], -1).astype(jnp.int32),
        "mask": jnp.broadcast_to(jnp.array([False, True]), (1, ROWS, 2)),
        "ended": jnp.ones((1, ROWS), bool),
        "scores": jnp.asarray(SCORES)[arms[..., 0]],
    }


def test_ppo_reaches_the_regularised_optimum():
    adam = optim.Optim(1e-2, b2=0.999, eps=1e-5, schedule="linear", steps=ITERATIONS * EPOCHS)
    settings = ppo.PPO(adam, adam, temperature=TEMPERATURE, kl=kl.KL(BETA))
    reference = toy.params(3, CONFIG)
    start = np.asarray(jax.nn.softmax(logits(reference) / TEMPERATURE))
    optimum = start * np.exp(SCORES / BETA)
    optimum /= optimum.sum()

    draw, log_ref = jax.jit(sampled), jax.jit(rollout.make_logprobs(CONFIG, settings))
    prepare = jax.jit(rollout.make_prepare(CONFIG, settings), donate_argnums=0)
    update = jax.jit(ppo.make_update(CONFIG, settings), donate_argnums=0)
    state = ppo.PPOState.create(settings, reference, ppo.critic_from_policy(reference, CONFIG))
    for iteration in range(ITERATIONS):
        replies = draw(state.policy.params, jax.random.fold_in(jax.random.key(0), iteration))
        replies["reference"] = log_ref(reference, replies)
        state, batch, metrics = prepare(state, replies)
        batch = jax.device_get(batch)
        for epoch in range(EPOCHS):
            for hand in ppo.minibatches(batch, seed=(iteration, epoch), size=ROWS, micro=ROWS):
                state, _ = update(state, hand)

    reached = np.asarray(jax.nn.softmax(logits(state.policy.params) / TEMPERATURE))
    assert 0.5 * np.abs(start - optimum).sum() > 0.2  # there was a way to go
    assert 0.5 * np.abs(reached - optimum).sum() < 0.02
    divergence = np.sum(optimum * np.log(optimum / start))
    assert abs(float(metrics["kl"]) - divergence) < 0.05
