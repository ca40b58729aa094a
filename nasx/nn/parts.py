"""`Part`: decisions of a space that are taken together, and what they take of a supernet's parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nasx.space import Genotypes, Space

__all__ = ["Cells", "Part", "joined", "option_scores", "row_cells"]

Cells = npt.NDArray[np.int64]
"""Places in the matrices of a supernet's architecture parameters, laid end to end, row by row."""

Scores = npt.NDArray[np.float64]
# Decisions that depend on each other are one part while there are no more ways than this to take them.
_OPTIONS = 20_000
_TINY = 1e-30


class Part(NamedTuple):
    """Decisions that are taken together; what one part takes is independent of what others take.

    An option's weight is the product of the weights at its cells: of the operations it takes, times those of
    their edges. So the heaviest options of all parts are the architecture that a supernet derives.

    Parameters
    ----------
    decisions : tuple of int
        Their columns in genotypes.
    options : ndarray of int32, shape (k, m)
        The ways to take these m decisions; -1 where one is inactive.
    cells : ndarray of int64, shape (k, c)
        What each option takes of the architecture parameters: places in all matrices of the supernet's
        ``logits``, laid end to end; -1 where a decision is inactive.
    widths : tuple of int
        How many columns of `cells` belong to each decision; those that are always active may share theirs.
    """

    decisions: tuple[int, ...]
    options: Genotypes
    cells: Cells
    widths: tuple[int, ...]


def row_cells(shapes: Sequence[tuple[int, int]]) -> list[Cells]:
    """Give the cells of matrices whose rows are decisions and whose columns are their choices.

    Parameters
    ----------
    shapes : sequence of (int, int)
        Of the matrices: edges, and operations.

    Returns
    -------
    list of ndarray of int64, shape (operations, 1)
        For each row of each matrix, the cell of each choice.

    Examples
    --------
    >>> [cells.ravel().tolist() for cells in row_cells([(2, 3), (1, 2)])]
    [[0, 1, 2], [3, 4, 5], [6, 7]]
    """
    found, first = [], 0
    for rows, columns in shapes:
        for _ in range(rows):
            found.append(np.arange(first, first + columns)[:, None])
            first += columns
    return found


def joined(space: Space, cells: Sequence[Cells]) -> list[Part]:
    """Make parts of decisions: one of each, but of those together that conditions tie to each other.

    Parameters
    ----------
    space : Space
        The decisions.
    cells : sequence of ndarray of int64, shape (k, c)
        For each decision, the cells that each of its choices takes.

    Returns
    -------
    list of Part
        In the order of their first decisions. Decisions that conditions tie to each other, but that can be
        taken in more than 20,000 ways, are left apart, as if they were always active.

    Examples
    --------
    >>> from nasx import Categorical
    >>> space = Space({"outer": Categorical("ab"), "inner": Categorical("xyz", when={"outer": "b"})})
    >>> (part,) = joined(space, row_cells([(1, 2), (1, 3)]))
    >>> part.options.tolist()
    [[0, -1], [1, 0], [1, 1], [1, 2]]
    >>> part.cells.tolist()
    [[0, -1], [1, 2], [1, 3], [1, 4]]
    """
    first = list(range(len(space)))  # of the decisions that each is tied to
    for j, parent, _ in space.conditions.tolist():
        one, other = sorted((first[j], first[parent]))
        first = [one if place == other else place for place in first]
    parts = []
    for place in sorted(set(first)):
        together = [j for j in range(len(space)) if first[j] == place]
        if len(together) > 1:
            ways = Space({space.names[j]: space.decisions[space.names[j]] for j in together})
            if ways.has_at_most(_OPTIONS):
                options = ways.enumerate()
                taken = [_taken(cells[j], row) for j, row in zip(together, options.T, strict=True)]
                widths = tuple(one.shape[1] for one in taken)
                parts.append(Part(tuple(together), options, np.hstack(taken), widths))
                continue
        for j in together:
            options = np.arange(len(cells[j]), dtype=np.int32)[:, None]
            parts.append(Part((j,), options, cells[j], (cells[j].shape[1],)))
    return parts


def _taken(cells: Cells, choices: Genotypes) -> Cells:
    """Cells of a decision's choices, -1 where it is inactive."""
    found = cells[np.maximum(choices, 0)]
    found[choices < 0] = -1
    return found


def option_scores(parts: Sequence[Part], strengths: Mapping[str, npt.NDArray[np.float64]]) -> list[Scores]:
    """Score the options of each part: how far each is below the heaviest, in logarithms of weights.

    A decision that an option leaves inactive counts as if it were at its best: it costs nothing to leave it
    open. So the options of score 0 are what a supernet derives.

    Parameters
    ----------
    parts : sequence of Part
        Of a supernet.
    strengths : mapping of str to ndarray of float64, shape (edges, operations)
        As of `Supernet.strengths`, in the order of its ``logits``.

    Returns
    -------
    list of ndarray of float64, shape (k,)
        For each part; at most 0.

    Examples
    --------
    >>> from nasx import Categorical
    >>> space = Space({"outer": Categorical("ab"), "inner": Categorical("xy", when={"outer": "b"})})
    >>> parts = joined(space, row_cells([(1, 2), (1, 2)]))
    >>> found = option_scores(parts, {"outer": np.array([[0.25, 0.75]]), "inner": np.array([[0.8, 0.2]])})
    >>> np.exp(found[0]).round(3)  # of a; of b and x; of b and y
    array([0.333, 1.   , 0.25 ])
    """
    flat = np.concatenate([np.asarray(rows, np.float64).ravel() for rows in strengths.values()])
    logs = np.append(np.log(np.maximum(flat, _TINY)), 0.0)  # the last place is that of -1
    found = []
    for part in parts:
        total = np.zeros(len(part.options))
        for columns in np.split(part.cells, np.cumsum(part.widths)[:-1], axis=1):
            score, open_ = logs[columns].sum(1), (columns < 0).all(1)
            score[open_] = score[~open_].max()
            total += score
        found.append(total - total.max())
    return found
