"""DARTS and PC-DARTS under limits on costs: they end within them, and the expected cost is part of the loss."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import nasx
from nasx.hardware import LatencyTable
from nasx.nn import LayerChoice
from nasx.strategies.differentiable.gradients import second_order_gradient
from nasx.strategies.limits import CostLimits
from nasx.tasks import ImageClassification
from nasx.tasks.datasets import load

# Searches this short end anywhere.
pytestmark = pytest.mark.filterwarnings("ignore:.*skip connections:UserWarning")

CELLS = nasx.spaces.NASBench201(cells=1, channels=4)
DARTS_SPACE = nasx.spaces.DARTS(cells=3, channels=4, nodes=2)


def network():
    def layer():
        candidates = {"conv": lambda c: nn.Conv2d(c, c, 3, padding=1), "skip": lambda c: nn.Identity()}
        return nn.Sequential(nn.BatchNorm2d(8), LayerChoice(candidates, channels=8), nn.ReLU())

    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    return nn.Sequential(nn.Conv2d(1, 8, 3, stride=2), layer(), layer(), *head)


MODULES = nasx.space_of(network)


class Digits(ImageClassification):
    """A few digits; `at_loss` is called before each loss."""

    def __init__(self, at_loss=None):
        data = load("digits")
        (x, y), (a, b) = data["train"], data["valid"]
        super().__init__((x[:96], y[:96]), (a[:40], b[:40]), batch_size=16, threads=1, device="cpu")
        self.count, self.at_loss = 0, at_loss

    def loss(self, model, batch):
        self.count += 1
        if self.at_loss is not None:
            self.at_loss(self.count)
        return super().loss(model, batch)


@pytest.fixture(scope="module")
def task():
    return Digits()


def random_table(space, seed=0):
    random = np.random.default_rng(seed)
    return LatencyTable(space, [random.uniform(0.5, 2, n) for n in space.cardinalities], intercept=3.0)


def run(task, space, strategy, table, limit, journal=None, **options):
    return nasx.search(
        space,
        task,
        strategy=strategy,
        costs={"ms": table},
        limits={"ms": limit},
        journal=journal,
        **({"seed": 7} | options),
    )


def limit_at(table, share):
    low, high = table.range()
    return low + share * (high - low)


def timeless(history):
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in history]


# -- where they end --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize(
    ("space", "strategy"),
    [
        (CELLS, nasx.DARTS(epochs=1, batch_size=24)),
        (CELLS, nasx.PCDARTS(epochs=1, batch_size=24)),
        (DARTS_SPACE, nasx.DARTS(epochs=1, batch_size=48, order=2, cost_form="multiply")),
        (DARTS_SPACE, nasx.PCDARTS(epochs=1, batch_size=48, cost_form="fbnet")),
        (MODULES, nasx.DARTS(epochs=1, batch_size=24, cost_form=None)),
    ],
)
def test_what_is_found_is_within_the_limit(task, space, strategy, share):
    table = random_table(space)
    result = run(task, space, strategy, table, limit_at(table, share))
    assert result.stopped == "epochs"
    assert result.best.metrics["ms"] <= result.limits["ms"]
    assert result.best.architecture.genotype.tolist() == result.history[-1]["genotype"]
    assert math.isfinite(result.history[-1]["expected_costs"]["ms"])


def test_without_the_limit_it_is_over(task):
    """The limits above bind: what is derived from the same supernet without them is slower."""
    table = random_table(CELLS)
    limit = limit_at(table, 0.2)
    strategy = nasx.DARTS(epochs=1, batch_size=24, cost_form=None)
    found, free = (run(task, CELLS, strategy, table, x) for x in (limit, 1e9))
    assert found.history[-1]["probabilities"] == free.history[-1]["probabilities"]
    assert free.best.metrics["ms"] > limit >= found.best.metrics["ms"]
    assert free.best.architecture.genotype.tolist() == free.supernet.derive().tolist()


def test_parameters_named_by_their_name_are_limited(task):
    counted = nasx.hardware.ParamsTable().bind(CELLS, task.spec)
    limit = float(np.quantile(counted(CELLS.sample(200)), 0.2))
    result = nasx.search(
        CELLS,
        task,
        strategy=nasx.DARTS(epochs=1, batch_size=48),
        costs=["parameters"],
        limits={"parameters": limit},
    )
    assert result.best.metrics["parameters"] <= limit
    built = sum(p.numel() for p in result.best.architecture.build(task.spec).parameters())
    assert built == result.best.metrics["parameters"]


def test_nothing_is_trained_where_nothing_is_within(task):
    table, task.count = random_table(CELLS), 0
    result = run(task, CELLS, "darts", table, 0.99 * table.range()[0])
    assert task.count == 0
    assert result.best is None
    assert result.stopped == "exhausted"
    assert "no architecture within the limits on costs" in result.reason


class Measured:
    name, deterministic = "ms", False

    def __call__(self, rows):
        return 1.0 + np.zeros(len(rows))


def test_measured_costs_leave_training_alone(task):
    strategy = nasx.DARTS(epochs=1, batch_size=48)
    result = nasx.search(CELLS, task, strategy=strategy, costs={"ms": Measured()})
    assert "expected_costs" not in result.history[0]
    assert result.best.metrics["ms"] == 1


@pytest.mark.parametrize("name", ["darts", "pc_darts", "proxyless_nas", "fbnet", "enas"])
def test_limits_on_measured_costs_are_refused_before_anything_is_trained(task, name):
    task.count = 0
    with pytest.raises(ValueError, match=rf"limits: 'ms' is measured .* {name!r} .*LatencyTable\.measure"):
        run(task, CELLS, name, Measured(), 5.0)
    assert task.count == 0
    # Nor where it is one of the costs that come with names.
    with pytest.raises(ValueError, match="limits: 'latency_ms' is measured"):
        nasx.search(CELLS, task, strategy=name, costs=["latency_ms"], limits={"latency_ms": 1e6})


def test_constraints_hold_too(task):
    space = nasx.spaces.NASBench201(cells=1, channels=4)
    space.constraints = (lambda rows: (rows == 0).sum(axis=1) == 2,)
    result = nasx.search(space, task, strategy=nasx.DARTS(epochs=1, batch_size=48))
    assert (result.best.architecture.genotype == 0).sum() == 2


def test_where_no_genotype_is_found_after_training_that_is_said(task):
    """A limit that random architectures meet, but none when training is over."""

    def cost(rows):
        return np.zeros(len(rows)) if task.count == 0 else np.ones(len(rows))

    task.count = 0
    result = run(task, CELLS, nasx.DARTS(epochs=1, batch_size=48), cost, 0.5)
    assert result.stopped == "exhausted"
    assert len(result.trials) == 0
    assert len(result.history) == 1
    assert result.history[0]["genotype"] is None
    assert "no architecture within the limits on costs" in result.reason


# -- the term --------------------------------------------------------------------------------------------------


LEARNING = {"epochs": 2, "batch_size": 24, "architecture_lr": 0.05}


@pytest.fixture(scope="module")
def without_term(task):
    table = random_table(CELLS)
    return run(task, CELLS, nasx.DARTS(**LEARNING, cost_form=None), table, limit_at(table, 0.3))


@pytest.mark.parametrize("form", ["add", "multiply", "fbnet"])
def test_with_the_term_what_is_drawn_is_cheaper(task, form, without_term):
    table = random_table(CELLS)
    strategy = nasx.DARTS(**LEARNING, cost_form=form, cost_weight=3.0 if form == "add" else None)
    found = run(task, CELLS, strategy, table, limit_at(table, 0.3))
    costs = [[entry["expected_costs"]["ms"] for entry in one.history] for one in (found, without_term)]
    assert all(ours < theirs for ours, theirs in zip(*costs, strict=True))
    assert found.best.metrics["ms"] <= found.limits["ms"]
    # What is recorded is the loss of the networks alone, so that both can be compared.
    losses = [one.history[0]["architecture_loss"] for one in (found, without_term)]
    assert losses[0] == pytest.approx(losses[1], abs=0.5)


def test_limits_leave_the_weights_first_step_alone(task):
    """Only the architecture's loss has the term."""
    table = random_table(CELLS)
    limits = CostLimits({"ms": table}, {"ms": 1.0}, lambda rows: np.zeros(len(rows)))
    weights = []
    for cost_limits in (None, limits):
        torch.manual_seed(0)
        supernet = CELLS.supernet(task.spec)
        strategy = nasx.DARTS(epochs=1, batch_size=96, architecture_lr=1e-12, cost_weight=5.0)
        strategy.fit(supernet, task, cost_limits=cost_limits)
        weights.append(supernet.weight_parameters())
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


