"""MetaNAS against Reptile on one good cell: accuracy on tasks of a few images, of classes never seen.

Episodes are drawn from scikit-learn's digits and from Fashion-MNIST together; each class is also rotated by
90, 180 and 270 degrees as a class of its own, 80 in all. Both methods learn from the same tasks, with as many
updates and steps, and both adapt to the same test episodes. Reptile's cell is the best of NAS-Bench-201 on
CIFAR-10, read from its table if that is there. Run it when the machine is quiet:

    python bench/bench_meta.py --side 8 --seeds 3

Fashion-MNIST is in Debian's package dataset-fashion-mnist.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch
from bench_differentiable import FASHION, fashion

import nasx

# The best cell by validation accuracy after 200 epochs on CIFAR-10, for where there is no table.
BEST = {
    "1<-0": "nor_conv_3x3",
    "2<-0": "nor_conv_3x3",
    "2<-1": "nor_conv_3x3",
    "3<-0": "skip_connect",
    "3<-1": "nor_conv_1x1",
    "3<-2": "nor_conv_3x3",
}


@dataclasses.dataclass
class Found:
    """What one method came to on the test episodes."""

    accuracies: list[float]
    mixtures: list[float]
    parameters: list[int]
    cells: list[tuple[int, ...]]
    minutes: float


def episodes(shots: int, options: argparse.Namespace, seed: int) -> nasx.tasks.FewShotEpisodes:
    data = fashion(options.fashion, train=options.images, valid=0)
    return nasx.tasks.FewShotEpisodes(
        [nasx.tasks.datasets.load("digits"), data["train"]],
        ways=5,
        shots=shots,
        train_shots=options.train_shots,
        rotations=True,
        size=options.side,
        seed=seed,
        device=options.device,
        threads=options.threads,
    )


def learn_and_test(
    space: nasx.Space,
    tasks: nasx.tasks.FewShotEpisodes,
    strategy: nasx.MetaNAS,
    *,
    seed: int,
    number: int,
    steps: int,
) -> Found:
    began = time.perf_counter()
    meta = nasx.search(space, tasks, strategy=strategy, seed=seed, progress=False)
    minutes = (time.perf_counter() - began) / 60
    found = Found([], [], [], [], minutes)
    for index in range(number):
        episode = tasks.episode(index, "test")
        adapted = meta.adapt(episode, steps=steps, seed=index)
        found.accuracies.append(adapted.accuracy())
        found.parameters.append(adapted.parameters)
        found.cells.append(tuple(adapted.architecture.genotype.tolist()))
        found.mixtures.append(mixture(adapted, episode) if strategy.architecture is None else np.nan)
    return found


@torch.no_grad()
def mixture(adapted: Any, episode: Any) -> float:
    """Accuracy of all operations together, before the weaker ones are left out: what pruning costs."""
    from nasx.nn.recalibration import batch_statistics

    device = str(next(adapted.supernet.parameters()).device)
    ((images, labels),) = episode.loaders("valid", training=False, device=device)
    with batch_statistics(adapted.supernet):
        right = adapted.supernet(images).argmax(1) == labels
    return float(right.float().mean())


def best_cell(data: Path, space: nasx.Space) -> dict[str, Any]:
    path = data / "nasbench201.npz"
    if not path.exists():
        return BEST
    table = nasx.tasks.tables.read_npz(path, objectives={"cifar10_test_200": "maximize"})
    place = int(np.argmax(table.columns["cifar10_test_200"]))
    genotype = np.array(np.unravel_index(place, space.cardinalities), np.int32)
    return dict(space.decode(genotype))


def interval(values: list[float]) -> str:
    """Mean and 95 % interval of the mean, in per cent."""
    some = 100 * np.asarray(values)
    return f"{some.mean():.2f} ± {1.96 * some.std(ddof=1) / np.sqrt(len(some)):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--seeds", type=int, default=1, help="of the classes, the tasks and the methods")
    parser.add_argument("--side", type=int, default=8, help="of the images: 8 or 28")
    parser.add_argument("--images", type=int, default=10_000, help="of Fashion-MNIST's training images")
    parser.add_argument("--train-shots", type=int, default=15, help="support images where it is learned")
    parser.add_argument("--episodes", type=int, default=100, help="to test on")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--updates", type=int, default=10, help="in an epoch")
    parser.add_argument("--tasks", type=int, default=5, help="in an update")
    parser.add_argument("--task-steps", type=int, default=10)
    parser.add_argument("--adapt-steps", type=int, default=50)
    parser.add_argument("--lr", type=float, default=5e-3, help="of weights, in a task")
    parser.add_argument("--cells", type=int, default=1)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--device")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared/data")
    parser.add_argument("--fashion", default=FASHION, help="folder of Fashion-MNIST's four files")
    options = parser.parse_args()
    harness.machine("torch")
    print({name: str(value) for name, value in vars(options).items() if name not in ("data", "fashion")})
    space = nasx.spaces.NASBench201(cells=options.cells, channels=options.channels)
    cell = best_cell(options.data, space)
    print(f"Reptile's cell: {space.to_string(space.decode(space.encode(cell)))}")
    meta = nasx.MetaNAS(
        epochs=options.epochs,
        updates_per_epoch=options.updates,
        tasks_per_update=options.tasks,
        task_steps=options.task_steps,
        lr=options.lr,
        score_tasks=2,
    )
    methods = {"MetaNAS": meta, "Reptile": dataclasses.replace(meta, architecture=cell)}
    head = f"{'shots':>5} {'seed':>4} {'method':>8} {'test accuracy, %':>17} {'unpruned, %':>15}"
    print(f"\n{head} {'parameters':>11} {'cells':>5} {'minutes':>7}")
    for shots in options.shots:
        paired: list[float] = []
        for seed in range(options.seeds):
            tasks = episodes(shots, options, seed)
            accuracies = []
            for name, strategy in methods.items():
                found = learn_and_test(
                    space,
                    tasks,
                    strategy,
                    seed=seed,
                    number=options.episodes,
                    steps=options.adapt_steps,
                )
                accuracies.append(found.accuracies)
                unpruned = "" if np.isnan(found.mixtures).all() else interval(found.mixtures)
                print(
                    f"{shots:>5} {seed:>4} {name:>8} {interval(found.accuracies):>17} {unpruned:>15} "
                    f"{np.mean(found.parameters):>11,.0f} {len(set(found.cells)):>5} {found.minutes:>7.1f}",
                    flush=True,
                )
            paired += [a - b for a, b in zip(*accuracies, strict=True)]
        print(f"{shots:>5}  all {'MetaNAS minus Reptile, episode by episode':>42}: {interval(paired)} points")


if __name__ == "__main__":
    main()
