"""FBNet and ProxylessNAS beside plain twins, and what they choose: python bench/bench_hardware_aware.py X.

steps    a step of the weights and of the architecture, each beside the same in PyTorch
         (hardware_aware_twin.py) in both memory layouts: equal losses and gradients first, then times.
memory   bytes kept for gradients by a pair of paths, by a mixture, and by the heavier path alone.
quality  NAS-Bench-201's space on part of Fashion-MNIST under a limit on this machine's measured latency: the
         latency of what is chosen, measured again, its accuracy in the table beside random cells within the
         limit, and the latency without costs in the loss. --plot draws what was chosen beside the true
         front, as told and as measured, and the table's predictions beside measurements.
"""

from __future__ import annotations

import argparse
import functools
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import harness  # first: it cleans the environment
import numpy as np
import torch
from bench_darts import measure
from bench_differentiable import FASHION, fashion
from hardware_aware_twin import FBNetTwin, Network, ProxylessTwin
from torch import Tensor
from torch.nn import functional as F

import nasx
from nasx._figures import panels
from nasx.hardware import LatencyTable, measure_latency
from nasx.nn.supernet import EdgeChoices
from nasx.statistics import mean_and_error, with_error
from nasx.strategies.hardware_aware.fbnet_training import FBNetTraining
from nasx.strategies.hardware_aware.proxyless_training import ProxylessTraining
from nasx.strategies.limits import CostLimits

METHODS = ("FBNet", "ProxylessNAS")
LAYOUTS = {"NCHW": torch.contiguous_format, "channels last": torch.channels_last}


def setup(options: argparse.Namespace) -> tuple[nasx.Space, Any, tuple[Tensor, Tensor], CostLimits]:
    """The space, a task, a batch, and costs."""
    space = nasx.spaces.FBNet(
        channels=(16, 24, 32, 64),
        repeats=(1, options.layers, options.layers, options.layers),
        strides=(1, 1, 2, 2),
        stem=16,
        stem_stride=1,
        head=256,
    )
    torch.manual_seed(0)
    images = torch.randn(options.batch_size, 3, options.side, options.side)
    labels = torch.arange(options.batch_size) % 10
    task = nasx.tasks.ImageClassification(
        (images, labels), (images, labels), num_classes=10, normalize=False, device="cpu"
    )
    random = np.random.default_rng(0)
    table = LatencyTable(space, [random.uniform(0.1, 2.0, n) for n in space.cardinalities])
    limit = float(np.median(table(space.sample(1000))))
    limits = CostLimits(
        {"latency_ms": table}, {"latency_ms": limit}, lambda x: np.maximum(table(x) - limit, 0)
    )
    return space, task, (images, labels), limits


def made(method: str, space: Any, task: Any, limits: CostLimits) -> Any:
    """What trains in nasx."""
    torch.manual_seed(1)
    supernet = space.supernet(task.spec).train()
    kind, strategy, form = {
        "FBNet": (FBNetTraining, nasx.FBNet(), "fbnet"),
        "ProxylessNAS": (ProxylessTraining, nasx.ProxylessNAS(), "add"),
    }[method]
    options = {"form": form, "weight": None, "exponent": None, "seed": 0, "device": "cpu", "deadline": None}
    found = kind(strategy, supernet, task, limits, **options)
    found._schedule(0)
    return found


def twin_of(training: Any, space: Any, limits: CostLimits, method: str, layout: torch.memory_format) -> Any:
    """The twin with the weights of nasx's supernet."""
    network = Network(space, 3, 10).train()
    with torch.no_grad():
        for own, other in zip(network.weights(), training.weights, strict=True):
            own.copy_(other)
        for own, other in zip(network.alphas, training.supernet.logits.values(), strict=True):
            own.copy_(other[0])
    network.to(memory_format=layout)
    table = limits.tables["latency_ms"]
    assert isinstance(table, LatencyTable)
    entries = [torch.tensor(row, dtype=torch.float32) for row in table.entries]
    if method == "FBNet":
        return FBNetTwin(network, entries)
    return ProxylessTwin(network, entries, limits.limits["latency_ms"])


