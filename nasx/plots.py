"""Pictures of a result, and of a comparison."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from nasx.comparison import Comparison
from nasx.errors import require
from nasx.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot", "plot_comparison", "plot_pareto_front", "plot_progress"]

_ALL, _FRONT, _OTHER = "#b8bec6", "#1f77b4", "#d1495b"
_LINES = (_FRONT, _OTHER, "#2a9d6f", "#e0962b", "#7a5ea8", "#6b7480", "#17a2b8", "#9c5b3c")


def plot(
    result: Result, *, other: Result | None = None, path: str | os.PathLike[str] | None = None
) -> Figure:
    """Draw the picture that says most about a result.

    Parameters
    ----------
    result : Result
        What a search found.
    other : Result, optional
        Another search on the same objectives, drawn for comparison.
    path : path-like, optional
        Write the picture here too; the ending decides the format.

    Returns
    -------
    matplotlib.figure.Figure
        The Pareto front; with one objective, the best value over the evaluations.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    ValueError
        If `other` has other objectives.
    """
    draw = plot_progress if len(result.objectives) == 1 else plot_pareto_front
    figure = draw(result, other=other)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _figure(result: Result, other: Result | None, panels: int) -> tuple[Figure, Any]:
    if other is not None and other.objectives != result.objectives:
        raise ValueError(f"other must have the objectives {result.objectives}; got {other.objectives}")
    return _panels(panels)


def _panels(panels: int) -> tuple[Figure, Any]:
    figure: Figure = require("matplotlib.figure", "nasx.plots", "plot").Figure(
        figsize=(1.2 + 4.6 * panels, 4.2), layout="constrained"
    )
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    return figure, axes


def plot_pareto_front(result: Result, *, other: Result | None = None) -> Figure:
    """Draw every evaluated architecture and the Pareto front, one panel for each further objective.

    Parameters
    ----------
    result : Result
        What a search over at least two objectives found.
    other : Result, optional
        Another search on the same objectives; its front is drawn hollow.

    Returns
    -------
    matplotlib.figure.Figure
        The first objective against each of the others; the star is ``result.best``.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    ValueError
        If there is one objective only, or `other` has other ones.
    """
    names = list(result.objectives)
    if len(names) < 2:
        raise ValueError("a Pareto front needs at least two objectives; use plot_progress")
    figure, axes = _figure(result, other, len(names) - 1)
    complete, front, best = result.complete, result.pareto_front, result.best
    for axis, name in zip(axes, names[1:], strict=True):

        def points(trials: list[Any], name: str = name) -> tuple[list[float], list[float]]:
            return [t.metrics[name] for t in trials], [t.metrics[names[0]] for t in trials]

        axis.scatter(*points(complete), s=16, color=_ALL, label=f"evaluated ({len(complete)})")
        if other is not None:
            axis.scatter(
                *points(other.pareto_front),
                s=46,
                facecolors="none",
                edgecolors=_OTHER,
                marker="D",
                label=f"front of {other.strategy} ({len(other.pareto_front)})",
            )
        axis.scatter(*points(front), s=34, color=_FRONT, label=f"front of {result.strategy} ({len(front)})")
        if best is not None:
            axis.scatter(
                *points([best]), s=170, marker="*", color=_FRONT, edgecolors="white", label="chosen", zorder=3
            )
        values = points(complete)[0]
        if values and min(values) > 0 and max(values) / min(values) > 10:
            axis.set_xscale("log")
        axis.set_xlabel(f"{name} ({result.objectives[name]})")
    axes[0].set_ylabel(f"{names[0]} ({result.objectives[names[0]]})")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def plot_progress(result: Result, *, other: Result | None = None) -> Figure:
    """Draw the first objective's best value so far over the evaluations.

    Parameters
    ----------
    result : Result
        What a search found.
    other : Result, optional
        Another search on the same objectives, drawn as a second curve.

    Returns
    -------
    matplotlib.figure.Figure
        Points are single evaluations, the line is the best feasible one so far.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    ValueError
        If `other` has other objectives.
    """
    figure, (axis,) = _figure(result, other, 1)
    name, direction = next(iter(result.objectives.items()))
    best_of = np.minimum if direction == "minimize" else np.maximum
    for one, colour in ((result, _FRONT), (other, _OTHER)):
        if one is None:
            continue
        where = [i + 1 for i, trial in enumerate(one.trials) if trial.state == "complete"]
        values = np.array([trial.metrics[name] for trial in one.complete], np.float64)
        axis.scatter(where, values, s=10, color=colour, alpha=0.3)
        if len(values):
            line = np.append(best_of.accumulate(values), best_of.reduce(values))
            axis.step([*where, len(one.trials)], line, where="post", color=colour, label=one.strategy)
    axis.set_xlabel("evaluations")
    axis.set_ylabel(f"{name} ({direction})")
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False)
    return figure


def plot_comparison(comparison: Comparison) -> Figure:
    """Draw the best value so far over the evaluations, one line a strategy.

    Parameters
    ----------
    comparison : Comparison
        From `nasx.compare`.

    Returns
    -------
    matplotlib.figure.Figure
        Lines are means over the seeds, bands one standard error to each side; the best strategy comes first
        in the legend. The first tenth of the evaluations may lie outside, so that the end can be read.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    figure, (axis,) = _panels(1)
    x = np.arange(1, comparison.evaluations + 1)
    n, begin = len(comparison.seeds), len(x) // 10
    low, high = np.inf, -np.inf
    styles = [(colour, dashes) for dashes in ("-", "--", ":", "-.") for colour in _LINES]
    given = {label: styles[i % len(styles)] for i, label in enumerate(comparison.runs)}
    for label in comparison.summary():
        colour, dashes = given[label]
        curves = comparison.filled(comparison.runs[label].curves)
        mean = curves.mean(axis=0)
        error = curves.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(len(x))
        axis.plot(x, mean, color=colour, linestyle=dashes, label=label)
        axis.fill_between(x, mean - error, mean + error, color=colour, alpha=0.2, linewidth=0)
        low = min(low, (mean - error)[begin:].min())
        high = max(high, (mean + error)[begin:].max())
    if np.isfinite([low, high]).all() and low < high:
        margin = 0.04 * (high - low)
        axis.set_ylim(low - margin, high + margin)
    axis.set_xlabel("evaluations")
    several = len(comparison.objectives) > 1
    axis.set_ylabel(
        comparison.measure if several else f"best {comparison.measure} so far ({comparison.direction})"
    )
    axis.margins(x=0.02)
    axis.legend(
        frameon=False,
        fontsize=8,
        title_fontsize=8,
        alignment="left",
        title=f"mean ± standard error, {n} seeds" if n > 1 else "one seed",
    )
    return figure
