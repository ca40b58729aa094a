"""The search network of DARTS as the paper describes it, in plain PyTorch, to compare nasx with.

Nothing here is clever: every operation on every edge runs, "none" among them, its output is multiplied by its
weight, and the terms are added up.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)


class Zero(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride].mul(0.0)


class FactorizedReduce(nn.Module):
    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        # Pixels are taken out first: strided 1x1 convolutions of few channels overwrite memory in torch 2.13.
        self.first = nn.Conv2d(channels, out_channels // 2, 1, bias=False)
        self.second = nn.Conv2d(channels, out_channels - out_channels // 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.norm(torch.cat([self.first(x[:, :, ::2, ::2]), self.second(x[:, :, 1::2, 1::2])], 1))


def relu_conv_norm(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels, affine=False),
    )


def separable(channels: int, size: int, stride: int, dilation: int) -> list[nn.Module]:
    return [
        nn.ReLU(),
        nn.Conv2d(
            channels,
            channels,
            size,
            stride,
            dilation * (size // 2),
            dilation,
            groups=channels,
            bias=False,
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=False),
    ]


def operation(name: str, channels: int, stride: int) -> nn.Module:
    if name == "none":
        return Zero(stride)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)
    if "pool" in name:
        pool = (
            nn.MaxPool2d(3, stride, 1)
            if name.startswith("max")
            else nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        )
        return nn.Sequential(pool, nn.BatchNorm2d(channels, affine=False))
    size = int(name[-1])
    if name.startswith("dil"):
        return nn.Sequential(*separable(channels, size, stride, 2))
    return nn.Sequential(*separable(channels, size, stride, 1), *separable(channels, size, 1, 1))


class MixedOp(nn.Module):
    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(operation(name, channels, stride) for name in OPERATIONS)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return sum(weight * op(x) for weight, op in zip(weights, self.operations, strict=True))


class PartialMixedOp(nn.Module):
    """PC-DARTS: the operations on one of K parts of the channels."""

    def __init__(self, channels: int, stride: int, portion: int) -> None:
        super().__init__()
        self.portion, self.stride = portion, stride
        self.mixed = MixedOp(channels // portion, stride)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        width = x.shape[1] // self.portion
        rest = x[:, width:]
        if self.stride == 2:
            rest = F.max_pool2d(rest, 2)
        y = torch.cat([self.mixed(x[:, :width], weights), rest], 1)
        batch, channels, height, width = y.shape
        y = y.view(batch, self.portion, channels // self.portion, height, width)
        return y.transpose(1, 2).reshape(batch, channels, height, width)


class Cell(nn.Module):
    def __init__(
        self, before: int, previous: int, channels: int, reduction: bool, reduction_before: bool, portion: int
    ) -> None:
        super().__init__()
        if reduction_before:
            self.from_before: nn.Module = FactorizedReduce(before, channels)
        else:
            self.from_before = relu_conv_norm(before, channels)
        self.from_previous = relu_conv_norm(previous, channels)
        self.operations = nn.ModuleList()
        for node in range(4):
            for source in range(2 + node):
                stride = 2 if reduction and source < 2 else 1
                self.operations.append(
                    MixedOp(channels, stride) if portion == 1 else PartialMixedOp(channels, stride, portion)
                )

    def forward(self, before: Tensor, previous: Tensor, weights: Tensor, edges: Tensor | None) -> Tensor:
        values = [self.from_before(before), self.from_previous(previous)]
        edge = 0
        for _ in range(4):
            terms = []
            for value in values:
                term = self.operations[edge](value, weights[edge])
                terms.append(term if edges is None else edges[edge] * term)
                edge += 1
            values.append(sum(terms))
        return torch.cat(values[2:], 1)


class Network(nn.Module):
    """The search network: `portion` 1 for DARTS, 4 for PC-DARTS, which weighs edges too."""

    def __init__(self, in_channels: int, outputs: int, channels: int, cells: int, portion: int = 1) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 3 * channels, 3, padding=1, bias=False), nn.BatchNorm2d(3 * channels)
        )
        before = previous = 3 * channels
        reduction_before = False
        self.cells = nn.ModuleList()
        self.reductions = []
        for place in range(cells):
            reduction = place in (cells // 3, 2 * cells // 3)
            channels = 2 * channels if reduction else channels
            self.cells.append(Cell(before, previous, channels, reduction, reduction_before, portion))
            self.reductions.append(reduction)
            before, previous, reduction_before = previous, 4 * channels, reduction
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(previous, outputs)
        self.alphas = nn.ParameterList(nn.Parameter(1e-3 * torch.randn(14, 8)) for _ in range(2))
        self.betas = nn.ParameterList(
            nn.Parameter(1e-3 * torch.randn(14)) for _ in range(2 if portion > 1 else 0)
        )

    def forward(self, images: Tensor) -> Tensor:
        weights = [F.softmax(alpha, -1) for alpha in self.alphas]
        edges: list[Tensor | None] = [None, None]
        for kind, beta in enumerate(self.betas):
            edges[kind] = torch.cat([F.softmax(part, -1) for part in beta.split([2, 3, 4, 5])])
        before = previous = self.stem(images)
        for reduction, cell in zip(self.reductions, self.cells, strict=True):
            before, previous = previous, cell(before, previous, weights[reduction], edges[reduction])
        return self.classifier(self.pool(previous).flatten(1))

    def architecture_parameters(self) -> list[nn.Parameter]:
        return [*self.alphas, *self.betas]

    def weight_parameters(self) -> list[nn.Parameter]:
        chosen = {id(parameter) for parameter in self.architecture_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in chosen]
