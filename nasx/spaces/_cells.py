"""Pictures of cells: nodes and the operations between them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nasx.errors import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_cells"]

_NODE, _LINE, _COLORS = (
    "#f4f5f7",
    "#6b7480",
    ("#1f77b4", "#d1495b", "#2a9d6f", "#e0962b", "#7a5ea8", "#17a2b8", "#9c5b3c"),
)


def draw_cells(
    cells: Mapping[str, tuple[Sequence[str], Sequence[tuple[int, int, str]]]],
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw cells side by side, each from left to right.

    Parameters
    ----------
    cells : mapping
        Title -> names of the nodes, and edges ``(node, source, operation)``, where sources come before nodes.
        An edge without a name only joins, and is grey.
    path : path-like, optional
        Write the picture here too.

    Returns
    -------
    matplotlib.figure.Figure
        The picture.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    figure: Figure = require("matplotlib.figure", "Architecture.plot", "plot").Figure(
        figsize=(7.5 * len(cells), 4.6), layout="constrained"
    )
    operations = sorted({operation for _, edges in cells.values() for _, _, operation in edges if operation})
    color = {operation: _COLORS[i % len(_COLORS)] for i, operation in enumerate(operations)}
    for axes, (title, (names, edges)) in zip(
        figure.subplots(1, len(cells), squeeze=False)[0], cells.items(), strict=True
    ):
        axes.axis("off")
        axes.set_title(title)
        place = _places(len(names), edges)
        for count, (node, source, operation) in enumerate(edges):
            twin = sum(edge[:2] == (node, source) for edge in edges[:count])
            axes.annotate(
                "",
                xy=place[node],
                xytext=place[source],
                arrowprops={
                    "arrowstyle": "-|>",
                    "color": color[operation] if operation else _LINE,
                    "linewidth": 1.4 if operation else 0.7,
                    "connectionstyle": f"arc3,rad={0.06 + 0.18 * twin}",
                    "shrinkA": 13,
                    "shrinkB": 13,
                },
            )
            if not operation:
                continue
            # Nearer to the source: that is where edges are furthest from each other.
            x, y = (0.6 * place[source][i] + 0.4 * place[node][i] for i in (0, 1))
            axes.annotate(
                operation,
                (x, y),
                fontsize=7,
                ha="center",
                va="center",
                color=color[operation],
                bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
            )
        for name, (x, y) in zip(names, place, strict=True):
            axes.plot(x, y, "o", markersize=24, markerfacecolor=_NODE, markeredgecolor=_LINE, zorder=3)
            axes.annotate(name, (x, y), fontsize=8, ha="center", va="center", zorder=4)
        axes.margins(0.1)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _places(nodes: int, edges: Sequence[tuple[int, int, str]]) -> list[tuple[float, float]]:
    """Give every node a column, by the longest way to it, and a height among those of its column."""
    column = [0] * nodes
    for node in range(nodes):
        column[node] = max((column[source] + 1 for target, source, _ in edges if target == node), default=0)
    places = []
    for node in range(nodes):
        same = [other for other in range(nodes) if column[other] == column[node]]
        # Columns of one node alternate, so that edges past a node do not run through it.
        height = (
            0.5 + (0.22 if column[node] % 2 else -0.22)
            if len(same) == 1
            else 1 - same.index(node) / (len(same) - 1)
        )
        places.append((float(column[node]), height))
    return places
