"""Adapters in and out of the files of the `peft` library: adapter_config.json and adapter_model.safetensors.

peft has an adapter (arXiv 2106.09685) for every module of transformers, where several of our kernels may be
concatenated (q, k and v of GPT-2): the module's A holds those of its kernels in order, and its B has zeros where
one kernel's ranks meet another's outputs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cai_jax.models import hf_layout, safetensors_io
from cai_jax.models.config import Config, read_json
from cai_jax.models.errors import ModelError
from cai_jax.models.families import FAMILIES
from cai_jax.models.hf_layout import HEAD, Shape, Stored
from cai_jax.models.locate import ADAPTER

WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."  # of peft's wrapper, before the names of transformers
_FILES = ("lora_A", "lora_B")

Leaves = dict[str, np.ndarray]


def write(path: Path, config: Config, adapter: Mapping[str, Any], head: Any | None, base: Path) -> None:
    """Write an adapter into a folder, with a reward model's head kernel `[D]` if it has one.

    Args:
      adapter: our leaves by path ("layers_0/mlp/up_proj_a"), their scale folded in: in the file alpha is the rank.
      base: the folder of the model that it belongs to.
    """
    leaves = {name: np.asarray(leaf) for name, leaf in adapter.items()}
    kernels = {
        name.removesuffix("_a"): (leaf.shape[0], leaves[f"{name.removesuffix('_a')}_b"].shape[1])
        for name, leaf in leaves.items()
        if name.endswith("_a")
    }
    joined = {_module(stored): _joined(stored, leaves) for stored in hf_layout.stored(config, kernels)}
    modules = {module: sides for module, sides in joined.items() if len(sides[0])}  # peft knows no rank of 0
    tensors = {
        f"{_PREFIX}{module}.{file}.weight": side
        for module, sides in modules.items()
        for file, side in zip(_FILES, sides, strict=True)
    }
    if head is not None:
        tensors[_PREFIX + HEAD] = np.asarray(head)[None]
    written = [safetensors_io.Written(name, t.shape, t.dtype, partial(np.asarray, t)) for name, t in tensors.items()]
    safetensors_io.write_file(path / WEIGHTS, written)
    ranks = {module: len(a) for module, (a, _) in modules.items()}
    usual = max(ranks.values(), key=list(ranks.values()).count)
    others = {module: rank for module, rank in ranks.items() if rank != usual}
    values = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if head is None else "SEQ_CLS",
        "base_model_name_or_path": _name(base, path),
        "r": usual,
        "lora_alpha": usual,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": sorted({module.rpartition(".")[2] for module in modules}),
        "modules_to_save": None if head is None else [HEAD.partition(".")[0]],
        "fan_in_fan_out": not FAMILIES[config.family].transposed,
        "bias": "none",
        "lora_dropout": 0.0,
        "inference_mode": True,
    }
    (path / ADAPTER).write_text(json.dumps(values, indent=2) + "\n", "utf-8")


def read(path: Path, config: Config, shapes: Mapping[str, Shape]) -> tuple[Leaves, np.ndarray | None]:
    """Read the adapter in a folder: our leaves by path, its scale folded in; and the head's kernel `[D]`, if any.

    Every kernel has a leaf, of rank 0 where the file has no module for it.

    Args:
      shapes: of the base's leaves, by path.

    Raises:
      ModelError: something is missing, misshapen, or of a kind that is not supported.
    """
    values = read_json(path / ADAPTER)
    refuse_unsupported(path, values)
    files = {name.removeprefix(_PREFIX): tensor for name, tensor in safetensors_io.header(path / WEIGHTS).items()}
    files = hf_layout.of_text(FAMILIES[config.family], files)
    head = files.pop(HEAD, None)
    if head is not None and head.shape != (1, config.hidden_size):
        raise ModelError(f"{path / WEIGHTS}: {HEAD} is no head of one score; {ADAPTER} names another base than its own")
    leaves: Leaves = {}
    kernels = {name: shape for name, shape in shapes.items() if name.endswith("_proj")}
    for stored in hf_layout.stored(config, kernels):
        module = _module(stored)
        inputs, outputs = kernels[stored.leaves[0]][0], sum(kernels[leaf][1] for leaf in stored.leaves)
        in_side, out_side = (files.pop(f"{module}.{file}.weight", None) for file in _FILES)
        if in_side is None and out_side is None:
            a, b = np.zeros((0, inputs), np.float32), np.zeros((outputs, 0), np.float32)
        elif in_side and out_side and _fit(in_side.shape, out_side.shape, inputs, outputs):
            a, b = in_side.whole(), out_side.whole()
            b = b * _scale(values, module, len(a))
        else:
            raise ModelError(
                f"{path / WEIGHTS}: the adapter of {module} does not fit its base, whose kernel is {outputs} x "
                f"{inputs}; {ADAPTER} names another base than it was made for"
            )
        leaves |= _parted(stored, kernels, a, b)
    if files:
        raise ModelError(f"{path / WEIGHTS} holds {min(files)}, which is no adapter of a linear layer of this decoder")
    return leaves, None if head is None else head.whole()[0]


def _fit(a: Shape, b: Shape, inputs: int, outputs: int) -> bool:
    return len(a) == 2 and a[0] > 0 and a[1] == inputs and b == (outputs, a[0])


def _joined(stored: Stored, adapter: Leaves) -> tuple[np.ndarray, np.ndarray]:
    """Return A `[R, in]` and B `[out, R]` of a module, R the sum of its kernels' ranks."""
    a = np.concatenate([adapter[f"{leaf}_a"] for leaf in stored.leaves], axis=1).T
    tall, before = {}, 0
    for leaf in stored.leaves:
        b = adapter[f"{leaf}_b"]
        tall[leaf] = np.zeros((len(a), b.shape[1]), b.dtype)
        tall[leaf][before : before + len(b)] = b
        before += len(b)
    outputs = replace(stored, shape=(sum(b.shape[1] for b in tall.values()), len(a)), transposed=True)
    return np.ascontiguousarray(a), outputs.joined(tall)


