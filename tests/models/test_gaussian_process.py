"""Gaussian processes against a textbook twin, on every CPU level and number of threads, and bad calls."""

import copy
import math
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from reference import gaussian_process as reference

import nasx
from nasx import Boolean, Categorical, Integer, Ordinal, Space
from nasx._core import gaussian_process as native
from nasx.models import GaussianProcess

CONDITIONAL = Space(
    {
        "a": Integer(0, 7),
        "b": Categorical("pqrs"),
        "c": Integer(0, 5, when={"b": ["p", "q"]}),
        "d": Boolean(when={"c": [0, 1, 2]}),
        "e": Ordinal([1, 2, 4, 8, 16]),
        "f": Categorical("z"),
        "g": Integer(3, 3),
    }
)
PLAIN = Space({f"x{j}": Categorical(range(3 + j)) for j in range(5)})
ORDERED = Space({f"x{j}": Integer(0, 4) for j in range(37)})  # more than are multiplied before an exponential
SPACES = pytest.mark.parametrize(
    "space", [CONDITIONAL, PLAIN, ORDERED], ids=["conditional", "plain", "ordered"]
)
KERNELS = pytest.mark.parametrize("kernel", ["matern52", "rbf"])
SIZES = pytest.mark.parametrize("n", [1, 2, 11, 12, 13, 24, 25, 49, 100, 251])


def problem(space, n, kernel="matern52", outputs=2, seed=0):
    rng = np.random.default_rng(seed)
    parameters = np.concatenate([rng.normal(0.5, 0.5, len(space)), [0.3, -2.0]])
    x, y = space.sample(n, seed=seed), rng.normal(size=(n, outputs))
    twin = reference.Model(space.cardinalities.tolist(), space.ordered.tolist(), kernel, parameters, x, y)
    process = native.Process(space.cardinalities, space.ordered, kernel)
    process.set_parameters(parameters)
    return process, twin, parameters, x, y


