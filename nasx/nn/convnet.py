"""The network that an architecture of `nasx.spaces.ConvNet` describes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nasx.nn.blocks import Classifier, ConvBlock

__all__ = ["ConvNetModule"]


class ConvNetModule(nn.Module):
    """A chain of convolutional blocks between a 3x3 stem and a linear classifier over pooled features.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    num_outputs : int
        Size of the output.
    stem_width : int
        Channels after the stem.
    blocks : iterable of mapping
        Of each block ``width``, its output channels, and the options of `ConvBlock`.

    Examples
    --------
    >>> import torch
    >>> blocks = [{"width": 16, "operation": "separable", "stride": 2}]
    >>> network = ConvNetModule(1, 10, stem_width=8, blocks=blocks)
    >>> network(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self, in_channels: int, num_outputs: int, *, stem_width: int, blocks: Iterable[Mapping[str, Any]]
    ) -> None:
        super().__init__()
        self.stem = ConvBlock(in_channels, stem_width)
        self.blocks = nn.Sequential()
        channels = stem_width
        for block in blocks:
            options = dict(block)
            width = options.pop("width")
            self.blocks.append(ConvBlock(channels, width, **options))
            channels = width
        self.classifier = Classifier(channels, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, in_channels, H, W)`` to scores ``(B, num_outputs)``."""
        features: Tensor = self.stem(images)
        if features.device.type == "cpu":
            # Depthwise convolutions train up to twice as fast in this layout.
            features = features.contiguous(memory_format=torch.channels_last)
        scores: Tensor = self.classifier(self.blocks(features))
        return scores
