"""Training networks on real digits."""

import inspect
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from nasx import Categorical, Space
from nasx.errors import EvaluationError
from nasx.tasks import ImageClassification

QUICK = {"epochs": 3, "batch_size": 64, "lr": 0.2, "device": "cpu", "threads": 1}


@pytest.fixture(scope="module")
def task(digits):
    return ImageClassification(**digits, **QUICK)


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_normalization_is_what_training_images_go_through(digits):
    task = ImageClassification(digits["train"], digits["valid"], epochs=1)
    images = np.asarray(digits["train"][0], np.float64)
    assert task.normalization["mean"] == pytest.approx([images.mean()], abs=1e-4)
    assert task.normalization["std"] == pytest.approx([images.std()], abs=1e-3)
    plain = ImageClassification(digits["train"], digits["valid"], epochs=1, normalize=False)
    assert plain.normalization is None


def test_spec_objectives_and_settings(task, digits):
    assert task.spec.input_shape == (1, 8, 8)
    assert (task.spec.num_outputs, task.spec.kind) == (10, "image_classification")
    assert task.objectives == {"error": "minimize"}
    settings = json.loads(json.dumps(task.settings))
    assert settings == ImageClassification(**digits, **QUICK).settings
    parameters = set(inspect.signature(ImageClassification).parameters) - {"train", "valid", "test", "device"}
    assert set(settings) == parameters | {"name", "data"}
    assert settings["lr"] == 0.2


def test_other_data_have_another_fingerprint(task, digits):
    images, labels = digits["train"]
    changed = images.copy()
    changed[5, 0, 3, 3] += 0.1
    other = ImageClassification(**digits | {"train": (changed, labels)}, **QUICK).settings["data"]
    assert other["train"] != task.settings["data"]["train"]
    assert other["valid"] == task.settings["data"]["valid"]


