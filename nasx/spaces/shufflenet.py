"""`ShuffleNetV2`: the choice blocks and widths of single-path one-shot search, and the networks they make."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from nasx._arguments import count
from nasx.architecture import Block
from nasx.space import Categorical, Decision, Ordinal, Space
from nasx.spaces._images import check_images, listed, scaled

if TYPE_CHECKING:
    from torch import nn

    from nasx.architecture import Architecture
    from nasx.nn import ShuffleNetV2Supernet
    from nasx.tasks.base import TaskSpec

__all__ = ["ShuffleLayer", "ShuffleNetV2"]

_OPERATIONS = ("shuffle_3x3", "shuffle_5x5", "shuffle_7x7", "xception")
_MULTIPLIERS = tuple(i / 5 for i in range(1, 11))
_DEEPEST = 200  # so that a short file cannot ask for millions of decisions


class ShuffleLayer(NamedTuple):
    """A place for a choice block.

    Parameters
    ----------
    name : str
        Its decisions are ``<name>.width`` and ``<name>.operation``.
    in_channels, out_channels : int
        Channels before and after it.
    stride : int
        1, or 2 in the first layer of a stage.
    """

    name: str
    in_channels: int
    out_channels: int
    stride: int

    def mid_channels(self, multiplier: float = 1.0) -> int:
        """Give the inner width for a multiplier, which is of half of `out_channels`."""
        return scaled(self.out_channels // 2, multiplier)


class ShuffleNetV2(Space):
    """The networks of single-path one-shot search [1]_: units of ShuffleNet V2 [2]_ in four stages.

    ``layer<i>.operation`` is a layer's choice block: "shuffle_3x3", "shuffle_5x5" or "shuffle_7x7", by the
    kernel of its depthwise convolution, or "xception" with three of them. ``layer<i>.width`` is the
    multiplier of its inner channels, which are otherwise half of its output's. The default settings are the
    published space, some 1e32 architectures of 20 layers for images of 224x224 pixels. For small images lower
    the number of stages, their channels and the stem's stride.

    Parameters
    ----------
    channels : sequence of int, default (64, 160, 320, 640)
        Channels of each stage; even and increasing.
    repeats : sequence of int, default (4, 4, 8, 4)
        Layers of each stage; the first one halves height and width. At most 200 in all.
    stem : int, default 16
        Channels of the 3x3 convolution before them; fewer than those of the first stage.
    stem_stride : {2, 1}
        Its stride.
    head : int, default 1024
        Channels of the 1x1 convolution after them.
    multipliers : sequence of float, optional
        Possible multipliers of the inner channels, increasing; by default 0.2, 0.4 and so on to 2.0. None: no
        width is decided, all multipliers are 1.

    Attributes
    ----------
    operations : tuple of str
        The choice blocks, in the order in which the field numbers them.
    layers : tuple of ShuffleLayer
        Where they stand.

    Raises
    ------
    ValueError
        If a number is no positive integer, the channels do not increase or are odd, there are not as many
        `repeats` as `channels`, or two multipliers give equal widths.

    References
    ----------
    .. [1] Z. Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling", ECCV 2020.
    .. [2] N. Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design",
       ECCV 2018.

    Examples
    --------
    >>> from nasx import TaskSpec
    >>> ShuffleNetV2().size == 40**20, ShuffleNetV2(multipliers=None).size == 4**20
    (True, True)
    >>> small = ShuffleNetV2(
    ...     channels=(16, 32), repeats=(1, 2), stem=8, stem_stride=1, head=32, multipliers=(0.5, 1.0, 2.0)
    ... )
    >>> architecture = small.decode(small.sample(1)[0])
    >>> network = architecture.build(TaskSpec((1, 8, 8), 10, "image_classification"))
    """

    operations: ClassVar[tuple[str, ...]] = _OPERATIONS
    neighbouring_blocks = True

    def __init__(
        self,
        *,
        channels: Sequence[int] = (64, 160, 320, 640),
        repeats: Sequence[int] = (4, 4, 8, 4),
        stem: int = 16,
        stem_stride: int = 2,
        head: int = 1024,
        multipliers: Sequence[float] | None = _MULTIPLIERS,
    ) -> None:
        self.channels, self.repeats = listed(channels, "channels"), listed(repeats, "repeats")
        self.stem, self.head = count(stem, "stem"), count(head, "head")
        if isinstance(stem_stride, bool) or stem_stride not in (1, 2):
            raise ValueError(f"stem_stride must be 1 or 2; got {stem_stride!r}")
        self.stem_stride = stem_stride
        for before, now in itertools.pairwise((self.stem, *self.channels)):
            if now <= before or now % 2:
                raise ValueError(
                    f"channels must be even and increase, from more than the stem's {self.stem}; "
                    f"got {channels!r}"
                )
        if len(self.repeats) != len(self.channels):
            raise ValueError(
                f"repeats must hold a number for each of the {len(self.channels)} channels; got {repeats!r}"
            )
        if sum(self.repeats) > _DEEPEST:
            raise ValueError(f"repeats must be at most {_DEEPEST} layers in all; got {sum(self.repeats)}")
        self.multipliers = None if multipliers is None else _checked(multipliers, self.channels[0])
        self.layers = tuple(_layers(self.stem, self.channels, self.repeats))
        decisions: dict[str, Decision] = {}
        for layer in self.layers:
            if self.multipliers is not None:
                decisions[f"{layer.name}.width"] = Ordinal(self.multipliers)
            decisions[f"{layer.name}.operation"] = Categorical(_OPERATIONS)
        super().__init__(decisions)

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON types."""
        return {
            "channels": list(self.channels),
            "repeats": list(self.repeats),
            "stem": self.stem,
            "stem_stride": self.stem_stride,
            "head": self.head,
            "multipliers": None if self.multipliers is None else list(self.multipliers),
        }

    def units(self, architecture: Architecture) -> list[dict[str, Any]]:
        """Say what stands in each layer.

        Parameters
        ----------
        architecture : Architecture
            One of this space.

        Returns
        -------
        list of dict
            Of each layer the arguments of `nasx.nn.ShuffleUnit`.
        """
        found = []
        for layer in self.layers:
            multiplier: Any = architecture.get(f"{layer.name}.width", 1.0)
            found.append(
                {
                    "in_channels": layer.in_channels,
                    "out_channels": layer.out_channels,
                    "mid_channels": layer.mid_channels(multiplier),
                    "operation": str(architecture[f"{layer.name}.operation"]),
                    "stride": layer.stride,
                }
            )
        return found

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
        nasx.nn.ShuffleNetV2Module
            Maps ``(B, C, H, W)`` to ``(B, num_outputs)``; freshly initialised from torch's random state.

        Raises
        ------
        ValueError
            If the input is not an image.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        check_images(self, spec)
        from nasx.nn import ShuffleNetV2Module, ShuffleUnit

        return ShuffleNetV2Module(
            spec.input_shape[0],
            spec.num_outputs,
            units=(ShuffleUnit(**unit) for unit in self.units(architecture)),
            **self.frame,
        )

    @property
    def frame(self) -> dict[str, Any]:
        """What stands around the layers: the other arguments of `nasx.nn.ShuffleNetV2Module`."""
        return {
            "stem": self.stem,
            "stem_stride": self.stem_stride,
            "channels": self.channels[-1],
            "head": self.head,
        }

    def blocks(self, architecture: Architecture, spec: TaskSpec) -> list[Block]:
        """List the stem, the layers and the head of an architecture's network.

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
        stem = {"in_channels": images, "out_channels": self.stem, "stride": self.stem_stride}
        found = [_block("stem", (images, height, width), stem, channels_last=False)]
        stride = self.stem_stride
        for unit in self.units(architecture):
            height, width = -(-height // stride), -(-width // stride)
            found.append(_block("unit", (unit["in_channels"], height, width), unit))
            stride = unit["stride"]
        height, width = -(-height // stride), -(-width // stride)
        head = {"in_channels": self.channels[-1], "channels": self.head, "num_outputs": spec.num_outputs}
        return [*found, _block("head", (self.channels[-1], height, width), head)]

    def build_block(self, block: Block) -> nn.Module:
        """Make one of `blocks`.

        Parameters
        ----------
        block : Block
            One of this space.

        Returns
        -------
        torch.nn.Module
            What `nasx.nn.shufflenet_block` makes.
        """
        from nasx.nn import shufflenet_block

        return shufflenet_block(block.kind, **dict(block.settings))

    def supernet(
        self, spec: TaskSpec, *, partial_channels: int = 1, edge_normalization: bool = False
    ) -> ShuffleNetV2Supernet:
        """Make the network that holds all of this space's.

        Where widths are decided, it runs one architecture at a time, within ``supernet.path(architecture)``.

        Parameters
        ----------
        spec : TaskSpec
            ``input_shape`` ``(C, H, W)`` and the number of outputs.
        partial_channels : int, default 1
            Only 1: choice blocks change the channels.
        edge_normalization : bool, default False
            Makes no difference: no two edges meet.

        Returns
        -------
        nasx.nn.ShuffleNetV2Supernet
            Freshly initialised from torch's random state.

        Raises
        ------
        ValueError
            If the input is not an image, or `partial_channels` is not 1.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        check_images(self, spec)
        from nasx.nn import ShuffleNetV2Supernet

        if partial_channels != 1:
            raise ValueError(
                "partial_channels must be 1 for ShuffleNetV2, whose choice blocks already work on a part of "
                f"the channels; got {partial_channels!r}"
            )
        return ShuffleNetV2Supernet(self, spec)


