"""Learn cells by gradients: ``pip install 'nasx[torch,data,plot]'``; some minutes.

A supernet of four cells learns on handwritten digits, weights and architecture in turns. The cells that it
derives are drawn, and their network is trained from scratch and tested. ``nasx.DARTS`` in the place of
``nasx.PCDARTS`` is the original method, which takes longer. Kill it and start it again: it goes on from its
last epoch.
"""

from __future__ import annotations

import nasx
from nasx.tasks import ImageClassification
from nasx.tasks.datasets import load


def main() -> None:
    """Search, draw, train."""
    task = ImageClassification(**load("digits"), augment="standard", lr=0.05, grad_clip=5.0)
    space = nasx.spaces.DARTS(cells=4, channels=8)
    strategy = nasx.PCDARTS(epochs=20, batch_size=64, lr=0.025, architecture_lr=0.01)
    result = nasx.search(space, task, strategy=strategy, journal="darts_digits.db", progress=True)
    best = result.best
    assert best is not None
    skips, operations = result.supernet.skips(best.architecture)
    print(f"{skips} of {operations} operations of the normal cell are skip connections")
    print(f"with the supernet's weights: validation error {best.metrics['error']:.3f}")
    best.architecture.plot("darts_cells.png")
    result.plot("darts_history.png")
    network, metrics = result.retrain(task, epochs=30)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    print(f"trained from scratch: test error {metrics['test_error']:.3f}, {parameters:,} parameters")


if __name__ == "__main__":
    main()
