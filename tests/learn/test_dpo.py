"""DPO against torch and transformers, its known optimum, and what the loss must not depend on."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from cai_jax.learn import dpo, optim
from cai_jax.learn.state import TrainState
from cai_jax.models import checkpoint, decoder
from tests.learn import _toy as toy
from tests.support import llama

SETTINGS = dpo.DPO(optim.Optim(1e-2), beta=0.5, chunk=4)
STEP = dpo.make_step(toy.CONFIG, SETTINGS)
# Five shapes of batch occur below, so the step may be traced as often, however often it is called.
JITTED = jax.jit(chex.assert_max_traces(STEP, n=5), donate_argnums=0)
READ = jax.jit(dpo.make_logprobs(toy.CONFIG, SETTINGS))


def start():
    return TrainState.create(toy.params(), optim.optimizer(SETTINGS.optim))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A model of transformers, the same of ours, and a batch that both read."""
    folder = tmp_path_factory.mktemp("llama")
    model = llama.write(folder)
    batch = toy.replies(1, 6)
    batch["reference"] -= 2.0 * batch["mask"].sum(-1)  # its vocabulary is larger than that of the toy
    batch["tokens"][batch["tokens"] == llama.PAD] = 0  # torch gives padding no gradient, wherever it stands
    return model, checkpoint.load(folder), batch


def written_out(model, batch, beta, normalize, anchor):
    """The loss by torch, of whole log-softmaxes over all positions."""
    tokens, mask = (torch.tensor(batch[name][0]) for name in ("tokens", "mask"))
    logits = model(tokens.reshape(-1, toy.LENGTH).long()).logits[:, :-1]
    each = torch.log_softmax(logits, -1).gather(-1, tokens.reshape(-1, toy.LENGTH)[:, 1:, None].long())[..., 0]
    said = (each * mask.reshape(-1, toy.LENGTH)[:, 1:]).sum(1).reshape(-1, 2)
    counts = mask.sum(-1).clamp(min=1)
    ratio = (said - torch.tensor(batch["reference"][0])) / (counts if normalize else 1)
    h, p = beta * (ratio[:, 0] - ratio[:, 1]), torch.tensor(batch["p"][0])
    total = torch.nn.functional.binary_cross_entropy_with_logits(h, p, reduction="none")
    for row, label in enumerate(batch["p"][0]):
        if label != 0.5:
            preferred = 0 if label > 0.5 else 1
            total[row] = total[row] - anchor * said[row, preferred] / counts[row, preferred]
    weights = torch.tensor(batch["weights"][0])
    return (weights * total).sum() / (weights > 0).sum(), said


@pytest.mark.parametrize(("beta", "normalize", "anchor"), [(0.1, False, 0.0), (2.0, True, 0.0), (0.3, False, 0.7)])
def test_loss_and_gradient_are_those_of_torch_and_transformers(theirs, beta, normalize, anchor):
    model, ours, batch = theirs
    settings = dpo.DPO(optim.Optim(1e-3, clip=0.0), beta, normalize, anchor, chunk=4)
    state = TrainState.create(ours.params, optim.optimizer(settings.optim))
    after, metrics = jax.jit(dpo.make_step(ours.config, settings))(state, batch)
    model.zero_grad()
    loss, said = written_out(model, batch, beta, normalize, anchor)
    loss.backward()
    assert metrics["loss"] == pytest.approx(loss.item(), rel=1e-5)
    read = jax.jit(dpo.make_logprobs(ours.config, settings))(ours.params, batch)
    np.testing.assert_allclose(read[0], said.detach(), rtol=1e-5, atol=1e-5)
    # Adam's first moment is a tenth of the first gradient that it sees.
    grads = jax.tree.map(lambda moment: 10 * np.asarray(moment), optax.tree.get(after.opt_state, "mu"))
    layer = model.model.layers[1]
    for mine, other in (
        (grads["embed"], model.model.embed_tokens.weight.grad),
        (grads["layers_1"]["mlp"]["down_proj"], layer.mlp.down_proj.weight.grad.T),
        (grads["layers_1"]["attention"]["v_proj"], layer.self_attn.v_proj.weight.grad.T),
        (grads["layers_0"]["mlp_norm"], model.model.layers[0].post_attention_layernorm.weight.grad),
    ):
        assert abs(other).max() > 1e-4
        np.testing.assert_allclose(mine, other, rtol=2e-3, atol=2e-6)


