"""`Supernet`: all networks of a space in one, with the parameters that choose among them."""

from __future__ import annotations

import contextlib
import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, KeysView, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nasx.architecture import Architecture
from nasx.nn.mixed import Choice, mix_each
from nasx.nn.parts import Part, joined, row_cells
from nasx.space import Genotypes, Space

__all__ = [
    "EdgeChoices",
    "NamedParameters",
    "Supernet",
    "check_portion",
    "copy_weights",
    "refuse_partial",
    "run_edges",
]

# Architecture parameters begin as normal numbers of this deviation, as in DARTS.
_SCALE = 1e-3


class EdgeChoices(NamedTuple):
    """What runs on a group of edges.

    Parameters
    ----------
    choices : sequence of Tensor, int or None
        For each edge the weights of its operations, the index of the only one, or None: the edge is left out.
    scales : Tensor of shape (edges,), or None
        What each edge's output is multiplied by, if edges are normalised.
    """

    choices: Sequence[Choice | None]
    scales: Tensor | None = None


class NamedParameters(nn.Module):
    """Parameters by any names, also such that no attribute can have, as those of `torch.nn.ParameterDict`.

    Parameters
    ----------
    parameters : mapping of str to torch.nn.Parameter
        In the state they are numbered in this order.

    Examples
    --------
    >>> named = NamedParameters({"body.0": nn.Parameter(torch.ones(2))})
    >>> list(named), tuple(named["body.0"].shape), list(named.state_dict())
    (['body.0'], (2,), ['listed.0'])
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        self.listed = nn.ParameterList(parameters.values())
        self._numbers = {name: i for i, name in enumerate(parameters)}

    def __getitem__(self, name: str) -> nn.Parameter:
        parameter: nn.Parameter = self.listed[self._numbers[name]]
        return parameter

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, name: object) -> bool:
        return name in self._numbers

    def keys(self) -> KeysView[str]:
        """Give the names."""
        return self._numbers.keys()

    def values(self) -> Iterator[nn.Parameter]:
        """Give the parameters."""
        return iter(self.listed)

    def items(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Give names and parameters."""
        return zip(self._numbers, self.listed, strict=True)


