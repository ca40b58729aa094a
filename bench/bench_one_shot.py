"""One-shot search against what it is made of: python bench/bench_one_shot.py [--small].

(a) A step on one path of a supernet beside the same step of the path's network alone, of PyTorch's layers, in
    both layouts: equal gradients first, in double precision, then times in turn and the ratio of minima to
    the faster one; and the bytes that are kept for the gradients.
(b) Scoring candidates, with batch normalisations measured anew, beside the bare forward passes that it needs.
(c) Candidates proposed and filtered by limits on FLOPs and latency beside a Python loop over dicts: in one
    go, and by the genetic search in generations, with losses told.
(d) A step on random paths of each space with native kernels beside the same with PyTorch's operators alone,
    both in the layout in which they are faster.
"""

from __future__ import annotations

import argparse
import copy
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from harness import machine  # first: it sets up the process

import numpy as np  # isort: skip
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import nasx
from nasx import population
from nasx.nn import plain
from nasx.nn.kernels import kernels_in_use, use_kernels
from nasx.strategies.one_shot.training import PathTraining
from nasx.tasks import ImageClassification, SharedWeights


def images(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, 32, 32, generator=generator), torch.arange(n) % 10


def alone(supernet: nn.Module, architecture: nasx.Architecture) -> nn.Module:
    """A path's network with its weights, and batch normalisations that learn no more than the supernet's."""
    network = supernet.extract(architecture)
    for cell in network.body:
        for norm in cell.modules() if hasattr(cell, "operations") else ():
            if isinstance(norm, nn.BatchNorm2d):
                norm.weight = norm.bias = None
                norm.affine = False
    return network.train()


def in_turn(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    return times


def kept(run: Callable[[], object]) -> int:
    total = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return total


def step(space: nasx.Space, batch_size: int, rounds: int) -> None:
    batch = images(batch_size, 0)
    task = ImageClassification(images(64, 1), images(64, 2), normalize=False, device="cpu")
    print(f"(a) one step, batch {batch_size}: least ms of {rounds} rounds in turn, ratio (at most 1.05)")
    for name, cell in {
        "all 3x3 convolutions": [3] * 6,
        "all 1x1 convolutions": [2] * 6,
        "all poolings": [4] * 6,
        "mixed": [3, 1, 4, 0, 2, 3],
    }.items():
        torch.manual_seed(0)
        supernet = space.supernet(task.spec)
        settings = nasx.SPOS()
        training = PathTraining(settings, supernet, task, seed=0, device=None, deadline=None)
        architecture = space.architecture(np.array(cell, np.int32))
        network = plain(alone(supernet, architecture))
        supernet.train()
        check(supernet, architecture, network)

        def step_of(network: nn.Module, layout: torch.memory_format) -> Callable[[], object]:
            network = network.to(memory_format=layout)
            x = batch[0].contiguous(memory_format=layout)
            parameters = list(network.parameters())
            optimizer = torch.optim.SGD(
                parameters,
                settings.lr,  # noqa: B023 - called in this round
                momentum=settings.momentum,  # noqa: B023
                weight_decay=settings.weight_decay,  # noqa: B023
            )

            def run() -> None:
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(network(x), batch[1]).backward()
                nn.utils.clip_grad_norm_(parameters, settings.grad_clip)  # noqa: B023
                optimizer.step()

            return run

        calls = {
            "NCHW": step_of(copy.deepcopy(network), torch.contiguous_format),
            "channels last": step_of(copy.deepcopy(network), torch.channels_last),
            "path": lambda: training.step(batch, [architecture.genotype]),  # noqa: B023
        }
        in_turn(calls, 2)
        least = {key: min(values) * 1e3 for key, values in in_turn(calls, rounds).items()}
        peer = min(least["NCHW"], least["channels last"])
        with supernet.path(architecture):
            memory = kept(lambda: supernet(batch[0])) / kept(lambda: network(batch[0]))  # noqa: B023
        print(
            f"  {name:<22} alone {least['NCHW']:8.2f}, channels last {least['channels last']:8.2f}  "
            f"path {least['path']:8.2f}  time x {least['path'] / peer:.3f}  memory x {memory:.3f}",
            flush=True,
        )


def check(supernet: nasx.nn.Supernet, architecture: nasx.Architecture, network: nn.Module) -> None:
    """Compare outputs and gradients of the images, in double precision: in single, layouts alone differ."""
    found = []
    x = images(8, 3)[0].double().requires_grad_()
    with supernet.path(architecture):
        for one in (supernet.double(), network.double()):
            scores = one(x)
            found.append((scores, *torch.autograd.grad(scores.square().sum(), x)))
            one.float()
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)


