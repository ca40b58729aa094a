"""Operations on whole populations of genotypes, by the native core.

A genotype is a row of ``int32``: the choice taken at each of ``d`` decisions, -1 where the decision is
inactive. All functions share these arguments:

``cardinalities``, shape ``(d,)``
    How many choices each decision has.
``conditions``, shape ``(c, 3)``, optional
    Rows of ``(decision, parent, choice)`` with ``parent < decision``. A decision with conditions is active
    only if, for each of its parents, the parent's choice is among those listed. Every result is canonical:
    -1 exactly where the decision is inactive.
``seed``, ``generation``, ``first``
    Row ``i`` of the result draws from the random stream ``(seed, generation, first + i)`` of its operation.
    So ten rows at once equal ten calls for one row each, and no result depends on threads or CPU.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from nasx import _runtime as _runtime  # the core follows torch's number of threads from here on
from nasx._arguments import floats, integers, unsigned
from nasx._core import evolution as _evolution
from nasx._core import population as _native

__all__ = [
    "Distinct",
    "GenotypeSet",
    "Survivors",
    "crossover",
    "hash_rows",
    "mutants",
    "mutate",
    "mutate_one",
    "neighbors",
    "offspring",
    "repair",
    "sample",
    "select_survivors",
    "tournament",
    "unique",
]

Genotypes: TypeAlias = npt.NDArray[np.int32]
CrossoverKind: TypeAlias = Literal["uniform", "k_point"]


def _space(
    cardinalities: npt.ArrayLike, conditions: npt.ArrayLike | None
) -> tuple[Genotypes, Genotypes | None]:
    rules = None if conditions is None else integers(conditions, "conditions", 2)
    return integers(cardinalities, "cardinalities", 1), rules


def _key(seed: int, generation: int, first: int) -> tuple[int, int, int]:
    return unsigned(seed, "seed", 64), unsigned(generation, "generation", 32), unsigned(first, "first", 64)


def _rates(rates: npt.ArrayLike | None, d: int) -> npt.NDArray[np.float64]:
    if rates is None:
        return np.full(d, 1 / max(d, 1))
    if np.ndim(rates) == 0:
        rates = np.full(d, rates)
    return floats(rates, "rates", 1)


def sample(
    cardinalities: npt.ArrayLike,
    n: int,
    *,
    seed: int = 0,
    generation: int = 0,
    first: int = 0,
    conditions: npt.ArrayLike | None = None,
) -> Genotypes:
    """Draw random genotypes: each active decision, in order, uniform over its choices.

    Parameters
    ----------
    cardinalities : array_like of int, shape (d,)
        How many choices each decision has.
    n : int
        Number of rows.
    seed, generation, first : int, default 0
        Name the random streams; see the module.
    conditions : array_like of int, shape (c, 3), optional
        When decisions are active; see the module.

    Returns
    -------
    ndarray of int32, shape (n, d)
        Genotypes; repeats are possible.

    Raises
    ------
    TypeError
        If an argument does not hold integers.
    ValueError
        If a cardinality is less than 1, a condition is malformed, or `n`, `seed`, `generation` or `first`
        is out of range.

    Examples
    --------
    >>> rows = sample([2, 3], 100, seed=1)
    >>> rows.shape, rows.min(axis=0), rows.max(axis=0)
    ((100, 2), array([0, 0], dtype=int32), array([1, 2], dtype=int32))
    >>> bool((sample([2, 3], 40, seed=1, first=60) == rows[60:]).all())
    True
    """
    return _native.sample(
        *_space(cardinalities, conditions), unsigned(n, "n"), *_key(seed, generation, first)
    )


def repair(
    genotypes: npt.ArrayLike,
    cardinalities: npt.ArrayLike,
    *,
    seed: int = 0,
    generation: int = 0,
    first: int = 0,
    conditions: npt.ArrayLike | None = None,
) -> Genotypes:
    """Make genotypes canonical: inactive decisions become -1, active ones that are -1 are drawn.

    Parameters
    ----------
    genotypes : array_like of int, shape (n, d)
        Choices in ``[-1, cardinality)``.
    cardinalities : array_like of int, shape (d,)
        How many choices each decision has.
    seed, generation, first : int, default 0
        Name the random streams; see the module.
    conditions : array_like of int, shape (c, 3), optional
        When decisions are active; see the module.

    Returns
    -------
    ndarray of int32, shape (n, d)
        A new matrix.

    Raises
    ------
    TypeError
        If an argument does not hold integers.
    ValueError
        If a choice is out of range (the message names row and decision) or another argument does not fit.

    Examples
    --------
    >>> repair([[0, 1], [1, 1]], [2, 2], conditions=[[1, 0, 1]])  # decision 1 needs choice 1 of decision 0
    array([[ 0, -1],
           [ 1,  1]], dtype=int32)
    """
    rows = integers(genotypes, "genotypes", 2)
    return _native.repair(rows, *_space(cardinalities, conditions), *_key(seed, generation, first))


def mutate(
    genotypes: npt.ArrayLike,
    cardinalities: npt.ArrayLike,
    *,
    rates: npt.ArrayLike | None = None,
    seed: int = 0,
    generation: int = 0,
    first: int = 0,
    conditions: npt.ArrayLike | None = None,
) -> Genotypes:
    """Change each active decision, with its probability, to a different choice; then repair the row.

    Parameters
    ----------
    genotypes : array_like of int, shape (n, d)
        Choices in ``[-1, cardinality)``.
    cardinalities : array_like of int, shape (d,)
        How many choices each decision has; one with a single choice never changes.
    rates : float or array_like of float, shape (d,), optional
        Probability that a decision changes; ``1 / d`` by default. The new choice is uniform over the others.
    seed, generation, first : int, default 0
        Name the random streams; see the module.
    conditions : array_like of int, shape (c, 3), optional
        When decisions are active; see the module.

    Returns
    -------
    ndarray of int32, shape (n, d)
        A new matrix.

    Raises
    ------
    TypeError
        If an argument has the wrong kind of numbers.
    ValueError
        If a choice is out of range, a rate is not in ``[0, 1]``, or another argument does not fit.

    Examples
    --------
    >>> mutate([[0, 0, 0]], [2, 2, 1], rates=1.0)
    array([[1, 1, 0]], dtype=int32)
    """
    rows = integers(genotypes, "genotypes", 2)
    counts, rules = _space(cardinalities, conditions)
    return _native.mutate(rows, counts, rules, _rates(rates, len(counts)), *_key(seed, generation, first))


def mutate_one(
    genotypes: npt.ArrayLike,
    cardinalities: npt.ArrayLike,
    *,
    seed: int = 0,
    generation: int = 0,
    first: int = 0,
    conditions: npt.ArrayLike | None = None,
) -> Genotypes:
    """Change exactly one active decision to a different choice; then repair the row.

    The decision is uniform among those that have more than one choice, the new choice uniform over the
    others. A row that has no such decision stays as it is.

    Parameters
    ----------
    genotypes : array_like of int, shape (n, d)
        Choices in ``[-1, cardinality)``.
    cardinalities : array_like of int, shape (d,)
        How many choices each decision has.
    seed, generation, first : int, default 0
        Name the random streams; see the module.
    conditions : array_like of int, shape (c, 3), optional
        When decisions are active; see the module. Where the change makes others active, they are drawn.

    Returns
    -------
    ndarray of int32, shape (n, d)
        A new matrix.

    Raises
    ------
    TypeError
        If an argument does not hold integers.
    ValueError
        If a choice is out of range (the message names row and decision) or another argument does not fit.

    Examples
    --------
    >>> rows = mutate_one([[0, 0, 0]] * 4, [2, 2, 1], seed=1)
    >>> rows.sum(axis=1)
    array([1, 1, 1, 1])
    """
    rows = integers(genotypes, "genotypes", 2)
    return _native.mutate_one(rows, *_space(cardinalities, conditions), *_key(seed, generation, first))


def crossover(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    cardinalities: npt.ArrayLike,
    *,
    kind: CrossoverKind = "uniform",
    points: int = 2,
    probability: float = 1.0,
    seed: int = 0,
    generation: int = 0,
    first: int = 0,
    conditions: npt.ArrayLike | None = None,
) -> Genotypes:
    """Make one child of each pair of rows; then repair it.

    Parameters
    ----------
    a, b : array_like of int, shape (n, d)
        Parents, paired row by row; choices in ``[-1, cardinality)``.
    cardinalities : array_like of int, shape (d,)
        How many choices each decision has.
    kind : {"uniform", "k_point"}, default "uniform"
        Take each decision from either parent by a fair coin, or take stretches from `a` and `b` in turn.
    points : int, default 2
        Number of cuts for ``"k_point"``, at different places; ``d - 1`` at most are made.
    probability : float, default 1.0
        Chance that a row is crossed at all; otherwise the child is the row of `a`.
    seed, generation, first : int, default 0
        Name the random streams; see the module.
    conditions : array_like of int, shape (c, 3), optional
        When decisions are active; see the module.

    Returns
    -------
    ndarray of int32, shape (n, d)
        A new matrix.

    Raises
    ------
    TypeError
        If an argument has the wrong kind of numbers.
    ValueError
        If `a` and `b` differ in length, a choice is out of range, `kind` is unknown, `points` is less than 1,
        `probability` is not in ``[0, 1]``, or another argument does not fit.

    Examples
    --------
    >>> crossover([[0, 0, 0, 0]], [[1, 1, 1, 1]], [2, 2, 2, 2], kind="k_point", points=3)
    array([[0, 1, 0, 1]], dtype=int32)
    """
    left, right = integers(a, "a", 2), integers(b, "b", 2)
    cuts, key = unsigned(points, "points"), _key(seed, generation, first)
    return _native.crossover(left, right, *_space(cardinalities, conditions), kind, cuts, probability, *key)


def neighbors(
    genotype: npt.ArrayLike,
    cardinalities: npt.ArrayLike,
    *,
    n: int | None = None,
    adjacent: npt.ArrayLike | None = None,
    shuffled: bool = False,
    seed: int = 0,
    generation: int = 0,
    first: int = 0,
    conditions: npt.ArrayLike | None = None,
) -> Genotypes:
    """List the genotypes that differ from one in the choice of a single decision.

    A change may switch other decisions on or off: those that become inactive are -1, those that become active
    are drawn at random, all others keep their choice. So an active decision with ``c`` choices gives
    ``c - 1`` neighbours; they all differ, and the genotype itself is not among them.

    Parameters
    ----------
    genotype : array_like of int, shape (d,)
        A canonical genotype.
    cardinalities : array_like of int, shape (d,)
        How many choices each decision has.
    n : int, optional
        Give the first `n` in this order, not all of them.
    adjacent : array_like of bool, shape (d,), optional
        Decisions that only move to the next smaller or next larger choice; by default all move to any other.
    shuffled : bool, default False
        Give them in random order instead of by decision and choice.
    seed, generation, first : int, default 0
        Name the random stream, a single one for the whole neighbourhood.
    conditions : array_like of int, shape (c, 3), optional
        When decisions are active; see the module.

    Returns
    -------
    ndarray of int32, shape (k, d)
        The neighbours.

    Raises
    ------
    TypeError
        If an argument does not hold integers, or `adjacent` does not hold booleans.
    ValueError
        If the genotype is not canonical (the message names the decision) or another argument does not fit.

    References
    ----------
    .. [1] C. White, S. Nolen, Y. Savani, "Exploring the loss landscape in neural architecture search", UAI
       2021.

    Examples
    --------
    >>> neighbors([1, 0], [3, 2])
    array([[0, 0],
           [2, 0],
           [1, 1]], dtype=int32)
    >>> neighbors([1, 0], [2, 2], conditions=[[1, 0, 1]])  # decision 1 needs choice 1 of decision 0
    array([[ 0, -1],
           [ 1,  1]], dtype=int32)
    """
    row = integers(genotype, "genotype", 1)
    steps = None if adjacent is None else np.ascontiguousarray(adjacent)
    most = None if n is None else unsigned(n, "n")
    key = _key(seed, generation, first)
    return _native.neighbors(row, *_space(cardinalities, conditions), steps, most, bool(shuffled), *key)


def tournament(
    keys: npt.ArrayLike,
    n: int,
    *,
    size: int = 2,
    crowding: npt.ArrayLike | None = None,
    seed: int = 0,
    generation: int = 0,
    first: int = 0,
) -> npt.NDArray[np.int32]:
    """Choose rows by tournaments.

    Each tournament draws `size` rows uniformly, with replacement. The smallest key wins, then the largest
    crowding distance, then the first drawn, which is a row at random.

    Parameters
    ----------
    keys : array_like of float, shape (p,)
        Losses, or ranks as from `nasx.pareto.rank`; smaller is better.
    n : int
        Number of tournaments.
    size : int, default 2
        Contestants of each.
    crowding : array_like of float, shape (p,), optional
        Decides between equal keys, larger is better.
    seed, generation, first : int, default 0
        Name the random streams; see the module.

    Returns
    -------
    ndarray of int32, shape (n,)
        Indices of the winners.

    Raises
    ------
    TypeError
        If an argument has the wrong kind of numbers.
    ValueError
        If there are no rows to choose from, lengths differ, `keys` or `crowding` hold NaN, or `size` is less
        than 1.

    Examples
    --------
    >>> tournament([0.7, 0.2, 0.4], 5, size=50)
    array([1, 1, 1, 1, 1], dtype=int32)
    """
    distances = None if crowding is None else floats(crowding, "crowding", 1)
    contestants, count = unsigned(size, "size"), unsigned(n, "n")
    key = _key(seed, generation, first)
    return _native.tournament(floats(keys, "keys", 1), distances, count, contestants, *key)


class Survivors(NamedTuple):
    """Rows that survive, with what a tournament among them needs."""

    rows: npt.NDArray[np.int32]
    """Indices into the losses, shape (k,): by rank, then by falling crowding distance."""
    ranks: npt.NDArray[np.int32]
    """Their fronts among all rows, shape (k,)."""
    crowding: npt.NDArray[np.float64]
    """Their crowding distances among all rows, shape (k,)."""


def select_survivors(
    losses: npt.ArrayLike,
    n: int,
    *,
    violations: npt.ArrayLike | None = None,
    seed: int = 0,
    generation: int = 0,
) -> Survivors:
    """Select the survivors of a generation of NSGA-II.

    Whole fronts first; the front that does not fit is cut by crowding distance, measured on all of it. Equal
    distances are put in random order.

    Parameters
    ----------
    losses : array_like of float, shape (p, m)
        Smaller is better.
    n : int
        How many survive; all do if there are not more.
    violations : array_like of float, shape (p,), optional
        As for `nasx.pareto.rank`.
    seed, generation : int, default 0
        Name the random streams that break ties.

    Returns
    -------
    Survivors
        Named tuple ``(rows, ranks, crowding)`` of ``k = min(n, p)`` rows.

    Raises
    ------
    TypeError
        If an argument has the wrong kind of numbers.
    ValueError
        If an argument has the wrong shape, holds NaN or is out of range.

    References
    ----------
    .. [1] K. Deb, A. Pratap, S. Agarwal, T. Meyarivan, "A fast and elitist multiobjective genetic
       algorithm: NSGA-II", IEEE Transactions on Evolutionary Computation 6 (2002).

    Examples
    --------
    >>> rows, ranks, crowding = select_survivors([[4, 4], [1, 3], [3, 1], [2, 2]], 3)
    >>> sorted(rows.tolist()), ranks
    ([1, 2, 3], array([0, 0, 0], dtype=int32))
    """
    checked = None if violations is None else floats(violations, "violations", 1)
    key = (unsigned(seed, "seed", 64), unsigned(generation, "generation", 32))
    return Survivors(*_evolution.nsga2_select(floats(losses, "losses", 2), checked, unsigned(n, "n"), *key))


def offspring(
    parents: npt.ArrayLike,
    keys: npt.ArrayLike,
    cardinalities: npt.ArrayLike,
    n: int,
    *,
    size: int = 2,
    crowding: npt.ArrayLike | None = None,
    kind: CrossoverKind = "uniform",
    points: int = 2,
    probability: float = 0.9,
    rates: npt.ArrayLike | None = None,
    seed: int = 0,
    generation: int = 0,
    first: int = 0,
    conditions: npt.ArrayLike | None = None,
) -> Genotypes:
    """Make children of two parents: tournaments, crossover, mutation, repair.

    Each child has two different parents, if there are two, each the winner of a tournament as in
    `tournament`. Binary ones on rank and crowding distance are those of NSGA-II [1]_.

    Parameters
    ----------
    parents : array_like of int, shape (p, d)
        Genotypes, choices in ``[-1, cardinality)``.
    keys : array_like of float, shape (p,)
        Their losses or ranks, smaller is better.
    cardinalities : array_like of int, shape (d,)
        How many choices each decision has.
    n : int
        Number of children.
    size, crowding
        As for `tournament`; with a size of 1, each parent is as likely.
    kind, points, probability
        As for `crossover`.
    rates
        As for `mutate`.
    seed, generation, first : int, default 0
        Name the random streams; see the module.
    conditions : array_like of int, shape (c, 3), optional
        When decisions are active; see the module.

    Returns
    -------
    ndarray of int32, shape (n, d)
        Children; repeats, also of parents, are possible.

    Raises
    ------
    TypeError
        If an argument has the wrong kind of numbers.
    ValueError
        If there are no parents, lengths differ, a key is NaN, or another argument does not fit.

    References
    ----------
    .. [1] K. Deb, A. Pratap, S. Agarwal, T. Meyarivan, "A fast and elitist multiobjective genetic
       algorithm: NSGA-II", IEEE Transactions on Evolutionary Computation 6 (2002).

    Examples
    --------
    >>> offspring([[0, 0], [1, 1]], [0.3, 0.1], [2, 2], 4, rates=0.0).shape
    (4, 2)
    """
    counts, rules = _space(cardinalities, conditions)
    maker = _evolution.Offspring(
        integers(parents, "parents", 2),
        floats(keys, "keys", 1),
        None if crowding is None else floats(crowding, "crowding", 1),
        counts,
        rules,
        unsigned(size, "size"),
        kind,
        unsigned(points, "points"),
        probability,
        _rates(rates, len(counts)),
        unsigned(seed, "seed", 64),
        unsigned(generation, "generation", 32),
    )
    return maker.make(unsigned(n, "n"), unsigned(first, "first", 64))


def mutants(
    parents: npt.ArrayLike,
    keys: npt.ArrayLike,
    cardinalities: npt.ArrayLike,
    n: int,
    *,
    size: int = 5,
    seed: int = 0,
    generation: int = 0,
    first: int = 0,
    conditions: npt.ArrayLike | None = None,
) -> Genotypes:
    """Make children of one parent: a tournament, and the winner changed in one decision.

    This is a step of regularised evolution [1]_, `tournament` and `mutate_one` in a single call.

    Parameters
    ----------
    parents : array_like of int, shape (p, d)
        Genotypes, choices in ``[-1, cardinality)``.
    keys : array_like of float, shape (p,)
        Their losses or ranks, smaller is better.
    cardinalities : array_like of int, shape (d,)
        How many choices each decision has.
    n : int
        Number of children.
    size : int, default 5
        Contestants of each tournament, drawn with replacement.
    seed, generation, first : int, default 0
        Name the random streams; see the module.
    conditions : array_like of int, shape (c, 3), optional
        When decisions are active; see the module.

    Returns
    -------
    ndarray of int32, shape (n, d)
        Children; repeats are possible.

    Raises
    ------
    TypeError
        If an argument has the wrong kind of numbers.
    ValueError
        If there are no parents, lengths differ, a key is NaN, or another argument does not fit.

    References
    ----------
    .. [1] E. Real, A. Aggarwal, Y. Huang, Q. V. Le, "Regularized evolution for image classifier architecture
       search", AAAI 2019.

    Examples
    --------
    >>> mutants([[0, 0], [1, 1]], [0.9, 0.1], [2, 2], 3, size=20).sum(axis=1)
    array([1, 1, 1])
    """
    maker = _evolution.Mutants(
        integers(parents, "parents", 2),
        floats(keys, "keys", 1),
        *_space(cardinalities, conditions),
        unsigned(size, "size"),
        unsigned(seed, "seed", 64),
        unsigned(generation, "generation", 32),
    )
    return maker.make(unsigned(n, "n"), unsigned(first, "first", 64))


def hash_rows(genotypes: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Hash each row to 64 bits: the same value on every platform and in every version of Python.

    Parameters
    ----------
    genotypes : array_like of int, shape (n, d)
        Any rows of int32.

    Returns
    -------
    ndarray of uint64, shape (n,)
        Equal for equal rows. Different rows agree by chance only, which is no protection from an adversary.

    Raises
    ------
    TypeError
        If `genotypes` does not hold integers.
    ValueError
        If it does not have two dimensions.

    Examples
    --------
    >>> a, b, c = hash_rows([[0, 1], [1, 0], [0, 1]])
    >>> bool(a == c), bool(a == b)
    (True, False)
    """
    return _native.hash_rows(integers(genotypes, "genotypes", 2))