def _layers(stem: int, channels: Sequence[int], repeats: Sequence[int]) -> list[ShuffleLayer]:
    layers: list[ShuffleLayer] = []
    before = stem
    for width, repeat in zip(channels, repeats, strict=True):
        for i in range(repeat):
            layers.append(ShuffleLayer(f"layer{len(layers) + 1}", before, width, 1 if i else 2))
            before = width
    return layers


def _block(
    kind: str, shape: tuple[int, int, int], settings: dict[str, Any], *, channels_last: bool = True
) -> Block:
    return Block(kind, shape, tuple(sorted(settings.items())), channels_last)


def _checked(multipliers: Sequence[float], narrowest: int) -> tuple[float, ...]:
    """Check multipliers and what they make of the narrowest stage."""
    try:
        values = Ordinal(multipliers).choices
    except (TypeError, ValueError) as error:
        raise ValueError(f"multipliers: {error}") from None
    numbers = tuple(float(value) for value in values if isinstance(value, int | float))
    if numbers[0] <= 0:
        raise ValueError(f"multipliers must be positive; got {numbers[0]}")
    # Equal networks are one genotype: so different multipliers give different widths.
    for one, other in itertools.pairwise(numbers):
        width = scaled(narrowest // 2, one)
        if width == scaled(narrowest // 2, other):
            raise ValueError(
                f"multipliers {one} and {other} both give {width} inner channels where channels are "
                f"{narrowest}: take fewer multipliers, or more channels"
            )
    return numbers
