"""What a search is asked to do: objectives, costs and limits, and what metrics mean under them."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nasx.errors import EvaluationError, format_exception, unknown
from nasx.hardware import get_cost
from nasx.space import Genotypes, Space, handed_out
from nasx.strategies.base import Strategy
from nasx.strategies.limits import CostFunction, CostLimits
from nasx.tasks.base import Direction, Task, TaskSpec, check_directions

__all__ = ["CostFunction", "Costs", "OutOfTime", "Problem", "header"]

Costs: TypeAlias = Mapping[str, "str | CostFunction"] | Sequence[str]


class OutOfTime(Exception):
    """The search's time is up; raised between two computations of a cost, and between two evaluations."""


class Problem:
    """Objectives, costs and limits of one search, checked once.

    Parameters
    ----------
    space : Space
        Where to search.
    task : Task or callable
        What evaluates; a `Task` gives the spec that costs need, if it has one, and default objectives.
    objectives : mapping of str to {"minimize", "maximize"}, optional
        Metrics to optimise, in order of importance for ``result.best``.
    costs : mapping or sequence of str, optional
        Metrics known without training: name -> a cost of `nasx.hardware`, its name, or a function from
        genotypes ``(n, d)`` to values ``(n,)``; or names alone.
    limits : mapping of str to float, optional
        Hard upper bounds on metrics.

    Raises
    ------
    ValueError
        If a direction, name or limit is wrong.
    """

    def __init__(
        self,
        space: Space,
        task: Task | Callable[..., Any],
        *,
        objectives: Mapping[str, Direction] | None = None,
        costs: Costs | None = None,
        limits: Mapping[str, float] | None = None,
    ) -> None:
        if not isinstance(space, Space):
            raise TypeError(f"space must be a nasx.Space; got {space!r}")
        if not callable(task) and not isinstance(task, Task):
            raise TypeError(f"task must be a nasx.Task or a function of an architecture; got {task!r}")
        self.space = space
        self.spec: TaskSpec | None = task.spec if isinstance(task, Task) else None
        self.objectives = _check_objectives(task, objectives)
        self.names = tuple(self.objectives)
        self.signs = {name: 1.0 if d == "minimize" else -1.0 for name, d in self.objectives.items()}
        self.no_losses, self.worst_losses = ([value] * len(self.names) for value in (math.nan, math.inf))
        if isinstance(costs, str):
            raise ValueError(f"costs must be a list of names or a mapping; got {costs!r}: write [{costs!r}]")
        named = costs if isinstance(costs, Mapping) else {name: name for name in costs or ()}
        self.costs: dict[str, CostFunction] = {name: self._bind(name, cost) for name, cost in named.items()}
        self.limits = _check_limits(limits)
        self.measured = [name for name in self.names if name not in self.costs]  # by the task
        self.needed = tuple(dict.fromkeys((*self.names, *self.limits)))
        self.limited_costs = tuple(name for name in self.limits if name in self.costs)
        self._check_names(task)
        self.deadline: float | None = None  # of time.monotonic()
        # Values by genotype, in the order of `costs`; NaN where the cost raised, with the traceback apart.
        self._known: dict[bytes, npt.NDArray[np.float64]] = {}
        self._cost_errors: dict[bytes, str] = {}
        self.on_cost: Callable[[Genotypes, npt.NDArray[np.float64]], None] | None = None

    def _bind(self, name: str, cost: str | CostFunction) -> CostFunction:
        if isinstance(cost, str):
            cost = get_cost(cost)
        if not callable(cost):
            raise ValueError(
                f"costs[{name!r}] must be a cost of nasx.hardware, its name, or a function; got {cost!r}"
            )
        bind = getattr(cost, "bind", None)
        if bind is None:
            return cost
        if self.spec is None and getattr(cost, "needs_spec", True):
            raise ValueError(
                f"costs[{name!r}] measures a network, but the task is one without a spec, which does not say "
                "what the network is for; pass cost.bind(space, nasx.TaskSpec(...)) instead"
            )
        bound: CostFunction = bind(self.space, self.spec)
        return bound

    def _check_names(self, task: Any) -> None:
        """Refuse objectives and limits that neither the task, if it tells its metrics, nor a cost gives."""
        metrics = task.metrics if isinstance(task, Task) else None
        if metrics is None:
            return
        for argument, names in (("objectives", self.objectives), ("limits", self.limits)):
            for name in names:
                if name not in metrics and name not in self.costs:
                    raise ValueError(f"{argument}: " + unknown("metric", name, [*metrics, *self.costs]))

    def check_time(self) -> None:
        """Raise `OutOfTime` after the deadline."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise OutOfTime

    @property
    def remembers_costs(self) -> bool:
        """Whether proposals depend on costs that may differ next time: a resumed run needs their values."""
        return any(not getattr(self.costs[name], "deterministic", False) for name in self.limited_costs)

    def remember_costs(self, genotypes: Genotypes, values: npt.NDArray[np.float64]) -> None:
        """Take cost values from an earlier run instead of measuring again.

        Parameters
        ----------
        genotypes : ndarray of int32, shape (n, d)
            Architectures.
        values : ndarray of float64, shape (n, number of costs)
            Their costs, in the order of `costs`.
        """
        for row, value in zip(genotypes, values, strict=True):
            self._known[row.tobytes()] = value

    def cost_values(self, genotypes: Genotypes) -> npt.NDArray[np.float64]:
        """Costs of architectures; each is computed once.

        Parameters
        ----------
        genotypes : ndarray of int32, shape (n, d)
            Architectures.

        Returns
        -------
        ndarray of float64, shape (n, number of costs)
            NaN where a cost raised; `metrics_of_costs` raises what it said.
        """
        keys = [row.tobytes() for row in genotypes]
        new = [i for i, key in enumerate(keys) if key not in self._known]
        # Measuring takes its time: look at the clock after each architecture.
        measured = any(not getattr(cost, "deterministic", True) for cost in self.costs.values())
        for some in ([i] for i in new) if measured else [new] if new else []:
            self.check_time()
            rows = genotypes[some]
            values = np.column_stack([self._compute(name, cost, rows) for name, cost in self.costs.items()])
            for i, value in zip(some, values, strict=True):
                self._known[keys[i]] = value
            complete = ~np.isnan(values).any(axis=1)  # what raised is asked again, and says again why
            if self.on_cost is not None and complete.any():
                self.on_cost(rows[complete], values[complete])
        return np.array([self._known[key] for key in keys]).reshape(len(keys), len(self.costs))

    def _compute(self, name: str, cost: CostFunction, rows: Genotypes) -> npt.NDArray[np.float64]:
        try:
            values = np.asarray(cost(handed_out(rows)), np.float64)
            if values.shape != (len(rows),):
                raise EvaluationError(f"costs[{name!r}] must return shape ({len(rows)},); got {values.shape}")
            if not np.isfinite(values).all():
                raise EvaluationError(
                    f"costs[{name!r}] gave {values[~np.isfinite(values)][0]}; it must be finite"
                )
        except Exception:
            if len(rows) > 1:  # find out which architectures it is, and keep the others
                return np.concatenate([self._compute(name, cost, rows[i : i + 1]) for i in range(len(rows))])
            self._cost_errors[rows[0].tobytes()] = format_exception()
            return np.array([np.nan])
        return values

    def cost_columns(self, genotypes: Genotypes) -> dict[str, npt.NDArray[np.float64]]:
        """Costs of many architectures by name; cheap ones are computed anew and not remembered.

        Parameters
        ----------
        genotypes : ndarray of int32, shape (n, d)
            Architectures.

        Returns
        -------
        dict of str to ndarray of float64, shape (n,)
            NaN where a cost raised; `cost_error` says why.
        """
        if all(getattr(cost, "vectorized", False) for cost in self.costs.values()):
            return {name: self._compute(name, cost, genotypes) for name, cost in self.costs.items()}
        return dict(zip(self.costs, self.cost_values(genotypes).T, strict=True))

    def cost_error(self, genotype: Genotypes) -> str:
        """Say why a cost of an architecture is missing.

        Parameters
        ----------
        genotype : ndarray of int32, shape (d,)
            The architecture.

        Returns
        -------
        str
            The traceback.
        """
        return "a cost could not be computed\n" + self._cost_errors.get(genotype.tobytes(), "")

    def cost_violation(self, genotypes: Genotypes) -> npt.NDArray[np.float64]:
        """How far architectures are over the limits on costs.

        Parameters
        ----------
        genotypes : ndarray of int32, shape (n, d)
            Architectures.

        Returns
        -------
        ndarray of float64, shape (n,)
            0 within all limits. 0 too where a cost raised: the architecture is then proposed, and its
            trial fails with the traceback, so that nothing is hidden.
        """
        columns = self.cost_columns(genotypes)
        limited = {name: columns[name] for name in self.limited_costs}
        return np.nan_to_num(self.violations(limited, len(genotypes)), nan=0.0)

    @property
    def measured_limits(self) -> list[str]:
        """Names of the limited costs that are measured anew for each architecture."""
        return [name for name in self.limited_costs if not getattr(self.costs[name], "deterministic", True)]

    def cost_limits(self) -> CostLimits | None:
        """Give the costs and the limits on them, as methods that train a supernet take them.

        Returns
        -------
        CostLimits or None
            Without costs that are measured: they differ from time to time, and take too long. None if no
            other is left, or one of those is limited.
        """
        tables = {n: cost for n, cost in self.costs.items() if getattr(cost, "deterministic", True)}
        if not tables or self.measured_limits:
            return None
        return CostLimits(tables, {name: self.limits[name] for name in self.limited_costs}, self._over_limits)

    def _over_limits(self, genotypes: Genotypes) -> npt.NDArray[np.float64]:
        """Do what `cost_violation` does, without computing the other costs."""
        columns = {name: self._compute(name, self.costs[name], genotypes) for name in self.limited_costs}
        return np.nan_to_num(self.violations(columns, len(genotypes)), nan=0.0)

    def metrics_of_costs(self, genotype: Genotypes) -> dict[str, float]:
        """Costs of one architecture by name.

        Parameters
        ----------
        genotype : ndarray of int32, shape (d,)
            The architecture.

        Returns
        -------
        dict of str to float
            One value a cost.

        Raises
        ------
        EvaluationError
            If a cost raised; the message is its traceback.
        """
        if not self.costs:
            return {}
        values = self.cost_values(self.space.stack([genotype]))[0]
        if np.isnan(values).any():
            raise EvaluationError(self.cost_error(genotype))
        return dict(zip(self.costs, values.tolist(), strict=True))

    def check_metrics(self, outcome: Any, known: Mapping[str, float]) -> dict[str, float]:
        """Check what a task returned and join it with the costs.

        Parameters
        ----------
        outcome : float or mapping of str to float
            A number if there is one objective that is no cost.
        known : mapping of str to float
            The costs.

        Returns
        -------
        dict of str to float
            All metrics, costs first.

        Raises
        ------
        EvaluationError
            If an objective or a limited metric is missing or not finite, or anything is not a number.
        """
        if type(outcome) is float or not isinstance(outcome, Mapping):
            if outcome is None and not self.measured:
                outcome = {}
            elif len(self.measured) != 1:
                raise EvaluationError(
                    f"the task must return a dict with {', '.join(self.measured)}; got {outcome!r}"
                )
            else:
                outcome = {self.measured[0]: outcome}
        metrics = dict(known)
        for name, value in outcome.items():
            try:
                number = metrics[str(name)] = float(value)
            except (TypeError, ValueError):
                raise EvaluationError(f"metric {name!r} must be a number; got {value!r}") from None
            if name in known and number != known[name]:
                raise EvaluationError(
                    f"metric {name!r} is {number} by the task and {known[name]} by its cost; rename one"
                )
        for name in self.needed:
            if name not in metrics:
                raise EvaluationError(
                    f"the task gave no metric {name!r}; it gave {', '.join(metrics) or 'nothing'}"
                )
            if not math.isfinite(metrics[name]):
                raise EvaluationError(f"metric {name!r} is {metrics[name]}; it must be a finite number")
        return metrics

    def losses(self, metrics: Mapping[str, float]) -> list[float]:
        """Objectives as losses, smaller is better.

        Parameters
        ----------
        metrics : mapping of str to float
            Checked metrics.

        Returns
        -------
        list of float
            One an objective; signs turned where it is maximised.

        Raises
        ------
        KeyError
            If an objective is not among the metrics.
        """
        return [sign * metrics[name] for name, sign in self.signs.items()]

    def violation(self, metrics: Mapping[str, float]) -> float:
        """How far metrics are over the limits.

        Parameters
        ----------
        metrics : mapping of str to float
            Those there are; limits on others do not count.

        Returns
        -------
        float
            Sum over the limits of the excess relative to the limit; 0 within all of them.
        """
        total = 0.0
        for name, limit in self.limits.items():
            if name in metrics:
                total += float(_excess(metrics[name], limit))
        return total

    def violations(self, metrics: Mapping[str, npt.NDArray[np.float64]], n: int) -> npt.NDArray[np.float64]:
        """How far the metrics of many architectures are over the limits.

        Parameters
        ----------
        metrics : mapping of str to ndarray of float64, shape (n,)
            Those there are; limits on others do not count.
        n : int
            How many architectures.

        Returns
        -------
        ndarray of float64, shape (n,)
            As `violation`, for each.
        """
        total = np.zeros(n)
        for name, limit in self.limits.items():
            if name in metrics:
                total += _excess(metrics[name], limit)
        return total

    def describe(self) -> dict[str, Any]:
        """Describe objectives, costs and limits as JSON types.

        Returns
        -------
        dict
            What two runs must share for one to resume the other.
        """
        costs = {
            name: {
                "kind": getattr(cost, "name", None) or getattr(cost, "__qualname__", type(cost).__qualname__),
                "settings": getattr(cost, "settings", {}),
            }
            for name, cost in self.costs.items()
        }
        return {"objectives": self.objectives, "costs": costs, "limits": self.limits}


def header(
    problem: Problem,
    task: Any,
    name: str,
    strategy: Strategy,
    *,
    seed: int,
    initial: Genotypes | None = None,
    max_budget: int | None = None,
    replicates: int = 1,
) -> dict[str, Any]:
    """Describe everything that two runs must share for one to resume the other.

    Parameters
    ----------
    problem : Problem
        Space, objectives, costs and limits.
    task : Task or callable
        What is being learned.
    name : str
        The strategy's.
    strategy : Strategy
        The method.
    seed : int
        The search's.
    initial : ndarray of int32, shape (n, d), optional
        What is evaluated first.
    max_budget : int, optional
        The whole budget of an evaluation, where a strategy gives parts of it.
    replicates : int, default 1
        How often each architecture is evaluated.

    Returns
    -------
    dict
        JSON types: what a journal begins with.
    """
    if isinstance(task, Task):
        identity: dict[str, Any] = {"name": type(task).__name__, "settings": task.settings}
    else:
        identity = {"name": getattr(task, "__qualname__", type(task).__qualname__), "settings": None}
    return {
        "space": problem.space.to_dict(),
        "spec": dataclasses.asdict(problem.spec) if problem.spec else None,
        "task": identity,
        "strategy": {"name": name, "settings": strategy.settings},
        **problem.describe(),
        "constraints": [getattr(c, "__qualname__", type(c).__qualname__) for c in problem.space.constraints],
        "seed": seed,
        "initial": [] if initial is None else initial.tolist(),
        "max_budget": max_budget,
        **({} if replicates == 1 else {"replicates": replicates}),
    }


def _excess(value: Any, limit: float) -> Any:
    """How far over a limit, relative to it (absolute for a limit of 0)."""
    return np.maximum(value - limit, 0.0) / (abs(limit) or 1.0)


def _check_objectives(task: Any, objectives: Mapping[str, Direction] | None) -> dict[str, Direction]:
    if objectives is None:
        if not isinstance(task, Task):
            raise ValueError(
                'objectives is missing: say what the task\'s metrics mean, as in {"accuracy": "maximize"}'
            )
        objectives = task.objectives
    return check_directions(objectives)


def _check_limits(limits: Mapping[str, float] | None) -> dict[str, float]:
    checked: dict[str, float] = {}
    for name, limit in (limits or {}).items():
        if (
            isinstance(limit, bool)
            or not isinstance(limit, int | float | np.number)
            or not np.isfinite(limit)
        ):
            raise ValueError(
                f"limits[{name!r}] must be a finite number, the largest value allowed; got {limit!r}"
            )
        checked[name] = float(limit)
    return checked