class Distinct(NamedTuple):
    """The different rows of a matrix."""

    rows: Genotypes
    """Shape (k, d), in the order in which they first come."""
    first: npt.NDArray[np.int64]
    """Where each first comes, shape (k,): ``rows`` is ``genotypes[first]``."""
    inverse: npt.NDArray[np.int64]
    """Which of them each row is, shape (n,): ``rows[inverse]`` is ``genotypes``."""


def unique(genotypes: npt.ArrayLike) -> Distinct:
    """Drop repeated rows, keeping the order in which rows first come.

    Parameters
    ----------
    genotypes : array_like of int, shape (n, d)
        Any rows of int32, at least one column.

    Returns
    -------
    Distinct
        Named tuple ``(rows, first, inverse)``.

    Raises
    ------
    TypeError
        If `genotypes` does not hold integers.
    ValueError
        If it does not have two dimensions, or no column.

    Notes
    -----
    O(n d), by hashing; `numpy.unique` sorts.

    Examples
    --------
    >>> rows, first, inverse = unique([[2, 1], [0, 1], [2, 1]])
    >>> rows.tolist(), first.tolist(), inverse.tolist()
    ([[2, 1], [0, 1]], [0, 1], [0, 1, 0])
    """
    rows = integers(genotypes, "genotypes", 2)
    first, inverse = _native.unique(rows)
    return Distinct(rows[first], first, inverse)


