"""The second part of a one-shot search: a sampled strategy searches a trained supernet."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nasx._interrupts import Interrupts
from nasx.errors import EvaluationError, format_exception
from nasx.executors import make_evaluator
from nasx.journal import Journal
from nasx.problem import Problem
from nasx.progress import Progress
from nasx.result import Result
from nasx.sampled import SampledRun
from nasx.space import Genotypes
from nasx.strategies.baseline.random_search import RandomSearch
from nasx.strategies.one_shot.base import EVALUATIONS, OneShotStrategy
from nasx.trial import Trial

__all__ = ["random_architectures", "score_baseline", "search_inside"]


def random_architectures(problem: Problem, n: int, seed: int) -> Genotypes:
    """Draw different random architectures within the constraints and the limits on costs.

    Parameters
    ----------
    problem : Problem
        Space, costs and limits.
    n : int
        How many.
    seed : int
        Same seed, same ones.

    Returns
    -------
    ndarray of int32, shape (at most n, d)
        Fewer where there are no more.
    """
    if n < 1:
        return np.empty((0, len(problem.space)), np.int32)
    cost_violation = problem.cost_violation if problem.limited_costs else None
    return RandomSearch().setup(problem.space, seed=seed, cost_violation=cost_violation).ask(n)


def score_baseline(
    problem: Problem,
    shared: Any,
    n: int,
    result: Result,
    *,
    deadline: float | None,
    journal: Journal | None,
    interrupts: Interrupts,
) -> bool:
    """Score random architectures by shared weights, for comparison with what a search finds.

    Parameters
    ----------
    problem : Problem
        The space, objectives, costs and limits.
    shared : SharedWeights
        Scores them.
    n : int
        How many.
    result : Result
        Its ``baseline`` is filled.
    deadline : float, optional
        ``time.monotonic()`` from which on nothing more is scored.
    journal : Journal, optional
        What is in there is not done again.
    interrupts : Interrupts
        Holds Ctrl-C back while something is written.

    Returns
    -------
    bool
        False if time was over: there is no baseline then.
    """
    from nasx.tasks.batches import stream

    if journal is not None:
        result.baseline[:] = journal.baseline()
    if result.baseline:
        return True
    for genotype in random_architectures(problem, n, stream(result.seed, 0, 6)):
        if deadline is not None and time.monotonic() >= deadline:
            result.baseline.clear()
            return False
        _score(problem, shared, genotype, result)
    if journal is not None and result.baseline:
        with interrupts.held:
            journal.set_baseline(result.baseline)
    return True


def search_inside(
    problem: Problem,
    task: Any,
    strategy: OneShotStrategy,
    result: Result,
    *,
    evaluations: int | None,
    deadline: float | None,
    journal: Journal | None,
    callbacks: Sequence[Callable[[Result, Trial], None]],
    interrupts: Interrupts,
    progress: bool | None,
) -> None:
    """Score random architectures for comparison, then let a strategy search, both by shared weights.

    Parameters
    ----------
    problem : Problem
        The space, objectives, costs and limits.
    task : SupernetTask
        What the supernet has been trained on.
    strategy : OneShotStrategy
        Names what searches.
    result : Result
        With the trained supernet and without trials; filled.
    evaluations : int, optional
        How many architectures to score in all, by default `EVALUATIONS`.
    deadline : float, optional
        ``time.monotonic()`` from which on nothing more is scored.
    journal : Journal, optional
        What is in there is not done again.
    callbacks, progress
        As for `nasx.search`.
    interrupts : Interrupts
        Holds Ctrl-C back while something is written.
    """
    from nasx.tasks.shared_weights import SharedWeights

    evaluations = EVALUATIONS if evaluations is None else evaluations
    shared = SharedWeights(result.supernet, task, seed=result.seed, batches=strategy.recalibration_batches)
    if not score_baseline(
        problem, shared, strategy.baseline, result, deadline=deadline, journal=journal, interrupts=interrupts
    ):
        result.stopped = "seconds"
        return
    inner = strategy.searcher(len(problem.names))
    inner.setup(
        problem.space,
        objectives=len(problem.names),
        seed=result.seed,
        cost_violation=problem.cost_violation if problem.limited_costs else None,
    )
    with (
        make_evaluator(shared) as evaluator,
        Progress(result, evaluations=evaluations, seconds=None, show=progress) as display,
    ):
        run = SampledRun(
            problem, inner, result, evaluator, callbacks, interrupts=interrupts, progress=display
        )
        run.journal = journal
        problem.deadline = deadline
        run.go(np.empty((0, len(problem.space)), np.int32), evaluations, None, run.evaluate_one_by_one)
    if result.trials and all(trial.state == "failed" for trial in result.trials):
        warnings.warn(f"{result.reason}\n{result.trials[0].error}", RuntimeWarning, stacklevel=5)


def _score(problem: Problem, shared: Any, genotype: Genotypes, result: Result) -> None:
    """Add the metrics of a random architecture; one that cannot be scored is left out."""
    try:
        costs = problem.metrics_of_costs(genotype)
        found = shared.evaluate(problem.space.architecture(genotype, spec=problem.spec))
        result.baseline.append(problem.check_metrics(found, costs))
    except (EvaluationError, RuntimeError, ValueError, ArithmeticError):
        warnings.warn(
            f"a random architecture could not be scored for comparison\n{format_exception()}",
            RuntimeWarning,
            stacklevel=6,
        )
