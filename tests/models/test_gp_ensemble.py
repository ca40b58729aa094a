"""Several Gaussian processes as one, and ranking losses, against slow twins."""

import numpy as np
import pytest
from reference import gaussian_process as reference
from reference import transfer as twin

from nasx import Categorical, Integer, Space
from nasx._core import gaussian_process as native

SPACE = Space({"a": Integer(0, 4), "b": Categorical("pqr"), "c": Categorical("xyz"), "d": Integer(0, 6)})
SHARED = np.array([[True] * 4, [True, False, True, True], [False, True, True, False]])
WEIGHTS = np.array([0.5, 0.3, 0.2])


def processes(sizes=(12, 30, 25), seed=0):
    rng = np.random.default_rng(seed)
    found = []
    for n, shared in zip(sizes, SHARED, strict=True):
        parameters = np.concatenate([rng.normal(0.3, 0.4, 4), [0.2, -2.5]])
        rows = np.where(shared, SPACE.sample(n, seed=n), np.int32(-1))
        y = rng.normal(size=(n, 1))
        process = native.Process(SPACE.cardinalities, SPACE.ordered, "matern52")
        process.set_parameters(parameters)
        process.condition(rows, y)
        model = reference.Model(
            SPACE.cardinalities.tolist(), SPACE.ordered.tolist(), "matern52", parameters, rows, y
        )
        found.append((process, model))
    return [list(each) for each in zip(*found, strict=True)]


def search(parts, weights, shared, seed=3):
    return native.ensemble_search(
        parts,
        weights,
        shared,
        SPACE.cardinalities,
        SPACE.conditions,
        "log_ei",
        -0.5,
        2.0,
        SPACE.sample(2, seed=5),
        200,
        20,
        seed,
        0,
        False,
    )


# -- ranking losses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("levels", [3, 1000])
@pytest.mark.parametrize("n", [1, 2, 3, 17, 40])
def test_ranking_losses_equal_the_pairs_counted_one_by_one(n, levels, held_out):
    rng = np.random.default_rng(n)
    targets = rng.integers(0, levels, n).astype(float)
    values = rng.integers(0, levels, (9, n)).astype(float)
    values[0], values[1] = targets, -targets
    found = native.ranking_losses(values, targets, held_out)
    assert found.tolist() == [twin.ranking_loss(row, targets, held_out) for row in values.tolist()]
    assert found.dtype == np.int64


def test_ranking_losses_are_none_for_the_truth_and_all_pairs_for_its_opposite():
    y = np.arange(50.0)
    assert native.ranking_losses(np.stack([y, y**3, -y]), y, False).tolist() == [0, 0, 50 * 49]
    assert native.ranking_losses(np.stack([y]), y, True).tolist() == [0]


def test_bad_arguments_of_ranking_losses_are_named():
    with pytest.raises(ValueError, match="values must have 3 columns, one for each target; got 2"):
        native.ranking_losses(np.zeros((4, 2)), np.zeros(3), False)
    with pytest.raises(ValueError, match="values must be finite; got nan"):
        native.ranking_losses(np.full((1, 3), np.nan), np.zeros(3), False)
    with pytest.raises(ValueError, match="targets must be finite; got inf"):
        native.ranking_losses(np.zeros((1, 3)), np.array([0.0, np.inf, 1]), True)


