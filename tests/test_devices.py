"""Supernets on every device that torch finds here: a GPU computes what the CPU does, and a run may change between."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import nasx
from nasx.nn import LayerChoice
from nasx.nn.recalibration import recalibrate
from nasx.registry import get_strategy
from nasx.strategies.differentiable.cost_models import CostModels
from nasx.strategies.differentiable.expected_cost import ExpectedCosts
from nasx.strategies.limits import CostLimits
from nasx.tasks import ImageClassification
from nasx.tasks.datasets import load

pytestmark = pytest.mark.filterwarnings("ignore:.*skip connections:UserWarning")

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
TOLERANCE = {"cpu": 0.0, "cuda": 2e-3}  # of losses after a few steps in other orders of summation


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Convolutions in float32 as on the CPU: a GPU rounds what they multiply to 10 bits if it may."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def network():
    candidates = {"conv": lambda c: nn.Conv2d(c, c, 3, padding=1), "skip": lambda c: nn.Identity()}
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        LayerChoice(candidates, channels=8),
        nn.ReLU(),
        LayerChoice(candidates, channels=8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


SPACES = {
    "darts": nasx.spaces.DARTS(cells=3, channels=4, nodes=2),
    "nasbench201": nasx.spaces.NASBench201(cells=1, channels=4),
    "modules": nasx.space_of(network),
}
METHODS = {
    "first order": nasx.DARTS(epochs=2, batch_size=16),
    "second order": nasx.DARTS(epochs=2, batch_size=16, order=2),
    "mixed precision": nasx.DARTS(epochs=2, batch_size=16, mixed_precision=True),
    "eigenvalue": nasx.DARTS(epochs=2, batch_size=16, early_stop="eigenvalue"),
    "partial channels": nasx.PCDARTS(epochs=2, warmup_epochs=1, batch_size=16, lr=0.025),
}


class Digits(ImageClassification):
    """A few digits; Ctrl-C comes before the loss of this number, if it is given."""

    def __init__(self, interrupt_at=None):
        data = load("digits")
        (x, y), (a, b) = data["train"], data["valid"]
        super().__init__(
            (x[:96], y[:96]),
            (a[:48], b[:48]),
            batch_size=16,
            threads=1,
            device="cpu",
            epochs=1,
            augment="standard",
        )
        self.left = interrupt_at

    def loss(self, model, batch):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        return super().loss(model, batch)


def run(space, method, device, task=None, **options):
    strategy = METHODS[method]
    return nasx.search(
        SPACES[space], task or Digits(), strategy=strategy, seed=3, device=device, progress=False, **options
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("space", "method"),
    [
        (s, m)
        for s in SPACES
        for m in METHODS
        if s == "nasbench201" or m in ("first order", "partial channels")
    ],
)
def test_a_search_on_a_device(space, method, device):
    result = run(space, method, device)
    assert result.stopped == "epochs"
    assert result.best is not None
    assert all(tensor.device.type == device for tensor in result.supernet.state_dict().values())
    assert all(np.isfinite(entry["loss"]) for entry in result.history)
    assert result.history[-1]["loss"] < result.history[0]["loss"] + 0.1
    trained = Digits().retrain(result.best.architecture, epochs=1, device=device)
    assert next(trained.model.parameters()).device.type == device


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("space", SPACES)
def test_the_first_step_is_that_of_the_cpu(space, device):
    task = Digits()
    torch.manual_seed(0)
    here = SPACES[space].supernet(task.spec)
    there = copy.deepcopy(here).to(device)
    batch = next(iter(task.loaders("train", 0, training=True)))
    gradients = []
    for supernet, place in ((here, "cpu"), (there, device)):
        supernet.train()
        loss, _ = task.loss(supernet, tuple(tensor.to(place) for tensor in batch))
        parameters = [*supernet.weight_parameters(), *supernet.architecture_parameters()]
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        gradients.append([loss.detach(), *(one for one in found if one is not None)])
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs.cpu(), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("other", DEVICES)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", ["first order", "second order", "mixed precision", "partial channels"])
def test_a_run_goes_on_on_another_device(method, device, other, tmp_path):
    # An epoch takes three steps of two losses, and more when it looks ahead: this is in the second one.
    whole = run("nasbench201", method, device)
    counted = Digits(interrupt_at=10**6)
    run("nasbench201", method, device, counted)
    first = run(
        "nasbench201",
        method,
        device,
        Digits(interrupt_at=(10**6 - counted.left) // 2),
        journal=tmp_path / "run.db",
    )
    assert first.stopped == "interrupted"
    assert len(first.history) < 2
    last = run("nasbench201", method, other, journal=tmp_path / "run.db")
    assert last.stopped == "epochs"
    assert [entry["epoch"] for entry in last.history] == [1, 2]
    same = TOLERANCE["cpu" if device == other == "cpu" else "cuda"]
    assert last.history[-1]["loss"] == pytest.approx(whole.history[-1]["loss"], rel=same)
    assert {tensor.device.type for tensor in last.supernet.state_dict().values()} == {other}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("space", SPACES)
def test_what_is_extracted_computes_the_same_there(space, device):
    task = Digits()
    torch.manual_seed(1)
    supernet = SPACES[space].supernet(task.spec).to(device)
    images = torch.rand(8, 1, 8, 8, device=device)
    for row in SPACES[space].sample(5, seed=0):
        architecture = SPACES[space].architecture(row, spec=task.spec)
        network = supernet.extract(architecture)
        recalibrate(network, [images], network)
        assert next(network.parameters()).device.type == device
        with supernet.path(architecture), torch.no_grad():
            recalibrate(supernet, [images], supernet)
            torch.testing.assert_close(network(images), supernet(images), rtol=1e-4, atol=1e-5)


def elastic():
    width = nasx.nn.Elastic([4, 8], name="width")
    return nn.Sequential(
        nasx.nn.ElasticConv2d(1, width, 3, padding=1),
        nasx.nn.ElasticBatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nasx.nn.ElasticLinear(width, 10),
    )


CONTROLLER = {"controller_steps": 2, "controller_samples": 3, "final_samples": 4}
SCORED = {"epochs": 2, "batch_size": 16, "recalibration_batches": 2, "baseline": 2}
BY_PATHS = {
    "spos": (SPACES["nasbench201"], nasx.SPOS(**SCORED)),
    "spos, mixed precision": (SPACES["nasbench201"], nasx.SPOS(mixed_precision=True, **SCORED)),
    "spos, sandwich": (nasx.space_of(elastic), nasx.SPOS(sampling="sandwich", **SCORED)),
    "spos, shuffle": (
        nasx.spaces.ShuffleNetV2(
            channels=[16, 32], repeats=[1, 1], stem=4, stem_stride=1, head=16, multipliers=[0.5, 1.0]
        ),
        nasx.SPOS(**SCORED),
    ),
    "few_shot": (SPACES["nasbench201"], nasx.FewShot(child_epochs=1, matching_batches=1, **SCORED)),
    "enas": (
        nasx.spaces.ENASCell(cells=3, channels=4, nodes=2),
        nasx.ENAS(epochs=2, batch_size=16, baseline=2, **CONTROLLER),
    ),
    "enas, macro": (
        nasx.spaces.ENASMacro(layers=3, channels=4),
        nasx.ENAS(epochs=2, batch_size=16, baseline=2, **CONTROLLER),
    ),
    "proxyless_nas": (
        nasx.spaces.ProxylessMobile(
            channels=[4, 8], repeats=[1, 2], strides=[1, 2], stem=4, stem_stride=1, first=4, head=16
        ),
        nasx.ProxylessNAS(epochs=2, warmup_epochs=1, batch_size=16, architecture_data=0.5),
    ),
    "proxyless_nas, reinforce": (
        SPACES["nasbench201"],
        nasx.ProxylessNAS(
            form="reinforce", samples=2, epochs=2, warmup_epochs=1, batch_size=16, architecture_data=0.5
        ),
    ),
    "fbnet": (
        nasx.spaces.FBNet(channels=[4, 8], repeats=[1, 2], strides=[1, 2], stem=4, stem_stride=1, head=16),
        nasx.FBNet(epochs=2, warmup_epochs=1, batch_size=16, architecture_data=0.5),
    ),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", BY_PATHS)
def test_methods_that_go_by_paths_search_on_a_device_and_resume(method, device, tmp_path):
    space, strategy = BY_PATHS[method]
    table = nasx.hardware.ParamsTable().bind(space, Digits().spec)
    limit = float(np.median(table(space.sample(50, seed=0))))
    options = {"strategy": strategy, "seed": 3, "device": device, "progress": False}
    options |= {"costs": ["parameters"], "limits": {"parameters": limit}}
    if isinstance(strategy, nasx.SPOS):
        options["evaluations"] = 4
    first = nasx.search(space, Digits(interrupt_at=4), **options, journal=tmp_path / "run.db")
    assert first.stopped == "interrupted"
    result = nasx.search(space, Digits(), **options, journal=tmp_path / "run.db")
    assert result.best.metrics["parameters"] <= limit
    assert all(tensor.device.type == device for tensor in result.supernet.state_dict().values())
    assert all(np.isfinite(entry["loss"]) for entry in result.history)
    images = torch.rand(8, 1, 8, 8, device=device)
    network = result.supernet.extract(result.best.architecture).eval()
    assert {tensor.device.type for tensor in network.state_dict().values()} == {device}
    with result.supernet.eval().path(result.best.architecture), torch.no_grad():
        torch.testing.assert_close(network(images), result.supernet(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("strategy", ["darts", "spos"])
def test_language_models_are_searched_on_a_device(strategy, device):
    text = 20 * "how much wood would a woodchuck chuck? as much as he could. "
    task = nasx.tasks.LanguageModelling(text, context=16, epochs=1, batch_size=8, device=device)
    space = nasx.spaces.Transformer(hidden=[16], depths=[2], heads=[2], head_dim=8, mlp=[2])
    adam = {"optimizer": "adamw", "lr": 0.01, "baseline": 1}
    method = get_strategy(strategy, epochs=2, batch_size=8, **(adam if strategy == "spos" else {}))
    budget = {"evaluations": 3} if strategy == "spos" else {}
    result = nasx.search(space, task, strategy=method, seed=0, progress=False, **budget)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert {tensor.device.type for tensor in result.supernet.state_dict().values()} == {device}
    trained = task.retrain(result.best.architecture, epochs=1)
    assert np.isfinite(task.score(trained.model)["perplexity"])
    assert next(trained.model.parameters()).device.type == device


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", ["add", "multiply", "fbnet"])
def test_searches_keep_limits_on_every_device(form, device):
    space = SPACES["darts"]
    random = np.random.default_rng(0)
    table = nasx.hardware.LatencyTable(space, [random.uniform(0.5, 2, n) for n in space.cardinalities])
    low, high = table.range()
    result = nasx.search(
        space,
        Digits(),
        strategy=nasx.DARTS(epochs=1, batch_size=24, cost_form=form, mixed_precision=True),
        costs={"ms": table},
        limits={"ms": 0.8 * low + 0.2 * high},
        seed=3,
        device=device,
        progress=False,
    )
    assert result.best.metrics["ms"] <= result.limits["ms"]
    expected = result.history[-1]["expected_costs"]["ms"]
    assert low < expected < high
    weights = result.supernet.cpu()
    limits = CostLimits({"ms": table}, result.limits, lambda rows: np.zeros(len(rows)))
    told = ExpectedCosts(CostModels(weights, limits))(weights.probabilities())["ms"].item()
    assert expected == pytest.approx(told, rel=1e-6)
