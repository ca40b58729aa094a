"""Tables as tasks: what they answer, what they refuse, and searches on all of the real ones."""

import pickle

import numpy as np
import pytest

import nasx
from nasx import Categorical, Integer, Space, Task
from nasx.errors import EvaluationError
from nasx.spaces import NASBench201, NASBenchGraph
from nasx.tasks import TabularBenchmark, tables

SPACE = Space({"op": Categorical("abc"), "width": Integer(1, 4, when={"op": ["a", "b"]})})
ROWS = SPACE.enumerate()
ERROR = np.arange(9.0)[::-1] + 1
LATENCY = np.array([4.0, 3, 5, 1, 2, 9, 8, 7, 6])


def make(genotypes=ROWS, metrics=None, **settings):
    metrics = {"error": ERROR, "latency": LATENCY} if metrics is None else metrics
    settings = {"objectives": {"error": "minimize"}} | settings
    return TabularBenchmark(SPACE, genotypes, metrics, **settings)


# -- answers -------------------------------------------------------------------------------------------------


def test_every_row_is_answered_in_any_order():
    table = make()
    order = np.random.default_rng(0).permutation(len(ROWS))
    found = table.evaluate_many(ROWS[order])
    np.testing.assert_array_equal(found["error"], ERROR[order])
    np.testing.assert_array_equal(found["latency"], LATENCY[order])
    for i, row in enumerate(ROWS):
        assert table.evaluate(SPACE.decode(row), seed=i) == {"error": ERROR[i], "latency": LATENCY[i]}
    assert table.evaluate_many(ROWS[:0])["error"].shape == (0,)
    assert isinstance(table, Task)
    assert len(table) == 9


def test_architectures_of_equal_spaces_and_mappings_are_looked_up():
    table = make()
    other = Space(dict(SPACE.decisions))
    assert table.evaluate(other.decode(ROWS[3]), seed=0) == table.evaluate(
        dict(SPACE.decode(ROWS[3])), seed=0
    )
    bigger = Space({"op": Categorical("zab"), "width": Integer(1, 4, when={"op": ["a", "b"]})})
    asked = bigger.encode({"op": "a", "width": 2})
    assert table.evaluate(bigger.decode(asked), seed=0) == {"error": ERROR[1], "latency": LATENCY[1]}


def test_what_is_not_in_the_table_is_named():
    table = make(ROWS[:4], {"error": ERROR[:4]}, name="half")
    with pytest.raises(
        EvaluationError, match=r"half has no row for {'op': 'c'}, genotypes\[1\]; it holds 4 of the space's 9"
    ):
        table.evaluate_many(ROWS[[0, 8, 5]])
    with pytest.raises(EvaluationError, match=r"no row for {'op': 'b', 'width': 1}, genotypes\[0\]"):
        table.evaluate(SPACE.decode(ROWS[4]), seed=0)
    with pytest.raises(ValueError, match=r"genotypes\[0\]: decision 'op' has 3 choices"):
        table.evaluate_many([[3, 0]])
    with pytest.raises(ValueError, match=r"genotypes must have shape \(n, 2\)"):
        table.evaluate_many([[0, 0, 0]])


def test_an_unknown_architecture_is_a_failed_trial():
    table = make(ROWS[:4], {"error": ERROR[:4]})
    result = nasx.search(SPACE, table, evaluations=9)
    assert sorted(trial.state for trial in result.trials) == ["complete"] * 4 + ["failed"] * 5
    assert result.best.metrics == {"error": ERROR[3]}
    assert "table has no row for" in next(t.error for t in result.trials if t.state == "failed")


def test_repetitions_are_averaged_by_default():
    table = make(metrics={"error": np.column_stack([ERROR, ERROR + 3])})
    np.testing.assert_allclose(table.evaluate_many(ROWS)["error"], ERROR + 1.5)
    assert table.evaluate(SPACE.decode(ROWS[0]), seed=1) == table.evaluate(SPACE.decode(ROWS[0]), seed=2)
    np.testing.assert_allclose(table.columns["error"], ERROR + 1.5)