def test_losses_by_hand():
    # Rewards 0.5 · (-2 + 4) = 1 and 0.5 · (-6 + 5) = -0.5: h = 1.5.
    said, reference, counts = jnp.array([-2.0, -6.0]), jnp.array([-4.0, -5.0]), jnp.array([2.0, 8.0])
    np.testing.assert_allclose(dpo.rewards(said, reference, counts, beta=0.5), [1.0, -0.5])
    np.testing.assert_allclose(dpo.rewards(said, reference, counts, beta=4.0, normalize=True), [4.0, -0.5])
    for p in (0.0, 0.2, 0.5, 1.0):
        wanted = p * np.log1p(np.exp(-1.5)) + (1 - p) * np.log1p(np.exp(1.5))
        assert dpo.preference_loss(said, reference, counts, jnp.float32(p), beta=0.5) == pytest.approx(wanted, rel=1e-6)
        # The preferred reply costs 2 nats in 2 tokens, or 6 in 8; a label of one half prefers none.
        more = 0.1 * (1.0 if p > 0.5 else 0.75) * (p != 0.5)
        anchored = dpo.preference_loss(said, reference, counts, jnp.float32(p), beta=0.5, anchor=0.1)
        assert anchored == pytest.approx(wanted + more, rel=1e-6)


def test_metrics_are_those_of_the_rewards():
    batch = toy.replies(2, 3)
    said = np.asarray(READ(toy.params(), batch))
    rewards, p, weights = 0.5 * (said - batch["reference"]), batch["p"], batch["weights"]
    _, metrics = JITTED(start(), batch)
    decided = weights * (p != 0.5)
    better = np.where(p > 0.5, 0, 1)[..., None]
    chosen, rejected = (np.take_along_axis(rewards, each, -1)[..., 0] for each in (better, 1 - better))
    mean = lambda values: np.average(values, weights=decided)  # noqa: E731
    assert decided.sum() > 0 and metrics["accuracy"] == pytest.approx(mean(chosen > rejected))
    assert metrics["chosen_reward"] == pytest.approx(mean(chosen), rel=1e-5)
    assert metrics["rejected_reward"] == pytest.approx(mean(rejected), rel=1e-5)
    assert metrics["margin"] == pytest.approx(np.average(abs(chosen - rejected), weights=weights), rel=1e-5)
    kl = np.average((batch["reference"] - said).mean(-1), weights=weights)
    assert metrics["forward_kl"] == pytest.approx(kl, rel=1e-5)
    each = np.take_along_axis(said / np.maximum(batch["mask"].sum(-1), 1), better, -1)[..., 0]
    assert metrics["nll"] == pytest.approx(-mean(each), rel=1e-5)
    assert metrics["weight"] == weights.sum()


def test_a_policy_that_is_its_reference_has_no_reward():
    batch = toy.replies(2, 3)
    batch["reference"], batch["weights"] = np.asarray(READ(toy.params(), batch)), np.ones((2, 3), np.float32)
    _, metrics = JITTED(start(), batch)
    assert metrics["loss"] == pytest.approx(np.log(2), rel=1e-5)
    for name in ("chosen_reward", "rejected_reward", "margin", "forward_kl"):
        assert metrics[name] == pytest.approx(0, abs=1e-5)
    batch["p"][:] = 0.5  # which asks for no other odds
    assert JITTED(start(), batch)[1]["grad_norm"] == pytest.approx(0, abs=1e-5)