def scoring(space: nasx.Space, candidates: int, batches: int, rounds: int) -> None:
    task = ImageClassification(
        images(64 * batches, 1), images(512, 2), batch_size=64, normalize=False, device="cpu"
    )
    torch.manual_seed(0)
    supernet = space.supernet(task.spec).train()
    shared = SharedWeights(supernet, task, batches=batches)
    rows = [space.architecture(row) for row in nasx.RandomSearch().setup(space).ask(candidates)]
    networks = [alone(supernet, architecture) for architecture in rows]
    training = list(task.loaders("train", 0, training=True))
    valid = list(task.loaders("valid"))
    shared.evaluate(rows[0])  # reads its batches once

    def bare(network: nn.Module) -> float:
        network.eval()
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        with torch.inference_mode():
            for norm in norms:
                norm.train()
            for x, _ in training[:batches]:
                network(x)
            network.eval()
            return float(sum((network(x).argmax(1) == y).sum() for x, y in valid))

    total = {"bare": 0.0, "scored": 0.0}
    for architecture, network in zip(rows, networks, strict=True):
        calls = {"bare": lambda n=network: bare(n), "scored": lambda a=architecture: shared._measured(a)}
        for key, values in in_turn(calls, rounds).items():
            total[key] += min(values)
    print(
        f"(b) {candidates} candidates, {batches} batches of 64 and 512 validation images: bare passes "
        f"{total['bare']:.2f} s, scored {total['scored']:.2f} s, "
        f"x {total['scored'] / total['bare']:.3f} (at most 1.1)"
    )


def proposing(candidates: int) -> None:
    """Twenty blocks of four choices, as in the paper's space without channels."""
    blocks, choices = 20, 4
    space = nasx.Space({f"block{i}": nasx.Categorical("357x") for i in range(blocks)})
    numbers = np.random.default_rng(0)
    flops, latency = numbers.uniform(5, 30, (2, blocks, choices))
    tables = [nasx.hardware.LatencyTable(space, list(entries)) for entries in (flops, latency)]
    limits = [float(np.quantile(table(space.sample(2000)), 0.5)) for table in tables]

    def over(genotypes: np.ndarray) -> np.ndarray:
        total = np.zeros(len(genotypes))
        for table, limit in zip(tables, limits, strict=True):
            total += np.maximum(table(genotypes) - limit, 0)
        return total

    parents = space.sample(10, seed=1)
    names = list(space.names)
    costs = [
        {name: dict(zip("357x", row, strict=True)) for name, row in zip(names, entries.tolist(), strict=True)}
        for entries in (flops, latency)
    ]

    def child_of(rng: random.Random, dicts: list[dict[str, str]], crossed: bool) -> dict[str, str]:
        if crossed:
            one, other = rng.sample(dicts, 2)
            return {name: rng.choice((one[name], other[name])) for name in names}
        parent = rng.choice(dicts)
        return {name: rng.choice("357x") if rng.random() < 0.1 else parent[name] for name in names}

    def fits(child: dict[str, str]) -> bool:
        return all(
            sum(cost[name][choice] for name, choice in child.items()) <= limit
            for cost, limit in zip(costs, limits, strict=True)
        )

    def loop() -> list[dict[str, str]]:
        rng, dicts = random.Random(0), [dict(space.decode(row)) for row in parents]
        children = (child_of(rng, dicts, bool(i % 2)) for i in range(candidates))
        return [child for child in children if fits(child)]

    def at_once() -> np.ndarray:
        children = population.offspring(
            parents, np.zeros(10), space.cardinalities, candidates, size=1, probability=0.5, rates=0.1
        )
        return children[over(children) <= 0]

    def loop_by_generations() -> list[dict[str, str]]:
        """The published search: fifty a generation, none twice, the ten best so far are parents."""
        rng, seen, best = random.Random(0), set(), []
        while len(seen) < candidates:
            born = []
            while len(born) < 50:
                child = (
                    child_of(rng, [one for _, one in best], len(born) % 2 == 1)
                    if best
                    else {name: rng.choice("357x") for name in names}
                )
                key = tuple(child.values())
                if key not in seen and fits(child):
                    seen.add(key)
                    born.append((rng.random(), child))
            best = sorted(best + born, key=lambda one: one[0])[:10]
        return [dict(zip(names, key, strict=True)) for key in seen]

    def by_generations() -> np.ndarray:
        strategy, losses = nasx.SPOS().searcher(1).setup(space, cost_violation=over), np.random.default_rng(0)
        found: list[np.ndarray] = []
        while sum(map(len, found)) < candidates:
            found.append(strategy.ask(strategy.ahead))
            strategy.tell(found[-1], losses.random(len(found[-1])))
        return np.concatenate(found)[:candidates]

    for name, theirs, ours, target in (
        ("proposed and filtered", loop, at_once, "at least 50"),
        ("in generations, none twice", loop_by_generations, by_generations, "no target"),
    ):
        assert (over(space.encode(theirs())) <= 1e-9).all()  # the same limits
        assert (over(ours()) <= 0).all()
        least = {key: min(values) for key, values in in_turn({"dicts": theirs, "nasx": ours}, 3).items()}
        print(
            f"(c) {candidates} candidates, {name}: dicts {least['dicts']:.3f} s, nasx {least['nasx']:.4f} s, "
            f"x {least['dicts'] / least['nasx']:.1f} ({target})",
            flush=True,
        )


