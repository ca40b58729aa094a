"""The traps of FBNet: draws that are paid for, temperatures, guarded logarithms, separate images."""

import math

import numpy as np
import pytest
import reference.hardware_aware as reference
import torch
from strategies.cost_aware import (
    CELLS,
    METHODS,
    batch_of,
    digits,
    limited,
    logits_of,
    training,
)
from torch.optim.optimizer import register_optimizer_step_pre_hook

import nasx
from nasx.hardware import LatencyTable
from nasx.nn.supernet import EdgeChoices
from nasx.registry import get_strategy
from nasx.strategies.hardware_aware.fbnet_training import FBNetTraining
from nasx.strategies.limits import CostLimits
from nasx.tasks import ImageClassification

pytestmark = pytest.mark.usefixtures("seeded")


# -- FBNet ---------------------------------------------------------------------------------------------------


def test_the_temperature_falls_exponentially(task):
    supernet, history = CELLS.supernet(task.spec), []
    nasx.FBNet(epochs=3, batch_size=32, annealing=0.045).fit(supernet, task, history=history)
    np.testing.assert_allclose([e["temperature"] for e in history], 5 * np.exp(-0.045 * np.arange(3)))
    rates = [0.05 * (1 + math.cos(math.pi * e / 3)) for e in range(3)]
    np.testing.assert_allclose([e["lr"] for e in history], rates)


def test_the_temperature_falls_as_far_in_few_epochs_as_in_the_published_90():
    assert nasx.FBNet(epochs=90).annealing == pytest.approx(0.045)
    for epochs in (1, 30, 90, 200):
        strategy = nasx.FBNet(epochs=epochs)
        assert strategy.annealing * epochs == pytest.approx(4.05)
        assert get_strategy("fbnet", **strategy.settings).annealing == strategy.annealing


def test_a_mixture_is_a_gumbel_softmax(task):
    made = training(FBNetTraining, METHODS["fbnet"], task)
    made._temperature = 0.7
    rows = made.supernet.logits["cell"].detach()
    torch.manual_seed(3)
    found = made.draw()["cell"]
    torch.manual_seed(3)
    torch.testing.assert_close(found.detach(), reference.gumbel_softmax(rows, 0.7))
    # Its strongest operation is drawn by the softmax of the logits, whatever the temperature.
    winners = torch.stack([made.draw()["cell"].argmax(1) for _ in range(1500)])
    shares = torch.stack([(winners == k).float().mean(0) for k in range(5)], 1)
    torch.testing.assert_close(shares, torch.softmax(rows, 1), rtol=0, atol=0.06)


def test_the_draw_that_is_computed_is_the_one_that_is_paid_for(task):
    limits = limited(CELLS)
    made = training(FBNetTraining, METHODS["fbnet"], task, cost_limits=limits)
    paid, computed = [], []
    expected, run = made.expected, made.supernet.running
    made.expected = lambda drawn, edges: paid.append(drawn["cell"]) or expected(drawn, edges)
    made.expected.loss, made.expected.limited = expected.loss, expected.limited

    def running(choices):
        computed.append(choices["cell"].choices)
        return run(choices)

    made.supernet.running = running
    made.architecture_step(None, batch_of(task))
    (mean, drawn), (rows,) = paid, computed
    assert torch.equal(torch.stack(list(rows)), drawn)
    assert not torch.equal(mean, drawn)  # by which it is seen whether the limit holds


def test_the_gradient_is_that_of_the_loss_times_the_power_of_the_log_of_the_cost(task):
    limits = limited(CELLS)
    made = training(FBNetTraining, METHODS["fbnet"], task, cost_limits=limits)
    batch = batch_of(task)
    made.architecture_optimizer.step = lambda: None
    torch.manual_seed(4)
    made.architecture_step(None, batch)
    rows = made.supernet.logits["cell"]
    found = rows.grad.clone()
    torch.manual_seed(4)
    drawn = reference.gumbel_softmax(rows, 5.0)
    with made.supernet.running({"cell": EdgeChoices(drawn.unbind())}):
        loss = task.loss(made.supernet, batch)[0]
    table = limits.tables["latency_ms"]
    cost = table.intercept + sum(
        (row * torch.tensor(costs, dtype=row.dtype)).sum()
        for row, costs in zip(drawn, table.entries, strict=True)
    )
    assert cost > math.e
    (gradient,) = torch.autograd.grad(loss * 0.2 * torch.log(cost) ** 0.6, rows)
    torch.testing.assert_close(found, gradient, rtol=1e-3, atol=1e-6)
    # Another draw for the cost would be another gradient.
    torch.manual_seed(5)
    other = reference.gumbel_softmax(rows, 5.0)
    assert not torch.allclose(other, drawn)


