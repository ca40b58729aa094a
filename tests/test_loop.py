"""`nasx.search`: budgets, failures, limits, costs, callbacks, and what the result says."""

import json
import signal
import time
import warnings
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import pytest
import workloads

import nasx
from nasx import Categorical, Integer, Space
from nasx._interrupts import Interrupts
from nasx.loop import trial_seed
from nasx.registry import strategy_class


@pytest.fixture
def space():
    return Space({"a": Integer(0, 9), "b": Integer(0, 9), "op": Categorical(["conv", "skip"])})


def error(architecture):
    return (architecture["a"] - 3) ** 2 + (architecture["b"] - 7) ** 2 + (architecture["op"] == "skip")


ERROR = {"error": "minimize"}


SAMPLED = {n for n in nasx.available_strategies() if issubclass(strategy_class(n), nasx.SampledStrategy)}


@pytest.mark.parametrize("strategy", sorted(SAMPLED - {"neat"}))
def test_a_small_space_is_searched_to_its_optimum(space, strategy):
    result = nasx.search(space, error, objectives=ERROR, strategy=strategy, evaluations=1000)
    assert result.stopped == "exhausted"
    assert len(result.trials) == space.size
    assert dict(result.best.architecture) == {"a": 3, "b": 7, "op": "conv"}
    assert result.reason is None
    assert [t.number for t in result.trials] == list(range(200))


def test_maximising_turns_the_sign_once(space):
    result = nasx.search(space, lambda a: -error(a), objectives={"score": "maximize"}, evaluations=200)
    assert result.best.metrics == {"score": 0.0}
    up = nasx.search(space, lambda a: -error(a), objectives={"score": "maximize"}, evaluations=60, seed=1)
    down = nasx.search(space, error, objectives=ERROR, evaluations=60, seed=1)
    assert [t.architecture for t in up.trials] == [t.architecture for t in down.trials]


def test_budgets(space):
    assert len(nasx.search(space, error, objectives=ERROR, evaluations=7).trials) == 7
    result = nasx.search(space, error, objectives=ERROR, seconds=0.05)
    assert result.stopped in ("seconds", "exhausted")
    assert len(result.trials) > 0


def test_strategy_instances_stay_as_they_are(space):
    strategy = nasx.NSGA2(population_size=5)
    first = nasx.search(space, error, objectives=ERROR, strategy=strategy, evaluations=20)
    assert not hasattr(strategy, "space")
    again = nasx.search(
        space, error, objectives=ERROR, strategy=nasx.NSGA2(population_size=5), evaluations=20
    )
    assert [t.architecture for t in first.trials] == [t.architecture for t in again.trials]


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (lambda a: 1 / 0, "ZeroDivisionError"),
        (lambda a: float("nan"), "'error' is nan; it must be a finite number"),
        (lambda a: {"error": np.inf}, "'error' is inf"),
        (lambda a: {"loss": 1.0}, "no metric 'error'; it gave loss"),
        (lambda a: {"error": "low"}, "'error' must be a number; got 'low'"),
        (lambda a: {"error": [1.0, 2.0]}, r"'error' must be a number; got \[1.0, 2.0\]"),
        (lambda a: None, "'error' must be a number; got None"),
        (lambda a: {}, "it gave nothing"),
    ],
)
def test_a_bad_evaluation_is_a_failed_trial_and_the_search_goes_on(space, outcome, message):
    def task(architecture):
        return outcome(architecture) if architecture["a"] % 2 else error(architecture)

    result = nasx.search(
        space, task, objectives=ERROR, evaluations=40, strategy=nasx.NSGA2(population_size=8)
    )
    failed = [t for t in result.trials if t.state == "failed"]
    assert failed
    assert all(t.architecture["a"] % 2 for t in failed)
    for trial in failed:
        with pytest.raises(AssertionError, match=message):
            raise AssertionError(trial.error)
        assert "Traceback" in trial.error
    assert result.best.state == "complete"


def test_if_everything_fails_the_result_says_so(space):
    with pytest.warns(RuntimeWarning, match="all 5 evaluations failed; the first with: ValueError: no luck"):
        result = nasx.search(space, lambda a: int("no luck" and raise_()), objectives=ERROR, evaluations=5)
    assert result.best is None
    assert result.pareto_front == []


def raise_():
    raise ValueError("no luck")


