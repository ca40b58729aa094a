"""Whole matrices of architectures evaluated in one call."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nasx.errors import EvaluationError, StopSearch, format_exception
from nasx.problem import OutOfTime, Problem
from nasx.space import Genotypes, handed_out
from nasx.tasks.base import Task
from nasx.trial import Batch

__all__ = ["evaluate", "losses", "whole_matrices"]

Columns = dict[str, npt.NDArray[np.float64]]


def whole_matrices(task: Task | Callable[..., Any]) -> Callable[..., Any]:
    """Find what evaluates many architectures at once.

    Parameters
    ----------
    task : Task or callable
        A task with ``evaluate_many(genotypes, *, seed)``, or a function of genotypes.

    Returns
    -------
    callable
        ``function(genotypes, seed)``.

    Raises
    ------
    TypeError
        If the task evaluates one architecture at a time only.
    """
    if not isinstance(task, Task):
        return lambda genotypes, seed: task(genotypes)
    many = getattr(task, "evaluate_many", None)
    if many is None:
        raise TypeError(
            "vectorized=True needs a task with evaluate_many(genotypes, *, seed), or a function of "
            f"genotypes; {type(task).__name__} evaluates one architecture at a time"
        )
    return _OfTask(many)


class _OfTask:
    """A task's own: where it refuses a matrix for one of its rows, the others can be evaluated without it."""

    def __init__(self, many: Callable[..., Any]) -> None:
        self._many = many

    def __call__(self, genotypes: Genotypes, seed: int) -> Any:
        return self._many(genotypes, seed=seed)


def evaluate(
    function: Callable[..., Any],
    problem: Problem,
    *,
    numbers: npt.NDArray[np.int64],
    genotypes: Genotypes,
    seed: int,
) -> Batch:
    """Evaluate a matrix; whatever goes wrong ends up in the trials.

    Parameters
    ----------
    function : callable
        ``function(genotypes, seed)`` gives name -> values ``(n,)``, or values alone for one objective.
    problem : Problem
        What is searched for.
    numbers : ndarray of int64, shape (n,)
        The trials' numbers.
    genotypes : ndarray of int32, shape (n, d)
        What to evaluate.
    seed : int
        For the function.

    Returns
    -------
    Batch
        One trial a row.
    """
    started, clock = time.time(), time.perf_counter()
    n = len(genotypes)
    metrics: Columns = {}
    errors: dict[int, str] = {}
    violations = np.zeros(n)
    try:
        metrics = problem.cost_columns(genotypes)
        for row in np.flatnonzero(np.any([np.isnan(column) for column in metrics.values()], axis=0)).tolist():
            errors[row] = problem.cost_error(genotypes[row])
        try:
            metrics |= _measured(function, problem, genotypes, seed, metrics)
        except (StopSearch, OutOfTime):
            raise
        except Exception:
            if n == 1 or not isinstance(function, _OfTask):
                raise
            columns, apart = _row_by_row(function, problem, genotypes, seed, metrics)
            metrics |= columns
            errors = apart | errors
        violations = problem.violations(metrics, n)
        for name in problem.needed:
            for row in np.flatnonzero(~np.isfinite(metrics[name])).tolist():
                what = f"metric {name!r} is {metrics[name][row]}; it must be a finite number"
                errors.setdefault(row, f"EvaluationError: {what}")
        violations[list(errors)] = 0.0
    except (StopSearch, OutOfTime):
        raise
    except Exception:
        errors, violations = dict.fromkeys(range(n), format_exception()), np.zeros(n)
    return Batch(
        problem,
        numbers=numbers,
        genotypes=genotypes,
        metrics=metrics,
        violations=violations,
        errors=errors,
        started=started,
        seconds=(time.perf_counter() - clock) / max(n, 1),
    )


def _measured(
    function: Callable[..., Any], problem: Problem, genotypes: Genotypes, seed: int, costs: Columns
) -> Columns:
    """Call the function."""
    return _columns(problem, function(handed_out(genotypes), seed), len(genotypes), costs)


def _row_by_row(
    function: Callable[..., Any], problem: Problem, genotypes: Genotypes, seed: int, costs: Columns
) -> tuple[Columns, dict[int, str]]:
    """Call it for each row; give columns with NaN for those that raise, and what they raised."""
    rows: list[Columns] = []
    errors: dict[int, str] = {}
    for i in range(len(genotypes)):
        one = slice(i, i + 1)
        try:
            of_row = {name: column[one] for name, column in costs.items()}
            rows.append(_measured(function, problem, genotypes[one], seed + i, of_row))
        except (StopSearch, OutOfTime):
            raise
        except Exception:
            rows.append({})
            errors[i] = format_exception()
    names = dict.fromkeys(name for row in rows for name in row) or dict.fromkeys(problem.measured)
    nothing = np.full(1, np.nan)
    return {name: np.concatenate([row.get(name, nothing) for row in rows]) for name in names}, errors


def _columns(problem: Problem, outcome: Any, n: int, costs: Mapping[str, Any]) -> Columns:
    if not isinstance(outcome, Mapping):
        if len(problem.measured) != 1:
            raise EvaluationError(
                f"the task must return a dict with {', '.join(problem.measured)}; "
                f"got {type(outcome).__name__}"
            )
        outcome = {problem.measured[0]: outcome}
    columns: Columns = {}
    for name, values in outcome.items():
        column = np.asarray(values, np.float64)
        if column.shape != (n,):
            raise EvaluationError(f"metric {name!r} must have shape ({n},); got {column.shape}")
        if name in costs and not np.array_equal(column, costs[name]):
            raise EvaluationError(f"metric {name!r} differs by the task and by its cost; rename one")
        columns[name] = column
    for name in problem.needed:
        if name not in columns and name not in costs:
            raise EvaluationError(
                f"the task gave no metric {name!r}; it gave {', '.join(columns) or 'nothing'}"
            )
    return columns


def losses(problem: Problem, batch: Batch) -> npt.NDArray[np.float64]:
    """Losses of a batch as a strategy is told them.

    Parameters
    ----------
    problem : Problem
        What is searched for.
    batch : Batch
        The trials.

    Returns
    -------
    ndarray of float64, shape (n, number of objectives)
        NaN where a trial failed.
    """
    values = np.full((len(batch), len(problem.names)), math.nan)
    if all(name in batch.metrics for name in problem.names):
        for k, (name, sign) in enumerate(problem.signs.items()):
            values[:, k] = sign * batch.metrics[name]
    values[list(batch.errors)] = math.nan
    return values