def test_repetitions_are_drawn_together_by_the_seed():
    noise = np.array([0.0, 100, 200, 300])
    metrics = {"error": ERROR[:, None] + noise, "loss": 2 * (ERROR[:, None] + noise), "latency": LATENCY}
    table = make(metrics=metrics, replicates="sample")
    asked = ROWS[np.arange(4000) % 9]
    drawn = table.evaluate_many(asked, seed=5)
    np.testing.assert_array_equal(drawn["loss"], 2 * drawn["error"])
    np.testing.assert_array_equal(drawn["latency"], LATENCY[np.arange(4000) % 9])
    which = ((drawn["error"] - ERROR[np.arange(4000) % 9]) / 100).astype(int)
    assert np.bincount(which, minlength=4).min() > 850
    np.testing.assert_array_equal(table.evaluate_many(asked[:7], seed=5)["error"], drawn["error"][:7])
    assert (table.evaluate_many(asked, seed=6)["error"] != drawn["error"]).any()
    one = SPACE.decode(ROWS[4])
    assert table.evaluate(one, seed=9) == table.evaluate(one, seed=9)
    assert len({table.evaluate(one, seed=seed)["error"] for seed in range(40)}) == 4
    np.testing.assert_allclose(table.columns["error"], ERROR + 150)


