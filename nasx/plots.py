"""Pictures of results, of comparisons, and of predictions beside measurements."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from nasx._figures import ALL, FRONT, LINES, OTHER, panels
from nasx._front_plots import plot_fronts, plot_predictions
from nasx.comparison import Comparison
from nasx.errors import require
from nasx.importance import decision_importance
from nasx.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "plot",
    "plot_comparison",
    "plot_fronts",
    "plot_history",
    "plot_importance",
    "plot_pareto_front",
    "plot_predictions",
    "plot_progress",
    "plot_summary",
]

# What a history holds of what a strategy learns of the architectures while it trains.
_LEARNED = {"probabilities", "reward"}
# At most so many groups of edges have a panel.
_GROUPS = 4
# At most so many bars of decisions, the most important ones.
_BARS = 12


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
        The Pareto front; with one objective, the best value over the evaluations; where a supernet was
        trained, how that went.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    ValueError
        If `other` has other objectives.
    """
    if other is None and result.history and _LEARNED & result.history[0].keys():
        figure = plot_history(result)
    elif len(result.objectives) == 1:
        figure = plot_progress(result, other=other)
    else:
        figure = plot_pareto_front(result, other=other)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _check(result: Result, other: Result | None) -> None:
    if other is not None and other.objectives != result.objectives:
        raise ValueError(f"other must have the objectives {result.objectives}; got {other.objectives}")


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
    if len(result.objectives) < 2:
        raise ValueError("a Pareto front needs at least two objectives; use plot_progress")
    _check(result, other)
    figure, axes = panels(len(result.objectives) - 1)
    _draw_fronts(axes, result, other)
    return figure


def _draw_fronts(axes: Any, result: Result, other: Result | None) -> None:
    """Draw the front, an axis for each objective but the first."""
    names = list(result.objectives)
    _, values = result.trials.complete(names)
    front, best = result.pareto_front, result.best
    for j, (axis, name) in enumerate(zip(axes, names[1:], strict=True), start=1):

        def points(trials: list[Any], name: str = name) -> tuple[list[float], list[float]]:
            return [t.metrics[name] for t in trials], [t.metrics[names[0]] for t in trials]

        axis.scatter(values[:, j], values[:, 0], s=16, color=ALL, label=f"evaluated ({len(values)})")
        if other is not None:
            axis.scatter(
                *points(other.pareto_front),
                s=46,
                facecolors="none",
                edgecolors=OTHER,
                marker="D",
                label=f"front of {other.strategy} ({len(other.pareto_front)})",
            )
        axis.scatter(*points(front), s=34, color=FRONT, label=f"front of {result.strategy} ({len(front)})")
        if best is not None:
            axis.scatter(
                *points([best]), s=170, marker="*", color=FRONT, edgecolors="white", label="chosen", zorder=3
            )
        if len(values) and values[:, j].min() > 0 and values[:, j].max() / values[:, j].min() > 10:
            axis.set_xscale("log")
        axis.set_xlabel(f"{name} ({result.objectives[name]})")
    axes[0].set_ylabel(f"{names[0]} ({result.objectives[names[0]]})")
    axes[0].legend(frameon=False, fontsize=8)


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
        Points are single evaluations, the line is the best feasible one so far. The worst quarter of the
        points may lie outside, so that the best can be read.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    ValueError
        If `other` has other objectives.
    """
    _check(result, other)
    figure, (axis,) = panels(1)
    _draw_progress(axis, result, other)
    return figure


def _draw_progress(axis: Axes, result: Result, other: Result | None) -> None:
    """Draw the best value so far."""
    name, direction = next(iter(result.objectives.items()))
    best_of = np.minimum if direction == "minimize" else np.maximum
    measured = [np.empty(0)]
    for one, colour in ((result, FRONT), (other, OTHER)):
        if one is None:
            continue
        places, values = one.trials.complete([name])
        measured.append(values[:, 0])
        axis.scatter(places + 1, values, s=10, color=colour, alpha=0.3)
        if len(values):
            line = np.append(best_of.accumulate(values[:, 0]), best_of.reduce(values[:, 0]))
            axis.step([*(places + 1), len(one.trials)], line, where="post", color=colour, label=one.strategy)
    every = np.concatenate(measured)
    if len(every) > 3:
        better = np.quantile(every, [0, 0.75] if direction == "minimize" else [0.25, 1])
        margin = 0.05 * (better[1] - better[0])
        if margin > 0:
            axis.set_ylim(better[0] - margin, better[1] + margin)
    axis.set_xlabel("evaluations")
    axis.set_ylabel(f"{name} ({direction})")
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False)


def plot_importance(result: Result) -> Figure:
    """Draw how much each decision explains of each objective, one panel an objective.

    Parameters
    ----------
    result : Result
        What a search found.

    Returns
    -------
    matplotlib.figure.Figure
        The decisions that explain most, at most twelve a panel; see `nasx.importance.decision_importance`.
        Pale bars are of a length that chance alone could give.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    figure, axes = panels(len(result.objectives))
    _draw_importance(axes, result)
    return figure


