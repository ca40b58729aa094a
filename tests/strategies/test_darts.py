"""DARTS and PC-DARTS, trap by trap."""

import copy
import dataclasses
import math
import time
import warnings

import numpy as np
import pytest
import reference.darts as reference
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_pre_hook

import nasx
from nasx.errors import EvaluationError
from nasx.nn.mixed import MixedOp
from nasx.nn.recalibration import frozen_statistics
from nasx.registry import get_strategy
from nasx.spaces import NASBench201
from nasx.strategies.differentiable.darts import _sharper
from nasx.strategies.differentiable.gradients import dominant_eigenvalue, second_order_gradient
from nasx.tasks import ImageClassification
from nasx.tasks.datasets import load

# Searches this short end anywhere; tests of the warning ask for it.
pytestmark = pytest.mark.filterwarnings("ignore:.*skip connections:UserWarning")

CELLS = NASBench201(cells=1, channels=4)
DARTS_SPACE = nasx.spaces.DARTS(cells=3, channels=4, nodes=2)
SKIP = NASBench201.operations.index("skip_connect")


class OfChoices(nn.Module):
    """A module of somebody's own, with normalisation and dropout in its choices."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.body = nasx.nn.LayerChoice(
            {
                "wide": nn.Sequential(nn.Conv2d(4, 4, 5, padding=2), nn.BatchNorm2d(4), nn.Dropout(0.2)),
                "none": nn.Identity(),
            }
        )
        self.last = nn.Linear(4, 10)

    def forward(self, x):
        return self.last(self.body(self.first(x)).mean((2, 3)))


class Recording(ImageClassification):
    """Remembers which batches were asked for."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked = []

    def loaders(self, split, seed=0, **options):
        self.asked.append((split, seed, options))
        return super().loaders(split, seed, **options)


@pytest.fixture(scope="module")
def task():
    data = load("digits")
    (x, y), (a, b) = data["train"], data["valid"]
    return Recording((x[:96], y[:96]), (a[:40], b[:40]), batch_size=16, threads=1, device="cpu")


@pytest.fixture(autouse=True)
def seed(task):
    torch.manual_seed(0)
    task.asked.clear()


@pytest.fixture
def steps():
    """Which optimisers step, in order, with the norm of the gradients that they use and their parameters."""
    seen = []

    def hook(optimizer, args, kwargs):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = math.sqrt(sum(float(p.grad.square().sum()) for p in parameters if p.grad is not None))
        rate = optimizer.param_groups[0]["lr"]
        seen.append((type(optimizer).__name__, norm, [id(p) for p in parameters], rate))

    handle = register_optimizer_step_pre_hook(hook)
    yield seen
    handle.remove()


def fit(strategy, task, space=CELLS, *, seed=0, change=None, **options):
    """The trained supernet, the history, what came of it, and the architecture parameters after each epoch."""
    supernet = space.supernet(task.spec, **strategy.supernet_settings)
    if change is not None:
        with torch.no_grad():
            change(supernet)
    history, rows = [], [parameters(supernet)]
    fitted = strategy.fit(
        supernet,
        task,
        seed=seed,
        history=history,
        report=lambda _: rows.append(parameters(supernet)),
        **options,
    )
    return supernet, history, fitted, rows


def parameters(supernet):
    return [p.detach().clone() for p in supernet.architecture_parameters()]


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# -- settings --------------------------------------------------------------------------------------------------


def test_defaults_are_the_published_ones():
    assert nasx.DARTS().settings == {
        "epochs": 50,
        "order": 1,
        "batch_size": 64,
        "architecture_data": 0.5,
        "lr": 0.025,
        "lr_min": 0.001,
        "momentum": 0.9,
        "weight_decay": 3e-4,
        "grad_clip": 5.0,
        "architecture_lr": 3e-4,
        "architecture_betas": [0.5, 0.999],
        "architecture_weight_decay": 1e-3,
        "warmup_epochs": 0,
        "temperature": 1.0,
        "final_temperature": 1.0,
        "early_stop": None,
        "max_skips": 2,
        "mixed_precision": False,
        "recompute": False,
        "cost_form": "add",
        "cost_weight": None,
        "cost_exponent": None,
    }
    assert nasx.PCDARTS().settings == nasx.DARTS().settings | {
        "batch_size": 256,
        "lr": 0.1,
        "lr_min": 0.0,
        "architecture_lr": 6e-4,
        "warmup_epochs": 15,
        "partial_channels": 4,
        "edge_normalization": True,
    }
    assert nasx.DARTS().supernet_settings == {}
    assert nasx.PCDARTS().supernet_settings == {"partial_channels": 4, "edge_normalization": True}
    assert nasx.PCDARTS(epochs=20).warmup_epochs == 6
    assert nasx.PCDARTS(epochs=20, warmup_epochs=0).warmup_epochs == 0


