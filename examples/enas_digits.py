"""Search whole networks with ENAS: ``pip install 'nasx[torch,data,plot]'``; about a minute.

A supernet of six layers learns on handwritten digits, every batch on a path of its own, in turns with the
controller that draws these paths. The network that it finds at last is drawn, and trained from scratch.
``nasx.spaces.ENASCell(cells=3, channels=8, nodes=3)`` in the place of ``ENASMacro`` searches cells. Kill it
and start it again: it goes on from its last epoch.
"""

from __future__ import annotations

import nasx
from nasx.tasks import ImageClassification
from nasx.tasks.datasets import load


def main() -> None:
    """Search, draw, train."""
    task = ImageClassification(**load("digits"), augment="standard", lr=0.05, grad_clip=5.0)
    space = nasx.spaces.ENASMacro(layers=6, channels=12)
    strategy = nasx.ENAS(
        epochs=15,
        architecture_data=0.2,
        restart_epochs=None,
        controller_lr=0.01,
        controller_steps=20,
        controller_samples=5,
    )
    result = nasx.search(space, task, strategy=strategy, journal="enas_digits.db", progress=True)
    best = result.best
    assert best is not None
    final = result.history[-1]["final"]
    print(
        f"held-out accuracy: {final['reward']:.3f}, {final['mean_reward']:.3f} on average of what was drawn"
    )
    print(f"with the supernet's weights: validation error {best.metrics['error']:.3f}")
    best.architecture.plot("enas_network.png")
    result.plot("enas_history.png")
    network, metrics = result.retrain(task, epochs=20)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    print(f"trained from scratch: test error {metrics['test_error']:.3f}, {parameters:,} parameters")


if __name__ == "__main__":
    main()