def same(process, twin, rows):
    means, variances = process.predict(rows)
    expected = twin.predict(rows)
    np.testing.assert_allclose(means, expected[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(variances, expected[1], rtol=1e-9, atol=1e-9)


# -- one step at a time --------------------------------------------------------------------------------------


@SPACES
@KERNELS
@SIZES
def test_covariance_and_posterior_equal_the_twins(space, kernel, n):
    process, twin, _, x, y = problem(space, n, kernel)
    np.testing.assert_allclose(process.prior_covariance(x), twin.covariance(x, x), rtol=1e-13, atol=0)
    process.condition(x, y)
    same(process, twin, space.sample(29, seed=9))
    assert process.log_likelihood() == pytest.approx(twin.log_likelihood(), rel=1e-10)


@SPACES
@KERNELS
@pytest.mark.parametrize("n", [1, 12, 40, 251])
@pytest.mark.parametrize("outputs", [1, 3])
def test_value_and_gradient_of_the_objective(space, kernel, n, outputs):
    process, twin, parameters, x, y = problem(space, n, kernel, outputs)
    for priors in (False, True):
        value, gradient = process.objective(x, y, parameters, priors)
        expected = -twin.log_likelihood()
        if priors:
            expected -= reference.log_prior(parameters, space.ordered)
        assert value == pytest.approx(expected, rel=1e-10)
        step = 1e-5
        for p in range(len(parameters)):
            moved = [parameters + sign * step * (np.arange(len(parameters)) == p) for sign in (1, -1)]
            up, down = (process.objective(x, y, at, priors)[0] for at in moved)
            assert gradient[p] == pytest.approx((up - down) / (2 * step), rel=1e-4, abs=1e-5)


@SPACES
@pytest.mark.parametrize("n", [2, 13, 60, 131])
def test_rows_that_come_and_go(space, n):
    process, _, parameters, x, y = problem(space, n)
    z = space.sample(20, seed=5)
    process.condition(x[: n // 2], y[: n // 2])
    process.append(x[n // 2 :])
    process.set_targets(y)

    def check(kept):
        names = space.cardinalities.tolist(), space.ordered.tolist(), "matern52"
        same(process, reference.Model(*names, parameters, x[kept], y[kept]), z)
        np.testing.assert_array_equal(process.rows(), x[kept])
        np.testing.assert_array_equal(process.targets(), y[kept])

    kept = list(range(n))
    check(kept)
    rng = np.random.default_rng(n)
    while len(kept) > max(1, n - 12):
        i = int(rng.integers(len(kept))) if len(kept) % 3 else len(kept) - 1
        process.drop(i)
        kept.pop(i)
        check(kept)
    process.truncate(1)
    check(kept[:1])
    process.drop(0)
    assert len(process) == 0
    means, variances = process.predict(z)
    assert (means == 0).all()
    np.testing.assert_allclose(variances, math.exp(0.3), rtol=1e-12)


def test_rows_without_targets_take_variance_and_leave_means():
    process, twin, parameters, x, y = problem(CONDITIONAL, 30)
    process.condition(x, y)
    z = CONDITIONAL.sample(50, seed=5)
    process.append(z[:7])
    means, variances = process.predict(z)
    np.testing.assert_allclose(means, twin.predict(z)[0], rtol=1e-9, atol=1e-9)
    believed = np.concatenate([y, twin.predict(z[:7])[0]])
    names = CONDITIONAL.cardinalities.tolist(), CONDITIONAL.ordered.tolist(), "matern52"
    believer = reference.Model(*names, parameters, np.concatenate([x, z[:7]]), believed)
    expected = believer.predict(z)
    np.testing.assert_allclose(means, expected[0], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(variances, expected[1], rtol=1e-8, atol=1e-9)


def test_rows_added_and_removed_leave_no_trace():
    process, _, _, x, y = problem(PLAIN, 40)
    process.condition(x, y)
    z = PLAIN.sample(30, seed=7)
    before = process.predict(z)
    process.append(z)
    process.truncate(40)
    for a, b in zip(before, process.predict(z), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("outputs", [1, 3])
def test_targets_that_follow_others_are_the_same_to_the_bit(outputs):
    process, _, _, x, y = problem(PLAIN, 61, outputs=outputs)
    z = PLAIN.sample(30, seed=7)

    def compare(k):
        """With the same rows, whose first k targets are set without a history: others were before."""
        again = pickle.loads(pickle.dumps(process))
        again.set_targets(-1 - y[:k])
        again.set_targets(y[:k])
        for a, b in zip(process.predict(z), again.predict(z), strict=True):
            np.testing.assert_array_equal(a, b)

    process.condition(x[:20], y[:20])
    for n in (21, 35, 36):
        process.append(x[len(process) : n])
        process.set_targets(y[:n])
        compare(n)
    process.append(x[36:])
    for k in (40, 41, 61, 30, 50):
        process.set_targets(y[:k])
        compare(k)
    process.set_targets(np.roll(y[:50], 1, axis=0))
    process.set_targets(y[:61])
    compare(61)
    process.set_targets(y[:30])
    process.drop(45)
    x, y = np.delete(x, 45, axis=0), np.delete(y, 45, axis=0)
    process.set_targets(y[:55])
    compare(55)
    process.set_targets(y[:, :1].copy())
    np.testing.assert_array_equal(process.targets(), y[:, :1])


def test_equal_rows_are_no_trouble():
    process = native.Process(PLAIN.cardinalities, PLAIN.ordered, "matern52")
    x = np.repeat(PLAIN.sample(2, seed=0), 20, axis=0)
    process.set_parameters(np.array([0.0] * 5 + [0.0, math.log(1e-6)]))
    process.condition(x[:30], np.zeros((30, 1)))
    process.append(x[30:])
    process.set_targets(np.repeat([[1.0], [2.0]], 20, axis=0))
    means, variances = process.predict(x)
    np.testing.assert_allclose(means[:, 0], np.repeat([1.0, 2.0], 20), atol=1e-3)
    assert np.isfinite(variances).all()
    assert (variances > 0).all()


def test_a_covariance_that_is_not_positive_definite_gets_noise():
    process = native.Process(PLAIN.cardinalities, PLAIN.ordered, "matern52")
    process.set_parameters(np.array([0.0] * 5 + [0.0, -80.0]))
    process.condition(np.repeat(PLAIN.sample(1), 50, axis=0), np.ones((50, 1)))
    assert process.parameters()[-1] > -45
    assert process.predict(PLAIN.sample(1))[0][0, 0] == pytest.approx(1, abs=1e-3)


def test_draws_have_the_posterior_mean_and_covariance():
    process, twin, _, x, y = problem(CONDITIONAL, 25, outputs=1)
    process.condition(x, y)
    z = CONDITIONAL.sample(14, seed=5)
    drawn = process.sample(z, 60_000, 3, 0, 0)
    covariance = twin.posterior_covariance(z)
    error = np.sqrt(covariance.diagonal() / len(drawn))
    assert (np.abs(drawn.mean(axis=0) - twin.predict(z)[0][:, 0]) < 5 * error).all()
    assert np.abs(np.cov(drawn.T) - covariance).max() < 0.03 * covariance.max()
    np.testing.assert_array_equal(process.sample(z, 3, 3, 0, 2), drawn[2:5])


@pytest.mark.parametrize("level", ["baseline", ""])
@pytest.mark.parametrize("threads", ["1", "2"])
def test_every_cpu_level_and_number_of_threads(level, threads, tmp_path):
    """A fit and what follows from it, large enough for threads; threads change nothing at all."""
    code = """
import sys, numpy as np, nasx
from nasx.models import GaussianProcess
nasx.set_num_threads(int(sys.argv[1]))
rng = np.random.default_rng(0)
x = rng.integers(-1, 4, (420, 9)).astype(np.int32)
y = (x[:, 0] == 1) + np.sin(x[:, 1:4]).sum(axis=1) + rng.normal(0, 0.1, 420)
ordered = np.arange(9) % 2 == 1
model = GaussianProcess(ordered=ordered, cardinalities=[4] * 9, starts=1).fit(x[:400], y[:400])
model.append(x[400:], y[400:])
mean, variance = model.predict(x[:100, ::-1].copy())
np.save(sys.argv[2], np.concatenate([mean, variance, model.length_scales, model.sample(x[:9])[0]]))
"""
    found = []
    for environment, n in (({"NASX_SIMD": level} if level else {}, threads), ({}, "1")):
        path = tmp_path / f"{len(found)}.npy"
        arguments = [sys.executable, "-c", code, n, str(path)]
        subprocess.run(arguments, check=True, env={**os.environ, **environment})
        found.append(np.load(path))
    if level:
        np.testing.assert_allclose(found[0], found[1], rtol=2e-3, atol=2e-3)
    else:
        np.testing.assert_array_equal(found[0], found[1])


# -- acquisition functions -----------------------------------------------------------------------------------


def test_expected_improvement_near_and_far():
    rng = np.random.default_rng(0)
    means, variances = rng.normal(size=200), rng.random(200) + 0.01
    found = native.log_expected_improvement(means, variances, -0.5)
    expected = [
        reference.expected_improvement(m, math.sqrt(v), -0.5) for m, v in zip(means, variances, strict=True)
    ]
    np.testing.assert_allclose(found, np.log(expected), rtol=1e-9, atol=1e-9)


def test_expected_improvement_is_smooth_where_it_underflows():
    mpmath = pytest.importorskip("mpmath")
    z = np.array([-3.0, -10, -24.999, -25.001, -30, -60, -1e3, -1e8])
    found = native.log_expected_improvement(-z, np.ones(len(z)), 0.0)
    with mpmath.workdps(60):
        for value, x in zip(found, z.tolist(), strict=True):
            if x > -1e3:
                exact = mpmath.log(mpmath.npdf(x) + mpmath.mpf(x) * mpmath.ncdf(x))
                assert value == pytest.approx(float(exact), rel=1e-11)
    assert (np.diff(found) < 0).all()
    assert np.isfinite(found).all()


def test_expected_area_equals_the_twins():
    rng = np.random.default_rng(1)
    points = rng.random((12, 2)) * 2 - 1
    reference_point = np.array([1.0, 0.8])
    for means, variance in (([0.0, 0.0], 0.04), ([-0.8, -0.9], 0.3), ([1.5, 0.5], 1.0)):
        arguments = np.array([means]), np.array([variance]), points, reference_point
        found = native.log_expected_area(*arguments)[0]
        expected = reference.expected_area(np.array(means), math.sqrt(variance), points, reference_point)
        assert math.exp(found) == pytest.approx(expected, rel=1.5e-2)


def test_expected_area_without_points_is_a_product():
    means, variance = np.array([[0.3, -0.2]]), np.array([0.25])
    found = native.log_expected_area(means, variance, np.empty((0, 2)), np.array([1.0, 2.0]))[0]
    parts = [
        native.log_expected_improvement(means[:, k].copy(), variance, r)[0] for k, r in ((0, 1.0), (1, 2.0))
    ]
    assert found == pytest.approx(sum(parts), rel=1e-12)


def test_expected_area_far_away_stays_finite_and_in_order():
    points, reference_point = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([2.0, 2.0])
    means = np.array([[float(k), float(k)] for k in (1, 3, 10, 40)])
    found = native.log_expected_area(means, np.full(4, 0.01), points, reference_point)
    assert np.isfinite(found).all()
    assert (np.diff(found) < 0).all()


# -- the model of the package --------------------------------------------------------------------------------


def additive(n, seed=0, noise=0.05):
    rng = np.random.default_rng(seed)
    space = Space({f"x{j}": Categorical("abcd") for j in range(6)})
    weights = rng.normal(size=(6, 4)) * (np.arange(6) < 3)[:, None]
    x = np.unique(space.sample(2 * n, seed=seed), axis=0)
    x = rng.permutation(x)[:n]
    return x, weights[np.arange(6), x].sum(axis=1) + rng.normal(0, noise, n)


def test_a_fit_learns_what_matters_and_generalises():
    x, y = additive(300)
    model = GaussianProcess().fit(x[:200], 1e6 + 1e3 * y[:200])
    mean, variance = model.predict(x[200:])
    truth = 1e6 + 1e3 * y[200:]
    assert np.corrcoef(mean, truth)[0, 1] > 0.97
    assert model.length_scales[:3].max() < model.length_scales[3:].min()
    z = (truth - mean) / np.sqrt(variance + model.noise * np.var(1e3 * y[:200]))
    assert 0.5 < z.std() < 1.6


@pytest.mark.parametrize("priors", [True, False])
@pytest.mark.parametrize(("n", "start_rows"), [(40, 256), (300, 256), (300, 40), (40, 0)])
def test_a_fit_is_at_least_as_likely_as_scipy_finds(n, start_rows, priors):
    optimize = pytest.importorskip("scipy.optimize")
    x, y = additive(n)
    y = (y - y.mean()) / y.std()
    process = native.Process(np.full(6, 4, np.int32), np.zeros(6, bool), "matern52")
    start = process.parameters()
    process.fit(x, y[:, None], priors, 3, start_rows, 100, 1e-3)
    found = process.objective(x, y[:, None], process.parameters(), priors)[0]
    bounds = [(math.log(1e-2), math.log(1e5))] * 6 + [
        (math.log(1e-3), math.log(1e3)),
        (math.log(1e-6), math.log(1e2)),
    ]
    best = optimize.minimize(
        lambda p: process.objective(x, y[:, None], p, priors), start, jac=True, bounds=bounds
    ).fun
    assert found < best + 0.05


def test_a_fit_of_ordered_decisions_finds_what_few_rows_do_not_tell():
    """A third of the rows explains by noise what all explain by short lengths: another summit."""
    rng = np.random.default_rng(303)
    x = rng.integers(0, 5, (300, 3)).astype(np.int32)
    weights = rng.normal(size=(3, 5)).cumsum(axis=1) / [[1], [2], [3]]
    y = weights[np.arange(3), x].sum(axis=1) + 0.5 * np.sin(x[:, 0] * x[:, 1]) + rng.normal(0, 0.1, 300)
    y = (y - y.mean()) / y.std()
    found = []
    for start_rows in (96, 0):
        process = native.Process(np.full(3, 5, np.int32), np.ones(3, bool), "matern52")
        process.fit(x, y[:, None], True, 2, start_rows, 50, 1e-2)
        found.append(process.objective(x, y[:, None], process.parameters(), True)[0])
    assert found[0] < found[1] + 0.1


def test_append_and_drop_are_those_of_a_new_model():
    x, y = additive(80)
    model = GaussianProcess().fit(x[:60], y[:60])
    expected = model.predict(x)
    model.append(x[60:], y[60:])
    assert len(model) == 80
    assert (model.predict(x).variance[60:] < expected.variance[60:]).all()
    for _ in range(20):
        model.drop(60)
    for found, before in zip(model.predict(x), expected, strict=True):
        np.testing.assert_allclose(found, before, rtol=1e-7, atol=1e-9)


def test_several_targets_share_the_hyperparameters():
    x, y = additive(60)
    both = GaussianProcess().fit(x, np.column_stack([y, 5 - 3 * y]))
    mean, variance = both.predict(x[:7])
    assert mean.shape == variance.shape == (7, 2)
    np.testing.assert_allclose(5 - 3 * mean[:, 0], mean[:, 1], rtol=1e-9)
    np.testing.assert_allclose(9 * variance[:, 0], variance[:, 1], rtol=1e-9)


def test_copies_and_pickles_say_the_same():
    x, y = additive(50)
    model = GaussianProcess().fit(x[:40], y[:40]).append(x[40:], y[40:])
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for a, b in zip(model.predict(x), again.predict(x), strict=True):
            np.testing.assert_array_equal(a, b)
        assert again.log_marginal_likelihood == model.log_marginal_likelihood
    model.drop(0)
    assert len(again) == 50


def test_constant_targets_and_a_single_row():
    for n in (1, 9):
        mean, variance = GaussianProcess().fit(PLAIN.sample(n), np.full(n, 7.0)).predict(PLAIN.sample(20))
        np.testing.assert_allclose(mean, 7)
        assert np.isfinite(variance).all()


def test_inputs_are_not_modified():
    x, y = additive(30)
    kept = x.copy(), y.copy()
    model = GaussianProcess().fit(x, y).append(x, y)
    model.predict(x)
    np.testing.assert_array_equal(x, kept[0])
    np.testing.assert_array_equal(y, kept[1])
    before = model.predict(x[:3]).mean
    x[:], y[:] = 0, 0
    np.testing.assert_array_equal(model.predict(kept[0][:3]).mean, before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: GaussianProcess(kernel="cubic"), "kernel must be"),
        (lambda x, y: GaussianProcess(starts=0), "starts must be"),
        (lambda x, y: GaussianProcess().fit(x[0], y), "genotypes must have two dimensions"),
        (lambda x, y: GaussianProcess().fit(x, y[:3]), "y must have one row for each"),
        (lambda x, y: GaussianProcess().fit(x, y * np.nan), "y must be finite"),
        (lambda x, y: GaussianProcess().fit(x[:0], y[:0]), "genotypes is empty"),
        (lambda x, y: GaussianProcess().fit(x - 5, y), "choices must be at least -1"),
        (lambda x, y: GaussianProcess(ordered=[True]).fit(x, y), "ordered must have one value"),
        (lambda x, y: GaussianProcess(cardinalities=[2]).fit(x, y), "cardinalities must have one value"),
        (lambda x, y: GaussianProcess(cardinalities=[0] * 6).fit(x, y), "cardinalities must be at least 1"),
        (
            lambda x, y: GaussianProcess(ordered=[True] * 6, cardinalities=[2] * 6).fit(x, y),
            "below 2",
        ),
        (lambda x, y: GaussianProcess().fit(x, y).predict(x[:, :2]), "one column for each"),
        (
            lambda x, y: GaussianProcess().fit(x, y).append(x, np.column_stack([y, y])),
            "y must have 1 columns",
        ),
        (lambda x, y: GaussianProcess().fit(x, y).drop(30), "index must be below"),
        (lambda x, y: GaussianProcess().fit(x, y).sample(x, -1), "n must be at least 0"),
    ],
)
def test_bad_calls_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*additive(30))


def test_fit_comes_first():
    for call in (
        lambda m: m.predict([[0]]),
        lambda m: m.append([[0]], [0.0]),
        lambda m: m.drop(0),
        lambda m: m.length_scales,
    ):
        with pytest.raises(RuntimeError, match="call fit"):
            call(GaussianProcess())
    assert len(GaussianProcess()) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, x: p.set_parameters(np.zeros(3)), "parameters must have 7 numbers"),
        (lambda p, x: p.set_parameters(np.full(7, np.nan)), "parameters must be logarithms"),
        (lambda p, x: p.condition(x, np.zeros((3, 1))), "targets must have 10 rows"),
        (lambda p, x: p.condition(x, np.full((10, 1), np.inf)), "targets must be finite"),
        (lambda p, x: p.truncate(11), "size must be at most 10"),
        (lambda p, x: p.drop(10), "i must be below 10"),
        (lambda p, x: p.set_targets(np.zeros((11, 1))), "targets must have at most 10 rows"),
        (lambda p, x: search(p, x, acquisition="best"), "acquisition must be"),
        (lambda p, x: search(p, x, acquisition="log_ehvi"), "reference must be a NumPy array"),
        (lambda p, x: search(p, x[:, :3].copy()), "starts must have one column"),
        (lambda p, x: native.log_expected_improvement(np.zeros(2), np.ones(3), 0.0), "must have one length"),
    ],
)
def test_bad_native_calls_are_named(call, message):
    process, _, _, x, y = problem(PLAIN, 10, outputs=1)
    process.condition(x, y)
    with pytest.raises((ValueError, TypeError), match=message):
        call(process, x)


def search(process, starts, acquisition="log_ei", space=PLAIN, **rest):
    settings = {"best": 0.0, "deviations": 2.0, "points": None, "reference": None, "random": 50}
    settings |= {"wanted": 30, "seed": 1, "first": 0, "repeats": False, **rest}
    return process.search(space.cardinalities, space.conditions, acquisition, starts=starts, **settings)


@pytest.mark.parametrize("space", [CONDITIONAL, PLAIN], ids=["conditional", "plain"])
def test_a_search_finds_what_looking_everywhere_finds(space):
    process, _, _, x, y = problem(space, 30, outputs=1)
    process.condition(x, y)
    everything = space.enumerate()
    means, variances = process.predict(everything)
    values = native.log_expected_improvement(means[:, 0].copy(), variances, -0.5)
    known = nasx.population.GenotypeSet(len(space), x).contains(everything)
    values[known] = -np.inf
    rows, found = search(process, x[:3], best=-0.5, space=space, random=500)
    assert found[0] == pytest.approx(values.max(), rel=1e-9)
    assert (np.diff(found) <= 0).all()
    assert not nasx.population.GenotypeSet(len(space), x).contains(rows).any()
    np.testing.assert_array_equal(space.check(rows), rows)
    assert len(np.unique(rows, axis=0)) == len(rows)
    again, _ = search(process, x[:3], best=-0.5, space=space, random=500)
    np.testing.assert_array_equal(rows, again)


def test_a_search_may_repeat_what_is_known():
    process, _, _, x, y = problem(PLAIN, 30, outputs=1)
    process.condition(x, y)
    rows, _ = search(process, x[:3], acquisition="ucb", deviations=0.0, repeats=True, wanted=1000)
    assert nasx.population.GenotypeSet(len(PLAIN), x).contains(rows).any()


def test_an_acquisition_of_two_losses_needs_two():
    process, _, _, x, y = problem(PLAIN, 10, outputs=1)
    process.condition(x, y)
    points, worst = np.zeros((1, 2)), np.ones(2)
    with pytest.raises(ValueError, match="needs 2 columns of targets; got 1"):
        search(process, x, acquisition="log_ehvi", points=points, reference=worst)


def test_targets_whose_variance_overflows_are_refused():
    model = GaussianProcess()
    with pytest.raises(ValueError, match="y must be within"):
        model.fit([[0], [1]], [1e160, -1e160])
    mean, variance = model.fit([[0], [1], [2]], [1e150, -1e150, 1e150]).predict([[0], [1]])
    assert np.isfinite(mean).all()
    assert np.isfinite(variance).all()