class GenotypeSet:
    """A set of genotypes that remembers the order in which they came.

    Parameters
    ----------
    d : int
        Number of decisions, at least 1.
    rows : array_like of int, shape (n, d), optional
        Genotypes to begin with.

    Raises
    ------
    TypeError
        If `d` is not an integer, or rows do not hold integers.
    ValueError
        If `d` is less than 1, or rows have another number of columns.

    Notes
    -----
    Open addressing over 64-bit hashes: each row takes O(d), amortised. Methods may be called from several
    threads. Copies and pickles keep rows, order and marks.

    Examples
    --------
    >>> seen = GenotypeSet(2)
    >>> seen.insert([[0, 1], [1, 1], [0, 1]])
    array([ True,  True, False])
    >>> seen.contains([[1, 1], [1, 0]])
    array([ True, False])
    >>> seen.find([[1, 1], [1, 0]])
    array([ 1, -1])
    >>> len(seen)
    2
    """

    def __init__(self, d: int, rows: npt.ArrayLike | None = None) -> None:
        self.native = _native.GenotypeSet(unsigned(d, "d"))
        if rows is not None:
            self.insert(rows)

    def insert(self, rows: npt.ArrayLike, *, most: int | None = None) -> npt.NDArray[np.bool_]:
        """Add rows, shape ``(n, d)``, and return which were new, shape ``(n,)``.

        Rows are taken in order: one that is repeated within a call is new the first time only. With `most`,
        no row is taken after so many new ones, and the answer is as long as the rows taken.
        """
        return self.native.insert(integers(rows, "rows", 2), most)

    def mark(self, rows: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Add and mark rows, shape ``(n, d)``, and return which had no mark before, shape ``(n,)``.

        Marks tell two kinds of rows in one set apart, such as those asked for and those told.
        """
        return self.native.mark(integers(rows, "rows", 2))

    @property
    def marked(self) -> int:
        """How many rows have a mark."""
        return self.native.marked

    def contains(self, rows: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return which of the rows, shape ``(n, d)``, are in the set, shape ``(n,)``."""
        return self.native.contains(integers(rows, "rows", 2))

    def find(self, rows: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return each row's place in the order of insertion, -1 if it is not there, shape ``(n,)``."""
        return self.native.find(integers(rows, "rows", 2))

    def rows(self) -> Genotypes:
        """Return a copy of all rows in the order of insertion, shape ``(len(self), d)``."""
        return self.native.rows()

    def __len__(self) -> int:
        return len(self.native)

    def __repr__(self) -> str:
        return f"GenotypeSet(d={self.native.width}, {len(self)} rows)"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.native.width, self.rows()), self.native.marks()

    def __setstate__(self, marks: npt.NDArray[np.bool_]) -> None:
        self.native.mark(self.rows()[marks])
