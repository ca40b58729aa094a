"""Recipes and the training loop."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nasx
from nasx.errors import EvaluationError
from nasx.nn import DropPath
from nasx.tasks.training import Recipe, fit


def recipe(**settings):
    defaults = {
        "epochs": 10,
        "batch_size": 4,
        "lr": 0.1,
        "optimizer": "sgd",
        "momentum": 0.9,
        "weight_decay": 0.0,
    }
    defaults |= {
        "schedule": "cosine",
        "warmup": 2.0,
        "label_smoothing": 0.0,
        "patience": None,
        "grad_clip": None,
        "auxiliary_weight": 0.4,
        "drop_path": 0.0,
    }
    return Recipe(**defaults | settings)


def loss(model, batch):
    outputs = model(batch[0])
    return F.mse_loss(outputs, batch[1]), outputs


@pytest.fixture
def line():
    x = torch.linspace(-1, 1, 16)[:, None]
    return [(x[i : i + 4], 3 * x[i : i + 4] + 1) for i in range(0, 16, 4)]


def run(model, batches, settings, *, epochs=5, validate=None, report=None, images=16):
    return fit(
        model,
        batches,
        settings,
        epochs=epochs,
        images=images,
        seed=0,
        loss=loss,
        validate=validate,
        report=report,
    )


def test_schedule():
    settings = recipe()
    assert settings.rate(1, 10) == pytest.approx(0.05)
    assert settings.rate(2, 10) == pytest.approx(0.1)
    assert settings.rate(6, 10) == pytest.approx(0.05)
    assert settings.rate(10, 10) == pytest.approx(0)
    assert recipe(schedule="constant").rate(9, 10) == 0.1
    assert recipe(warmup=0.0).rate(0, 10) == 0.1
    assert recipe(warmup=5.0).rate(2.5, 3) == 0.05


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_line_is_learned(line, optimizer):
    model = nn.Linear(1, 1)
    history = run(model, line, recipe(optimizer=optimizer), epochs=60)
    assert history[-1]["train_loss"] < 0.01 < history[0]["train_loss"]
    assert model.weight.item() == pytest.approx(3, abs=0.2)
    assert [entry["epoch"] for entry in history] == list(range(1, 61))


def test_the_rate_follows_the_images_seen(line):
    class Watched(Recipe):
        def rate(self, epoch, epochs):
            asked.append((epoch, epochs))
            return super().rate(epoch, epochs)

    asked = []
    run(nn.Linear(1, 1), line, Watched(**vars(recipe())), epochs=2)
    assert asked == [((i + 0.5) / 4, 2) for i in range(8)]


def test_validation_only_when_somebody_needs_it(line):
    calls = []

    def validate(model):
        calls.append(1)
        return {"error": 0.5, "loss": 1.0}

    history = run(nn.Linear(1, 1), line, recipe(), validate=validate)
    assert len(calls) == 1
    assert ["error" in entry for entry in history] == [False] * 4 + [True]
    run(nn.Linear(1, 1), line, recipe(), validate=validate, report=lambda epoch, metrics: None)
    assert len(calls) == 6


def test_patience_keeps_the_best_epoch(line):
    model, weights = nn.Linear(1, 1), []
    errors = iter([0.5, 0.3, 0.4, 0.3, 0.1])

    def validate(trained):
        weights.append(trained.weight.item())
        return {"error": next(errors), "loss": 1.0}

    history = run(model, line, recipe(patience=2), validate=validate)
    assert [entry["error"] for entry in history] == [0.5, 0.3, 0.4, 0.3]
    assert model.weight.item() == weights[1] != weights[3]


def test_a_report_that_returns_true_stops(line):
    reports = []

    def report(epoch, metrics):
        reports.append((epoch, metrics["error"]))
        return epoch == 3

    history = run(
        nn.Linear(1, 1), line, recipe(), validate=lambda m: {"error": 0.2, "loss": 1.0}, report=report
    )
    assert len(history) == 3
    assert reports == [(1, 0.2), (2, 0.2), (3, 0.2)]


def test_divergence_is_named(line):
    settings = recipe(lr=1e9, warmup=0.0)
    with pytest.raises(
        EvaluationError, match=r"training diverged: the loss became (NaN|infinite) in epoch \d of 5; lower lr"
    ):
        run(nn.Linear(1, 1), line, settings)
    with pytest.raises(EvaluationError, match="the validation loss became NaN in epoch 5 of 5"):
        run(nn.Linear(1, 1), line, recipe(), validate=lambda m: {"error": 0.5, "loss": math.nan})


def test_gradients_are_clipped(line):
    model = nn.Linear(1, 1)
    start = [p.detach().clone() for p in model.parameters()]
    run(model, line[:1], recipe(grad_clip=1e-3, momentum=0.0, warmup=0.0), epochs=1, images=4)
    step = torch.cat([(p - q).flatten() for p, q in zip(model.parameters(), start, strict=True)]).norm()
    assert 0 < step < 1e-3 * 0.1


class Branched(nn.Linear):
    """A line whose branch notes the rate at which it is dropped, each time it is called."""

    def __init__(self, rate=0.0):
        super().__init__(1, 1)
        self.drop, self.inner, self.rates = DropPath(rate), nn.Sequential(DropPath(rate)), []

    def forward(self, x):
        self.rates.append((self.drop.rate, self.inner[0].rate))
        return self.inner(self.drop(super().forward(x)))


def test_drop_path_rises_from_epoch_to_epoch(line):
    model = Branched(0.7)
    run(model, line[:2], recipe(drop_path=0.4, lr=1e-3), epochs=4, images=8)
    assert model.rates == [
        (rate, rate) for rate in (0.0, 0.1, pytest.approx(0.2), pytest.approx(0.3)) for _ in range(2)
    ]
    # What is asked for counts, not what the recipe has: a budget may be shorter.
    short = Branched()
    run(short, line[:1], recipe(drop_path=0.4, lr=1e-3, epochs=100), epochs=2, images=4)
    assert short.rates == [(0.0, 0.0), (0.2, 0.2)]


def test_without_drop_path_a_network_keeps_its_own_rates(line):
    model = Branched(0.25)
    run(model, line[:1], recipe(lr=1e-3), epochs=2, images=4)
    assert model.rates == [(0.25, 0.25)] * 2


def test_dropped_paths_follow_from_the_seed(line):
    def weights(seed):
        torch.manual_seed(5)
        model = Branched()
        fit(
            model,
            line,
            recipe(drop_path=0.5, lr=1e-2),
            epochs=3,
            images=16,
            seed=seed,
            loss=loss,
            validate=None,
            report=None,
        )
        return [p.item() for p in model.parameters()]

    assert weights(0) == weights(0) != weights(1)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs must be an integer of at least 1; got 0"),
        ({"epochs": 2.5}, "epochs must be an integer"),
        ({"batch_size": 1}, "batch_size must be an integer of at least 2; got 1"),
        ({"patience": 0}, "patience must be an integer of at least 1"),
        ({"optimizer": "adam"}, r"unknown optimizer 'adam'; did you mean 'adamw'\?"),
        ({"schedule": "cosin"}, r"unknown schedule 'cosin'; did you mean 'cosine'\?"),
        ({"lr": 0}, "lr must be a number of more than 0; got 0"),
        ({"lr": math.nan}, "lr must be a number of more than 0; got nan"),
        ({"lr": "fast"}, "lr must be a number"),
        ({"momentum": 1.0}, "momentum must be a number of at least 0 and less than 1; got 1.0"),
        ({"weight_decay": -1e-4}, "weight_decay must be a number of at least 0"),
        ({"warmup": -1}, "warmup must be a number of at least 0"),
        ({"label_smoothing": 1}, "label_smoothing must be a number of at least 0 and less than 1"),
        ({"grad_clip": 0.0}, "grad_clip must be a number of more than 0"),
        ({"auxiliary_weight": -0.1}, "auxiliary_weight must be a number of at least 0; got -0.1"),
        ({"auxiliary_weight": math.inf}, "auxiliary_weight must be a number of at least 0; got inf"),
        ({"auxiliary_weight": None}, "auxiliary_weight must be a number of at least 0; got None"),
        ({"drop_path": 1.0}, "drop_path must be a number of at least 0 and less than 1; got 1.0"),
        ({"drop_path": -0.1}, "drop_path must be a number of at least 0 and less than 1; got -0.1"),
        ({"drop_path": math.nan}, "drop_path must be a number of at least 0 and less than 1; got nan"),
    ],
)
def test_bad_settings_are_named(setting, message):
    with pytest.raises(ValueError, match=message):
        recipe(**setting)


def test_learning_rates_by_optimizer():
    assert recipe(lr=None).lr == 0.1
    assert recipe(lr=None, optimizer="adamw").lr == 0.003


def test_a_loader_that_gives_single_images_is_refused():
    x, y = torch.rand(6, 1, 8, 8), torch.arange(6) % 2
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=1)
    space = nasx.spaces.ConvNet(depths=[1], widths=[8])
    task = nasx.tasks.ImageClassification(loader, (x, y), epochs=1, device="cpu")
    with pytest.raises(EvaluationError, match="batch_size of at least 2"):
        task.train(space.decode(space.sample(1)[0]))
    for strategy in ("spos", nasx.DARTS(epochs=1, architecture_data="valid")):
        searched = nasx.spaces.NASBench201(cells=1, channels=4)
        with pytest.raises(EvaluationError, match=r"to train on|learn from"):
            nasx.search(searched, task, strategy=strategy, evaluations=1)