def test_it_learns_and_the_same_seed_gives_the_same_metrics(task, architecture):
    state = torch.random.get_rng_state()
    first = task.evaluate(architecture, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    assert task.evaluate(architecture, seed=1) == first
    assert task.evaluate(architecture, seed=2) != first
    assert first["error"] < 0.2
    assert first["accuracy"] == 1 - first["error"]
    assert first["epochs"] == 3
    assert all(type(value) is float for value in first.values())


def test_metrics_are_those_of_the_trained_network(task, architecture, digits):
    model, history = task.train(architecture, seed=1)
    assert not model.training
    train, (images, labels) = digits["train"][0], digits["valid"]
    scores = model(torch.tensor((images - train.mean()) / train.std()))
    metrics = task.evaluate(architecture, seed=1)
    assert metrics["error"] == pytest.approx((scores.argmax(1).numpy() != labels).mean())
    assert metrics["loss"] == pytest.approx(
        nn.functional.cross_entropy(scores, torch.tensor(labels)).item(), rel=1e-4
    )
    assert task.score(model) == {name: metrics[name] for name in ("error", "accuracy", "loss")}
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_budget_is_the_number_of_epochs(task, architecture):
    assert task.evaluate(architecture, seed=0, budget=1)["epochs"] == 1
    for budget in (0, 1.5, True):
        with pytest.raises(ValueError, match="epochs, or the budget, must be an integer of at least 1"):
            task.evaluate(architecture, seed=0, budget=budget)


def test_report_sees_every_epoch_and_can_stop(task, architecture):
    seen = []
    metrics = task.evaluate(
        architecture, seed=0, report=lambda epoch, m: seen.append((epoch, m["error"])) or epoch == 2
    )
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert metrics["epochs"] == 2
    assert metrics["error"] == seen[-1][1]

    def fail(epoch, metrics):
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        task.evaluate(architecture, seed=0, report=fail)


def test_reporting_does_not_change_the_training(task, architecture):
    assert task.evaluate(architecture, seed=0, report=lambda *_: None) == task.evaluate(architecture, seed=0)


def test_patience_stops_and_returns_the_best_epoch(digits, architecture):
    task = ImageClassification(**digits, **QUICK | {"epochs": 40, "patience": 2})
    seen = []
    metrics = task.evaluate(architecture, seed=0, report=lambda _, m: seen.append(m["error"]))
    assert metrics["epochs"] == len(seen) < 40
    assert metrics["error"] == min(seen) == seen[-3]
    assert task.score(task.train(architecture, seed=0)[0])["error"] == min(seen)


def test_retrain_uses_train_and_valid_and_scores_test(task, architecture, digits):
    module, metrics = task.retrain(architecture, epochs=4, seed=3)
    assert metrics.keys() == {"train_loss", "epochs", "test_error", "test_accuracy", "test_loss"}
    assert metrics["epochs"] == 4
    assert metrics["test_error"] == task.score(module, "test")["error"] < 0.15
    seen = sum(len(labels) for _, labels in task.loaders(("train", "valid")))
    assert seen == len(digits["train"][1]) + len(digits["valid"][1])
    without = ImageClassification(digits["train"], digits["valid"], **QUICK)
    assert without.retrain(architecture, epochs=1).metrics.keys() == {"train_loss", "epochs"}
    with pytest.raises(ValueError, match="unknown split 'test'"):
        without.loaders("test")


@pytest.mark.parametrize("kind", ["arrays", "uint8", "data set", "loader", "batches"])
def test_every_kind_of_data_trains(kind, digits, architecture):
    def give(images, labels):
        tensors = torch.tensor(images), torch.tensor(labels)
        if kind == "arrays":
            return images[:, 0], labels
        if kind == "uint8":
            return (images * 255).astype(np.uint8), labels.astype(np.uint8)
        if kind == "data set":
            return TensorDataset(*tensors)
        if kind == "loader":
            return DataLoader(TensorDataset(*tensors), batch_size=64, shuffle=True)
        return list(zip(tensors[0].split(64), tensors[1].split(64), strict=True))

    task = ImageClassification(**{split: give(*pair) for split, pair in digits.items()}, **QUICK)
    metrics = task.evaluate(architecture, seed=1)
    assert metrics["error"] < 0.2
    assert task.evaluate(architecture, seed=1) == metrics
    assert task.retrain(architecture).metrics["test_error"] < 0.2
    assert json.dumps(task.settings)


def test_making_and_reading_loaders_leaves_the_global_generator_alone(digits):
    loader = DataLoader(TensorDataset(*map(torch.tensor, digits["train"])), batch_size=64, shuffle=True)
    state = torch.random.get_rng_state()
    ImageClassification(loader, digits["valid"], **QUICK)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("augment", ["standard", lambda images: images + 0.1 * torch.randn_like(images)])
def test_augmentation_trains_and_is_seeded(augment, digits, architecture):
    task = ImageClassification(**digits, augment=augment, **QUICK)
    metrics = task.evaluate(architecture, seed=0, budget=2)
    assert metrics == task.evaluate(architecture, seed=0, budget=2)
    assert metrics != ImageClassification(**digits, **QUICK).evaluate(architecture, seed=0, budget=2)
    assert isinstance(task.settings["augment"], str)


def test_label_smoothing_is_for_training_only(digits):
    task = ImageClassification(**digits, label_smoothing=0.3, **QUICK)
    model, batch = nn.Flatten(), (torch.eye(10)[:, :, None] * 9, torch.arange(10))
    plain = ImageClassification(**digits, **QUICK).loss(model, batch)[0]
    assert task.loss(model.eval(), batch)[0] == plain
    assert task.loss(model.train(), batch)[0] > plain + 1


def test_divergence_is_an_evaluation_error(digits, architecture):
    task = ImageClassification(**digits, **QUICK | {"lr": 1e9})
    with pytest.raises(
        EvaluationError, match=r"training diverged: the .*loss became (NaN|infinite) in epoch \d of 3"
    ):
        task.evaluate(architecture, seed=0)


def test_a_network_of_the_wrong_shape_is_an_evaluation_error(task):
    class Wrong(Space):
        def build(self, architecture, spec):
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))

    space = Wrong({"op": Categorical(["linear"])})
    with pytest.raises(
        EvaluationError, match=r"the network must return shape \(64, 10\); it returned \(64, 7\)"
    ):
        task.evaluate(space.decode([0]), seed=0)


def test_a_last_batch_of_one_image_is_no_trouble(digits, architecture):
    images, labels = digits["train"]
    task = ImageClassification((images[:65], labels[:65]), digits["valid"], **QUICK)
    assert task.evaluate(architecture, seed=0, budget=1)["epochs"] == 1


