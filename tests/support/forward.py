"""The plain way to a log-probability: the training forward over one text."""

from functools import partial

import jax
import numpy as np

from cai_jax.models import decoder


def forward_logprobs(params, config, ids, temperature=1.0):
    """Log-probabilities of the next token after each of `ids`, float32 `[len(ids), V]`."""
    table = np.zeros((1, config.max_position), np.int32)
    table[0, : len(ids)] = ids
    return np.asarray(_logprobs(params, config, table, temperature))[0, : len(ids)]


@partial(jax.jit, static_argnums=1)
def _logprobs(params, config, table, temperature):
    logits = decoder.unembed(params, config, decoder.hidden(params, config, table))
    return jax.nn.log_softmax(logits / temperature)