def test_strategies_are_made_by_name_and_again_from_their_settings():
    for name, cls in (("darts", nasx.DARTS), ("pc_darts", nasx.PCDARTS)):
        strategy = get_strategy(name, epochs=7, architecture_betas=[0.9, 0.99])
        assert type(strategy) is cls
        assert strategy.architecture_betas == (0.9, 0.99)
        assert get_strategy(name, **strategy.settings).settings == strategy.settings
        assert name in nasx.available_strategies()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1; got 0"),
        ({"epochs": 2.0}, "epochs must be an integer; got 2.0"),
        ({"order": 3}, "order must be 1 or 2; got 3"),
        ({"order": True}, "order must be an integer; got True"),
        ({"batch_size": 1}, "batch_size must be at least 2; got 1"),
        ({"warmup_epochs": -1}, "warmup_epochs must be at least 0; got -1"),
        ({"warmup_epochs": 50}, "warmup_epochs must be less than epochs, 50, or no architecture is learned"),
        ({"max_skips": -1}, "max_skips must be at least 0"),
        ({"early_stop": "skip"}, "early_stop must be None or 'skips' or 'eigenvalue'; got 'skip'"),
        ({"mixed_precision": 1}, "mixed_precision must be True or False; got 1"),
        ({"recompute": 1}, "recompute must be True or False; got 1"),
        (
            {"cost_form": "subtract"},
            "cost_form must be None or 'add' or 'multiply' or 'fbnet'; got 'subtract'",
        ),
        ({"cost_weight": 0}, "cost_weight must be a number of more than 0; got 0"),
        ({"cost_exponent": -1.0}, "cost_exponent must be a number of more than 0; got -1.0"),
        ({"mixed_precision": True, "order": 2}, "mixed_precision=True needs order=1"),
        ({"architecture_data": "test"}, 'architecture_data must be "valid" or a share between 0 and 1'),
        ({"architecture_data": 0}, "architecture_data must be .* got 0"),
        ({"architecture_data": 1.0}, "architecture_data must be .* got 1.0"),
        ({"architecture_data": True}, "architecture_data must be .* got True"),
        ({"architecture_data": None}, "architecture_data must be .* got None"),
        ({"architecture_data": math.nan}, "architecture_data must be .* got nan"),
        ({"architecture_betas": (0.5,)}, r"architecture_betas must be two numbers in \[0, 1\); got \(0.5,\)"),
        ({"architecture_betas": (0.5, 1.0)}, r"architecture_betas must be two numbers"),
        ({"architecture_betas": 0.5}, r"architecture_betas must be two numbers"),
        ({"architecture_betas": "ab"}, r"architecture_betas must be two numbers"),
        *(
            ({name: wrong}, f"{name} must be a number of more than 0; got {wrong!r}")
            for name in ("lr", "architecture_lr", "temperature", "final_temperature", "grad_clip")
            for wrong in (0, -1.0, math.inf, math.nan, True, "1")
        ),
        *(
            ({name: wrong}, f"{name} must be a number of at least 0; got {wrong!r}")
            for name in ("lr_min", "momentum", "weight_decay", "architecture_weight_decay")
            for wrong in (-1e-9, math.nan, None, False)
        ),
    ],
)
def test_wrong_settings_are_named(settings, message):
    for cls in (nasx.DARTS, nasx.PCDARTS):
        with pytest.raises(ValueError, match=message):
            cls(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"partial_channels": 0}, "partial_channels must be at least 1; got 0"),
        ({"partial_channels": 4.0}, "partial_channels must be an integer; got 4.0"),
        ({"edge_normalization": None}, "edge_normalization must be True or False; got None"),
        ({"epochs": 5, "warmup_epochs": 5}, "warmup_epochs must be less than epochs, 5"),
    ],
)
def test_wrong_settings_of_pc_darts_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        nasx.PCDARTS(**settings)


