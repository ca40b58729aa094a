"""`nasx.compare`: scores, curves, statistics, and what it does when things go wrong."""

import dataclasses
import gc
import json
import math
import os
import pty
import signal
import subprocess
import sys

import numpy as np
import pytest
import reference.pareto as twin

import nasx
from nasx import Categorical, Integer, SampledStrategy, Space

ERROR = {"error": "minimize"}
BOTH = {"error": "minimize", "speed": "maximize"}
# What the ten architectures of LINE are worth: for seeds 0 and 1 the two walks below see known stretches.
LINE = Space({"a": Integer(0, 9)})
VALUES = [7.0, 5.0, 6.0, 3.0, 8.0, 9.0, 4.0, 2.0, 1.0, 0.0]


@dataclasses.dataclass(kw_only=True, eq=False)
class Walk(SampledStrategy):
    """Propose 0, 1, 2, ... from `start` + 2 * seed on."""

    start: int = 0

    def _start(self):
        pass

    def _propose(self, n, first):
        numbers = self.start + 2 * self.seed + first + np.arange(n)
        return (numbers % 10).astype(np.int32)[:, None]

    def _observe(self, x, losses, violations):
        pass


def value(architecture):
    return {
        "error": VALUES[architecture["a"]],
        "speed": float(architecture["a"]),
        "test": -VALUES[architecture["a"]],
    }


WALKS = {"low": Walk(), "high": Walk(start=4)}


@pytest.fixture(scope="module")
def walked():
    """Low sees 7 5 6, 6 3 8 and 8 9 4; high sees 8 9 4, 4 2 1 and 1 0 7."""
    return nasx.compare(
        LINE, value, WALKS, objectives=ERROR, evaluations=3, seeds=3, metrics=["test", "speed"]
    )


def test_scores_and_curves_by_hand(walked):
    np.testing.assert_array_equal(walked.runs["low"].curves, [[7, 5, 5], [6, 3, 3], [8, 8, 4]])
    np.testing.assert_array_equal(walked.runs["high"].curves, [[8, 8, 4], [4, 2, 1], [1, 0, 0]])
    np.testing.assert_array_equal(walked.runs["low"].scores, [5, 3, 4])
    assert [one["a"] for one in walked.runs["low"].chosen] == [1, 3, 6]
    assert walked.seeds == (0, 1, 2)
    assert walked.runs["high"].strategy == {"name": "Walk", "settings": {"start": 4, "allow_repeats": False}}


def test_statistics_by_hand(walked):
    summary = walked.summary()
    assert list(summary) == ["high", "low"]
    low, high = summary["low"], summary["high"]
    assert (low.mean, low.median, low.best) == (4.0, 4.0, 3.0)
    assert low.standard_error == pytest.approx(1 / math.sqrt(3))
    assert high.mean == pytest.approx(5 / 3)
    assert (high.median, high.best) == (1.0, 0.0)
    assert high.standard_error == pytest.approx(math.sqrt((49 + 4 + 25) / 9 / 2 / 3))
    pair = walked.versus("high", "low")
    assert pair.difference == pytest.approx(7 / 3)
    assert pair.standard_error == pytest.approx(math.hypot(low.standard_error, high.standard_error))
    assert pair.z == pytest.approx(pair.difference / pair.standard_error)
    assert walked.versus("low", "high") == pair.flipped
    assert [pair] == walked.pairs()


def test_other_metrics_are_reported_and_choose_nothing(walked):
    np.testing.assert_array_equal(walked.runs["low"].metrics["test"], [-5, -3, -4])
    mean, error = walked.summary()["low"].metrics["speed"]
    assert mean == pytest.approx(10 / 3)
    assert error == pytest.approx(np.std([1, 3, 6], ddof=1) / math.sqrt(3))


def test_maximising_turns_everything_round():
    found = nasx.compare(
        LINE, lambda a: -VALUES[a["a"]], WALKS, objectives={"score": "maximize"}, evaluations=3, seeds=3
    )
    np.testing.assert_array_equal(found.runs["low"].curves, [[-7, -5, -5], [-6, -3, -3], [-8, -8, -4]])
    assert list(found.summary()) == ["high", "low"]
    assert found.summary()["low"].best == -3
    assert found.versus("high", "low").difference == pytest.approx(7 / 3)