class Quadratic(nn.Module):
    def __init__(self):
        super().__init__()
        random = torch.Generator().manual_seed(1)
        self.w = nn.Parameter(torch.randn(4, generator=random, dtype=torch.float64))
        self.alpha = nn.Parameter(torch.randn(3, generator=random, dtype=torch.float64))
        self.b, self.d = torch.randn(2, 4, 3, generator=random, dtype=torch.float64)

    def loss(self, batch):
        if batch == "train":
            return (self.w - self.b @ self.alpha).square().sum()
        return (self.w - self.d @ self.alpha).square().sum() + 1.0

    def objective(self, value):
        return value * (1 + self.alpha.square().sum()) ** 0.5


def test_a_look_ahead_steps_down_the_training_loss_alone():
    """The second-order gradient of a loss times a cost, against differences of the whole look ahead."""
    net, rate = Quadratic(), 0.1
    optimizer = torch.optim.SGD([net.w], rate, momentum=0.0, weight_decay=0.0)
    second_order_gradient(
        net,
        net.loss,
        "train",
        "valid",
        weights=[net.w],
        logits=[net.alpha],
        optimizer=optimizer,
        objective=net.objective,
    )
    w, alpha = net.w.detach().clone(), net.alpha.detach().clone()

    def whole(at):
        net.alpha.data = at
        net.w.data = w.clone()
        (gradient,) = torch.autograd.grad(net.loss("train"), [net.w])
        net.w.data = w - rate * gradient
        return net.objective(net.loss("valid")).item()

    for place in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[place] = 1e-6
        difference = (whole(alpha + step) - whole(alpha - step)) / 2e-6
        assert net.alpha.grad[place].item() == pytest.approx(difference, rel=1e-5)


