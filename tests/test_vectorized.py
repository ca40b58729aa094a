"""Searches that evaluate whole matrices."""

import numpy as np
import pytest

import nasx
from nasx import Integer, Space

SPACE = Space({"a": Integer(0, 49), "b": Integer(0, 49), "c": Integer(0, 3)})
OBJECTIVES = {"error": "minimize", "size": "minimize"}


def one(architecture):
    a, b = architecture["a"], architecture["b"]
    return {"error": (a - 20) ** 2 + b / 10, "size": float(a + b)}


def many(genotypes):
    a, b = genotypes[:, 0].astype(float), genotypes[:, 1].astype(float)
    return {"error": (a - 20) ** 2 + b / 10, "size": a + b}


def search(task, **options):
    arguments = {"objectives": OBJECTIVES, "strategy": "random_search", "evaluations": 200, "seed": 1}
    return nasx.search(SPACE, task, **arguments | options)


def rows(result):
    return [(t.number, tuple(t.genotype), t.state, t.metrics, t.violation) for t in result.trials]


@pytest.mark.parametrize("limits", [None, {"size": 60.0}, {"sum": 50.0}])
def test_matrices_give_what_single_evaluations_give(limits):
    options = {"limits": limits}
    if limits and "sum" in limits:
        options["costs"] = {"sum": lambda x: x[:, :2].sum(axis=1)}
    whole, single = search(many, vectorized=True, **options), search(one, **options)
    assert rows(whole) == rows(single)
    assert whole.best.metrics == single.best.metrics
    assert [t.number for t in whole.pareto_front] == [t.number for t in single.pareto_front]
    assert whole.stopped == "evaluations"
    assert len(whole.complete) == len(single.complete)
    assert whole.spent == 200


def test_with_a_batch_of_one_every_strategy_goes_the_same_way():
    for strategy in ("nsga2", "regularized_evolution", "local_search"):
        whole = search(many, vectorized=True, batch_size=1, strategy=strategy)
        assert rows(whole) == rows(search(one, strategy=strategy))


def test_one_objective_may_come_as_an_array():
    result = search(lambda x: x.sum(axis=1), objectives={"x": "maximize"}, vectorized=True)
    assert result.best.metrics["x"] == max(t.genotype.sum() for t in result.trials)


def test_rows_that_are_not_finite_fail_and_whole_calls_that_raise_too():
    def some(genotypes):
        columns = many(genotypes)
        columns["error"][::7] = np.nan
        columns["size"][::11] = np.inf
        return columns

    result = search(some, vectorized=True, batch_size=50)
    failed = [t for t in result.trials if t.state == "failed"]
    assert len(failed) == 4 * len({*range(0, 50, 7), *range(0, 50, 11)})
    assert any("'error' is nan; it must be a finite number" in t.error for t in failed)
    with pytest.warns(RuntimeWarning, match="all 200 evaluations failed"):
        result = search(lambda x: 1 / 0, vectorized=True)
    assert result.best is None
    assert "ZeroDivisionError" in result.trials[-1].error


def test_rows_without_a_limited_metric_fail_and_are_kept(tmp_path):
    def some(genotypes):
        columns = many(genotypes)
        columns["size"][::3] = np.nan
        columns["size"][1::3] = np.inf
        return columns

    arguments = {"vectorized": True, "limits": {"size": 20}, "batch_size": 25}
    result = search(some, journal=tmp_path / "a.db", **arguments)
    assert {trial.violation for trial in result.trials if trial.state == "failed"} == {0.0}
    assert sum(trial.state == "failed" for trial in result.trials) == 8 * (9 + 8)
    assert result.to_json()
    again = search(some, journal=tmp_path / "a.db", **arguments)
    assert [trial.to_dict() for trial in again.trials] == [trial.to_dict() for trial in result.trials]


def test_functions_may_work_in_place():
    def turned(genotypes):
        first = genotypes[:, 0].copy()
        genotypes[:] = -1
        return first.astype(float)

    result = search(turned, objectives={"x": "maximize"}, vectorized=True)
    assert all(trial.metrics["x"] == trial.genotype[0] for trial in result.trials)