def test_curves_stay_level_when_the_space_is_exhausted():
    found = nasx.compare(LINE, value, ["random_search"], objectives=ERROR, evaluations=15, seeds=2)
    curves = found.runs["random_search"].curves
    assert curves.shape == (2, 15)
    assert (curves[:, 9:] == 0).all()
    assert found.pairs() == []
    assert "random_search" in str(found)


class Slow(nasx.Task):
    """An error that takes nine epochs to be known."""

    spec = None
    settings = {}  # noqa: RUF012
    max_budget = 9

    def evaluate(self, architecture, *, budget=9, **_):
        return {"error": VALUES[architecture["a"]] + 9 - budget}


@pytest.mark.parametrize(("strategy", "over"), [(nasx.ASHA(), 2), (nasx.Hyperband(), 6)])
def test_parts_of_evaluations_count_as_parts(strategy, over):
    found = nasx.compare(LINE, Slow(), {"parts": strategy, "whole": "random_search"}, evaluations=4, seeds=6)
    for seed in found.seeds:
        result = nasx.search(LINE, Slow(), strategy=strategy, evaluations=4, seed=seed)
        spent, expected = 0.0, np.full(4, np.nan)
        for trial in result.trials:
            spent += trial.budget / 9
            if trial.budget == 9:
                later = np.arange(1, 5) >= spent - 1e-9
                expected[later] = np.fmin(expected[later], trial.metrics["error"])
        np.testing.assert_array_equal(found.runs["parts"].curves[seed], expected)
        assert VALUES[found.runs["parts"].chosen[seed]["a"]] == expected[-1]
        over -= spent > 4 + 1e-9
    assert over == 0  # so many searches went over the budget with their last evaluation, which is left out


# -- several objectives --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wide():
    """A space, a task with two objectives, and an infeasible part."""
    space = Space({name: Integer(0, 9) for name in "abcd"})

    def task(architecture):
        a, b, c, d = architecture.values()
        return {"error": (a - 3) ** 2 + c, "speed": 5.0 * b - d + a, "size": float(a + b)}

    return space, task


def test_hypervolume_curves_agree_with_the_trials(wide):
    space, task = wide
    problem = {"objectives": BOTH, "evaluations": 40, "limits": {"size": 12}}
    methods = {"nsga2": nasx.NSGA2(population_size=8), "random": "random_search"}
    found = nasx.compare(space, task, methods, seeds=[3, 5], **problem)
    results = {
        (label, seed): nasx.search(space, task, strategy=method, seed=seed, **problem)
        for label, method in methods.items()
        for seed in (3, 5)
    }
    feasible = [trial for result in results.values() for trial in result.complete]
    assert any(len(result.complete) < 40 for result in results.values())
    worst = {
        "error": max(t.metrics["error"] for t in feasible),
        "speed": min(t.metrics["speed"] for t in feasible),
    }
    assert found.reference == worst
    assert (found.measure, found.direction) == ("hypervolume", "maximize")
    corner = np.array([worst["error"], -worst["speed"]])
    for (label, seed), result in results.items():
        row = found.seeds.index(seed)
        for spent in (1, 2, 7, 23, 40):
            known = [trial for trial in result.trials[:spent] if trial.state == "complete"]
            losses = result.losses(known)
            front = losses[twin.rank(losses) == 0] if len(losses) else losses
            expected = twin.hypervolume(np.unique(front, axis=0), corner)
            assert found.runs[label].curves[row, spent - 1] == pytest.approx(expected, abs=1e-9)
        assert found.runs[label].chosen[row] == result.best.architecture


