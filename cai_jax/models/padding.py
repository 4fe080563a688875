"""Padding that a preference model's score survives in transformers."""

from __future__ import annotations

from cai_jax.models.tokenizer import Tokenizer


def with_own_padding(tokenizer: Tokenizer, rows: int) -> Tokenizer:
    """Return the tokenizer with a padding token that ends no text, or without any where none fits.

    transformers reads a score at the last token that is not padding. Where padding and the end of a text are one token,
    that is the token before the end, and the end of a text in a batch looks like padding. Of the added tokens, one that
    is made for padding is preferred, then one that no chat template uses.

    Args:
      rows: of the embedding; ids beyond it cannot be read.
    """
    ends = {tokenizer.eos_id, *tokenizer.stop_ids}
    added = {n: token.content for n, token in tokenizer.added().items() if n < rows and n not in ends}
    pad = tokenizer.pad_id
    if pad is not None and pad not in ends and added.get(pad, "\0") not in tokenizer.template:
        return tokenizer
    fitting = [("pad" not in text.lower(), text in tokenizer.template, number) for number, text in added.items()]
    return tokenizer.padded(min(fitting)[-1] if fitting else None)
