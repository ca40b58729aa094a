"""The supernet of FBNet's space and the steps of FBNet and ProxylessNAS in plain PyTorch.

Nothing here is clever: every block that a step needs runs, its output is multiplied by its weight, and the
terms are added up. Parameters are in the order of nasx's supernet, so that they can be copied.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def norm(channels: int, affine: bool = False) -> nn.Module:
    return nn.BatchNorm2d(channels, affine=affine)


class Block(nn.Module):
    """One of the nine blocks, with the input added where the shape stays."""

    def __init__(self, name: str, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        self.idle = name == "skip" and self.residual
        if name == "skip":
            self.body: nn.Module = (
                nn.Identity()
                if self.idle
                else nn.Sequential(
                    # Pixels are taken out first: strided 1x1 convolutions of few channels overwrite memory in
                    # torch 2.13.
                    nn.MaxPool2d(1, stride),
                    nn.Conv2d(inputs, outputs, 1, bias=False),
                    norm(outputs),
                    nn.ReLU(),
                )
            )
            self.residual = False
            return
        kernel, expansion, *more = name.split("_")
        size, inner = int(kernel[1]), inputs * int(expansion[1])
        groups = 2 if more else 1
        self.body = nn.Sequential(
            nn.Conv2d(inputs, inner, 1, groups=groups, bias=False),
            norm(inner),
            nn.ReLU(),
            nn.ChannelShuffle(2) if more else nn.Identity(),
            nn.Conv2d(inner, inner, size, stride, size // 2, groups=inner, bias=False),
            norm(inner),
            nn.ReLU(),
            nn.Conv2d(inner, outputs, 1, groups=groups, bias=False),
            norm(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


class Network(nn.Module):
    """The supernet; `space` is a `nasx.spaces.FBNet`, of which only the numbers are taken."""

    def __init__(self, space: object, in_channels: int, outputs: int) -> None:
        super().__init__()
        frame = space.frame  # type: ignore[attr-defined]
        layers = space.layers  # type: ignore[attr-defined]
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, frame["stem"], 3, frame["stem_stride"], 1, bias=False),
            norm(frame["stem"], True),
            nn.ReLU(),
        )
        self.layers = nn.ModuleList(
            nn.ModuleList(
                Block(name, layer.in_channels, layer.out_channels, layer.stride) for name in layer.operations
            )
            for layer in layers
        )
        self.head = nn.Sequential(
            nn.Conv2d(frame["channels"], frame["head"], 1, bias=False),
            norm(frame["head"], True),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(frame["head"], outputs),
        )
        self.alphas = nn.ParameterList(nn.Parameter(torch.zeros(len(layer.operations))) for layer in layers)

    def weights(self) -> list[nn.Parameter]:
        alphas = {id(one) for one in self.alphas}
        return [one for one in self.parameters() if id(one) not in alphas]

    def mixture(self, x: Tensor, drawn: list[Tensor]) -> Tensor:
        x = self.stem(x)
        for blocks, row in zip(self.layers, drawn, strict=True):
            x = sum(weight * block(x) for weight, block in zip(row, blocks, strict=True))
        return self.head(x)

    def path(self, x: Tensor, taken: list[int]) -> Tensor:
        x = self.stem(x)
        for blocks, k in zip(self.layers, taken, strict=True):
            x = blocks[k](x)
        return self.head(x)

    def pairs(self, x: Tensor, pairs: list[tuple[int, int]], gates: list[Tensor]) -> Tensor:
        """As in the released code: what the other block gives is detached, after it was computed."""
        x = self.stem(x)
        for blocks, (one, other), gate in zip(self.layers, pairs, gates, strict=True):
            x = gate[0] * blocks[one](x) + gate[1] * blocks[other](x).detach()
        return self.head(x)


class FBNetTwin:
    """A step of weights and one of logits, on Gumbel softmax draws."""

    def __init__(self, network: Network, entries: list[Tensor], temperature: float = 5.0) -> None:
        self.network, self.entries, self.temperature = network, entries, temperature
        self.sgd = torch.optim.SGD(network.weights(), 0.1, momentum=0.9, weight_decay=1e-4)
        self.adam = torch.optim.Adam(network.alphas, 0.01, weight_decay=5e-4)

    def draw(self) -> list[Tensor]:
        return [F.gumbel_softmax(row[None], tau=self.temperature)[0] for row in self.network.alphas]

    def weight_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        with torch.no_grad():
            drawn = self.draw()
        self.sgd.zero_grad()
        loss = F.cross_entropy(self.network.mixture(batch[0], drawn), batch[1])
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.weights(), 5.0)
        self.sgd.step()
        return loss.detach()

    def architecture_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        drawn = self.draw()
        self.adam.zero_grad()
        loss = F.cross_entropy(self.network.mixture(batch[0], drawn), batch[1])
        cost = sum((row * costs).sum() for row, costs in zip(drawn, self.entries, strict=True))
        (loss * 0.2 * torch.log(cost) ** 0.6).backward()
        self.adam.step()
        return loss.detach()


class ProxylessTwin:
    """A step of weights on a path, and one of logits on pairs."""

    def __init__(self, network: Network, entries: list[Tensor], target: float) -> None:
        self.network, self.entries, self.target = network, entries, target
        self.sgd = torch.optim.SGD(network.weights(), 0.025, momentum=0.9, weight_decay=4e-5, nesterov=True)
        self.adam = torch.optim.Adam(network.alphas, 0.001, betas=(0.0, 0.999))

    def weight_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        taken = [int(torch.multinomial(torch.softmax(row.detach(), 0), 1)) for row in self.network.alphas]
        self.sgd.zero_grad()
        loss = F.cross_entropy(self.network.path(batch[0], taken), batch[1])
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.weights(), 5.0)
        self.sgd.step()
        return loss.detach()

    def architecture_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        pairs, gates = [], []
        for row in self.network.alphas:
            two = torch.multinomial(torch.softmax(row.detach(), 0), 2)
            first = int(torch.multinomial(torch.softmax(row.detach()[two], 0), 1))
            pairs.append((int(two[first]), int(two[1 - first])))
            gates.append(torch.tensor([1.0, 0.0], requires_grad=True))
        self.network.zero_grad()
        loss = F.cross_entropy(self.network.pairs(batch[0], pairs, gates), batch[1])
        shares = [torch.softmax(row.detach(), 0).requires_grad_() for row in self.network.alphas]
        cost = sum((row * costs).sum() for row, costs in zip(shares, self.entries, strict=True))
        (loss + 0.1 * (cost - self.target) / self.target).backward()
        before = []
        for row, pair, gate, share in zip(self.network.alphas, pairs, gates, shares, strict=True):
            at = torch.tensor(pair)
            s = torch.softmax(row.detach()[at], 0)
            change = gate.grad + share.grad[at]
            row.grad = torch.zeros_like(row)
            row.grad[at] = s * (change - (s * change).sum())
            before.append(row.detach()[at].logsumexp(0))
        self.adam.step()
        with torch.no_grad():
            for row, pair, total in zip(self.network.alphas, pairs, before, strict=True):
                at = torch.tensor(pair)
                row[at] += total - row[at].logsumexp(0)
        return loss.detach()