def test_what_is_not_of_the_reply_is_not_counted():
    batch = toy.replies(2, 3)
    other = batch | {"tokens": np.where(np.cumsum(batch["mask"][..., ::-1], -1)[..., ::-1] > 0, batch["tokens"], 7)}
    assert not np.array_equal(other["tokens"], batch["tokens"])
    np.testing.assert_array_equal(READ(toy.params(), other), READ(toy.params(), batch))
    assert (np.asarray(READ(toy.params(), batch))[0, 0] == 0).all()  # filler


def test_accumulation_is_the_large_batch():
    batch = toy.replies(2, 3)
    chex.assert_trees_all_close(JITTED(start(), batch), JITTED(start(), toy.joined(batch)), atol=5e-6)


def test_a_weight_counts_in_a_batch_of_one():
    batch = {name: x[:, 1:2] for name, x in toy.replies(1, 3).items()}
    found = []
    for weight in (0.2, 1.0, 1.8):
        batch["weights"] = np.full((1, 1), weight, np.float32)
        found.append(float(JITTED(start(), batch)[1]["loss"]))
    np.testing.assert_allclose(found, np.array([0.2, 1.0, 1.8]) * found[1], rtol=1e-5)


def test_filler_changes_nothing():
    batch = toy.replies(1, 3)
    more = {name: np.concatenate([x, np.zeros_like(x)], axis=1) for name, x in batch.items()}
    chex.assert_trees_all_close(JITTED(start(), more), JITTED(start(), batch), atol=5e-6)


def test_swapping_the_replies_and_the_label_changes_nothing():
    batch = toy.replies(2, 3)
    swapped = {name: batch[name][:, :, ::-1] for name in ("tokens", "mask", "reference")}
    swapped |= {"p": 1 - batch["p"], "weights": batch["weights"]}
    chex.assert_trees_all_close(JITTED(start(), batch), JITTED(start(), swapped), atol=5e-6)


ARMS, BETA = 6, 0.5
SCORES = np.array([0.0, 1.0, 0.3, -0.5, 0.7, 0.2], np.float32)


def test_soft_labels_of_all_pairs_lead_to_the_regularised_optimum():
    """With P(i better than j) = σ(s_i - s_j) for every pair, it is π_ref exp(s / β) / Z (arXiv 2305.18290, eq. 4)."""
    config, adam = replace(toy.CONFIG, vocab_size=ARMS), optim.Optim(1e-2, schedule="linear", steps=150)
    settings, reference = dpo.DPO(adam, beta=BETA), toy.params(3, config)
    pairs = np.array([(i, j) for i in range(ARMS) for j in range(i)])
    tokens = np.stack([np.zeros_like(pairs), pairs], -1)[None].astype(np.int32)
    mask = np.broadcast_to(np.array([False, True]), tokens.shape)
    p = 1 / (1 + np.exp(SCORES[pairs[:, 1]] - SCORES[pairs[:, 0]]))
    batch = {"tokens": tokens, "mask": mask, "p": p[None].astype(np.float32)}
    batch["weights"] = np.ones((1, len(pairs)), np.float32)
    batch["reference"] = np.asarray(jax.jit(dpo.make_logprobs(config, settings))(reference, batch))
    step = jax.jit(dpo.make_step(config, settings), donate_argnums=0)
    state = TrainState.create(reference, optim.optimizer(adam))
    for _ in range(150):
        state, metrics = step(state, batch)

    def policy(params):
        hidden = decoder.hidden(params, config, jnp.zeros((1, 1), jnp.int32))
        return np.asarray(jax.nn.softmax(decoder.unembed(params, config, hidden)[0, 0]))

    optimum = policy(reference) * np.exp(SCORES / BETA)
    optimum /= optimum.sum()
    assert 0.5 * abs(policy(reference) - optimum).sum() > 0.2  # there was a way to go
    assert 0.5 * abs(policy(state.params) - optimum).sum() < 0.01
    # What is left is the entropy of the labels.
    assert metrics["loss"] == pytest.approx(-np.mean(p * np.log(p) + (1 - p) * np.log(1 - p)), abs=1e-4)
