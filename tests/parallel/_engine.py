"""What the engine makes of one model on a mesh and on one device, for _eight_devices.py and _two_processes.py."""

import re

import jax
import numpy as np

from cai_jax.engine import batch_shapes, decode_steps, option_scoring, prefix_cache
from cai_jax.engine.generate import Request, generate
from cai_jax.engine.generation_config import GenerationConfig
from cai_jax.engine.option_tail import Tail
from cai_jax.engine.sampling import SamplingParams
from cai_jax.models import decoder, lora
from cai_jax.models.config import Config
from cai_jax.parallel.placement import on_mesh_of
from cai_jax.parallel.sharding_rules import SERVED, shardings
from tests.learn import _toy as toy

CONFIG = Config(vocab_size=64, hidden_size=32, layers=2, heads=4, kv_heads=2, head_dim=8, intermediate_size=48)
SHOTS = list(range(1, 20))


def params(mesh, config=CONFIG, rank=0):
    """The same model on one device, or on a mesh; with an adapter of this rank."""
    made = jax.device_get(decoder.init(config, jax.random.key(3)))
    if rank:
        made = jax.device_get(lora.joined(made, toy.adapter(4, rank, config)))
    return jax.device_put(made, None if mesh is None else shardings(made, mesh, SERVED))


def texts(lengths, seed):
    draw = np.random.default_rng(seed)
    return [draw.integers(1, 24, length).tolist() for length in lengths]


def run(mesh, config, rank):
    """Replies, and arrays of log-probabilities: of sampled and greedy tokens, and of options."""
    batch_shapes.compile_cost = lambda: 0.0  # so that even a toy shares beginnings at every depth
    weights = params(mesh, config, rank)
    shots = prefix_cache.make_prefix(weights, config, SHOTS)
    # More prompts than slots, and a last batch that does not fill its rows.
    prompts = texts([3, 9, 5, 12, 7, 4, 6, 8, 11, 2, 5], 0)
    requests = [Request(ids, np.array([0, row], np.uint32)) for row, ids in enumerate(prompts)]
    replies = []
    for temperature, top_p in ((1.0, 1.0), (1.0, 0.9), (0.0, 1.0)):
        settings = GenerationConfig(8, temperature, top_p, stop_ids=(2,), slots=8, chunk=3)
        replies += sorted(generate(weights, config, requests, settings, prefix=shots), key=lambda each: each.index)
    talks, principles = texts([14, 17, 13], 1), texts([15, 13], 2)
    rows = [[*talk, *principle, order, 1] for talk in talks for principle in principles for order in (3, 4)]
    scores = option_scoring.score_options(weights, config, rows, [[4], [5, 6]], prefix=shots)
    return [reply.ids for reply in replies], [scores, *(np.array(reply.logprobs) for reply in replies)]


def difference(mesh, config=CONFIG, rank=0):
    """The largest difference of a log-probability from one device; None where a text differs."""
    (ids, found), (alone, wanted) = run(mesh, config, rank), run(None, config, rank)
    return max(float(abs(a - b).max()) for a, b in zip(found, wanted, strict=True)) if ids == alone else None


def collectives(mesh):
    """By step, what it sends between devices within a layer: kinds of collectives with the module they come from."""
    weights = params(mesh)
    with on_mesh_of(weights):
        shots = prefix_cache.make_prefix(weights, CONFIG, SHOTS)
        state = decode_steps.empty(CONFIG, 8, 32, 16, "float32")
        numbers = np.arange(8, dtype=np.int32)
        keys, zeros = np.zeros((8, 2), np.uint32), np.zeros_like(numbers)
        fresh = decode_steps.Texts(np.ones((8, 16), np.int32), numbers + 1, numbers, keys, zeros, numbers)
        knobs = SamplingParams(np.float32(1), np.float32(1), np.full(16, -1, np.int32), np.int32(16))
        idle, tail = np.zeros(8, bool), Tail.of([[4], [5, 6]])
        above = ((prefix_cache.read_prefix(weights, CONFIG, fresh.rows, shots), numbers + 1),)
        compiled = {
            "fill": decode_steps.fill.lower(weights, CONFIG, state, fresh, shots),
            "decode": decode_steps.decode.lower(weights, CONFIG, 4, state, idle, np.int32(0), knobs, shots),
            "score": option_scoring._score.lower(
                weights, CONFIG, fresh.rows, numbers + 1, tail, above, numbers[None], shots
            ),
        }  # fmt: skip
    kinds = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
    inside = re.compile(rf' ({kinds})(?:-start)?\(.*op_name="[^"]*/layers_\d+/([^"/]*)[^"]*"')
    return {name: sorted(map(list, inside.findall(step.compile().as_text()))) for name, step in compiled.items()}