# -- early stops, interruptions --------------------------------------------------------------------------------


def test_an_early_stop_takes_one_within_the_limit(task):
    table = random_table(CELLS)
    strategy = nasx.DARTS(epochs=4, batch_size=48, architecture_lr=0.5, early_stop="skips", max_skips=0)
    limit = limit_at(table, 0.25)
    result = run(task, CELLS, strategy, table, limit)
    assert result.stopped == "early_stop"
    assert result.best.metrics["ms"] <= limit
    genotypes = [entry["genotype"] for entry in result.history]
    assert (table(genotypes) <= limit).all()
    assert result.best.architecture.genotype.tolist() == genotypes[max(len(genotypes) - 2, 0)]


def test_a_killed_search_goes_on_to_the_same_bits(task, tmp_path):
    table = random_table(CELLS)
    limit = limit_at(table, 0.3)
    strategy = nasx.DARTS(epochs=3, batch_size=48, architecture_lr=0.05)
    whole = run(task, CELLS, strategy, table, limit)

    def kill(count):
        if count == 6:
            raise KeyboardInterrupt

    stopped = run(Digits(kill), CELLS, strategy, table, limit, tmp_path / "run.db")
    assert stopped.stopped == "interrupted"
    assert 0 < len(stopped.history) < 3
    again = run(task, CELLS, strategy, table, limit, tmp_path / "run.db")
    assert json.dumps(timeless(again.history)) == json.dumps(timeless(whole.history))
    assert again.best.architecture == whole.best.architecture
    assert again.best.metrics == whole.best.metrics
