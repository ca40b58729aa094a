"""`compare`: several strategies on one problem, with the same budget and the same seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nasx import pareto
from nasx._arguments import floats, unsigned
from nasx._live import Live, format_seconds
from nasx.architecture import Architecture
from nasx.comparison import Comparison, Runs
from nasx.errors import require, unknown
from nasx.loop import search
from nasx.problem import Costs, Problem
from nasx.registry import get_strategy, strategy_name
from nasx.result import Result
from nasx.space import Space
from nasx.strategies.base import SampledStrategy, Strategy
from nasx.strategies.multi_fidelity.base import MultiFidelityStrategy
from nasx.tasks.base import Direction, Task
from nasx.trial import Trial, Trials

__all__ = ["compare"]

Method: TypeAlias = str | Strategy | type[Strategy]
Losses: TypeAlias = npt.NDArray[np.float64]

# Parts of evaluations are summed up; this is more than their rounding.
_ROUNDING = 1e-6


def compare(
    space: Space,
    task: Task | Callable[[Architecture], float | Mapping[str, float]],
    strategies: Sequence[Method] | Mapping[str, Method],
    *,
    evaluations: int,
    seeds: int | Sequence[int] = 20,
    objectives: Mapping[str, Direction] | None = None,
    costs: Costs | None = None,
    limits: Mapping[str, float] | None = None,
    reference: Mapping[str, float] | None = None,
    front: npt.ArrayLike | None = None,
    metrics: Sequence[str] = (),
    device: str | None = None,
    progress: bool | None = None,
) -> Comparison:
    """Run strategies side by side, and say which is better and how sure that is.

    Every strategy searches the same problem with the same budget, once for every seed. Its score for a seed
    is the best value of any feasible architecture; with several objectives, the hypervolume that the
    feasible front dominates.

    Parameters
    ----------
    space, task, objectives, costs, limits, device
        The problem, as for `nasx.search`.
    strategies : sequence or mapping
        Names, instances or classes; or label -> one of these, where a name would come twice.
    evaluations : int
        The budget of every search. An evaluation with a part of the task's budget counts as that part.
    seeds : int or sequence of int, default 20
        So many seeds from 0 on, or the seeds themselves.
    reference : mapping of str to float, optional
        With several objectives, the value of each up to which hypervolume is measured, in its own unit. By
        default the worst among all feasible trials of all searches, which depends on what is compared.
    front : array_like of float, shape (n, number of objectives), optional
        Losses of the true Pareto front, or of all there is, as from ``TabularBenchmark.losses``: one column
        for each objective, signs turned where it is maximised. Scores are then shares of its hypervolume.
        Needs `reference`.
    metrics : sequence of str, default ()
        Further metrics of the chosen architectures to report, such as a test accuracy; nothing is chosen by
        them. Chosen is each search's ``result.best``.
    progress : bool, optional
        Show progress on the standard error stream; by default on a terminal, once two seconds have passed.

    Returns
    -------
    Comparison
        Scores, curves and tests; printing it shows a table.

    Raises
    ------
    ValueError
        If an argument is wrong, or a chosen architecture lacks one of `metrics`.
    TypeError
        If an argument has the wrong type.
    MissingDependencyError
        If SciPy, or with several objectives moocore, is not installed; before anything is run.
    KeyboardInterrupt
        On Ctrl-C: what is missing could not be compared.

    Notes
    -----
    For each seed the strategies take turns, so that a machine that slows down slows all of them down. Of
    every search only its improvements and the chosen architecture are kept in memory. The last evaluation of
    a multi-fidelity strategy may go over the budget; it is then left out.

    Examples
    --------
    >>> import nasx
    >>> space = nasx.Space({name: nasx.Integer(0, 9) for name in "abcd"})
    >>> comparison = nasx.compare(
    ...     space,
    ...     lambda architecture: sum((value - 4) ** 2 for value in architecture.values()),
    ...     {"evolution": nasx.RegularizedEvolution(population_size=20), "random": "random_search"},
    ...     objectives={"error": "minimize"},
    ...     evaluations=100,
    ...     seeds=10,
    ... )
    >>> print(comparison)
    strategy          error   median   best
    ───────────────────────────────────────
    evolution   0.90 ± 0.10     1.00   0.00
    random      3.50 ± 0.67     2.50   1.00
    <BLANKLINE>
                              better by   standard errors         p
    ───────────────────────────────────────────────────────────────
    evolution over random   2.60 ± 0.68               3.8   0.00026
    <BLANKLINE>
    error after 100 evaluations, smaller is better; means over 10 seeds ± standard errors
    p: two-sided Mann-Whitney U
    >>> round(comparison.versus("random", "evolution").difference, 2)
    -2.6
    >>> picture = comparison.plot()
    """
    methods = _methods(strategies)
    numbers = _seeds(seeds)
    if unsigned(evaluations, "evaluations") < 1:
        raise ValueError(f"evaluations must be at least 1; got {evaluations}")
    problem = Problem(space, task, objectives=objectives, costs=costs, limits=limits)
    _check_metrics(metrics, task, problem)
    signs = np.array([1.0 if d == "minimize" else -1.0 for d in problem.objectives.values()])
    corner = None if reference is None else signs * _reference(reference, problem.names)
    whole = None if front is None else _whole(front, len(signs), corner)
    if len(methods) > 1 and len(numbers) > 1:
        require("scipy", "nasx.compare", "compare")
    if len(signs) > 1:
        require("moocore", "nasx.compare with several objectives", "compare")

    kept: dict[str, list[_Kept]] = {label: [] for label in methods}
    with _Display(len(methods) * len(numbers), evaluations, show=progress) as display:
        for seed in numbers:
            for label, method in methods.items():
                display.begin(label, seed)
                result = search(
                    space,
                    task,
                    strategy=method,
                    evaluations=evaluations,
                    objectives=objectives,
                    costs=costs,
                    limits=limits,
                    seed=seed,
                    device=device,
                    callbacks=[display.update] if display.shown else (),
                    progress=False,
                )
                if result.stopped == "interrupted":
                    raise KeyboardInterrupt
                kept[label].append(_keep(result, evaluations, metrics))

    if corner is None:
        corner = np.max([one.worst for some in kept.values() for one in some], axis=0)
        corner[np.isneginf(corner)] = np.nan  # nobody found anything
    measure = "share of the hypervolume" if front is not None else "hypervolume"
    return Comparison(
        runs={
            label: Runs(
                strategy={"name": strategy_name(methods[label]), "settings": methods[label].settings},
                curves=np.array([_curve(one, evaluations, signs, corner, whole) for one in some]),
                chosen=tuple(one.chosen for one in some),
                metrics={name: np.array([one.metrics[name] for one in some]) for name in metrics},
                failed=np.array([one.failed for one in some]),
            )
            for label, some in kept.items()
        },
        seeds=numbers,
        evaluations=evaluations,
        objectives=problem.objectives,
        limits=problem.limits,
        measure=measure if len(signs) > 1 else problem.names[0],
        direction="maximize" if len(signs) > 1 else problem.objectives[problem.names[0]],
        reference=dict(zip(problem.names, (signs * corner).tolist(), strict=True)),
    )


# -- what is kept of a search --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Kept:
    spent: npt.NDArray[np.float64]  # (k,), evaluations that each improvement took
    losses: Losses  # (k, m), of the trials that nothing before them was as good as
    worst: Losses  # (m,), of the feasible trials; -inf if there are none
    chosen: Architecture | None
    metrics: dict[str, float]
    failed: int


def _keep(result: Result, evaluations: int, metrics: Sequence[str]) -> _Kept:
    # An evaluation is known when it was paid for; with parts of evaluations the last may be one too many.
    spent = np.cumsum([trial.fraction for trial in result.trials]) - _ROUNDING
    result.trials = Trials(result.trials[: int(np.searchsorted(spent, evaluations))])
    feasible = [i for i, trial in enumerate(result.trials) if trial.state == "complete"]
    losses = result.losses(result.complete)
    # With the time of arrival as one more loss, the front is what nothing earlier was as good as.
    improves = pareto.front(np.column_stack([losses, np.arange(len(losses))]))
    best = result.best
    found = dict.fromkeys(metrics, np.nan) if best is None else best.metrics
    for name in metrics:
        if name not in found:
            raise ValueError("metrics: " + unknown("metric", name, found))
    return _Kept(
        spent=spent[feasible][improves],
        losses=losses[improves],
        worst=losses.max(axis=0, initial=-np.inf),
        chosen=None if best is None else best.architecture,
        metrics={name: found[name] for name in metrics},
        failed=sum(trial.state == "failed" for trial in result.trials),
    )


def _curve(
    kept: _Kept, evaluations: int, signs: Losses, corner: Losses, whole: float | None
) -> npt.NDArray[np.float64]:
    """Best so far after 1, 2, ... evaluations: NaN, or no hypervolume, before anything feasible."""
    if len(signs) == 1:
        values = [np.nan, *(signs[0] * kept.losses[:, 0])]
    else:
        counts = range(1, len(kept.losses) + 1)
        values = [0.0, *(pareto.hypervolume(kept.losses[:n], corner) / (whole or 1.0) for n in counts)]
    return np.array(values)[np.searchsorted(kept.spent, np.arange(1.0, evaluations + 1), side="right")]


# -- arguments -----------------------------------------------------------------------------------------------


def _methods(
    strategies: Sequence[Method] | Mapping[str, Method],
) -> dict[str, SampledStrategy | MultiFidelityStrategy]:
    if isinstance(strategies, str | Strategy | type):
        raise TypeError(f"strategies must be a list of strategies, or label -> strategy; got {strategies!r}")
    named = strategies.items() if isinstance(strategies, Mapping) else ((None, s) for s in strategies)
    methods: dict[str, SampledStrategy | MultiFidelityStrategy] = {}
    for given, strategy in named:
        method = get_strategy(strategy)
        label = strategy_name(method) if given is None else given
        if not isinstance(label, str):
            raise TypeError(f"strategies: a label must be a string; got {label!r}")
        if not isinstance(method, SampledStrategy | MultiFidelityStrategy):
            raise TypeError(
                f"strategies: {label!r} is no sampled strategy: it spends no evaluations; run nasx.search "
                "for each seed, and compare what result.retrain(task) reaches"
            )
        if label in methods:
            raise ValueError(
                f"strategies: {label!r} comes twice; give labels, as in "
                f'{{"{label} A": ..., "{label} B": ...}}'
            )
        methods[label] = method
    if not methods:
        raise ValueError("strategies must name at least one; nasx.available_strategies() lists them")
    return methods


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(seeds, int | np.integer) and not isinstance(seeds, bool):
        numbers = tuple(range(seeds))
    elif isinstance(seeds, bool | str) or not np.iterable(seeds):
        raise TypeError(f"seeds must be an integer or a list of them; got {seeds!r}")
    else:
        numbers = tuple(unsigned(seed, "every one of seeds") for seed in seeds)
    if not numbers:
        raise ValueError(f"seeds must give at least one; got {seeds!r}")
    if len(set(numbers)) < len(numbers):
        raise ValueError("seeds must differ: the same seed gives the same search")
    return numbers


def _check_metrics(metrics: Sequence[str], task: Any, problem: Problem) -> None:
    if isinstance(metrics, str):
        raise TypeError(f"metrics must be a list of names; got {metrics!r}: write [{metrics!r}]")
    known = task.metrics if isinstance(task, Task) else None
    if known is None:
        return
    for name in metrics:
        if name not in known and name not in problem.costs:
            raise ValueError("metrics: " + unknown("metric", name, [*known, *problem.costs]))


def _reference(reference: Mapping[str, float], names: Sequence[str]) -> npt.NDArray[np.float64]:
    if len(names) < 2:
        raise ValueError("reference bounds a hypervolume, which needs several objectives; leave it out")
    if not isinstance(reference, Mapping) or set(reference) != set(names):
        raise ValueError(
            f"reference must map each objective ({', '.join(names)}) to its worst value; got {reference!r}"
        )
    values = floats([reference[name] for name in names], "reference", 1)
    if not np.isfinite(values).all():
        raise ValueError(f"reference must be finite; got {reference!r}")
    return values


def _whole(front: npt.ArrayLike, objectives: int, corner: Losses | None) -> float:
    if objectives < 2:
        raise ValueError("front gives a hypervolume, which needs several objectives; leave it out")
    if corner is None:
        raise ValueError("front needs reference=, the worst value of each objective")
    losses = floats(front, "front", 2)
    if losses.shape[1] != objectives:
        raise ValueError(f"front must have {objectives} columns, one an objective; got shape {losses.shape}")
    if not np.isfinite(losses).all():
        raise ValueError("front must be finite")
    whole = pareto.hypervolume(losses, corner)
    if whole == 0:
        raise ValueError("front has no row that is better than reference in every objective")
    return whole


# -- display -------------------------------------------------------------------------------------------------


class _Display(Live):
    """One bar over all searches."""

    def __init__(self, searches: int, evaluations: int, *, show: bool | None) -> None:
        super().__init__("comparing", total=searches * evaluations, show=show)
        self._searches, self._evaluations = searches, evaluations
        self._done, self._now, self._what = -1, 0.0, ""

    def begin(self, label: str, seed: int) -> None:
        self._done, self._now, self._what = self._done + 1, 0.0, f"{label}, seed {seed}"
        self._print_now_and_then()

    def update(self, result: Result, trial: Trial) -> None:
        self._now += trial.fraction
        self._print_now_and_then()

    def completed(self) -> float:
        return max(self._done, 0) * self._evaluations + self._now

    def status(self) -> str:
        share = self.completed() / (self._searches * self._evaluations)
        left = self._elapsed() * (1 - share) / share if share else None
        parts = [
            f"{max(self._done, 0)}/{self._searches} searches",
            self._what,
            f"{format_seconds(left)} left" if left is not None else "",
        ]
        return " | ".join(part for part in parts if part)
