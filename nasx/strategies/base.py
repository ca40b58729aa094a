"""The ask-and-tell protocol that every sampled strategy follows."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from nasx._arguments import floats
from nasx._core import outcomes
from nasx.population import GenotypeSet, sample
from nasx.space import Genotypes, Space

__all__ = [
    "CostViolation",
    "Losses",
    "SampledStrategy",
    "Strategy",
    "Violations",
    "check_decisions",
    "check_setup",
    "settle",
]

CostViolation: TypeAlias = Callable[[Genotypes], npt.NDArray[np.float64]]
Losses: TypeAlias = npt.NDArray[np.float64]
Violations: TypeAlias = npt.NDArray[np.float64]

# So many proposals in a row that were seen before or break a limit, and ask looks for what is left instead.
PATIENCE = 256
# Random draws of a space too large to enumerate before it counts as having nothing left within the limits.
_DRAWS = 16_384
_ENUMERABLE = 1_000_000
_BLOCK = 64
# The random stream of those draws; strategies sample from other ones.
_LEFT = 2**32 - 1


def settle(
    losses: npt.ArrayLike,
    shape: tuple[int, int],
    violations: npt.ArrayLike | None,
    failed: npt.ArrayLike | None,
) -> tuple[Losses, Violations]:
    """Check what is told, and make failures lose to everything.

    Parameters
    ----------
    losses : array_like of float, shape `shape`, or (n,) for one objective
        Smaller is better. A row with NaN counts as failed.
    shape : tuple of int
        Number of rows and of objectives.
    violations : array_like of float, shape (n,), or None
        How far each row is over the limits.
    failed : array_like of bool, shape (n,), or None
        Rows without a result.

    Returns
    -------
    losses : ndarray of float64, shape `shape`
        Infinite where a row failed.
    violations : ndarray of float64, shape (n,)
        Not negative; infinite where a row failed.

    Raises
    ------
    ValueError
        If a shape does not fit, or the violation of a row that did not fail is NaN.
    """
    n = shape[0]
    values = losses if isinstance(losses, np.ndarray) else np.asarray(losses)
    if values.shape != shape:
        if values.shape != (n,) or shape[1] != 1:
            raise ValueError(f"losses must have shape {shape}; got {values.shape}")
        values = values.reshape(shape)
    if violations is not None:
        violations = floats(violations, "violations", 1)
        if len(violations) != n:
            raise ValueError(f"violations must have shape ({n},); got {violations.shape}")
    if failed is not None:
        failed = np.ascontiguousarray(failed)
        if failed.shape != (n,) or failed.dtype != np.bool_:
            raise ValueError(f"failed must be bool of shape ({n},); got {failed.dtype} {failed.shape}")
    return outcomes.settle(floats(values, "losses", 2), violations, failed)


def check_setup(objectives: int, seed: int) -> None:
    """Refuse what no strategy can begin with.

    Parameters
    ----------
    objectives, seed : int
        As for `SampledStrategy.setup`.

    Raises
    ------
    ValueError
        If one is out of range.
    """
    if objectives < 1:
        raise ValueError(f"objectives must be at least 1; got {objectives}")
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must be in 0..2**63-1; got {seed}")


def check_decisions(strategy: Strategy, space: Space) -> None:
    """Refuse a space without decisions, which only `nasx.NEAT` can search.

    Parameters
    ----------
    strategy : Strategy
        A method that takes decisions.
    space : Space
        Where it is to search.

    Raises
    ------
    ValueError
        If there are none.
    """
    if not space.decisions:
        raise ValueError(
            f"space: {type(strategy).__name__} searches decisions, and {type(space).__name__} has none; use "
            'strategy="neat"'
        )


@dataclasses.dataclass(kw_only=True, eq=False)
class Strategy:
    """A search method and its settings.

    Settings are keyword arguments, are documented by each method, and are all that the constructor takes;
    the state of a run begins with it.
    """

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as JSON types, enough to make an equal strategy."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def fresh(self) -> Self:
        """Copy the settings without the state of a run.

        Returns
        -------
        Strategy
            A strategy that has seen nothing.
        """
        return dataclasses.replace(self)

    @property
    def position(self) -> tuple[int, ...] | None:
        """Where it is in its sequence of proposals; None if only the same calls again bring another there."""
        return None

    def _check_integers(self, **least: int) -> None:
        for name, smallest in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ValueError(f"{name} must be an integer; got {value!r}")
            if value < smallest:
                raise ValueError(f"{name} must be at least {smallest}; got {value}")

    def _check_shares(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} must be in 0..1; got {value}")

    def _check_numbers(self, **least: float | None) -> None:
        """Refuse what is no number of at least so much; of more than 0, where that is None."""
        for name, smallest in least.items():
            value = getattr(self, name)
            fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not fits or (value <= 0 if smallest is None else value < smallest):
                bound = "more than 0" if smallest is None else f"at least {smallest:g}"
                raise ValueError(f"{name} must be a number of {bound}; got {value!r}")

    def _check_words(self, name: str, *known: str | int | None) -> None:
        value = getattr(self, name)
        if value not in known:
            raise ValueError(f"{name} must be {' or '.join(map(repr, known))}; got {value!r}")

    def _check_flags(self, *names: str) -> None:
        for name in names:
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False; got {getattr(self, name)!r}")


@dataclasses.dataclass(kw_only=True, eq=False)
class SampledStrategy(Strategy, ABC):
    """A strategy that proposes architectures and learns from their losses.

    It is driven through `setup`, `ask` and `tell`, and never evaluates anything itself. A method implements
    `_start`, `_propose` and `_observe`; this class keeps the promises that all methods share: nothing is
    proposed twice while something new is left, nothing over a cost limit or against a constraint is
    proposed at all, failures lose to everything that finished, and asking for ``n`` at once gives the same
    rows as asking ``n`` times.

    Parameters
    ----------
    allow_repeats : bool, default False
        Propose architectures that were already proposed or told; for noisy objectives.
    """

    allow_repeats: bool = False

    _jumps: ClassVar[bool] = False
    """Whether `_adopt` and the results of a run bring a fresh strategy to where the run's was."""
    _droppable: ClassVar[bool] = False
    """Whether proposing changes no state, so that candidates may be dropped and proposed again."""

    def setup(
        self, space: Space, *, objectives: int = 1, seed: int = 0, cost_violation: CostViolation | None = None
    ) -> Self:
        """Begin a run; the state of an earlier one is dropped.

        Parameters
        ----------
        space : Space
            Where to search.
        objectives : int, default 1
            Number of losses told for each architecture.
        seed : int, default 0
            Same seed and same tells, same proposals.
        cost_violation : callable, optional
            Maps genotypes ``(n, d)`` to float64 ``(n,)``: how far each is over the limits on costs, 0 or less
            where it is within them. Only architectures within them are proposed.

        Returns
        -------
        SampledStrategy
            The strategy itself.

        Raises
        ------
        ValueError
            If `objectives` or `seed` is out of range.
        """
        check_setup(objectives, seed)
        check_decisions(self, space)
        self.space, self.objectives, self.seed = space, objectives, seed
        self._cost_violation = cost_violation
        self._limited = bool(space.constraints) or cost_violation is not None
        self._seen = GenotypeSet(len(space))
        self._asked = self._proposed = self._rejected = 0
        self._first_told: npt.NDArray[np.bool_] | None = None  # of the rows of the last tell, if they matter
        self._left: Genotypes | None = None
        self._left_from = 0
        self._start()
        return self

    def ask(self, n: int = 1) -> Genotypes:
        """Propose architectures; never waits for results that are still out.

        Parameters
        ----------
        n : int, default 1
            How many.

        Returns
        -------
        ndarray of int32, shape (at most n, d)
            Genotypes to evaluate. Fewer than `n` rows mean that nothing else is left.

        Raises
        ------
        ValueError
            If `n` is less than 1.
        RuntimeError
            If `setup` was not called.
        """
        self._require_setup()
        if n < 1:
            raise ValueError(f"n must be at least 1; got {n}")
        before = self._proposed
        rows = self._take(n, n) if self._rejected < PATIENCE else self._none()
        self._asked += len(rows)
        if len(rows) == n:  # nearly always; where answers cost nothing, the rest of this would be felt
            return rows
        found, missing = [rows], n - len(rows)
        while missing:
            if self._rejected < PATIENCE:
                wanted = missing
                if self._droppable:  # many are rejected: propose more at once
                    wanted = math.ceil(missing * (1 + (self._proposed - before) / (1 + n - missing)))
                rows = self._take(wanted, missing)
            else:
                rows = self._draw_left()
                if not len(rows):
                    break
                self._rejected = 0
            if len(rows):
                found.append(rows)
                missing -= len(rows)
                self._asked += len(rows)
        return np.concatenate(found)

    def tell(
        self,
        x: npt.ArrayLike,
        losses: npt.ArrayLike,
        *,
        violations: npt.ArrayLike | None = None,
        failed: npt.ArrayLike | None = None,
    ) -> None:
        """Learn from evaluated architectures, asked for or not.

        Parameters
        ----------
        x : array_like of int, shape (n, d)
            Genotypes.
        losses : array_like of float, shape (n, objectives), or (n,) for one objective
            Smaller is better. A row with NaN counts as failed.
        violations : array_like of float, shape (n,), optional
            How far each is over the limits, 0 where it is within them. Infeasible rows lose to feasible
            ones, and among them the smaller violation wins.
        failed : array_like of bool, shape (n,), optional
            Evaluations that gave no result; they lose to every finished one, and their losses are ignored.

        Raises
        ------
        ValueError
            If a shape does not fit, a genotype is not of this space, or a violation is NaN.
        RuntimeError
            If `setup` was not called.
        """
        self._require_setup()
        if self._learn(x, losses, violations, failed):
            return
        rows, settled = self._receive(x, losses, violations, failed)
        self._observe(rows, *settled)

    def ask_alternatives(self, n: int) -> Genotypes:
        """Propose architectures of which only one is going to be evaluated.

        Each is what the strategy would propose next, if it did not propose the others. They count as one, so
        that the phases of a method last as many evaluations as without alternatives; `withdraw` what is not
        evaluated.

        Parameters
        ----------
        n : int
            How many.

        Returns
        -------
        ndarray of int32, shape (at most n, d)
            Genotypes, as from `ask`: none of them is proposed again.

        Raises
        ------
        ValueError
            If `n` is less than 1.
        RuntimeError
            If `setup` was not called.
        """
        self._require_setup()
        if n < 1:
            raise ValueError(f"n must be at least 1; got {n}")
        found, asked = [self._none()], self._asked
        while len(found) <= n and len(rows := self.ask(1)):
            self._asked = asked
            found.append(rows)
        self._asked = asked + (len(found) > 1)
        return np.concatenate(found)

    def withdraw(self, x: npt.ArrayLike) -> None:
        """Wait no longer for the results of alternatives; they are not proposed again.

        Parameters
        ----------
        x : array_like of int, shape (n, d)
            Genotypes that `ask_alternatives` gave.

        Raises
        ------
        ValueError
            If a genotype is not of this space.
        RuntimeError
            If `setup` was not called.
        """
        self._require_setup()
        self._withdraw(self.space.check(x))

    @property
    def position(self) -> tuple[int, ...] | None:
        """As for every strategy; `jump` takes it."""
        return (self._asked, self._proposed, self._rejected, self._left_from) if self._jumps else None

    def jump(
        self,
        position: Sequence[int],
        asked: Genotypes,
        x: Genotypes,
        losses: Losses,
        *,
        violations: Violations | None = None,
    ) -> None:
        """Bring a fresh strategy to where that of another run was, at once.

        Parameters
        ----------
        position : sequence of int
            What `position` was after the other's last `ask`.
        asked : ndarray of int32, shape (a, d)
            All that it had proposed, in this order.
        x, losses, violations
            All that it had been told before that last `ask`, in this order, as for `tell`.

        Raises
        ------
        ValueError
            If `position` is not one, or an array does not fit.
        RuntimeError
            If `setup` was not called, or the strategy has no position.
        """
        self._require_setup()
        if self.position is None:
            raise RuntimeError(f"{type(self).__name__} has no position; repeat the run's calls instead")
        known = isinstance(position, list | tuple) and len(position) == len(self.position)
        if not known or any(type(p) is not int or not 0 <= p < 2**62 for p in position):
            raise ValueError(f"position must be {len(self.position)} integers from 0; got {position!r}")
        rows = self.space.check(asked)
        if not self.allow_repeats:
            self._seen.insert(rows)
        self._adopt(rows)
        if len(x):
            self.tell(x, losses, violations=violations)
        self._asked, self._proposed, self._rejected, self._left_from = position

    @property
    def warmup(self) -> int:
        """How many results it wants before it proposes by what it has learned."""
        return 0

    @property
    def ahead(self) -> int:
        """How many proposals will be the same, at least, whatever is told before they are made; 1 or more."""
        return 1

    def portion(self, n: int) -> int:
        """Say how many of `n` that can be evaluated at once to ask for; all of them by default.

        Parameters
        ----------
        n : int
            How many the search has room for.

        Returns
        -------
        int
            From 1 to `n`.
        """
        return n

    # -- what a method implements ----------------------------------------------------------------------------

    @abstractmethod
    def _start(self) -> None:
        """Reset the method's own state; ``self.space`` and the like are set."""

    @abstractmethod
    def _propose(self, n: int, first: int) -> Genotypes:
        """Give 1 to `n` candidates, a function of the state and of their numbers `first`, `first` + 1, ..."""

    @abstractmethod
    def _observe(self, x: Genotypes, losses: Losses, violations: Violations) -> None:
        """Learn from rows; failed ones have infinite losses and violation. The same as one row at a time."""

    def _learn(
        self,
        x: npt.ArrayLike,
        losses: npt.ArrayLike,
        violations: npt.ArrayLike | None,
        failed: npt.ArrayLike | None,
    ) -> bool:
        """Do all of `tell` in one call of the core; False, and nothing done, where that takes more."""
        return False

    def _adopt(self, x: Genotypes) -> None:
        """Be as after proposing these, but for the numbers of `position`."""

    def _withdraw(self, x: Genotypes) -> None:
        """Wait no longer for the results of these; by default nobody does."""

    # -- shared machinery ------------------------------------------------------------------------------------

    def _require_setup(self) -> None:
        if not hasattr(self, "space"):
            raise RuntimeError(f"{type(self).__name__}: call setup(space, objectives=..., seed=...) first")

    def _none(self) -> Genotypes:
        return np.empty((0, len(self.space)), np.int32)

    def _take(self, n: int, most: int) -> Genotypes:
        """Propose up to `n`, and take up to `most` of them that are new and within the limits."""
        return self._admit(self._propose(min(n, PATIENCE - self._rejected), self._proposed), most)

    def _admit(self, rows: Genotypes, most: int) -> Genotypes:
        """Take candidates in order up to `most` that are new and within the limits."""
        if self.space.canonical:
            rows = self.space.canonicalize(rows)
        taken: Genotypes = rows[:most]
        if self.allow_repeats:
            rows, new = taken, len(taken)
            admitted = np.ones(new, bool) if self._limited else None
        else:
            before = len(self._seen)
            admitted = self._seen.insert(rows, most=most)
            new = len(self._seen) - before
            rows = rows[: len(admitted)]
        self._proposed += len(rows)
        if admitted is None:
            return rows
        if new and self._limited:
            admitted[admitted] = self._within_limits(rows[admitted])
            new = int(admitted.sum())
        if new == len(rows):
            self._rejected = 0
            return rows
        if new:
            self._rejected = int(np.argmax(admitted[::-1]))
        else:
            self._rejected += len(rows)
        kept: Genotypes = rows[admitted]
        return kept

    def _receive(
        self,
        x: npt.ArrayLike,
        losses: npt.ArrayLike,
        violations: npt.ArrayLike | None,
        failed: npt.ArrayLike | None,
    ) -> tuple[Genotypes, tuple[Losses, Violations]]:
        """Check and settle what is told, and remember it as told."""
        space, seen = self.space, None if self.allow_repeats else self._seen
        if type(x) is np.ndarray and not space.canonical:  # where answers cost nothing, calls would be felt
            native = None if seen is None else seen.native
            told = outcomes.receive(
                x, losses, violations, failed, self.objectives, space.cardinalities, space.conditions, native
            )
            if told is not None:
                settled_losses, settled_violations, self._first_told, added = told
                self._asked += added  # rows of the caller's own count as asked for
                return x, (settled_losses, settled_violations)
        rows = space.canonicalize(space.check(x))
        result = settle(losses, (len(rows), self.objectives), violations, failed)
        if seen is not None:
            before = len(seen)
            self._first_told = seen.mark(rows)
            self._asked += len(seen) - before
        return rows, result

    def _told_first(
        self, x: Genotypes, losses: Losses, violations: Violations
    ) -> tuple[Genotypes, Losses, Violations]:
        """Drop those results of a `tell` that were told before, unless repeats are allowed."""
        new = self._first_told
        if new is None or new.all():
            return x, losses, violations
        return x[new], losses[new], violations[new]

    def _within_limits(self, rows: Genotypes) -> npt.NDArray[np.bool_]:
        within = self.space.satisfies(rows)
        if self._cost_violation is not None and within.any():
            violation = np.asarray(self._cost_violation(rows[within]), np.float64)
            if violation.shape != (int(within.sum()),):
                raise ValueError(f"cost_violation must return shape ({within.sum()},); got {violation.shape}")
            within[within] = violation <= 0
        return within

    def _draw_left(self) -> Genotypes:
        """Draw one architecture from what is new and within the limits; no row if nothing seems left."""
        # One whole round of what can be enumerated, or so many draws.
        small = self.space.has_at_most(_ENUMERABLE)
        blocks = self.space.size // _BLOCK + 2 if small else _DRAWS // _BLOCK
        for _ in range(blocks):
            block = self._next_block()
            if not len(block):
                break
            eligible = np.ones(len(block), bool) if self.allow_repeats else ~self._seen.contains(block)
            eligible[eligible] = self._within_limits(block[eligible])
            if eligible.any():
                taken = int(np.argmax(eligible))
                self._left_from += taken + 1
                self._seen.insert(block[taken : taken + 1])
                return block[taken : taken + 1]
            self._left_from += len(block)
        return self._none()

    def _next_block(self) -> Genotypes:
        """Give the rows to look at next: of a shuffled enumeration of a small space, else random ones."""
        space = self.space
        if not space.has_at_most(_ENUMERABLE):
            rows = sample(
                space.cardinalities,
                _BLOCK,
                seed=self.seed,
                generation=_LEFT,
                first=self._left_from,
                conditions=space.conditions,
            )
            return space.canonicalize(rows)
        if self._left is None:
            everything = space.enumerate()
            self._left = everything[np.random.default_rng([self.seed, _LEFT]).permutation(len(everything))]
        if self.allow_repeats and self._left_from >= len(self._left):
            self._left_from = 0
        return self._left[self._left_from : self._left_from + _BLOCK]
