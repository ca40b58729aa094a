"""Steps of DARTS and PC-DARTS against a plain twin in PyTorch: python bench/bench_darts.py.

The twins (darts_twin.py, and nasbench201_twin.py for DARTS on that space) are written as the papers describe,
in both memory layouts. Losses and gradients are compared first, on the same weights and images. `--memory`
prints the peak memory of each in its own process.
"""

from __future__ import annotations

import argparse
import functools
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import darts_twin
import harness  # first: it cleans the environment
import nasbench201_twin
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import nasx
from nasx.nn.mixed import recompute_operations
from nasx.strategies.differentiable.training import Training

VARIANTS = ("eager NCHW", "eager channels-last", "nasx", "nasx, computed again")
# Methods, with the parts of the channels and whether the space is NAS-Bench-201's.
METHODS = {"darts": (1, False), "pc_darts": (4, False), "nasbench201": (1, True)}


class Twin:
    """The twin's steps."""

    def __init__(self, network: Any, channels_last: bool) -> None:
        self.network, self.channels_last = network, channels_last
        if channels_last:
            network.to(memory_format=torch.channels_last)
        self.weights = torch.optim.SGD(network.weight_parameters(), 0.025, momentum=0.9, weight_decay=3e-4)
        self.alphas = torch.optim.Adam(
            network.architecture_parameters(), 3e-4, betas=(0.5, 0.999), weight_decay=1e-3
        )

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return F.cross_entropy(self.network(images), labels)

    def weight_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        self.weights.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.weight_parameters(), 5)
        self.weights.step()
        return loss.detach()

    def architecture_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        self.alphas.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        self.alphas.step()
        return loss.detach()


class Ours:
    """nasx's steps."""

    def __init__(self, supernet: Any, task: Any, portion: int, recompute: bool) -> None:
        strategy = nasx.DARTS() if portion == 1 else nasx.PCDARTS()
        recompute_operations(supernet, recompute)
        self.network = supernet
        self.training = Training(strategy, supernet, task, seed=0, device="cpu", deadline=None)
        for group in self.training.weight_optimizer.param_groups:
            group["lr"] = 0.025
        for group in self.training.architecture_optimizer.param_groups:
            group["lr"] = 3e-4
        supernet.train()

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self.training._loss(batch)

    def weight_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self.training.weight_step(batch)

    def architecture_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self.training.architecture_step(batch, batch)


def make(variant: str, options: argparse.Namespace, method: str) -> tuple[Any, tuple[Tensor, Tensor]]:
    """One variant with the weights that all have, and a batch."""
    torch.manual_seed(0)
    portion, on_nasbench201 = METHODS[method]
    side, batch = options.side, options.batch_size
    images, labels = torch.randn(batch, options.in_channels, side, side), torch.arange(batch) % 10
    sizes = options.in_channels, 10, options.channels
    if on_nasbench201:
        twin: Any = nasbench201_twin.Network(*sizes, options.cells_of_stage)
        space: Any = nasx.spaces.NASBench201(cells=options.cells_of_stage, channels=options.channels)
    else:
        twin = darts_twin.Network(*sizes, options.cells, portion)
        space = nasx.spaces.DARTS(cells=options.cells, channels=options.channels)
    if not variant.startswith("nasx"):
        return Twin(twin.train(), variant == "eager channels-last"), (images, labels)
    task = nasx.tasks.ImageClassification(
        (images, labels), (images, labels), num_classes=10, normalize=False, device="cpu"
    )
    supernet = space.supernet(task.spec, partial_channels=portion, edge_normalization=portion > 1)
    copy_twin(twin, supernet)
    return Ours(supernet, task, portion, variant != "nasx"), (images, labels)


def copy_twin(twin: Any, supernet: Any) -> None:
    """Give a supernet the twin's weights: the same tensors in the same order."""
    mine, theirs = supernet.weight_parameters(), twin.weight_parameters()
    with torch.no_grad():
        for own, other in zip(mine, theirs, strict=True):
            own.copy_(other)
        for own, other in zip(
            supernet.architecture_parameters(), twin.architecture_parameters(), strict=True
        ):
            own.copy_(other)


def check(options: argparse.Namespace, method: str) -> None:
    """Compare losses and all gradients, in double precision and on a small network: there it is slow.

    In single precision rounding alone makes the two layouts of the whole network differ by 2e-3.
    """
    small = argparse.Namespace(
        **vars(options) | {"channels": 8, "cells": 4, "cells_of_stage": 1, "side": 8, "batch_size": 10}
    )
    first: Tensor | None = None
    for name in VARIANTS:
        side, (images, labels) = make(name, small, method)
        network = side.network.double()
        parameters = [*network.weight_parameters(), *network.architecture_parameters()]
        loss = F.cross_entropy(network(images.double()), labels)
        values = [loss.detach().reshape(1), *(g.flatten() for g in torch.autograd.grad(loss, parameters))]
        joined = torch.cat(values)
        first = joined if first is None else first
        error = float((joined - first).norm() / first.norm())
        print(f"small network, double: loss {float(joined[0]):.9f}, gradients {error:.1e} relative: {name}")
        if error > 1e-9:
            raise AssertionError(f"{name} gives other gradients")


def measure(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Times in seconds, in turn; the first round is left out."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - begun)
    return {name: found[1:] for name, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--cells-of-stage", type=int, default=5, help="N of NAS-Bench-201")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--side", type=int, default=32, help="height and width of the images")
    parser.add_argument("--in-channels", type=int, default=3, help="of the images")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", choices=tuple(METHODS))
    parser.add_argument("--memory", action="store_true", help="peak memory instead of times")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        variant, method, step = options.child.split("/")
        side, batch = make(variant, options, method)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        getattr(side, step)(batch)
        print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    harness.machine("torch")
    print(f"torch: {torch.get_num_threads()} threads; {vars(options)}")
    for method in METHODS:
        if options.only not in (None, method):
            continue
        if options.memory:
            for step in ("weight_step", "architecture_step"):
                for variant in VARIANTS:
                    command = [sys.executable, *sys.argv, "--child", f"{variant}/{method}/{step}"]
                    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                    before, after = map(int, printed.split())
                    print(
                        f"{method} {step:<18} {variant:<20} {(after - before) / 2**20:6.2f} GiB", flush=True
                    )
            continue
        sides: dict[str, Any] = {}
        for variant in VARIANTS:
            sides[variant], batch = make(variant, options, method)
        check(options, method)
        for step in ("weight_step", "architecture_step"):
            calls = {name: functools.partial(getattr(side, step), batch) for name, side in sides.items()}
            times = measure(calls, options.repeats)
            harness.show(f"{method} {step}", times, "nasx")


if __name__ == "__main__":
    main()