def check(training: Any, twin: Any, batch: tuple[Tensor, Tensor]) -> None:
    """Compare losses and gradients of a mixture, in double precision: in single, layouts alone differ."""
    supernet, network = training.supernet.double(), twin.network.double()
    images, labels = batch[0][:4].double(), batch[1][:4]
    drawn = [torch.softmax(torch.randn(len(row)).double(), 0) for row in network.alphas]
    with supernet.running({n: EdgeChoices((row,)) for n, row in zip(supernet.logits, drawn, strict=True)}):
        losses = [F.cross_entropy(supernet(images), labels)]
    losses.append(F.cross_entropy(network.mixture(images, drawn), labels))
    found = [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])
        for loss, weights in zip(losses, (training.weights, network.weights()), strict=True)
    ]
    error = float((found[0] - found[1]).norm() / found[1].norm())
    print(f"double: losses {losses[0]:.9f} and {losses[1]:.9f}, gradients differ by {error:.1e}")
    if error > 1e-8:
        raise AssertionError("nasx and the twin give different gradients")
    supernet.float()
    network.float()


def steps(options: argparse.Namespace) -> None:
    space, task, batch, limits = setup(options)
    for method in METHODS:
        training = made(method, space, task, limits)
        twins = {name: twin_of(training, space, limits, method, layout) for name, layout in LAYOUTS.items()}
        check(training, twins["NCHW"], batch)

        def weights(training: Any = training, method: str = method) -> Tensor:
            with torch.no_grad():
                drawn = training.draw()
            choices = training.mixture(drawn) if method == "FBNet" else training.path_of(drawn)
            return training.drawn_weight_step(choices, batch)

        inputs = {name: batch[0].contiguous(memory_format=layout) for name, layout in LAYOUTS.items()}
        for step in ("weight_step", "architecture_step"):
            calls: dict[str, Callable[[], object]] = {
                name: functools.partial(getattr(twin, step), (inputs[name], batch[1]))
                for name, twin in twins.items()
            }
            if step == "weight_step":
                calls["nasx"] = weights
            else:
                calls["nasx"] = functools.partial(training.architecture_step, batch, batch)
            calls = {name: seeded(call) for name, call in calls.items()}
            harness.show(f"{method} {step}", measure(calls, options.repeats), "nasx")


def seeded(call: Callable[[], object]) -> Callable[[], object]:
    """Draw the same in the k-th call of everyone: paths differ in what they cost."""
    numbers = itertools.count()

    def run() -> object:
        torch.manual_seed(next(numbers))
        return call()

    return run