def test_limits_on_costs_are_checked_before_anything_is_trained(space):
    trained = []

    def task(architecture):
        trained.append(architecture)
        return error(architecture)

    result = nasx.search(
        space,
        task,
        objectives=ERROR,
        costs={"sum": lambda x: x[:, 0] + x[:, 1]},
        limits={"sum": 6},
        evaluations=1000,
    )
    assert result.stopped == "exhausted"
    assert len(trained) == len(result.trials) == sum(a + b <= 6 for a in range(10) for b in range(10)) * 2
    assert all(a["a"] + a["b"] <= 6 for a in trained)
    assert result.best.metrics["sum"] <= 6
    assert {t.state for t in result.trials} == {"complete"}


def test_limits_on_measured_metrics_become_violations(space):
    def task(architecture):
        return {"error": error(architecture), "memory": architecture["a"] * 2.0}

    result = nasx.search(space, task, objectives=ERROR, limits={"memory": 4.0}, evaluations=1000)
    assert result.best.architecture["a"] == 2
    over = [t for t in result.trials if t.architecture["a"] == 9]
    assert {t.state for t in over} == {"infeasible"}
    assert {t.violation for t in over} == {14 / 4}


def test_no_architecture_over_a_limit_is_ever_best(space):
    result = nasx.search(
        space,
        lambda a: {"error": error(a), "size": 5.0 + a["a"]},
        objectives=ERROR,
        limits={"size": 4},
        evaluations=50,
    )
    assert result.best is None
    assert "none of 50 architectures is within the limits; the nearest has size 5 > 4" in result.reason
    nothing = nasx.search(
        space,
        error,
        objectives=ERROR,
        costs={"c": lambda x: np.ones(len(x))},
        limits={"c": 0},
        evaluations=50,
    )
    assert nothing.best is None
    assert len(nothing.trials) == 0
    assert "within the limits on costs" in nothing.reason


def test_initial_architectures_come_first_even_over_a_limit(space):
    initial = [{"a": 9, "b": 9, "op": "skip"}, {"a": 0, "b": 0, "op": "conv"}]
    result = nasx.search(
        space,
        error,
        objectives=ERROR,
        costs={"sum": lambda x: x.sum(axis=1)},
        limits={"sum": 10},
        evaluations=30,
        initial=initial,
    )
    assert [dict(t.architecture) for t in result.trials[:2]] == initial
    assert [t.state for t in result.trials[:2]] == ["infeasible", "complete"]
    assert "error" not in result.trials[0].metrics
    assert len({t.architecture for t in result.trials}) == 30


def test_a_cost_that_raises_fails_its_trial_only(space):
    def cost(x):
        if (x[:, 0] == 4).any():
            raise ArithmeticError("four")
        return x[:, 0] + 1.0

    result = nasx.search(
        space, error, objectives=ERROR, costs={"cost": cost}, limits={"cost": 8}, evaluations=1000
    )
    failed = [t for t in result.trials if t.state == "failed"]
    assert {t.architecture["a"] for t in failed} == {4}
    assert len(failed) == 20
    assert "ArithmeticError: four" in failed[0].error


def test_costs_can_be_objectives(space):
    result = nasx.search(
        space,
        error,
        objectives={"error": "minimize", "sum": "minimize"},
        costs={"sum": lambda x: x.sum(axis=1)},
        evaluations=150,
    )
    front = [(t.metrics["error"], t.metrics["sum"]) for t in result.pareto_front]
    assert front == sorted(front)
    everything = np.array([[t.metrics["error"], t.metrics["sum"]] for t in result.trials])
    for values in front:
        assert not ((everything <= values).all(axis=1) & (everything < values).any(axis=1)).any()
    assert result.best is result.pareto_front[0]


def test_callbacks_see_every_trial_and_may_stop(space):
    seen = []

    def callback(result, trial):
        assert result.trials[-1] is trial
        seen.append(trial.number)
        if len(seen) == 5:
            raise nasx.StopSearch

    result = nasx.search(space, error, objectives=ERROR, evaluations=50, callbacks=[callback])
    assert seen == list(range(5))
    assert result.stopped == "callback"


def test_interrupting_keeps_what_is_finished(space):
    def task(architecture):
        if len(done) == 6:
            raise KeyboardInterrupt
        done.append(architecture)
        return error(architecture)

    done = []
    result = nasx.search(space, task, objectives=ERROR, evaluations=50)
    assert result.stopped == "interrupted"
    assert len(result.trials) == 6


