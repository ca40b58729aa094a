"""`ProxylessMobile`: the space of ProxylessNAS, with the stages of MobileNet V2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from nasx._arguments import count
from nasx.spaces._mobile import MobileSpace

__all__ = ["ProxylessMobile"]

_OPERATIONS = ("k3_e3", "k3_e6", "k5_e3", "k5_e6", "k7_e3", "k7_e6", "skip")


class ProxylessMobile(MobileSpace):
    """The networks of ProxylessNAS for mobile phones [1]_: MobileNet V2 with chosen kernels and widths.

    ``layer<i>`` is "k<kernel>_e<expansion>": a 1x1 convolution to that many times the channels, a depthwise
    convolution and a 1x1 convolution, with the input added where the shape stays. There it can be "skip" too,
    so that the depth is chosen. Before the layers stands a block without expansion that nobody chooses.

    The default settings are the published space, 6**6 * 7**15 architectures for images of 224x224 pixels. For
    small images lower strides, channels and the number of stages.

    Parameters
    ----------
    channels : sequence of int, default (24, 40, 80, 96, 192, 320)
        Channels of each stage. These are the released code's; the published network has 32 in the first.
    repeats : sequence of int, default (4, 4, 4, 4, 4, 1)
        Layers of each stage; at most 200 in all.
    strides : sequence of int, default (2, 2, 2, 1, 2, 1)
        Stride of each stage's first layer, 1 or 2.
    stem : int, default 32
        Channels of the 3x3 convolution before them.
    stem_stride : {2, 1}
        Its stride.
    first : int, default 16
        Channels of the block after that: a depthwise 3x3 and a 1x1 convolution.
    head : int, default 1280
        Channels of the 1x1 convolution after the layers.
    width_multiplier : float, default 1.0
        What all these channels are multiplied by, to the nearest multiple of 8; the head's only by more
        than 1.

    Attributes
    ----------
    operations : tuple of str
        The choices of layers that keep the shape; the others have all but the last.
    layers : tuple
        Where they stand: name, channels before and after, stride, operations.

    Raises
    ------
    ValueError
        If a number is out of range, or there is not one of each for every stage.

    References
    ----------
    .. [1] H. Cai, L. Zhu and S. Han, "ProxylessNAS: Direct Neural Architecture Search on Target Task and
       Hardware", ICLR 2019.

    Examples
    --------
    >>> from nasx import TaskSpec
    >>> ProxylessMobile().size == 6**6 * 7**15
    True
    >>> small = ProxylessMobile(
    ...     channels=(8, 16), repeats=(1, 2), strides=(1, 2), stem=8, stem_stride=1, first=8, head=32
    ... )
    >>> small.cardinalities
    array([7, 6, 7], dtype=int32)
    >>> network = small.decode([6, 5, 6]).build(TaskSpec((1, 8, 8), 10, "image_classification"))
    """

    operations: ClassVar[tuple[str, ...]] = _OPERATIONS
    activation = "relu6"

    def __init__(
        self,
        *,
        channels: Sequence[int] = (24, 40, 80, 96, 192, 320),
        repeats: Sequence[int] = (4, 4, 4, 4, 4, 1),
        strides: Sequence[int] = (2, 2, 2, 1, 2, 1),
        stem: int = 32,
        stem_stride: int = 2,
        first: int = 16,
        head: int = 1280,
        width_multiplier: float = 1.0,
    ) -> None:
        self._first = count(first, "first")
        super().__init__(
            channels=channels,
            repeats=repeats,
            strides=strides,
            stem=stem,
            stem_stride=stem_stride,
            head=head,
            width_multiplier=width_multiplier,
        )

    @property
    def first(self) -> int:
        """Channels of the block without expansion before the layers."""
        return self._first

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON types."""
        return super().settings | {"first": self._first}

    def operations_of(self, *, keeps_shape: bool) -> tuple[str, ...]:
        """Say what can stand in a layer: "skip" only where the shape stays."""
        return self.operations if keeps_shape else self.operations[:-1]
