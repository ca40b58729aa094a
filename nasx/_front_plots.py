"""Several fronts beside the true one and beside measurements, and predictions beside measurements."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nasx import pareto
from nasx._arguments import floats
from nasx._figures import ALL, FRONT, LINES, panels
from nasx.errors import unknown
from nasx.hardware.additive_fit import errors_of
from nasx.result import Result
from nasx.tasks.base import Direction, check_directions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_fronts", "plot_predictions"]

_MARKS = "oDsv^P"


def plot_fronts(
    fronts: Mapping[str, Result | npt.ArrayLike],
    *,
    objectives: Mapping[str, Direction] | None = None,
    truth: npt.ArrayLike | None = None,
    measured: Mapping[str, npt.ArrayLike] | None = None,
    axis: Axes | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw the fronts of several searches, beside the true one and beside what was measured afterwards.

    Parameters
    ----------
    fronts : mapping of str to Result, or to array_like of float, shape (k, 2)
        By label: a result, whose Pareto front is drawn, or points in the objectives' own units.
    objectives : mapping of str to {"minimize", "maximize"}, optional
        The two objectives, the first of which goes upwards; by default those of the first result.
    truth : array_like of float, shape (n, 2), optional
        The true front, or all there is: its staircase is drawn.
    measured : mapping of str to array_like of float, shape (k, 2), optional
        For some labels, the same points measured again, in their order: hollow marks, each with a line to
        what the search went by.
    axis : matplotlib.axes.Axes, optional
        Draw here instead of in a figure of its own.
    path : path-like, optional
        Write the picture here too; the ending decides the format.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    ValueError
        If there are no fronts, the objectives are not two or unknown, or points do not fit.

    Examples
    --------
    >>> from nasx import Integer, Space, search
    >>> space = Space({"width": Integer(1, 8), "depth": Integer(1, 8)})
    >>> def task(a):
    ...     return {"error": 1 / (a["width"] + a["depth"]), "ms": a["width"] * a["depth"]}
    >>> both = {"error": "minimize", "ms": "minimize"}
    >>> found = {
    ...     name: search(space, task, objectives=both, strategy=name, evaluations=30)
    ...     for name in ("nsga2", "random_search")
    ... }
    >>> everything = [[1 / (a + b), a * b] for a in range(1, 9) for b in range(1, 9)]
    >>> picture = plot_fronts(found, truth=everything)
    >>> [text.get_text() for text in picture.axes[0].get_legend().get_texts()]
    ['true front', 'nsga2', 'random_search']
    """
    names, signs = _directions(fronts, objectives)
    points = {label: _points(front, names, f"fronts[{label!r}]") for label, front in fronts.items()}
    again = {label: floats(values, f"measured[{label!r}]", 2) for label, values in (measured or {}).items()}
    for label, values in again.items():
        if label not in points:
            raise ValueError(f"measured: {unknown('label', label, points)}")
        if values.shape != points[label].shape:
            raise ValueError(
                f"measured[{label!r}] must have shape {points[label].shape}, a row for each point of the "
                f"front; got {values.shape}"
            )
    figure, axis = _axis(axis)
    if truth is not None:
        best = _staircase(_points(truth, names, "truth"), signs)
        axis.step(best[:, 1], best[:, 0], where="post", color="black", linewidth=1, label="true front")
    for k, (label, front) in enumerate(points.items()):
        style: dict[str, Any] = {
            "color": LINES[k % len(LINES)],
            "marker": _MARKS[k // len(LINES) % len(_MARKS)],
        }
        axis.plot(front[:, 1], front[:, 0], linestyle="", markersize=4, alpha=0.75, label=label, **style)
        if label in again:
            both = np.stack([front, again[label]])
            axis.plot(both[:, :, 1], both[:, :, 0], color=ALL, linewidth=0.8, zorder=1)
            axis.plot(
                again[label][:, 1],
                again[label][:, 0],
                linestyle="",
                markerfacecolor="none",
                label=f"{label}, measured",
                **style,
            )
    directions = ["minimize" if sign > 0 else "maximize" for sign in signs]
    axis.set_xlabel(f"{names[1]} ({directions[1]})")
    axis.set_ylabel(f"{names[0]} ({directions[0]})")
    axis.legend(frameon=False, fontsize=8)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def plot_predictions(
    predicted: npt.ArrayLike,
    measured: npt.ArrayLike,
    *,
    name: str = "latency_ms",
    axis: Axes | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw predictions beside measurements of the same architectures.

    Parameters
    ----------
    predicted, measured : array_like of float, shape (n,)
        Of at least one architecture.
    name : str, default "latency_ms"
        What was measured.
    axis : matplotlib.axes.Axes, optional
        Draw here instead of in a figure of its own.
    path : path-like, optional
        Write the picture here too; the ending decides the format.

    Returns
    -------
    matplotlib.figure.Figure
        A point for each architecture, the diagonal, and a band of 10 % to each side; the errors are in the
        title.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    ValueError
        If lengths differ, there is nothing, or something is not finite.

    Examples
    --------
    >>> picture = plot_predictions([1.0, 2.1, 2.9], [1.0, 2.0, 3.2])
    >>> picture.axes[0].get_title()
    'median error 5.0%, within 10%: 100%, rank correlation 1.000'
    """
    told, seen = floats(predicted, "predicted", 1), floats(measured, "measured", 1)
    if len(told) != len(seen) or not len(told):
        raise ValueError(
            f"predicted and measured must be of the same architectures; got {len(told)} and {len(seen)}"
        )
    for label, values in (("predicted", told), ("measured", seen)):
        if not np.isfinite(values).all():
            raise ValueError(f"{label} must be finite; got {values[~np.isfinite(values)][0]}")
    errors = errors_of(told, seen)
    figure, axis = _axis(axis)
    ends = np.array([min(told.min(), seen.min()), max(told.max(), seen.max())])
    axis.fill_between(ends, 0.9 * ends, 1.1 * ends, color=ALL, alpha=0.3, linewidth=0, label="10 %")
    axis.plot(ends, ends, color=ALL, linewidth=1)
    axis.scatter(seen, told, s=12, color=FRONT, alpha=0.7, label=f"architectures ({len(told)})")
    axis.set_title(
        f"median error {errors['median_relative']:.1%}, within 10%: {errors['within_10_percent']:.0%}, "
        f"rank correlation {errors['rank_correlation']:.3f}",
        fontsize=9,
    )
    axis.set_xlabel(f"{name}, measured")
    axis.set_ylabel(f"{name}, predicted")
    axis.legend(frameon=False, fontsize=8)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _axis(axis: Axes | None) -> tuple[Figure, Axes]:
    """Give the axis and its figure, or new ones."""
    if axis is None:
        figure, axes = panels(1)
        return figure, axes[0]
    whole: Any = axis.figure
    while not hasattr(whole, "savefig"):  # a part of a figure
        whole = whole.figure
    return whole, axis


def _directions(
    fronts: Mapping[str, Result | npt.ArrayLike], objectives: Mapping[str, Direction] | None
) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Say which two objectives are drawn, and 1 for each that is minimised, -1 for the others."""
    if not fronts:
        raise ValueError("fronts is empty; give at least one result or array of points")
    results = [front for front in fronts.values() if isinstance(front, Result)]
    if objectives is None:
        if not results:
            raise ValueError("objectives must be given where fronts holds no result")
        objectives = results[0].objectives
    checked = check_directions(objectives)
    if len(checked) != 2:
        raise ValueError(f"objectives must be two; got {', '.join(checked)}. Give the two to draw")
    for result in results:
        if any(result.objectives.get(name) != way for name, way in checked.items()):
            raise ValueError(
                f"fronts: every result must have the objectives {dict(checked)}; {result.strategy} has "
                f"{dict(result.objectives)}"
            )
    return list(checked), np.array([1.0 if way == "minimize" else -1.0 for way in checked.values()])


def _points(front: Result | npt.ArrayLike, names: list[str], label: str) -> npt.NDArray[np.float64]:
    """Give points (k, 2) in the objectives' units."""
    if isinstance(front, Result):
        values = [[trial.metrics[name] for name in names] for trial in front.pareto_front]
        return np.array(values, np.float64).reshape(-1, 2)
    points = floats(front, label, 2)
    if points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError(
            f"{label} must be finite, of shape (k, 2), one column an objective; got {points.shape}"
        )
    return points


def _staircase(points: npt.NDArray[np.float64], signs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Give the points that no other dominates, in the order in which the second objective gets worse."""
    losses = points * signs
    best = np.unique(losses[pareto.front(losses)], axis=0)
    ordered: npt.NDArray[np.float64] = best[np.argsort(best[:, 1], kind="stable")] * signs
    return ordered
