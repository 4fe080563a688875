"""Check that a model's folder can be used, before any weight is read. Imports no JAX."""

from __future__ import annotations

from pathlib import Path

from cai_jax.models import hf_layout, peft, safetensors_io
from cai_jax.models.config import Config, read_json
from cai_jax.models.families import FAMILIES
from cai_jax.models.locate import ADAPTER, bases, described
from cai_jax.models.tokenizer import Tokenizer


def verify(path: Path) -> Tokenizer:
    """Return a model's tokenizer, having checked settings, tokenizer and the headers of the weights.

    Raises:
      ModelError: `checkpoint.load` would refuse the model, as far as those files show.
    """
    *adapters, whole = [path, *bases(path)]
    config = Config.from_hf(read_json(whole / "config.json"))
    hf_layout.refuse_shallow(whole, config, hf_layout.of_text(FAMILIES[config.family], safetensors_io.tensors(whole)))
    for adapter in adapters:
        peft.refuse_unsupported(adapter, read_json(adapter / ADAPTER))
        safetensors_io.header(adapter / peft.WEIGHTS)
    return Tokenizer.load(described(path), config)