def test_repetitions_are_not_tied_to_rows_sampled_with_the_same_seed():
    table = make(metrics={"error": ERROR[:, None] + [0.0, 100, 200]}, replicates="sample")
    rows = SPACE.sample(3000, seed=0)
    drawn = (table.evaluate_many(rows, seed=0)["error"] // 100).astype(int)
    counts = np.array([[((rows[:, 0] == op) & (drawn == r)).sum() for r in range(3)] for op in range(3)])
    assert counts.min() > 250


def test_arguments_are_copied_and_answers_cannot_change_the_table():
    rows, error = ROWS.copy(), ERROR.copy()
    table = make(rows, {"error": error})
    rows[:], error[:] = 0, -1
    table.evaluate_many(ROWS)["error"][:] = 77
    np.testing.assert_array_equal(table.evaluate_many(ROWS)["error"], ERROR)
    for array in (table.genotypes, table.columns["error"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(TypeError):
        table.columns["error"] = ERROR


def test_a_pickled_table_answers_alike():
    table = pickle.loads(pickle.dumps(make()))
    np.testing.assert_array_equal(table.evaluate_many(ROWS)["error"], ERROR)
    assert table.settings == make().settings


# -- costs and the truth -------------------------------------------------------------------------------------


def test_a_metric_as_a_cost_limits_what_is_proposed():
    table = make()
    cost = table.cost("latency")
    np.testing.assert_array_equal(cost(ROWS[::2]), LATENCY[::2])
    assert cost.deterministic
    result = nasx.search(
        SPACE, table, evaluations=9, costs={"ms": cost}, limits={"ms": 5.0}, strategy="random_search"
    )
    assert result.stopped == "exhausted"
    assert sorted(trial.metrics["ms"] for trial in result.trials) == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert result.best.metrics["error"] == ERROR[4]
    with pytest.raises(ValueError, match="unknown metric 'latencies'; did you mean 'latency'"):
        table.cost("latencies")
    with pytest.raises(EvaluationError, match="has no row for"):
        make(ROWS[:2], {"error": ERROR[:2]}).cost("error")(ROWS[2:3])


def test_a_cost_of_a_table_of_all_rows_equals_its_answers():
    space = Space({"a": Integer(1, 4), "b": Categorical("xyz"), "c": Categorical("x")})
    values = np.random.default_rng(0).random(12)
    rows = space.enumerate()
    order = np.random.default_rng(1).permutation(12)
    table = TabularBenchmark(space, rows[order], {"ms": values[order]}, objectives={"ms": "minimize"})
    cost = table.cost("ms")
    many = np.random.default_rng(2).integers(0, space.cardinalities, (9001, 3), dtype=np.int32)
    for asked in (rows, many, many.tolist(), rows[:0]):
        np.testing.assert_array_equal(cost(asked), table.evaluate_many(asked)["ms"])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(cost))(many), cost(many))
    for wrong in ([[0, 3, 0]], [[0, -1, 0]], [[0, 0]], [[0, 0, 1]], [[4, 0, 0]]):
        with pytest.raises(ValueError, match="genotypes"):
            cost(wrong)
    with pytest.raises(TypeError, match="genotypes must hold integers"):
        cost([[0.0, 0.5, 0.0]])


def test_a_journal_with_a_table_and_its_cost_is_resumed_and_checked(tmp_path):
    def run(table, evaluations):
        return nasx.search(
            SPACE,
            table,
            evaluations=evaluations,
            costs={"ms": table.cost("latency")},
            limits={"ms": 8.0},
            journal=tmp_path / "run.db",
        )

    run(make(), 3)
    assert len(run(make(), 6).trials) == 6
    with pytest.raises(nasx.errors.JournalError):
        run(make(metrics={"error": ERROR + 1, "latency": LATENCY}), 8)


def test_fingerprints_tell_tables_apart():
    def fingerprint(**settings):
        return make(**settings).settings["fingerprint"]

    same = fingerprint()
    assert fingerprint() == same
    assert fingerprint(metrics={"error": ERROR.tolist(), "latency": LATENCY}) == same
    others = [
        fingerprint(metrics={"error": ERROR + 1e-9, "latency": LATENCY}),
        fingerprint(metrics={"error": ERROR}),
        fingerprint(metrics={"error": ERROR, "latencies": LATENCY}),
        fingerprint(genotypes=ROWS[::-1]),
    ]
    assert len({same, *others}) == 5
    assert make().settings | {"fingerprint": ""} == {
        "name": "table",
        "metrics": ["error", "latency"],
        "replicates": "mean",
        "fingerprint": "",
    }


def test_the_true_best_and_front():
    both = {"error": "minimize", "latency": "minimize"}
    table = make(objectives=both)
    assert dict(table.best()) == dict(SPACE.decode(ROWS[8]))
    assert dict(table.best({"latency": "maximize"})) == dict(SPACE.decode(ROWS[5]))
    np.testing.assert_array_equal(table.losses(), np.column_stack([ERROR, LATENCY]))
    np.testing.assert_array_equal(
        table.losses({"latency": "maximize", "error": "minimize"}), np.column_stack([-LATENCY, ERROR])
    )
    rows, losses = table.pareto_front()
    dominated = [
        any((other <= loss).all() and (other < loss).any() for other in table.losses())
        for loss in table.losses()
    ]
    np.testing.assert_array_equal(rows, ROWS[~np.array(dominated)])
    np.testing.assert_array_equal(losses, table.losses()[~np.array(dominated)])
    with pytest.raises(ValueError, match="objectives: unknown metric 'eror'; did you mean 'error'"):
        table.best({"eror": "minimize"})


# -- canonical spaces ----------------------------------------------------------------------------------------


def test_a_canonical_space_is_answered_by_the_canonical_row():
    raw, space = NASBench201(), NASBench201(canonical=True)
    rows = raw.enumerate()
    values = np.arange(len(rows), dtype=float)
    table = TabularBenchmark(space, rows, {"value": values}, objectives={"value": "minimize"})
    assert len(table) == 6466
    np.testing.assert_array_equal(table.genotypes, space.enumerate())
    firsts = space.canonicalize(rows) @ (5 ** np.arange(5, -1, -1))
    np.testing.assert_array_equal(table.evaluate_many(rows)["value"], firsts)
    assert table.evaluate(raw.decode(rows[-1]), seed=0) == {"value": float(firsts[-1])}
    other = rows[(space.canonicalize(rows) != rows).any(axis=1)][:5]
    with pytest.raises(ValueError, match=r"none is canonical; give space.canonicalize\(genotypes\)"):
        TabularBenchmark(space, other, {"value": values[:5]}, objectives={"value": "minimize"})


# -- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"genotypes": ROWS[:0]}, ValueError, "genotypes is empty"),
        ({"genotypes": ROWS[:, :1]}, ValueError, r"genotypes must have shape \(n, 2\)"),
        ({"genotypes": ROWS + 1}, ValueError, r"genotypes\[\d\]: decision 'width'"),
        (
            {"genotypes": ROWS[[0, 1, 2, 3, 4, 1, 6, 7, 8]]},
            ValueError,
            r"genotypes\[5\] repeats genotypes\[1\]",
        ),
        ({"genotypes": ROWS * 1.0}, ValueError, "genotypes must be integers"),
        ({"metrics": {}}, ValueError, "metrics is empty"),
        ({"metrics": {"": ERROR}}, ValueError, "names must be non-empty strings; got ''"),
        (
            {"metrics": {"error": ERROR[:5]}},
            ValueError,
            r"must have shape \(9,\) or \(9, replicates\); got \(5,\)",
        ),
        ({"metrics": {"error": np.ones((9, 0))}}, ValueError, r"got \(9, 0\)"),
        ({"metrics": {"error": np.ones((9, 2, 2))}}, ValueError, r"got \(9, 2, 2\)"),
        ({"metrics": {"error": 1.0}}, ValueError, r"got \(\)"),
        (
            {"metrics": {"error": np.where(ERROR == 4, np.nan, 1)}},
            ValueError,
            "must be finite; got nan in row 5",
        ),
        (
            {"metrics": {"error": np.where(ERROR == 9, np.inf, 1)}},
            ValueError,
            "must be finite; got inf in row 0",
        ),
        ({"metrics": {"error": ["x"] * 9}}, TypeError, r"metrics\['error'\] must hold real numbers"),
        ({"metrics": {"error": ERROR * 1j}}, TypeError, "must hold real numbers; got dtype complex128"),
        ({"objectives": {}}, ValueError, "objectives must map metrics to directions"),
        ({"objectives": ["error"]}, ValueError, "objectives must map metrics to directions"),
        ({"objectives": {"eror": "minimize"}}, ValueError, "objectives: unknown metric 'eror'"),
        ({"objectives": {"error": "min"}}, ValueError, "unknown direction 'min'"),
        ({"replicates": "median"}, ValueError, "replicates: unknown choice 'median'"),
    ],
)
def test_bad_tables_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        make(**change)


