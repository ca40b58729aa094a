"""The best part of a transformer by estimates that add up, within all limits: exact, before any search."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nasx.compression.costs import PartsCost
from nasx.compression.shapes import Shape
from nasx.compression.space import CompressionSpace
from nasx.hardware import best_under
from nasx.space import Genotypes

__all__ = ["Estimates", "Start", "best_start", "can_meet"]

_Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class Estimates:
    """How much worse a model is expected to become, part by part; in any unit, 0 where all is kept.

    Parameters
    ----------
    hidden : ndarray of float64, shape (H,)
        With each hidden size.
    attention, mlp : sequence of ndarray of float64, shape (options,)
        For each layer with each option.
    """

    hidden: _Floats
    attention: Sequence[_Floats]
    mlp: Sequence[_Floats]

    @classmethod
    def zero(cls, space: CompressionSpace) -> Estimates:
        """Give estimates that tell nothing.

        Parameters
        ----------
        space : CompressionSpace
            Whose options.

        Returns
        -------
        Estimates
            All 0.
        """
        return cls(
            np.zeros(len(space.hiddens)),
            [np.zeros(len(options.attention)) for options in space.options],
            [np.zeros(len(options.mlp)) for options in space.options],
        )

    def evened(self, share: float) -> Estimates:
        """Move estimates of layers whose parts have as many options towards what is usual in all of them.

        What is told of single layers is noisy, and holds least where much is cut.

        Parameters
        ----------
        share : float
            Of the way: 1 makes all layers alike.

        Returns
        -------
        Estimates
            With the same sums over layers.
        """

        def moved(rows: Sequence[_Floats]) -> list[_Floats]:
            usual = {n: np.mean([row for row in rows if len(row) == n], axis=0) for n in set(map(len, rows))}
            return [(1 - share) * row + share * usual[len(row)] for row in rows]

        return Estimates(self.hidden, moved(self.attention), moved(self.mlp))

    def __call__(self, space: CompressionSpace, genotypes: Genotypes) -> _Floats:
        """Add up what is expected of architectures.

        Parameters
        ----------
        space : CompressionSpace
            Their space.
        genotypes : ndarray of int32, shape (n, d)
            Checked genotypes.

        Returns
        -------
        ndarray of float64, shape (n,)
            The smaller the better.
        """
        hidden, attention, mlp = space.parts(genotypes)
        total: _Floats = self.hidden[hidden]
        for i, (one, other) in enumerate(zip(self.attention, self.mlp, strict=True)):
            total = total + one[attention[:, i]] + other[mlp[:, i]]
        return total


class Start(NamedTuple):
    """What `best_start` found.

    Parameters
    ----------
    genotype : ndarray of int32, shape (d,)
        The architecture.
    estimate : float
        What is expected of it, by `Estimates`.
    gap : float
        How much less could be expected of another one at most: 0 if this is proven to be the best.
    """

    genotype: Genotypes
    estimate: float
    gap: float


def best_start(
    space: CompressionSpace,
    costs: Mapping[str, PartsCost],
    limits: Mapping[str, float],
    estimates: Estimates,
    *,
    hidden: int | None = None,
) -> Start | None:
    """Find the architecture within the limits of which least harm is expected.

    Parameters
    ----------
    space : CompressionSpace
        The architectures.
    costs : mapping of str to PartsCost
        At least those that are limited.
    limits : mapping of str to float
        1 to 8 upper bounds.
    estimates : Estimates
        What is to be kept small.
    hidden : int, optional
        Look at the hidden size of this number alone; not in uniform spaces.

    Returns
    -------
    Start or None
        None if no architecture is within the limits.

    Notes
    -----
    Given the hidden size, costs and estimates are sums over attentions and MLPs: a multiple-choice knapsack,
    which `nasx.hardware.best_under` solves for each hidden size. Uniform spaces are looked through.
    """
    if space.uniform:
        return _looked_through(space, costs, limits, estimates)
    there: list[Start] = []
    for h in range(len(space.hiddens)) if hidden is None else [hidden]:
        start = _knapsack(space, costs, limits, estimates, h)
        if start is not None and not _within(costs, limits, start.genotype):
            # Sums of floating-point numbers in another order, over a limit by their last digits.
            less = {name: limit - 1e-9 * abs(limit) for name, limit in limits.items()}
            start = _knapsack(space, costs, less, estimates, h)
        if start is not None:
            there.append(start)
    if not there:
        return None
    best = min(there, key=lambda start: start.estimate)
    # One that is not proven to be best of its hidden size may hide a better one.
    bound = min(start.estimate - start.gap for start in there)
    return best._replace(gap=max(best.estimate - bound, 0.0))


def even_cuts(
    space: CompressionSpace,
    costs: Mapping[str, PartsCost],
    limits: Mapping[str, float],
    estimates: Estimates,
) -> list[Genotypes]:
    """Find the largest architectures within the limits whose layers are all cut alike.

    Estimates of single parts are least reliable for large cuts, where even ones are hard to beat.

    Parameters
    ----------
    space, costs, limits, estimates
        As for `best_start`.

    Returns
    -------
    list of ndarray of int32, shape (d,)
        None of them has as much of everything as another; the best by estimates is the first. Empty where
        the model's layers are not alike, and for uniform spaces, which hold nothing else.
    """
    layers = range(len(space.options))
    kinds = {(space.options[i], *map(tuple, space.choices(i))) for i in layers}
    if space.uniform or len(kinds) > 1:
        return []
    attention, mlp = space.choices(0)
    found: list[tuple[tuple[int, ...], Genotypes]] = []
    for h, hidden in reversed(list(enumerate(space.hiddens))):
        for a in reversed(attention):
            for m in reversed(mlp):
                kept = [space.layer(i, a, m) for i in layers]
                if not any(kept):
                    continue
                sizes = (h, *space.options[0].attention[a], m)
                if any(all(x <= y for x, y in zip(sizes, more, strict=True)) for more, _ in found):
                    break  # and so are those that are narrower
                genotype = space.genotype_of(Shape(hidden, tuple(kept)))
                if _within(costs, limits, genotype):
                    found.append((sizes, genotype))
                    break
    rows = [genotype for _, genotype in found]
    if not rows:
        return []
    return [rows[k] for k in np.argsort(estimates(space, space.stack(rows)), kind="stable")]


def _within(costs: Mapping[str, PartsCost], limits: Mapping[str, float], genotype: Genotypes) -> bool:
    return all(float(costs[name](genotype[None])[0]) <= limit for name, limit in limits.items())


def can_meet(space: CompressionSpace, costs: Mapping[str, PartsCost], limits: Mapping[str, float]) -> bool:
    """Say whether any architecture is within all limits.

    Parameters
    ----------
    space, costs, limits
        As for `best_start`.

    Returns
    -------
    bool
        Found exactly.
    """
    return best_start(space, costs, limits, Estimates.zero(space)) is not None


def _looked_through(
    space: CompressionSpace,
    costs: Mapping[str, PartsCost],
    limits: Mapping[str, float],
    estimates: Estimates,
) -> Start | None:
    rows = space.enumerate()
    rows = rows[np.logical_and.reduce([costs[name](rows) <= limit for name, limit in limits.items()])]
    if not len(rows):
        return None
    expected = estimates(space, rows)
    best = int(np.argmin(expected))
    return Start(rows[best], float(expected[best]), 0.0)


def _knapsack(
    space: CompressionSpace,
    costs: Mapping[str, PartsCost],
    limits: Mapping[str, float],
    estimates: Estimates,
    hidden: int,
) -> Start | None:
    """Solve it for one hidden size."""
    tables = [costs[name].tables for name in limits]
    bounds = [limit - float(t.whole[hidden]) for t, limit in zip(tables, limits.values(), strict=True)]
    # Where a layer as a whole costs other than its parts, or only whole layers go, it is one decision.
    joint = space.joint or any(t.gone[hidden].any() for t in tables)
    rows: list[list[tuple[int, int]]] = []
    scores: list[_Floats] = []
    sums: list[list[_Floats]] = []
    for i in range(len(space.options)):
        attention, mlp = space.choices(i)
        if joint:
            pairs = [(a, m) for a in attention for m in mlp]
            if space.joint:
                pairs.insert(0, (0, 0))
            taken = tuple(np.array(pairs).T)
            rows.append(pairs)
            scores.append(-(estimates.attention[i][taken[0]] + estimates.mlp[i][taken[1]]))
            sums.append([t.row(hidden, i, space)[taken] for t in tables])
            continue
        for part, options in ((0, attention), (1, mlp)):
            rows.append([(n, -1) if part == 0 else (-1, n) for n in options])
            scores.append(-(estimates.mlp if part else estimates.attention)[i][options])
            sums.append([(t.mlp if part else t.attention)[hidden, i, options] for t in tables])
    taken_now = _solved(scores, sums, bounds)
    if taken_now is None:
        return None
    if not any(max(rows[j][k]) > 0 for j, k in enumerate(taken_now[0])):
        # Nothing is kept: one part has to be, and each is tried in turn.
        tries = []
        for j in range(len(rows)):
            some = [k for k, pair in enumerate(rows[j]) if max(pair) > 0]
            only = [*scores[:j], scores[j][some], *scores[j + 1 :]]
            costly = [*sums[:j], [row[some] for row in sums[j]], *sums[j + 1 :]]
            solved = _solved(only, costly, bounds)
            if solved is not None:
                places, score, gap = solved
                tries.append(([*places[:j], some[places[j]], *places[j + 1 :]], score, gap))
        if not tries:
            return None
        taken_now = max(tries, key=lambda one: one[1])
    places, score, gap = taken_now
    chosen = [rows[j][k] for j, k in enumerate(places)]
    if not joint:
        chosen = [(chosen[j][0], chosen[j + 1][1]) for j in range(0, len(chosen), 2)]
    layers = [space.layer(i, *pair) for i, pair in enumerate(chosen)]
    genotype = space.genotype_of(Shape(space.hiddens[hidden], tuple(layers)))
    return Start(genotype, float(estimates.hidden[hidden]) - score, gap)


def _solved(
    scores: list[_Floats], sums: list[list[_Floats]], bounds: list[float]
) -> tuple[list[int], float, float] | None:
    """Solve a knapsack; None if nothing is within the limits."""
    tables = [[row[k] for row in sums] for k in range(len(bounds))]
    if any(sum(float(row.min()) for row in table) > b for table, b in zip(tables, bounds, strict=True)):
        return None
    try:
        found = best_under(scores, tables, bounds)
    except ValueError as error:
        if "limit" not in str(error):
            raise
        return None
    return found.genotype.tolist(), found.score, found.gap