def test_share_of_the_true_front(wide):
    space, task = wide
    genotypes = space.enumerate()
    everything = np.array([[m["error"], -m["speed"]] for m in map(task, map(space.decode, genotypes))])
    reference = {"speed": -9.0, "error": 60.0}
    problem = {"objectives": BOTH, "evaluations": 60, "seeds": 3, "reference": reference}
    plain = nasx.compare(space, task, ["nsga2"], **problem)
    share = nasx.compare(space, task, ["nsga2"], front=everything, **problem)
    whole = nasx.pareto.hypervolume(everything, [60.0, 9.0])
    np.testing.assert_allclose(share.runs["nsga2"].curves, plain.runs["nsga2"].curves / whole)
    assert 0 < share.runs["nsga2"].scores.min() <= share.runs["nsga2"].scores.max() <= 1
    assert share.reference == reference
    assert "share of the hypervolume" in str(share)
    assert "reference point: error 60, speed -9" in str(share)


# -- seeds that find nothing, failures -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def poor():
    """Within the limit are 0, 1 and 2: low sees them with seeds 0 and 1, high with seeds 2 and 3."""
    return nasx.compare(
        LINE, value, WALKS, objectives=ERROR, evaluations=3, seeds=4, metrics=["test"], limits={"speed": 2}
    )


def test_seeds_that_find_nothing_count_as_the_worst(poor):
    # Low: 7 5 6 | 6 - - | - - - | - - -; high: - - - | - - - | - - 7 | 7 5 6 (positions 8 9 0 | 0 1 2).
    np.testing.assert_array_equal(poor.runs["low"].scores, [5, 6, np.nan, np.nan])
    np.testing.assert_array_equal(poor.runs["high"].curves[2], [np.nan, np.nan, 7])
    assert poor.runs["low"].chosen[2:] == (None, None)
    assert poor.reference == {"error": 7.0}
    low, high = poor.summary()["low"], poor.summary()["high"]
    assert (low.mean, low.median, low.found_nothing) == (6.25, 6.5, 2)
    assert (high.mean, high.found_nothing) == (6.5, 2)
    assert low.metrics["test"][0] == -5.5  # of the seeds that chose something
    text = str(poor)
    assert "low: 2 of 4 seeds found nothing feasible and count as the worst feasible value" in text
    assert "high: 2 of 4 seeds" in text


def test_several_objectives_count_nothing_as_no_hypervolume():
    found = nasx.compare(LINE, value, WALKS, objectives=BOTH, evaluations=3, seeds=3, limits={"speed": 2})
    assert found.runs["low"].scores[2] == 0
    assert found.summary()["low"].found_nothing == 1
    assert "1 of 3 seeds found nothing feasible and count as 0" in str(found)


@pytest.mark.parametrize("objectives", [ERROR, BOTH])
def test_nobody_finds_anything(objectives):
    found = nasx.compare(
        LINE, value, WALKS, objectives=objectives, evaluations=2, seeds=2, limits={"speed": -1}
    )
    assert all(one.found_nothing == 2 for one in found.summary().values())
    assert all(math.isnan(worst) for worst in found.reference.values())
    assert "2 of 2 seeds found nothing" in str(found)
    assert "reference point" not in str(found)
    json.loads(found.to_json())
    found.plot()


def test_failures_are_counted():
    def fails_on_odd(architecture):
        if architecture["a"] % 2:
            raise RuntimeError("odd")
        return VALUES[architecture["a"]]

    found = nasx.compare(LINE, fails_on_odd, WALKS, objectives=ERROR, evaluations=3, seeds=2)
    np.testing.assert_array_equal(found.runs["low"].failed, [1, 1])
    np.testing.assert_array_equal(found.runs["low"].scores, [6, 6])
    assert "low: 2 evaluations failed" in str(found)


def test_ctrl_c_ends_the_comparison():
    calls = []

    def task(architecture):
        calls.append(architecture)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return VALUES[architecture["a"]]

    with pytest.raises(KeyboardInterrupt):
        nasx.compare(LINE, task, WALKS, objectives=ERROR, evaluations=3, seeds=50)
    assert len(calls) <= 5


# -- fairness and memory -------------------------------------------------------------------------------------


def test_strategies_take_turns_on_the_same_seeds_and_budget():
    calls = []

    def task(architecture):
        calls.append(architecture["a"])
        return VALUES[architecture["a"]]

    method = Walk(start=4)
    nasx.compare(LINE, task, {"low": Walk, "high": method}, objectives=ERROR, evaluations=2, seeds=[0, 2])
    assert calls == [0, 1, 4, 5, 4, 5, 8, 9]
    assert not hasattr(method, "space")  # the instance stays as it was