def kernels(batch_size: int, rounds: int) -> None:
    batch = images(batch_size, 0)
    task = ImageClassification(images(64, 1), images(64, 2), normalize=False, device="cpu")
    print(f"(d) steps on three paths, batch {batch_size}: ms of {rounds} rounds in turn (at least 1)")
    spaces = {
        "NASBench201": nasx.spaces.NASBench201(cells=1, channels=16),
        "DARTS": nasx.spaces.DARTS(cells=5, channels=16),
        "ENASCell": nasx.spaces.ENASCell(cells=5, channels=16),
        "ENASMacro": nasx.spaces.ENASMacro(layers=6, channels=16),
        "ShuffleNetV2": nasx.spaces.ShuffleNetV2(channels=(32, 64), repeats=(2, 2), stem=16, stem_stride=1),
        "ProxylessMobile": nasx.spaces.ProxylessMobile(
            channels=(16, 32), repeats=(2, 2), strides=(1, 2), stem=16, stem_stride=1
        ),
        "FBNet": nasx.spaces.FBNet(channels=(16, 32), repeats=(2, 2), strides=(1, 2), stem=16, stem_stride=1),
    }
    before = kernels_in_use()
    for name, space in spaces.items():
        torch.manual_seed(0)
        supernet = space.supernet(task.spec)
        rows = list(space.sample(3, seed=1))
        calls: dict[str, Callable[[], object]] = {}
        for layout in (torch.contiguous_format, torch.channels_last):
            own = copy.deepcopy(supernet).to(memory_format=layout).train()
            training = PathTraining(nasx.SPOS(), own, task, seed=0, device=None, deadline=None)
            given = batch[0].contiguous(memory_format=layout), batch[1]
            for on in (True, False):

                def run(on: bool = on, training: PathTraining = training, given: Any = given) -> None:
                    use_kernels(on)
                    for row in rows:  # noqa: B023 - called in this round
                        training.step(given, [row])

                calls[f"{on} {layout}"] = run
        in_turn(calls, 2)
        times = in_turn(calls, rounds)
        parts = []
        for label, of in (("least", min), ("median", statistics.median)):
            ours, theirs = (
                min(of(values) * 1e3 for key, values in times.items() if key.startswith(on))
                for on in ("True", "False")
            )
            parts.append(f"{label}: PyTorch {theirs:8.2f}  kernels {ours:8.2f}  x {theirs / ours:.3f}")
        print(f"  {name:<16} {'   '.join(parts)}", flush=True)
    use_kernels(before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a small network and few rounds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices="abcd")
    options = parser.parse_args()
    machine("torch")
    torch.set_num_threads(options.threads)
    space = nasx.spaces.NASBench201(cells=1 if options.small else 5, channels=16)
    if options.only in (None, "a"):
        step(space, 16 if options.small else 64, 12 if options.small else 25)
    if options.only in (None, "b"):
        scoring(space, *((8, 3, 2) if options.small else (100, 20, 1)))
    if options.only in (None, "c"):
        proposing(20_000 if options.small else 100_000)
    if options.only in (None, "d"):
        kernels(16 if options.small else 64, 5 if options.small else 15)


if __name__ == "__main__":
    main()