# -- steps -----------------------------------------------------------------------------------------------------


def test_a_first_order_search_is_its_plain_twin(task):
    found, history, _, _ = fit(nasx.DARTS(epochs=2, batch_size=16), task, seed=3)
    torch.manual_seed(0)
    plain = CELLS.supernet(task.spec)
    begin = parameters(plain)
    reference.search(plain, task, seed=3, epochs=2, batch_size=16)
    assert not equal(begin, parameters(plain))
    for ours, theirs in zip(found.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    for name, buffer in found.named_buffers():
        torch.testing.assert_close(buffer, plain.get_buffer(name), rtol=1e-5, atol=1e-6)
    assert len(history) == 2


@pytest.mark.parametrize("order", [1, 2])
def test_the_architecture_steps_first_and_each_optimiser_has_its_own(task, steps, order):
    supernet, *_ = fit(nasx.DARTS(epochs=1, batch_size=16, order=order), task)
    assert [name for name, *_ in steps] == ["Adam", "SGD"] * 3
    ids = {
        "Adam": [id(p) for p in supernet.architecture_parameters()],
        "SGD": [id(p) for p in supernet.weight_parameters()],
    }
    assert all(used == ids[name] for name, _, used, _ in steps)


def test_edge_parameters_are_the_architectures_too(task, steps):
    supernet, *_ = fit(nasx.PCDARTS(epochs=1, batch_size=16), task)
    adam = next(used for name, _, used, _ in steps if name == "Adam")
    assert adam == [id(supernet.logits["cell"]), id(supernet.edge_logits["cell"])]


def test_the_learning_rate_is_a_cosine_over_epochs(task, steps):
    _, history, _, _ = fit(nasx.DARTS(epochs=4, batch_size=48), task)
    expected = [0.001 + 0.024 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)]
    assert expected[0] == 0.025
    np.testing.assert_allclose([entry["lr"] for entry in history], expected, rtol=1e-12)
    np.testing.assert_allclose([rate for name, _, _, rate in steps if name == "SGD"], expected, rtol=1e-12)
    assert {rate for name, _, _, rate in steps if name == "Adam"} == {3e-4}


def test_gradients_of_weights_are_clipped_and_those_of_the_architecture_are_not(task, steps):
    fit(nasx.DARTS(epochs=1, batch_size=16, grad_clip=1e-6), task)
    clipped = [norm for name, norm, *_ in steps if name == "SGD"]
    np.testing.assert_allclose(clipped, 1e-6, rtol=1e-2)
    assert min(norm for name, norm, *_ in steps if name == "Adam") > 1e-5
    steps.clear()
    fit(nasx.DARTS(epochs=1, batch_size=16, grad_clip=None), task)
    assert min(norm for name, norm, *_ in steps if name == "SGD") > 0.01


def test_both_learn_from_their_own_images(task):
    fit(nasx.DARTS(epochs=1, batch_size=16, architecture_data=0.25), task, seed=5)
    options = {"training": True, "device": "cpu", "batch_size": 16}
    assert task.asked == [
        ("train", 5, options | {"part": (0.0, 0.75)}),
        ("train", 5, options | {"part": (0.75, 1.0)}),
    ]
    task.asked.clear()
    _, history, _, _ = fit(nasx.DARTS(epochs=1, batch_size=16, architecture_data="valid"), task)
    assert task.asked == [("train", 0, options | {"part": None}), ("valid", 0, options | {"part": None})]
    # 6 steps on 40 images in batches of 16: the other part began again, and was found in every step.
    assert math.isfinite(history[0]["architecture_loss"])


def test_history_holds_what_the_epoch_was(task):
    supernet, history, fitted, _ = fit(nasx.PCDARTS(epochs=2, warmup_epochs=1, batch_size=16), task)
    assert [entry["epoch"] for entry in history] == [1, 2]
    assert history[0]["architecture_loss"] is None
    last = history[1]
    assert last["genotype"] == fitted.genotype.tolist() == supernet.derive().tolist()
    assert (last["skips"], last["operations"]) == supernet.skips(CELLS.decode(fitted.genotype))
    np.testing.assert_allclose(last["probabilities"]["cell"], supernet.probabilities()["cell"].detach())
    np.testing.assert_allclose(
        last["edge_probabilities"]["cell"], supernet.edge_probabilities()["cell"].detach()
    )
    assert last["seconds"] > 0
    assert fitted.stopped == "epochs"