def test_whether_a_limit_holds_is_seen_without_the_draw(task):
    """At a high temperature all draws cost about the same, whatever has been learned."""
    limits = limited(CELLS)
    limit, table = limits.limits["latency_ms"], limits.tables["latency_ms"]
    made = training(FBNetTraining, METHODS["fbnet"], task, cost_limits=limits)
    rows = made.supernet.logits["cell"]

    def gradients(strength):
        """Of the loss, and of the loss with its costs, when cheap operations are preferred so much."""
        with torch.no_grad():
            rows.copy_(-strength * torch.tensor(np.stack(table.entries)))
        made.architecture_optimizer.step = lambda: None
        torch.manual_seed(3)
        made.architecture_step(None, batch_of(task))
        whole = rows.grad.clone()
        torch.manual_seed(3)
        drawn = made.draw()
        (alone,) = torch.autograd.grad(made.loss_of(made.mixture(drawn), batch_of(task)), rows)
        costs = made.expected(made.supernet.probabilities())["latency_ms"].item()
        return alone, whole, costs, made.expected(drawn)["latency_ms"].item()

    alone, whole, mean, drawn = gradients(0.3)
    assert mean < limit < drawn
    torch.testing.assert_close(whole, alone * 0.2 * math.log(limit) ** 0.6, rtol=1e-4, atol=1e-7)
    alone, whole, mean, _ = gradients(-0.3)
    assert mean > limit
    assert not torch.allclose(whole / whole.norm(), alone / alone.norm(), atol=0.01)


@pytest.mark.parametrize("scale", [1e-3, 0.3, 1.0])
def test_costs_of_less_than_one_have_a_loss_and_a_gradient(task, scale):
    random = np.random.default_rng(0)
    table = LatencyTable(CELLS, [scale * random.uniform(0.01, 0.2, 5) for _ in range(6)])
    limits = CostLimits({"ms": table}, {"ms": scale}, lambda x: np.maximum(table(x) - scale, 0))
    made = training(FBNetTraining, METHODS["fbnet"], task, cost_limits=limits)
    made.architecture_step(None, batch_of(task))
    assert torch.isfinite(made.supernet.logits["cell"].grad).all()
    value = made.expected.loss(torch.tensor(2.0), {"ms": torch.tensor(scale, dtype=torch.float64)})
    assert math.isfinite(value)
    assert float(value) > 0


def test_weights_and_architecture_learn_from_their_own_images_one_after_the_other(task):
    seen = []

    def hook(optimizer, args, kwargs):
        seen.append(type(optimizer).__name__)

    asked = []

    class Recording(ImageClassification):
        def loaders(self, split, seed=0, **options):
            asked.append((split, options.get("part")))
            return super().loaders(split, seed, **options)

    recording = digits(Recording)
    handle = register_optimizer_step_pre_hook(hook)
    try:
        METHODS["fbnet"].fit(CELLS.supernet(task.spec), recording)
    finally:
        handle.remove()
    assert asked == [("train", (0.0, 0.8)), ("train", (0.8, 1.0))]
    # 64 and 16 images: the first epoch warms up.
    assert seen == ["SGD"] * 4 + ["SGD"] * 4 + ["Adam"]


def test_weights_learn_in_drawn_mixtures_and_logits_do_not(task):
    made = training(FBNetTraining, METHODS["fbnet"], task)
    before = logits_of(made)
    with torch.no_grad():
        drawn = made.draw()
    made.drawn_weight_step(made.mixture(drawn), batch_of(task))
    assert torch.equal(before["cell"], made.supernet.logits["cell"])
    assert all(p.grad is not None for p in made.weights)