def test_data_are_never_modified(digits, architecture):
    before = {split: (x.copy(), y.copy()) for split, (x, y) in digits.items()}
    task = ImageClassification(**digits, augment="standard", flip=True, **QUICK)
    task.retrain(architecture, epochs=1)
    for split, (x, y) in digits.items():
        np.testing.assert_array_equal(x, before[split][0])
        np.testing.assert_array_equal(y, before[split][1])


def test_a_task_goes_to_another_process(task, architecture):
    again = pickle.loads(pickle.dumps(task))
    assert again.settings == task.settings
    assert again.evaluate(architecture, seed=5, budget=1) == task.evaluate(architecture, seed=5, budget=1)


def test_retraining_with_the_same_seed_gives_the_same_weights(task, architecture):
    first, again, other = (flat(task.retrain(architecture, epochs=1, seed=s).model) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_loaders_for_other_uses(task, digits):
    loaders = task.loaders("valid", seed=3, training=True)
    orders = [torch.cat([labels for _, labels in loaders]) for _ in range(2)]
    assert not torch.equal(*orders)
    in_order = torch.cat([labels for _, labels in task.loaders("valid")])
    np.testing.assert_array_equal(in_order, digits["valid"][1])
    images = torch.cat([x for x, _ in task.loaders("train")])
    assert images.mean().abs() < 0.01
    assert images.std() == pytest.approx(1, abs=0.01)


def test_num_classes_and_a_class_without_training_images(digits):
    (images, labels), valid = digits["train"], digits["valid"]
    with pytest.warns(UserWarning, match="train holds no image of class 3") as caught:
        ImageClassification((images[labels != 3], labels[labels != 3]), valid)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="train holds no image of class 10, 11"):
        assert ImageClassification((images, labels), valid, num_classes=12).spec.num_outputs == 12
    with pytest.raises(ValueError, match=r"train: labels must be in 0..4, for num_classes is 5; got 9"):
        ImageClassification((images, labels), valid, num_classes=5)
    with pytest.raises(ValueError, match="num_classes must be a positive integer; got 0"):
        ImageClassification((images, labels), valid, num_classes=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"valid": (np.zeros((4, 1, 9, 8)), np.zeros(4, int))},
            r"valid: images must have the shape of train's, \(1, 8, 8\)",
        ),
        ({"train": (np.zeros((1, 1, 8, 8)), np.zeros(1, int))}, "train must hold at least two images; got 1"),
        ({"test": (np.full((4, 1, 8, 8), np.inf), np.zeros(4, int))}, "test: images must be finite; image 0"),
        ({"augment": "strong"}, "augment must be None, 'standard' or a callable; got 'strong'"),
        ({"flip": True}, "flip=True is part of augment='standard'"),
        ({"device": "gpu"}, "device must be a name that torch knows.*got 'gpu'"),
        ({"epochs": 0}, "epochs must be an integer of at least 1"),
        ({"threads": 0}, "threads must be a positive integer; got 0"),
    ],
)
def test_bad_input_is_named(change, message, digits):
    with pytest.raises(ValueError, match=message):
        ImageClassification(**digits | change)


def test_a_missing_gpu_is_named():
    code = (
        "import numpy as np, nasx\n"
        "data = np.zeros((4, 8, 8)), np.arange(4)\n"
        "try: nasx.tasks.ImageClassification(data, data, device='cuda')\n"
        "except ValueError as error: print(error)\n"
    )
    no_gpu = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    out = subprocess.run(
        [sys.executable, "-c", code], env=no_gpu, check=True, capture_output=True, text=True
    ).stdout
    assert out == "device 'cuda': torch finds no GPU here; use device='cpu'\n"


@pytest.mark.parametrize("device", ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
def test_it_learns_on_every_device_of_this_machine(device, task, architecture):
    assert task.evaluate(architecture, seed=1, device=device)["error"] < 0.2
    trained = task.retrain(architecture, device=device)
    assert next(trained.model.parameters()).device.type == device
    assert trained.metrics["test_error"] < 0.2


def test_threads_are_those_asked_for_and_restored(digits, architecture):
    before = torch.get_num_threads()
    seen = []
    task = ImageClassification(**digits, **QUICK | {"threads": before + 1})
    task.evaluate(architecture, seed=0, budget=1, report=lambda *_: seen.append(torch.get_num_threads()))
    assert seen == [before + 1]
    assert torch.get_num_threads() == before