def test_warming_up_leaves_the_architecture_as_it_is_to_the_bit(task, steps):
    for space in (CELLS, DARTS_SPACE):
        steps.clear()
        strategy = nasx.PCDARTS(epochs=3, warmup_epochs=2, batch_size=24, partial_channels=2)
        _, history, _, rows = fit(strategy, task, space)
        assert [name for name, *_ in steps] == ["SGD"] * 4 + ["Adam", "SGD"] * 2
        assert equal(rows[0], rows[1])
        assert equal(rows[0], rows[2])
        # Alphas and betas of every group move afterwards.
        assert not any(torch.equal(a, b) for a, b in zip(rows[2], rows[3], strict=True))
        assert [entry["architecture_loss"] is None for entry in history] == [True, True, False]


def test_the_temperature_moves_geometrically(task):
    strategy = nasx.DARTS(epochs=5, batch_size=48, temperature=4.0, final_temperature=0.25)
    supernet, history, _, _ = fit(strategy, task)
    np.testing.assert_allclose([entry["temperature"] for entry in history], [4, 2, 1, 0.5, 0.25])
    assert supernet.temperature == 0.25
    expected = torch.softmax(supernet.logits["cell"] / 0.25, 1)
    torch.testing.assert_close(torch.tensor(history[-1]["probabilities"]["cell"]), expected)
    assert nasx.DARTS(epochs=1, temperature=3.0).temperature == 3.0
    _, history, _, _ = fit(nasx.DARTS(epochs=1, batch_size=48, temperature=3.0), task)
    assert history[0]["temperature"] == 3.0


def test_a_search_that_diverges_says_what_to_lower(task):
    with pytest.raises(
        EvaluationError, match=r"training diverged: the .*loss became .* in epoch 1; lower lr"
    ):
        fit(nasx.DARTS(epochs=1, batch_size=16, lr=1e30, grad_clip=None), task)


def test_time_that_is_over_ends_before_the_next_step(task, steps):
    supernet, history, fitted, _ = fit(nasx.DARTS(epochs=5), task, deadline=time.monotonic() - 1)
    assert fitted.stopped == "seconds"
    assert steps == history == []
    assert fitted.genotype.tolist() == supernet.derive().tolist()


def test_torchs_own_state_is_left_alone(task):
    strategy = nasx.DARTS(epochs=1, batch_size=48, order=2, early_stop="eigenvalue")
    supernet = CELLS.supernet(task.spec)
    before = torch.get_rng_state()
    strategy.fit(supernet, task)
    assert torch.equal(torch.get_rng_state(), before)


# -- second order ----------------------------------------------------------------------------------------------


class Quadratic(nn.Module):
    """Losses that are quadratic in weights and architecture parameters."""

    def __init__(self):
        super().__init__()
        random = torch.Generator().manual_seed(1)
        self.w = nn.Parameter(torch.randn(4, generator=random))
        self.alpha = nn.Parameter(torch.randn(3, generator=random))
        a = torch.randn(4, 4, generator=random)
        self.a, self.b = a @ a.T / 4, torch.randn(4, 3, generator=random)
        self.c, self.d = torch.randn(4, generator=random), torch.randn(4, 3, generator=random)

    def loss(self, batch):
        w, alpha = self.w, self.alpha
        if batch == "train":
            return 0.5 * w @ self.a @ w + w @ self.b @ alpha
        return 0.5 * (w - self.c).square().sum() + w @ self.d @ alpha + alpha.square().sum()


