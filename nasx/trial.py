"""`Trial`: one evaluated architecture; and what holds many of them."""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from nasx.architecture import Architecture

if TYPE_CHECKING:
    from nasx.problem import Problem

__all__ = ["Batch", "State", "Trial", "Trials", "time_taken"]

State: TypeAlias = Literal["complete", "partial", "infeasible", "failed"]


@dataclasses.dataclass(kw_only=True, slots=True, eq=False)
class Trial:
    """One evaluated architecture.

    Attributes
    ----------
    number : int
        Its place in the order of proposals, from 0.
    architecture : Architecture
        What was evaluated.
    state : {"complete", "partial", "infeasible", "failed"}
        Evaluated within all limits; the same with a part of the budget only; over a limit; or without a
        result.
    metrics : dict of str to float
        Everything measured, costs included; what was known before a failure if it failed.
    violation : float
        How far over the limits, summed over them, each relative to its limit; 0 within all of them.
    error : str or None
        The traceback of a failure.
    started : float
        Unix time in seconds when the evaluation began.
    seconds : float
        How long it took.
    budget : int or None
        What a multi-fidelity strategy gave it, in the task's unit; otherwise None.
    fraction : float
        That as a share of the largest budget; 1 without one.
    """

    number: int
    architecture: Architecture
    state: State
    metrics: dict[str, float]
    violation: float = 0.0
    error: str | None = None
    started: float = 0.0
    seconds: float = 0.0
    budget: int | None = None
    fraction: float = 1.0

    @property
    def genotype(self) -> npt.NDArray[np.int32]:
        """The architecture as choice indices, shape ``(d,)``; read-only."""
        return self.architecture.genotype

    def to_dict(self) -> dict[str, Any]:
        """Return the trial as JSON types.

        Returns
        -------
        dict
            One key an attribute; the architecture as its choices; metrics that are not finite as None.
        """
        return {
            "number": self.number,
            "state": self.state,
            "choices": dict(self.architecture),
            "metrics": {name: v if math.isfinite(v) else None for name, v in self.metrics.items()},
            "violation": self.violation,
            "error": self.error,
            "started": self.started,
            "seconds": self.seconds,
            "budget": self.budget,
            "fraction": self.fraction,
        }


