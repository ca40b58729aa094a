"""How much each decision mattered for what a search measured."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nasx.result import Result

__all__ = ["Importance", "decision_importance"]

# Of more trials, so many evenly spaced ones say as much.
_MOST = 20_000
# Choices of an ordered decision beyond so many are looked at in groups of neighbours.
_GROUPS = 8


class Importance(NamedTuple):
    """What one decision explains of one objective."""

    share: float
    """Share of the variance of the objective's ranks that the decision explains by itself, 0 to 1."""
    chance: float
    """What a decision without any influence stays under nineteen times of twenty, about."""


def decision_importance(result: Result) -> dict[str, dict[str, Importance]]:
    """Estimate how much each decision explains of each objective.

    Trials are ranked by an objective and grouped by their choice at a decision: its share is what the means
    of the groups explain of the variance of the ranks, as in the test of Kruskal and Wallis [1]_, less what
    as many groups would explain by chance [2]_. This is the main effect that functional ANOVA [3]_ reads off
    a model, read off the trials themselves; ranks, since one network that diverged would else be all the
    variance there is. A conditional decision is judged among the trials in which it is active, as a share of
    the variance of all; that it is active at all counts for the decisions of its condition.

    Parameters
    ----------
    result : Result
        What a search found. Only trials within the limits and with the whole budget count.

    Returns
    -------
    dict of str to dict of str to Importance
        Objective -> decision -> what it explains, in the order of both; no share where a decision had one
        choice only, or nearly as many as there are trials.

    Notes
    -----
    A search does not try choices at random. Decisions that it changed together share the credit, and those
    that matter only in combination get none, so shares need not add up to 1. They describe the trials, most
    of them near the front; trials of ``"random_search"`` describe the space.

    References
    ----------
    .. [1] W. H. Kruskal and W. A. Wallis, "Use of ranks in one-criterion variance analysis", Journal of the
       American Statistical Association 47, 1952.
    .. [2] T. L. Kelley, "An unbiased correlation ratio measure", Proceedings of the National Academy of
       Sciences 21, 1935.
    .. [3] F. Hutter, H. Hoos and K. Leyton-Brown, "An efficient approach for assessing hyperparameter
       importance", ICML 2014.

    Examples
    --------
    >>> import nasx
    >>> space = nasx.Space({"depth": nasx.Integer(1, 8), "op": nasx.Categorical(["conv", "skip"])})
    >>> result = nasx.search(
    ...     space,
    ...     lambda a: abs(a["depth"] - 5) + 0.1 * (a["op"] == "skip"),
    ...     objectives={"error": "minimize"},
    ...     evaluations=16,
    ... )
    >>> shares = decision_importance(result)["error"]
    >>> shares["depth"].share > 0.9 > 0.1 > shares["op"].share
    True
    """
    space, names = result.space, list(result.objectives)
    places, values = result.trials.complete(names)
    if len(places) > _MOST:
        kept = np.linspace(0, len(places) - 1, _MOST).astype(np.intp)
        places, values = places[kept], values[kept]
    genotypes = space.stack([result.trials[i].genotype for i in places.tolist()])
    return {
        name: {
            decision: _explained(
                _ranks(values[:, j]), _groups(genotypes[:, column], ordered=space.decisions[decision].ordered)
            )
            for column, decision in enumerate(space.names)
        }
        for j, name in enumerate(names)
    }


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rank values about zero; equal ones share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    above = np.cumsum(count)
    ranks: npt.NDArray[np.float64] = (above - (count - 1) / 2)[place] - (len(values) + 1) / 2
    return ranks


def _groups(choices: npt.NDArray[np.int32], *, ordered: bool) -> npt.NDArray[np.intp]:
    """Sort trials into groups from 0 on by their choices; -1 where the decision is inactive."""
    active = choices >= 0
    groups = np.full(len(choices), -1, np.intp)
    taken = choices[active]
    if ordered and len(np.unique(taken)) > _GROUPS:
        borders = np.unique(np.quantile(taken, np.linspace(0, 1, _GROUPS + 1)[1:-1]))
        taken = np.searchsorted(borders, taken, side="left").astype(np.int32)
    groups[active] = np.unique(taken, return_inverse=True)[1]
    return groups


def _explained(ranks: npt.NDArray[np.float64], groups: npt.NDArray[np.intp]) -> Importance:
    """Share of the variance of all ranks that the active groups' means explain."""
    active = groups >= 0
    whole = float(ranks @ ranks)
    ranks, groups = ranks[active], groups[active]
    n, counts = len(ranks), np.bincount(groups)
    k = len(counts)
    if k < 2 or n <= k or whole == 0:
        return Importance(0.0, 0.0)
    ranks = ranks - ranks.mean()
    total = float(ranks @ ranks)
    if total == 0:
        return Importance(0.0, 0.0)
    between = float((np.bincount(groups, ranks) ** 2 / counts).sum())
    corrected = 1 - (1 - between / total) * (n - 1) / (n - k)
    # By chance, between / total has mean (k - 1) / (n - 1), and about the variance of a beta distribution.
    deviation = np.sqrt(2 * (k - 1) / (n - k) / (n + 1))
    part = total / whole
    return Importance(max(corrected, 0.0) * part, float(min(2 * deviation, 1.0)) * part)