def _draw_importance(axes: Any, result: Result) -> None:
    """Draw bars, an axis for each objective."""
    patches = require("matplotlib.patches", "nasx.plots", "plot")
    for axis, (name, found) in zip(axes, decision_importance(result).items(), strict=True):
        order = sorted(found, key=lambda decision: -found[decision].share)
        shown = order[:_BARS][::-1]
        shares = [found[decision].share for decision in shown]
        sure = [found[decision].share > found[decision].chance for decision in shown]
        axis.barh(shown, shares, height=0.7, color=[FRONT if s else ALL for s in sure])
        for place, share in enumerate(shares):
            text = f"{share:.0%}" if share >= 0.005 or share == 0 else "< 1%"
            axis.annotate(text, (share, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
        axis.set_xlim(0, max([*shares, 0.05]) * 1.15)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axis.grid(visible=False, axis="y")
        axis.set_axisbelow(True)
        axis.tick_params(axis="y", length=0, labelsize=8)
        axis.set_xlabel(f"share of {name} explained (variance of ranks)")
        if not all(sure):
            axis.legend(
                handles=[patches.Patch(color=ALL, label="could be chance")],
                title=f"{len(shown)} of {len(order)} decisions" if len(shown) < len(order) else None,
                title_fontsize=8,
                alignment="left",
                frameon=False,
                fontsize=8,
                loc="lower right",
            )


def plot_summary(
    result: Result, *, other: Result | None = None, path: str | os.PathLike[str] | None = None
) -> Figure:
    """Draw a result's progress, its Pareto front and the importance of its decisions in one picture.

    Parameters
    ----------
    result : Result
        What a search found.
    other : Result, optional
        Another search on the same objectives, drawn for comparison in all but the importance.
    path : path-like, optional
        Write the picture here too; the ending decides the format.

    Returns
    -------
    matplotlib.figure.Figure
        With one objective two panels, without a front; with more two rows of one panel an objective.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    ValueError
        If `other` has other objectives.
    """
    _check(result, other)
    m = len(result.objectives)
    figure, axes = panels(2) if m == 1 else panels(m, rows=2)
    _draw_progress(axes[0], result, other)
    if m > 1:
        _draw_fronts(axes[1:m], result, other)
    _draw_importance(axes[-m:], result)
    if path is not None:
        figure.savefig(path, dpi=150)
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
    figure, (axis,) = panels(1)
    x = np.arange(1, comparison.evaluations + 1)
    n, begin = len(comparison.seeds), len(x) // 10
    low, high = np.inf, -np.inf
    styles = [(colour, dashes) for dashes in ("-", "--", ":", "-.") for colour in LINES]
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


def plot_history(result: Result) -> Figure:
    """Draw how a supernet's training went: losses, and what its strategy learned of the architectures.

    Parameters
    ----------
    result : Result
        Of a strategy that trains a supernet, such as `nasx.DARTS` or `nasx.ENAS`.

    Returns
    -------
    matplotlib.figure.Figure
        Losses over the epochs; the mean weight of each operation over the edges of the first four groups, or
        the rewards and the entropy of a controller.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    ValueError
        If the result has no history.
    """
    history = result.history
    if not history:
        raise ValueError("result has no history: its strategy trains no supernet")
    groups = list(history[0].get("probabilities", {}))[:_GROUPS]
    shown: dict[str, tuple[str, ...]] = {"losses": ("loss", "architecture_loss")}
    if "reward" in history[0]:
        shown |= {"rewards": ("reward", "baseline"), "entropy of the controller": ("entropy",)}
    figure, axes = panels(len(shown) + len(groups))
    epochs = [entry["epoch"] for entry in history]
    for axis, (title, names) in zip(axes, shown.items(), strict=False):
        for name, color in zip(names, (FRONT, OTHER), strict=False):
            points = [(entry["epoch"], entry[name]) for entry in history if entry.get(name) is not None]
            if points:
                axis.plot(*zip(*points, strict=True), color=color, label=name.replace("_", " "))
        axis.set_title(title, fontsize=9)
    for axis, group in zip(axes[len(shown) :], groups, strict=True):
        means = np.array([np.mean(entry["probabilities"][group], 0) for entry in history])
        for column, name in enumerate(history[0]["columns"][group]):
            axis.plot(epochs, means[:, column], color=LINES[column % len(LINES)], label=name)
        axis.set_title(f"{group}: mean weight of each operation", fontsize=9)
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.legend(fontsize=7)
    return figure