def test_a_search_on_a_table_refuses_what_it_does_not_hold():
    with pytest.raises(ValueError, match="objectives: unknown metric 'accuracy'"):
        nasx.search(SPACE, make(), evaluations=1, objectives={"accuracy": "maximize"})
    with pytest.raises(ValueError, match="without a spec, which does not say what the network is for"):
        nasx.search(NASBench201(), make(), evaluations=1, costs=["parameters"])


# -- searches on the real tables -----------------------------------------------------------------------------


def mean_best(table, strategy, objective, evaluations=100, seeds=5):
    found = [
        nasx.search(
            table.space,
            table,
            strategy=strategy,
            evaluations=evaluations,
            seed=seed,
            objectives={objective: "maximize"},
        ).best.metrics[objective]
        for seed in range(seeds)
    ]
    return np.mean(found)


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "objective", "space"),
    [
        ("nasbench201", "cifar10_val", NASBench201()),
        ("transnas101_micro", "val/class_scene", None),
        ("nasbench_macro", "cifar10_test", None),
    ],
)
def test_search_on_complete_tables(data_dir, file, objective, space):
    table = tables.read_npz(data_dir / f"{file}.npz", objectives={objective: "maximize"}, space=space)
    assert table.space.size == len(table)
    top = table.columns[objective].max()
    median = np.median(table.columns[objective])
    strategy = nasx.NSGA2(population_size=20)
    for method in ("random_search", strategy):
        assert mean_best(table, method, objective) > median + 0.7 * (top - median)
    assert mean_best(table, strategy, objective, evaluations=400, seeds=2) > top - 0.01 * top