def test_replicates_are_averaged_over_seeds_of_their_own(space, tmp_path):
    one = nasx.search(space, workloads.Noisy(), strategy="random_search", evaluations=20)
    arguments = {"strategy": "random_search", "replicates": 4}
    whole = nasx.search(space, workloads.Noisy(), evaluations=20, **arguments)
    assert len(whole.trials) == 20
    for single, trial in zip(one.trials, whole.trials, strict=True):
        assert trial.architecture == single.architecture
        seeds = [int(single.metrics["seed"])]
        seeds += [trial_seed(seeds[0], i) for i in range(1, 4)]
        assert len(set(seeds)) == 4
        values = [workloads.Noisy().evaluate(trial.architecture, seed=seed)["error"] for seed in seeds]
        assert trial.metrics == {"error": pytest.approx(np.mean(values)), "seed": np.mean(seeds)}
    noise = [
        np.std([t.metrics["error"] - workloads.error(t.architecture) for t in r.trials]) for r in (one, whole)
    ]
    assert noise[1] < 0.8 * noise[0]
    # Others compute the same, and a resumed search goes on with it and with nothing else.
    journal = tmp_path / "run.db"
    nasx.search(space, workloads.Noisy(), evaluations=7, journal=journal, **arguments)
    again = nasx.search(space, workloads.Noisy(), evaluations=20, journal=journal, workers=2, **arguments)
    found = {t.number: t.metrics for t in again.trials}
    assert found == {t.number: t.metrics for t in whole.trials}
    for other in ({}, {"replicates": 3}):
        with pytest.raises(nasx.errors.JournalError, match="replicates"):
            nasx.search(
                space,
                workloads.Noisy(),
                evaluations=30,
                journal=journal,
                **(arguments | {"replicates": 1} | other),
            )


def test_replicates_fail_together_and_functions_are_just_called_again(space):
    calls = []

    def sometimes(architecture):
        calls.append(architecture)
        if len(calls) % 3 == 0:
            raise ValueError("the third")
        return {"error": float(len(calls)), **({"odd": 1.0} if len(calls) == 5 else {})}

    result = nasx.search(
        space, sometimes, objectives=ERROR, strategy="random_search", evaluations=3, replicates=2
    )
    assert [t.state for t in result.trials] == ["complete", "failed", "failed"]
    assert result.trials[0].metrics == {"error": 1.5}
    assert "the third" in result.trials[1].error
    assert (
        "metric 'odd' came in some evaluations of an architecture and not in others" in result.trials[2].error
    )
    plain = nasx.search(space, error, objectives=ERROR, evaluations=5, replicates=3)
    assert all(t.metrics["error"] == error(t.architecture) for t in plain.trials)
    with pytest.warns(RuntimeWarning, match="must return a dict"):
        nasx.search(space, lambda _: None, objectives=ERROR | {"b": "minimize"}, evaluations=2, replicates=2)


@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.parametrize("named", [False, True])
def test_a_replicate_without_a_number_fails_whichever_it_is(space, place, named):
    calls = []

    def sometimes(architecture):
        calls.append(architecture)
        value = None if len(calls) % 3 == place % 3 else 1.0
        return {"error": value} if named else value

    with pytest.warns(RuntimeWarning, match="all 2 evaluations failed"):
        result = nasx.search(space, sometimes, objectives=ERROR, evaluations=2, replicates=3)
    assert all("None" in trial.error for trial in result.trials)


def test_replicates_that_give_numbers_and_dicts_fail(space):
    answers = iter([1.0, {"error": 1.0}])
    with pytest.warns(RuntimeWarning, match="failed"):
        result = nasx.search(space, lambda _: next(answers), objectives=ERROR, evaluations=1, replicates=2)
    assert "gave a dict, and another 1.0" in result.trials[0].error


def test_costs_and_constraints_may_work_in_place():
    space = nasx.Space({name: nasx.Integer(0, 9) for name in "abc"})

    def turned(genotypes):
        genotypes[:] = 9 - genotypes
        return genotypes[:, 0] * 1.0

    result = nasx.search(
        space,
        lambda architecture: 0.0,
        objectives=ERROR,
        evaluations=5,
        costs={"turned": turned, "first": lambda genotypes: genotypes[:, 0] * 1.0},
    )
    for trial in result.trials:
        first = trial.architecture["a"]
        assert (trial.metrics["turned"], trial.metrics["first"]) == (9 - first, first)

    def sorting(genotypes):
        genotypes.sort(axis=1)
        return genotypes[:, 0] > 2

    spoilt = nasx.Space(
        {"a": nasx.Integer(0, 9), "b": nasx.Integer(0, 9, when={"a": [5, 6]})},
        constraints=[lambda g: sorting(g) | True],
    )
    assert (spoilt.sample(50, seed=1) == spoilt.check(spoilt.sample(50, seed=1))).all()


