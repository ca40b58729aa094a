"""nasx.population: equal, number for number, to the plain Python twins."""

from __future__ import annotations

import copy
import pickle
import threading
from collections import Counter

import numpy as np
import pytest
import reference.pareto as pareto_twin
import reference.population as twin
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.philox import Stream

import nasx
from nasx import population
from nasx._core import population as native

CARDINALITIES = [3, 2, 2, 4, 1, 5]
# 1 needs choice 1 or 2 of 0; 3 needs choice 0 of 0 and 1 of 2; 5 needs an active 3 with choice 2 or 3.
CONDITIONS = [[3, 2, 1], [1, 0, 2], [1, 0, 1], [3, 0, 0], [5, 3, 2], [5, 3, 3]]
SIZES = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100]


@st.composite
def spaces(draw: st.DrawFn) -> tuple[list[int], list[list[int]]]:
    cardinalities = draw(st.lists(st.integers(1, 5), min_size=1, max_size=9))
    rules = []
    for j in range(1, len(cardinalities)):
        for parent in draw(st.sets(st.integers(0, j - 1), max_size=2)):
            chosen = draw(st.sets(st.integers(0, cardinalities[parent] - 1), min_size=1))
            rules += [[j, parent, choice] for choice in chosen]
    return cardinalities, draw(st.permutations(rules))


def canonical(row: list[int], cardinalities: list[int], rules: list[list[int]]) -> bool:
    return all((v >= 0) == twin.active(j, row, rules) for j, v in enumerate(row))


@settings(max_examples=100, deadline=None)
@given(spaces(), st.integers(0, 40), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.data())
def test_every_operation_equals_its_twin(
    space, n: int, seed: int, generation: int, data: st.DataObject
) -> None:
    cardinalities, rules = space
    d = len(cardinalities)
    first = data.draw(st.integers(0, 2**64 - 100))
    named = {"seed": seed, "generation": generation, "first": first, "conditions": rules or None}

    def streams(purpose: str) -> list[Stream]:
        return [Stream(purpose, seed, generation, first + i) for i in range(n)]

    rows = population.sample(cardinalities, n, **named)
    expected = [twin.repair_row([-1] * d, cardinalities, rules, s) for s in streams("sample")]
    np.testing.assert_array_equal(rows, twin.rows_array(expected, d))
    assert all(canonical(row, cardinalities, rules) for row in rows.tolist())

    rates = data.draw(st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=d, max_size=d))
    mutated = population.mutate(rows, cardinalities, rates=rates, **named)
    expected = [
        twin.mutate_row(row, cardinalities, rules, rates, s)
        for row, s in zip(rows.tolist(), streams("mutate"), strict=True)
    ]
    np.testing.assert_array_equal(mutated, twin.rows_array(expected, d))

    changed = population.mutate_one(rows, cardinalities, **named)
    expected = [
        twin.mutate_one_row(row, cardinalities, rules, s)
        for row, s in zip(rows.tolist(), streams("mutate_one"), strict=True)
    ]
    np.testing.assert_array_equal(changed, twin.rows_array(expected, d))

    how = {
        "kind": data.draw(st.sampled_from(["uniform", "k_point"])),
        "points": data.draw(st.integers(1, 4)),
        "probability": data.draw(st.sampled_from([0.0, 0.6, 1.0])),
    }
    crossed = population.crossover(rows, mutated, cardinalities, **how, **named)
    expected = [
        twin.crossover_row(a, b, cardinalities, rules, how["kind"], how["points"], how["probability"], s)
        for a, b, s in zip(rows.tolist(), mutated.tolist(), streams("crossover"), strict=True)
    ]
    np.testing.assert_array_equal(crossed, twin.rows_array(expected, d))

    holes = np.where(np.random.default_rng(0).random(rows.shape) < 0.4, -1, rows)
    repaired = population.repair(holes, cardinalities, **named)
    expected = [
        twin.repair_row(row, cardinalities, rules, s)
        for row, s in zip(holes.tolist(), streams("repair"), strict=True)
    ]
    np.testing.assert_array_equal(repaired, twin.rows_array(expected, d))
    holed = population.mutate_one(holes, cardinalities, **named)
    expected = [
        twin.mutate_one_row(row, cardinalities, rules, s)
        for row, s in zip(holes.tolist(), streams("mutate_one"), strict=True)
    ]
    np.testing.assert_array_equal(holed, twin.rows_array(expected, d))

    if n:
        keys = data.draw(st.sampled_from([[0, 1, 2], [-0.5, 0.25, np.inf]]))
        keys = np.random.default_rng(1).choice(keys, n)
        crowding = np.random.default_rng(2).choice([0.5, 1.0, np.inf], n)
        crowding = data.draw(st.sampled_from([crowding, None]))
        size = data.draw(st.integers(1, 18))  # more and fewer numbers than are made in advance
        key = {"seed": seed, "generation": generation, "first": first}
        winners = population.tournament(keys, n, size=size, crowding=crowding, **key)
        expected = [twin.tournament_winner(keys, crowding, size, s) for s in streams("tournament")]
        np.testing.assert_array_equal(winners, expected)

        children = population.offspring(
            rows, keys, cardinalities, n, size=size, crowding=crowding, rates=rates, **how, **named
        )
        parents = rows.tolist()
        expected = [
            twin.child(parents, keys, crowding, size, cardinalities, rules, *how.values(), rates, s)
            for s in streams("offspring")
        ]
        np.testing.assert_array_equal(children, twin.rows_array(expected, d))

        children = population.mutants(rows, keys, cardinalities, n, size=size, **named)
        expected = [twin.mutant(parents, keys, size, cardinalities, rules, s) for s in streams("mutants")]
        np.testing.assert_array_equal(children, twin.rows_array(expected, d))


