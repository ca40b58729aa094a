"""Search under limits: against looking at every architecture, and what cannot be."""

import numpy as np
import pytest
import scipy.stats
from reference import budget as twin

import nasx
from nasx import Boolean, Categorical, Space
from nasx.hardware import FlopsTable, LatencyTable, best_under, pareto_of_sums, sample_under


def random_rows(rng, counts, whole=False):
    return [rng.integers(-3, 9, n).astype(float) if whole else rng.normal(size=n) for n in counts]


def space_of(*counts, **options):
    return Space({f"x{j}": Categorical(range(n)) for j, n in enumerate(counts)}, **options)


# -- the best within limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [1, 2, 3])
@pytest.mark.parametrize("whole", [False, True])
def test_the_best_is_the_best_of_all(m, whole):
    rng = np.random.default_rng(m)
    none = 0
    for _ in range(60):
        counts = rng.integers(1, 7, rng.integers(1, 6))
        scores, *tables = (random_rows(rng, counts, whole) for _ in range(m + 1))
        some = rng.integers(0, counts, (m, len(counts)))  # limits that are the very costs of architectures
        limits = [twin.sums(row[None], table)[0] for row, table in zip(some, tables, strict=True)]
        best = twin.best_score(scores, tables, limits)
        if best is None:
            none += 1
            with pytest.raises(ValueError, match="no architecture meets all of them"):
                best_under(scores, tables, limits)
            continue
        found = best_under(scores, tables, limits, resolution=int(rng.choice([1, 30, 10_000])))
        assert found.score == pytest.approx(best, abs=1e-10)
        assert found.gap == 0
        assert twin.sums(found.genotype[None], scores)[0] == found.score
        for table, limit, cost in zip(tables, limits, found.costs, strict=True):
            assert twin.sums(found.genotype[None], table)[0] == cost <= limit
    assert none > 0 or m == 1


@pytest.mark.parametrize(("counts", "m"), [((10,) * 6, 1), ((4,) * 10, 2), ((9,) * 6, 3), ((1000, 1000), 2)])
def test_the_best_of_a_million(counts, m):
    rng = np.random.default_rng(0)
    scores, *tables = (random_rows(rng, counts) for _ in range(m + 1))
    genotypes = np.stack(np.unravel_index(np.arange(np.prod(counts)), counts), axis=1)
    costs = np.stack([twin.sums(genotypes, table) for table in tables])
    totals = twin.sums(genotypes, scores)
    for share in (0.001, 0.1, 0.5):
        limits = np.quantile(costs, share ** (1 / m), axis=1)
        within = (costs <= limits[:, None]).all(axis=0)
        found = best_under(scores, tables, limits)
        assert found.score == pytest.approx(totals[within].max(), abs=1e-10)
        assert (found.costs <= limits).all()


@pytest.mark.parametrize("nodes", [0, 1000])
def test_scores_that_are_costs_fill_the_limit_and_a_stopped_search_says_how_far_it_may_be(nodes):
    """The hardest kind: countless architectures are within a hair of each other."""
    rng = np.random.default_rng(0)
    rows = [rng.uniform(size=8) for _ in range(20)]
    found = best_under(rows, rows, 9.0, nodes=nodes)
    assert found.nodes <= max(nodes, 1)
    assert found.score <= 9.0 <= found.bound + 1e-9
    # As good as costs rounded up allow: 20 decisions lose less than a cell each.
    assert found.score >= 9.0 - 20 * 9 / 10_000


