"""Errors of models that cannot be used."""

from __future__ import annotations

from cai_jax.errors import UserError


class ModelError(UserError, ValueError):
    """A model that cannot be used.

    The text names the file or value at fault; the part after the last "; " is the cure, which becomes the hint.
    """

    def __init__(self, text: str) -> None:
        message, _, cure = text.rpartition("; ") if "; " in text else (text, "", "")
        super().__init__(message, cure)
        self._text = text

    def __str__(self) -> str:
        return self._text