# -- leaving one out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [0, 1, 2])
def test_leaving_one_out_is_a_model_without_it(which):
    parts, models = processes()
    mean, variance = native.leave_one_out(parts[which])
    expected = twin.leave_one_out(models[which])
    np.testing.assert_allclose(mean, expected[0], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(variance, expected[1], rtol=1e-8, atol=1e-8)


def test_rows_without_targets_do_not_count_when_one_is_left_out():
    process = processes()[0][0]
    before = native.leave_one_out(process)
    process.append(SPACE.sample(5, seed=99))
    for a, b in zip(native.leave_one_out(process), before, strict=True):
        np.testing.assert_array_equal(a, b)


# -- several as one ------------------------------------------------------------------------------------------


def test_means_and_variances_of_an_ensemble_equal_the_twins():
    parts, models = processes()
    rows = SPACE.sample(31, seed=8)
    mean, variance = native.ensemble_predict(parts, WEIGHTS, SHARED, rows)
    masked = [np.where(shared, rows, -1) for shared in SHARED]
    said = [model.predict(x) for model, x in zip(models, masked, strict=True)]
    np.testing.assert_allclose(mean, sum(w * m for w, (m, _) in zip(WEIGHTS, said, strict=True)), atol=1e-9)
    np.testing.assert_allclose(
        variance, sum(w * w * v for w, (_, v) in zip(WEIGHTS, said, strict=True)), atol=1e-9
    )
    every = np.ones((3, 4), bool)
    mean, variance = native.ensemble_predict(parts, WEIGHTS, every, rows)
    expected = twin.mixture(models, WEIGHTS, rows)
    np.testing.assert_allclose(mean, expected[0], atol=1e-9)
    np.testing.assert_allclose(variance, expected[1], atol=1e-9)


def test_one_process_is_searched_as_it_is_alone():
    parts, _ = processes()
    alone = parts[0].search(
        SPACE.cardinalities, SPACE.conditions, "log_ei", -0.5, 2.0, None, None, SPACE.sample(2, seed=5), 200, 20, 3, 0, False
    )  # fmt: skip
    for weights, count in ((np.ones(1), 1), (np.array([1.0, 0.0]), 2)):
        found = search(parts[:count], weights, SHARED[:count])
        for a, b in zip(found, alone, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_search_finds_what_the_ensemble_prefers_over_the_whole_space():
    parts, _ = processes()
    rows, values = search(parts, WEIGHTS, SHARED)
    every = SPACE.enumerate()
    known = {row.tobytes() for row in parts[0].rows()}
    every = np.array([row for row in every if row.tobytes() not in known])
    mean, variance = native.ensemble_predict(parts, WEIGHTS, SHARED, every)
    expected = native.log_expected_improvement(mean[:, 0].copy(), variance, -0.5)
    assert values[0] == pytest.approx(expected.max())
    np.testing.assert_array_equal(rows[0], every[expected.argmax()])
    assert all(row.tobytes() not in known for row in rows)


@pytest.mark.parametrize(
    ("parts", "weights", "shared", "message"),
    [
        (0, np.ones(0), np.ones((0, 4), bool), "processes is empty"),
        (2, np.ones(1), SHARED[:2], "one entry for each of the 2 processes; got 1 and 2"),
        (2, np.array([1.0, -1]), SHARED[:2], "weights must be finite and at least 0; got -1"),
        (2, np.array([1.0, np.nan]), SHARED[:2], "weights must be finite"),
        (2, np.ones(2), np.ones((2, 3), bool), "shared must have 4 columns, one for each decision; got 3"),
        (2, np.ones(2), np.full((2, 4), 7, np.uint8).view(bool), "shared must hold only True and False"),
    ],
)
def test_bad_ensembles_are_named(parts, weights, shared, message):
    some = processes()[0][:parts]
    with pytest.raises(ValueError, match=message):
        native.ensemble_predict(some, weights, shared, SPACE.sample(3))
    with pytest.raises(ValueError, match=message):
        search(some, weights, shared)


@pytest.mark.parametrize("columns", [0, 3, 5])
def test_rows_of_another_space_are_refused(columns):
    for shared in (SHARED, np.ones_like(SHARED)):
        with pytest.raises(ValueError, match=f"4 decisions; got {columns}"):
            native.ensemble_predict(processes()[0], WEIGHTS, shared, np.zeros((2, columns), np.int32))


def test_the_same_process_twice_and_other_objects_are_refused():
    process = processes()[0][0]
    with pytest.raises(ValueError, match="two of them are the same"):
        native.ensemble_predict([process, process], np.ones(2), SHARED[:2], SPACE.sample(3))
    for other in (None, 3):
        with pytest.raises(TypeError, match="processes must hold nothing but Process; got "):
            native.ensemble_predict([process, other], np.ones(2), SHARED[:2], SPACE.sample(3))
    assert len(process.predict(SPACE.sample(3))[1]) == 3  # it is free again
    with pytest.raises(ValueError, match="acquisition must be 'log_ei' or 'ucb'; got 'log_ehvi'"):
        native.ensemble_search(
            [process], np.ones(1), SHARED[:1], SPACE.cardinalities, SPACE.conditions, "log_ehvi", 0.0, 2.0, SPACE.sample(1), 9, 2, 0, 0, False
        )  # fmt: skip
    other = native.Process(np.array([2], np.int32), np.array([False]), "rbf")
    with pytest.raises(ValueError, match="as many decisions and outputs as the first, 4 and 1; got 1 and 1"):
        native.ensemble_predict([process, other], np.ones(2), SHARED[:2], SPACE.sample(3))