def test_the_same_call_gives_the_same_numbers(wide):
    space, task = wide
    one, two = (
        nasx.compare(space, task, ["nsga2", "random_search"], objectives=BOTH, evaluations=50, seeds=3)
        for _ in range(2)
    )
    assert one.to_json() == two.to_json()
    assert str(one) == str(two)
    part = nasx.compare(space, task, ["random_search"], objectives=ERROR, evaluations=50, seeds=[2])
    result = nasx.search(space, task, strategy="random_search", objectives=ERROR, evaluations=50, seed=2)
    assert part.runs["random_search"].scores == [result.best.metrics["error"]]


def test_results_of_the_searches_are_not_kept(walked):
    gc.collect()
    before = sum(type(one) is nasx.Trial for one in gc.get_objects())
    kept = nasx.compare(LINE, value, WALKS, objectives=ERROR, evaluations=9, seeds=5)
    gc.collect()
    assert sum(type(one) is nasx.Trial for one in gc.get_objects()) <= before
    assert len(kept.seeds) == 5


# -- other forms ---------------------------------------------------------------------------------------------


def test_table_as_text(walked):
    expected = """\
strategy         error   median   best           test         speed
───────────────────────────────────────────────────────────────────
high         1.7 ± 1.2      1.0    0.0     -1.7 ± 1.2   7.67 ± 0.88
low        4.00 ± 0.58     4.00   3.00   -4.00 ± 0.58     3.3 ± 1.5

                better by   standard errors      p
──────────────────────────────────────────────────
high over low   2.3 ± 1.3               1.7   0.27

error after 3 evaluations, smaller is better; means over 3 seeds ± standard errors
p: two-sided Mann-Whitney U"""
    assert str(walked) == repr(walked) == walked.table() == expected


def test_one_seed_has_no_error_and_no_test():
    found = nasx.compare(LINE, value, WALKS, objectives=ERROR, evaluations=3, seeds=[1])
    assert math.isnan(found.summary()["low"].standard_error)
    assert "one seed" in str(found)
    assert "Mann-Whitney" not in str(found)
    assert found.to_dict()["pairs"][0]["p"] is None
    found.plot()


def test_labels_are_no_markup():
    found = nasx.compare(LINE, value, {"[b]": Walk(), "a": Walk()}, objectives=ERROR, evaluations=2, seeds=2)
    assert "[b]" in str(found)


def test_dataframes(poor):
    frame = poor.to_dataframe()
    assert list(frame.index) == ["low", "high"]
    assert frame.loc["low", "mean"] == 6.25
    assert frame.loc["high", "found_nothing"] == 2
    assert frame.loc["low", "metric.test"] == -5.5
    assert "metric.test.standard_error" in frame
    pairs = poor.to_dataframe("pairs")
    assert pairs.loc[("low", "high"), "difference"] == 0.25
    seeds = poor.to_dataframe("seeds")
    assert seeds.loc[("high", 3), "score"] == 5
    assert math.isnan(seeds.loc[("low", 2), "score"])
    assert seeds.loc[("low", 0), "metric.test"] == -5
    single = nasx.compare(LINE, value, ["random_search"], objectives=ERROR, evaluations=2, seeds=2)
    assert len(single.to_dataframe("pairs")) == 0
    with pytest.raises(ValueError, match="of: unknown table 'pair'; did you mean 'pairs'"):
        poor.to_dataframe("pair")


def test_json_holds_everything(poor):
    found = json.loads(poor.to_json())
    assert found["seeds"] == [0, 1, 2, 3]
    low = found["strategies"]["low"]
    assert low["scores"] == [5, 6, None, None]
    assert low["curves"][1] == [6, 6, 6]
    assert low["chosen"] == [{"a": 1}, {"a": 2}, None, None]
    assert low["summary"]["mean"] == 6.25
    assert low["metrics"]["test"] == [-5, -6, None, None]
    assert low["name"] == "Walk"
    assert found["pairs"][0]["first"] == "low"
    assert found["limits"] == {"speed": 2.0}