def _parted(stored: Stored, kernels: Mapping[str, Shape], a: np.ndarray, b: np.ndarray) -> Leaves:
    """Return our leaves of a module: the inverse of `_joined`."""
    found: Leaves = {}
    for leaf in stored.leaves:
        own = np.concatenate([b[run] for run in stored.outputs(leaf, slice(0, kernels[leaf][1]))])
        # Of several kernels' ranks, a kernel's own are those that reach its outputs.
        used = own.any(axis=0) if len(stored.leaves) > 1 else np.ones(len(a), bool)
        found[f"{leaf}_a"], found[f"{leaf}_b"] = a[used].T, own[:, used].T
    return found


def _module(stored: Stored) -> str:
    return stored.name.removesuffix(".weight")


def _name(base: Path, path: Path) -> str:
    """The name of the base in the file: relative if both are nodes of one cache, which may be moved."""
    base, path = base.resolve(), path.resolve()
    beside = base.parent.parent == path.parent.parent
    return f"../../{base.parent.name}/{base.name}" if beside else str(base)


def _scale(values: Mapping[str, Any], module: str, rank: int) -> float:
    """Return alpha / r of a module; `alpha_pattern` has expressions for the ends of modules' names."""
    patterns = values.get("alpha_pattern") or {}
    try:
        alphas = [alpha for pattern, alpha in patterns.items() if re.fullmatch(rf"(.*\.)?({pattern})", module)]
        alpha = float(alphas[0] if alphas else values.get("lora_alpha", 8))
    except (AttributeError, TypeError, ValueError, OverflowError, re.error) as error:
        raise ModelError(f"{ADAPTER} has a lora_alpha or alpha_pattern that is none ({error}); correct it") from None
    if not math.isfinite(alpha):
        raise ModelError(f"{ADAPTER} has the scale {alpha} for {module}; it is a number")
    return alpha / (math.sqrt(rank) if values.get("use_rslora") else rank)


# How A and B began, where that leaves the base as it is.
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
# What is read above, what shows in the weights' names (and is refused there), and what bears on training alone.
_KNOWN = (
    "alpha_pattern", "base_model_name_or_path", "init_lora_weights", "lora_alpha", "modules_to_save", "peft_type",
    "use_rslora",
    "bias", "lora_bias", "target_parameters", "trainable_token_indices",
    "auto_mapping", "corda_config", "ensure_weight_tying", "eva_config", "exclude_modules", "fan_in_fan_out",
    "inference_mode", "layers_pattern", "layers_to_transform", "loftq_config", "lora_dropout", "lora_ga_config",
    "megatron_core", "peft_version", "qalora_group_size", "r", "rank_pattern", "revision", "runtime_config",
    "target_modules", "task_type", "velora_config",
)  # fmt: skip


def refuse_unsupported(path: Path, values: Mapping[str, Any]) -> None:
    """Raise ModelError if the adapter in a folder, of these settings, does more than add AB to linear layers."""
    if values.get("peft_type") != "LORA":
        raise ModelError(f"{path / ADAPTER} is of the type {values.get('peft_type')!r}; supported: LORA")
    start = values.get("init_lora_weights", True)
    if not any(start is plain or (isinstance(start, str) and start == plain) for plain in _PLAIN_STARTS):
        raise ModelError(
            f"{path / ADAPTER} has init_lora_weights {start!r}, which changes the base; save it as plain LoRA, with "
            "peft's save_pretrained(path_initial_model_for_weight_conversion=…), or merge it into its base"
        )
    for name, value in values.items():
        if value and name not in _KNOWN:
            raise ModelError(f"{path / ADAPTER} sets {name}; merge it into its base, and take the merged weights")
    if not (path / WEIGHTS).is_file():
        raise ModelError(f"{path / WEIGHTS} does not exist, but {ADAPTER} stands beside it; fetch it")