class Supernet(nn.Module, ABC):
    """All networks of a space in one module.

    In its forward pass the operations on every edge are weighted by the softmax of their architecture
    parameters, unless `path` chooses one architecture: then only that is computed, with the shared weights.

    Subclasses call `current` in their forward pass, and say how architectures and edges belong together.

    Parameters
    ----------
    space : Space
        Whose networks they are.
    logits : mapping of str to (int, int)
        Groups of edges that share a matrix of architecture parameters: number of edges, and of operations.
    nodes : mapping of str to sequence of int, optional
        The node to which each edge of a group leads, if edges have parameters too: their softmax over the
        edges of a node scales them (the edge normalisation of PC-DARTS).

    Attributes
    ----------
    logits : NamedParameters
        Group -> architecture parameters, ``(edges, operations)``.
    edge_logits : NamedParameters
        Group -> parameters of the edges, ``(edges,)``; empty without edge normalisation.
    temperature : float
        Logits are divided by it.
    edges_kept : {1, 2}
        How many of the edges into a node their parameters choose: with 2, the softmax is over pairs of edges,
        whose parameters add up, and the weight of an edge is that of all pairs that it is in [1]_. So the two
        strongest edges come to weigh 1 each as the temperature falls, as in a cell that keeps two.

    References
    ----------
    .. [1] T. Elsken et al., "Meta-Learning of Neural Architectures for Few-Shot Learning", CVPR 2020.
    """

    def __init__(
        self,
        space: Space,
        logits: Mapping[str, tuple[int, int]],
        *,
        nodes: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        self.logits = NamedParameters(
            {name: nn.Parameter(_SCALE * torch.randn(shape)) for name, shape in logits.items()}
        )
        self.nodes = {name: tuple(of) for name, of in (nodes or {}).items()}
        self.edge_logits = NamedParameters(
            {name: nn.Parameter(_SCALE * torch.randn(len(of))) for name, of in self.nodes.items()}
        )
        for name, of in self.nodes.items():
            into = torch.tensor(of)
            # Which edges lead into the same node.
            self.register_buffer(f"_together_{name}", into[:, None] == into[None], persistent=False)
        self.temperature, self.edges_kept = 1.0, 1
        self._path: dict[str, EdgeChoices] | None = None

    # -- what it learns --------------------------------------------------------------------------------------

    def architecture_parameters(self) -> list[nn.Parameter]:
        """Give the parameters that choose among the networks."""
        return [*self.logits.values(), *self.edge_logits.values()]

    def weight_parameters(self) -> list[nn.Parameter]:
        """Give all other parameters that learn: the networks' shared weights, without frozen ones."""
        chosen = {id(parameter) for parameter in self.architecture_parameters()}
        return [one for one in self.parameters() if one.requires_grad and id(one) not in chosen]

    def probabilities(self) -> dict[str, Tensor]:
        """Weigh the operations on each edge: group -> ``(edges, operations)``, rows that sum to one."""
        return {name: torch.softmax(rows / self.temperature, -1) for name, rows in self.logits.items()}

    def edge_probabilities(self) -> dict[str, Tensor]:
        """Weigh the edges: group -> ``(edges,)``, those into one node sum to `edges_kept`; empty without any.

        A node with fewer edges than that keeps all of them: each weighs one.
        """
        found = {}
        for name, rows in self.edge_logits.items():
            same = self.get_buffer(f"_together_{name}")
            if self.edges_kept == 2:
                found[name] = _in_pairs(rows / self.temperature, self.nodes[name])
                continue
            # A row for each edge, of the edges into its node; the diagonal is its own share.
            shares = torch.softmax(
                (rows / self.temperature).expand_as(same).masked_fill(~same, -torch.inf), -1
            )
            found[name] = shares.diagonal()
        return found

    def strengths(self) -> dict[str, npt.NDArray[np.float64]]:
        """Give what architectures are derived from: operations' weights, times the edges'."""
        with torch.no_grad():
            edges = self.edge_probabilities()
            return {
                name: (rows * edges[name][:, None] if name in edges else rows).double().cpu().numpy()
                for name, rows in self.probabilities().items()
            }

    @property
    @abstractmethod
    def columns(self) -> dict[str, tuple[str, ...]]:
        """What the columns of each group of `logits` stand for: group -> names of the operations."""

    @property
    def parts(self) -> list[Part]:
        """What architectures choose independently of each other, and by which parameters.

        Raises
        ------
        TypeError
            If the architecture parameters are no rows for the space's decisions, one each in their order:
            such a supernet defines `parts` itself.
        """
        cells = row_cells([(len(rows), rows.shape[1]) for rows in self.logits.values()])
        if [len(row) for row in cells] != self.space.cardinalities.tolist():
            raise TypeError(
                f"{type(self).__name__} has no row of architecture parameters for each decision of its "
                "space: to keep limits in methods that learn by gradients, it has to define parts"
            )
        return joined(self.space, cells)

    # -- which networks are computed -------------------------------------------------------------------------

    def current(self) -> dict[str, EdgeChoices]:
        """Say what the forward pass is to run: group -> the choices on its edges."""
        if self._path is not None:
            return self._path
        edges = self.edge_probabilities()
        return {
            name: EdgeChoices(rows.unbind(), edges.get(name)) for name, rows in self.probabilities().items()
        }

    @contextlib.contextmanager
    def path(self, architecture: Architecture) -> Iterator[None]:
        """Compute only one architecture while the context lasts.

        Parameters
        ----------
        architecture : Architecture
            One of the space.
        """
        with self.running(self.choices_of(architecture)):
            yield

    @contextlib.contextmanager
    def running(self, choices: dict[str, EdgeChoices]) -> Iterator[None]:
        """Compute what is said while the context lasts, instead of the sum by the softmax of the logits.

        Parameters
        ----------
        choices : dict of str to EdgeChoices
            For each group what runs on its edges: weights that were drawn, single operations, or pairs.
        """
        before, self._path = self._path, choices
        try:
            yield
        finally:
            self._path = before

    @abstractmethod
    def choices_of(self, architecture: Architecture) -> dict[str, EdgeChoices]:
        """Say which operation an architecture has on each edge: group -> an index or None for each edge."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy weights and state; the space is shared."""
        memo[id(self.space)] = self.space
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new

    # -- what comes out --------------------------------------------------------------------------------------

    @abstractmethod
    def derive(self) -> Genotypes:
        """Find the architecture that the parameters say is best: its genotype ``(d,)``."""

    @abstractmethod
    def extract(self, architecture: Architecture) -> nn.Module:
        """Make an architecture's network with copies of the shared weights, as a plain module."""

    @abstractmethod
    def skips(self, architecture: Architecture) -> tuple[int, int]:
        """Count the skip connections among an architecture's operations, and all those operations."""


def run_edges(
    operations: Sequence[nn.Module] | nn.ModuleList, edges: Sequence[int], chosen: EdgeChoices, value: Tensor
) -> list[Tensor | None]:
    """Compute what edges from one node bring.

    Parameters
    ----------
    operations : sequence of torch.nn.Module
        The mixed operations of all edges.
    edges : sequence of int
        Which of them leave that node.
    chosen : EdgeChoices
        What runs on all edges.
    value : Tensor
        The node's.

    Returns
    -------
    list of Tensor or None
        For each of `edges` what it brings; None where it is left out.
    """
    running = [(edge, choice) for edge in edges if (choice := chosen.choices[edge]) is not None]
    found = mix_each([operations[edge] for edge, _ in running], [choice for _, choice in running], value)
    if chosen.scales is not None:
        found = [one * chosen.scales[edge] for one, (edge, _) in zip(found, running, strict=True)]
    brought = dict(zip((edge for edge, _ in running), found, strict=True))
    return [brought.get(edge) for edge in edges]


def _in_pairs(rows: Tensor, nodes: Sequence[int]) -> Tensor:
    """Weigh edges ``(edges,)`` by a softmax over the pairs of them that lead into one node."""
    shares = torch.ones_like(rows)
    for node in sorted(set(nodes)):
        of_node = [edge for edge, to in enumerate(nodes) if to == node]
        if len(of_node) < 2:
            continue
        places = torch.tensor(of_node, device=rows.device)
        # Ordered pairs: each weighs half of what it does without an order.
        both = (rows[places][:, None] + rows[places]).masked_fill(
            torch.eye(len(places), dtype=torch.bool, device=rows.device), -torch.inf
        )
        pairs = torch.softmax(both.flatten(), 0).reshape(both.shape)
        shares = shares.index_copy(0, places, 2 * pairs.sum(1))
    return shares


def check_portion(partial_channels: int, channels: int) -> None:
    """Refuse to work on a part of the channels that there is not.

    Parameters
    ----------
    partial_channels : int
        K of PC-DARTS.
    channels : int
        Channels of the narrowest layers.

    Raises
    ------
    ValueError
        If it is not a positive integer, or does not divide the channels.
    """
    whole = isinstance(partial_channels, int) and not isinstance(partial_channels, bool)
    if not whole or partial_channels < 1 or channels % partial_channels:
        raise ValueError(
            f"partial_channels must be a positive integer that divides the space's channels, {channels}; "
            f"got {partial_channels!r}"
        )


def refuse_partial(partial_channels: int) -> None:
    """Refuse to extract networks where the supernet works on a part of the channels.

    Parameters
    ----------
    partial_channels : int
        K of PC-DARTS.

    Raises
    ------
    ValueError
        If it is more than 1: a whole network's weights are not in the supernet.
    """
    if partial_channels > 1:
        raise ValueError(
            "a supernet on partial channels holds no weights of whole networks; train the architecture anew, "
            "with result.retrain(task) or architecture.build()"
        )


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy weights and running statistics to a module of the same shape, onto its device.

    Batch normalisations of the target may learn a scale and a shift that those of the source lack: they begin
    as what changes nothing.

    Parameters
    ----------
    source, target : torch.nn.Module
        Modules with the same names inside.

    Raises
    ------
    RuntimeError
        If they do not fit.
    """
    missing, unexpected = target.load_state_dict(source.state_dict(), strict=False)
    norms = {
        name for name, module in target.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
    }
    left = [name for name in missing if name.rpartition(".")[0] not in norms]
    if left or unexpected:
        raise RuntimeError(f"the modules differ: missing {left}, unexpected {unexpected}")
    with torch.no_grad():
        for name in missing:
            target.get_parameter(name).fill_(1.0 if name.endswith("weight") else 0.0)