def test_pictures(walked, poor, tmp_path):
    walked.plot(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    (axis,) = walked.plot().axes
    assert axis.get_xlabel() == "evaluations"
    assert axis.get_ylabel() == "best error so far (minimize)"
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["high", "low"]
    line = axis.get_lines()[1]
    np.testing.assert_allclose(line.get_xydata(), [[1, 7], [2, 16 / 3], [3, 4]])
    (axis,) = poor.plot().axes
    np.testing.assert_allclose(axis.get_lines()[0].get_ydata(), [6.75, 6.5 - 0.25, 6.25])


# -- arguments -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"strategies": "nsga2"}, TypeError, "strategies must be a list of strategies.*'nsga2'"),
        ({"strategies": []}, ValueError, "strategies must name at least one"),
        ({"strategies": ["nsga3"]}, ValueError, "did you mean 'nsga2'"),
        ({"strategies": ["nsga2", nasx.NSGA2()]}, ValueError, "'nsga2' comes twice; give labels"),
        ({"strategies": {1: "nsga2"}}, TypeError, "a label must be a string; got 1"),
        ({"strategies": [3]}, TypeError, "strategy must be a name"),
        ({"evaluations": 0}, ValueError, "evaluations must be at least 1"),
        ({"evaluations": 2.5}, TypeError, "evaluations must be an integer"),
        ({"seeds": 0}, ValueError, "seeds must give at least one"),
        ({"seeds": []}, ValueError, "seeds must give at least one"),
        ({"seeds": True}, TypeError, "seeds must be an integer"),
        ({"seeds": 1.5}, TypeError, "seeds must be an integer"),
        ({"seeds": [1, 1]}, ValueError, "seeds must differ"),
        ({"seeds": [-1]}, ValueError, "every one of seeds must be at least 0"),
        ({"metrics": "test"}, TypeError, r"metrics must be a list of names; got 'test': write \['test'\]"),
        ({"metrics": ["tset"]}, ValueError, "metrics: unknown metric 'tset'; did you mean 'test'"),
        ({"objectives": None}, ValueError, "objectives is missing"),
        ({"reference": {"error": 9.0}}, ValueError, "reference bounds a hypervolume"),
        ({"front": [[0.0]]}, ValueError, "front gives a hypervolume"),
        (
            {"objectives": BOTH, "reference": {"error": 9.0}},
            ValueError,
            r"reference must map each .*error, speed",
        ),
        ({"objectives": BOTH, "reference": [9.0, 0.0]}, ValueError, "reference must map each"),
        ({"objectives": BOTH, "reference": {"error": 9, "speed": math.inf}}, ValueError, "must be finite"),
        ({"objectives": BOTH, "front": [[0.0, 0.0]]}, ValueError, "front needs reference="),
        (
            {"objectives": BOTH, "reference": {"error": 9, "speed": 0}, "front": [[0.0]]},
            ValueError,
            "front must have 2 columns",
        ),
        (
            {"objectives": BOTH, "reference": {"error": 9, "speed": 0}, "front": [[0.0, math.nan]]},
            ValueError,
            "front must be finite",
        ),
        (
            {"objectives": BOTH, "reference": {"error": 9, "speed": 0}, "front": [[9.0, -5.0]]},
            ValueError,
            "front has no row that is better",
        ),
    ],
)
def test_wrong_arguments_are_named(changes, error, message):
    arguments = {"strategies": WALKS, "evaluations": 2, "seeds": 2, "objectives": ERROR, **changes}
    with pytest.raises(error, match=message):
        nasx.compare(LINE, value, **arguments)


def test_unknown_labels(walked):
    with pytest.raises(ValueError, match="unknown label 'lo'; did you mean 'low'"):
        walked.versus("lo", "high")
    with pytest.raises(ValueError, match="both are 'low'"):
        walked.versus("low", "low")