def test_second_order_is_the_analytic_gradient_on_quadratics_and_first_order_is_not():
    net = Quadratic()
    rate = 0.3
    optimizer = torch.optim.SGD([net.w], rate)
    value = second_order_gradient(
        net, net.loss, "train", "valid", weights=[net.w], logits=[net.alpha], optimizer=optimizer
    )
    with torch.no_grad():
        moved = net.w - rate * (net.a @ net.w + net.b @ net.alpha)
        ahead = moved - net.c + net.d @ net.alpha
        direct = net.d.T @ moved + 2 * net.alpha
        analytic = direct - rate * net.b.T @ ahead
        expected = 0.5 * (moved - net.c).square().sum() + moved @ net.d @ net.alpha + net.alpha.square().sum()
    torch.testing.assert_close(net.alpha.grad, analytic, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(value, expected)
    (first,) = torch.autograd.grad(net.loss("valid"), [net.alpha])
    assert (first - analytic).abs().max() > 0.1
    assert (direct - analytic).abs().max() > 0.1


def test_differences_are_over_a_hundredth_in_all():
    """Not over one that rounding would drown, nor over a longer one: both sides of the published length."""
    net, seen = Quadratic(), []

    def loss(batch):
        seen.append(net.w.detach().clone())
        return net.loss(batch)

    before, rate = net.w.detach().clone(), 0.3
    second_order_gradient(
        net,
        loss,
        "train",
        "valid",
        weights=[net.w],
        logits=[net.alpha],
        optimizer=torch.optim.SGD([net.w], rate),
    )
    _, moved, up, down = seen
    ahead = moved - net.c + net.d @ net.alpha.detach()
    torch.testing.assert_close(up - before, 0.01 * ahead / ahead.norm(), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(down - before, -0.01 * ahead / ahead.norm(), rtol=1e-4, atol=1e-7)


class Smooth(nn.Module):
    """A small mixed network, far from quadratic, whose losses are also functions of given parameters."""

    def __init__(self, dropout=0.0):
        super().__init__()
        random = torch.Generator().manual_seed(2)
        make = lambda *shape: nn.Parameter(0.7 * torch.randn(*shape, generator=random).double())  # noqa: E731
        self.weights = nn.ParameterList([make(3, 5), make(3, 5), make(5, 2)])
        self.logits = nn.ParameterList([make(2), make(5)])
        self.data = {name: torch.randn(12, 3, generator=random).double() for name in ("train", "valid")}
        self.targets = {name: torch.randint(2, (12,), generator=random) for name in self.data}
        self.dropout, self.states = dropout, []

    def compute(self, batch, weights, logits):
        one, two, last = weights
        mix = torch.softmax(logits[0], 0)
        x = self.data[batch]
        h = mix[0] * torch.tanh(x @ one) + mix[1] * torch.sin(2 * x @ two)
        h = F.dropout(h * torch.sigmoid(logits[1]), self.dropout)
        return F.cross_entropy(3 * h @ last, self.targets[batch])

    def loss(self, batch):
        self.states.append((batch, torch.get_rng_state()))
        return self.compute(batch, self.weights, self.logits)


def stepped(net, *, lr=0.4, momentum=0.9, decay=0.05, steps=3):
    """An optimiser that has made steps with another learning rate, so that it has momentum."""
    optimizer = torch.optim.SGD(net.weights, lr / 7, momentum=momentum, weight_decay=decay)
    for _ in range(steps):
        optimizer.zero_grad()
        net.compute("train", net.weights, net.logits).backward()
        optimizer.step()
    for group in optimizer.param_groups:
        group["lr"] = lr
    return optimizer


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("steps", [0, 3])
def test_second_order_is_the_gradient_through_the_weights_real_step(momentum, steps):
    net = Smooth()
    optimizer = stepped(net, momentum=momentum, steps=steps)
    weights, logits = list(net.weights), list(net.logits)
    kept = [p.detach().clone() for p in (*weights, *logits)]
    buffers = [optimizer.state[w].get("momentum_buffer") for w in weights]
    if momentum and steps:
        assert all(buffer.abs().max() > 0.01 for buffer in buffers)
    twin = reference.second_order_gradient(
        *(lambda w, a, batch=batch: net.compute(batch, w, a) for batch in ("train", "valid")),
        weights,
        logits,
        lr=0.4,
        momentum=momentum,
        decay=0.05,
        buffers=None if buffers[0] is None else buffers,
    )
    states = copy.deepcopy(optimizer.state_dict())
    second_order_gradient(
        net, net.loss, "train", "valid", weights=weights, logits=logits, optimizer=optimizer
    )
    size = max(part.abs().max() for part in twin)
    for logit, expected in zip(logits, twin, strict=True):
        assert (logit.grad - expected).abs().max() < 1e-3 * size
    # The step ahead is what the optimiser would do: its own step gives the same weights.
    assert [batch for batch, _ in net.states] == ["train", "valid", "train", "train"]
    assert equal(kept, [*weights, *logits])
    for name, value in optimizer.state_dict()["state"].items():
        assert all(value[k] is None or torch.equal(value[k], states["state"][name][k]) for k in value)


def test_the_step_ahead_is_the_optimisers():
    net = Smooth()
    optimizer = stepped(net)
    value = second_order_gradient(
        net,
        net.loss,
        "train",
        "valid",
        weights=list(net.weights),
        logits=list(net.logits),
        optimizer=optimizer,
    )
    optimizer.zero_grad()
    net.compute("train", net.weights, net.logits).backward()
    optimizer.step()
    torch.testing.assert_close(value, net.compute("valid", net.weights, net.logits).detach())


def test_dropout_is_the_same_on_both_sides_of_a_difference():
    net = Smooth(dropout=0.4)
    optimizer = stepped(net)
    weights, logits = list(net.weights), list(net.logits)
    begin = torch.get_rng_state()
    second_order_gradient(
        net, net.loss, "train", "valid", weights=weights, logits=logits, optimizer=optimizer
    )
    found = [logit.grad.clone() for logit in logits]
    first, ahead, up, down = (state for _, state in net.states)
    assert torch.equal(first, up)
    assert torch.equal(first, down)
    assert not torch.equal(first, ahead)
    assert not torch.equal(torch.get_rng_state(), begin)  # what comes next draws anew

    def at(state, batch):
        def loss(w, a):
            torch.set_rng_state(state)
            return net.compute(batch, w, a)

        return loss

    buffers = [optimizer.state[w]["momentum_buffer"] for w in weights]
    twin = reference.second_order_gradient(
        at(first, "train"),
        at(ahead, "valid"),
        weights,
        logits,
        lr=0.4,
        momentum=0.9,
        decay=0.05,
        buffers=buffers,
    )
    size = max(part.abs().max() for part in twin)
    assert all((a - b).abs().max() < 1e-3 * size for a, b in zip(found, twin, strict=True))


def test_looking_ahead_leaves_no_trace_in_a_supernet(task):
    supernet = DARTS_SPACE.supernet(task.spec).train()
    optimizer = torch.optim.SGD(supernet.weight_parameters(), 0.1, momentum=0.9, weight_decay=3e-4)
    batches = list(task.loaders("train", batch_size=16))
    for batch in batches[:2]:
        task.loss(supernet, batch)[0].backward()
        optimizer.step()
        supernet.zero_grad()
    before = copy.deepcopy(supernet.state_dict())
    options = {
        "weights": supernet.weight_parameters(),
        "logits": supernet.architecture_parameters(),
        "optimizer": optimizer,
    }

    def loss(batch):
        return task.loss(supernet, batch)[0]

    second_order_gradient(supernet, loss, *batches[2:4], **options)
    state = supernet.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in state.items())
    assert all(p.grad is not None and p.grad.any() for p in supernet.architecture_parameters())
    assert all(p.grad is None for p in supernet.weight_parameters())
    # What a supernet computes afterwards is tracked again.
    task.loss(supernet, batches[4])
    assert not all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())

    calls = []

    def interrupted(batch):
        calls.append(batch)
        if len(calls) % 4 == 0:
            raise KeyboardInterrupt
        return loss(batch)

    before = copy.deepcopy(supernet.state_dict())
    with pytest.raises(KeyboardInterrupt):
        second_order_gradient(supernet, interrupted, *batches[2:4], **options)
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(KeyboardInterrupt):
        dominant_eigenvalue(
            supernet,
            interrupted,
            batches[0],
            supernet.architecture_parameters(),
            generator=generator,
        )
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())


