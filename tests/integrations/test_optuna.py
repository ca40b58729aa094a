"""The bridge to Optuna: its own conformance tests, and what nasx promises on top."""

from __future__ import annotations

import logging
import pickle
import threading

import numpy as np
import pytest

import nasx

optuna = pytest.importorskip("optuna")

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: E402
from optuna.testing import pytest_samplers as conformance  # noqa: E402
from optuna.trial import TrialState, create_trial  # noqa: E402

from nasx.integrations.optuna import NasxSampler, to_optuna  # noqa: E402

STRATEGIES = (
    "gaussian_process",
    "tpe",
    "reinforce",
    "ppo",
    "regularized_evolution",
    "nsga2",
    "random_search",
)


@pytest.fixture(autouse=True)
def quiet():
    """Optuna's log goes through logging, where pytest can see it, and not to the screen."""
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    yield
    optuna.logging.disable_propagation()
    optuna.logging.enable_default_handler()


@pytest.fixture
def warned(caplog):
    """What was warned of so far."""
    return lambda: [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


# -- Optuna's conformance tests ------------------------------------------------------------------------------


class Ours:
    @pytest.fixture(params=STRATEGIES)
    def sampler(self, request):
        return lambda: NasxSampler(request.param, seed=0)


INTEGERS = [IntDistribution(3, 10), IntDistribution(1, 100, log=True), IntDistribution(3, 9, step=2)]


class TestBasic(Ours, conformance.BasicSamplerTestCase):
    """All of it applies."""


class TestMultiObjective(Ours, conformance.MultiObjectiveSamplerTestCase):
    """All of it applies."""


class TestRelative(Ours, conformance.RelativeSamplerTestCase):
    """Cases with floats do not apply: they hand floats to `sample_relative`, which no space of ours has."""

    @pytest.mark.parametrize("x_distribution", INTEGERS)
    @pytest.mark.parametrize("y_distribution", INTEGERS)
    def test_sample_relative_numerical(self, sampler, x_distribution, y_distribution):
        super().test_sample_relative_numerical(sampler, x_distribution, y_distribution)

    @pytest.mark.parametrize("x_distribution", INTEGERS)
    def test_sample_relative_mixed(self, sampler, x_distribution):
        super().test_sample_relative_mixed(sampler, x_distribution)


# -- what the sampler does -----------------------------------------------------------------------------------


def quadratic(trial):
    a, b = trial.suggest_int("a", 0, 9), trial.suggest_int("b", 0, 20, step=2)
    c = trial.suggest_int("c", 1, 10**6, log=True)
    op = trial.suggest_categorical("op", ["x", None, 3.5, True, float("inf")])
    return (a - 3) ** 2 + (b - 8) ** 2 / 4 + abs(np.log10(c) - 3) + (op is not None)


@pytest.mark.parametrize("strategy", ["tpe", "regularized_evolution", "local_search"])
def test_it_learns_and_never_repeats(strategy):
    studies = [
        optuna.create_study(sampler=s)
        for s in (NasxSampler(strategy, seed=1), optuna.samplers.RandomSampler(seed=1))
    ]
    for study in studies:
        study.optimize(quadratic, n_trials=120)
    late = [np.median([t.value for t in study.trials[60:]]) for study in studies]
    assert late[0] < late[1] / 3
    params = [tuple(t.params.items()) for t in studies[0].trials[1:]]
    assert len(set(params)) == len(params)


def test_the_same_seed_gives_the_same_study():
    def run(seed):
        study = optuna.create_study(sampler=NasxSampler(seed=seed))
        study.optimize(quadratic, n_trials=30)
        return [t.params for t in study.trials]

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_maximizing_and_several_objectives():
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=NasxSampler("nsga2", seed=0))
    study.optimize(lambda t: (t.suggest_int("a", 0, 30), t.suggest_int("b", 0, 30)), n_trials=300)
    assert {(30.0, 0.0)} == {tuple(t.values) for t in study.best_trials}


