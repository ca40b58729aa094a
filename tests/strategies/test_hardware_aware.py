"""FBNet and ProxylessNAS from end to end: settings, limits, seeds, and trainings that are killed."""

import copy
import math

import numpy as np
import pytest
import torch
from strategies.cost_aware import (
    CELLS,
    METHODS,
    SPACES,
    batch_of,
    digits,
    table_of,
    training,
)

import nasx
from nasx.registry import get_strategy
from nasx.strategies.hardware_aware.fbnet_training import FBNetTraining
from nasx.strategies.hardware_aware.proxyless_training import ProxylessTraining
from nasx.strategies.hardware_aware.rewarded_training import RewardedTraining
from nasx.tasks import ImageClassification

pytestmark = pytest.mark.usefixtures("seeded")


# -- settings ------------------------------------------------------------------------------------------------


def test_defaults_are_the_published_ones():
    assert nasx.FBNet().settings == {
        "epochs": 90,
        "warmup_epochs": 10,
        "batch_size": 192,
        "architecture_data": 0.2,
        "lr": 0.1,
        "lr_min": 0.0,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "grad_clip": 5.0,
        "architecture_lr": 0.01,
        "architecture_weight_decay": 5e-4,
        "temperature": 5.0,
        "annealing": 0.045,
        "cost_weight": 0.2,
        "cost_exponent": 0.6,
        "targets": None,
    }
    settings = nasx.ProxylessNAS().settings
    assert settings["epochs"] == 160
    assert settings["warmup_epochs"] == 40
    assert (settings["warmup_lr"], settings["lr"]) == (0.05, 0.025)
    assert settings["architecture_lr"] == 0.001
    assert settings["form"] == "gradient"
    assert nasx.ProxylessNAS.architecture_betas == (0.0, 0.999)


