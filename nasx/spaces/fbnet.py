"""`FBNet`: the space of hardware-aware search with nine blocks in 22 layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from nasx.spaces._mobile import MobileSpace

__all__ = ["FBNet"]

_OPERATIONS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")


class FBNet(MobileSpace):
    """The networks of FBNet [1]_: inverted bottlenecks in seven stages, each of nine kinds.

    ``layer<i>`` is "k<kernel>_e<expansion>": a 1x1 convolution to that many times the channels, a depthwise
    convolution and a 1x1 convolution, with the input added where the shape stays. "_g2" has 1x1 convolutions
    in two groups, and shuffles channels between them. "skip" does nothing; where the shape changes it is a
    1x1 convolution, as in the released code. The choices are in the order in which tables of measured
    latencies number them [2]_.

    The default settings are the published space, 9**22 architectures for images of 224x224 pixels. For small
    images lower strides, channels and the number of stages.

    Parameters
    ----------
    channels : sequence of int, default (16, 24, 32, 64, 112, 184, 352)
        Channels of each stage; even, for groups of two.
    repeats : sequence of int, default (1, 4, 4, 4, 4, 4, 1)
        Layers of each stage; at most 200 in all.
    strides : sequence of int, default (1, 2, 2, 2, 1, 2, 1)
        Stride of each stage's first layer, 1 or 2.
    stem : int, default 16
        Channels of the 3x3 convolution before them.
    stem_stride : {2, 1}
        Its stride.
    head : int, default 1504
        Channels of the 1x1 convolution after them; FBNet-B and FBNet-C have 1984.
    width_multiplier : float, default 1.0
        What all these channels are multiplied by, to the nearest multiple of 8; the head's only by more
        than 1.

    Attributes
    ----------
    operations : tuple of str
        The nine choices.
    layers : tuple
        Where they stand: name, channels before and after, stride, operations.

    Raises
    ------
    ValueError
        If a number is out of range, or there is not one of each for every stage.

    References
    ----------
    .. [1] B. Wu et al., "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural
       Architecture Search", CVPR 2019.
    .. [2] C. Li et al., "HW-NAS-Bench: Hardware-Aware Neural Architecture Search Benchmark", ICLR 2021.

    Examples
    --------
    >>> from nasx import TaskSpec
    >>> FBNet().size == 9**22
    True
    >>> small = FBNet(channels=(8, 16), repeats=(1, 2), strides=(1, 2), stem=8, stem_stride=1, head=32)
    >>> architecture = small.decode([0, 7, 8])
    >>> dict(architecture)
    {'layer1': 'k3_e1', 'layer2': 'k5_e6', 'layer3': 'skip'}
    >>> network = architecture.build(TaskSpec((1, 8, 8), 10, "image_classification"))
    """

    operations: ClassVar[tuple[str, ...]] = _OPERATIONS
    activation = "relu"

    def __init__(
        self,
        *,
        channels: Sequence[int] = (16, 24, 32, 64, 112, 184, 352),
        repeats: Sequence[int] = (1, 4, 4, 4, 4, 4, 1),
        strides: Sequence[int] = (1, 2, 2, 2, 1, 2, 1),
        stem: int = 16,
        stem_stride: int = 2,
        head: int = 1504,
        width_multiplier: float = 1.0,
    ) -> None:
        super().__init__(
            channels=channels,
            repeats=repeats,
            strides=strides,
            stem=stem,
            stem_stride=stem_stride,
            head=head,
            width_multiplier=width_multiplier,
        )

    def operations_of(self, *, keeps_shape: bool) -> tuple[str, ...]:
        """Say what can stand in a layer: everything, whatever its shape."""
        return self.operations

    def _check_layers(self) -> None:
        for layer in self.layers:
            if layer.in_channels % 2 or layer.out_channels % 2:
                raise ValueError(
                    "stem and channels must be even, for convolutions in two groups; got "
                    f"{layer.in_channels} and {layer.out_channels} in {layer.name}"
                )