def kept(run: Callable[[], object]) -> int:
    """Bytes kept for gradients, each tensor once."""
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        found[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(found.values())


def memory(options: argparse.Namespace) -> None:
    space, task, batch, limits = setup(options)
    training = made("ProxylessNAS", space, task, limits)
    pairs = training.draw_pairs()
    gates = {name: torch.tensor([[1.0, 0.0]]).requires_grad_() for name in pairs}
    pair = kept(lambda: training.loss_of(training._running(pairs, gates), batch))
    path = max(
        kept(
            lambda k=k: training.loss_of(
                training.path_of({name: one.indices[:, k] for name, one in pairs.items()}), batch
            )
        )
        for k in (0, 1)
    )
    mixture = kept(lambda: task.loss(training.supernet, batch))
    print(f"kept: a path {path / 2**20:.1f} MiB, a pair {pair / path:.2f} times that (at most 2.5)")
    print(f"all operations {mixture / path:.2f} times")


def quality(options: argparse.Namespace) -> None:
    data = fashion(options.fashion)
    train = tuple(part[: options.images] for part in data["train"])
    task = nasx.tasks.ImageClassification(train, data["valid"], augment="standard", device="cpu", threads=1)
    space = nasx.spaces.NASBench201(cells=1, channels=8)
    table = LatencyTable.measure(space, task.spec, networks=options.networks, rounds=options.rounds)
    every = space.enumerate()
    latency = table(every)
    limit = float(np.quantile(latency, 0.3))
    with np.load(options.data / "nasbench201.npz", allow_pickle=False) as file:
        accuracy = file["cifar10_test_200"].astype(np.float64)
    within = accuracy[latency <= limit]
    print(f"limit {limit:.3f} ms; random cells within it {within.mean():.2f} %, all {accuracy.mean():.2f} %")
    chosen: dict[str, list[np.ndarray]] = {}
    for name in options.methods:
        cls = getattr(nasx, name)
        found: dict[str, list[float]] = {"accuracy": [], "latency / limit": [], "the same, costs free": []}
        for seed in range(options.seeds):
            more = {"epochs": options.epochs, "batch_size": 64, "architecture_lr": options.architecture_lr}
            costs: dict[str, Any] = {"costs": {"latency_ms": table}, "limits": {"latency_ms": limit}}
            best = nasx.search(space, task, strategy=cls(**more), seed=seed, progress=False, **costs).best
            free = nasx.search(space, task, strategy=cls(**more), seed=seed, progress=False).best
            row, other = (one.architecture.genotype for one in (best, free))
            chosen.setdefault(name, []).append(row)
            found["accuracy"].append(float(accuracy[place_of(space, row)]))
            for what, one in zip(list(found)[1:], (row, other), strict=True):
                found[what].append(float(table(one[None])[0]) / limit)
            print(f"{name}, seed {seed}: {space.to_string(best.architecture)}")
        for what, values in found.items():
            print(f"{name} {what}: {with_error(*mean_and_error(values))}", flush=True)
    # Everything in turn, so that all have the same share of the machine's moods; random cells say how these
    # are beside those of the time when the table was made.
    some = space.sample(30, seed=1)
    rows = np.vstack([*(row for each in chosen.values() for row in each), some])
    passes = [measure_latency(space, task.spec, rows, rounds=options.rounds) for _ in range(3)]
    timed = np.min(passes, axis=0)  # what else runs only adds time, now and then to a whole pass
    now = float(np.median(timed[-len(some) :] / table(some)))
    points: dict[str, np.ndarray] = {}
    for k, (name, each) in enumerate(chosen.items()):
        measured = timed[k * options.seeds : (k + 1) * options.seeds]
        at = [accuracy[place_of(space, row)] for row in each]
        points[name] = np.column_stack([at, table(np.array(each)), measured])
        print(f"{name} measured / limit: {', '.join(f'{value / limit:.2f}' for value in measured)}")
    print(f"all of them in turn, where 30 random cells took {now:.2f} of what the table says (median)")
    if options.plot:
        cells = np.column_stack([accuracy, latency])[latency <= limit]
        draw(points, cells, table(some), timed[-len(some) :], options.plot)


def place_of(space: nasx.Space, row: np.ndarray) -> int:
    """Where the accuracy of a genotype is in the table's file."""
    return int(np.ravel_multi_index(tuple(row), space.cardinalities))


def draw(
    points: Mapping[str, np.ndarray],
    cells: np.ndarray,
    predicted: np.ndarray,
    measured: np.ndarray,
    path: Path,
) -> None:
    """Draw what was chosen beside the front of all cells within the limit, and the table beside timings.

    Points are accuracies, latencies by the table, and latencies as measured.
    """
    figure, (left, right) = panels(2)
    nasx.plots.plot_fronts(
        {name: rows[:, [0, 1]] for name, rows in points.items()},
        measured={name: rows[:, [0, 2]] for name, rows in points.items()},
        objectives={"accuracy after 200 epochs, %": "maximize", "latency_ms": "minimize"},
        truth=cells,
        axis=left,
    )
    nasx.plots.plot_predictions(predicted, measured, axis=right)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("steps", "memory", "quality"))
    parser.add_argument("--layers", type=int, default=2, help="layers of each stage")
    parser.add_argument("--side", type=int, default=32, help="height and width of the images")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="of the quality")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--architecture-lr", type=float, default=0.03, help="few steps are made of it here")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the quality into this file")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared/data")
    parser.add_argument("--fashion", default=FASHION, help="folder of Fashion-MNIST's four files")
    options = parser.parse_args()
    harness.machine("torch")
    torch.set_num_threads(options.threads)
    {"steps": steps, "memory": memory, "quality": quality}[options.part](options)


if __name__ == "__main__":
    main()