@pytest.mark.parametrize("name", ["fbnet", "proxyless_nas"])
def test_strategies_are_made_by_name_and_again_from_their_settings(name):
    strategy = get_strategy(name, epochs=7, targets={"latency_ms": 3})
    assert strategy.targets == {"latency_ms": 3.0}
    assert get_strategy(name, **strategy.settings).settings == strategy.settings
    assert name in nasx.available_strategies()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1; got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2; got 1"),
        ({"epochs": 3, "warmup_epochs": 3}, "warmup_epochs must be less than epochs, 3"),
        ({"architecture_data": "test"}, 'architecture_data must be "valid" or a share between 0 and 1'),
        ({"architecture_data": 1.0}, "architecture_data must be .* got 1.0"),
        ({"lr": 0}, "lr must be a number of more than 0; got 0"),
        ({"momentum": 1.0}, "momentum must be less than 1; got 1.0"),
        ({"grad_clip": 0}, "grad_clip must be a number of more than 0"),
        ({"targets": {}}, "targets must map names of costs to numbers of more than 0, or be None; got {}"),
        ({"targets": {"latency_ms": 0}}, "targets must map"),
        ({"targets": 3.0}, "targets must map"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    for cls in (nasx.FBNet, nasx.ProxylessNAS):
        with pytest.raises(ValueError, match=message):
            cls(**settings)


@pytest.mark.parametrize(
    ("cls", "settings", "message"),
    [
        (nasx.FBNet, {"temperature": 0}, "temperature must be a number of more than 0"),
        (nasx.FBNet, {"annealing": -1}, "annealing must be a number of at least 0"),
        (nasx.FBNet, {"cost_weight": 0}, "cost_weight must be a number of more than 0"),
        (nasx.ProxylessNAS, {"form": "policy"}, "form must be 'gradient' or 'reinforce'; got 'policy'"),
        (nasx.ProxylessNAS, {"cost_form": "fbnet"}, "cost_form must be 'add' or 'multiply'"),
        (nasx.ProxylessNAS, {"reward": "loss"}, "reward must be 'accuracy' or 'likelihood'"),
        (nasx.ProxylessNAS, {"samples": 0}, "samples must be at least 1; got 0"),
        (nasx.ProxylessNAS, {"architecture_every": 0}, "architecture_every must be at least 1; got 0"),
        (nasx.ProxylessNAS, {"baseline_decay": 1}, "baseline_decay must be less than 1; got 1"),
        (nasx.ProxylessNAS, {"cost_exponent": -1}, "cost_exponent must be a number of more than 0"),
    ],
)
def test_wrong_settings_of_one_method_are_named(cls, settings, message):
    with pytest.raises(ValueError, match=message):
        cls(**settings)


# -- from end to end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("method", METHODS)
def test_searches_end_within_the_limit(task, name, method):
    space, table = SPACES[name], table_of(SPACES[name])
    limit = float(np.quantile(table(space.sample(500, seed=1)), 0.2))
    before = torch.get_rng_state()
    result = nasx.search(
        space,
        task,
        strategy=METHODS[method],
        costs={"latency_ms": table},
        limits={"latency_ms": limit},
        seed=3,
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert result.stopped == "epochs"
    assert result.best.metrics["latency_ms"] <= limit
    first, last = result.history
    assert first["architecture_loss"] is None
    assert math.isfinite(last["architecture_loss"])
    low, high = table.range() if not len(space.conditions) else (0, math.inf)
    assert low <= last["expected_costs"]["latency_ms"] <= high
    found = result.best.architecture.extract(result.supernet)
    assert found(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("method", METHODS)
def test_without_limits_the_likeliest_operations_are_taken(task, method):
    result = nasx.search(CELLS, task, strategy=METHODS[method], seed=1)
    assert result.best.architecture.genotype.tolist() == result.supernet.logits["cell"].argmax(1).tolist()
    assert "expected_costs" not in result.history[-1]


@pytest.mark.parametrize("method", METHODS)
def test_no_architecture_within_the_limit_is_said(task, method):
    table = table_of(CELLS)
    result = nasx.search(
        CELLS, task, strategy=METHODS[method], costs={"latency_ms": table}, limits={"latency_ms": 0.1}
    )
    assert result.best is None
    assert result.stopped == "exhausted"


def test_targets_need_costs(task):
    with pytest.raises(ValueError, match=r"targets .*'latency_ms'.* need costs"):
        nasx.search(CELLS, task, strategy=nasx.FBNet(epochs=1, targets={"latency_ms": 3.0}))
    table = table_of(CELLS)
    result = nasx.search(
        CELLS,
        task,
        strategy=nasx.ProxylessNAS(epochs=1, warmup_epochs=0, batch_size=32, targets={"latency_ms": 3.0}),
        costs={"latency_ms": table},
    )
    assert result.history[0]["expected_costs"]["latency_ms"] > 0


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_bits_and_a_killed_training_goes_on_where_it_was(task, tmp_path, method):
    strategy = METHODS[method]
    options = {"costs": {"latency_ms": table_of(CELLS)}, "limits": {"latency_ms": 11.0}, "seed": 5}
    whole = nasx.search(CELLS, task, strategy=strategy, **options)

    class Killed(BaseException):
        pass

    class Dying(ImageClassification):
        left = 0

        def loss(self, model, batch):
            self.left -= 1
            if self.left == 0:
                raise Killed
            return super().loss(model, batch)

    dying = digits(Dying)
    dying.__class__.__name__ = "ImageClassification"
    journal = tmp_path / "run.db"
    for steps in (7, 3):  # in the second epoch, and where that was gone on with
        dying.left = steps
        with pytest.raises(Killed):
            nasx.search(CELLS, dying, strategy=strategy, journal=journal, **options)
    dying.left = 0
    again = nasx.search(CELLS, dying, strategy=strategy, journal=journal, **options)

    def timeless(history):
        return [{k: v for k, v in entry.items() if k != "seconds"} for entry in history]

    assert timeless(again.history) == timeless(whole.history)
    mine, theirs = again.supernet.state_dict(), whole.supernet.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert again.best.architecture == whole.best.architecture
    other = nasx.search(CELLS, task, strategy=strategy, **options | {"seed": 6})
    assert timeless(other.history) != timeless(whole.history)


@pytest.mark.parametrize("kind", [FBNetTraining, ProxylessTraining, RewardedTraining])
def test_the_state_holds_optimisers_temperature_and_baseline(task, kind):
    strategy = METHODS[{FBNetTraining: "fbnet", ProxylessTraining: "gradient"}.get(kind, "reinforce")]
    made = training(kind, strategy, task)
    made.architecture_step(None, batch_of(task))
    state = made.state()
    assert state["architecture_optimizer"]["state"]
    if kind is FBNetTraining:
        made._temperature = state["temperature"] = 1.25
    other = training(kind, strategy, task)
    other.load_state(copy.deepcopy(state), 1)
    other.supernet.load_state_dict(made.supernet.state_dict())
    assert other.temperature == made.temperature
    assert getattr(other, "baseline", 0) == getattr(made, "baseline", 0)
    for one in (made, other):
        torch.manual_seed(7)
        one.architecture_step(None, batch_of(task))
    assert torch.equal(made.supernet.logits["cell"], other.supernet.logits["cell"])


# -- the autoregressive policy -------------------------------------------------------------------------------


def test_an_lstm_with_the_reward_of_mnasnet_searches_these_spaces():
    """Proxyless-RL and MnasNet: an autoregressive policy, rewarded by ``accuracy * (latency / T)^w``."""
    space = nasx.spaces.ProxylessMobile()  # a policy that is sure runs out of new ones in a small space
    table, quality = table_of(space), table_of(space, seed=1)
    target = float(np.quantile(table(space.sample(200)), 0.3))

    def evaluate(architecture):
        row = architecture.genotype[None]
        accuracy = quality(row)[0] / 10
        return float(accuracy * (table(row)[0] / target) ** -0.07)

    strategy = nasx.REINFORCE(policy="lstm")
    options = {"objectives": {"reward": "maximize"}, "evaluations": 120, "seed": 0}
    result = nasx.search(space, evaluate, strategy=strategy, **options)
    values = [trial.metrics["reward"] for trial in result.trials]
    assert np.mean(values[-40:]) > np.mean(values[:40])
