"""Neighbourhoods and random walks: against the plain twin, and against their definition."""

import itertools

import numpy as np
import pytest
import reference.population as twin
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.philox import Stream

from nasx import Boolean, Categorical, Integer, Ordinal, Space, population
from nasx.spaces import NASBenchGraph

CARDINALITIES = [3, 2, 2, 4, 1, 5]
# 1 needs choice 1 or 2 of 0; 3 needs choice 0 of 0 and 1 of 2; 5 needs an active 3 with choice 2 or 3.
CONDITIONS = [[3, 2, 1], [1, 0, 2], [1, 0, 1], [3, 0, 0], [5, 3, 2], [5, 3, 3]]


@st.composite
def spaces(draw):
    cardinalities = draw(st.lists(st.integers(1, 5), min_size=1, max_size=9))
    rules = []
    for j in range(1, len(cardinalities)):
        for parent in draw(st.sets(st.integers(0, j - 1), max_size=2)):
            chosen = draw(st.sets(st.integers(0, cardinalities[parent] - 1), min_size=1))
            rules += [[j, parent, choice] for choice in chosen]
    return cardinalities, draw(st.permutations(rules))


@settings(max_examples=150, deadline=None)
@given(spaces(), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.booleans(), st.data())
def test_neighbors_equal_their_twin(space, seed, generation, shuffled, data):
    cardinalities, rules = space
    first = data.draw(st.integers(0, 2**64 - 1))
    adjacent = data.draw(st.lists(st.booleans(), min_size=len(cardinalities), max_size=len(cardinalities)))
    row = population.sample(cardinalities, 1, seed=seed, conditions=rules or None)[0]
    named = {"seed": seed, "generation": generation, "first": first, "conditions": rules or None}
    found = population.neighbors(row, cardinalities, adjacent=adjacent, shuffled=shuffled, **named)
    stream = Stream("neighbors", seed, generation, first)
    expected = twin.neighbor_rows(row.tolist(), cardinalities, rules, adjacent, shuffled, stream)
    np.testing.assert_array_equal(found, twin.rows_array(expected, len(cardinalities)))
    n = data.draw(st.integers(0, len(found) + 2))
    some = population.neighbors(row, cardinalities, n=n, adjacent=adjacent, shuffled=shuffled, **named)
    np.testing.assert_array_equal(some, found[:n])


@settings(max_examples=100, deadline=None)
@given(spaces(), st.integers(0, 2**32))
def test_neighbors_are_canonical_all_different_and_differ_in_one_decision(space, seed):
    cardinalities, rules = space
    row = population.sample(cardinalities, 1, seed=seed, conditions=rules or None)[0]
    found = population.neighbors(row, cardinalities, seed=seed, conditions=rules or None)
    assert len(found) == sum(c - 1 for c, choice in zip(cardinalities, row, strict=True) if choice >= 0)
    assert len(np.unique(found, axis=0)) == len(found)
    for other in found:
        assert all((v >= 0) == twin.active(j, other.tolist(), rules) for j, v in enumerate(other))
        changed = np.flatnonzero((row != other) & (row >= 0) & (other >= 0))
        assert len(changed) == 1  # everything else that differs was switched on or off
        assert (row[: changed[0]] == other[: changed[0]]).all()


def test_without_conditions_neighbors_are_at_hamming_distance_one():
    space = Space({"a": Categorical("xyz"), "b": Boolean(), "c": Integer(0, 3)})
    everything = space.enumerate()
    for row in everything:
        at_one = everything[(everything != row).sum(axis=1) == 1]
        np.testing.assert_array_equal(np.unique(space.neighbors(row), axis=0), at_one)


def test_every_completion_of_what_is_switched_on_comes_up_and_the_way_back_exists():
    space = Space({"a": Boolean(), "b": Categorical("xyz", when={"a": True}), "c": Boolean()})
    there = {tuple(space.neighbors([0, -1, 1], seed=seed)[0]) for seed in range(40)}
    assert there == {(1, 0, 1), (1, 1, 1), (1, 2, 1)}
    assert all([0, -1, 1] in space.neighbors(row).tolist() for row in there)


def test_adjacent_moves_ordered_decisions_by_one_step():
    space = Space({"op": Categorical("abcd"), "depth": Ordinal([1, 2, 4, 8]), "width": Integer(8, 64)})
    found = space.neighbors([0, 0, 20], adjacent=True)
    assert found.tolist() == [[1, 0, 20], [2, 0, 20], [3, 0, 20], [0, 1, 20], [0, 0, 19], [0, 0, 21]]
    assert len(space.neighbors([0, 0, 20])) == 3 + 3 + 56
    assert space.ordered.tolist() == [False, True, True]


def test_neighbors_meet_the_constraints():
    space = Space({"a": Integer(0, 9), "b": Integer(0, 9)}, constraints=[lambda x: x[:, 0] <= x[:, 1]])
    found = space.neighbors([3, 5])
    assert (found[:, 0] <= found[:, 1]).all()
    assert len(found) == 5 + 6
    assert len(space.neighbors([9, 0])) == 1 + 1  # it need not meet them itself


