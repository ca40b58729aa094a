"""Pictures of networks that are a row of layers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasx.errors import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nasx.spaces._mobile import MobileLayer

__all__ = ["draw"]

_COLORS = {"k3": "#8ecae6", "k5": "#219ebc", "k7": "#023e8a"}
_SKIP = "#c4c9d1"


def draw(
    layers: Sequence[MobileLayer], operations: Sequence[str], path: str | os.PathLike[str] | None = None
) -> Figure:
    """Draw a bar for each layer: as high as its inner channels, coloured by its kernel.

    Parameters
    ----------
    layers : sequence of MobileLayer
        The places.
    operations : sequence of str
        What stands in each.
    path : path-like, optional
        Write the picture here too.

    Returns
    -------
    matplotlib.figure.Figure
        The picture; layers that halve the images begin at a dashed line.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    figure: Figure = require("matplotlib.figure", "Architecture.plot", "plot").Figure(
        figsize=(max(3.0, 0.5 * len(layers) + 1.5), 3.6), layout="constrained"
    )
    axes = figure.subplots()
    for place, (layer, operation) in enumerate(zip(layers, operations, strict=True)):
        kernel, _, expansion = operation.partition("_e")
        inner = layer.in_channels * int(expansion[0]) if expansion else layer.in_channels
        color = _COLORS.get(kernel, _SKIP)
        axes.bar(place, inner, width=0.8 if expansion else 0.3, color=color)
        axes.annotate(operation, (place, inner), (0, 3), textcoords="offset points", fontsize=6, ha="center")
        if layer.stride > 1:
            axes.axvline(place - 0.5, color="#6b7480", linestyle="--", linewidth=0.7)
    axes.set_xticks(range(len(layers)), [layer.name.removeprefix("layer") for layer in layers], fontsize=7)
    axes.set_xlabel("layer; images are halved at dashed lines")
    axes.set_ylabel("inner channels")
    axes.spines[["top", "right"]].set_visible(False)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
