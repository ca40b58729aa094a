"""What searched sub-networks are held against, as large as is allowed: uniform depth, uniform width, chance.

All are given as shapes. Orders and importances are those that the search has, so that only the choice of the
shape differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np

from nasx.compression.shapes import LayerShape, Shape
from nasx.compression.space import CompressionSpace

Cost: TypeAlias = Callable[[Shape], float]


def without(full: Shape, left_out: Iterable[int]) -> Shape:
    """Leave whole layers out."""
    gone = set(left_out)
    return Shape(full.hidden, tuple(None if i in gone else one for i, one in enumerate(full.layers)))


def depth(full: Shape, cost: Cost, limit: float, importance: Sequence[float]) -> dict[str, Shape]:
    """Leave out as few layers as the limit allows, chosen in four ways.

    The last ones; evenly spread ones, neither the first nor the last; those that turn their input least (Men
    et al. ShortGPT. 2024); and the run of adjacent ones that together do.
    """
    n = len(full.layers)

    def spread(k: int) -> Iterable[int]:
        return (1 + int((i + 0.5) * (n - 2) / k) for i in range(k))

    def run(k: int) -> Iterable[int]:
        first = min(range(n - k + 1), key=lambda i: sum(importance[i : i + k]))
        return range(first, first + k)

    ways: dict[str, Callable[[int], Iterable[int]]] = {
        "the last layers": lambda k: range(n - k, n),
        "evenly spread layers": spread,
        "the least important layers": lambda k: sorted(range(n), key=lambda i: importance[i])[:k],
        "the least important run of layers": run,
    }
    return {
        f"depth: without {name}": _first((without(full, way(k)) for k in range(1, n)), cost, limit)
        for name, way in ways.items()
    }


def width(
    full: Shape, cost: Cost, limit: float, *, step: int, hidden_step: int | None = None
) -> dict[str, Shape]:
    """Make layers narrower alike: MLPs alone, MLPs after some heads, and, given a step, hidden channels."""
    whole = full.layers[0]
    assert whole is not None
    each = whole.heads // whole.groups

    def alike(groups: int, mlp: int) -> Shape:
        return Shape(full.hidden, tuple(LayerShape(groups * each, groups, mlp) for _ in full.layers))

    fewer = whole.groups - max(1, whole.groups // 4)
    widths = range(whole.mlp, 0, -step)
    found = {
        "width: MLPs": _first((alike(whole.groups, mlp) for mlp in widths), cost, limit),
        f"width: {fewer * each} of {whole.heads} heads, and MLPs": _first(
            (alike(fewer, mlp) for mlp in widths), cost, limit
        ),
    }
    if hidden_step:
        channels = (Shape(hidden, full.layers) for hidden in range(full.hidden, 0, -hidden_step))
        found["width: hidden channels"] = _first(channels, cost, limit)
    return found


def chance(space: CompressionSpace, cost: Cost, limit: float, *, seed: int) -> Shape:
    """Take the next smaller option of a random attention or MLP, until the limit is kept."""
    random = np.random.default_rng(seed)
    choices = [space.choices(i) for i in range(len(space.options))]
    places = np.array([[len(options) - 1 for options in pair] for pair in choices])

    def shape() -> Shape:
        taken = [
            [options[place] for options, place in zip(*both, strict=True)]
            for both in zip(choices, places.tolist(), strict=True)
        ]
        return Shape(space.full.hidden, tuple(space.layer(i, *pair) for i, pair in enumerate(taken)))

    while cost(found := shape()) > limit:
        i, part = random.integers(len(places)), random.integers(2)
        places[i, part] = max(places[i, part] - 1, 0)
    return found


def _first(shapes: Iterable[Shape], cost: Cost, limit: float) -> Shape:
    for shape in shapes:
        if cost(shape) <= limit:
            return shape
    raise ValueError(f"limit must be reachable by pruning all layers alike; {limit:g} is not")