def test_a_task_that_tells_its_metrics_is_checked_before_anything_runs():
    class Told(nasx.Task):
        spec = nasx.TaskSpec((1,), 1, "test")
        settings = {}  # noqa: RUF012
        metrics = ("error",)

        def evaluate(self, architecture, **_):
            raise AssertionError("must not run")

    with pytest.raises(ValueError, match="metrics: unknown metric 'test'"):
        nasx.compare(LINE, Told(), WALKS, evaluations=2, metrics=["test"])


@pytest.mark.parametrize(("module", "objectives"), [("scipy", ERROR), ("moocore", BOTH)])
def test_missing_packages_are_named_before_anything_runs(module, objectives):
    code = f"""
import sys, nasx
sys.modules[{module!r}] = None
def task(a):
    raise SystemExit("must not run")
nasx.compare(nasx.Space({{"a": nasx.Integer(0, 9)}}), task, ["nsga2", "random_search"],
             objectives={objectives!r}, evaluations=2)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"needs {module}: pip install 'nasx[compare]'" in done.stderr.splitlines()[-1]


def test_one_bar_on_a_terminal_after_two_seconds():
    code = """
import time, nasx
def task(a):
    time.sleep(0.1)
    return a["a"]
nasx.compare(nasx.Space({"a": nasx.Integer(0, 9)}), task, ["nsga2", "random_search"],
             objectives={"x": "minimize"}, evaluations=7, seeds=2)
"""
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", code], stderr=slave, env={**os.environ, "COLUMNS": "120", "TERM": "xterm"}
    )
    os.close(slave)
    shown = b""
    try:
        while chunk := os.read(master, 4096):
            shown += chunk
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(master)
    assert child.wait() == 0
    text = shown.decode()
    assert "comparing" in text
    assert "3/4 searches | random_search, seed 1" in text
    assert "left" in text


# -- real tables ---------------------------------------------------------------------------------------------


def lookup(path, columns):
    """A space and a task over a table of whole measurements."""
    with np.load(path, allow_pickle=False) as data:
        genotypes = data["genotypes"].astype(np.int32)
        table = {
            name: np.asarray(data[column]).reshape(len(genotypes), -1).mean(1)
            for name, column in columns.items()
        }
    space = Space(
        {f"d{i}": Categorical([str(c) for c in range(n)]) for i, n in enumerate(genotypes.max(axis=0) + 1)}
    )
    places = {row.tobytes(): i for i, row in enumerate(genotypes)}

    def task(architecture):
        place = places[architecture.genotype.tobytes()]
        return {name: values[place] for name, values in table.items()}

    return space, task, table


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "column"),
    [
        ("nasbench201", "cifar10_val"),
        ("transnas101_micro", "val/class_scene"),
        ("nasbench_macro", "cifar10_test"),
    ],
)
def test_evolution_beats_random_search_on_real_tables(data_dir, file, column):
    space, task, table = lookup(data_dir / f"{file}.npz", {"accuracy": column})
    methods = ["regularized_evolution", "random_search"]
    found = nasx.compare(space, task, methods, objectives={"accuracy": "maximize"}, evaluations=200, seeds=20)
    assert found.versus("regularized_evolution", "random_search").z > 3
    for runs in found.runs.values():
        assert runs.scores.max() <= table["accuracy"].max()
        np.testing.assert_array_equal([task(one)["accuracy"] for one in runs.chosen], runs.scores)
        assert (np.diff(runs.curves, axis=1) >= 0).all()


@pytest.mark.data
def test_nsga2_covers_the_front_of_accuracy_and_latency(data_dir):
    space, task, table = lookup(
        data_dir / "nasbench201.npz", {"accuracy": "cifar10_val", "latency_ms": "latency_ms/1080ti_1"}
    )
    found = nasx.compare(
        space,
        task,
        {"nsga2": nasx.NSGA2(population_size=20), "random": "random_search"},
        objectives={"accuracy": "maximize", "latency_ms": "minimize"},
        evaluations=500,
        seeds=5,
        reference={"accuracy": table["accuracy"].min(), "latency_ms": table["latency_ms"].max()},
        front=np.column_stack([-table["accuracy"], table["latency_ms"]]),
    )
    assert found.summary()["nsga2"].mean > 0.99
    assert 0.92 < found.summary()["random"].mean < 0.98
    assert found.versus("nsga2", "random").z > 3
