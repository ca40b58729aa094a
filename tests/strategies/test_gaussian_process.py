"""Bayesian optimisation beyond the protocol: scores, schedules, pending trials, acquisitions, measured tables."""

import itertools

import numpy as np
import pytest
from reference.pareto import rank as reference_rank

import nasx
from nasx import Categorical, GaussianProcess, Integer, Space
from nasx.strategies.bayesian.gaussian_process import _last_fit
from nasx.strategies.bayesian.scores import chebyshev, combine, normal_scores, ranks

PLAIN = Space({f"x{j}": Categorical(range(4)) for j in range(5)})
MIXED = Space(
    {
        "op": Categorical("abc"),
        "depth": Integer(0, 6),
        **{f"x{j}": Integer(0, 5, when={"depth": [2, 3, 4, 5, 6]}) for j in range(3)},
    }
)
ACQUISITIONS = pytest.mark.parametrize("acquisition", ["log_ei", "ucb", "thompson"])


def bowl(x):
    return (np.where(x < 0, 4, x - 2) ** 2).sum(axis=1).astype(float)


def run(strategy, losses, n, batch=1):
    asked = []
    for _ in range(n // batch):
        x = strategy.ask(batch)
        strategy.tell(x, losses(x))
        asked.append(x)
    return np.concatenate(asked)


# -- scores --------------------------------------------------------------------------------------------------


def test_ranks_are_in_the_order_of_violations_and_losses():
    rng = np.random.default_rng(0)
    losses = rng.integers(0, 5, 60).astype(float)
    violations = np.where(rng.random(60) < 0.4, rng.integers(0, 4, 60), 0).astype(float)
    violations[::9] = np.inf
    found = ranks(losses, violations)
    assert found.sum() == 60 * 59 / 2
    for i in range(60):
        for k in range(60):
            a, b = ((violations[r], 0 if np.isinf(violations[r]) else losses[r]) for r in (i, k))
            assert (found[i] < found[k]) == (a < b)


def test_scores_see_ranks_alone():
    rng = np.random.default_rng(0)
    losses = rng.random((40, 2))
    scores = normal_scores(losses, np.zeros(40))
    np.testing.assert_array_equal(scores, normal_scores(np.exp(9 * losses), np.zeros(40)))
    np.testing.assert_allclose(scores.mean(axis=0), 0, atol=1e-12)
    assert 0.9 < scores.std() < 1
    assert (normal_scores(np.ones((5, 1)), np.zeros(5)) == 0).all()
    assert normal_scores(np.ones((1, 1)), np.zeros(1)) == 0


def test_minima_of_chebyshev_are_on_the_front():
    rng = np.random.default_rng(1)
    losses = rng.integers(0, 8, (50, 3)).astype(float)
    violations = np.zeros(50)
    front = reference_rank(losses, violations) == 0
    for _ in range(30):
        combined = chebyshev(losses, violations, rng.dirichlet(np.ones(3)))
        assert front[combined.argmin()]


def test_compromises_are_between_values_and_not_between_how_common_they_are():
    t = np.append(
        np.linspace(0, 0.05, 40), np.linspace(0.1, 1, 10)
    )  # most results are at one end of the front
    losses = np.column_stack([t, 1e6 * (1 - t)])
    order, _ = combine(losses, np.zeros(50), np.array([0.5, 0.5]))
    assert t[order.argmin()] == 0.5
    order, _ = combine(losses, np.zeros(50), np.array([0.2, 0.8]))
    assert t[order.argmin()] == 0.8


def test_bad_results_do_not_squeeze_the_front():
    rng = np.random.default_rng(2)
    losses, weights = rng.random((30, 2)), np.array([0.3, 0.7])
    losses[:2] = [[0.0, 1.0], [1.0, 0.0]]  # the ends of the front
    alone = chebyshev(losses, np.zeros(30), weights)
    others = np.array([[1e9, 2.0], [2.0, np.inf], [-5.0, -5.0], [np.inf, np.inf]])
    over = np.append(np.zeros(32), [3.0, np.inf])  # two are bad, one is over a limit, one failed
    found = chebyshev(np.vstack([losses, others]), over, weights)
    np.testing.assert_array_equal(found[:30], alone)
    assert np.isfinite(found).all()
    # One point, and points that are all over a limit.
    assert chebyshev(losses[:1], np.zeros(1), weights) == 0
    np.testing.assert_array_equal(chebyshev(losses, np.ones(30), weights), alone)


# -- the search ----------------------------------------------------------------------------------------------


@ACQUISITIONS
def test_finds_the_minimum_of_a_bowl(acquisition):
    found = [
        bowl(run(GaussianProcess(acquisition=acquisition).setup(MIXED, seed=s), bowl, 60)).min()
        for s in range(3)
    ]
    assert found == [0, 0, 0]


@pytest.mark.parametrize("deviations", [0.0, 1.0, 4.0])
def test_ucb_proposes_the_best_of_the_whole_space(deviations):
    """By definition, over all architectures that are new: mean and deviations of the strategy's own model."""
    strategy = GaussianProcess(acquisition="ucb", deviations=deviations).setup(PLAIN, seed=1)
    told = run(strategy, bowl, 40)
    proposed = strategy.ask()
    whole = PLAIN.enumerate()
    new = whole[~(whole[:, None] == told[None]).all(axis=2).any(axis=1)]
    means, variances = strategy._process.predict(new)
    bounds = means[:, 0] - deviations * np.sqrt(variances)
    mean, variance = strategy._process.predict(proposed)
    assert mean[0, 0] - deviations * np.sqrt(variance[0]) <= bounds.min() + 1e-9


def test_hyperparameters_are_fitted_at_each_result_and_then_a_tenth_apart():
    due = [n for n in range(1, 400) if _last_fit(n) == n]
    assert due[:21] == [*range(1, 21), 22]
    assert all(b - a == max(1, a // 10) for a, b in itertools.pairwise(due))
    assert [_last_fit(n) for n in (1, 5, 23, 24)] == [1, 5, 22, 24]


@pytest.mark.parametrize("objectives", [1, 2])
def test_proposals_depend_on_the_order_of_asks_and_tells_and_not_on_when_the_model_was_asked(objectives):
    """A strategy that learns everything at once proposes what one does that modelled every step."""
    losses = lambda x: np.column_stack([bowl(x), x[:, 0] - x[:, 1]])[:, :objectives]  # noqa: E731
    often, once = (GaussianProcess(n_startup=5).setup(PLAIN, objectives=objectives, seed=2) for _ in range(2))
    x = run(often, losses, 47)
    position, out = often.position, often.ask(4)
    assert position is not None
    once.jump(often.position, np.concatenate([x, out]), x, losses(x))
    for strategy in (often, once):
        strategy.tell(out[2:3], losses(out[2:3]))
    np.testing.assert_array_equal(often.ask(5), once.ask(5))
    often._update(), once._update()
    for a, b in zip(
        often._process.predict(PLAIN.sample(50)), once._process.predict(PLAIN.sample(50)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_results_that_are_out_keep_others_away():
    strategy = GaussianProcess().setup(MIXED, seed=0)
    run(strategy, bowl, 30)
    x = strategy.ask(12)
    assert len(np.unique(x, axis=0)) == 12
    variances = strategy._process.predict(x)[1]
    alone = GaussianProcess().setup(MIXED, seed=0)
    run(alone, bowl, 30)
    alone.ask()
    assert (variances[:-1] < alone._process.predict(x)[1][:-1]).all()
    assert len(strategy._process) == 30 + 11
    strategy.tell(x[5:7], bowl(x[5:7]))
    strategy.ask()
    assert len(strategy._process) == 32 + 10


def test_long_histories_are_modelled_by_the_best_and_the_latest():
    strategy = GaussianProcess(max_points=100).setup(MIXED, seed=0)
    x = np.unique(MIXED.sample(600, seed=1), axis=0)
    x = np.random.default_rng(0).permutation(x)[:400]
    strategy.tell(x, bowl(x))
    proposed = strategy.ask()
    fitted = _last_fit(400)
    assert len(strategy._process) == 100 + 400 - fitted
    members = set(strategy._members)
    assert set(np.argsort(bowl(x[: fitted - 50]), kind="stable")[:50].tolist()) <= members
    assert set(range(fitted - 50, 400)) <= members
    assert bowl(proposed) == 0 < bowl(x).min()


def test_equal_losses_failures_and_one_result_are_survived():
    for failed in (False, True):
        strategy = GaussianProcess(n_startup=1).setup(PLAIN, seed=0)
        for _ in range(15):
            x = strategy.ask(2)
            strategy.tell(x, np.zeros(2), failed=np.full(2, failed))


def test_noisy_objectives_may_be_repeated():
    rng = np.random.default_rng(0)
    strategy = GaussianProcess(allow_repeats=True).setup(PLAIN, seed=0)
    x = run(strategy, lambda x: bowl(x) + rng.normal(0, 0.5, len(x)), 80)
    assert len(np.unique(x, axis=0)) < 80
    assert bowl(x[-20:]).mean() < 3


def test_limits_are_kept_without_many_rejections():
    strategy = GaussianProcess().setup(MIXED, seed=0, cost_violation=lambda x: x[:, 1] - 3.0)
    x = run(strategy, bowl, 60)
    assert (x[:, 1] <= 3).all()
    assert bowl(x).min() == 0
    assert strategy._proposed < 85


@pytest.mark.parametrize("acquisition", ["log_ei", "ehvi", "ucb", "thompson"])
def test_fronts_are_found(acquisition):
    def losses(x):
        return np.column_stack([x.sum(axis=1), np.abs(x - 3).sum(axis=1) + (x[:, 0] == 1)]).astype(float)

    reference = np.array([15.0, 16.0])
    whole = nasx.pareto.hypervolume(losses(PLAIN.enumerate()), reference)
    shares = []
    for strategy in (GaussianProcess(acquisition=acquisition), nasx.RandomSearch()):
        volumes = [
            nasx.pareto.hypervolume(
                losses(run(strategy.setup(PLAIN, objectives=2, seed=s), losses, 60)), reference
            )
            for s in range(3)
        ]
        shares.append(np.mean(volumes) / whole)
    assert shares[0] > 0.97
    assert shares[0] > shares[1]


def test_ehvi_is_for_two_objectives():
    for m in (1, 3):
        with pytest.raises(ValueError, match="acquisition='ehvi' is for two objectives; got"):
            GaussianProcess(acquisition="ehvi").setup(PLAIN, objectives=m)


@pytest.mark.data
def test_beats_random_search_on_measured_networks(gain_over_random_search):
    assert gain_over_random_search(GaussianProcess(), seeds=12) > 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_startup": 0}, "n_startup must be at least 1"),
        ({"n_candidates": 0}, "n_candidates must be at least 1"),
        ({"max_points": 1}, "max_points must be at least 2"),
        ({"acquisition": "ei"}, "acquisition must be 'log_ei' or"),
        ({"kernel": "linear"}, "kernel must be 'matern52' or 'rbf'"),
        ({"deviations": -1.0}, "deviations must be a number of at least 0"),
        ({"deviations": float("nan")}, "deviations must be a number of at least 0"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        GaussianProcess(**settings)
