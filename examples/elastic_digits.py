"""Train once, take networks of many sizes: ``pip install 'nasx[torch,data]'``; about a minute.

A small network for handwritten digits has an elastic width, kernel size, expansion and depth. Every step of
its training runs the largest network, the smallest and two in between (the sandwich rule), and the largest
one teaches the others. Afterwards each of its networks can be taken out with its weights, as a plain module:
nothing is trained again, only batch normalisations are measured.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

import nasx
from nasx.hardware import ParamsTable
from nasx.nn import (
    Elastic,
    ElasticBatchNorm2d,
    ElasticConv2d,
    ElasticLinear,
    ElasticProduct,
    ElasticRepeat,
    recalibrate,
)
from nasx.space import Genotypes
from nasx.strategies.one_shot.distillation import sandwich_losses
from nasx.strategies.one_shot.elastic_sampling import extremes, sandwich
from nasx.tasks import ImageClassification
from nasx.tasks.datasets import load


class Bottleneck(nn.Module):
    """A residual block that works at a multiple of the network's width."""

    def __init__(self, width: Elastic, number: int) -> None:
        super().__init__()
        hidden: ElasticProduct = width * Elastic([1, 2, 3], name=f"expansion{number}")
        kernel = Elastic([3, 5], name=f"kernel{number}")
        self.body = nn.Sequential(
            ElasticConv2d(width, hidden, 1, bias=False),
            ElasticBatchNorm2d(hidden),
            nn.ReLU(),
            ElasticConv2d(hidden, hidden, kernel, groups=hidden, bias=False),
            ElasticBatchNorm2d(hidden),
            nn.ReLU(),
            ElasticConv2d(hidden, width, 1, bias=False),
            ElasticBatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, width, H, W)`` to the same shape."""
        out: Tensor = x + self.body(x)
        return out


class Digits(nn.Module):
    """Maps images ``(B, 1, 8, 8)`` to scores ``(B, 10)``."""

    def __init__(self) -> None:
        super().__init__()
        width = Elastic([12, 18, 24], name="width")
        self.stem = nn.Sequential(ElasticConv2d(1, width, 3), ElasticBatchNorm2d(width), nn.ReLU())
        self.blocks = ElasticRepeat(
            [Bottleneck(width, i) for i in range(1, 4)], Elastic([1, 2, 3], name="depth")
        )
        self.head = ElasticLinear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the scores."""
        scores: Tensor = self.head(self.blocks(self.stem(x)).amax((2, 3)))
        return scores


def draws(space: nasx.Space) -> Iterator[Genotypes]:
    """Give random networks without end."""
    for seed in itertools.count():
        yield from space.sample(256, seed=seed)


def main() -> None:
    """Train the supernet, then compare networks of all sizes."""
    torch.manual_seed(0)
    digits = load("digits")
    task = ImageClassification(digits["train"], digits["valid"], digits["test"], threads=1)
    space = nasx.space_of(Digits)
    parameters = ParamsTable().bind(space, task.spec)
    largest, smallest = extremes(space, parameters)
    sizes = parameters([smallest, largest]).astype(int)
    print(f"{space.size} networks of {sizes[0]} to {sizes[1]} parameters")

    supernet = space.supernet()
    steps = sandwich(draws(space), largest, smallest, randoms=2)
    optimizer = torch.optim.SGD(supernet.weight_parameters(), 0.05, momentum=0.9)
    batches = task.loaders("train", 0, training=True, batch_size=96)
    for _ in range(15):
        losses = []
        for batch in batches:
            optimizer.zero_grad()
            values = sandwich_losses(supernet, lambda b: task.loss(supernet, b), batch, next(steps))
            for value in values:
                value.backward()
                losses.append(value.item())
            nn.utils.clip_grad_norm_(supernet.weight_parameters(), 5.0)
            optimizer.step()
    print(f"trained: loss {sum(losses) / len(losses):.3f}")

    rows = [smallest, *space.sample(6, seed=1), largest]
    for row in sorted(rows, key=lambda row: float(parameters([row])[0])):
        network = supernet.extract(space.decode(row))
        recalibrate(network, itertools.islice(batches, 10), lambda batch, n=network: n(batch[0]))
        error = task.score(network, "test")["error"]
        print(
            f"{int(parameters([row])[0]):6d} parameters: test error {error:.3f}   {dict(space.decode(row))}"
        )


if __name__ == "__main__":
    main()
