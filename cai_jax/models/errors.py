"""What goes wrong with models."""

from __future__ import annotations


class ModelError(ValueError):
    """A model that cannot be used; the message names the file or value at fault and the cure."""
