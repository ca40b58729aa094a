"""How much worse a transformer becomes without each of its parts: few passes, and energies between them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasx._arguments import count
from nasx._live import Live, format_seconds
from nasx.compression.importance import Ranking
from nasx.compression.scoring import Scorer
from nasx.compression.shapes import LayerShape, Shape
from nasx.compression.space import CompressionSpace
from nasx.compression.start import Estimates

__all__ = ["estimate"]

_Floats = npt.NDArray[np.float64]


def estimate(
    space: CompressionSpace,
    scorer: Scorer,
    ranking: Ranking,
    *,
    points: int = 2,
    progress: bool | None = None,
) -> Estimates:
    """Score the model with one part cut at a time.

    Parameters
    ----------
    space : CompressionSpace
        What can be cut.
    scorer : Scorer
        Around the model, sorted by the ranking; best on text that is not held out for the search.
    ranking : Ranking
        Says what share of its energy a part loses with each option.
    points : int, default 2
        Options of each attention and each MLP that are scored: the smallest, and others evenly between it and
        the whole. With as many as there are, all are scored.
    progress : bool, optional
        By default on a terminal only.

    Returns
    -------
    Estimates
        Differences of `Scorer.loss`.

    Notes
    -----
    Harm that is small grows with the square of what is left out, as its energy does; so between the options
    that were scored, harm is told from the energy that each loses.
    """
    count(points, "points")
    layers = [layer for layer in space.full.layers if layer is not None]
    plan: list[tuple[str, int, int]] = [("hidden", h, 0) for h in range(len(space.hiddens) - 1)]
    for i in range(len(layers)):
        for part, options in zip(("attention", "mlp"), space.choices(i), strict=True):
            plan += [(part, i, option) for option in _scored(options, points)]
        if space.joint or "depth" in space:
            plan.append(("layer", i, 0))
    whole = scorer.loss(scorer.score_shape(space.full))
    harm: dict[tuple[str, int, int], float] = {}
    with _Passes(len(plan), show=progress) as display:
        for one in plan:
            harm[one] = scorer.loss(scorer.score_shape(_without(space, layers, one))) - whole
            display.done += 1
            display.update()
    attention, mlp = [], []
    for i in range(len(layers)):
        lost = _lost(space, ranking, i)
        rows = [
            _told({o: harm[part, i, o] for name, _, o in harm if name == part and _ == i}, energies)
            for part, energies in zip(("attention", "mlp"), lost, strict=True)
        ]
        if ("layer", i, 0) in harm:  # half of it for each, since the two go together
            rows[0][0] = rows[1][0] = harm["layer", i, 0] / 2
        attention.append(rows[0])
        mlp.append(rows[1])
    hidden = np.array([harm.get(("hidden", h, 0), 0.0) for h in range(len(space.hiddens))])
    return Estimates(hidden, attention, mlp)


def _scored(options: Sequence[int], points: int) -> list[int]:
    """Choose options to score: not the last one, which is the whole."""
    return sorted({options[round(k)] for k in np.linspace(0, len(options) - 1, points + 1)[:-1]})


def _without(space: CompressionSpace, layers: list[LayerShape], one: tuple[str, int, int]) -> Shape:
    """Give the model's shape with one part cut."""
    part, i, option = one
    if part == "hidden":
        return Shape(space.hiddens[i], tuple(layers))
    layer, options = layers[i], space.options[i]
    new: LayerShape | None = None
    if part == "attention":
        heads, groups = options.attention[option]
        new = LayerShape(heads, groups, layer.mlp)
    elif part == "mlp":
        new = LayerShape(layer.heads, layer.groups, options.mlp[option])
    return Shape(space.full.hidden, (*layers[:i], new, *layers[i + 1 :]))


def _lost(space: CompressionSpace, ranking: Ranking, i: int) -> tuple[_Floats, _Floats]:
    """Give the share of energy that goes with each option of a layer."""
    heads, mlp = ranking.lost(i)
    options = space.options[i]
    each = [heads[groups, number // groups if groups else 0] for number, groups in options.attention]
    return np.array(each), mlp[list(options.mlp)]


def _told(harm: dict[int, float], lost: _Floats) -> _Floats:
    """Tell the harm of all options from that of some; none is done by the whole."""
    known = {0.0: 0.0} | {float(lost[option]): value for option, value in harm.items()}
    shares = sorted(known)
    told = np.interp(lost, shares, [known[share] for share in shares])
    for option, value in harm.items():
        told[option] = value
    told[-1] = 0.0
    return np.asarray(told)


class _Passes(Live):
    def __init__(self, total: int, *, show: bool | None) -> None:
        self.done = 0
        self._begin = time.monotonic()
        super().__init__("estimating", total=total, show=show)

    def completed(self) -> float:
        return self.done

    def status(self) -> str:
        total: Any = self._total
        pace = self.done / max(time.monotonic() - self._begin, 1e-9)
        left = f", {format_seconds((total - self.done) / pace)} left" if pace else ""
        return f"{self.done} of {total} parts{left}"

    def update(self) -> None:
        self._print_now_and_then()
