"""Pictures of evolved networks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from nasx.errors import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nasx.spaces.networks import Network

__all__ = ["draw", "layers"]

_POSITIVE, _NEGATIVE, _NODE = "#1f77b4", "#d1495b", "#f4f5f7"


def layers(network: Network) -> dict[int, int]:
    """Give each node a column: 0 for sources, the last for outputs, hidden ones by the longest way to them.

    Parameters
    ----------
    network : Network
        Any; ways around a cycle count once.

    Returns
    -------
    dict of int to int
        Node id -> column.

    Examples
    --------
    >>> from nasx.spaces import Topology
    >>> layers(Topology(2, 1).sample(1)[0])
    {0: 0, 1: 0, 2: 0, 3: 1}
    """
    space = network.space
    sources = space.inputs + space.bias
    outputs = range(sources, sources + space.outputs)
    column = dict.fromkeys(range(sources), 0)
    hidden = [node["id"] for node in network["nodes"] if node["id"] not in outputs]
    links = [(c["source"], c["target"]) for c in network["connections"] if c["enabled"]]
    column |= dict.fromkeys(hidden, 1)
    for _ in hidden:
        before = dict(column)
        for source, target in links:
            if source in column and target in hidden and column[source] < len(hidden):
                column[target] = max(column[target], column[source] + 1)
        if column == before:
            break
    last = 1 + max((column[node] for node in hidden), default=0)
    return column | dict.fromkeys(outputs, last)


def draw(network: Network, path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw a network from left to right.

    Parameters
    ----------
    network : Network
        What to draw; disabled connections are left out.
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
    figure: Figure = require("matplotlib.figure", "Network.plot", "plot").Figure(
        figsize=(7.0, 4.2), layout="constrained"
    )
    axes = figure.subplots()
    axes.axis("off")
    space, column = network.space, layers(network)
    place = {}
    for at in sorted(set(column.values())):
        nodes = [node for node in column if column[node] == at]
        for height, node in zip(np.linspace(1, 0, len(nodes) + 2)[1:-1], nodes, strict=True):
            place[node] = (float(at), float(height))
    links = [c for c in network["connections"] if c["enabled"]]
    largest = max((abs(c["weight"]) for c in links), default=1.0) or 1.0
    for c in links:
        loop = c["source"] == c["target"]
        backwards = column[c["source"]] >= column[c["target"]]
        axes.annotate(
            "",
            xy=place[c["target"]],
            xytext=(place[c["source"]][0] - 0.12, place[c["source"]][1] - 0.08)
            if loop
            else place[c["source"]],
            arrowprops={
                "arrowstyle": "-|>",
                "color": _POSITIVE if c["weight"] > 0 else _NEGATIVE,
                "linewidth": 0.4 + 2.6 * abs(c["weight"]) / largest,
                "linestyle": "--" if backwards else "-",
                "connectionstyle": "arc3,rad=0.35" if backwards else "arc3,rad=0.05",
                "shrinkA": 9,
                "shrinkB": 9,
            },
        )
    what = {node["id"]: node for node in network["nodes"]}
    for node, (x, y) in place.items():
        axes.plot(x, y, "o", markersize=17, markerfacecolor=_NODE, markeredgecolor="#6b7480", zorder=3)
        if node < space.inputs:
            label = f"in {node}"
        elif node not in what:
            label = "1"
        else:
            label = str(node)
            below = what[node]["activation"]
            if len(space.aggregations) > 1:
                below += f", {what[node]['aggregation']}"
            axes.annotate(below, (x, y), (0, -17), textcoords="offset points", fontsize=6, ha="center")
        axes.annotate(label, (x, y), fontsize=7, ha="center", va="center", zorder=4)
    axes.margins(0.12)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
