"""Pictures of transformers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nasx.errors import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw"]

_COLORS = {"attention": "#219ebc", "convolution": "#8ecae6", "mlp": "#c4c9d1"}


def draw(
    layers: Sequence[Sequence[Mapping[str, Any]]], hidden: int, path: str | os.PathLike[str] | None = None
) -> Figure:
    """Draw two bars for each layer, as high as its parts are wide inside: mixing of tokens, and perceptron.

    Parameters
    ----------
    layers : sequence of sequence of mapping
        What `nasx.spaces.Transformer.layers` gives.
    hidden : int
        Width between layers, which is drawn as a line.
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
        figsize=(max(3.0, 0.6 * len(layers) + 1.5), 3.6), layout="constrained"
    )
    axes = figure.subplots()
    known: set[str] = set()
    for place, parts in enumerate(layers):
        for part in parts:
            kind, side = part["kind"], 0.2 if part["kind"] == "mlp" else -0.2
            width = {"attention": part.get("heads", 0) * part.get("head_dim", 0), "convolution": hidden}
            high = part["inner"] if kind == "mlp" else width[kind]
            label = None if kind in known else kind
            axes.bar(place + side, high, width=0.38, color=_COLORS[kind], label=label)
            known.add(kind)
            if kind == "attention":
                text = f"{part['heads']}h"
                axes.annotate(
                    text, (place + side, high), (0, 3), textcoords="offset points", fontsize=6, ha="center"
                )
    axes.axhline(hidden, color="#6b7480", linestyle="--", linewidth=0.7)
    axes.set_xticks(range(len(layers)), [str(i + 1) for i in range(len(layers))], fontsize=7)
    axes.set_xlabel(f"layer; the dashed line is the width between layers, {hidden}")
    axes.set_ylabel("inner width")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=6, frameon=False)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
