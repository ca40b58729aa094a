"""`Space`: named decisions, each with its choices, and the genotypes they span."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from nasx import population
from nasx._core import population as _core_population
from nasx.architecture import Architecture, Block
from nasx.decisions import Boolean, Categorical, Choice, Decision, Integer, Ordinal, decision_from_dict
from nasx.errors import unknown

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from nasx.nn.supernet import Supernet
    from nasx.tasks.base import TaskSpec

__all__ = ["Boolean", "Categorical", "Choice", "Decision", "Genotypes", "Integer", "Ordinal", "Space"]

Genotypes: TypeAlias = npt.NDArray[np.int32]
Constraint: TypeAlias = Callable[[Genotypes], npt.ArrayLike]

_ENUMERABLE = 10_000_000
_COUNTABLE = 4_000_000  # steps of counting
_LARGEST = np.iinfo(np.int32).max


def handed_out(genotypes: Genotypes) -> Genotypes:
    """Copy genotypes for a caller's function, which may work in place; networks of NEAT cannot be changed."""
    return genotypes.copy() if isinstance(genotypes, np.ndarray) else genotypes


class Space:
    """A search space: named decisions, each with its choices.

    One architecture is one *genotype*: a row of ``int32`` with the index of the choice taken at each
    decision, -1 where the decision is inactive.

    Parameters
    ----------
    decisions : mapping of str to Decision
        The decisions in order. A decision's condition (``when=``) may only name earlier ones.
    constraints : sequence of callable, optional
        Each maps genotypes of shape ``(n, d)`` to bool of shape ``(n,)``: True where the architecture is
        allowed. Strategies propose allowed architectures only.

    Raises
    ------
    ValueError
        If there are no decisions, a name is not a non-empty string, or a condition names an unknown or
        later decision or an unknown choice.

    Examples
    --------
    >>> space = Space({
    ...     "depth": Ordinal([1, 2]),
    ...     "op1": Categorical(["conv3x3", "conv5x5"]),
    ...     "op2": Categorical(["conv3x3", "conv5x5"], when={"depth": 2}),
    ... })
    >>> space.size
    6
    >>> dict(space.decode(space.sample(1, seed=3)[0]))
    {'depth': 1, 'op1': 'conv5x5'}
    """

    canonical: bool = False
    """Whether different genotypes can describe one network, so that `canonicalize` has something to do."""

    needs_spec: bool = True
    """Whether `build` has to be told what the network is for: shape of the inputs, number of outputs."""

    neighbouring_blocks: bool = False
    """Whether there are no conditions, and each of `blocks` depends on one decision or two neighbouring ones
    alone: what is counted on blocks is then a sum over decisions, and looked up in a table."""

    def __init__(self, decisions: Mapping[str, Decision], *, constraints: Sequence[Constraint] = ()) -> None:
        if not decisions:
            raise ValueError("decisions is empty; a space needs at least one")
        for name, decision in decisions.items():
            if not isinstance(name, str) or not name:
                raise ValueError(f"decisions: names must be non-empty strings; got {name!r}")
            if not isinstance(decision, Decision):
                raise ValueError(
                    f"decisions[{name!r}] must be Categorical, Ordinal, Integer or Boolean; got {decision!r}"
                )
        self.decisions: dict[str, Decision] = dict(decisions)
        self.names: tuple[str, ...] = tuple(decisions)
        self.constraints = tuple(constraints)
        self._position = {name: j for j, name in enumerate(self.names)}
        self.cardinalities: Genotypes = np.array([len(d) for d in decisions.values()], np.int32)
        self.conditions: Genotypes = self._conditions()
        self._freeze()

    def _freeze(self) -> None:
        self.cardinalities.flags.writeable = self.conditions.flags.writeable = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._freeze()

    def _conditions(self) -> Genotypes:
        rows = []
        for j, (name, decision) in enumerate(self.decisions.items()):
            for parent, allowed in decision.when.items():
                if self._position.get(parent, j) >= j:
                    raise ValueError(
                        f"decisions[{name!r}]: when= must name earlier decisions: "
                        + unknown("decision", parent, self.names[:j])
                    )
                if not allowed:
                    raise ValueError(
                        f"decisions[{name!r}]: when= allows no choice of {parent!r}; it is never active"
                    )
                for choice in allowed:
                    try:
                        rows.append((j, self._position[parent], self.decisions[parent].index(choice)))
                    except ValueError as error:
                        raise ValueError(f"decisions[{name!r}]: when= on {parent!r}: {error}") from None
        return np.array(sorted(set(rows)), np.int32).reshape(-1, 3)

    # -- what it holds -------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> Decision:
        try:
            return self.decisions[name]
        except KeyError:
            raise KeyError(unknown("decision", name, self.names)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.decisions

    @cached_property
    def size(self) -> int:
        """Number of different architectures, before `constraints`; exact, of any magnitude.

        Where the space is `canonical` it is the number of canonical genotypes that meet the constraints.
        Complexity: linear in the decisions, times the number of combinations of parents whose
        children are still to come. ValueError if those are so many that counting would not end.
        """
        if self._well_formed is None:
            raise ValueError("the space is too entangled to be counted: too many combinations of parents")
        return len(self.enumerate()) if self.canonical else self._well_formed

    def has_at_most(self, n: int) -> bool:
        """Whether the space is known to have at most `n` architectures.

        Parameters
        ----------
        n : int
            Their number.

        Returns
        -------
        bool
            False also where `size` cannot be counted.

        Examples
        --------
        >>> Space({"a": Boolean()}).has_at_most(2)
        True
        """
        if self._well_formed is None or self._well_formed <= n:
            return self._well_formed is not None
        try:
            return self.canonical and self.size <= n
        except ValueError:  # equal networks are told apart by looking at all, and these are too many
            return False

    @cached_property
    def _well_formed(self) -> int | None:
        """Number of well-formed genotypes; None if there are too many combinations to count."""
        last_use = {parent: j for j, parent, _ in self.conditions.tolist()}
        states: dict[tuple[int, ...], int] = {(): 1}
        live: list[int] = []
        work = 0
        for j, cardinality in enumerate(self.cardinalities.tolist()):
            now_live = [p for p in [*live, j] if last_use.get(p, -1) > j]
            counts: dict[tuple[int, ...], int] = {}
            for state, count in states.items():
                taken = dict(zip(live, state, strict=True))
                active = self._is_active(j, taken)
                if j in last_use:
                    options = [(c, count) for c in range(cardinality)] if active else [(-1, count)]
                else:
                    options = [(-1, count * (cardinality if active else 1))]
                work += len(live) + len(options)
                if work > _COUNTABLE:
                    return None
                for choice, ways in options:
                    taken[j] = choice
                    key = tuple(taken[p] for p in now_live)
                    counts[key] = counts.get(key, 0) + ways
            states, live = counts, now_live
        return sum(states.values())

    @cached_property
    def _rules(self) -> dict[int, dict[int, list[int]]]:
        rules: dict[int, dict[int, list[int]]] = {}
        for j, parent, choice in self.conditions.tolist():
            rules.setdefault(j, {}).setdefault(parent, []).append(choice)
        return rules

    def _is_active(self, j: int, taken: Mapping[int, int]) -> bool:
        return all(taken[parent] in allowed for parent, allowed in self._rules.get(j, {}).items())

    def _active(self, genotypes: Genotypes, j: int) -> npt.NDArray[np.bool_]:
        active = np.ones(len(genotypes), bool)
        for parent, allowed in self._rules.get(j, {}).items():
            active &= np.isin(genotypes[:, parent], allowed)
        return active

    # -- genotypes -----------------------------------------------------------------------------------------

    def sample(self, n: int, *, seed: int = 0) -> Genotypes:
        """Draw random architectures.

        Each active decision is uniform over its choices, in order; with conditions, or where several
        genotypes describe one network, this is not uniform over architectures. Architectures that break a
        constraint are drawn again.

        Parameters
        ----------
        n : int
            How many.
        seed : int, default 0
            Same seed, same rows; the first rows do not depend on `n`.

        Returns
        -------
        ndarray of int32, shape (n, d)
            Genotypes, canonical ones; repeats are possible.

        Raises
        ------
        ValueError
            If `n` is negative, or practically no architecture meets the constraints.

        Examples
        --------
        >>> Space({"op": Categorical("abc"), "width": Integer(1, 4)}).sample(2, seed=0).shape
        (2, 2)
        """
        rows = population.sample(self.cardinalities, n, seed=seed, conditions=self.conditions)
        if self.canonical:
            rows = self.canonicalize(rows)
        if not self.constraints or n == 0:
            return rows
        kept = rows[self.satisfies(rows)]
        drawn, block = n, max(n, 1024)
        while len(kept) < n:
            if drawn > 1_000_000 and len(kept) * 100_000 < drawn:
                raise ValueError(f"constraints: only {len(kept)} of {drawn} random architectures meet them")
            rows = population.sample(
                self.cardinalities, block, seed=seed, first=drawn, conditions=self.conditions
            )
            if self.canonical:
                rows = self.canonicalize(rows)
            drawn += block
            kept = np.concatenate([kept, rows[self.satisfies(rows)]])
        return kept[:n]

    def enumerate(self) -> Genotypes:
        """All architectures that meet the constraints, in lexicographic order.

        Returns
        -------
        ndarray of int32, shape (size, d)
            Every genotype once.

        Raises
        ------
        ValueError
            If the space has more than ten million architectures.

        Examples
        --------
        >>> Space({"a": Boolean(), "b": Categorical("xy", when={"a": True})}).enumerate().tolist()
        [[0, -1], [1, 0], [1, 1]]
        """
        if self._well_formed is None or self._well_formed > _ENUMERABLE:
            number = "more" if self._well_formed is None else self._well_formed
            raise ValueError(f"the space has {number} architectures, too many to enumerate; sample it")
        rows = np.empty((1, 0), np.int32)
        for j, cardinality in enumerate(self.cardinalities.tolist()):
            active = self._active(rows, j)
            repeats = np.where(active, cardinality, 1)
            first = np.cumsum(repeats) - repeats
            choice = np.arange(repeats.sum()) - np.repeat(first, repeats)
            column = np.where(np.repeat(active, repeats), choice, -1).astype(np.int32)
            rows = np.column_stack([np.repeat(rows, repeats, axis=0), column])
        if self.canonical:
            rows = rows[(self.canonicalize(rows) == rows).all(axis=1)]
        return rows[self.satisfies(rows)]

    def canonicalize(self, genotypes: Genotypes) -> Genotypes:
        """Replace genotypes that describe the same network by one and the same of them.

        A space where that can happen sets `canonical` and overrides this; all others give the rows back as
        they are. Samples, enumerations, encoded and decoded architectures are canonical; a genotype that is
        not stays a well-formed one.

        Parameters
        ----------
        genotypes : ndarray of int32, shape (n, d)
            Well-formed genotypes.

        Returns
        -------
        ndarray of int32, shape (n, d)
            Equal rows exactly where the space knows the networks to be the same. Doing it twice changes
            nothing.

        Examples
        --------
        >>> Space({"a": Boolean()}).canonicalize(np.array([[1], [0]], np.int32)).tolist()
        [[1], [0]]
        """
        return genotypes

    def satisfies(self, genotypes: Genotypes) -> npt.NDArray[np.bool_]:
        """Which architectures meet the constraints.

        Parameters
        ----------
        genotypes : ndarray of int32, shape (n, d)
            Well-formed genotypes.

        Returns
        -------
        ndarray of bool, shape (n,)
            True where every constraint holds.

        Raises
        ------
        ValueError
            If a constraint returns another shape.
        """
        allowed = np.ones(len(genotypes), bool)
        for constraint in self.constraints:
            verdict = np.asarray(constraint(handed_out(genotypes)))
            if verdict.shape != (len(genotypes),):
                raise ValueError(
                    f"constraints: {constraint!r} must return shape ({len(genotypes)},); got {verdict.shape}"
                )
            allowed &= verdict.astype(bool)
        return allowed

    def check(self, genotypes: npt.ArrayLike) -> Genotypes:
        """Check that rows are well-formed genotypes of this space.

        Parameters
        ----------
        genotypes : array_like of int, shape (n, d)
            Rows to check.

        Returns
        -------
        ndarray of int32, shape (n, d)
            The same rows, C-contiguous.

        Raises
        ------
        ValueError
            If the shape or type is wrong, a choice is out of range, a decision that must be taken is -1,
            or an inactive one is not. The first offending row and decision are named.

        Examples
        --------
        >>> Space({"a": Boolean()}).check([[1], [2]])
        Traceback (most recent call last):
            ...
        ValueError: genotypes[1]: decision 'a' has 2 choices, so its index must be in 0..1; got 2
        """
        rows = np.asarray(genotypes)
        if rows.ndim != 2 or rows.shape[1] != len(self):
            raise ValueError(
                f"genotypes must have shape (n, {len(self)}), one column a decision; got {rows.shape}"
            )
        if rows.dtype != np.int32:
            if not np.issubdtype(rows.dtype, np.integer) and rows.size:
                raise ValueError(f"genotypes must be integers; got dtype {rows.dtype}")
            # What does not fit into int32 fits no decision either; -2 is refused in its place.
            rows = np.where((rows < -2) | (rows > _LARGEST), -2, rows)
        rows = np.ascontiguousarray(rows, np.int32)
        place = _core_population.first_malformed(rows, self.cardinalities, self.conditions)
        if place >= 0:
            i, j = divmod(place, len(self))
            cardinality = int(self.cardinalities[j])
            what = (
                f"has {cardinality} choices, so its index must be in 0..{cardinality - 1}"
                if self._is_active(j, dict(enumerate(rows[i].tolist())))
                else "is inactive here and must be -1"
            )
            came = np.asarray(genotypes)[i, j]
            raise ValueError(f"genotypes[{i}]: decision {self.names[j]!r} {what}; got {came}")
        return rows

    @overload
    def encode(self, architectures: Mapping[str, Any]) -> Genotypes: ...
    @overload
    def encode(self, architectures: Sequence[Mapping[str, Any]]) -> Genotypes: ...
    def encode(self, architectures: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Genotypes:
        """Turn choices into genotypes.

        Parameters
        ----------
        architectures : mapping or sequence of mapping
            Name -> choice for every active decision (an `Architecture` is such a mapping). Choices of
            inactive decisions are ignored, so that equal networks get equal genotypes.

        Returns
        -------
        ndarray of int32, shape (d,) or (n, d)
            One row for one mapping, a matrix for a sequence.

        Raises
        ------
        ValueError
            If a name or choice is unknown, or an active decision is missing.
        TypeError
            If an architecture is no mapping.

        Examples
        --------
        >>> Space({"op": Categorical(["conv", "skip"]), "width": Ordinal([8, 16])}).encode(
        ...     {"op": "skip", "width": 8}
        ... )
        array([1, 0], dtype=int32)
        """
        if not isinstance(architectures, Mapping):
            for one in architectures:
                if not isinstance(one, Mapping):
                    raise TypeError(f"an architecture must map decisions to choices; got {one!r}")
            rows = [self.encode(one) for one in architectures]
            return np.array(rows, np.int32).reshape(len(rows), len(self))
        for name in architectures:
            if name not in self.decisions:
                raise ValueError(unknown("decision", name, self.names))
        row = np.full(len(self), -1, np.int32)
        for j, (name, decision) in enumerate(self.decisions.items()):
            if not self._is_active(j, row):  # type: ignore[arg-type]  # indexed by position, as the mapping is
                continue
            if name not in architectures:
                raise ValueError(
                    f"architecture: decision {name!r} is active and missing; choose one of "
                    f"{list(decision.choices)}"
                )
            try:
                row[j] = decision.index(architectures[name])
            except ValueError as error:
                raise ValueError(f"architecture: decision {name!r}: {error}") from None
        canonical: Genotypes = self.canonicalize(row[None])[0]
        return canonical

    def decode(self, genotype: npt.ArrayLike, *, spec: TaskSpec | None = None) -> Architecture:
        """Turn one genotype into an `Architecture`.

        Parameters
        ----------
        genotype : array_like of int, shape (d,)
            Choice indices, -1 where inactive.
        spec : TaskSpec, optional
            What the network is for; then ``architecture.build()`` needs no argument.

        Returns
        -------
        Architecture
            An immutable mapping name -> choice.

        Raises
        ------
        ValueError
            If it is not a genotype of this space.

        Examples
        --------
        >>> Space({"op": Categorical(["conv", "skip"])}).decode([1])["op"]
        'skip'
        """
        rows = self.canonicalize(self.check(np.asarray(genotype)[None]))
        return Architecture(self, rows[0], spec=spec)

    # -- batches of genotypes, as a search keeps them -------------------------------------------------------
    # A space whose genotypes are no rows of integers overrides these.

    def architecture(self, genotype: Genotypes, *, spec: TaskSpec | None = None) -> Architecture:
        """Look at a genotype that was checked as an architecture.

        Parameters
        ----------
        genotype : ndarray of int32, shape (d,)
            A row of checked ones.
        spec : TaskSpec, optional
            What the network is for.

        Returns
        -------
        Architecture
            An immutable view of it.
        """
        return Architecture(self, genotype, spec=spec)

    def stack(self, genotypes: Sequence[Genotypes]) -> Genotypes:
        """Put single genotypes into a batch.

        Parameters
        ----------
        genotypes : sequence of ndarray of int32, shape (d,)
            Any number of them.

        Returns
        -------
        ndarray of int32, shape (n, d)
            All of them.
        """
        return np.array(genotypes, np.int32).reshape(len(genotypes), len(self))

    def join(self, batches: Sequence[Genotypes]) -> Genotypes:
        """Put batches behind each other.

        Parameters
        ----------
        batches : sequence of ndarray of int32, shape (any, d)
            Any number of them.

        Returns
        -------
        ndarray of int32, shape (n, d)
            All rows.
        """
        return np.concatenate([np.empty((0, len(self)), np.int32), *batches])

    def to_bytes(self, genotypes: Genotypes) -> bytes:
        """Write a batch as bytes, the same on every machine.

        Parameters
        ----------
        genotypes : ndarray of int32, shape (n, d)
            Genotypes.

        Returns
        -------
        bytes
            What `from_bytes` reads; equal genotypes give equal bytes.
        """
        return genotypes.astype("<i4").tobytes()

    def from_bytes(self, blobs: Sequence[bytes]) -> list[Genotypes]:
        """Read batches that `to_bytes` wrote, and check them.

        Parameters
        ----------
        blobs : sequence of bytes
            One for each batch.

        Returns
        -------
        list of ndarray of int32, shape (any, d)
            The batches.

        Raises
        ------
        ValueError
            If one holds no genotypes of this space.
        """
        width = 4 * len(self)
        for blob in blobs:
            if len(blob) % width:
                raise ValueError(f"{len(blob)} bytes are no matrix of {len(self)} columns")
        # All at once: a long search has many small ones.
        every = self.check(np.frombuffer(b"".join(blobs), "<i4").astype(np.int32).reshape(-1, len(self)))
        ends = np.cumsum([0, *(len(blob) // width for blob in blobs)]).tolist()
        return [every[begin:end] for begin, end in pairwise(ends)]

    # -- neighbourhoods ------------------------------------------------------------------------------------

    @cached_property
    def ordered(self) -> npt.NDArray[np.bool_]:
        """Which decisions have choices in an order, shape ``(d,)``: `Ordinal` and `Integer`."""
        return np.array([decision.ordered for decision in self.decisions.values()])

    def neighbors(
        self,
        genotype: npt.ArrayLike,
        *,
        n: int | None = None,
        adjacent: bool = False,
        shuffled: bool = False,
        seed: int = 0,
        generation: int = 0,
        first: int = 0,
    ) -> Genotypes:
        """Architectures that differ from one in the choice of a single decision, and meet the constraints.

        A change may switch other decisions on or off: those that become active are drawn at random, so that
        the neighbourhood grows with the number of choices and not with their combinations. Where the space is
        `canonical`, these are different networks in their canonical form, the architecture itself not among
        them.

        Parameters
        ----------
        genotype : array_like of int, shape (d,)
            Choice indices, -1 where inactive; it need not meet the constraints itself.
        n : int, optional
            Make the first `n` only, of which those that meet the constraints and are no repeats are given.
        adjacent : bool, default False
            Move `Ordinal` and `Integer` decisions to the next smaller and next larger choice only, instead
            of to all others.
        shuffled : bool, default False
            Give them in random order.
        seed : int, default 0
            Seeds the order and the choices of newly active decisions; without either it makes no difference.
        generation, first : int, default 0
            Name the random stream, as in `nasx.population`.

        Returns
        -------
        ndarray of int32, shape (k, d)
            The neighbours, all different, by decision and then by choice unless they are shuffled.

        Raises
        ------
        ValueError
            If it is not a genotype of this space.

        Examples
        --------
        >>> space = Space({"op": Categorical(["conv", "skip"]), "width": Integer(1, 9)})
        >>> space.neighbors([0, 4], adjacent=True).tolist()
        [[1, 4], [0, 3], [0, 5]]
        """
        center = self.canonicalize(self.check(np.asarray(genotype)[None]))
        rows = population.neighbors(
            center[0],
            self.cardinalities,
            n=n,
            adjacent=self.ordered if adjacent else None,
            shuffled=shuffled,
            seed=seed,
            generation=generation,
            first=first,
            conditions=self.conditions,
        )
        if self.canonical:
            rows = population.unique(np.concatenate([center, self.canonicalize(rows)])).rows[1:]
        return rows[self.satisfies(rows)] if self.constraints else rows

    def random_walk(
        self, steps: int, *, start: npt.ArrayLike | None = None, adjacent: bool = False, seed: int = 0
    ) -> Genotypes:
        """Walk from neighbour to neighbour, each chosen uniformly.

        The autocorrelation of a metric along a walk tells how rugged a space is for local search [1]_.

        Parameters
        ----------
        steps : int
            How many.
        start : array_like of int, shape (d,), optional
            Genotype to start from; a random one by default.
        adjacent : bool, default False
            As for `neighbors`.
        seed : int, default 0
            Same seed, same walk; its first steps do not depend on `steps`.

        Returns
        -------
        ndarray of int32, shape (steps + 1, d)
            The start and what was visited, repeats included.

        Raises
        ------
        ValueError
            If `steps` is negative, `start` is not a genotype of this space, or an architecture on the way has
            no neighbour that meets the constraints.

        References
        ----------
        .. [1] E. Weinberger, "Correlated and uncorrelated fitness landscapes and how to tell the
           difference", Biological Cybernetics 63 (1990).

        Examples
        --------
        >>> space = Space({"op": Categorical("abc"), "width": Integer(1, 9)})
        >>> walk = space.random_walk(20, seed=0)
        >>> walk.shape, (walk[1:] != walk[:-1]).sum(axis=1).tolist() == [1] * 20
        ((21, 2), True)
        """
        if steps < 0:
            raise ValueError(f"steps must be at least 0; got {steps}")
        walk = np.empty((steps + 1, len(self)), np.int32)
        walk[0] = self.sample(1, seed=seed)[0] if start is None else self.check(np.asarray(start)[None])[0]
        for step in range(steps):
            around = self.neighbors(walk[step], adjacent=adjacent, shuffled=True, seed=seed, first=step)
            if not len(around):
                raise ValueError(
                    f"step {step}: {walk[step].tolist()} has no neighbour that meets the constraints"
                )
            walk[step + 1] = around[0]
        return walk

    # -- networks ------------------------------------------------------------------------------------------

    def build(self, architecture: Architecture, spec: TaskSpec) -> nn.Module:
        """Make the network of an architecture; spaces that can build override this.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        spec : TaskSpec
            Shape of the inputs and number of outputs.

        Returns
        -------
        torch.nn.Module
            A freshly initialised network.

        Raises
        ------
        TypeError
            If this space describes architectures without building them.
        """
        raise TypeError(
            f"{type(self).__name__} has no build(): subclass Space and define build(self, architecture, "
            "spec), or use a built-in space of nasx.spaces"
        )

    @property
    def can_build(self) -> bool:
        """Whether the space overrides `build`."""
        return type(self).build is not Space.build

    def blocks(self, architecture: Architecture, spec: TaskSpec) -> list[Block]:
        """List the parts of an architecture's network; spaces whose networks are made of parts override this.

        Costs of networks are then sums over their blocks: each block is built and counted or measured once,
        however many networks have it.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        spec : TaskSpec
            Shape of the inputs and number of outputs.

        Returns
        -------
        list of Block
            With repetitions. Together they hold all parameters of the network, and all its work but for
            what their output's way to the next one takes.

        Raises
        ------
        TypeError
            If this space does not say what its networks are made of.
        """
        raise TypeError(f"{type(self).__name__} has no blocks(): define it beside build_block(self, block)")

    def build_block(self, block: Block) -> nn.Module:
        """Make one of `blocks`; spaces that override one override both.

        Parameters
        ----------
        block : Block
            One of this space.

        Returns
        -------
        torch.nn.Module
            A freshly initialised module, which takes ``(B, *block.input_shape)``.

        Raises
        ------
        TypeError
            If this space does not say what its networks are made of.
        """
        raise TypeError(f"{type(self).__name__} has no build_block(): define it beside blocks()")

    def draw(self, architecture: Architecture, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw an architecture; spaces whose architectures have a shape override this.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        path : path-like, optional
            Write the picture here too.

        Returns
        -------
        matplotlib.figure.Figure
            The picture.

        Raises
        ------
        TypeError
            If this space draws none.
        MissingDependencyError
            If matplotlib is not installed.
        """
        raise TypeError(
            f"{type(self).__name__} has no draw(): define draw(self, architecture, path) in a subclass"
        )

    @property
    def has_blocks(self) -> bool:
        """Whether the space overrides `blocks`."""
        return type(self).blocks is not Space.blocks

    def supernet(
        self, spec: TaskSpec, *, partial_channels: int = 1, edge_normalization: bool = False
    ) -> Supernet:
        """Make all networks of the space in one, which share weights; spaces that can override this.

        Parameters
        ----------
        spec : TaskSpec
            Shape of the inputs and number of outputs.
        partial_channels : int, default 1
            K of PC-DARTS: mixed operations work on one of K parts of the channels, the others pass by.
        edge_normalization : bool, default False
            Give edges parameters of their own, as PC-DARTS does: their softmax over the edges into a node
            scales what they bring.

        Returns
        -------
        nasx.nn.Supernet
            Freshly initialised.

        Raises
        ------
        TypeError
            If this space has no supernet.
        """
        raise TypeError(
            f"{type(self).__name__} has no supernet(), whose networks share weights: search DARTS, "
            "NASBench201, FBNet, ProxylessMobile, ShuffleNetV2, ENASCell or ENASMacro of nasx.spaces or a "
            "module with choices (nasx.space_of), define supernet(self, spec, ...) in a subclass, or take a "
            "strategy that trains each network by itself"
        )

    @property
    def can_share(self) -> bool:
        """Whether the space overrides `supernet`."""
        return type(self).supernet is not Space.supernet

    # -- JSON ----------------------------------------------------------------------------------------------

    @property
    def settings(self) -> dict[str, Any] | None:
        """Arguments that rebuild a built-in space; None for a space written decision by decision."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return the space as JSON types.

        Returns
        -------
        dict
            ``name`` of the class, its ``settings`` if it has any, and its ``decisions``.
            Constraints are code and stay out.
        """
        decisions = {name: decision.to_dict() for name, decision in self.decisions.items()}
        return {"name": type(self).__name__, "settings": self.settings, "decisions": decisions}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Space:
        """Rebuild a space from what `to_dict` gave.

        Parameters
        ----------
        data : mapping
            ``name``, ``settings`` and ``decisions``.

        Returns
        -------
        Space
            The built-in space of that name, if there is one with the same decisions; otherwise a plain
            `Space` of the decisions, which cannot build networks.

        Raises
        ------
        ValueError
            If the data describe no space.

        Examples
        --------
        >>> space = Space({"op": Categorical(["conv", "skip"])})
        >>> Space.from_dict(space.to_dict()) == space
        True
        """
        from nasx import spaces

        try:
            name, settings, decisions = data["name"], data["settings"], data["decisions"]
            named = {key: decision_from_dict(value) for key, value in decisions.items()}
            known = settings is not None and name in spaces.available_spaces()
            # A space of networks has none; it is all in its settings.
            plain = None if known and not named else Space(named)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a space: {error!r}") from None
        if known:
            try:
                built = spaces.get(name)(**settings)
            except (TypeError, LookupError, AttributeError, ArithmeticError) as error:
                raise ValueError(f"settings of space {name!r}: {error}") from None
            if built.decisions == named:
                return built
        return Space(named) if plain is None else plain

    @cached_property
    def _identity(self) -> str:
        return json.dumps(self.to_dict()["decisions"])

    def __eq__(self, other: object) -> bool:
        """Spaces are equal when their decisions are, in the same order."""
        return self is other or (isinstance(other, Space) and self._identity == other._identity)

    def __hash__(self) -> int:
        return hash(self._identity)

    def __repr__(self) -> str:
        if self.settings is not None:
            return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.settings.items())})"
        return f"Space({self.decisions!r})"
