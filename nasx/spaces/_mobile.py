"""What `FBNet` and `ProxylessMobile` have in common: layers of which each is one block or nothing."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from nasx._arguments import count
from nasx.architecture import Block
from nasx.space import Categorical, Decision, Space
from nasx.spaces._images import check_images, divisible, listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from nasx.architecture import Architecture
    from nasx.nn import MobileSupernet
    from nasx.tasks.base import TaskSpec

__all__ = ["MobileLayer", "MobileSpace"]

_DEEPEST = 200  # so that a short file cannot ask for millions of decisions


class MobileLayer(NamedTuple):
    """A place for a block.

    Parameters
    ----------
    name : str
        Its decision.
    in_channels, out_channels : int
        Channels before and after it.
    stride : int
        1 or 2.
    operations : tuple of str
        What can stand there.
    """

    name: str
    in_channels: int
    out_channels: int
    stride: int
    operations: tuple[str, ...]

    def unit(self, operation: str) -> dict[str, Any]:
        """Give the arguments of `nasx.nn.mobile_unit` for one of the operations."""
        return {
            "operation": operation,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "stride": self.stride,
        }


class MobileSpace(Space, ABC):
    """A stem, layers of one decision each, a 1x1 convolution and a classifier.

    Subclasses say which operations a layer has, what is before the layers, and which activation there is.

    Parameters
    ----------
    channels, repeats, strides : sequence of int
        Of each stage its channels, its number of layers, and the stride of the first of them.
    stem, stem_stride : int
        Channels and stride of the 3x3 convolution before them.
    head : int
        Channels of the 1x1 convolution after them.
    width_multiplier : float
        What all channels are multiplied by, to the nearest multiple of 8, the head's only by more than 1.

    Attributes
    ----------
    operations : tuple of str
        All operations.
    layers : tuple of MobileLayer
        Where they stand.

    Raises
    ------
    ValueError
        If a number is out of range, or there is not one of each for every stage.
    """

    operations: ClassVar[tuple[str, ...]]
    activation: ClassVar[str]
    neighbouring_blocks = True

    def __init__(
        self,
        *,
        channels: Sequence[int],
        repeats: Sequence[int],
        strides: Sequence[int],
        stem: int,
        stem_stride: int,
        head: int,
        width_multiplier: float,
    ) -> None:
        self.channels = listed(channels, "channels")
        self.repeats = listed(repeats, "repeats")
        self.strides = listed(strides, "strides")
        self.stem, self.head = count(stem, "stem"), count(head, "head")
        for name, values in (("stem_stride", (stem_stride,)), ("strides", self.strides)):
            if any(isinstance(value, bool) or value not in (1, 2) for value in values):
                raise ValueError(f"{name} must be 1 or 2; got {getattr(self, name, stem_stride)!r}")
        self.stem_stride = stem_stride
        for name in ("repeats", "strides"):
            if len(getattr(self, name)) != len(self.channels):
                raise ValueError(
                    f"{name} must hold a number for each of the {len(self.channels)} channels; "
                    f"got {getattr(self, name)!r}"
                )
        if sum(self.repeats) > _DEEPEST:
            raise ValueError(f"repeats must be at most {_DEEPEST} layers in all; got {sum(self.repeats)}")
        self.width_multiplier = _positive(width_multiplier, "width_multiplier")
        self.layers = tuple(self._made_layers())
        self._check_layers()
        decisions: dict[str, Decision] = {layer.name: Categorical(layer.operations) for layer in self.layers}
        super().__init__(decisions)

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON types."""
        return {
            "channels": list(self.channels),
            "repeats": list(self.repeats),
            "strides": list(self.strides),
            "stem": self.stem,
            "stem_stride": self.stem_stride,
            "head": self.head,
            "width_multiplier": self.width_multiplier,
        }

    # -- what subclasses say ---------------------------------------------------------------------------------

    @property
    def first(self) -> int | None:
        """Channels of a block without expansion before the layers; None: there is none."""
        return None

    @abstractmethod
    def operations_of(self, *, keeps_shape: bool) -> tuple[str, ...]:
        """Say what can stand in a layer whose output has the shape of its input, or another."""

    def _check_layers(self) -> None:
        """Refuse channels that operations cannot work on."""

    # -- networks --------------------------------------------------------------------------------------------

    def _made_layers(self) -> list[MobileLayer]:
        before = self._wide(self.stem if self.first is None else self.first)
        layers: list[MobileLayer] = []
        for width, repeat, stride in zip(self.channels, self.repeats, self.strides, strict=True):
            for i in range(repeat):
                step, after = 1 if i else stride, self._wide(width)
                operations = self.operations_of(keeps_shape=step == 1 and before == after)
                layers.append(MobileLayer(f"layer{len(layers) + 1}", before, after, step, operations))
                before = after
        return layers

    def _wide(self, channels: int) -> int:
        return divisible(channels, self.width_multiplier)

    @property
    def frame(self) -> dict[str, Any]:
        """What stands around the layers: arguments of `nasx.nn.MobileModule`."""
        return {
            "stem": self._wide(self.stem),
            "stem_stride": self.stem_stride,
            "first": None if self.first is None else self._wide(self.first),
            "channels": self.layers[-1].out_channels,
            "head": divisible(self.head, max(1.0, self.width_multiplier)),
            "activation": self.activation,
        }

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
        nasx.nn.MobileModule
            Maps ``(B, C, H, W)`` to ``(B, num_outputs)``; freshly initialised from torch's random state.

        Raises
        ------
        ValueError
            If the input is not an image.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        check_images(self, spec)
        from nasx.nn import MobileModule, mobile_unit

        units = (
            mobile_unit(**layer.unit(str(architecture[layer.name])), activation=self.activation)
            for layer in self.layers
        )
        return MobileModule(spec.input_shape[0], spec.num_outputs, units=units, **self.frame)

    def blocks(self, architecture: Architecture, spec: TaskSpec) -> list[Block]:
        """List what an architecture's network is made of; a layer that does nothing is no block.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        spec : TaskSpec
            ``input_shape`` ``(C, H, W)`` and the number of outputs.

        Returns
        -------
        list of Block
            In the order of the network.

        Raises
        ------
        ValueError
            If the input is not an image.
        """
        check_images(self, spec)
        images, height, width = spec.input_shape
        frame = self.frame
        stem, more = frame["stem"], {"activation": self.activation}
        found = [
            _block(
                "stem",
                (images, height, width),
                {"in_channels": images, "out_channels": stem, "stride": self.stem_stride, **more},
                channels_last=False,
            )
        ]
        height, width = -(-height // self.stem_stride), -(-width // self.stem_stride)
        if frame["first"] is not None:
            first = {"in_channels": stem, "out_channels": frame["first"], **more}
            found.append(_block("first", (stem, height, width), first))
        for layer in self.layers:
            operation = str(architecture[layer.name])
            if operation != "skip" or layer.stride > 1 or layer.in_channels != layer.out_channels:
                settings = layer.unit(operation) | more
                found.append(_block("unit", (layer.in_channels, height, width), settings))
            height, width = -(-height // layer.stride), -(-width // layer.stride)
        last = frame["channels"]
        head = {"in_channels": last, "channels": frame["head"], "num_outputs": spec.num_outputs, **more}
        return [*found, _block("head", (last, height, width), head)]

    def build_block(self, block: Block) -> nn.Module:
        """Make one of `blocks`.

        Parameters
        ----------
        block : Block
            One of this space.

        Returns
        -------
        torch.nn.Module
            What `nasx.nn.mobile_block` makes.
        """
        from nasx.nn import mobile_block

        return mobile_block(block.kind, **dict(block.settings))

    def supernet(
        self, spec: TaskSpec, *, partial_channels: int = 1, edge_normalization: bool = False
    ) -> MobileSupernet:
        """Make the network that holds all of this space's.

        Parameters
        ----------
        spec : TaskSpec
            ``input_shape`` ``(C, H, W)`` and the number of outputs.
        partial_channels : int, default 1
            Only 1: blocks change the channels.
        edge_normalization : bool, default False
            Makes no difference: no two edges meet.

        Returns
        -------
        nasx.nn.MobileSupernet
            Freshly initialised from torch's random state.

        Raises
        ------
        ValueError
            If the input is not an image, or `partial_channels` is not 1.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        check_images(self, spec)
        from nasx.nn import MobileSupernet

        if partial_channels != 1:
            raise ValueError(
                f"partial_channels must be 1 for {type(self).__name__}, whose blocks change the channels; "
                f"got {partial_channels!r}"
            )
        return MobileSupernet(self, spec)

    def draw(self, architecture: Architecture, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the layers from left to right: how wide each is inside, and what stands there.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        path : path-like, optional
            Write the picture here too.

        Returns
        -------
        matplotlib.figure.Figure
            The picture.
        """
        from nasx.spaces._mobile_drawing import draw

        return draw(self.layers, [str(architecture[layer.name]) for layer in self.layers], path)


def _block(
    kind: str, shape: tuple[int, int, int], settings: dict[str, Any], *, channels_last: bool = True
) -> Block:
    return Block(kind, shape, tuple(sorted(settings.items())), channels_last)


def _positive(value: float, name: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a number of more than 0; got {value!r}")
    return float(value)