def test_trials_told_before_failed_and_pruned_and_of_other_ranges():
    study = optuna.create_study(sampler=NasxSampler(nasx.TPE(n_startup=1), seed=0))
    distributions = {"a": IntDistribution(0, 99), "b": CategoricalDistribution("pq")}
    for a in range(0, 90, 3):
        state = [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED][a // 3 % 3]
        value = float(abs(a - 42)) if state == TrialState.COMPLETE else None
        params = {"a": a, "b": "p"}
        study.add_trial(create_trial(state=state, value=value, params=params, distributions=distributions))
    study.add_trial(
        create_trial(state=TrialState.FAIL, params={"a": 7}, distributions={"a": IntDistribution(0, 9)})
    )
    trial = study.ask(distributions)
    strategy = study.sampler._run.strategy
    assert strategy._results == 30
    good = strategy._history.rows()[strategy._good()]
    assert good[:, 0].tolist() == [36, 45, 54]  # a tenth of 30, of those that are complete
    study.tell(trial, 5.0)
    study.ask(distributions)
    assert strategy._results == 31


def test_constraints_are_violations():
    study = optuna.create_study(sampler=NasxSampler(nasx.TPE(n_startup=1), seed=0))
    distributions = {"a": IntDistribution(0, 99)}
    for a in range(40):
        trial = create_trial(value=float(-a), params={"a": a}, distributions=distributions)
        trial.set_constraint("over", a - 20.0)
        trial.set_constraint("never", -1.0)
        study.add_trial(trial)
    study.ask(distributions)
    strategy = study.sampler._run.strategy
    assert strategy._history.rows()[strategy._good()].ravel().tolist() == [17, 18, 19, 20]


def test_floats_and_parameters_that_change_are_drawn_at_random_with_one_warning(warned):
    def objective(trial):
        value = trial.suggest_int("a", 0, 9) + trial.suggest_float("f", 0, 1)
        value += trial.suggest_int("wide", 0, 10**9)
        return value + trial.suggest_int("moving", 0, 5 + trial.number % 2)

    study = optuna.create_study(sampler=NasxSampler(seed=0))
    study.optimize(objective, n_trials=12)
    assert set(study.sampler._run.space) == {"a"}
    for name, why in (("f", "FloatDistribution"), ("wide", "1,000,000"), ("moving", "same range")):
        (message,) = [m for m in warned() if f"'{name}'" in m]
        assert why in message
    silent = optuna.create_study(sampler=NasxSampler(seed=0, warn_independent_sampling=False))
    before = len(warned())
    silent.optimize(objective, n_trials=4)
    assert len(warned()) == before


def test_a_space_that_runs_out_goes_on_at_random(warned):
    study = optuna.create_study(sampler=NasxSampler("random_search"))
    study.optimize(lambda t: t.suggest_int("a", 0, 4), n_trials=12)
    assert {t.params["a"] for t in study.trials[:5]} == set(range(5))
    assert len([m for m in warned() if "everything" in m]) == 1


def test_threads_share_one_sampler():
    study = optuna.create_study(sampler=NasxSampler("regularized_evolution"))
    study.optimize(lambda t: quadratic(t) + 0 * threading.get_ident(), n_trials=60, n_jobs=4)
    params = [tuple(t.params.items()) for t in study.trials[8:]]
    assert len(set(params)) == len(params)


def test_a_pickled_sampler_goes_on():
    study = optuna.create_study(sampler=NasxSampler(seed=2))
    study.optimize(quadratic, n_trials=30)
    again = pickle.loads(pickle.dumps(study.sampler))
    space = study.sampler.infer_relative_search_space(study, study.trials[-1])
    twin = again.sample_relative(study, study.trials[-1], space)
    assert twin == study.sampler.sample_relative(study, study.trials[-1], space)


def test_one_sampler_may_serve_another_study():
    sampler = NasxSampler(seed=0)
    for _ in range(2):
        study = optuna.create_study(sampler=sampler)
        study.optimize(lambda t: t.suggest_int("a", 0, 30), n_trials=20)
        assert study.best_value < 5


def test_what_is_no_sampled_strategy_or_out_of_range_is_refused():
    with pytest.raises(TypeError, match="'asha' does more"):
        NasxSampler("asha")
    with pytest.raises(ValueError, match="did you mean"):
        NasxSampler("tpf")
    with pytest.raises(ValueError, match="seed must be"):
        NasxSampler(seed=-1)
    study = optuna.create_study()
    with pytest.raises(ValueError, match=r"search_space\['x'\] must be categorical"):
        NasxSampler().sample_relative(study, study.ask(), {"x": FloatDistribution(0, 1)})
    assert str(NasxSampler()) == "NasxSampler('tpe')"


# -- results as studies --------------------------------------------------------------------------------------

SPACE = nasx.Space(
    {
        "a": nasx.Integer(2, 10, step=4),
        "w": nasx.Ordinal([1, 2, 4.5]),
        "op": nasx.Categorical(["x", "y"]),
        "on": nasx.Boolean(when={"op": "x"}),
    }
)


def evaluate(architecture):
    if architecture["w"] == 4.5 and architecture["op"] == "y":
        raise RuntimeError("no memory")
    return {"error": architecture["a"] - architecture["w"], "size": architecture["a"], "extra": 1.5}


def test_a_result_can_be_loaded_as_a_study(tmp_path):
    result = nasx.search(
        SPACE,
        evaluate,
        strategy="random_search",
        objectives={"error": "minimize", "size": "maximize"},
        limits={"size": 8},
        evaluations=27,
    )
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    to_optuna(result, storage, study_name="mine")
    study = optuna.load_study(study_name="mine", storage=storage)

    assert [d.name.lower() for d in study.directions] == ["minimize", "maximize"]
    assert study.metric_names == ["error", "size"]
    assert study.user_attrs == {"strategy": "random_search", "seed": 0, "limits": {"size": 8.0}}
    assert len(study.trials) == len(result.trials) == 27
    for ours, theirs in zip(result.trials, study.trials, strict=True):
        assert theirs.number == ours.number
        assert theirs.params == dict(ours.architecture)
        assert theirs.user_attrs["state"] == ours.state
        assert theirs.datetime_start.timestamp() == pytest.approx(ours.started, abs=1e-3)
        assert theirs.duration.total_seconds() == pytest.approx(ours.seconds, abs=1e-3)
        if ours.state == "failed":
            assert theirs.state == TrialState.FAIL
            assert "no memory" in theirs.user_attrs["error"]
        else:
            assert theirs.state == TrialState.COMPLETE
            assert theirs.values == [ours.metrics["error"], ours.metrics["size"]]
            assert theirs.user_attrs["extra"] == 1.5
            assert theirs.constraints == {"0": ours.violation}
    assert {t.state for t in result.trials} == {"complete", "infeasible", "failed"}
    assert {tuple(t.values) for t in study.best_trials} == {
        (t.metrics["error"], t.metrics["size"]) for t in result.pareto_front
    }
    with pytest.raises(optuna.exceptions.DuplicatedStudyError):
        to_optuna(result, storage, study_name="mine")


def test_parts_of_the_budget_with_several_objectives_keep_what_they_measured():
    def slow(architecture, *, budget):
        return {"error": architecture["a"] + 1 / budget, "size": architecture["a"]}

    result = nasx.search(
        nasx.Space({"a": nasx.Integer(0, 30)}),
        slow,
        strategy=nasx.ASHA(max_budget=9),
        objectives={"error": "minimize", "size": "maximize"},
        evaluations=4,
    )
    study = to_optuna(result)  # a name is made up
    partial = [trial for trial in result.trials if trial.state == "partial"]
    pruned = [trial for trial in study.trials if trial.state == TrialState.PRUNED]
    assert len(partial) == len(pruned) > 0
    for ours, theirs in zip(sorted(partial, key=lambda t: t.number), pruned, strict=True):
        assert theirs.user_attrs["budget"] == ours.budget
        assert {name: theirs.user_attrs[name] for name in ("error", "size")} == ours.metrics


def test_a_space_without_decisions_is_no_study():
    result = nasx.search(
        nasx.spaces.Topology(inputs=1, outputs=1),
        lambda a: float(len(a["nodes"])),
        strategy="neat",
        objectives={"nodes": "minimize"},
        evaluations=3,
    )
    with pytest.raises(ValueError, match="Topology has no decisions"):
        to_optuna(result)


def test_over_a_limit_on_a_cost_and_parts_of_the_budget():
    space = nasx.Space({"a": nasx.Integer(0, 8)})
    result = nasx.search(
        space,
        lambda a: float(a["a"]),
        objectives={"loss": "minimize"},
        costs={"size": lambda x: x[:, 0]},
        limits={"size": 4},
        initial=[{"a": 7}],
        evaluations=3,
    )
    states = [t.state for t in to_optuna(result, study_name="costs").trials]
    assert states == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]

    def slow(architecture, *, budget):
        return architecture["a"] + 1 / budget

    result = nasx.search(
        space, slow, strategy=nasx.ASHA(max_budget=9), objectives={"loss": "minimize"}, evaluations=4
    )
    study = to_optuna(result, study_name="parts")
    for ours, theirs in zip(sorted(result.trials, key=lambda t: t.number), study.trials, strict=True):
        if ours.state == "partial":
            assert theirs.state == TrialState.PRUNED
            assert theirs.intermediate_values == {ours.budget: ours.metrics["loss"]}
    assert any(t.state == TrialState.PRUNED for t in study.trials)
    assert study.best_value == result.best.metrics["loss"]