@pytest.mark.data
def test_a_front_of_accuracy_and_latency_is_found(data_dir):
    objectives = {"cifar10_val": "maximize", "latency_ms/1080ti_1": "minimize"}
    table = tables.read_npz(data_dir / "nasbench201.npz", objectives=objectives, space=NASBench201())
    rows, losses = table.pareto_front()
    assert 10 < len(rows) < 500
    np.testing.assert_array_equal(
        losses,
        np.column_stack(
            [-table.evaluate_many(rows)["cifar10_val"], table.evaluate_many(rows)["latency_ms/1080ti_1"]]
        ),
    )
    result = nasx.search(table.space, table, strategy=nasx.NSGA2(population_size=20), evaluations=500)
    found = np.array(
        [[-t.metrics["cifar10_val"], t.metrics["latency_ms/1080ti_1"]] for t in result.pareto_front]
    )
    # Nothing found is better than the truth, and something is as good or nearly.
    for point in found:
        assert (losses <= point).all(axis=1).any()
    assert found[:, 0].min() < losses[:, 0].min() + 0.5


@pytest.mark.data
def test_a_noisy_search_draws_a_seed_of_the_table(data_dir):
    table = tables.read_npz(
        data_dir / "nasbench_macro.npz",
        objectives={"cifar10_test": "maximize"},
        metrics=["cifar10_test"],
        replicates="sample",
    )
    result = nasx.search(table.space, table, strategy="random_search", evaluations=60)
    with np.load(data_dir / "nasbench_macro.npz", allow_pickle=False) as file:
        truth = {
            tuple(row): set(map(float, runs))
            for row, runs in zip(file["genotypes"].tolist(), file["cifar10_test"], strict=True)
        }
    assert all(t.metrics["cifar10_test"] in truth[tuple(t.genotype.tolist())] for t in result.trials)


@pytest.mark.data
@pytest.mark.parametrize("file", ["fbnet_latency", "hwgpt_s"])
def test_search_among_the_rows_of_a_sample_of_a_large_space(data_dir, file):
    if file == "fbnet_latency":
        objectives = {"latency_ms/pixel3": "minimize", "latency_ms/raspi4": "minimize"}
        whole = tables.read_npz(data_dir / f"{file}.npz", objectives=objectives)
    else:
        objectives = {"perplexity": "minimize", "latency_ms/a100": "minimize"}
        whole = tables.read_columns(
            data_dir / f"{file}.npz",
            decisions=["embed_dim", "n_layer", "bias", "n_head", "mlp_ratio"],
            length="n_layer",
            objectives=objectives,
        )
    assert len(whole) < whole.space.size
    with pytest.warns(RuntimeWarning, match="has no row for"):
        nasx.search(whole.space, whole, evaluations=3)
    rows = TabularBenchmark(
        Space({"row": Integer(0, len(whole) - 1)}),
        np.arange(len(whole))[:, None],
        whole.columns,
        objectives=objectives,
    )
    result = nasx.search(rows.space, rows, strategy=nasx.NSGA2(population_size=20), evaluations=200)
    assert all(trial.state == "complete" for trial in result.trials)
    first = next(iter(objectives))
    assert result.best.metrics[first] < np.quantile(whole.columns[first], 0.05)


@pytest.mark.parametrize("dataset", ["arxiv", "cora", "proteins"])
def test_search_on_nas_bench_graph(dataset):
    pytest.importorskip(
        "nas_bench_graph", reason="nas-bench-graph is not installed: pip install 'nasx[tables]'"
    )
    table = tables.nas_bench_graph(dataset)
    assert isinstance(table.space, NASBenchGraph)
    score = table.columns["valid_score"]
    for strategy in ("random_search", nasx.NSGA2(population_size=20)):
        assert mean_best(table, strategy, "valid_score", seeds=3) > np.quantile(score, 0.95)
    both = {"valid_score": "maximize", "latency_ms": "minimize"}
    result = nasx.search(table.space, table, objectives=both, evaluations=150)
    assert all(trial.state == "complete" for trial in result.trials)
    rows, losses = table.pareto_front(both)
    assert len(result.pareto_front) > 1
    assert len(rows) == len(losses) > 1
