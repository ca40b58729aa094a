"""What a search costs beside its evaluations, against its peers: python bench/bench_search.py."""

from __future__ import annotations

from harness import compare, describe  # first: it sets up the process

import tempfile  # isort: skip
from pathlib import Path

import moocore
import numpy as np
import optuna
import pygmo
from pymoo.algorithms.moo.nsga2 import NSGA2 as PymooNSGA2
from pymoo.core.mutation import Mutation
from pymoo.core.problem import Problem
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.optimize import minimize

import nasx

CHOICES = list(range(5))
SPACE = nasx.Space({f"edge{i}": nasx.Categorical(CHOICES) for i in range(6)})


def nasx_search(evaluations: int, journal: Path | None) -> int:
    result = nasx.search(
        SPACE,
        lambda a: 0.0,
        objectives={"loss": "minimize"},
        strategy="random_search",
        evaluations=evaluations,
        journal=journal,
    )
    return len(result.trials)


def optuna_search(evaluations: int, storage: str | None) -> int:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), storage=storage)

    def task(trial: optuna.Trial) -> float:
        for name in SPACE.names:
            trial.suggest_categorical(name, CHOICES)
        return 0.0

    study.optimize(task, n_trials=evaluations)
    return len(study.trials)


def searches() -> None:
    for n, on, target in ((1000, False, 20), (100, True, 10)):
        with tempfile.TemporaryDirectory() as folder:
            names = iter(range(1000))

            def file(folder: str = folder, names: object = names) -> Path:
                return Path(folder) / f"{next(names)}.db"

            compare(
                f"search() {n} no-op, journal {'on' if on else 'off'}",
                "optuna",
                lambda n=n, on=on, file=file: optuna_search(n, f"sqlite:///{file()}" if on else None),
                lambda n=n, on=on, file=file: nasx_search(n, file() if on else None),
                lambda a, b: a == b,
                target=target,
                repeats=7,
            )


class Table:
    """Two losses, each the sum of one random number a decision, looked up by the same core for all peers."""

    def __init__(self, decisions: int, choices: int) -> None:
        entries = np.random.default_rng(0).random((2, decisions, choices))
        self.worst = entries.max(axis=2).sum(axis=1)
        self.space = nasx.Space({f"op{i}": nasx.Categorical(range(choices)) for i in range(decisions)})
        self._tables = [nasx.hardware.LatencyTable(self.space, each) for each in entries]

    def losses(self, x: np.ndarray) -> np.ndarray:
        losses = np.empty((len(x), len(self._tables)))
        for k, table in enumerate(self._tables):
            losses[:, k] = table(x)
        return losses


def pymoo_nsga2(table: Table, decisions: int, choices: int, population: int, count: int) -> np.ndarray:
    class Sum(Problem):
        def __init__(self) -> None:
            super().__init__(n_var=decisions, n_obj=2, xl=0, xu=choices - 1, vtype=int)

        def _evaluate(
            self, x: np.ndarray, out: dict[str, np.ndarray], *args: object, **kwargs: object
        ) -> None:
            out["F"] = table.losses(x)

    class Reset(Mutation):
        """The mutation that nasx has: a decision changes to one of its other choices."""

        def _do(
            self, _: Problem, x: np.ndarray, *, random_state: np.random.Generator, **__: object
        ) -> np.ndarray:
            changed = random_state.random(x.shape) < 1 / decisions
            return np.where(changed, (x + random_state.integers(1, choices, x.shape)) % choices, x)

    algorithm = PymooNSGA2(
        pop_size=population,
        sampling=IntegerRandomSampling(),
        crossover=UniformCrossover(prob=0.9),
        mutation=Reset(),
        eliminate_duplicates=True,
    )
    return minimize(Sum(), algorithm, ("n_gen", count), seed=0).F


def pygmo_nsga2(table: Table, decisions: int, choices: int, population: int, count: int) -> np.ndarray:
    class Sum:
        def fitness(self, x: np.ndarray) -> np.ndarray:
            return table.losses(x[None].astype(np.int32))[0]

        def batch_fitness(self, x: np.ndarray) -> np.ndarray:
            return table.losses(x.reshape(-1, decisions).astype(np.int32)).ravel()

        def get_nobj(self) -> int:
            return 2

        def get_nix(self) -> int:
            return decisions

        def get_bounds(self) -> tuple[list[int], list[int]]:
            return [0] * decisions, [choices - 1] * decisions

    batches = pygmo.bfe(pygmo.member_bfe())
    method = pygmo.nsga2(gen=count - 1, cr=0.9, m=1 / decisions, seed=0)
    method.set_bfe(batches)
    start = pygmo.population(pygmo.problem(Sum()), size=population, b=batches, seed=0)
    return pygmo.algorithm(method).evolve(start).get_f()


def optuna_nsga2(table: Table, decisions: int, choices: int, population: int, count: int) -> np.ndarray:
    options = list(range(choices))

    def task(trial: optuna.Trial) -> tuple[float, float]:
        row = [trial.suggest_categorical(f"op{i}", options) for i in range(decisions)]
        return tuple(table.losses(np.array([row]))[0])

    sampler = optuna.samplers.NSGAIISampler(population_size=population, seed=0)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    study.optimize(task, n_trials=population * count)
    return np.array([trial.values for trial in study.best_trials])


def nasx_nsga2(table: Table, decisions: int, choices: int, population: int, count: int) -> np.ndarray:
    strategy = nasx.NSGA2(population_size=population).setup(table.space, objectives=2, seed=0)
    told = []
    for _ in range(count):
        x = strategy.ask(population)
        told.append(table.losses(x))
        strategy.tell(x, told[-1])
    return np.concatenate(told)


def generations(
    decisions: int, choices: int, population: int, targets: dict[str, float], *, count: int = 20
) -> None:
    """Some generations with the same losses, judged by the hypervolume that they reach."""
    table = Table(decisions, choices)

    def at_least_as_good(a: np.ndarray, b: np.ndarray) -> bool:
        theirs, ours = (moocore.hypervolume(x, ref=table.worst) for x in (a, b))
        return bool(ours >= 0.99 * theirs)

    peers = {"pygmo": pygmo_nsga2, "pymoo": pymoo_nsga2, "optuna": optuna_nsga2}
    for peer, target in targets.items():
        compare(
            f"NSGA-II {count}x{population}, {decisions} of {choices}",
            peer,
            lambda run=peers[peer]: run(table, decisions, choices, population, count),
            lambda: nasx_nsga2(table, decisions, choices, population, count),
            at_least_as_good,
            target=target,
            repeats=7,
        )


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    describe("optuna", "pymoo", "pygmo", "moocore")
    searches()
    generations(6, 5, 100, {"pygmo": 3, "pymoo": 50, "optuna": 50})
    generations(40, 8, 100, {"pygmo": 3, "pymoo": 50})
    # Twenty would ask for more architectures than there are.
    generations(6, 5, 1000, {"pygmo": 15, "pymoo": 50}, count=10)
    generations(40, 8, 1000, {"pygmo": 15, "pymoo": 50})