@pytest.mark.parametrize("replicates", ["mean", "sample"])
def test_what_a_table_lacks_fails_alone(replicates):
    space = nasx.Space({name: nasx.Integer(0, 9) for name in "abc"})
    rows = space.enumerate()
    rows = rows[rows.sum(axis=1) != 13]
    loss = rows.sum(axis=1)[:, None] + np.array([0.0, 0.25])
    table = nasx.tasks.TabularBenchmark(
        space, rows, {"loss": loss}, objectives={"loss": "minimize"}, replicates=replicates
    )
    result = nasx.search(space, table, strategy="random_search", evaluations=320, vectorized=True)
    failed = [trial.state == "failed" for trial in result.trials]
    assert failed == [trial.genotype.sum() == 13 for trial in result.trials]
    assert 0 < sum(failed) < 100
    assert all("has no row for" in trial.error for trial in result.trials if trial.state == "failed")
    for trial in result.trials:
        if trial.state == "complete":
            assert 0 <= trial.metrics["loss"] - trial.genotype.sum() <= 0.25


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (lambda x: np.zeros(3), "must return a dict with error, size; got ndarray"),
        (lambda x: {"error": np.zeros(len(x))}, "no metric 'size'; it gave error"),
        (lambda x: {"error": np.zeros(len(x)), "size": [1.0]}, r"'size' must have shape \(64,\)"),
    ],
)
def test_wrong_answers_are_named(task, message):
    with pytest.warns(RuntimeWarning, match=message):
        search(task, vectorized=True)


def test_stopped_and_resumed_equals_never_stopped(tmp_path):
    options = {"vectorized": True, "strategy": nasx.NSGA2(population_size=20)}
    whole = search(many, **options)
    for evaluations in (10, 64, 100, 128, 200):
        result = search(many, journal=tmp_path / "run.db", **options | {"evaluations": evaluations})
        assert len(result.trials) == evaluations
    assert {r[0]: r for r in rows(nasx.Result.load(tmp_path / "run.db"))} == {r[0]: r for r in rows(result)}
    assert len({tuple(t.genotype) for t in result.trials}) == 200
    assert len(whole.trials) == 200


def test_a_space_that_runs_out_time_that_runs_out_and_callbacks():
    space = Space({"a": Integer(0, 9)})
    objectives = {"x": "minimize"}
    result = nasx.search(space, lambda x: x[:, 0], objectives=objectives, evaluations=99, vectorized=True)
    assert (result.stopped, len(result.trials)) == ("exhausted", 10)
    result = search(many, vectorized=True, evaluations=None, seconds=0.05)
    assert result.stopped in ("seconds", "exhausted")
    seen = []

    def stop(result, trial):
        seen.append(trial.number)
        if len(seen) == 70:
            raise nasx.StopSearch

    assert search(many, vectorized=True, callbacks=[stop]).stopped == "callback"
    assert seen == list(range(70))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 2}, "leave workers"),
        ({"replicates": 2}, "evaluates each row once"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"strategy": nasx.ASHA(max_budget=9)}, "gives budgets"),
    ],
)
def test_bad_combinations_are_named(options, message):
    def task(genotypes, budget=None):
        return many(genotypes)

    with pytest.raises(ValueError, match=message):
        search(task, vectorized=True, **options)


def test_a_task_for_single_architectures_is_named():
    class Single(nasx.Task):
        spec = None
        settings = {}  # noqa: RUF012

        def evaluate(self, architecture, *, seed, device=None, budget=None, report=None):
            return {"error": 0.0}

    with pytest.raises(TypeError, match="Single evaluates one architecture at a time"):
        nasx.search(SPACE, Single(), evaluations=3, vectorized=True)


@pytest.mark.data
def test_a_measured_table_with_limits_on_its_own_costs(data_dir):
    space = nasx.spaces.NASBench201()
    table = nasx.tasks.tables.read_npz(
        data_dir / "nasbench201.npz", space=space, objectives={"cifar10_val": "maximize"}
    )
    limit = float(np.median(table.columns["latency_ms/1080ti_1"]))
    result = nasx.search(
        space,
        table,
        strategy="regularized_evolution",
        evaluations=1000,
        costs={"latency_ms/1080ti_1": table.cost("latency_ms/1080ti_1")},
        limits={"latency_ms/1080ti_1": limit},
        vectorized=True,
    )
    assert all(t.metrics["latency_ms/1080ti_1"] <= limit for t in result.trials)
    assert result.best.metrics["cifar10_val"] > 75