def test_tasks_get_a_seed_that_depends_on_the_trial_alone(space):
    class Recorder(nasx.Task):
        spec = nasx.TaskSpec((1, 8, 8), 10, "image_classification")
        settings = MappingProxyType({})
        seeds: ClassVar = []

        def evaluate(self, architecture, *, seed, device=None, budget=None, report=None):
            self.seeds.append(seed)
            assert architecture.spec == self.spec
            return {"error": 0.5}

    nasx.search(space, Recorder(), evaluations=5, seed=3)
    assert Recorder.seeds == [trial_seed(3, n) for n in range(5)]
    assert len(set(Recorder.seeds)) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"evaluations": None}, "give evaluations= or seconds="),
        ({"evaluations": 0}, "evaluations must be a positive integer"),
        ({"evaluations": 2.5}, "evaluations must be an integer"),
        ({"evaluations": "abc"}, "evaluations must be an integer"),
        ({"evaluations": True}, "evaluations must be an integer"),
        ({"seconds": -1}, "seconds must be a positive number"),
        ({"seconds": "10"}, "seconds must be a positive number"),
        ({"seed": 1.5}, "seed must be an integer"),
        ({"replicates": 0}, "replicates must be at least 1"),
        ({"replicates": 1.5}, "replicates must be an integer"),
        ({"costs": "parameters"}, "costs must be a list of names or a mapping"),
        ({"objectives": None}, "objectives is missing"),
        ({"objectives": {}}, "objectives must map"),
        ({"objectives": {"error": "minimise"}}, r"objectives\['error'\].*did you mean 'minimize'"),
        ({"limits": {"error": "low"}}, r"limits\['error'\] must be a finite number"),
        ({"limits": {"error": float("nan")}}, r"limits\['error'\] must be a finite number"),
        ({"costs": ["params"]}, "unknown cost 'params'"),
        ({"costs": {"c": 3}}, r"costs\['c'\] must be"),
        ({"costs": ["parameters"]}, "without a spec, which does not say what the network is for"),
        ({"strategy": "nsga"}, "unknown strategy 'nsga'; did you mean 'nsga2'"),
        ({"initial": [{"a": 1}]}, "decision 'b' is active and missing"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_bad_arguments_are_named(space, arguments, message):
    with pytest.raises(ValueError, match=message):
        nasx.search(space, error, **({"objectives": ERROR, "evaluations": 5} | arguments))


def test_wrong_types_are_named(space):
    with pytest.raises(TypeError, match=r"space must be a nasx\.Space"):
        nasx.search({"a": [1]}, error, objectives=ERROR, evaluations=5)
    with pytest.raises(TypeError, match="task must be"):
        nasx.search(space, 3, objectives=ERROR, evaluations=5)
    with pytest.raises(TypeError, match="initial must be a list"):
        nasx.search(space, error, objectives=ERROR, evaluations=5, initial={"a": 1, "b": 1, "op": "conv"})
    with pytest.raises(TypeError, match="must map decisions to choices; got 'abc'"):
        nasx.search(space, error, objectives=ERROR, evaluations=5, initial=["abc"])


def test_forms_of_a_result(space):
    result = nasx.search(
        space,
        lambda a: 1 / 0 if a["a"] == 4 else {"error": error(a), "size": a["b"] + 1},
        objectives={"error": "minimize", "size": "minimize"},
        evaluations=40,
    )
    frame = result.to_dataframe()
    assert len(frame) == 40
    assert frame["on_front"].sum() == len(result.pareto_front)
    assert set(frame["state"]) == {"complete", "failed"}
    assert list(frame["choice.op"]) == [t.architecture["op"] for t in result.trials]
    data = json.loads(result.to_json())
    assert data["best"] == result.best.number
    assert len(data["trials"]) == 40
    assert Space.from_dict(data["space"]) == space
    assert "best error=" in repr(result)


class Trainable(nasx.Task):
    """Scores a number, and notes what it is asked to train."""

    spec, settings = None, MappingProxyType({})

    def __init__(self):
        self.asked = []

    def evaluate(self, architecture, *, seed, device=None, budget=None, report=None):
        return {"error": abs(architecture["a"] - 3)}

    def retrain(self, architecture, **options):
        self.asked.append((architecture, options))
        return "network", {"test_error": 0.5}


def test_the_best_architecture_is_trained_again():
    space, task = Space({"a": Integer(0, 9)}), Trainable()
    result = nasx.search(space, task, strategy="random_search", evaluations=10, seed=7)
    assert result.retrain(task) == ("network", {"test_error": 0.5})
    result.retrain(task, epochs=3, seed=0, device="cpu")
    best = result.best.architecture
    assert best["a"] == 3
    assert task.asked == [
        (best, {"epochs": None, "seed": 7, "device": None}),
        (best, {"epochs": 3, "seed": 0, "device": "cpu"}),
    ]


def test_what_cannot_be_trained_again_is_named():
    space, task = Space({"a": Integer(0, 9)}), Trainable()
    limits = {"error": -1.0}
    result = nasx.search(space, task, strategy="random_search", evaluations=4, limits=limits, seed=7)
    with pytest.raises(ValueError, match="no best architecture to train: none of 4 architectures is within"):
        result.retrain(task)
    assert not task.asked
    for other in (lambda a: 0.0, None, nasx.Task):
        with pytest.raises(TypeError, match="task must have a method retrain"):
            result.retrain(other)


def test_pictures(space, tmp_path):
    two = {"error": "minimize", "size": "minimize"}

    def task(a):
        return {"error": error(a), "size": a["b"] + 1}

    result = nasx.search(space, task, objectives=two, evaluations=40)
    other = nasx.search(space, task, objectives=two, evaluations=40, strategy="random_search")
    result.plot(tmp_path / "front.png", other=other)
    one = nasx.search(space, error, objectives=ERROR, evaluations=40)
    one.plot(tmp_path / "progress.png")
    assert (tmp_path / "front.png").stat().st_size > 10_000
    assert (tmp_path / "progress.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match="other must have the objectives"):
        one.plot(other=result)
    with pytest.raises(ValueError, match="at least two objectives"):
        nasx.plots.plot_pareto_front(one)


def test_nothing_warns_when_all_is_well(space):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nasx.search(space, error, objectives=ERROR, evaluations=5)


class Silent(nasx.Task):
    """Says what it measures, and does so at once."""

    spec = nasx.TaskSpec((1, 8, 8), 10, "image_classification")
    settings = MappingProxyType({})
    metrics = ("error", "loss")

    def evaluate(self, architecture, *, seed, device=None, budget=None, report=None):
        return {"error": 0.5, "loss": 1.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objectives": {"eror": "minimize"}}, "objectives: unknown metric 'eror'; did you mean 'error'"),
        ({"limits": {"los": 1.0}}, "limits: unknown metric 'los'; did you mean 'loss'"),
    ],
)
def test_metrics_that_a_task_does_not_have_are_refused_at_once(space, arguments, message):
    with pytest.raises(ValueError, match=message):
        nasx.search(space, Silent(), evaluations=5, **arguments)


def test_initial_duplicates_are_evaluated_once(space):
    one = {"a": 1, "b": 1, "op": "conv"}
    result = nasx.search(space, error, objectives=ERROR, evaluations=5, initial=[one, one])
    assert len({t.architecture for t in result.trials}) == 5


def test_errors_in_strange_characters_and_exits_are_failed_trials(space, tmp_path):
    def task(architecture):
        if architecture["a"] == 1:
            raise ValueError("no file \udcff")
        if architecture["a"] == 2:
            raise SystemExit(3)
        return error(architecture)

    result = nasx.search(space, task, objectives=ERROR, evaluations=200, journal=tmp_path / "run.db")
    assert len(result.trials) == 200
    assert {t.architecture["a"] for t in result.trials if t.state == "failed"} == {1, 2}
    assert len(nasx.Result.load(tmp_path / "run.db").trials) == 200


def test_time_is_watched_while_costs_are_measured():
    class Slow:
        name, deterministic, settings = "slow", False, MappingProxyType({})

        def __call__(self, genotypes):
            time.sleep(0.01 * len(genotypes))
            return np.ones(len(genotypes))

    huge = Space({f"x{i}": Integer(0, 9) for i in range(20)})
    begun = time.monotonic()
    options = {"costs": {"slow": Slow()}, "limits": {"slow": 0.5}, "objectives": ERROR}
    result = nasx.search(huge, lambda a: 1.0, seconds=0.3, **options)
    assert time.monotonic() - begun < 3
    assert (result.stopped, len(result.trials)) == ("seconds", 0)


def test_a_result_with_awkward_metrics_is_still_json_and_a_table(space):
    def task(architecture):
        return {"error": error(architecture), "seconds": 3.0, "auc": float("nan")}

    result = nasx.search(space, task, objectives=ERROR, evaluations=3)
    assert json.loads(result.to_json())["trials"][0]["metrics"]["auc"] is None
    frame = result.to_dataframe()
    assert list(frame["metric.seconds"]) == [3.0] * 3
    assert (frame["seconds"] < 1).all()


def test_interrupts_wait_for_the_end_of_a_step():
    steps = []
    with Interrupts() as interrupts:

        def step():
            with interrupts.held:
                signal.raise_signal(signal.SIGINT)
                steps.append("finished")

        with pytest.raises(KeyboardInterrupt):
            step()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert steps == ["finished"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
