"""What people and models say to one another: the turns of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict


class Turn(TypedDict):
    """The words of one side in a conversation; a turn of role "system" may precede all others."""

    role: Literal["system", "human", "assistant"]
    text: str


Turns = Sequence[Turn]
