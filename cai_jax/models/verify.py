"""Whether a model's folder can be used, told before any weight is read. Imports no JAX."""

from __future__ import annotations

from pathlib import Path

from cai_jax.models import hf_layout, peft, safetensors_io
from cai_jax.models.config import Config, read_json
from cai_jax.models.families import FAMILIES
from cai_jax.models.locate import ADAPTER, bases, described
from cai_jax.models.tokenizer import Tokenizer


def verify(path: Path) -> Tokenizer:
    """A model's tokenizer; raises ModelError for what `checkpoint.load` refuses, as far as settings, tokenizer and
    weights' headers tell."""
    *adapters, whole = [path, *bases(path)]
    config = Config.from_hf(read_json(whole / "config.json"))
    hf_layout.refuse_shallow(whole, config, hf_layout.of_text(FAMILIES[config.family], safetensors_io.tensors(whole)))
    for adapter in adapters:
        peft.refuse_unsupported(adapter, read_json(adapter / ADAPTER))
        safetensors_io.header(adapter / peft.WEIGHTS)
    return Tokenizer.load(described(path), config)
