"""`ENASMacro`: the whole networks of ENAS."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from nasx.architecture import Block
from nasx.space import Boolean, Categorical, Decision, Space
from nasx.spaces._cells import draw_cells
from nasx.spaces._images import check_images, check_sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from nasx.architecture import Architecture
    from nasx.nn import ENASMacroSupernet
    from nasx.tasks.base import TaskSpec

__all__ = ["ENASMacro"]

_MOST = 48  # layers


class ENASMacro(Space):
    """The macro space of ENAS [1]_: every layer of a network chooses its operation and what it adds.

    Layer ``k``, counted from 1, works on the output of the layer before it; ``<k>.operation`` says how. For
    every value before that one, ``<k>.skip.<value>`` says whether it is added to the layer's output: 0 is the
    stem's output, ``i`` that of layer ``i``. After one and two thirds of the layers height and width are
    halved.

    Parameters
    ----------
    layers : int, default 12
        Layers of the network.
    channels : int, default 36
        Channels of the first layers; they double when height and width are halved.

    Attributes
    ----------
    operations : tuple of str
        Convolutions, separable convolutions and poolings, as for `nasx.nn.enas_layer`.

    Raises
    ------
    ValueError
        If a number is not a positive integer, or `layers` is not in 3..48.

    References
    ----------
    .. [1] H. Pham, M. Guan, B. Zoph, Q. Le and J. Dean, "Efficient Neural Architecture Search via Parameter
       Sharing", ICML 2018.

    Examples
    --------
    >>> from nasx import TaskSpec
    >>> space = ENASMacro(layers=3, channels=4)
    >>> space.size == 6**3 * 2**3, ENASMacro().size == 6**12 * 2**66
    (True, True)
    >>> list(space)
    ['1.operation', '2.operation', '2.skip.0', '3.operation', '3.skip.0', '3.skip.1']
    >>> network = space.decode(space.sample(1)[0]).build(TaskSpec((3, 32, 32), 10, "image_classification"))
    """

    operations: ClassVar[tuple[str, ...]] = (
        "conv_3x3",
        "conv_5x5",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "avg_pool_3x3",
        "max_pool_3x3",
    )

    def __init__(self, *, layers: int = 12, channels: int = 36) -> None:
        check_sizes(layers=(layers, 3), channels=(channels, 1))
        if layers > _MOST:
            raise ValueError(f"layers must be at most {_MOST}; got {layers}")
        self.layers, self.channels = layers, channels
        decisions: dict[str, Decision] = {}
        for layer in range(1, layers + 1):
            decisions[f"{layer}.operation"] = Categorical(self.operations)
            decisions |= {f"{layer}.skip.{value}": Boolean() for value in range(layer - 1)}
        super().__init__(decisions)

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON types."""
        return {"layers": self.layers, "channels": self.channels}

    def network(self, architecture: Mapping[str, Any]) -> tuple[list[str], list[list[int]]]:
        """List what an architecture's layers do.

        Parameters
        ----------
        architecture : mapping of str to str or bool
            One of this space.

        Returns
        -------
        operations : list of str
            That of each layer.
        skips : list of list of int
            For each layer the values that it adds, 0 for the stem's output.
        """
        layers = range(1, self.layers + 1)
        return (
            [str(architecture[f"{layer}.operation"]) for layer in layers],
            [
                [value for value in range(layer - 1) if architecture[f"{layer}.skip.{value}"]]
                for layer in layers
            ],
        )

    def build(self, architecture: Architecture, spec: TaskSpec) -> nn.Module:
        """Make the network of an architecture.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        spec : TaskSpec
            ``input_shape`` ``(C, H, W)`` and the number of outputs.

        Returns
        -------
        nasx.nn.ENASMacroModule
            Maps ``(B, C, H, W)`` to ``(B, num_outputs)``; freshly initialised from torch's random state.

        Raises
        ------
        ValueError
            If the input is not an image.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        check_images(self, spec)
        from nasx.nn import ENASMacroModule

        operations, skips = self.network(architecture)
        return ENASMacroModule(
            spec.input_shape[0],
            spec.num_outputs,
            operations=operations,
            skips=skips,
            channels=self.channels,
        )

    def blocks(self, architecture: Architecture, spec: TaskSpec) -> list[Block]:
        """List the parts of an architecture's network: its operations, and what is around them.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        spec : TaskSpec
            ``input_shape`` ``(C, H, W)`` and the number of outputs.

        Returns
        -------
        list of Block
            Stem, reductions, each layer's operation, the additions ("sum"), the normalisation of each layer's
            sum, and head.

        Raises
        ------
        ValueError
            If the input is not an image.
        """
        check_images(self, spec)
        images, height, width = spec.input_shape
        channels = self.channels
        found = [_block("stem", (images, height, width), channels, channels_last=False)]
        operations, skips = self.network(architecture)
        for layer, (name, sources) in enumerate(zip(operations, skips, strict=True)):
            if layer in (self.layers // 3, 2 * self.layers // 3):
                read = {layer}.union(*(value for value in skips[layer:]))
                halved = sum(value <= layer for value in read)
                found += halved * [_block("reduction", (channels, height, width), 2 * channels)]
                channels, height, width = 2 * channels, -(-height // 2), -(-width // 2)
            shape = channels, height, width
            found += [_block(kind, shape, channels) for kind in (name, *["sum"] * len(sources), "norm")]
        return [*found, _block("head", (channels, height, width), spec.num_outputs)]

    def build_block(self, block: Block) -> nn.Module:
        """Make one of `blocks`.

        Parameters
        ----------
        block : Block
            One of this space.

        Returns
        -------
        torch.nn.Module
            What `nasx.nn.enas_macro.macro_block` makes.
        """
        from nasx.nn.enas_macro import macro_block

        return macro_block(block.kind, **dict(block.settings))

    def draw(self, architecture: Architecture, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the layers and what they add.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        path : path-like, optional
            Write the picture here too.

        Returns
        -------
        matplotlib.figure.Figure
            The stem and the layers; grey edges are those that only add.
        """
        operations, skips = self.network(architecture)
        edges = [(layer, layer - 1, name) for layer, name in enumerate(operations, start=1)]
        edges += [(layer, value, "") for layer, values in enumerate(skips, start=1) for value in values]
        names = ["stem", *map(str, range(1, self.layers + 1))]
        return draw_cells({"network": (names, edges)}, path)

    def supernet(
        self, spec: TaskSpec, *, partial_channels: int = 1, edge_normalization: bool = False
    ) -> ENASMacroSupernet:
        """Make the network that holds all of this space's.

        Parameters
        ----------
        spec : TaskSpec
            ``input_shape`` ``(C, H, W)`` and the number of outputs.
        partial_channels : int, default 1
            As for `Space.supernet`.
        edge_normalization : bool, default False
            Makes no difference: earlier layers have weights of their own in any case.

        Returns
        -------
        nasx.nn.ENASMacroSupernet
            Freshly initialised from torch's random state.

        Raises
        ------
        ValueError
            If the input is not an image, or `partial_channels` does not divide the channels.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        check_images(self, spec)
        from nasx.nn import ENASMacroSupernet

        return ENASMacroSupernet(self, spec, partial_channels=partial_channels)


def _block(kind: str, shape: tuple[int, int, int], outputs: int, *, channels_last: bool = True) -> Block:
    return Block(kind, shape, (("channels", shape[0]), ("outputs", outputs)), channels_last)
