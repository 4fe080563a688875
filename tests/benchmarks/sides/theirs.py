"""transformers on torch, at its best: inference mode, sdpa, logits only where they are needed, rows sorted by length.

Not torch.compile: the first call for each of the many shapes takes longer than it would save here. Each function takes
the batch size, and for generation the kind of cache; the benchmarks try a few and keep the best.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from transformers import (
    DynamicCache,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    StoppingCriteria,
    StoppingCriteriaList,
)

from cai_jax.models import shapes
from tests.benchmarks import machine, works

PAD = 0


def load(source: str) -> LlamaForCausalLM:
    """A model directory, or the name of a shape, which gets random bfloat16 weights."""
    torch.set_num_threads(_physical_cores())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if Path(source).is_dir():
        model = LlamaForCausalLM.from_pretrained(source, attn_implementation="sdpa").to(device)
    else:
        config = LlamaConfig(**shapes.SHAPES[source].to_hf(), attn_implementation="sdpa")
        with torch.device(device):
            model = LlamaForCausalLM._from_config(config, dtype=torch.bfloat16)
    model.generation_config = GenerationConfig(pad_token_id=PAD)  # which has no stop id
    return model.eval()


def ceilings(model: LlamaForCausalLM, work: works.Sampling) -> Callable[[], dict]:
    """What torch reaches on this machine, in the model's dtype (tests/benchmarks/machine.py)."""
    own = model.config.hidden_size, model.config.intermediate_size
    like = {"dtype": model.dtype, "device": model.device}

    def gemm(rows: int, width: int, inner: int) -> Callable[[], Any]:
        left, right = torch.ones(rows, width, **like), torch.ones(width, inner, **like)
        product = torch.empty(rows, inner, **like)
        return lambda: _finished(torch.mm(left, right, out=product))

    long, other = torch.ones(machine.STREAM, **like), torch.ones(machine.STREAM, **like)
    streams = [(2, lambda: _finished(other.copy_(long))), (1, lambda: _finished(long.sum()))]
    return lambda: machine.measure([gemm], own, streams, long.nbytes)


def sampling(model: LlamaForCausalLM, work: works.Sampling, batch: int, cache: str) -> Callable[[], list]:
    prompts, settings = work.prompts(), _settings(work.new, work.temperature, cache)
    return lambda: [reply for texts in _batches(prompts, batch) for reply in _generate(model, texts, settings)]


def mixed(model: LlamaForCausalLM, work: works.Mixed, batch: int, cache: str) -> Callable[[], list]:
    """A batch runs until its last row has reached its length; rows are sorted by the length of their prompt."""
    rows = sorted(zip(work.prompts(), work.lengths, strict=True), key=lambda row: len(row[0]))
    settings = _settings(work.most, 1.0, cache)

    def call() -> list:
        made = []
        for part in _batches(rows, batch):
            lengths = [length for _, length in part]
            replies = _generate(model, [ids for ids, _ in part], settings, lengths)
            made += [len(reply[:length]) for reply, length in zip(replies, lengths, strict=True)]
        return made

    return call


def critique(model: LlamaForCausalLM, work: works.Critique, batch: int, cache: str, take: int) -> Callable[[], list]:
    """The first `take` rows; every prompt with its few-shots."""
    shots, settings = work.few_shots(), _settings(work.new, work.temperature, cache)
    rows = list(zip(work.prompts(), work.replies(), strict=True))[:take]

    def call() -> list:
        made = []
        for part in _batches(rows, batch):
            replies = [reply for _, reply in part]
            for asks in work.requests():
                texts = [prompt + reply for (prompt, _), reply in zip(part, replies, strict=True)]
                for ask in asks:
                    texts = [text + ask for text in texts]
                    replies = _generate(model, [shots + text for text in texts], settings)
                    texts = [text + reply for text, reply in zip(texts, replies, strict=True)]
            made += replies
        return made

    return call


def judging(model: LlamaForCausalLM, work: works.Judging, batch: int, take: int, reuse: bool) -> Callable[[], list]:
    """The first `take` questions; reuse gives every batch the few-shots' keys and values, which are read once.

    That reading is not timed: the questions taken would pay as much for it as all of them. All questions are of
    one length, so that nothing is padded and attention needs no mask.
    """
    shots, questions, shared = work.few_shots(), work.questions()[:take], DynamicCache()
    a, b = work.options
    if reuse:
        _logits(model, [shots], shared)

    def call() -> list:
        made = []
        for part in _batches(questions, batch):
            if reuse:
                logits = _logits(model, part, _expanded(shared, len(part)))
            else:
                logits = _logits(model, [shots + text for text in part])
            made += torch.sigmoid((logits[:, a] - logits[:, b]).float()).tolist()
        return made

    return call