@pytest.mark.parametrize("n", SIZES)
def test_survivors_equal_their_twin(n: int) -> None:
    rng = np.random.default_rng(n)
    for m in (1, 2, 3, 5):
        for violations in (None, rng.choice([-1.0, 0.0, 0.5, np.inf], n)):
            losses = rng.integers(0, 4, (n, m)).astype(float)
            lots = [Stream("select", 5, 6, i).next_u64() for i in range(n)]
            for k in (0, 1, n // 2, n, n + 3):
                rows, ranks, crowding = population.select_survivors(
                    losses, k, violations=violations, seed=5, generation=6
                )
                expected = pareto_twin.select(losses, violations, k, lots)
                np.testing.assert_array_equal(rows, expected[0])
                np.testing.assert_array_equal(ranks, expected[1])
                np.testing.assert_allclose(crowding, expected[2], rtol=1e-12)


@settings(max_examples=100, deadline=None)
@given(spaces(), st.integers(1, 6), st.data())
def test_the_first_malformed_entry_is_found(space, n: int, data: st.DataObject) -> None:
    cardinalities, rules = space
    d = len(cardinalities)
    rows = population.sample(cardinalities, n, conditions=rules or None)
    for _ in range(data.draw(st.integers(0, 2))):
        rows[data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, d - 1))] = data.draw(
            st.integers(-2, 5)
        )
    wrong = [
        i * d + j
        for i, row in enumerate(rows.tolist())
        for j, v in enumerate(row)
        if not (0 <= v < cardinalities[j] if twin.active(j, row, rules) else v == -1)
    ]
    conditions = np.array(rules, np.int32).reshape(-1, 3)
    found = native.first_malformed(rows, np.array(cardinalities, np.int32), conditions)
    assert found == (wrong[0] if wrong else -1)


