"""What a search costs beside its evaluations, against optuna and pymoo: python bench/bench_search.py."""

from __future__ import annotations

from harness import compare, describe  # first: it sets up the process

import tempfile  # isort: skip
from pathlib import Path

import moocore
import numpy as np
import optuna
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


def generations(decisions: int, choices: int, population: int, count: int) -> None:
    """Whole generations on two sums of random table entries, judged by the hypervolume that they reach."""
    table = np.random.default_rng(0).random((2, decisions, choices))

    def losses(x: np.ndarray) -> np.ndarray:
        return table[:, np.arange(decisions), x].sum(axis=2).T

    class Table(Problem):
        def __init__(self) -> None:
            super().__init__(n_var=decisions, n_obj=2, xl=0, xu=choices - 1, vtype=int)

        def _evaluate(
            self, x: np.ndarray, out: dict[str, np.ndarray], *args: object, **kwargs: object
        ) -> None:
            out["F"] = losses(x)

    class Reset(Mutation):
        """The mutation that nasx has: a decision changes to one of its other choices."""

        def _do(
            self, _: Problem, x: np.ndarray, *, random_state: np.random.Generator, **__: object
        ) -> np.ndarray:
            changed = random_state.random(x.shape) < 1 / decisions
            return np.where(changed, (x + random_state.integers(1, choices, x.shape)) % choices, x)

    def theirs() -> np.ndarray:
        algorithm = PymooNSGA2(
            pop_size=population,
            sampling=IntegerRandomSampling(),
            crossover=UniformCrossover(prob=0.9),
            mutation=Reset(),
            eliminate_duplicates=True,
        )
        return minimize(Table(), algorithm, ("n_gen", count), seed=0).F

    space = nasx.Space({f"op{i}": nasx.Categorical(range(choices)) for i in range(decisions)})

    def ours() -> np.ndarray:
        strategy = nasx.NSGA2(population_size=population).setup(space, objectives=2, seed=0)
        told = []
        for _ in range(count):
            x = strategy.ask(population)
            told.append(losses(x))
            strategy.tell(x, told[-1])
        return np.concatenate(told)

    worst = table.max(axis=2).sum(axis=1)

    def at_least_as_good(a: np.ndarray, b: np.ndarray) -> bool:
        return bool(moocore.hypervolume(b, ref=worst) >= 0.99 * moocore.hypervolume(a, ref=worst))

    case = f"NSGA-II {count}x{population}, {decisions} of {choices}"
    compare(case, "pymoo", theirs, ours, at_least_as_good, target=50, repeats=7)


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    describe("optuna", "pymoo", "moocore")
    searches()
    generations(6, 5, 100, 20)
    generations(40, 8, 100, 20)
    generations(40, 8, 1000, 20)
