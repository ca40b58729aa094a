"""The supernets of ENAS: all its cells in one network, and all its macro networks in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from nasx.architecture import Architecture
from nasx.nn.blocks import Classifier
from nasx.nn.darts import darts_operation, darts_stem
from nasx.nn.enas_cell import (
    ENASCellModule,
    JoinEnds,
    MicroCell,
    MicroPlace,
    PlainCell,
    loose_ends,
    micro_layout,
    stages,
)
from nasx.nn.enas_macro import (
    ENASMacroModule,
    enas_layer,
    halved,
    macro_stem,
    reductions_for,
    reductions_of,
    widths,
)
from nasx.nn.layers import after_stem
from nasx.nn.mixed import MixedOp, Pair, mixed_op
from nasx.nn.supernet import EdgeChoices, Supernet, check_portion, copy_weights, refuse_partial
from nasx.space import Genotypes

if TYPE_CHECKING:
    from nasx.spaces.enas_cell import ENASCell
    from nasx.spaces.enas_macro import ENASMacro
    from nasx.tasks.base import TaskSpec

__all__ = ["ENASCellSupernet", "ENASMacroSupernet"]

_KINDS = ("normal", "reduce")


class ENASCellSupernet(Supernet):
    """All networks of `nasx.spaces.ENASCell` in one.

    Each of a node's two places has weights of its own for every operation on every earlier value, and each
    value its slice of the weight that joins loose ends [1]_. Outside of `path`, a place is the sum of what
    all earlier values bring, and all nodes are joined; so methods by gradients work here too.

    Parameters
    ----------
    space : nasx.spaces.ENASCell
        The cells.
    spec : TaskSpec
        ``input_shape`` ``(C, H, W)`` and the number of outputs.
    partial_channels : int, default 1
        Operations work on one of so many parts of the channels.
    edge_normalization : bool, default False
        Weigh the values that a place can read too.

    Raises
    ------
    ValueError
        If `partial_channels` does not divide the space's channels.

    References
    ----------
    .. [1] H. Pham, M. Guan, B. Zoph, Q. Le and J. Dean, "Efficient Neural Architecture Search via Parameter
       Sharing", ICML 2018.
    """

    space: ENASCell

    def __init__(
        self,
        space: ENASCell,
        spec: TaskSpec,
        *,
        partial_channels: int = 1,
        edge_normalization: bool = False,
    ) -> None:
        check_portion(partial_channels, space.channels)
        # Each node has two places, 0 and 1, that each read one value.
        self.edges = [
            (node, which, source)
            for node in range(2, space.nodes + 2)
            for which in (0, 1)
            for source in range(node)
        ]
        super().__init__(
            space,
            dict.fromkeys(_KINDS, (len(self.edges), len(space.operations))),
            nodes=dict.fromkeys(_KINDS, tuple(2 * node + which for node, which, _ in self.edges))
            if edge_normalization
            else None,
        )
        self.spec, self.partial_channels = spec, partial_channels
        self.stem = darts_stem(spec.input_shape[0], space.channels)
        places = micro_layout(space.cells, space.channels)
        self.kinds = ["reduce" if place.reduction else "normal" for place in places]
        self.cells = nn.ModuleList(
            _SharedCell(
                place, [(node, source) for node, _, source in self.edges], space.operations, partial_channels
            )
            for place in places
        )
        self.classifier = Classifier(places[-1].channels, spec.num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to scores ``(B, num_outputs)``."""
        chosen = self.current()
        before = previous = after_stem(self.stem, images)
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            before, previous = cell(before, previous, chosen[kind])
        scores: Tensor = self.classifier(previous)
        return scores

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """What the columns of each group of `logits` stand for: group -> names of the operations."""
        return dict.fromkeys(_KINDS, self.space.operations)

    def choices_of(self, architecture: Architecture) -> dict[str, EdgeChoices]:
        """Say which operation an architecture has on each edge: group -> an index or None for each edge."""
        found = {}
        for kind in _KINDS:
            choices: list[int | None] = [None] * len(self.edges)
            for edge, name in self._taken(architecture, kind):
                choices[edge] = self.space.operations.index(name)
            found[kind] = EdgeChoices(choices)
        return found

    def _taken(self, architecture: Architecture, kind: str) -> list[tuple[int, str]]:
        """List the edges that an architecture's cell takes, in its order, and their operations."""
        return [
            (self.edges.index((node, place % 2, source)), name)
            for place, (node, source, name) in enumerate(self.space.cell(architecture, kind))
        ]

    def derive(self) -> Genotypes:
        """Find the architecture that the parameters say is best: its genotype ``(d,)``.

        Each place takes its strongest edge and that one's strongest operation.
        """
        choices = {}
        for kind, strength in self.strengths().items():
            for node in range(2, self.space.nodes + 2):
                for which, name in enumerate(("first", "second")):
                    rows = [row for row, edge in enumerate(self.edges) if edge[:2] == (node, which)]
                    source, operation = np.unravel_index(strength[rows].argmax(), strength[rows].shape)
                    choices[f"{kind}.{node - 2}.{name}_input"] = str(source)
                    choices[f"{kind}.{node - 2}.{name}"] = self.space.operations[int(operation)]
        return self.space.encode(choices)

    def extract(self, architecture: Architecture) -> ENASCellModule:
        """Make an architecture's network with copies of the shared weights.

        Running statistics are those of all paths: `nasx.nn.recalibrate` before it is evaluated.

        Raises
        ------
        ValueError
            If the supernet works on a part of the channels: a whole network's weights are not in it.
        """
        refuse_partial(self.partial_channels)
        network = self.space.build(architecture, self.spec)
        assert isinstance(network, ENASCellModule)
        copy_weights(self.stem, network.stem)
        copy_weights(self.classifier, network.classifier)
        for kind, mine, theirs in zip(self.kinds, self.cells, network.cells, strict=True):
            assert isinstance(mine, _SharedCell)
            assert isinstance(theirs, PlainCell)
            for name in ("reduction", "from_before", "from_previous"):
                if (part := getattr(mine, name)) is not None:
                    copy_weights(part, getattr(theirs, name))
            for (edge, name), operation in zip(
                self._taken(architecture, kind), theirs.operations, strict=True
            ):
                mixed = mine.operations[edge]
                assert isinstance(mixed, MixedOp)
                if isinstance(operation, nn.Sequential):  # before its DropPath; an identity has no weights
                    copy_weights(mixed.operations[self.space.operations.index(name)], operation[0])
            _, convolution, norm = theirs.join.children()
            with torch.no_grad():
                convolution.get_parameter("weight").copy_(mine.join.kernel(theirs.ends))
            copy_weights(mine.join.norm, norm)
        return network.to(self.classifier.weight).train(self.training)

    def skips(self, architecture: Architecture) -> tuple[int, int]:
        """Count the identities of the normal cell, and all its operations."""
        names = [name for _, _, name in self.space.cell(architecture, "normal")]
        return names.count("skip_connect"), len(names)


