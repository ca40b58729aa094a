"""Paths of elastic supernets against their networks alone: python bench/bench_elastic.py [--batch 64].

For `ShuffleNetV2` at three widths: equal outputs first, then a forward and a backward pass of the supernet's
path and of the same network taken out, in turn; least times and their ratio. Then what the gradients hold: a
path's are as large as its blocks' weights at their widest, and zero where a narrower block has none.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from harness import machine  # first: it sets up the process

import numpy as np  # isort: skip
import torch
from torch import nn

import nasx


def alone(network: nn.Module) -> nn.Module:
    """Take from units' batch normalisations the scale that those of the supernet do not learn."""
    for norm in network.units.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.weight = norm.bias = None
            norm.affine = False
    return network.train()


def in_turn(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Give the least time of each, in ms."""
    least = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            least[name] = min(least[name], 1e3 * (time.perf_counter() - began))
    return least


def megabytes(network: nn.Module) -> float:
    return sum(p.grad.numel() for p in network.parameters() if p.grad is not None) * 4 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    machine("torch")
    print(
        f"forward and backward, {options.batch} images of 32x32, least ms of {options.rounds} rounds in turn"
    )
    space = nasx.spaces.ShuffleNetV2()
    supernet = space.supernet(nasx.TaskSpec((3, 32, 32), 10, "image_classification")).train()
    x = torch.randn(options.batch, 3, 32, 32)
    random = np.random.default_rng(0)
    for multiplier in (0.2, 1.0, 2.0):
        row = np.empty(len(space), np.int32)
        row[::2], row[1::2] = space["layer1.width"].index(multiplier), random.integers(4, size=20)
        architecture = space.decode(row)
        network = alone(supernet.extract(architecture))

        def path() -> torch.Tensor:
            supernet.zero_grad(set_to_none=True)
            with supernet.path(architecture):  # noqa: B023 - called in this round
                out = supernet(x)
            out.sum().backward()
            return out.detach()

        def plain() -> torch.Tensor:
            network.zero_grad(set_to_none=True)  # noqa: B023
            out = network(x)  # noqa: B023
            out.sum().backward()
            return out.detach()

        for _ in range(2):
            torch.testing.assert_close(path(), plain(), rtol=1e-4, atol=1e-4)
        least = in_turn({"alone": plain, "path": path}, options.rounds)
        print(
            f"  width {multiplier:3.1f}   alone {least['alone']:8.1f}   path {least['path']:8.1f}   time x "
            f"{least['path'] / least['alone']:.3f}   gradients {megabytes(network):.1f} and "
            f"{megabytes(supernet):.1f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