class Batch:
    """Trials that were evaluated in one call, as columns: a million of them take little memory.

    Parameters
    ----------
    problem : Problem
        Makes the architectures.
    numbers : ndarray of int64, shape (n,)
        The trials' numbers.
    genotypes : ndarray of int32, shape (n, d)
        What was evaluated.
    metrics : mapping of str to ndarray of float64, shape (n,)
        Everything measured; NaN where it is missing.
    violations : ndarray of float64, shape (n,)
        How far over the limits.
    errors : mapping of int to str
        Tracebacks of the rows that failed.
    started, seconds : float
        When the call began, and how long it took for each.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        numbers: npt.NDArray[np.int64],
        genotypes: npt.NDArray[np.int32],
        metrics: Mapping[str, npt.NDArray[np.float64]],
        violations: npt.NDArray[np.float64],
        errors: Mapping[int, str],
        started: float,
        seconds: float,
    ) -> None:
        self._problem, self.numbers, self.genotypes, self.metrics = problem, numbers, genotypes, metrics
        self.violations, self.errors = violations, errors
        self._started, self._seconds = started, seconds

    def __len__(self) -> int:
        return len(self.genotypes)

    def __getitem__(self, row: int) -> Trial:
        metrics = {name: float(column[row]) for name, column in self.metrics.items()}
        return Trial(
            number=int(self.numbers[row]),
            architecture=self._problem.space.architecture(self.genotypes[row], spec=self._problem.spec),
            state=self.state(row),
            metrics={name: value for name, value in metrics.items() if not math.isnan(value)},
            violation=float(self.violations[row]),
            error=self.errors.get(row),
            started=self._started,
            seconds=self._seconds,
        )

    def state(self, row: int) -> State:
        """Say how the evaluation of a row ended."""
        if row in self.errors:
            return "failed"
        return "infeasible" if self.violations[row] > 0 else "complete"

    @property
    def complete(self) -> npt.NDArray[np.intp]:
        """The rows with a result within all limits."""
        complete = self.violations == 0
        complete[list(self.errors)] = False
        return np.flatnonzero(complete)


class Trials(Sequence[Trial]):
    """All trials of a search, in the order in which they were told.

    Parameters
    ----------
    trials : iterable of Trial, optional
        To begin with.

    Examples
    --------
    >>> len(Trials()), list(Trials())
    (0, [])
    """

    def __init__(self, trials: Iterable[Trial] = ()) -> None:
        self._parts: list[list[Trial] | Batch] = []
        self._starts: list[int] = []
        self._length = 0
        for trial in trials:
            self.append(trial)

    def append(self, trial: Trial) -> None:
        """Add a trial."""
        if not self._parts or isinstance(self._parts[-1], Batch):
            self._parts.append([])
            self._starts.append(self._length)
        self._parts[-1].append(trial)  # type: ignore[union-attr]  # made a list above
        self._length += 1

    def add(self, batch: Batch) -> None:
        """Add a batch of them."""
        self._parts.append(batch)
        self._starts.append(self._length)
        self._length += len(batch)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> Trial: ...
    @overload
    def __getitem__(self, place: slice) -> list[Trial]: ...
    def __getitem__(self, place: int | slice) -> Trial | list[Trial]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(self._length))]
        if not -self._length <= place < self._length:
            raise IndexError(f"there are {self._length} trials; got place {place}")
        place %= self._length
        part = bisect_right(self._starts, place) - 1
        return self._parts[part][place - self._starts[part]]

    def __iter__(self) -> Iterator[Trial]:
        for part in self._parts:
            yield from part if isinstance(part, list) else (part[i] for i in range(len(part)))

    def __repr__(self) -> str:
        return f"<{self._length} trials>"

    def complete(self, names: Sequence[str]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
        """Find the trials with a result within all limits, and some of their metrics.

        Parameters
        ----------
        names : sequence of str
            Metrics that every complete trial has.

        Returns
        -------
        places : ndarray of int, shape (n,)
            Where those trials stand here.
        values : ndarray of float64, shape (n, number of names)
            Their metrics.
        """
        places, values = [np.empty(0, np.intp)], [np.empty((0, len(names)))]
        for start, part in zip(self._starts, self._parts, strict=True):
            if isinstance(part, Batch):
                rows = part.complete
                if not len(rows):  # perhaps without metrics
                    continue
                values.append(np.column_stack([part.metrics[name][rows] for name in names]))
            else:
                rows = np.flatnonzero([trial.state == "complete" for trial in part])
                found = [[part[i].metrics[name] for name in names] for i in rows]
                values.append(np.array(found, np.float64).reshape(len(rows), len(names)))
            places.append(start + rows)
        return np.concatenate(places), np.concatenate(values)

    @property
    def spent(self) -> float:
        """Cost of them all, in evaluations with the whole budget."""
        whole = sum(len(part) for part in self._parts if isinstance(part, Batch))
        return whole + sum(t.fraction for part in self._parts if isinstance(part, list) for t in part)


def time_taken(trials: Iterable[Trial]) -> float:
    """Add up the time in which at least one of them was evaluated.

    Parameters
    ----------
    trials : iterable of Trial
        In any order, evaluated side by side or not. Those that began at once were rows of one matrix, whose
        time is parted among them.

    Returns
    -------
    float
        Seconds.
    """
    seconds: dict[float, float] = {}
    for trial in trials:
        seconds[trial.started] = seconds.get(trial.started, 0.0) + trial.seconds
    total, until = 0.0, -math.inf
    for started in sorted(seconds):
        end = started + seconds[started]
        total += max(0.0, end - max(started, until))
        until = max(until, end)
    return total