class _SharedCell(MicroCell):
    """A cell with a mixed operation on each edge."""

    def __init__(
        self, place: MicroPlace, edges: Sequence[tuple[int, int]], names: Sequence[str], partial_channels: int
    ) -> None:
        super().__init__(place)
        self.edges = edges
        self.nodes = edges[-1][0] - 1

        def operations(width: int) -> dict[str, nn.Module]:
            return {name: darts_operation(name, width) for name in names}

        self.operations = nn.ModuleList(
            mixed_op(operations, place.channels, portion=partial_channels) for _ in edges
        )
        self.join = JoinEnds(self.nodes + 2, place.channels)

    def forward(self, before: Tensor, previous: Tensor, chosen: EdgeChoices) -> tuple[Tensor, Tensor]:
        previous, inputs = self.inputs(before, previous)
        values: list[Tensor | None] = [*inputs, *[None] * self.nodes]
        taken = []
        for edge, (node, source) in enumerate(self.edges):
            choice = chosen.choices[edge]
            if choice is None:
                continue
            taken.append((node, source, ""))
            brought = self.operations[edge](values[source], choice)
            if chosen.scales is not None:
                brought = brought * chosen.scales[edge]
            before_it = values[node]
            values[node] = brought if before_it is None else before_it + brought
        # In a mixture every node reads all values, and all nodes are joined.
        mixture = len(taken) == len(self.edges)
        ends = list(range(2, self.nodes + 2)) if mixture else loose_ends(taken, self.nodes)
        joined = [value for end in ends if (value := values[end]) is not None]
        return previous, self.join(joined, ends)


