"""Train one network that stands for thousands: ``pip install 'nasx[torch,data]'``; a few minutes.

A supernet learns on handwritten digits path by path, and is then searched under a limit on parameters: each
candidate is scored with the weights that all share. The winner leaves with its weights, as a plain module, is
trained on for five epochs, and is written as safetensors and JSON. Kill it and start it again: it goes on.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

import nasx
from nasx.tasks import ImageClassification
from nasx.tasks.datasets import load


def main() -> None:
    """Train, search, extract, fine-tune, save."""
    task = ImageClassification(**load("digits"), device="cpu")
    space = nasx.spaces.NASBench201(cells=1, channels=8)
    result = nasx.search(
        space,
        task,
        strategy=nasx.SPOS(epochs=12, batch_size=48, lr=0.1, sampling="fair"),
        evaluations=100,
        costs=["parameters"],
        limits={"parameters": 60_000},
        journal="one_shot_digits.db",
        progress=True,
    )
    print(result)
    best = result.best
    assert best is not None
    print(space.to_string(best.architecture), best.metrics)

    batches = task.loaders("train")
    network = best.architecture.extract(result.supernet, batches=batches)
    print(f"extracted: test error {task.score(network, 'test')['error']:.3f}")
    optimizer = torch.optim.SGD(network.parameters(), 0.02, momentum=0.9, weight_decay=5e-4)
    network.train()
    for _ in range(5):
        for images, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()
    print(f"trained on: test error {task.score(network, 'test')['error']:.3f}")
    nasx.nn.save_network(network, "one_shot_digits")
    again = nasx.nn.load_network("one_shot_digits")
    print(f"read again: test error {task.score(again, 'test')['error']:.3f}")


if __name__ == "__main__":
    main()
