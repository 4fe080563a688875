"""A node before it runs: parameters, input types and the longest prompt are known, weights and data are not.

A stage says once, in `steps(ctx)`, which jitted steps its run takes. Two contexts read that: `cost_context` for `plan`,
which works out what the steps cost, and `compile_context` for `compile`, which makes them from shapes. Where a step
comes in several widths (a prompt's bucket), both take the widest, which needs the most.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cai_jax.lang.signature import Node, Type
from cai_jax.pipeline.row_counts import REQUEST_TOKENS, SHOT_TOKENS

if TYPE_CHECKING:
    from cai_jax.models.config import Config

# The two options of a question are a bracket, a letter and a bracket in most tokenizers.
OPTIONS = [[0, 1, 3], [0, 2, 3]]


@dataclass(frozen=True)
class Input:
    """An artefact that is still to be made (`pipeline.context.Artefact`), and what it is made from."""

    node: Node
    label: str
    inputs: Mapping[str, Any]

    @property
    def type(self) -> Type:
        return self.node.type


def connected(nodes: Iterable[Node], labels: Mapping[str, str]) -> Iterator[Input]:
    """Nodes in topological order as artefacts, each with what it is made from."""
    known: dict[str, Input] = {}
    for node in nodes:
        inputs = {
            name: tuple(known[one] for one in key) if isinstance(key, tuple) else known[key]
            for name, key in node.inputs.items()
        }
        known[node.key] = Input(node, labels.get(node.key, node.stage), inputs)
        yield known[node.key]


class NodeView(ABC):
    """What a stage's `steps` is given, whoever reads them (`stages.protocol.StepContext`).

    Attributes:
      node, params: as a context's (`pipeline.context.Context`).
      inputs: parameter name -> `Input`, or a tuple of them.
      prompt: tokens of the longest prompt of the program.
    """

    def __init__(self, node: Node, inputs: Mapping[str, Any], prompt: int) -> None:
        self.node, self.params, self.inputs, self.prompt = node, node.params, inputs, prompt

    @abstractmethod
    def shots(self, model: Any, constitution: str = "constitution") -> Any:
        """The examples in front of every prompt."""

    @abstractmethod
    def reading_shots(self, model: Any, shots: Any) -> list[Any]:
        """Reading them once."""

    @abstractmethod
    def asking(self, model: Any, name: str, questions: float, longest: int, shots: Any = None) -> list[Any]:
        """Scoring the two options behind so many questions of up to `longest` tokens."""

    @property
    def reply(self) -> int:
        """Tokens of the longest reply that is acted on."""
        for name in ("replies", "data", "of", "prefs"):
            if name in self.inputs:
                return self.inputs[name].type.length or 128
        return 128

    def shot_tokens(self, config: Config, constitution: str = "constitution") -> int:
        """Tokens of the examples in front of every prompt, no more than half of a model's context."""
        if not self.inputs[constitution].node.params.get("fewshots"):
            return 0
        return min(self.params["fewshots"] * SHOT_TOKENS, config.max_position // 2)

    def audits(self, constitution: str, replies: float) -> tuple[float, int]:
        """How many questions ask about every principle of so many replies, and tokens of the longest."""
        principles = self.inputs[constitution].node.params["principles"]
        count = sum(bool(each.get("audit")) for each in principles)
        orders = 1 if self.params.get("orders") == "given" else 2
        return orders * replies * count, self.prompt + self.reply + REQUEST_TOKENS

    def auditing(self, model: Any, constitution: str, replies: float) -> list[Any]:
        """Reading few-shots, and asking about every principle of every reply."""
        shots = self.shots(model, constitution)
        asked = self.asking(model, "audit", *self.audits(constitution, replies), shots)
        return [*self.reading_shots(model, shots), *asked]