class ENASMacroSupernet(Supernet):
    """All networks of `nasx.spaces.ENASMacro` in one.

    Outside of `path`, a layer is the weighted sum of its operations, and earlier layers are added with the
    weight of their being there; so methods by gradients work here too.

    Parameters
    ----------
    space : nasx.spaces.ENASMacro
        The networks.
    spec : TaskSpec
        ``input_shape`` ``(C, H, W)`` and the number of outputs.
    partial_channels : int, default 1
        Operations work on one of so many parts of the channels.

    Raises
    ------
    ValueError
        If `partial_channels` does not divide the space's channels.

    References
    ----------
    H. Pham, M. Guan, B. Zoph, Q. Le and J. Dean, "Efficient Neural Architecture Search via Parameter
    Sharing", ICML 2018.
    """

    space: ENASMacro

    def __init__(self, space: ENASMacro, spec: TaskSpec, *, partial_channels: int = 1) -> None:
        check_portion(partial_channels, space.channels)
        # (layer from 0, value that may be added)
        self.edges = [(layer, source) for layer in range(space.layers) for source in range(layer)]
        super().__init__(
            space,
            {"operation": (space.layers, len(space.operations)), "skip": (len(self.edges), 2)},
        )
        self.spec, self.partial_channels = spec, partial_channels
        self.stem = macro_stem(spec.input_shape[0], space.channels)
        every = [range(layer) for layer in range(space.layers)]
        self.reductions = reductions_for(reductions_of(every), space.channels)
        of_layers = widths(space.layers, space.channels)

        def operations(width: int) -> dict[str, nn.Module]:
            return {name: enas_layer(name, width) for name in space.operations}

        self.layers = nn.ModuleList(
            mixed_op(operations, width, portion=partial_channels) for width in of_layers
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in of_layers)
        self.classifier = Classifier(of_layers[-1], spec.num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to scores ``(B, num_outputs)``."""
        current = self.current()
        # Whether earlier values are added: how much, in a mixture; else only those that are.
        skips: list[list[tuple[int, Tensor | None]]] = [[] for _ in self.layers]
        for (reader, source), choice in zip(self.edges, current["skip"].choices, strict=True):
            if isinstance(choice, Tensor):
                skips[reader].append((source, choice[1]))
            elif isinstance(choice, Pair):
                skips[reader].append((source, choice.gates[(choice.taken, choice.other).index(1)]))
            elif choice:
                skips[reader].append((source, None))
        names = reductions_of([[source for source, _ in sources] for sources in skips])
        values: list[Tensor] = [after_stem(self.stem, images)]
        for place, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            if place in stages(len(self.layers)):
                values = halved(values, place, self.reductions, names)
            out = layer(values[-1], current["operation"].choices[place])
            for source, weight in skips[place]:
                out = out + (values[source] if weight is None else values[source] * weight)
            values.append(norm(out))
        scores: Tensor = self.classifier(values[-1])
        return scores

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """What the columns of each group of `logits` stand for: operations, and whether a layer is added."""
        return {"operation": self.space.operations, "skip": ("no", "yes")}

    def choices_of(self, architecture: Architecture) -> dict[str, EdgeChoices]:
        """Say which operation an architecture has in each layer, and which earlier layers it adds."""
        operations, skips = self.space.network(architecture)
        return {
            "operation": EdgeChoices([self.space.operations.index(name) for name in operations]),
            "skip": EdgeChoices([int(source in skips[layer]) for layer, source in self.edges]),
        }

    def derive(self) -> Genotypes:
        """Find the architecture that the parameters say is best, the stronger choice everywhere: ``(d,)``."""
        best = {name: rows.argmax(1).tolist() for name, rows in self.strengths().items()}
        choices: dict[str, str | bool] = {
            f"{layer}.operation": self.space.operations[index]
            for layer, index in enumerate(best["operation"], start=1)
        }
        for (layer, source), index in zip(self.edges, best["skip"], strict=True):
            choices[f"{layer + 1}.skip.{source}"] = bool(index)
        return self.space.encode(choices)

    def extract(self, architecture: Architecture) -> ENASMacroModule:
        """Make an architecture's network with copies of the shared weights.

        Running statistics are those of all paths: `nasx.nn.recalibrate` before it is evaluated.

        Raises
        ------
        ValueError
            If the supernet works on a part of the channels: a whole network's weights are not in it.
        """
        refuse_partial(self.partial_channels)
        network = self.space.build(architecture, self.spec)
        assert isinstance(network, ENASMacroModule)
        for name in ("stem", "norms", "classifier"):
            copy_weights(getattr(self, name), getattr(network, name))
        for name, reduction in network.reductions.items():
            copy_weights(self.reductions[name], reduction)
        operations, _ = self.space.network(architecture)
        for chosen, mixed, layer in zip(operations, self.layers, network.layers, strict=True):
            assert isinstance(mixed, MixedOp)
            copy_weights(mixed.operations[self.space.operations.index(chosen)], layer)
        return network.to(self.classifier.weight).train(self.training)

    def skips(self, architecture: Architecture) -> tuple[int, int]:
        """Count the layers that do nothing, of which there are none, and all layers."""
        return 0, self.space.layers
