"""Search among the layers of a module of one's own: ``pip install 'nasx[torch,data]'``; about a minute.

A small network for handwritten digits leaves three things open: the operation of each of two layers, and
which of the values before it the classifier reads. ``nasx.space_of`` makes a search space of it; what comes
out is the same class with the chosen layers in these places.
"""

from __future__ import annotations

from torch import Tensor, nn

import nasx
from nasx.nn import InputChoice, LayerChoice
from nasx.tasks import ImageClassification
from nasx.tasks.datasets import load


class Separable(nn.Sequential):
    """A convolution of each channel, then one between channels."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, size, padding=size // 2, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1),
        )


class Digits(nn.Module):
    """Maps images ``(B, 1, 8, 8)`` to scores ``(B, 10)``."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.layers = nn.ModuleList(
            LayerChoice(
                {
                    "conv3x3": lambda c: nn.Conv2d(c, c, 3, padding=1),
                    "separable5x5": lambda c: Separable(c, 5),
                    "pool": lambda c: nn.MaxPool2d(3, stride=1, padding=1),
                    "skip": lambda c: nn.Identity(),
                },
                channels=channels,
            )
            for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in self.layers)
        self.read = InputChoice(3, chosen=2, name="read")
        self.head = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the scores."""
        values = [self.stem(x)]
        for layer, norm in zip(self.layers, self.norms, strict=True):
            values.append(norm(layer(values[-1])).relu())
        scores: Tensor = self.head(self.read(values).amax((2, 3)))
        return scores


def main() -> None:
    """Search, train the best network, show it."""
    digits = load("digits")
    task = ImageClassification(digits["train"], digits["valid"], digits["test"], epochs=4, threads=1)
    # The class, not a module: every network begins with weights of its own.
    space = nasx.space_of(Digits)
    print(f"{space.size} networks; decisions: {', '.join(space)}")
    result = nasx.search(
        space,
        task,
        strategy=nasx.RegularizedEvolution(population_size=8, sample_size=3),
        evaluations=24,
    )
    # The same call with strategy="darts" or "pc_darts" trains all of them at once, in a supernet.
    best = result.best
    print(f"{dict(best.architecture)}: validation error {best.metrics['error']:.3f}")
    trained = result.retrain(task, epochs=15)
    print(f"trained for longer: test error {trained.metrics['test_error']:.3f}")
    print(trained.model)


if __name__ == "__main__":
    main()