def test_one_row_at_a_time_equals_all_at_once() -> None:
    for n in SIZES:
        parents = population.sample(CARDINALITIES, 10, conditions=CONDITIONS)
        for step in (population.offspring, population.mutants):

            def children(k: int, first: int, parents=parents, step=step) -> np.ndarray:
                named = {"seed": 3, "generation": 2, "first": first, "conditions": CONDITIONS}
                return step(parents, np.arange(10) // 3, CARDINALITIES, k, **named)

            whole = children(n, 40)
            for i in range(n):
                np.testing.assert_array_equal(children(1, 40 + i)[0], whole[i])


def test_threads_do_not_change_a_row() -> None:
    before = nasx.get_num_threads()
    n, answers = 20_000, []
    try:
        for threads in (1, 2):
            nasx.set_num_threads(threads)
            named = {"seed": 8, "conditions": CONDITIONS}
            a = population.sample(CARDINALITIES, n, **named)
            b = population.mutate(a, CARDINALITIES, **named)
            c = population.crossover(a, b, CARDINALITIES, kind="k_point", **named)
            kept = population.select_survivors(a[:, :2].astype(float), n // 2)
            parents = c[kept.rows]
            o = population.mutate_one(a, CARDINALITIES, **named)
            e = population.offspring(parents, kept.ranks, CARDINALITIES, n, crowding=kept.crowding, **named)
            m = population.mutants(parents, kept.ranks, CARDINALITIES, n, **named)
            w = population.tournament(kept.ranks, n, crowding=kept.crowding)
            answers.append([x.tobytes() for x in (a, b, c, *kept, o, e, m, w)])
    finally:
        nasx.set_num_threads(before)
    assert answers[0] == answers[1]


def test_samples_are_uniform_and_purposes_and_generations_differ() -> None:
    n = 60_000
    rows = population.sample([7], n, seed=1)[:, 0]
    assert max(abs(count - n / 7) for count in Counter(rows.tolist()).values()) < 5 * (n / 7) ** 0.5
    for other in ({"seed": 2}, {"seed": 1, "generation": 1}, {"seed": 1, "first": 1}):
        agree = (population.sample([7], n, **other)[:, 0] == rows).mean()
        assert agree == pytest.approx(1 / 7, abs=0.01)
    # A mutation that drew the numbers of the sample it changes would be anything but uniform.
    changed = population.mutate(rows[:, None], [7], rates=1.0, seed=1)[:, 0]
    pairs = Counter(zip(rows.tolist(), changed.tolist(), strict=True))
    assert len(pairs) == 42
    assert max(abs(count - n / 42) for count in pairs.values()) < 5 * (n / 42) ** 0.5


def test_mutation_changes_as_often_as_asked() -> None:
    rows = population.sample([4] * 10, 4000)
    changed = (population.mutate(rows, [4] * 10) != rows).mean()
    assert changed == pytest.approx(0.1, abs=0.01)
    changed = (population.mutate(rows, [4] * 10, rates=[0.0] * 5 + [0.5] * 5) != rows).mean(axis=0)
    np.testing.assert_allclose(changed, [0.0] * 5 + [0.5] * 5, atol=0.04)


def test_one_decision_changes_any_of_those_that_can_and_to_any_other_choice() -> None:
    n = 12_000
    rows = np.tile(np.array([0, 2, 0, 1], np.int32), (n, 1))
    changed = population.mutate_one(rows, [3, 4, 1, 2])
    assert ((changed != rows).sum(axis=1) == 1).all()
    found = Counter((j, changed[i, j]) for i, j in np.argwhere(changed != rows).tolist())
    expected = {(0, 1): 6, (0, 2): 6, (1, 0): 9, (1, 1): 9, (1, 3): 9, (3, 0): 3}
    assert set(found) == set(expected)
    for change, share in expected.items():
        assert found[change] == pytest.approx(n / share, rel=0.15)
    np.testing.assert_array_equal(population.mutate_one([[0, 0]] * 3, [1, 1]), np.zeros((3, 2)))


def test_one_change_wakes_and_silences_what_depends_on_it() -> None:
    # Decision 1 has only one choice of its own; it is active with choice 1 of decision 0.
    conditions = [[1, 0, 1], [2, 0, 0]]
    rows = population.mutate_one([[0, -1, 3], [1, 0, -1]] * 50, [2, 1, 9], conditions=conditions, seed=4)
    assert {tuple(row) for row in rows[1::2].tolist()} <= {(0, -1, choice) for choice in range(9)}
    woken = rows[0::2][rows[0::2, 0] == 1]
    assert {tuple(row) for row in woken.tolist()} == {(1, 0, -1)}
    assert 10 < len(woken) < 40  # either of decisions 0 and 2 changes


def test_uniform_crossover_takes_half_from_each_and_k_points_lie_anywhere() -> None:
    d, n = 40, 4000
    a, b = np.zeros((n, d), int), np.ones((n, d), int)
    share = population.crossover(a, b, [2] * d).mean(axis=0)
    np.testing.assert_allclose(share, 0.5, atol=0.05)
    one = population.crossover(a, b, [2] * d, kind="k_point", points=1)
    cuts = Counter((d - one.sum(axis=1)).tolist())
    assert set(cuts) == set(range(1, d))
    assert max(cuts.values()) < 2 * n / (d - 1)
    uncrossed = (population.crossover(a, b, [2] * d, probability=0.3) == a).all(axis=1).mean()
    assert uncrossed == pytest.approx(0.7, abs=0.04)


def test_inputs_are_never_modified() -> None:
    rows = population.sample(CARDINALITIES, 50, conditions=CONDITIONS)
    ranks, crowding = np.zeros(50, np.int32), np.ones(50)
    cardinalities, conditions = np.array(CARDINALITIES, np.int32), np.array(CONDITIONS, np.int32)
    losses, rates = np.ones((50, 2)), np.full(6, 0.9)
    inputs = [rows, ranks, crowding, cardinalities, conditions, losses, rates]
    for x in inputs:
        x.flags.writeable = False
    before = [x.copy() for x in inputs]
    population.repair(rows, cardinalities, conditions=conditions)
    population.mutate(rows, cardinalities, rates=rates, conditions=conditions)
    population.crossover(rows, rows[::-1], cardinalities, conditions=conditions)
    population.select_survivors(losses, 10)
    population.mutate_one(rows, cardinalities, conditions=conditions)
    population.offspring(
        rows, crowding, cardinalities, 9, crowding=crowding, rates=rates, conditions=conditions
    )
    population.mutants(rows, ranks, cardinalities, 9, conditions=conditions)
    population.tournament(crowding, 9, crowding=crowding)
    population.hash_rows(rows)
    population.unique(rows)
    population.GenotypeSet(6).insert(rows)
    for x, y in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(x, y)


def sets_call(method: str, rows: object):
    return lambda: getattr(population.GenotypeSet(2), method)(rows)


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (
            lambda: population.sample([2, 0], 1),
            ValueError,
            ["cardinalities", "at least 1", "0", "decision 1"],
        ),
        (lambda: population.sample([2.5], 1), TypeError, ["cardinalities", "integers"]),
        (lambda: population.sample([[2]], 1), ValueError, ["cardinalities", "one dimension"]),
        (lambda: population.sample([2], -1), ValueError, ["n ", "-1"]),
        (lambda: population.sample([2], 1.0), TypeError, ["n ", "1.0"]),
        (lambda: population.sample([2], 1, seed=-1), ValueError, ["seed", "-1"]),
        (lambda: population.sample([2], 1, seed=2**64), ValueError, ["seed", "2**64"]),
        (lambda: population.sample([2], 1, generation=2**32), ValueError, ["generation"]),
        (lambda: population.sample([2], 1, first="a"), TypeError, ["first", "'a'"]),
        (lambda: population.sample([2, 2], 1, conditions=[[1, 0]]), ValueError, ["conditions", "2 columns"]),
        (lambda: population.sample([2, 2], 1, conditions=[[0, 1, 0]]), ValueError, ["conditions", "row 0"]),
        (
            lambda: population.sample([2, 2], 1, conditions=[[1, 0, 2]]),
            ValueError,
            ["conditions", "(1, 0, 2)"],
        ),
        (
            lambda: population.repair([[0, 2]], [2, 2]),
            ValueError,
            ["genotypes", "row 0, decision 1", "got 2"],
        ),
        (lambda: population.mutate([[-2]], [2]), ValueError, ["genotypes", "decision 0", "[-1, 2)", "-2"]),
        (lambda: population.mutate([[0]], [2, 2]), ValueError, ["genotypes", "2 cardinalities", "1"]),
        (lambda: population.mutate([0], [2]), ValueError, ["genotypes", "two dimensions"]),
        (lambda: population.mutate([[0.5]], [2]), TypeError, ["genotypes", "float64"]),
        (lambda: population.mutate([[2**33]], [2]), ValueError, ["genotypes", "int32"]),
        (lambda: population.mutate([[0]], [2], rates=1.5), ValueError, ["rates", "[0, 1]", "1.5"]),
        (lambda: population.mutate([[0]], [2], rates=np.nan), ValueError, ["rates", "nan"]),
        (lambda: population.mutate([[0]], [2], rates=[0.1, 0.2]), ValueError, ["rates", "1", "2"]),
        (lambda: population.mutate([[0]], [2], rates="a"), TypeError, ["rates"]),
        (lambda: population.crossover([[0]], [[0], [1]], [2]), ValueError, ["b ", "1", "2"]),
        (lambda: population.crossover([[0]], [[3]], [2]), ValueError, ["b: row 0, decision 0"]),
        (
            lambda: population.crossover([[0]], [[0]], [2], kind="two"),
            ValueError,
            ["kind", "k_point", "'two'"],
        ),
        (lambda: population.crossover([[0]], [[0]], [2], points=0), ValueError, ["points"]),
        (lambda: population.crossover([[0]], [[0]], [2], probability=-0.1), ValueError, ["probability"]),
        (lambda: population.mutate_one([[5]], [5]), ValueError, ["genotypes: row 0, decision 0", "got 5"]),
        (lambda: population.mutate_one([[0]], [2, 2]), ValueError, ["genotypes", "2 cardinalities", "1"]),
        (lambda: population.tournament([], 1), ValueError, ["keys is empty"]),
        (lambda: population.tournament([[0]], 1), ValueError, ["keys", "one dimension"]),
        (lambda: population.tournament(["a"], 1), TypeError, ["keys", "numbers"]),
        (lambda: population.tournament([0, np.nan], 1), ValueError, ["keys", "NaN", "row 1"]),
        (lambda: population.tournament([0], 1, crowding=[0.0, 1.0]), ValueError, ["crowding", "1", "2"]),
        (lambda: population.tournament([0], 1, crowding=[np.nan]), ValueError, ["crowding", "NaN"]),
        (lambda: population.tournament([0], 1, size=0), ValueError, ["size"]),
        (lambda: population.tournament([0], -1), ValueError, ["n ", "-1"]),
        (lambda: population.select_survivors([[np.nan]], 1), ValueError, ["losses", "NaN"]),
        (lambda: population.select_survivors([[1.0]], -1), ValueError, ["n "]),
        (lambda: population.select_survivors([[1.0]], 1, violations=[np.nan]), ValueError, ["violations"]),
        (lambda: population.offspring([[0]], [0, 1], [2], 1), ValueError, ["keys", "1", "2"]),
        (lambda: population.offspring([[0]], [0], [2], 1, crowding=[]), ValueError, ["crowding", "1", "0"]),
        (lambda: population.offspring([[0]], [0], [2], 1, size=0), ValueError, ["size"]),
        (lambda: population.offspring([[5]], [0], [2], 1), ValueError, ["parents: row 0"]),
        (lambda: population.offspring(np.empty((0, 1), int), [], [2], 1), ValueError, ["keys is empty"]),
        (lambda: population.mutants([[0]], [0, 1], [2], 1), ValueError, ["keys", "1", "2"]),
        (lambda: population.mutants([[0]], [np.nan], [2], 1), ValueError, ["keys", "NaN"]),
        (lambda: population.mutants([[0]], [0], [2], 1, size=0), ValueError, ["size"]),
        (lambda: population.mutants([[2]], [0], [2], 1), ValueError, ["parents: row 0, decision 0"]),
        (lambda: population.mutants(np.empty((0, 1), int), [], [2], 1), ValueError, ["keys is empty"]),
        (lambda: population.hash_rows([1, 2]), ValueError, ["genotypes", "two dimensions"]),
        (lambda: population.hash_rows([[0.5]]), TypeError, ["genotypes", "integers"]),
        (lambda: population.unique(np.empty((3, 0), int)), ValueError, ["genotypes", "at least one column"]),
        (lambda: population.GenotypeSet(0), ValueError, ["d ", "at least 1"]),
        (lambda: population.GenotypeSet("a"), TypeError, ["d ", "'a'"]),
        (sets_call("insert", [[1, 2, 3]]), ValueError, ["rows", "2 columns", "3"]),
        (sets_call("find", [1, 2]), ValueError, ["rows", "two dimensions"]),
        (sets_call("contains", [[0.5, 1.0]]), TypeError, ["rows", "integers"]),
    ],
)
def test_bad_input_is_refused_by_name(call, error: type[Exception], parts: list[str]) -> None:
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 9), st.integers(0, 20), st.integers(0, 2**32))
def test_hashes_equal_their_twin(d: int, n: int, seed: int) -> None:
    rows = np.random.default_rng(seed).integers(-(2**31), 2**31, (n, d))
    hashes = population.hash_rows(rows)
    assert hashes.dtype == np.uint64
    assert hashes.tolist() == [twin.hash_row(row) for row in rows.tolist()]