@pytest.mark.parametrize(
    ("strategy", "space"),
    [
        (nasx.DARTS(epochs=1, batch_size=48, order=2), CELLS),
        (nasx.PCDARTS(epochs=1, batch_size=48, warmup_epochs=0, partial_channels=2), DARTS_SPACE),
        (nasx.DARTS(epochs=1, batch_size=48), nasx.space_of(OfChoices)),
    ],
    ids=["second order", "cells", "module"],
)
def test_what_is_computed_again_changes_no_bit_of_a_search(strategy, space, task):
    again = dataclasses.replace(strategy, recompute=True)
    torch.manual_seed(0)
    plain, *_, rows = fit(strategy, task, space)
    torch.manual_seed(0)
    found, *_, same = fit(again, task, space)
    assert any(mixed.recompute for mixed in found.modules() if isinstance(mixed, MixedOp))
    assert not any(mixed.recompute for mixed in plain.modules() if isinstance(mixed, MixedOp))
    assert equal(rows[-1], same[-1])
    assert not equal(rows[0], rows[-1])
    assert equal(plain.state_dict().values(), found.state_dict().values())


def test_frozen_statistics_thaw():
    norm = nn.BatchNorm1d(2)
    x = torch.randn(5, 2) + 3
    with frozen_statistics(norm):
        frozen = norm(x)
    assert not norm.running_mean.any()
    assert norm.num_batches_tracked == 0
    torch.testing.assert_close(frozen, norm(x))  # of the batch in both cases
    assert norm.num_batches_tracked == 1
    other = nn.BatchNorm1d(2, track_running_stats=False)
    with frozen_statistics(other):
        other(x)
    assert not other.track_running_stats


