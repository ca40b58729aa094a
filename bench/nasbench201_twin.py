"""A search network on NAS-Bench-201's cells as DARTS has it, in plain PyTorch, to compare nasx with.

Nothing here is clever: every operation on every edge runs, "none" among them, its output is multiplied by its
weight, and the terms are added up.
"""

from __future__ import annotations

import torch
from darts_twin import Zero
from torch import Tensor, nn
from torch.nn import functional as F


def relu_conv_norm(
    channels: int, outputs: int, size: int, stride: int = 1, *, affine: bool = False
) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, outputs, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outputs, affine=affine),
    )


class MixedOp(nn.Module):
    """The five operations, all of them run."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(
            [
                Zero(1),
                nn.Identity(),
                relu_conv_norm(channels, channels, 1),
                relu_conv_norm(channels, channels, 3),
                nn.AvgPool2d(3, 1, 1, count_include_pad=False),
            ]
        )

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return sum(weight * op(x) for weight, op in zip(weights, self.operations, strict=True))


class Cell(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(MixedOp(channels) for _ in range(6))

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        values, edge = [x], 0
        for _ in range(3):
            terms = []
            for value in values:
                terms.append(self.operations[edge](value, weights[edge]))
                edge += 1
            values.append(sum(terms))
        return values[-1]


class Reduction(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            relu_conv_norm(channels, 2 * channels, 3, 2, affine=True),
            relu_conv_norm(2 * channels, 2 * channels, 3, affine=True),
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(channels, 2 * channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.block(x)


class Network(nn.Module):
    """Three stages of `cells` cells, with weights for six edges and five operations."""

    def __init__(self, in_channels: int, outputs: int, channels: int, cells: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.body = nn.ModuleList()
        for stage in range(3):
            if stage:
                self.body.append(Reduction(channels))
                channels *= 2
            self.body.extend(Cell(channels) for _ in range(cells))
        self.norm, self.classifier = nn.BatchNorm2d(channels), nn.Linear(channels, outputs)
        self.alphas = nn.Parameter(1e-3 * torch.randn(6, 5))

    def forward(self, images: Tensor) -> Tensor:
        weights = F.softmax(self.alphas, -1)
        x = self.stem(images)
        for layer in self.body:
            x = layer(x, weights) if isinstance(layer, Cell) else layer(x)
        return self.classifier(F.relu(self.norm(x)).mean((2, 3)))

    def architecture_parameters(self) -> list[nn.Parameter]:
        return [self.alphas]

    def weight_parameters(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter is not self.alphas]
