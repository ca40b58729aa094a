"""`NASBenchGraph`: the graph neural networks of NAS-Bench-Graph."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from nasx.errors import unknown
from nasx.space import Categorical, Decision, Genotypes, Space
from nasx.spaces._classes import lookup, representatives

__all__ = ["NASBenchGraph"]

_OPERATIONS = ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph", "fc", "skip")
_STRUCTURES = (
    "0,0,0,0",
    "0,0,0,1",
    "0,0,1,1",
    "0,0,1,2",
    "0,0,1,3",
    "0,1,1,1",
    "0,1,1,2",
    "0,1,2,2",
    "0,1,2,3",
)


class NASBenchGraph(Space):
    """The 26,206 graph neural networks of NAS-Bench-Graph [1]_: four operations in one of nine structures.

    ``structure`` lists the input of each of the four nodes, 0 for the network's input and otherwise the
    number of an earlier node; nodes that no other reads are the output. ``op1`` to ``op4`` are the nodes'
    operations.

    Many genotypes describe one network, so the space is canonical: nodes in another order are the same
    network; a "skip" that only joins two nodes is the same wherever it stands; one that would hand the input
    itself to the output does nothing. Each class is represented by its lexicographically smallest genotype.
    The network that only skips is left out, as it was not measured.

    Parameters
    ----------
    operations : sequence of str, default all nine
        The operations to choose from, "skip" among them. Those measured on the data set "proteins" are
        "gcn", "sage", "arma", "fc" and "skip", which give 2,021 networks.

    Attributes
    ----------
    all_operations : tuple of str
        The nine: "gat", "gcn", "gin", "cheb", "sage" (GraphSAGE), "arma", "graph" (k-GNN), "fc" (a fully
        connected layer), "skip".
    structures : tuple of str
        The nine structures.

    Raises
    ------
    ValueError
        If `operations` holds an unknown or repeated one, or no "skip", or nothing else.

    References
    ----------
    .. [1] Y. Qin, Z. Zhang, X. Wang, Z. Zhang, W. Zhu, "NAS-Bench-Graph: Benchmarking Graph Neural
       Architecture Search", NeurIPS 2022 Datasets and Benchmarks.

    Examples
    --------
    >>> space = NASBenchGraph()
    >>> space.size
    26206
    >>> chain = {"structure": "0,1,2,3", "op1": "gcn", "op2": "skip", "op3": "gat", "op4": "skip"}
    >>> same = {"structure": "0,1,2,3", "op1": "skip", "op2": "skip", "op3": "gcn", "op4": "gat"}
    >>> bool((space.encode(chain) == space.encode(same)).all())
    True
    """

    canonical = True
    all_operations: ClassVar[tuple[str, ...]] = _OPERATIONS
    structures: ClassVar[tuple[str, ...]] = _STRUCTURES

    def __init__(self, *, operations: Sequence[str] = _OPERATIONS) -> None:
        if isinstance(operations, str):
            raise ValueError(f"operations must be a list; got {operations!r}")
        for operation in operations:
            if operation not in _OPERATIONS:
                raise ValueError(f"operations: {unknown('operation', operation, _OPERATIONS)}")
        if "skip" not in operations or len(operations) < 2:
            raise ValueError(f'operations must hold "skip" and something else; got {list(operations)}')
        self._operations = tuple(operations)
        decisions: dict[str, Decision] = {"structure": Categorical(_STRUCTURES)}
        decisions |= {f"op{i}": Categorical(operations) for i in (1, 2, 3, 4)}
        super().__init__(decisions, constraints=[_Measured(operations.index("skip"))])

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON types."""
        return {"operations": list(self._operations)}

    def canonicalize(self, genotypes: Genotypes) -> Genotypes:
        """Replace genotypes that describe one network by the lexicographically smallest of them.

        Parameters
        ----------
        genotypes : ndarray of int32, shape (n, 5)
            Genotypes of this space.

        Returns
        -------
        ndarray of int32, shape (n, 5)
            Their representatives.

        Notes
        -----
        The first call takes some hundredths of a second, to classify all genotypes.
        """
        return lookup(_representatives(self._operations), self.cardinalities, genotypes)


class _Measured:
    """The constraint: something other than skips. A class, so that spaces can be pickled."""

    def __init__(self, skip: int) -> None:
        self.skip = skip

    def __call__(self, genotypes: Genotypes) -> npt.NDArray[np.bool_]:
        allowed: npt.NDArray[np.bool_] = (genotypes[:, 1:] != self.skip).any(axis=1)
        return allowed


@functools.cache
def _representatives(operations: tuple[str, ...]) -> Genotypes:
    """Give all genotypes their representatives, in lexicographic order of the genotypes."""
    skip = operations.index("skip")
    plain = Space(
        {"structure": Categorical(_STRUCTURES)} | {f"op{i}": Categorical(operations) for i in range(4)}
    )
    rows = plain.enumerate()
    forms = np.empty(len(rows), np.int64)
    pattern = (rows[:, 1:] == skip) @ [8, 4, 2, 1]
    for structure, text in enumerate(_STRUCTURES):
        inputs = [int(source) for source in text.split(",")]
        for number, skips in enumerate(itertools.product([False, True], repeat=4)):
            members = (rows[:, 0] == structure) & (pattern == number)
            forms[members], _ = _form(0, _contract(inputs, skips), rows[members, 1:])
    return representatives(rows, forms)


def _contract(inputs: Sequence[int], skips: Sequence[bool]) -> dict[int, int]:
    """Take out the skips that only join their input to what reads them: node -> its input, of what is left.

    A skip stays only where it is an output beside others that read the same node, which then is read as it is
    by the output too; for the network's input that does not count.
    """
    left = dict(enumerate(inputs, start=1))
    changed = True
    while changed:
        changed = False
        for node, source in list(left.items()):
            readers = [other for other, read in left.items() if read == node]
            beside = [other for other, read in left.items() if read == source and other != node]
            if skips[node - 1] and (readers or not beside or source == 0):
                del left[node]
                left |= dict.fromkeys(readers, source)
                changed = True
                break
    return left


def _form(node: int, inputs: dict[int, int], operations: Genotypes) -> tuple[npt.NDArray[np.int64], int]:
    """Write what hangs on a node as decimal digits, the same for the same tree: the number, and its digits.

    The node's operation, what hangs on each node that reads it in increasing order, a zero.
    """
    own = operations[:, node - 1] + 1 if node else np.ones(len(operations))
    number = own.astype(np.int64)
    digits = 1
    below = [_form(reader, inputs, operations) for reader, source in inputs.items() if source == node]
    if below:
        # More digits make a larger number, so the widths are sorted alike in all rows.
        parts = np.sort(np.array([part for part, _ in below]), axis=0)
        for part, width in zip(parts, sorted(width for _, width in below), strict=True):
            number = number * 10**width + part
            digits += width
    return number * 10, digits + 1