def test_tables_mappings_and_rows_are_the_same():
    rng = np.random.default_rng(3)
    space = space_of(3, 4, 5)
    scores, first, second = (random_rows(rng, (3, 4, 5)) for _ in range(3))
    tables = LatencyTable(space, first, intercept=2.0), LatencyTable(space, second, intercept=-1.0)
    limits = [np.median(table(space.enumerate())) for table in tables]
    found = best_under(LatencyTable(space, scores, intercept=5.0), tables, limits)
    for table, cost in zip(tables, found.costs, strict=True):
        assert table(found.genotype[None])[0] == cost
    named = [
        dict(zip(reversed(space.names), reversed(rows), strict=True)) for rows in (scores, first, second)
    ]
    for scored, costed in (
        (scores, [first, second]),
        (named[0], [first, named[2]]),  # names in another order, which rows then follow
    ):
        if scored is named[0]:
            costed = [first[::-1], named[2]]
        again = best_under(scored, costed, [limits[0] - 2, limits[1] + 1])
        assert again.score == pytest.approx(found.score - 5)
        order = again.genotype if scored is scores else again.genotype[::-1]
        np.testing.assert_array_equal(order, found.genotype)
    mixed = best_under(
        named[0], [tables[0], named[2]], [limits[0], limits[1] + 1]
    )  # the space says the order
    np.testing.assert_array_equal(mixed.genotype, found.genotype)
    single = best_under(scores, tables[0], limits[0])
    assert single.costs.shape == (1,)


def test_inputs_stay_as_they_were():
    rng = np.random.default_rng(0)
    scores, costs = rng.normal(size=(2, 5, 4))
    before = scores.copy(), costs.copy()
    best_under(scores, costs, 0.0)
    pareto_of_sums([scores, costs])
    sample_under(costs, 0.0, 10)
    np.testing.assert_array_equal(scores, before[0])
    np.testing.assert_array_equal(costs, before[1])


# -- fronts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("whole", [False, True])
def test_a_front_is_that_of_all(m, whole):
    rng = np.random.default_rng(m)
    for _ in range(20):
        counts = rng.integers(1, 6, rng.integers(1, 6))
        tables = [random_rows(rng, counts, whole) for _ in range(m)]
        exact = twin.front(tables)
        found = pareto_of_sums(tables, cap=100_000)
        np.testing.assert_array_equal(found.costs, exact)
        np.testing.assert_array_equal(found.epsilon, 0)
        again = np.stack([twin.sums(found.genotypes, table) for table in tables], axis=1)
        np.testing.assert_array_equal(again, found.costs)


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("cap", [1, 5, 40])
def test_a_thinned_front_is_within_its_epsilon_of_every_architecture(m, cap):
    rng = np.random.default_rng(m)
    for _ in range(3):
        tables = [random_rows(rng, (4, 5, 5, 5, 4)) for _ in range(m)]
        tables[1] = [
            0.2 * b - a for a, b in zip(tables[0], tables[1], strict=True)
        ]  # so that fronts are large
        exact = twin.front(tables)
        found = pareto_of_sums(tables, cap=cap)
        assert len(found) <= cap < len(exact)
        again = np.stack([twin.sums(found.genotypes, table) for table in tables], axis=1)
        np.testing.assert_array_equal(again, found.costs)
        near = (found.costs[None] <= exact[:, None] + found.epsilon + 1e-12).all(axis=2)
        assert near.any(axis=1).all()
        if cap == 40:  # and epsilon says something
            assert (found.epsilon < np.ptp(exact, axis=0) / 2).all()


