"""The supernet of DARTS and PC-DARTS: a mixed operation on every edge of two kinds of cells."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from nasx.architecture import Architecture
from nasx.nn.blocks import Classifier
from nasx.nn.darts import (
    DARTSCell,
    DARTSModule,
    DARTSOperation,
    darts_operation,
    darts_stem,
    layout,
)
from nasx.nn.layers import after_stem
from nasx.nn.mixed import MixedOp, mixed_op
from nasx.nn.parts import Part
from nasx.nn.supernet import EdgeChoices, Supernet, check_portion, copy_weights, refuse_partial
from nasx.space import Genotypes

if TYPE_CHECKING:
    from nasx.spaces.darts import DARTS
    from nasx.tasks.base import TaskSpec

__all__ = ["DARTSSupernet"]

_KINDS = ("normal", "reduce")


class DARTSSupernet(Supernet):
    """All networks of `nasx.spaces.DARTS` in one.

    Normal cells share one set of architecture parameters, reduction cells another; each has a row for every
    edge, from each node to each later one, and a column for every operation.

    Parameters
    ----------
    space : nasx.spaces.DARTS
        The cells.
    spec : TaskSpec
        ``input_shape`` ``(C, H, W)`` and the number of outputs.
    partial_channels : int, default 1
        Mix operations on one of so many parts of the channels [2]_.
    edge_normalization : bool, default False
        Weigh edges too [2]_.

    Raises
    ------
    ValueError
        If `partial_channels` does not divide the space's channels.

    References
    ----------
    .. [1] H. Liu, K. Simonyan and Y. Yang, "DARTS: Differentiable Architecture Search", ICLR 2019.
    .. [2] Y. Xu et al., "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search",
       ICLR 2020.
    """

    space: DARTS

    def __init__(
        self,
        space: DARTS,
        spec: TaskSpec,
        *,
        partial_channels: int = 1,
        edge_normalization: bool = False,
    ) -> None:
        check_portion(partial_channels, space.channels)
        self.edges = space.edges
        shape = len(self.edges), len(space.all_operations)
        nodes = [node for node, _ in self.edges]
        super().__init__(
            space,
            dict.fromkeys(_KINDS, shape),
            nodes=dict.fromkeys(_KINDS, nodes) if edge_normalization else None,
        )
        self.spec, self.partial_channels = spec, partial_channels
        self.stem = darts_stem(spec.input_shape[0], space.channels)
        self.cells = nn.ModuleList()
        places = layout(space.cells, space.channels, space.nodes)
        for place in places:
            edges = [
                DARTSOperation(
                    node, source, self._mixed(place.channels, 2 if place.reduction and source < 2 else 1)
                )
                for node, source in self.edges
            ]
            self.cells.append(DARTSCell(place, edges, nodes=space.nodes, affine=False))
        self.kinds = ["reduce" if place.reduction else "normal" for place in places]
        self.classifier = Classifier(space.nodes * places[-1].channels, spec.num_outputs)

    def _mixed(self, channels: int, stride: int) -> nn.Module:
        def operations(width: int) -> dict[str, nn.Module]:
            return {
                name: darts_operation(name, width, stride, affine=False, pool_norm=True)
                for name in self.space.all_operations
            }

        return mixed_op(operations, channels, portion=self.partial_channels, stride=stride)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to scores ``(B, num_outputs)``."""
        chosen = self.current()
        before = previous = after_stem(self.stem, images)
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            before, previous = previous, cell(before, previous, chosen[kind])
        scores: Tensor = self.classifier(previous)
        return scores

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """What the columns of each group of `logits` stand for: group -> names of the operations."""
        return dict.fromkeys(_KINDS, self.space.all_operations)

    @property
    def parts(self) -> list[Part]:
        """What architectures choose independently: for each node its two inputs and their operations."""
        space, names = self.space, self.space.all_operations
        operations = len(names)
        found = []
        for (number, kind), node in itertools.product(enumerate(_KINDS), range(space.nodes)):
            decisions = [f"{kind}.{node}.{which}" for which in ("inputs", "first", "second")]
            columns = [space.names.index(name) for name in decisions if name in space]
            pairs = list(itertools.combinations(range(node + 2), 2))
            kept = [names.index(str(name)) for name in space[decisions[1]].choices]
            options = np.array(list(np.ndindex(len(pairs), len(kept), len(kept))), np.int32)
            first = number * len(self.edges) * operations
            rows = np.array([[self.edges.index((node + 2, source)) for source in pair] for pair in pairs])
            cells = first + rows[options[:, 0]] * operations + np.array(kept)[options[:, 1:]]
            found.append(Part(tuple(columns), options[:, -len(columns) :], cells, (2,)))
        return found

    def choices_of(self, architecture: Architecture) -> dict[str, EdgeChoices]:
        """Say which operation an architecture has on each edge: group -> an index or None for each edge."""
        names = self.space.all_operations
        return {
            kind: EdgeChoices([names.index(taken[edge]) if edge in taken else None for edge in self.edges])
            for kind in _KINDS
            for taken in [
                {(node, source): name for node, source, name in self.space.cell(architecture, kind)}
            ]
        }

    def derive(self) -> Genotypes:
        """Find the architecture that the parameters say is best: its genotype ``(d,)``.

        Each edge's strength is that of its strongest operation other than "none", after the softmax over all
        of them; each node keeps its two strongest edges.
        """
        names = self.space.all_operations
        cells: dict[str, list[tuple[str, int]]] = {}
        for kind, strength in self.strengths().items():
            kept = [column for column, name in enumerate(names) if name != "none"]
            best = strength[:, kept]
            cells[kind] = []
            for node in range(2, self.space.nodes + 2):
                rows = [row for row, edge in enumerate(self.edges) if edge[0] == node]
                # Equal strengths: the earlier edge and operation.
                strongest = sorted(rows, key=lambda row: -best[row].max())[:2]
                cells[kind] += [
                    (names[kept[int(np.argmax(best[row]))]], self.edges[row][1]) for row in sorted(strongest)
                ]
        return self.space.from_genotype(cells).genotype

    def extract(self, architecture: Architecture) -> DARTSModule:
        """Make an architecture's network with copies of the shared weights.

        Poolings keep the batch normalisation that follows them here. Running statistics are those of the
        mixture: `nasx.nn.recalibrate` before it is evaluated.

        Raises
        ------
        ValueError
            If the supernet works on a part of the channels: a whole network's weights are not in it.
        """
        refuse_partial(self.partial_channels)
        edges = {kind: self.space.cell(architecture, kind) for kind in _KINDS}
        network = DARTSModule(
            self.spec.input_shape[0],
            self.spec.num_outputs,
            normal=edges["normal"],
            reduce=edges["reduce"],
            nodes=self.space.nodes,
            cells=self.space.cells,
            channels=self.space.channels,
            pool_norm=True,
        )
        copy_weights(self.stem, network.stem)
        copy_weights(self.classifier, network.classifier)
        for kind, mine, theirs in zip(self.kinds, self.cells, network.cells, strict=True):
            assert isinstance(mine, DARTSCell)
            assert isinstance(theirs, DARTSCell)
            copy_weights(mine.from_before, theirs.from_before)
            copy_weights(mine.from_previous, theirs.from_previous)
            for (node, source, name), operation in zip(edges[kind], theirs.operations, strict=True):
                mixed = mine.operations[self.edges.index((node, source))]
                assert isinstance(mixed, MixedOp)
                if isinstance(operation, nn.Sequential):  # before its DropPath; an identity has no weights
                    copy_weights(mixed.operations[self.space.all_operations.index(name)], operation[0])
        return network.to(self.classifier.weight).train(self.training)

    def skips(self, architecture: Architecture) -> tuple[int, int]:
        """Count the skip connections of the normal cell, and all its operations."""
        names: Sequence[str] = [name for _, _, name in self.space.cell(architecture, "normal")]
        return names.count("skip_connect"), len(names)