def test_neighbors_in_a_canonical_space_are_other_networks():
    space = NASBenchGraph()
    for row in space.sample(20, seed=1):
        around = space.canonicalize(population.neighbors(row, space.cardinalities))
        expected = {tuple(other) for other in around[space.satisfies(around)].tolist()} - {
            tuple(row.tolist())
        }
        found = space.neighbors(row, shuffled=True, seed=3)
        assert len(found) == len(expected)
        assert {tuple(other) for other in found.tolist()} == expected
    walk = space.random_walk(200, seed=0)
    np.testing.assert_array_equal(space.canonicalize(walk), walk)
    assert (walk[1:] != walk[:-1]).any(axis=1).all()


def test_the_first_few_neighbors_are_the_first_of_all():
    space = Space({"op": Categorical("abcd"), "width": Integer(8, 64)})
    some = space.neighbors([0, 20], n=5, shuffled=True, seed=2, generation=3, first=4)
    everything = space.neighbors([0, 20], shuffled=True, seed=2, generation=3, first=4)
    assert some.tolist() == everything[:5].tolist()


def test_a_space_of_one_architecture_has_no_neighbors():
    assert Space({"a": Categorical("x")}).neighbors([0]).shape == (0, 1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: population.neighbors([[0]], [2]), ValueError, "genotype must have one dimension"),
        (lambda: population.neighbors([0.5], [2]), TypeError, "genotype must hold integers"),
        (lambda: population.neighbors([0], [2, 2]), ValueError, "genotype must have one column .* got 1"),
        (lambda: population.neighbors([0, 2], [2, 2]), ValueError, r"decision 1.*\[0, 2\); got 2"),
        (lambda: population.neighbors([0, -1], [2, 2]), ValueError, r"decision 1.*\[0, 2\); got -1"),
        (
            lambda: population.neighbors([0, 0], [2, 2], conditions=[[1, 0, 1]]),
            ValueError,
            "decision 1 is inactive and must be -1; got 0",
        ),
        (lambda: population.neighbors([0], [2], adjacent=[1]), TypeError, "adjacent must be .* bool"),
        (lambda: population.neighbors([0], [2], adjacent=[True] * 2), ValueError, "adjacent must have one"),
        (lambda: population.neighbors([0], [2], n=-1), ValueError, "n must be"),
        (lambda: population.neighbors([0], [2], seed=-1), ValueError, "seed"),
        (lambda: Space({"a": Boolean()}).neighbors([2]), ValueError, "decision 'a' has 2 choices"),
        (lambda: Space({"a": Boolean()}).neighbors([[0]]), ValueError, "genotypes must have shape"),
        (lambda: Space({"a": Boolean()}).random_walk(-1), ValueError, "steps must be at least 0; got -1"),
        (lambda: Space({"a": Boolean()}).random_walk(3, start=[5]), ValueError, "decision 'a'"),
        (lambda: Space({"a": Categorical("x")}).random_walk(1), ValueError, "step 0: .* has no neighbour"),
    ],
)
def test_bad_input_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_inputs_are_never_modified():
    row = np.array([0, -1, 1, 3, 0, 2], np.int32)
    adjacent = np.ones(6, bool)
    before = row.copy()
    population.neighbors(row, CARDINALITIES, adjacent=adjacent, conditions=CONDITIONS)
    np.testing.assert_array_equal(row, before)
    assert adjacent.all()


def test_a_walk_goes_from_neighbour_to_neighbour_and_is_seeded():
    space = Space({"a": Integer(0, 4), "b": Boolean(), "c": Categorical("xyz", when={"b": True})})
    walk = space.random_walk(200, seed=4)
    np.testing.assert_array_equal(space.check(walk), walk)
    for here, there in itertools.pairwise(walk):
        assert ((here != there) & (here >= 0) & (there >= 0)).sum() == 1
    np.testing.assert_array_equal(space.random_walk(50, seed=4), walk[:51])
    assert not np.array_equal(space.random_walk(50, seed=5), walk[:51])
    np.testing.assert_array_equal(space.random_walk(0, start=[2, 0, -1]), [[2, 0, -1]])


def test_a_walk_chooses_uniformly_among_the_allowed_neighbours():
    space = Space({"a": Integer(0, 6)}, constraints=[lambda x: x[:, 0] != 3])
    walk = space.random_walk(12_000, start=[0], seed=1)[:, 0]
    assert 3 not in walk
    pairs = np.zeros((7, 7))
    np.add.at(pairs, (walk[:-1], walk[1:]), 1)
    allowed = np.delete(np.delete(pairs, 3, 0), 3, 1)
    assert (np.diag(allowed) == 0).all()
    assert np.abs(allowed[~np.eye(6, dtype=bool)] - 400).max() < 5 * 20


@pytest.mark.data
def test_walks_tell_how_rugged_a_real_space_is(data_dir):
    table = np.load(data_dir / "nasbench201.npz", allow_pickle=False)
    accuracy = table["cifar10_val"].astype(float)
    space = Space({f"edge{j}": Categorical(range(5)) for j in range(6)})
    walk = space.random_walk(5000, seed=0)
    along = accuracy[walk @ 5 ** np.arange(5, -1, -1)]
    along = (along - along.mean()) / along.std()
    near, far = ((along[:-lag] * along[lag:]).mean() for lag in (1, 20))
    assert near > 0.4
    assert abs(far) < 0.15