def logprobs(model: LlamaForCausalLM, work: works.Logprobs, batch: int) -> Callable[[], list]:
    texts = work.texts_with_replies()

    @torch.inference_mode()
    def call() -> list:
        made = []
        for part in _batches(texts, batch):
            tokens = _tensor(model, part)
            logits = model(tokens[:, :-1], use_cache=False, logits_to_keep=work.new).logits
            # Cheaper than a log-softmax of all the vocabulary.
            chosen = logits.gather(-1, tokens[:, -work.new :, None])[..., 0].float()
            made += (chosen - logits.float().logsumexp(-1)).tolist()
        return made

    return call


def sft(model: LlamaForCausalLM, work: works.Sft) -> Callable[[], float]:
    """A step; its call returns the loss before it. Weights are float32; a bfloat16 model computes under autocast."""
    half = model.dtype == torch.bfloat16
    trained = copy.deepcopy(model).float().train()
    # The fused kernel is torch's fastest AdamW.
    adamw = torch.optim.AdamW(
        trained.parameters(), work.learning_rate, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0, fused=True
    )
    tokens = _tensor(model, work.batch())

    def call() -> float:
        adamw.zero_grad()
        with torch.autocast(model.device.type, torch.bfloat16, enabled=half):
            logits = trained(tokens[:, :-1], use_cache=False).logits
        loss = F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), work.clip)
        adamw.step()
        return _finished(loss).item()

    return call


class _AtLength(StoppingCriteria):
    """Ends each row at its own length; after that it is padded, but computed on until all rows have ended."""

    def __init__(self, prompt: int, lengths: torch.Tensor) -> None:
        self.ends = prompt + lengths

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return input_ids.shape[1] >= self.ends


def _settings(new: int, temperature: float, cache: str) -> dict[str, Any]:
    whole = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    draws = whole if temperature else {"do_sample": False}
    return draws | {"max_new_tokens": new, "cache_implementation": None if cache == "dynamic" else cache}


@torch.inference_mode()
def _generate(
    model: LlamaForCausalLM, texts: list[works.Ids], settings: dict[str, Any], lengths: list[int] | None = None
) -> list[works.Ids]:
    width = max(map(len, texts))
    tokens = _tensor(model, [[PAD] * (width - len(text)) + text for text in texts])
    criteria = StoppingCriteriaList()
    if lengths is not None:
        criteria.append(_AtLength(width, torch.tensor(lengths, device=model.device)))
    made = model.generate(tokens, attention_mask=(tokens != PAD).long(), stopping_criteria=criteria, **settings)
    return made[:, width:].tolist()


@torch.inference_mode()
def _logits(model: LlamaForCausalLM, texts: list[works.Ids], cache: DynamicCache | None = None) -> torch.Tensor:
    """Logits `[rows, V]` after the texts, which stand behind those in the cache and are added to it."""
    # By position: what the cache's parameter is called depends on the version of transformers.
    return model(_tensor(model, texts), None, None, cache, use_cache=cache is not None, logits_to_keep=1).logits[:, -1]


def _expanded(cache: DynamicCache, rows: int) -> DynamicCache:
    """One row's cache for many rows, without a copy."""
    wide = copy.copy(cache)
    wide.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in wide.layers:
        layer.keys = layer.keys.expand(rows, -1, -1, -1)
        layer.values = layer.values.expand(rows, -1, -1, -1)
    return wide


def _batches(rows: list, size: int) -> Iterator[list]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _tensor(model: LlamaForCausalLM, rows: list[works.Ids]) -> torch.Tensor:
    return torch.tensor(rows, device=model.device)


def _finished(result: torch.Tensor) -> torch.Tensor:
    """`result`, once a GPU has computed it and all that was asked before it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result


def _physical_cores() -> int:
    """Cores that this process may use, two threads of one core counted once."""
    siblings = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    try:
        return len({Path(siblings.format(number)).read_text() for number in os.sched_getaffinity(0)})
    except (AttributeError, OSError):  # another system than Linux, or a container without this folder
        return os.cpu_count() or 1
