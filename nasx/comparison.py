"""`Comparison`: what strategies reached side by side, and how sure the differences are."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from nasx.architecture import Architecture
from nasx.errors import require, unknown
from nasx.statistics import Pair, compare_pairs, mean_and_error, rounded, with_error
from nasx.tasks.base import Direction

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Comparison", "Runs", "Summary"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Runs:
    """What one strategy did, seed by seed.

    Attributes
    ----------
    strategy : dict
        Its ``name`` and ``settings``.
    curves : ndarray of float64, shape (seeds, evaluations)
        The best value, or the hypervolume, after 1, 2, ... evaluations. NaN, or 0 hypervolume, while nothing
        feasible is found; level once nothing new is left in the space.
    chosen : tuple of Architecture or None
        The best architecture of every seed; None where nothing feasible was found.
    metrics : dict of str to ndarray of float64, shape (seeds,)
        Further metrics of the chosen ones; NaN where there is none.
    failed : ndarray of int, shape (seeds,)
        Evaluations that gave no result.
    """

    strategy: dict[str, Any]
    curves: npt.NDArray[np.float64]
    chosen: tuple[Architecture | None, ...]
    metrics: dict[str, npt.NDArray[np.float64]]
    failed: npt.NDArray[np.int64]

    @property
    def scores(self) -> npt.NDArray[np.float64]:
        """The final score of every seed, shape ``(seeds,)``: the end of its curve."""
        return self.curves[:, -1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """A strategy's scores over the seeds.

    Attributes
    ----------
    mean, standard_error, median, best : float
        Of the scores. The standard error of a single seed is NaN.
    found_nothing : int
        Seeds without a feasible architecture. They count as the worst value of any feasible trial, or as no
        hypervolume.
    failed : int
        Evaluations without a result, over all seeds.
    metrics : dict of str to (float, float)
        Mean and standard error of the further metrics, over the seeds that found something.
    """

    mean: float
    standard_error: float
    median: float
    best: float
    found_nothing: int
    failed: int
    metrics: dict[str, tuple[float, float]]


class Comparison:
    """What strategies reached on the same problem with the same budget; made by `nasx.compare`.

    Printing it shows `table`.

    Attributes
    ----------
    runs : dict of str to Runs
        Every strategy's scores, curves and chosen architectures, by label.
    seeds : tuple of int
        The seeds, in the order of the rows in `runs`.
    evaluations : int
        The budget of every search.
    objectives, limits : dict
        What was searched for.
    measure : str
        What a score is: the objective's name, ``"hypervolume"`` or ``"share of the hypervolume"``.
    direction : {"minimize", "maximize"}
        Which scores are better.
    reference : dict of str to float
        With one objective, the worst value of any feasible trial, as which seeds that found nothing count;
        with several, the reference point of the hypervolume. NaN if no search found anything.
    """

    def __init__(
        self,
        *,
        runs: Mapping[str, Runs],
        seeds: tuple[int, ...],
        evaluations: int,
        objectives: Mapping[str, Direction],
        limits: Mapping[str, float],
        measure: str,
        direction: Direction,
        reference: Mapping[str, float],
    ) -> None:
        self.runs = dict(runs)
        self.seeds = seeds
        self.evaluations = evaluations
        self.objectives = dict(objectives)
        self.limits = dict(limits)
        self.measure = measure
        self.direction: Direction = direction
        self.reference = dict(reference)

    # -- statistics ------------------------------------------------------------------------------------------

    def filled(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Count what found nothing as the worst.

        Parameters
        ----------
        values : ndarray of float64
            Scores or curves.

        Returns
        -------
        ndarray of float64
            A copy without NaN, unless no search found anything.
        """
        return np.where(np.isnan(values), self.reference.get(self.measure, 0.0), values)

    def summary(self) -> dict[str, Summary]:
        """Sum every strategy up.

        Returns
        -------
        dict of str to Summary
            By label, the best mean first.
        """
        found = {}
        for label, runs in self.runs.items():
            scores = self.filled(runs.scores)
            mean, error = mean_and_error(scores)
            none = np.array([chosen is None for chosen in runs.chosen])
            found[label] = Summary(
                mean=mean,
                standard_error=error,
                median=float(np.median(scores)),
                best=float(scores.min() if self.direction == "minimize" else scores.max()),
                found_nothing=int(none.sum()),
                failed=int(runs.failed.sum()),
                metrics={name: mean_and_error(values[~none]) for name, values in runs.metrics.items()},
            )
        sign = 1.0 if self.direction == "minimize" else -1.0
        return dict(sorted(found.items(), key=lambda item: sign * item[1].mean))

    def pairs(self) -> list[Pair]:
        """Compare every strategy with every other.

        Returns
        -------
        list of Pair
            The one with the better mean first; the p-values are adjusted for all pairs.

        Notes
        -----
        The seeds are taken as independent samples. Strategies that begin with the same architectures for the
        same seed differ less by chance than that, so the tests err on the side of caution.

        See Also
        --------
        nasx.statistics.compare_pairs : the tests, and why these.
        """
        return compare_pairs(
            {label: self.filled(runs.scores) for label, runs in self.runs.items()}, self.direction
        )

    def versus(self, first: str, second: str) -> Pair:
        """Say by how much the first strategy is better than the second.

        Parameters
        ----------
        first, second : str
            Labels.

        Returns
        -------
        Pair
            A negative difference and z if it is worse.

        Raises
        ------
        ValueError
            If a label is unknown, or both are the same.
        """
        for label in (first, second):
            if label not in self.runs:
                raise ValueError(unknown("label", label, self.runs))
        for pair in self.pairs():
            if (pair.first, pair.second) == (first, second):
                return pair
            if (pair.second, pair.first) == (first, second):
                return pair.flipped
        raise ValueError(f"first and second must differ; both are {first!r}")

    # -- for people ------------------------------------------------------------------------------------------

    def table(self) -> str:
        """Write scores and tests as text.

        Returns
        -------
        str
            One line a strategy, the best first; one line a pair; and what the numbers are.
        """
        from rich import box
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        def table(first: str, *others: str) -> Table:
            made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
            made.add_column(escape(first))
            for other in others:
                made.add_column(escape(other), justify="right")
            return made

        metrics = list(next(iter(self.runs.values())).metrics)
        summaries = self.summary()
        scores = table("strategy", self.measure, "median", "best", *metrics)
        for label, one in summaries.items():
            more = [with_error(*one.metrics[name]) for name in metrics]
            others = [rounded(value, one.standard_error) for value in (one.median, one.best)]
            scores.add_row(escape(label), with_error(one.mean, one.standard_error), *others, *more)
        pairs = table("", "better by", "standard errors", "p")
        for pair in self.pairs():
            better = with_error(pair.difference, pair.standard_error)
            names = escape(f"{pair.first} over {pair.second}")
            pairs.add_row(names, better, rounded(pair.z, 1.0), "-" if math.isnan(pair.p) else f"{pair.p:.2g}")
        stream = io.StringIO()
        console = Console(file=stream, width=1000, color_system=None, legacy_windows=False)
        console.print(scores)
        if len(self.runs) > 1:
            console.print()
            console.print(pairs)
        lines = [line.rstrip() for line in stream.getvalue().splitlines()]
        return "\n".join([*lines, "", *self._notes(summaries)])

    def _notes(self, summaries: Mapping[str, Summary]) -> list[str]:
        n = len(self.seeds)
        goal = "smaller" if self.direction == "minimize" else "larger"
        notes = [
            f"{self.measure} after {self.evaluations} evaluations, {goal} is better; "
            + (f"means over {n} seeds ± standard errors" if n > 1 else "one seed")
        ]
        if len(self.objectives) > 1 and not np.isnan(list(self.reference.values())).any():
            worst = ", ".join(f"{name} {value:.6g}" for name, value in self.reference.items())
            notes.append(f"the hypervolume's reference point: {worst}")
        if len(self.runs) > 1 and n > 1:
            count = len(self.runs) * (len(self.runs) - 1) // 2
            adjusted = f", Holm's adjustment for {count} pairs" if count > 1 else ""
            notes.append(f"p: two-sided Mann-Whitney U{adjusted}")
        for label, one in summaries.items():
            if one.found_nothing:
                counted = "count as 0" if len(self.objectives) > 1 else "count as the worst feasible value"
                notes.append(
                    f"{label}: {one.found_nothing} of {n} seeds found nothing feasible and {counted}"
                )
            if one.failed:
                notes.append(f"{label}: {one.failed} evaluations failed")
        return notes

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the best so far over the evaluations, one line a strategy.

        Parameters
        ----------
        path : path-like, optional
            Write the picture here too.

        Returns
        -------
        matplotlib.figure.Figure
            Means over the seeds in bands of one standard error; notebooks show it.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.
        """
        from nasx import plots

        figure = plots.plot_comparison(self)
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure

    def __repr__(self) -> str:
        return self.table()

    # -- other forms -----------------------------------------------------------------------------------------

    def to_dataframe(self, of: Literal["strategies", "pairs", "seeds"] = "strategies") -> pd.DataFrame:
        """Put the numbers into a table.

        Parameters
        ----------
        of : {"strategies", "pairs", "seeds"}, default "strategies"
            One row a strategy: the fields of `Summary`, and ``metric.NAME`` and
            ``metric.NAME.standard_error`` for each further metric. One row a pair: the fields of `Pair`. Or
            one row a strategy and seed: the score as it is, failures, and ``metric.NAME``.

        Returns
        -------
        pandas.DataFrame
            Indexed by strategy, by pair, or by strategy and seed.

        Raises
        ------
        ValueError
            If `of` is none of these.
        MissingDependencyError
            If pandas is not installed.
        """
        pandas = require("pandas", "Comparison.to_dataframe", "data")
        if of == "strategies":
            index, rows = ["strategy"], self._strategy_rows()
        elif of == "pairs":
            index, rows = ["first", "second"], [dataclasses.asdict(pair) for pair in self.pairs()]
        elif of == "seeds":
            index, rows = ["strategy", "seed"], self._seed_rows()
        else:
            raise ValueError("of: " + unknown("table", of, ["strategies", "pairs", "seeds"]))
        columns = None if rows else [field.name for field in dataclasses.fields(Pair)]
        frame: pd.DataFrame = pandas.DataFrame(rows, columns=columns).set_index(index)
        return frame

    def _strategy_rows(self) -> list[dict[str, Any]]:
        rows = []
        for label, one in self.summary().items():
            row = {"strategy": label, **dataclasses.asdict(one)}
            for name, (mean, error) in row.pop("metrics").items():
                row[f"metric.{name}"], row[f"metric.{name}.standard_error"] = mean, error
            rows.append(row)
        return rows

    def _seed_rows(self) -> list[dict[str, Any]]:
        return [
            {
                "strategy": label,
                "seed": seed,
                "score": runs.scores[i],
                "failed": runs.failed[i],
                **{f"metric.{name}": values[i] for name, values in runs.metrics.items()},
            }
            for label, runs in self.runs.items()
            for i, seed in enumerate(self.seeds)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON types.

        Returns
        -------
        dict
            Settings, statistics, and everything seed by seed; numbers that are not finite as None.
        """
        summaries = self.summary()
        found: dict[str, Any] = _plain(
            {
                "measure": self.measure,
                "direction": self.direction,
                "evaluations": self.evaluations,
                "seeds": self.seeds,
                "objectives": self.objectives,
                "limits": self.limits,
                "reference": self.reference,
                "strategies": {
                    label: {
                        **runs.strategy,
                        "summary": dataclasses.asdict(summaries[label]),
                        "scores": runs.scores,
                        "curves": runs.curves,
                        "chosen": [None if one is None else dict(one) for one in runs.chosen],
                        "metrics": runs.metrics,
                        "failed": runs.failed,
                    }
                    for label, runs in self.runs.items()
                },
                "pairs": [dataclasses.asdict(pair) for pair in self.pairs()],
            }
        )
        return found

    def to_json(self) -> str:
        """Write the comparison as JSON.

        Returns
        -------
        str
            The document of `to_dict`.
        """
        return json.dumps(self.to_dict(), allow_nan=False)


def _plain(value: Any) -> Any:
    """Arrays and tuples as lists, and None for what JSON cannot hold."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(one) for one in (value.tolist() if isinstance(value, np.ndarray) else value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value
