"""Evolved networks as torch modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from nasx.spaces.networks import Network

__all__ = ["EvolvedModule"]


class EvolvedModule(nn.Module):
    """What a `nasx.spaces.Network` computes, with weights that can be trained.

    Nodes that no output depends on are left out.

    Parameters
    ----------
    network : Network
        The network, feed-forward or recurrent.
    dtype : torch.dtype, optional
        Of the weights; float64 by default.

    Attributes
    ----------
    weights : torch.nn.ParameterList
        Of each node that counts, the weights of its enabled connections, in the order of their innovation.

    Examples
    --------
    >>> from nasx.spaces import Topology
    >>> module = EvolvedModule(Topology(inputs=2, outputs=1).sample(1)[0])
    >>> module(torch.zeros(5, 2, dtype=torch.float64)).shape
    torch.Size([5, 1])
    """

    def __init__(self, network: Network, *, dtype: Any = None) -> None:
        super().__init__()
        space = network.space
        self.inputs, self.bias, self.recurrent = space.inputs, space.bias, space.recurrent
        sources = space.inputs + space.bias
        outputs = list(range(sources, sources + space.outputs))
        incoming: dict[int, list[tuple[int, float]]] = {node["id"]: [] for node in network["nodes"]}
        for link in network["connections"]:
            if link["enabled"]:
                incoming[link["target"]].append((link["source"], link["weight"]))
        order = _order(outputs, incoming)
        # Where a value stands: inputs, bias, then the nodes in the order of computation.
        place = {source: source for source in range(sources)}
        place |= {node: sources + i for i, node in enumerate(order)}
        self.sources = [[place[source] for source, _ in incoming[node]] for node in order]
        self.outputs = [place[node] for node in outputs]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.tensor([weight for _, weight in incoming[node]], dtype=dtype or torch.float64))
            for node in order
        )
        what = {node["id"]: node for node in network["nodes"]}
        self.activations = [what[node]["activation"] for node in order]
        self.aggregations = [what[node]["aggregation"] for node in order]

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(rows, inputs)`` to ``(rows, outputs)``; ``(rows, steps, inputs)`` if recurrent."""
        if not self.recurrent:
            x = x.flatten(1)
            values = self._begin(x)
            for node in range(len(self.weights)):
                values.append(self._node(node, values, x))
            return torch.stack([values[place] for place in self.outputs], dim=1)
        nodes = [x.new_zeros(len(x)) for _ in self.weights]
        found = []
        for step in range(x.shape[1]):
            now = x[:, step]
            values = self._begin(now) + nodes
            nodes = [self._node(node, values, now) for node in range(len(self.weights))]
            after = self._begin(now) + nodes
            found.append(torch.stack([after[place] for place in self.outputs], dim=1))
        return torch.stack(found, dim=1)

    def _begin(self, x: Tensor) -> list[Tensor]:
        values = list(x.unbind(1))
        return [*values, torch.ones_like(values[0])] if self.bias else values

    def _node(self, node: int, values: list[Tensor], x: Tensor) -> Tensor:
        sources = self.sources[node]
        if not sources:
            return _ACTIVATIONS[self.activations[node]](x.new_zeros(len(x)))
        terms = torch.stack([values[place] for place in sources], dim=1) * self.weights[node]
        return _ACTIVATIONS[self.activations[node]](_AGGREGATIONS[self.aggregations[node]](terms))


def _order(outputs: list[int], incoming: dict[int, list[tuple[int, float]]]) -> list[int]:
    """Put the nodes that outputs depend on in an order in which each follows what it reads, if it can."""
    order: list[int] = []
    seen: set[int] = set()
    for output in outputs:
        if output in seen:
            continue
        seen.add(output)
        stack = [(output, iter(incoming[output]))]
        while stack:
            node, rest = stack[-1]
            source = next((s for s, _ in rest if s in incoming and s not in seen), None)
            if source is None:
                order.append(node)
                stack.pop()
            else:
                seen.add(source)
                stack.append((source, iter(incoming[source])))
    return order


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "steep_sigmoid": lambda x: torch.sigmoid(4.9 * x),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gauss": lambda x: torch.exp(-x.square()),
    "sin": torch.sin,
    "identity": lambda x: x,
    "softplus": nn.functional.softplus,
}
_AGGREGATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda terms: terms.sum(1),
    "mean": lambda terms: terms.mean(1),
    "max": lambda terms: terms.amax(1),
    "product": lambda terms: terms.prod(1),
}
