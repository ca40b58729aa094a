"""How far shared weights can be trusted: their ranking beside that of networks that were trained alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nasx._arguments import count
from nasx._live import Live
from nasx.architecture import Architecture
from nasx.errors import unknown
from nasx.space import Genotypes
from nasx.statistics import kendall_tau, spearman_rho
from nasx.tasks.tabular import TabularBenchmark

if TYPE_CHECKING:
    from nasx.nn.supernet import Supernet
    from nasx.tasks.base import Direction

__all__ = ["RankCorrelation", "rank_correlation"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RankCorrelation:
    """Scores by shared weights beside measurements of the same architectures.

    Attributes
    ----------
    kendall, spearman : float
        How well both rank the architectures alike, in -1..1: positive where what is better by one is better
        by the other, whichever directions the metrics have.
    genotypes : ndarray of int32, shape (n, d)
        The architectures.
    scores, values : ndarray of float64, shape (n,)
        What shared weights give, and what the table says.
    score, metric : str
        The names of the two.
    """

    kendall: float
    spearman: float
    genotypes: Genotypes
    scores: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]
    score: str
    metric: str

    def __repr__(self) -> str:
        return (
            f"<{self.score} by shared weights and {self.metric} of {len(self.scores)} architectures: "
            f"Kendall's tau {self.kendall:.3f}, Spearman's rho {self.spearman:.3f}>"
        )


def rank_correlation(
    supernet: Supernet,
    table: TabularBenchmark | Mapping[Architecture, float] | npt.ArrayLike,
    *,
    task: Any,
    metric: str | None = None,
    direction: Direction | None = None,
    architectures: int | npt.ArrayLike = 1000,
    seed: int = 0,
    batches: int = 20,
    progress: bool | None = None,
) -> RankCorrelation:
    """Compare how a supernet ranks random architectures with how measurements rank them.

    Parameters
    ----------
    supernet : nasx.nn.Supernet
        A trained one; it is left as it is.
    table : TabularBenchmark, mapping of Architecture to float, or array_like of float, shape (n,)
        The measurements; an array holds those of the genotypes in `architectures`.
    task : Task
        What the supernet was trained on; its first objective is the score.
    metric : str, optional
        Which of a benchmark's metrics; by default its first objective.
    direction : {"minimize", "maximize"}, optional
        Which measurements are better; by default what a benchmark says of `metric`, else "maximize".
    architectures : int or array_like of int, shape (n, d), default 1000
        How many random ones, different from each other, out of the table; or which, as genotypes.
    seed : int, default 0
        Chooses them, and the batches over which batch normalisations are measured.
    batches : int, default 20
        How many of those; see `nasx.tasks.SharedWeights`.
    progress : bool, optional
        Show progress on the standard error stream; by default on a terminal.

    Returns
    -------
    RankCorrelation
        Correlations and everything that they are of.

    Raises
    ------
    ValueError
        If there are fewer than two architectures, or arguments do not fit together.
    nasx.errors.EvaluationError
        If an architecture is not in the benchmark.

    References
    ----------
    K. Yu et al., "Evaluating the Search Phase of Neural Architecture Search", ICLR 2020.

    Examples
    --------
    >>> import nasx
    >>> data = nasx.tasks.datasets.load("digits")
    >>> task = nasx.tasks.ImageClassification(data["train"], data["valid"], device="cpu")
    >>> space = nasx.spaces.NASBench201(cells=1, channels=4)
    >>> cells = space.sample(4, seed=0)
    >>> found = rank_correlation(
    ...     space.supernet(task.spec), [1.0, 2.0, 3.0, 4.0], task=task, architectures=cells, batches=1
    ... )
    >>> found.score, len(found.scores), -1 <= found.kendall <= 1
    ('error', 4, True)
    """
    from nasx.tasks.shared_weights import SharedWeights

    rows, values, metric, direction = _measured(
        table, metric=metric, direction=direction, architectures=architectures, seed=seed
    )
    if direction not in ("minimize", "maximize"):
        raise ValueError("direction: " + unknown("direction", direction, ["minimize", "maximize"]))
    if len(rows) < 2:
        raise ValueError(f"architectures must be two at least, to be ranked; got {len(rows)}")
    rows = supernet.space.check(rows)
    score, better = next(iter(task.objectives.items()))
    shared = SharedWeights(supernet, task, seed=seed, batches=batches)
    scores = np.empty(len(rows))
    with _Scoring(len(rows), progress) as display:
        for i, row in enumerate(rows):
            scores[i] = shared.evaluate(supernet.space.architecture(row))[score]
            display.update()
    sign = 1.0 if better == direction else -1.0
    return RankCorrelation(
        kendall=sign * kendall_tau(scores, values),
        spearman=sign * spearman_rho(scores, values),
        genotypes=rows,
        scores=scores,
        values=values,
        score=score,
        metric=metric,
    )


def _measured(
    table: Any, *, metric: str | None, direction: Direction | None, architectures: Any, seed: int
) -> tuple[Genotypes, npt.NDArray[np.float64], str, Direction]:
    """Find which architectures are compared, and what is known of them."""
    given = None if isinstance(architectures, int) else np.asarray(architectures, np.int32)
    if given is not None and given.ndim != 2:
        raise ValueError(f"architectures must be a number or genotypes (n, d); got shape {given.shape}")
    if isinstance(table, TabularBenchmark):
        metric = next(iter(table.objectives)) if metric is None else metric
        if metric not in table.metrics:
            raise ValueError("metric: " + unknown("metric", metric, table.metrics))
        rows = table.genotypes[_chosen(len(table), architectures, seed)] if given is None else given
        known = table.evaluate_many(rows)[metric]
        return rows, known, metric, direction or table.objectives.get(metric, "maximize")
    metric = metric or "measurements"
    if isinstance(table, Mapping):
        keys = list(table)
        if given is not None:
            by_row = {key.genotype.tobytes(): key for key in keys}
            missing = [row.tolist() for row in given if row.tobytes() not in by_row]
            if missing:
                raise ValueError(f"table has no measurement of {missing[0]}")
            keys = [by_row[row.tobytes()] for row in given]
        else:
            keys = [keys[i] for i in _chosen(len(keys), architectures, seed)]
        rows = np.array([key.genotype for key in keys], np.int32)
        return rows, np.array([table[key] for key in keys], np.float64), metric, direction or "maximize"
    known = np.asarray(table, np.float64)
    if given is None or known.shape != (len(given),):
        got = "a number" if given is None else f"shapes {known.shape} and {given.shape}"
        raise ValueError(f"table, an array, needs as many genotypes in architectures; got {got}")
    return given, known, metric, direction or "maximize"


def _chosen(size: int, architectures: int, seed: int) -> npt.NDArray[np.int64]:
    n = min(count(architectures, "architectures", 2), size)
    return np.random.default_rng(seed).choice(size, n, replace=False)


class _Scoring(Live):
    """How many architectures have been scored."""

    def __init__(self, total: int, show: bool | None) -> None:
        super().__init__("rank_correlation", total=total, show=show)
        self._done, self._all = 0, total

    def update(self) -> None:
        """Count one more."""
        self._done += 1
        self._print_now_and_then()

    def completed(self) -> float:
        """Count them."""
        return self._done

    def status(self) -> str:
        """Write how many of how many."""
        return f"{self._done}/{self._all} scored"
