"""TPE beyond the protocol: against a plain twin, against Optuna's estimators, and on measured tables."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
from reference import tpe as reference

from nasx import TPE, Boolean, Categorical, Integer, Ordinal, Space
from nasx._core import parzen
from nasx.strategies.bayesian.subset import best_subset, hypervolume_subset


def losses_of(x, objectives=1):
    values = np.where(x < 0, 3, x) * np.arange(1, x.shape[1] + 1)
    columns = np.column_stack([values.sum(axis=1) % 17, (values[:, 0] - 4) ** 2])[:, :objectives]
    # No two steps between values are equal, so that no two volumes are but for their rounding.
    return columns ** [1.3, 1.1][:objectives]


CONDITIONAL = Space(
    {
        "a": Integer(0, 7),
        "b": Categorical("pqrs"),
        "c": Integer(0, 5, when={"b": ["p", "q"]}),
        "d": Boolean(when={"c": [0, 1, 2]}),
        "e": Ordinal([1, 2, 4, 8, 16]),
        "f": Categorical("z"),
        "g": Categorical("uvwxy"),
    }
)
PLAIN = Space({f"x{j}": Categorical(range(3 + j)) for j in range(5)})
SPACES = pytest.mark.parametrize("space", [CONDITIONAL, PLAIN], ids=["conditional", "plain"])
BOTH = pytest.mark.parametrize("multivariate", [True, False])


def twin_of(space, **settings):
    return reference.ReferenceTPE(
        space.cardinalities.tolist(), space.conditions.tolist(), space.ordered.tolist(), **settings
    )


# -- the estimators ------------------------------------------------------------------------------------------


def history_of(space, rows, good, *, joint, equal_good=False):
    history = parzen.History(space.cardinalities, space.conditions, space.ordered, joint, equal_good)
    history.append(rows)
    history.set_good(np.array(good, np.int64))
    return history


def twin_densities(space, rows, good, x, *, joint, equal_good=False):
    parts = [
        [row for i, row in enumerate(rows.tolist()) if (i in good) == wanted] for wanted in (True, False)
    ]
    arguments = space.cardinalities.tolist(), space.conditions.tolist(), space.ordered.tolist()
    twins = [
        reference.Estimator(part, *arguments, joint=joint, equal=equal)
        for part, equal in zip(parts, (equal_good, False), strict=True)
    ]
    return np.array([[twin.density(row) for twin in twins] for row in x.tolist()])


@SPACES
@BOTH
@pytest.mark.parametrize("n", [0, 1, 2, 7, 24, 25, 26, 27, 60, 120])
def test_densities_equal_the_twins(space, multivariate, n):
    rows, x = space.sample(n, seed=1), space.sample(12, seed=2)
    for good in (range(0, n, 9), range(n // 2), range(n)):
        for equal in (False, True):
            kind = {"joint": multivariate, "equal_good": equal}
            found = np.exp(history_of(space, rows, good, **kind).log_densities(x))
            np.testing.assert_allclose(
                found, twin_densities(space, rows, set(good), x, **kind), rtol=1e-12, atol=0
            )


@pytest.mark.parametrize("multivariate", [True, False])
def test_densities_sum_to_one(multivariate):
    x = CONDITIONAL.enumerate()
    history = history_of(CONDITIONAL, CONDITIONAL.sample(80, seed=3), [1, 5, 6, 40], joint=multivariate)
    np.testing.assert_allclose(np.exp(history.log_densities(x)).sum(axis=0), 1, rtol=1e-12)


@BOTH
def test_rows_that_change_sides_leave_nothing_behind(multivariate):
    space, x = CONDITIONAL, CONDITIONAL.sample(30, seed=9)
    rows = space.sample(150, seed=4)
    history = history_of(space, rows[:10], [], joint=multivariate)
    rng = np.random.default_rng(0)
    for n in range(10, 150, 5):
        history.append(rows[n : n + 5])
        # A few swaps among the young, then many among all.
        low = n - 3 if n % 2 else 0
        good = np.sort(rng.choice(np.arange(low, n + 5), size=rng.integers(0, 8), replace=False))
        history.set_good(good)
        fresh = history_of(space, rows[: n + 5], good, joint=multivariate)
        np.testing.assert_array_equal(history.log_densities(x), fresh.log_densities(x))
    np.testing.assert_array_equal(history.rows(), rows)
    for again in (copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
        np.testing.assert_array_equal(again.log_densities(x), history.log_densities(x))
        np.testing.assert_array_equal(again.good(), good)


@BOTH
def test_candidates_are_drawn_from_the_good_density(multivariate):
    space = Space({"a": Integer(0, 3), "b": Categorical("pq"), "c": Integer(0, 2, when={"b": "p"})})
    history = history_of(space, space.sample(40, seed=0), [0, 3, 5, 7, 11], joint=multivariate)
    rows, scores = history.propose(40_000, 0, 0, 0)
    everything = space.enumerate()
    densities = history.log_densities(everything)
    counts = np.array([(rows == x).all(axis=1).sum() for x in everything])
    expected = np.exp(densities[:, 0]) * len(rows)
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert chi2 < len(everything) + 5 * math.sqrt(2 * len(everything))
    assert (np.diff(scores) <= 0).all()
    ratios = history.log_densities(rows) @ [1, -1]
    np.testing.assert_allclose(scores, ratios, atol=2**-30)


@BOTH
def test_far_observations_and_huge_spaces_stay_finite(multivariate):
    for decision in (Categorical(range(1000)), Integer(0, 999)):
        space = Space({f"x{j}": decision for j in range(300)})  # 10^900 architectures
        rows = np.repeat(np.arange(60, dtype=np.int32)[:, None], 300, axis=1)
        history = history_of(space, rows, [0, 1], joint=multivariate)
        x = np.array([[999] * 300, [59] * 300, [0] * 300], np.int32)
        assert np.isfinite(history.log_densities(x)).all()
        drawn, scores = history.propose(5, 0, 0, 0)
        np.testing.assert_array_equal(space.check(drawn), drawn)
        assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: history_of(PLAIN, PLAIN.sample(3), [2, 1], joint=True), "indices must increase"),
        (lambda: history_of(PLAIN, PLAIN.sample(3), [3], joint=True), r"indices must .* got 3"),
        (
            lambda: history_of(PLAIN, PLAIN.sample(3)[:, :2].copy(), [], joint=True),
            "rows must have one column",
        ),
        (lambda: history_of(PLAIN, PLAIN.sample(3) + 9, [], joint=True), r"choices must be in \[-1"),
        (
            lambda: parzen.History(PLAIN.cardinalities, None, PLAIN.ordered[:2], True, False),
            "ordered must have one value",
        ),
        (
            lambda: history_of(PLAIN, PLAIN.sample(3), [], joint=True).propose(-1, 0, 0, 0),
            "candidates must not be negative",
        ),
    ],
)
def test_bad_histories_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@BOTH
@pytest.mark.parametrize("n", [1, 5, 30, 80])
def test_densities_equal_those_of_optuna(multivariate, n):
    """Observations of ordered decisions differ, since Optuna leaves the order of equal ones to chance."""
    optuna = pytest.importorskip("optuna")
    from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator, _ParzenEstimatorParameters
    from optuna.samplers._tpe.sampler import default_weights

    space = Space({"a": Categorical("pqrst"), "b": Integer(0, 99), "c": Categorical("uvw")})
    rng = np.random.default_rng(n)
    rows = np.column_stack([rng.integers(0, 5, n), rng.permutation(100)[:n], rng.integers(0, 3, n)])
    rows, x = rows.astype(np.int32), space.sample(50, seed=5)
    found = history_of(space, rows, [], joint=multivariate).log_densities(x)[:, 1]

    distributions = {
        "a": optuna.distributions.CategoricalDistribution(range(5)),
        "b": optuna.distributions.IntDistribution(0, 99),
        "c": optuna.distributions.CategoricalDistribution(range(3)),
    }
    parameters = _ParzenEstimatorParameters(1.0, True, False, default_weights, True)
    groups = [["a", "b", "c"]] if multivariate else [["a"], ["b"], ["c"]]
    expected = np.zeros(len(x))
    for names in groups:
        columns = ["abc".index(name) for name in names]
        estimator = _ParzenEstimator(
            {name: rows[:, j].astype(float) for name, j in zip(names, columns, strict=True)},
            {name: distributions[name] for name in names},
            parameters,
        )
        expected += estimator.log_pdf(
            {name: x[:, j].astype(float) for name, j in zip(names, columns, strict=True)}
        )
    np.testing.assert_allclose(found, expected, rtol=1e-9)


# -- the search ----------------------------------------------------------------------------------------------


@SPACES
@BOTH
@pytest.mark.parametrize("objectives", [1, 2])
@pytest.mark.parametrize("batch", [1, 7])
def test_equals_the_slow_twin(space, multivariate, objectives, batch):
    settings = {"n_startup": 6, "n_candidates": 5, "multivariate": multivariate}
    native = TPE(**settings).setup(space, objectives=objectives, seed=4)
    twin = twin_of(space, objectives=objectives, seed=4, **settings)
    rng = np.random.default_rng(0)
    for told in range(0, 70, batch):
        x = native.ask(batch)
        np.testing.assert_array_equal(x, twin.ask(batch))
        losses, failed = losses_of(x, objectives), rng.random(len(x)) < 0.1
        over = np.maximum(x[:, 0] - 3.0, 0) if 28 <= told < 49 else np.zeros(len(x))
        native.tell(x, losses, violations=over, failed=failed)
        twin.tell(x, losses, over, failed)


@BOTH
def test_results_that_come_late_and_out_of_order(multivariate):
    settings = {"n_startup": 5, "n_candidates": 4, "multivariate": multivariate}
    native = TPE(**settings).setup(CONDITIONAL, seed=1)
    twin = twin_of(CONDITIONAL, objectives=1, seed=1, **settings)
    out = np.empty((0, len(CONDITIONAL)), np.int32)
    rng = np.random.default_rng(3)
    for _ in range(30):
        x = native.ask(3)
        np.testing.assert_array_equal(x, twin.ask(3))
        out = rng.permutation(np.concatenate([out, x]))
        done, out = out[:2], out[2:]
        native.tell(done, losses_of(done))
        twin.tell(done, losses_of(done), np.zeros(2), np.zeros(2, bool))


@BOTH
def test_a_small_space_is_used_up_without_many_rejections(multivariate):
    space = Space({"a": Categorical("pqr"), "b": Integer(0, 3)})
    strategy = TPE(n_startup=2, multivariate=multivariate).setup(space, seed=0)
    for _ in range(space.size):
        x = strategy.ask()
        strategy.tell(x, losses_of(x))
    assert strategy._proposed <= space.size + 5
    assert not len(strategy.ask())


def test_the_good_are_the_best_tenth_at_most_25():
    space = Space({"a": Integer(0, 999)})
    strategy = TPE(n_startup=1).setup(space, seed=0)
    for n, good in ((1, 1), (9, 1), (10, 1), (11, 2), (240, 24), (400, 25)):
        rows = np.arange(strategy._results, n, dtype=np.int32)[:, None]
        strategy.tell(rows[::-1], 1000 - rows[::-1, 0])
        history_rows = strategy._history.rows()[strategy._good()]
        np.testing.assert_array_equal(np.sort(history_rows[:, 0]), np.arange(n - good, n))


def test_failures_are_never_good():
    strategy = TPE(n_startup=1).setup(Space({"a": Integer(0, 99)}), seed=0)
    x = strategy.ask(40)
    strategy.tell(x, np.zeros(40), failed=np.ones(40, bool))
    assert strategy.ask(3).shape == (3, 1)
    assert not len(strategy._history.good())
    strategy.tell([[int(v) for v in row] for row in strategy.ask(1)], [5.0], violations=[9.0])
    strategy.ask(1)
    assert len(strategy._history.good()) == 1


def test_results_that_are_out_repel():
    space = Space({"a": Categorical(range(30)), "b": Categorical(range(30))})

    def after(out):
        strategy = TPE(n_startup=1).setup(space, seed=0)
        rng = np.random.default_rng(0)
        x = np.unique(rng.integers(2, 30, (60, 2)), axis=0).astype(np.int32)
        x = np.concatenate([x, [[0, 0], [1, 1]]]).astype(np.int32)
        strategy.tell(x, x.sum(axis=1))
        strategy._adopt(out)
        strategy.ask(1)
        return strategy._history.log_densities(np.array([[0, 5], [1, 5]], np.int32)) @ [1, -1]

    near = np.array([[0, b] for b in range(10, 20)], np.int32)
    alone, beside = after(near[:0]), after(near)
    assert beside[0] < alone[0] - 0.5
    assert beside[0] < beside[1]


@pytest.mark.parametrize("m", [2, 3, 4])
@pytest.mark.parametrize("levels", [4, 1000])
def test_best_subsets_dominate_as_much_as_the_twins(m, levels):
    rng = np.random.default_rng(m)
    for _ in range(10):
        # Many equal values, and no equal volumes that rounding would tell apart.
        losses = (rng.random((levels, m)) - 0.3)[rng.integers(0, levels, (24, m)), range(m)]
        violations = np.where(rng.random(24) < 0.3, rng.integers(0, 3, 24), 0).astype(float)
        for n in (1, 2, 5, 11, 20, 23, 24, 30):
            found, expected = best_subset(losses, violations, n), reference.best_subset(losses, violations, n)
            assert len(set(found.tolist())) == len(found) == len(expected)
            # Of equal points any may be chosen.
            rows = [sorted([*losses[i], violations[i]] for i in chosen) for chosen in (found, expected)]
            assert rows[0] == rows[1]


@pytest.mark.parametrize("m", [2, 3, 4])
@pytest.mark.parametrize("largest", [1e-300, 1e150, 1.7e308])
def test_the_scale_of_losses_chooses_nothing(m, largest):
    """Not even where volumes would overflow, as by a penalty for runs that diverged."""
    rng = np.random.default_rng(m)
    losses = rng.random((24, m))
    scale = 2.0 ** np.floor(np.log2(largest))
    np.testing.assert_array_equal(hypervolume_subset(losses * scale, 9), hypervolume_subset(losses, 9))
    mixed = np.vstack([losses, np.full((1, m), largest)])
    assert len(set(hypervolume_subset(mixed, 9).tolist())) == 9


def test_a_penalty_for_diverged_runs_ends_no_search():
    space = Space({name: Integer(0, 9) for name in "abc"})
    strategy = TPE(n_startup=5).setup(space, objectives=3, seed=0)
    for _ in range(60):
        x = strategy.ask()
        strategy.tell(x, np.where(x > 6, 1e300, x * [1.0, -2.0, 3.0]))


def test_subsets_without_a_bound_are_the_first():
    losses = np.array([[0.0, np.inf], [1, 2], [2, 1]])
    assert hypervolume_subset(losses, 2).tolist() == [0, 1]
    assert best_subset(np.empty((0, 2)), np.empty(0), 3).tolist() == []


@pytest.mark.data
@BOTH
def test_beats_random_search_on_measured_networks(gain_over_random_search, multivariate):
    assert gain_over_random_search(TPE(multivariate=multivariate)) > 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_startup": 0}, "n_startup must be at least 1"),
        ({"n_candidates": True}, "n_candidates must be an integer"),
        ({"n_candidates": 2.0}, "n_candidates must be an integer"),
        ({"multivariate": 1}, "multivariate must be True or False"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        TPE(**settings)
