"""Searches over small transformers on text, by supernets and by training each network."""

import numpy as np
import pytest
import torch
from torch import nn

import nasx
from nasx.hardware import ParamsTable
from nasx.nn import TransformerModule
from nasx.spaces import Transformer
from nasx.tasks import LanguageModelling, SharedWeights

LINES = "how much wood would a woodchuck chuck? a woodchuck would chuck all the wood that he could. "
SPACE = Transformer(hidden=[16, 24], depths=[1, 2], heads=[1, 2], head_dim=8, mlp=[1, 2])
KINDS = Transformer(hidden=[16], depths=[2], heads=[2], head_dim=8, mlp=[2])

pytestmark = pytest.mark.filterwarnings("ignore:.*skip connections:UserWarning")


@pytest.fixture(scope="module")
def task():
    return LanguageModelling(25 * LINES, context=16, epochs=2, batch_size=16, lr=0.02, device="cpu")


def frequencies(task):
    """The perplexity of who knows nothing but how often characters come."""
    counts = torch.bincount(task._texts["train"]).double()
    shares = counts / counts.sum()
    return float(torch.exp(-(shares * torch.log(shares.clamp(min=1e-12))).sum()))


SPOS = {"optimizer": "adamw", "lr": 0.02, "batch_size": 16, "grad_clip": 1.0, "baseline": 3}


def spos(**settings):
    return nasx.SPOS(**{"epochs": 6, **SPOS, **settings})


@pytest.mark.parametrize(
    "settings", [{}, {"sampling": "sandwich", "lr": 0.003, "epochs": 9}], ids=["uniform", "sandwich"]
)
def test_a_supernet_is_trained_path_by_path_and_searched(task, settings):
    result = nasx.search(
        SPACE,
        task,
        strategy=spos(**settings),
        evaluations=8,
        seed=0,
        costs=["parameters"],
        limits={"parameters": 4000},
    )
    losses = [entry["loss"] for entry in result.history]
    assert losses[-1] < losses[0]
    assert len(result.trials) == 8
    best = result.best
    assert best.metrics["perplexity"] < frequencies(task)
    assert best.metrics["perplexity"] == min(trial.metrics["perplexity"] for trial in result.trials)
    assert best.metrics["parameters"] <= 4000
    assert best.metrics["parameters"] == ParamsTable().bind(SPACE, task.spec)(best.genotype[None])[0]
    # What leaves the supernet scores what it did in it.
    network = result.supernet.extract(best.architecture)
    assert type(network) is TransformerModule
    assert task.score(network)["perplexity"] == pytest.approx(best.metrics["perplexity"], rel=1e-5)
    assert result.baseline


def test_a_supernet_that_was_stopped_is_trained_on_to_the_same_bits(task, tmp_path, monkeypatch):
    loss, calls = LanguageModelling.loss, []

    def failing(self, model, batch):
        calls.append(1)
        if len(calls) > 12:
            raise ArithmeticError("the machine is gone")
        return loss(self, model, batch)

    options = {"strategy": spos(epochs=3), "evaluations": 3, "seed": 3}
    whole = nasx.search(SPACE, task, **options)
    with monkeypatch.context() as patch:
        patch.setattr(LanguageModelling, "loss", failing)
        with pytest.raises(ArithmeticError, match="the machine is gone"):
            nasx.search(SPACE, task, **options, journal=tmp_path / "run.db")
    again = nasx.search(SPACE, task, **options, journal=tmp_path / "run.db")
    assert [trial.metrics for trial in again.trials] == [trial.metrics for trial in whole.trials]
    one, other = (result.supernet.state_dict() for result in (again, whole))
    assert all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize("strategy", ["darts", "enas", "few_shot"])
def test_kinds_of_layers_are_chosen_in_a_supernet(task, strategy):
    made = {
        "darts": lambda: nasx.DARTS(epochs=8, batch_size=16, lr=0.3, weight_decay=0.0, architecture_lr=0.05),
        "enas": lambda: nasx.ENAS(
            epochs=4,
            batch_size=16,
            lr=0.3,
            controller_steps=2,
            controller_samples=2,
            final_samples=4,
            baseline=2,
        ),
        "few_shot": lambda: nasx.FewShot(epochs=6, child_epochs=2, **SPOS),
    }[strategy]
    space = KINDS if strategy == "darts" else SPACE
    result = nasx.search(
        space, task, strategy=made(), seed=0, **({} if strategy == "darts" else {"evaluations": 6})
    )
    assert result.best.metrics["perplexity"] < frequencies(task)
    losses = [entry["loss"] for entry in result.history]
    assert losses[-1] < losses[0]
    if strategy == "darts":
        rows = [np.array(entry["probabilities"]["layer1.kind"][0]) for entry in result.history]
        assert not np.allclose(rows[0], rows[-1], atol=1e-3)
        network = result.supernet.extract(result.best.architecture)
        assert task.score(network)["perplexity"] == pytest.approx(result.best.metrics["perplexity"], rel=1e-5)
        trained, metrics = result.retrain(task, epochs=1)
        assert isinstance(trained, nn.Module)
        assert metrics["train_loss"] > 0


def test_nsga2_trades_perplexity_for_parameters(task):
    strategy = nasx.NSGA2(population_size=4)
    result = nasx.search(
        SPACE,
        task,
        strategy=strategy,
        evaluations=8,
        seed=0,
        objectives={"perplexity": "minimize", "parameters": "minimize"},
        costs=["parameters", "flops"],
        limits={"flops": 150_000},
    )
    assert len(result.trials) == 8
    assert all(trial.metrics["flops"] <= 150_000 for trial in result.trials)
    assert len({trial.metrics["parameters"] for trial in result.trials}) > 2
    front = [(t.metrics["parameters"], t.metrics["perplexity"]) for t in result.pareto_front]
    assert sorted(front) == sorted(front, key=lambda point: -point[1])
    assert result.best.metrics["perplexity"] < len(task.alphabet)


def test_regularised_evolution_trains_each_network(task, tmp_path):
    strategy = nasx.RegularizedEvolution(population_size=4, sample_size=2)
    options = {"strategy": strategy, "seed": 1}
    result = nasx.search(SPACE, task, **options, evaluations=8)
    assert result.best.metrics["perplexity"] == min(t.metrics["perplexity"] for t in result.trials)
    assert result.best.metrics["perplexity"] < frequencies(task)
    assert len({t.genotype.tobytes() for t in result.trials}) == 8
    # In two halves it is the same search.
    nasx.search(SPACE, task, **options, evaluations=4, journal=tmp_path / "run.db")
    again = nasx.search(SPACE, task, **options, evaluations=8, journal=tmp_path / "run.db")
    assert [t.metrics for t in again.trials] == [t.metrics for t in result.trials]


def test_encoders_share_weights_too():
    space = Transformer(hidden=[16, 24], depths=[1], heads=[2], head_dim=8, mlp=[2], causal=False)
    task = LanguageModelling(25 * LINES, context=16, masked=0.2, device="cpu")
    result = nasx.search(space, task, strategy=spos(epochs=6), evaluations=4, seed=0)
    assert result.best.metrics["perplexity"] < task.spec.num_outputs
    network = result.best.architecture.extract(result.supernet)
    assert task.score(network)["perplexity"] == pytest.approx(result.best.metrics["perplexity"], rel=1e-5)
    shared = SharedWeights(result.supernet, task, batches=2)
    assert shared.evaluate(result.best.architecture) == pytest.approx(
        {name: result.best.metrics[name] for name in task.scores}
    )
