"""`AdditiveTable`: a cost of architectures as a sum over their decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasx._core import latency_table as _native
from nasx.hardware.costs import Cost
from nasx.space import Genotypes, Space

__all__ = ["AdditiveTable", "Entries"]

_ENUMERABLE = 1_000_000
Entries = Mapping[str, npt.ArrayLike] | Sequence[npt.ArrayLike]


class AdditiveTable(Cost):
    """A sum: an intercept, an entry for each choice, perhaps one for each pair of neighbouring choices.

    What the decisions take is added up in their order; inactive ones add nothing. Subclasses name the cost.

    Parameters
    ----------
    space, entries, pairs, intercept
        As of `nasx.hardware.LatencyTable`.

    Raises
    ------
    ValueError
        If a decision has no entries, their number does not fit, or one is not finite.

    Notes
    -----
    A call takes O(n d) for n genotypes of d decisions, in the core and on several threads; the sums are the
    same bits on every platform.

    Examples
    --------
    >>> from nasx import Categorical, Space
    >>> space = Space({"first": Categorical(["conv", "skip"]), "second": Categorical(["conv", "skip"])})
    >>> table = AdditiveTable(space, {"first": [2.0, 0.5], "second": [1.0, 0.25]}, intercept=1)
    >>> table([[0, 0], [1, 1]])
    array([4.  , 1.75])
    """

    needs_spec = False
    vectorized = True

    def __init__(
        self,
        space: Space,
        entries: Entries,
        *,
        pairs: Sequence[npt.ArrayLike] | None = None,
        intercept: float = 0.0,
    ) -> None:
        counts = space.cardinalities.tolist()
        if isinstance(entries, Mapping):
            missing = [name for name in space.names if name not in entries]
            if missing or len(entries) != len(space):
                raise ValueError(
                    f"entries must have the decisions {', '.join(space.names)}; got {', '.join(entries)}"
                )
            entries = [entries[name] for name in space.names]
        if len(entries) != len(space):
            raise ValueError(f"entries must have {len(space)} rows, one a decision; got {len(entries)}")
        self.space = space
        self.entries = tuple(
            _shaped(row, (count,), f"entries of {name}")
            for row, count, name in zip(entries, counts, space.names, strict=True)
        )
        self.pairs: tuple[npt.NDArray[np.float64], ...] | None = None
        if pairs is not None:
            if len(pairs) != len(space) - 1:
                raise ValueError(f"pairs must have {len(space) - 1} matrices; got {len(pairs)}")
            self.pairs = tuple(
                _shaped(part, shape, f"pairs of {space.names[j]} and {space.names[j + 1]}")
                for j, (part, *shape) in enumerate(zip(pairs, counts[:-1], counts[1:], strict=True))
            )
        self.intercept = float(intercept)
        self._table = _native.LatencyTable(
            space.cardinalities,
            np.concatenate(self.entries),
            None if not self.pairs else np.concatenate([part.ravel() for part in self.pairs]),
            self.intercept,
        )

    @property
    def adds_up(self) -> bool:
        """Whether the cost is the sum over decisions and nothing else."""
        return True

    @property
    def settings(self) -> dict[str, Any]:
        """All its numbers, as JSON types."""
        return {
            "entries": [row.tolist() for row in self.entries],
            "pairs": None if self.pairs is None else [part.tolist() for part in self.pairs],
            "intercept": self.intercept,
        }

    def __call__(self, genotypes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Look architectures up.

        Parameters
        ----------
        genotypes : array_like of int, shape (n, d)
            Genotypes of the table's space.

        Returns
        -------
        ndarray of float64, shape (n,)
            Latencies in milliseconds.

        Raises
        ------
        ValueError
            If there are not `d` columns, or a choice is out of range.
        """
        rows = genotypes if isinstance(genotypes, np.ndarray) else np.asarray(genotypes)
        if rows.dtype != np.int32 or rows.ndim != 2 or not rows.flags.c_contiguous:
            rows = self.space.check(rows)
        return self._compute(rows)

    def _compute(self, genotypes: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        return self._table.sum(genotypes)

    def expected(self, probabilities: Sequence[Any]) -> Any:
        """Mean latency when the choices are drawn independently.

        Parameters
        ----------
        probabilities : sequence of array_like or torch.Tensor, shapes (..., c_j)
            For each decision, in order, the probability of each choice. Of a decision that may be inactive,
            they may sum to less than 1.

        Returns
        -------
        ndarray of float64 or torch.Tensor, shape (...)
            In milliseconds; differentiable if the probabilities are tensors.

        Raises
        ------
        ValueError
            If a number of decisions or choices does not fit, or the table is no sum over decisions.
        """
        if not self.adds_up:
            raise ValueError(
                f"{self!r} is no sum over decisions, and only those have expected values; fit one to it by "
                "LatencyTable.fit(space, rows, table(rows))"
            )
        if len(probabilities) != len(self.space):
            raise ValueError(
                f"probabilities must have {len(self.space)} parts, one a decision; got {len(probabilities)}"
            )
        parts = [p if hasattr(p, "new_tensor") else np.asarray(p, np.float64) for p in probabilities]
        for part, row, name in zip(parts, self.entries, self.space.names, strict=True):
            if part.shape[-1:] != row.shape:
                raise ValueError(
                    f"probabilities of {name} must have shape (..., {len(row)}); got {tuple(part.shape)}"
                )

        def like(part: Any, values: npt.NDArray[np.float64]) -> Any:
            return part.new_tensor(values) if hasattr(part, "new_tensor") else values

        total = self.intercept
        for part, row in zip(parts, self.entries, strict=True):
            total = total + (part * like(part, row)).sum(-1)
        for j, matrix in enumerate(self.pairs or ()):
            total = total + ((parts[j] @ like(parts[j], matrix)) * parts[j + 1]).sum(-1)
        return total

    def fastest(self) -> Genotypes:
        """Find the architecture with the smallest latency.

        Returns
        -------
        ndarray of int32, shape (d,)
            Its genotype; exact.

        Raises
        ------
        ValueError
            If the space has conditions or constraints, or the table blocks, and the space is too large to
            enumerate.
        """
        return self._extreme(1)

    def slowest(self) -> Genotypes:
        """Find the architecture with the largest latency.

        Returns
        -------
        ndarray of int32, shape (d,)
            Its genotype; exact.

        Raises
        ------
        ValueError
            If the space has conditions or constraints, or the table blocks, and the space is too large to
            enumerate.
        """
        return self._extreme(-1)

    def range(self) -> tuple[float, float]:
        """Latencies of the fastest and of the slowest architecture, in milliseconds.

        Returns
        -------
        fastest, slowest : float
            As of `fastest` and `slowest`.
        """
        low, high = self(np.stack([self.fastest(), self.slowest()])).tolist()
        return low, high

    def _extreme(self, sign: int) -> Genotypes:
        space = self.space
        if len(space.conditions) or space.constraints or not self.adds_up:
            if not space.has_at_most(_ENUMERABLE):
                raise ValueError(
                    "with conditions, constraints or blocks, the fastest and slowest architectures of a "
                    f"space are found by looking at all; this one has more than {_ENUMERABLE:,}"
                )
            rows = space.enumerate()
            found: Genotypes = rows[int(np.argmin(sign * self(rows)))]
            return found
        # From the last decision backwards: the best that may follow each choice, and where it goes next.
        best, follow = sign * self.entries[-1], []
        for j in range(len(space) - 2, -1, -1):
            after = best + (0 if self.pairs is None else sign * self.pairs[j])
            after = np.broadcast_to(after, (len(self.entries[j]), after.shape[-1]))
            follow.append(after.argmin(axis=1))
            best = sign * self.entries[j] + after.min(axis=1)
        row = [int(best.argmin())]
        for step in reversed(follow):
            row.append(int(step[row[-1]]))
        return np.array(row, np.int32)


def _shaped(values: npt.ArrayLike, shape: Sequence[int], name: str) -> npt.NDArray[np.float64]:
    array = np.array(values, np.float64)
    if array.shape != tuple(shape):
        raise ValueError(f"{name} must have shape {tuple(shape)}; got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; got {array[~np.isfinite(array)][0]}")
    array.setflags(write=False)
    return array
