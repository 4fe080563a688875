"""cai_jax, called as its stages call it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cai_jax.engine import generate as engine
from cai_jax.engine.generation_config import GenerationConfig
from cai_jax.engine.option_scoring import score_options
from cai_jax.engine.prefix_cache import make_prefix
from cai_jax.learn import optim, ppo, rollout
from cai_jax.learn import sft as supervised
from cai_jax.learn.state import TrainState
from cai_jax.models import checkpoint, decoder, shapes
from tests.benchmarks import machine, works

DRAWS = 4  # draws a row that `drafts` tries


def load(source: str) -> Any:
    """A model directory, or the name of a shape, which gets random bfloat16 weights."""
    if Path(source).is_dir():
        return checkpoint.load(source)
    config = shapes.SHAPES[source]
    abstract = jax.eval_shape(partial(decoder.init, config), jax.random.key(0))
    leaves, tree = jax.tree.flatten(abstract)
    # Leaf by leaf in bfloat16: all of an 8 B model in float32 would not fit beside its copy.
    made = [_random(leaf.shape, jax.random.key(number)) for number, leaf in enumerate(leaves)]
    return SimpleNamespace(config=config, params=jax.tree.unflatten(tree, made))


@partial(jax.jit, static_argnums=0)
def _random(shape: tuple[int, ...], key: jax.Array) -> jax.Array:
    return jax.random.normal(key, shape, jnp.bfloat16) * 0.02 if len(shape) > 1 else jnp.ones(shape, jnp.bfloat16)


def ceilings(model: Any, work: works.Sampling) -> Callable[[], dict]:
    """What XLA and numpy reach on this machine, in the model's dtype (tests/benchmarks/machine.py)."""
    dtype, config = model.params["embed"].dtype, model.config
    own = config.hidden_size, config.intermediate_size
    multiply = jax.jit(jnp.matmul)

    def gemm(rows: int, width: int, inner: int) -> Callable[[], Any]:
        left, right = jnp.ones((rows, width), dtype), jnp.ones((width, inner), dtype)
        return lambda: multiply(left, right).block_until_ready()

    def numpy_gemm(rows: int, width: int, inner: int) -> Callable[[], Any]:
        left, right = np.ones((rows, width), np.float32), np.ones((width, inner), np.float32)
        return lambda: left @ right

    long = jnp.ones(machine.STREAM, dtype)
    copy, total = jax.jit(lambda x: x + 1), jax.jit(lambda x: jnp.sum(x, dtype=jnp.float32))
    streams = [(2, lambda: copy(long).block_until_ready()), (1, lambda: total(long).block_until_ready())]
    makers = [gemm] if jax.default_backend() != "cpu" else [gemm, numpy_gemm]
    return lambda: machine.measure(makers, own, streams, long.nbytes)


def sampling(model: Any, work: works.Sampling) -> Callable[[], list]:
    requests = [engine.Request(ids, _key(row)) for row, ids in enumerate(work.prompts())]
    settings = GenerationConfig(work.new, temperature=work.temperature, slots=work.rows)
    return lambda: _generated(model, requests, settings)


def drafts(model: Any, work: works.Mixed) -> Callable[[], list]:
    """Lengths of DRAWS replies to each row, of which the benchmark chooses those that are spread as it asks."""
    requests = [engine.Request(ids, _key(row, draw)) for row, ids in enumerate(work.prompts()) for draw in range(DRAWS)]

    def call() -> list:
        lengths = [len(ids) for ids in _generated(model, requests, _mixed_settings(work))]
        return [lengths[start : start + DRAWS] for start in range(0, len(lengths), DRAWS)]

    return call


def mixed(model: Any, work: works.Mixed) -> Callable[[], list]:
    rows = zip(work.prompts(), work.draws, strict=True)
    requests = [engine.Request(ids, _key(row, draw)) for row, (ids, draw) in enumerate(rows)]
    return lambda: [len(ids) for ids in _generated(model, requests, _mixed_settings(work))]


def critique(model: Any, work: works.Critique) -> Callable[[], list]:
    shots, prompts, first = work.few_shots(), work.prompts(), work.replies()
    settings = GenerationConfig(work.new, temperature=work.temperature)

    def call() -> list:
        prefix, replies = make_prefix(model.params, model.config, shots), first
        for asks in work.requests():
            texts = [prompt + reply for prompt, reply in zip(prompts, replies, strict=True)]
            for ask in asks:
                texts = [text + ask for text in texts]
                requests = [engine.Request(text, _key(row, len(text))) for row, text in enumerate(texts)]
                replies = _generated(model, requests, settings, prefix)
                texts = [text + reply for text, reply in zip(texts, replies, strict=True)]
        return replies

    return call


def judging(model: Any, work: works.Judging) -> Callable[[], list]:
    shots, questions, options = work.few_shots(), work.questions(), [[option] for option in work.options]

    def call() -> list:
        prefix = make_prefix(model.params, model.config, shots)
        scores = score_options(model.params, model.config, questions, options, prefix=prefix)
        return (1 / (1 + np.exp(scores[:, 1] - scores[:, 0]))).tolist()

    return call


def logprobs(model: Any, work: works.Logprobs, batch: int) -> Callable[[], list]:
    """In micro-batches of `batch` rows."""
    tokens = np.array(work.texts_with_replies(), np.int32).reshape(-1, batch, work.prompt + work.new)
    mask = np.broadcast_to(np.arange(tokens.shape[2]) >= work.prompt, tokens.shape)
    settings = ppo.PPO(dtype=str(model.params["embed"].dtype))
    forward = jax.jit(rollout.make_logprobs(model.config, settings))

    def call() -> list:
        found = np.asarray(forward(model.params, {"tokens": tokens, "mask": mask}))
        return found[..., work.prompt :].reshape(work.rows, -1).tolist()

    return call


def sft(model: Any, work: works.Sft) -> Callable[[], float]:
    """A step; its call returns the loss before it. Weights are float32, activations of the model's dtype."""
    adamw = optim.Optim(work.learning_rate, clip=work.clip)
    settings = supervised.SFT(adamw, dtype=str(model.params["embed"].dtype))
    step = jax.jit(supervised.make_step(model.config, settings), donate_argnums=0)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), model.params)
    state = TrainState.create(params, optim.optimizer(adamw))
    tokens = np.array(work.batch(), np.int32)[None]
    batch = {
        "tokens": tokens,
        "segments": np.ones_like(tokens),
        "positions": np.broadcast_to(np.arange(tokens.shape[2], dtype=np.int32), tokens.shape),
        "weights": np.ones(tokens.shape, np.float32),
    }

    def call() -> float:
        nonlocal state
        state, metrics = step(state, batch)
        jax.block_until_ready(state)
        return float(metrics["loss"])

    return call


def _key(row: int, draw: int = 0) -> np.ndarray:
    return np.array([row, draw], np.uint32)


def _mixed_settings(work: works.Mixed) -> GenerationConfig:
    return GenerationConfig(work.most, stop_ids=tuple(range(works.FIRST, works.FIRST + work.stops)))


def _generated(model: Any, requests: list, settings: GenerationConfig, prefix: Any = None) -> list[works.Ids]:
    replies = engine.generate(model.params, model.config, requests, settings, prefix=prefix)
    return [reply.ids for reply in sorted(replies, key=lambda reply: reply.index)]
