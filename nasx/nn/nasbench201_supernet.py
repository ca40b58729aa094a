"""The supernet of NAS-Bench-201: a mixed operation on each of the six edges of one cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from nasx.architecture import Architecture
from nasx.nn.layers import after_stem
from nasx.nn.mixed import MixedOp, mixed_op
from nasx.nn.nasbench201 import NASBench201Cell, NASBench201Module, last_node, nasbench201_block
from nasx.nn.supernet import EdgeChoices, Supernet, check_portion, copy_weights, refuse_partial, run_edges
from nasx.space import Genotypes

if TYPE_CHECKING:
    from nasx.spaces.nasbench201 import NASBench201
    from nasx.tasks.base import TaskSpec

__all__ = ["NASBench201Supernet"]

_CELL = "cell"


class NASBench201Supernet(Supernet):
    """All networks of `nasx.spaces.NASBench201` in one; all cells share one set of architecture parameters.

    Parameters
    ----------
    space : nasx.spaces.NASBench201
        The cells.
    spec : TaskSpec
        ``input_shape`` ``(C, H, W)`` and the number of outputs.
    partial_channels : int, default 1
        Mix operations on one of so many parts of the channels.
    edge_normalization : bool, default False
        Weigh edges too.

    Raises
    ------
    ValueError
        If `partial_channels` does not divide the space's channels.

    References
    ----------
    X. Dong, Y. Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search",
    ICLR 2020.
    """

    space: NASBench201

    def __init__(
        self,
        space: NASBench201,
        spec: TaskSpec,
        *,
        partial_channels: int = 1,
        edge_normalization: bool = False,
    ) -> None:
        check_portion(partial_channels, space.channels)
        nodes = [node for node, _ in space.edges]
        super().__init__(
            space,
            {_CELL: (len(nodes), len(space.operations))},
            nodes={_CELL: nodes} if edge_normalization else None,
        )
        self.spec, self.partial_channels = spec, partial_channels
        channels = space.channels
        self.stem = nasbench201_block("stem", spec.input_shape[0], channels)
        self.body = nn.ModuleList()
        for stage in range(3):
            if stage:
                self.body.append(nasbench201_block("reduction", channels))
                channels *= 2
            self.body.extend(_MixedCell(space, channels, partial_channels) for _ in range(space.cells))
        self.head = nasbench201_block("head", channels, spec.num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to scores ``(B, num_outputs)``."""
        chosen = self.current()[_CELL]
        features = after_stem(self.stem, images)
        for layer in self.body:
            features = layer(features, chosen) if isinstance(layer, _MixedCell) else layer(features)
        scores: Tensor = self.head(features)
        return scores

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """What the columns of each group of `logits` stand for: group -> names of the operations."""
        return {_CELL: self.space.operations}

    def choices_of(self, architecture: Architecture) -> dict[str, EdgeChoices]:
        """Say which operation an architecture has on each edge: an index, or None for "none"."""
        none = self.space.operations.index("none")
        taken = architecture.genotype.tolist()
        return {_CELL: EdgeChoices([None if operation == none else operation for operation in taken])}

    def derive(self) -> Genotypes:
        """Find the cell of the strongest operations, "none" among them: its genotype ``(6,)``."""
        strongest = self.strengths()[_CELL].argmax(1).astype(np.int32)
        derived: Genotypes = self.space.canonicalize(strongest[None])[0]
        return derived

    def extract(self, architecture: Architecture) -> NASBench201Module:
        """Make an architecture's network with copies of the shared weights.

        Running statistics are those of the mixture: `nasx.nn.recalibrate` before it is evaluated.

        Raises
        ------
        ValueError
            If the supernet works on a part of the channels: a whole network's weights are not in it.
        """
        refuse_partial(self.partial_channels)
        network = self.space.build(architecture, self.spec)
        assert isinstance(network, NASBench201Module)
        copy_weights(self.stem, network.stem)
        copy_weights(self.head, network.head)
        choices = self.choices_of(architecture)[_CELL].choices
        taken = [(edge, choice) for edge, choice in enumerate(choices) if isinstance(choice, int)]
        for mine, theirs in zip(self.body, network.body, strict=True):
            if not isinstance(mine, _MixedCell):
                copy_weights(mine, theirs)
                continue
            assert isinstance(theirs, NASBench201Cell)
            for (edge, choice), operation in zip(taken, theirs.operations, strict=True):
                mixed = mine.operations[edge]
                assert isinstance(mixed, MixedOp)
                copy_weights(mixed.operations[choice], operation)
        return network.to(next(self.parameters())).train(self.training)

    def skips(self, architecture: Architecture) -> tuple[int, int]:
        """Count the skip connections of the cell, and its edges."""
        return list(architecture.values()).count("skip_connect"), len(architecture)


class _MixedCell(nn.Module):
    """A cell with a mixed operation on each edge."""

    def __init__(self, space: NASBench201, channels: int, partial_channels: int) -> None:
        super().__init__()
        self.edges = space.edges
        self.operations = nn.ModuleList()

        def operations(width: int) -> dict[str, nn.Module]:
            return {name: nasbench201_block(name, width, affine=False) for name in space.operations}

        for _ in self.edges:
            self.operations.append(mixed_op(operations, channels, portion=partial_channels))

    def forward(self, x: Tensor, chosen: EdgeChoices) -> Tensor:
        def run(edges: Sequence[int], value: Tensor) -> list[Tensor | None]:
            return run_edges(self.operations, edges, chosen, value)

        return last_node(x, self.edges, self.edges[-1][0], run)