# -- cures for collapse ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_the_dominant_eigenvalue_is_that_of_the_dense_hessian(dropout):
    net = Smooth(dropout)
    logits = list(net.logits)
    state = torch.get_rng_state()
    before = [p.detach().clone() for p in net.parameters()]

    def flat(vector):
        torch.set_rng_state(state)
        return net.compute("valid", net.weights, vector.split([2, 5]))

    hessian = torch.autograd.functional.hessian(flat, torch.cat([p.detach() for p in logits]))
    values = torch.linalg.eigvalsh(hessian)
    largest = values[values.abs().argmax()]
    torch.set_rng_state(state)
    found = dominant_eigenvalue(net, net.loss, "valid", logits, generator=torch.Generator().manual_seed(0))
    assert found == pytest.approx(float(largest), rel=0.05)
    assert equal(before, list(net.parameters()))


def test_eigenvalues_that_grow_too_fast_end_the_search():
    flat = [1.0] * 20
    assert not _sharper(flat)
    # Means over 5 epochs, 5 epochs apart: 1 / 1.3 > 0.75 > 1 / 1.4.
    assert not _sharper(flat + [1.3] * 5)
    assert _sharper(flat + [1.4] * 5)
    assert not _sharper(flat + [1.4] * 2)
    assert _sharper([1.0] * 5 + [1.4] * 5)
    assert not _sharper([1.0] * 4 + [1.4] * 5)  # too few
    assert not _sharper([1.0] * 5 + [-5.0] * 5)


def test_the_architecture_before_the_stop_is_taken(task):
    supernet = CELLS.supernet(task.spec)
    strategy = nasx.DARTS(early_stop="skips", max_skips=2)
    history = [{"genotype": [i % 5] * 6, "skips": 2, "eigenvalue": 1.0} for i in range(12)]
    assert not strategy._ends([])
    assert not strategy._ends(history)
    assert strategy._chosen(supernet, history).tolist() == supernet.derive().tolist()
    history[-1]["skips"] = 3
    assert strategy._ends(history)
    assert strategy._chosen(supernet, history).tolist() == [10 % 5] * 6
    assert strategy._chosen(supernet, history[-1:]).tolist() == [11 % 5] * 6  # there is none before
    assert not nasx.DARTS()._ends(history)
    strategy = nasx.DARTS(early_stop="eigenvalue")
    assert not strategy._ends(history)
    for entry in history[-5:]:
        entry["eigenvalue"] = 2.0
    assert strategy._ends(history)
    assert strategy._chosen(supernet, history).tolist() == [6 % 5] * 6


def skipping(supernet):
    supernet.logits["cell"].zero_()
    supernet.logits["cell"][:, SKIP] = 1.0