def test_hashes_tell_all_small_rows_apart() -> None:
    rows = np.stack(np.meshgrid(*[np.arange(-1, 9)] * 5), axis=-1).reshape(-1, 5)
    hashes = population.hash_rows(rows)
    assert len(np.unique(hashes)) == len(rows)
    low = np.bincount((hashes % np.uint64(64)).astype(int))
    assert abs(low - len(rows) / 64).max() < 5 * (len(rows) / 64) ** 0.5


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.lists(st.lists(st.integers(-1, 1), min_size=4, max_size=4), max_size=100))
def test_distinct_rows_come_in_the_order_of_a_dict(d: int, rows: list[list[int]]) -> None:
    table = np.array([row[:d] for row in rows], np.int32).reshape(-1, d)
    found = population.unique(table)
    known: dict[tuple[int, ...], int] = {}
    for i, row in enumerate(map(tuple, table.tolist())):
        known.setdefault(row, i)
    assert list(map(tuple, found.rows.tolist())) == list(known)
    assert found.first.tolist() == list(known.values())
    assert found.inverse.shape == (len(table),)
    np.testing.assert_array_equal(found.rows[found.inverse], table)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.lists(st.lists(st.integers(-1, 2), min_size=4, max_size=4), max_size=200))
def test_a_genotype_set_equals_a_dict(d: int, rows: list[list[int]]) -> None:
    table = np.array([row[:d] for row in rows], np.int32).reshape(-1, d)
    known: dict[tuple[int, ...], int] = {}
    genotypes = population.GenotypeSet(d)
    for part in np.array_split(table, 3):
        expected = []
        for row in map(tuple, part.tolist()):
            expected.append(row not in known)
            known.setdefault(row, len(known))
        assert genotypes.insert(part).tolist() == expected
    assert len(genotypes) == len(known)
    assert list(map(tuple, genotypes.rows().tolist())) == list(known)
    probe = population.sample([4] * d, 50) - 1
    assert genotypes.find(probe).tolist() == [known.get(tuple(row), -1) for row in probe.tolist()]
    assert genotypes.contains(probe).tolist() == [tuple(row) in known for row in probe.tolist()]


def test_a_genotype_set_is_copied_and_pickled_with_its_order_and_marks() -> None:
    genotypes = population.GenotypeSet(2, [[3, 1], [0, 0], [3, 1], [2, 2]])
    assert genotypes.mark([[0, 0], [0, 0]]).tolist() == [True, False]
    assert repr(genotypes) == "GenotypeSet(d=2, 3 rows)"
    for other in (copy.deepcopy(genotypes), pickle.loads(pickle.dumps(genotypes))):
        np.testing.assert_array_equal(other.rows(), genotypes.rows())
        assert other.mark(genotypes.rows()).tolist() == [True, False, True]
        other.insert([[9, 9]])
    assert genotypes.marked == 1
    assert len(genotypes) == 3
    genotypes.rows()[0] = 7
    assert genotypes.find([[3, 1]]).tolist() == [0]


def test_a_genotype_set_is_shared_by_threads() -> None:
    genotypes = population.GenotypeSet(3)
    rows = population.sample([50, 50, 50], 5000)
    new = []

    def insert() -> None:
        new.append(sum(int(genotypes.insert(part).sum()) for part in np.array_split(rows, 50)))

    threads = [threading.Thread(target=insert) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(new) == len(genotypes) == len(np.unique(rows, axis=0))