def test_the_front_of_a_large_space_holds_what_best_under_finds():
    rng = np.random.default_rng(0)
    loss, latency = ([rng.uniform(size=9) for _ in range(22)] for _ in range(2))
    front = pareto_of_sums([loss, latency])
    assert (front.epsilon == 0).all()
    assert (np.diff(front.costs[:, 0]) > 0).all()
    assert (np.diff(front.costs[:, 1]) < 0).all()
    for place in (0, 10, len(front) // 2, len(front) - 1):
        limit = front.costs[place, 1]
        found = best_under([-row for row in loss], latency, limit)
        assert -found.score == pytest.approx(front.costs[place, 0])


# -- samples -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("share", "resolution"), [(0.02, 10_000), (0.1, 50)])
def test_samples_are_uniform_among_what_is_within_the_limit(seed, share, resolution):
    rng = np.random.default_rng(7)
    rows = random_rows(rng, (4, 5, 6, 5))
    genotypes = twin.everything(rows)
    costs = twin.sums(genotypes, rows)
    limit = np.quantile(costs, share)
    within = genotypes[costs <= limit]
    drawn = sample_under(rows, limit, 200 * len(within), seed=seed, resolution=resolution)
    found, times = np.unique(drawn, axis=0, return_counts=True)
    np.testing.assert_array_equal(found, within)  # nothing is left out, and nothing is over the limit
    assert scipy.stats.chisquare(times).pvalue > 0.001


def test_samples_of_what_is_one_in_a_million_are_as_they_should_be():
    rows = [np.arange(8.0)] * 20  # how many digits of twenty add up to at most 23 is known
    drawn = sample_under(rows, 23.0, 20_000, seed=1)
    counts = np.ones(1)
    for _ in rows:
        counts = np.convolve(counts, np.ones(8))
    expected = counts[:24] / counts[:24].sum()
    assert counts[:24].sum() / 8.0**20 < 2e-6
    totals = np.bincount(drawn.sum(axis=1), minlength=24)
    assert len(totals) == 24
    often = expected * len(drawn) > 5
    seen = np.append(totals[often], totals[~often].sum())
    wanted = np.append(expected[often], expected[~often].sum()) * len(drawn)
    assert scipy.stats.chisquare(seen, wanted).pvalue > 0.001


def test_samples_do_not_depend_on_threads_or_on_how_many_there_are():
    rng = np.random.default_rng(0)
    rows = random_rows(rng, (9,) * 22)
    limit = sum(row.min() for row in rows) + 8
    before = nasx.get_num_threads()
    try:
        drawn = []
        for threads in (1, 2, 3):
            nasx.set_num_threads(threads)
            drawn.append(sample_under(rows, limit, 3000, seed=5))
        np.testing.assert_array_equal(drawn[0], drawn[1])
        np.testing.assert_array_equal(drawn[0], drawn[2])
        np.testing.assert_array_equal(drawn[0][:10], sample_under(rows, limit, 10, seed=5))
        assert (sample_under(rows, limit, 10, seed=6) != drawn[0][:10]).any()
        assert sample_under(rows, limit, 0).shape == (0, 22)
    finally:
        nasx.set_num_threads(before)


# -- what cannot be ------------------------------------------------------------------------------------------

GOOD = [[1.0, 2.0], [1.0, 3.0]]


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ([], ValueError, "is empty"),
        ({}, ValueError, "is empty"),
        ([[1.0, 2.0], []], ValueError, "decision 1 has no choices"),
        ([[1.0, 2.0], [1.0, np.nan]], ValueError, "decision 1 must be finite; choice 1 is nan"),
        ([[1.0, 2.0], [-np.inf, 1.0]], ValueError, "decision 1 must be finite; choice 0 is -inf"),
        ([[1.0, 2.0], ["a", "b"]], TypeError, "decision 1 must hold real numbers"),
        ([[1.0, 2.0], [[1.0, 2.0]]], ValueError, "decision 1 must have one dimension"),
        ([[1e308, 0.0], [1e308, 0.0]], ValueError, "beyond what a double holds"),
        (3.0, TypeError, "must be a LatencyTable, a mapping"),
        ("ab", TypeError, "must be a LatencyTable, a mapping"),
        (FlopsTable(), TypeError, "must be a LatencyTable, a mapping"),
    ],
)
def test_bad_tables_are_named(table, error, message):
    for call in (
        lambda: best_under(GOOD, [table], [9.0]),
        lambda: pareto_of_sums([table, table]),
        lambda: sample_under(table, 9.0, 3),
    ):
        with pytest.raises(error, match=message):
            call()