def test_too_many_skips_end_a_search(task):
    strategy = nasx.DARTS(epochs=5, batch_size=48, early_stop="skips", max_skips=5)
    with pytest.warns(UserWarning, match="6 of 6 operations are skip connections"):
        _, history, fitted, _ = fit(strategy, task, change=skipping)
    assert len(history) == 1
    assert fitted.stopped == "early_stop"
    strategy = nasx.DARTS(epochs=2, batch_size=48, early_stop="skips", max_skips=6)
    with pytest.warns(UserWarning, match="6 of 6"):
        _, history, _, _ = fit(strategy, task, change=skipping)
    assert len(history) == 2


def test_no_early_stop_before_the_architecture_learns(task):
    strategy = nasx.PCDARTS(epochs=4, warmup_epochs=2, batch_size=48, early_stop="skips", max_skips=5)
    with pytest.warns(UserWarning, match="6 of 6"):
        _, history, fitted, _ = fit(strategy, task, change=skipping)
    assert len(history) == 3
    assert fitted.stopped == "early_stop"
    assert fitted.genotype.tolist() == history[2]["genotype"]
    strategy = nasx.DARTS(epochs=2, warmup_epochs=1, batch_size=48, early_stop="eigenvalue")
    _, history, _, _ = fit(strategy, task)
    assert ["eigenvalue" in entry for entry in history] == [False, True]


@pytest.mark.parametrize("order", [1, 2])
def test_frozen_weights_stay_as_they_are(task, order):
    space = nasx.space_of(
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3).requires_grad_(False),
            nasx.nn.LayerChoice({"conv": nn.Conv2d(4, 4, 1), "skip": nn.Identity()}),
            nn.Flatten(),
            nn.Linear(144, 10),
        )
    )
    supernet = space.supernet(task.spec)
    frozen = supernet.network[0].weight.clone()
    learning = supernet.network[3].weight.clone()
    nasx.DARTS(epochs=1, batch_size=16, order=order).fit(supernet, task)
    assert torch.equal(supernet.network[0].weight, frozen)
    assert not torch.equal(supernet.network[3].weight, learning)
    assert supernet.network[0].weight.grad is None
    assert all(parameter.grad is None for parameter in supernet.parameters())
    for parameter in supernet.weight_parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="weights that learn"):
        nasx.DARTS(epochs=1, batch_size=16).fit(supernet, task)


def test_the_eigenvalue_is_watched(task):
    _, history, _, rows = fit(nasx.DARTS(epochs=2, batch_size=24, early_stop="eigenvalue"), task)
    assert all(math.isfinite(entry["eigenvalue"]) for entry in history)
    assert history[0]["eigenvalue"] != history[1]["eigenvalue"]
    # Watching changes nothing.
    torch.manual_seed(0)
    _, others, _, again = fit(nasx.DARTS(epochs=3, batch_size=24), task)
    assert "eigenvalue" not in others[0]
    torch.manual_seed(0)
    _, watched, _, rows = fit(nasx.DARTS(epochs=3, batch_size=24, early_stop="eigenvalue"), task)
    assert [entry["architecture_loss"] for entry in watched] == [e["architecture_loss"] for e in others]
    assert equal(rows[-1], again[-1])


def test_collapse_is_told_and_nothing_else_is(task):
    def half(supernet):
        skipping(supernet)
        supernet.logits["cell"][:3, SKIP] = -1.0

    def third(supernet):
        half(supernet)
        supernet.logits["cell"][3, SKIP] = -1.0

    strategy = nasx.DARTS(epochs=1, batch_size=48, architecture_lr=1e-9)
    for change, count in ((skipping, 6), (half, 3)):
        with pytest.warns(UserWarning, match=f"{count} of 6 operations are skip connections.*PCDARTS"):
            fit(strategy, task, change=change)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, history, _, _ = fit(strategy, task, change=third)
    assert (history[0]["skips"], history[0]["operations"]) == (2, 6)


def test_collapse_of_darts_cells_is_that_of_the_normal_cell(task):
    def change(supernet, group):
        for rows in supernet.logits.values():
            rows.zero_()
        supernet.logits[group][:, DARTS_SPACE.all_operations.index("skip_connect")] = 1.0

    strategy = nasx.DARTS(epochs=1, batch_size=48, architecture_lr=1e-9)
    with pytest.warns(UserWarning, match="4 of 4 operations are skip connections"):
        fit(strategy, task, DARTS_SPACE, change=lambda supernet: change(supernet, "normal"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(strategy, task, DARTS_SPACE, change=lambda supernet: change(supernet, "reduce"))
