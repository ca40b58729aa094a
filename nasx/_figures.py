"""What all pictures share: colours, and a figure with its axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nasx.errors import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALL, FRONT, OTHER = "#b8bec6", "#1f77b4", "#d1495b"
LINES = (FRONT, OTHER, "#2a9d6f", "#e0962b", "#7a5ea8", "#6b7480", "#17a2b8", "#9c5b3c")


def panels(count: int, rows: int = 1) -> tuple[Figure, Any]:
    """Make a figure and its axes, row by row.

    Parameters
    ----------
    count : int
        Panels of each row.
    rows : int, default 1
        Rows.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Without a window.
    axes : ndarray of matplotlib.axes.Axes, shape (rows * count,)
        Its panels.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    figure: Figure = require("matplotlib.figure", "nasx.plots", "plot").Figure(
        figsize=(1.2 + 4.6 * count, 4.2 * rows), layout="constrained"
    )
    axes = figure.subplots(rows, count, squeeze=False).ravel()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    return figure, axes