def test_tables_that_are_no_sums_over_free_decisions_are_refused():
    space = space_of(2, 2)
    paired = LatencyTable(space, GOOD, pairs=[np.ones((2, 2))])
    conditional = Space({"deep": Boolean(), "op": Categorical("ab", when={"deep": True})})
    constrained = space_of(2, 2, constraints=[lambda x: x[:, 0] != x[:, 1]])
    for table, message in (
        (paired, "entries for pairs"),
        (LatencyTable(conditional, GOOD), "has conditions"),
        (LatencyTable(constrained, GOOD), "has constraints"),
    ):
        for call in (
            lambda t=table: best_under(GOOD, t, 9.0),
            lambda t=table: best_under(t, GOOD, 9.0),
            lambda t=table: pareto_of_sums([t, GOOD]),
            lambda t=table: sample_under(t, 9.0, 3),
        ):
            with pytest.raises(ValueError, match=message):
                call()


@pytest.mark.parametrize(
    ("tables", "limits", "error", "message"),
    [
        (GOOD, 1.5, ValueError, "at most 1.5; the least reachable is 2"),
        ([GOOD, GOOD], [5.0, -1.0], ValueError, "sum 1 of at most -1; the least reachable is 2"),
        (GOOD, np.nan, ValueError, "limits must be finite"),
        (GOOD, None, TypeError, "limits must be a number; got None"),
        (GOOD, True, TypeError, "limits must be a number; got True"),
        ([GOOD], [1.0, 2.0], ValueError, "one value for each of 1 tables; got 2"),
        ([{"a": [1, 2], "b": [1, 3]}], 5.0, ValueError, "limits must be a sequence"),
        ({"a": [1, 2], "b": [1, 3]}, [5.0], TypeError, "tables must be a sequence of tables"),
        ([GOOD] * 9, [9.0] * 9, ValueError, "limits must be 1 to 8"),
        ([], [], ValueError, "limits must be 1 to 8"),
        ([[[1.0, 2.0]]], [9.0], ValueError, r"tables\[0\] must have \[2, 2\] choices"),
        ([[[1.0, 2.0], [1.0]]], [9.0], ValueError, r"tables\[0\] must have \[2, 2\] choices"),
    ],
)
def test_bad_limits_are_named(tables, limits, error, message):
    with pytest.raises(error, match=message):
        best_under(GOOD, tables, limits)


def test_other_bad_arguments_are_named():
    with pytest.raises(ValueError, match="must have the decisions a, b; got a, c"):
        best_under({"a": [1, 2], "b": [1, 2]}, {"a": [1, 2], "c": [1, 2]}, 5.0)
    with pytest.raises(ValueError, match="must have 2 rows, one a decision; got 1"):
        best_under({"a": [1, 2], "b": [1, 2]}, [[1, 2]], 5.0)
    with pytest.raises(ValueError, match="resolution must be an integer of at least 1"):
        best_under(GOOD, GOOD, 5.0, resolution=0)
    with pytest.raises(ValueError, match="resolution must be at least 1, and its tables"):
        sample_under(GOOD, 5.0, 3, resolution=10**9)
    with pytest.raises(ValueError, match="nodes must be at least 0"):
        best_under(GOOD, GOOD, 5.0, nodes=-1)
    with pytest.raises(ValueError, match="tables must be two or three; got 1"):
        pareto_of_sums([GOOD])
    with pytest.raises(ValueError, match="cap must be an integer of at least 1"):
        pareto_of_sums([GOOD, GOOD], cap=0)
    with pytest.raises(ValueError, match="the least reachable is 2"):
        sample_under(GOOD, 1.0, 3)
    with pytest.raises(ValueError, match="n must be an integer of at least 0"):
        sample_under(GOOD, 5.0, -1)
    with pytest.raises(TypeError, match="limit must be a number"):
        sample_under(GOOD, None, 3)
    with pytest.raises(TypeError, match="limit must be a number"):
        sample_under(GOOD, [5.0], 3)
    with pytest.raises(ValueError, match="resolution is too coarse"):
        sample_under([[0.0, 0.9]] * 200, 1.0, 3, resolution=1)
