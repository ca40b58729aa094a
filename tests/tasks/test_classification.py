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

from nasx import Categorical, Space, search
from nasx.errors import EvaluationError, JournalError
from nasx.nn import DropPath
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
        EvaluationError, match=r"the network must return outputs of shape \(64, 10\); it returned \(64, 7\)"
    ):
        task.evaluate(space.decode([0]), seed=0)


class Paired(nn.Module):
    """Gives what it was made with: a pair in training, or always."""

    def __init__(self, *outputs, always=False):
        super().__init__()
        self.outputs, self.always = outputs, always

    def forward(self, images):
        return self.outputs if self.training or self.always else self.outputs[0]


def test_auxiliary_outputs_add_to_the_loss_in_training(digits):
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 6, 10, generator=generator)
    labels = torch.arange(6)
    batch = torch.zeros(6, 1, 8, 8), labels
    for weight, settings in ((0.4, {}), (0.25, {"auxiliary_weight": 0.25}), (0.0, {"auxiliary_weight": 0.0})):
        task = ImageClassification(**digits, label_smoothing=0.1, **QUICK, **settings)
        loss, outputs = task.loss(Paired(first, second), batch)
        smooth = [nn.functional.cross_entropy(x, labels, label_smoothing=0.1) for x in (first, second)]
        assert loss.item() == pytest.approx((smooth[0] + weight * smooth[1]).item())
        assert outputs is first
        loss, outputs = task.loss(Paired(first, second).eval(), batch)
        assert loss.item() == pytest.approx(nn.functional.cross_entropy(first, labels).item())
        assert outputs is first


def test_outputs_that_do_not_fit_are_named(task):
    batch = torch.zeros(6, 1, 8, 8), torch.arange(6)
    right, wrong = torch.zeros(6, 10), torch.zeros(6, 3)
    for model, message in (
        (Paired(wrong, right), r"must return outputs of shape \(6, 10\); it returned \(6, 3\)"),
        (Paired(right, wrong), r"must return auxiliary outputs of shape \(6, 10\); it returned \(6, 3\)"),
        (Paired(right, None), r"must return auxiliary outputs of shape \(6, 10\); it returned NoneType"),
        (Paired(right, right, right), r"must return outputs of shape \(6, 10\); it returned tuple"),
        (Paired(right, right, always=True).eval(), "returned a pair in evaluation mode"),
    ):
        with pytest.raises(EvaluationError, match=message):
            task.loss(model, batch)


class Auxiliary(Space):
    """One network with a branch to drop, and a second classifier in training."""

    def __init__(self):
        super().__init__({"op": Categorical(["conv", "pool"])})

    def build(self, architecture, spec):
        return AuxiliaryModule()


class AuxiliaryModule(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.drop = nn.Conv2d(1, 8, 3, padding=1), DropPath()
        self.branch = nn.Conv2d(8, 8, 3, padding=1)
        self.first, self.second = nn.Linear(8 * 64, 10), nn.Linear(8, 10)

    def forward(self, images):
        x = self.conv(images).relu()
        features = x + self.drop(self.branch(x).relu())
        scores = self.first(features.flatten(1))
        return (scores, self.second(features.mean((2, 3)))) if self.training else scores


FINAL = {"augment": "standard", "cutout": 2, "drop_path": 0.3, "auxiliary_weight": 0.2}


def test_networks_with_auxiliary_outputs_and_dropped_paths_train(digits):
    architecture = Auxiliary().decode([0])
    task = ImageClassification(**digits, **QUICK | FINAL | {"lr": 0.05})
    model, history = task.train(architecture, seed=1)
    assert model.drop.rate == pytest.approx(0.2)
    assert task.evaluate(architecture, seed=1) == {name: history[-1].get(name, 3.0) for name in task.metrics}
    assert history[-1]["error"] < 0.3
    for change in ({"cutout": None}, {"cutout": 3}, {"drop_path": 0.0}, {"auxiliary_weight": 0.0}):
        other = ImageClassification(**digits, **QUICK | FINAL | {"lr": 0.05} | change)
        assert other.settings != task.settings
        assert other.train(architecture, seed=1)[1] != history


def test_a_search_goes_on_with_the_same_settings_only(digits, tmp_path):
    def run(evaluations, journal=None, **change):
        task = ImageClassification(**digits, **QUICK | FINAL | {"epochs": 1} | change)
        return search(
            Auxiliary(), task, strategy="random_search", evaluations=evaluations, journal=journal, seed=4
        )

    run(1, tmp_path / "run.db")
    for change in ({"cutout": 3}, {"drop_path": 0.1}, {"auxiliary_weight": 0.4}):
        with pytest.raises(JournalError, match=next(iter(change))):
            run(2, tmp_path / "run.db", **change)
    resumed, whole = run(2, tmp_path / "run.db"), run(2)
    assert [t.metrics for t in resumed.trials] == [t.metrics for t in whole.trials]
    assert len(whole.trials) == 2


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


def labels_of(batches):
    return torch.cat([labels for _, labels in batches])


def test_parts_of_a_split_are_disjoint_and_the_same_in_every_epoch(digits):
    numbered = digits["train"][0], np.arange(len(digits["train"][1]))
    task = ImageClassification(
        numbered, (digits["valid"][0], numbered[1][: len(digits["valid"][1])]), **QUICK
    )
    count = len(numbered[1])
    for splits, total in (("train", count), (("train", "valid"), count + len(digits["valid"][1]))):
        halves = [task.loaders(splits, 5, part=part) for part in ((0, 0.5), (0.5, 1))]
        epochs = [[labels_of(half) for half in halves] for _ in range(2)]
        everything = labels_of(task.loaders(splits, 5)).sort().values
        assert len(everything) == total
        for halved in epochs:
            assert torch.equal(torch.cat(halved).sort().values, everything)
        for first, second in zip(*epochs, strict=True):
            assert torch.equal(first.sort().values, second.sort().values)
            assert not torch.equal(first, second)
    first, again, other = (
        labels_of(task.loaders("train", seed, training=False, part=(0, 0.25))).tolist() for seed in (5, 5, 6)
    )
    assert first == again
    assert set(first) != set(other)


def test_parts_are_in_the_batches_of_the_split_they_come_from(task, digits):
    images, labels = (torch.cat(x) for x in zip(*task.loaders("valid", 0, part=(0.2, 0.7)), strict=True))
    every, numbers = (torch.cat(x) for x in zip(*task.loaders("valid"), strict=True))
    where = [int((every == one).flatten(1).all(1).int().argmax()) for one in images]
    assert len(where) == round(0.7 * len(every)) - round(0.2 * len(every))
    assert torch.equal(every[where], images)
    assert torch.equal(numbers[where], labels)


def test_a_batch_size_of_ones_own(task, digits):
    def sizes(*split, **options):
        return [len(labels) for _, labels in task.loaders(*split, **options)]

    count, held_out = len(digits["train"][1]), len(digits["valid"][1])
    assert sizes("train", batch_size=500) == [500, 500, count - 1000]
    assert sizes("train")[0] == 64
    assert sizes("valid")[0] == 256
    assert sizes("valid", batch_size=1) == [1] * held_out
    for training, least in ((True, 2), (False, 1)):
        for wrong in (least - 1, 2.5, True):
            with pytest.raises(ValueError, match=f"batch_size must be an integer of at least {least}; got"):
                task.loaders("train", training=training, batch_size=wrong)


def test_parts_that_cannot_be_are_refused(task, digits):
    with pytest.raises(ValueError, match=r"part must be a pair \(low, high\)"):
        task.loaders("train", part=(0.5, 0.2))
    one = (0, 1.2 / len(digits["train"][1]))
    with pytest.raises(ValueError, match=r"of train holds 1 .* of at least 2"):
        task.loaders("train", part=one)
    assert len(labels_of(task.loaders("train", training=False, part=one))) == 1
    loader = DataLoader(TensorDataset(*map(torch.tensor, digits["train"])), batch_size=64)
    mixed = ImageClassification(loader, digits["valid"], **QUICK)
    for split in ("train", ("train", "valid")):
        with pytest.raises(ValueError, match=r'of train.*: what a loader gives.*architecture_data="valid"'):
            mixed.loaders(split, part=(0, 0.5))
    assert len(labels_of(mixed.loaders("valid", part=(0, 0.5)))) == round(len(digits["valid"][1]) / 2)


def test_cutout_reaches_training_batches_as_zeros(digits):
    for normalize in (True, False):
        options = QUICK | {"augment": "standard", "normalize": normalize}
        plain, cut = (ImageClassification(**digits, cutout=c, **options) for c in (None, 4))
        (before, _), (after, _) = (next(iter(task.loaders("train", 3))) for task in (plain, cut))
        changed = before != after
        assert (after[changed] == 0).all()
        counts = changed.flatten(1).sum(1)
        assert 4 < counts.max() <= 16
        if normalize:  # no pixel of these images is the mean: all of a square changes, at least a quarter
            assert counts.max() == 16
            assert counts.min() >= 4
        for one, other in zip(plain.loaders("valid"), cut.loaders("valid"), strict=True):
            assert torch.equal(one[0], other[0])


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
        ({"cutout": 4}, "cutout=4 is part of augment='standard'"),
        ({"cutout": 4, "augment": lambda x: x}, "cutout=4 is part of augment='standard'"),
        ({"cutout": 0, "augment": "standard"}, "cutout must be an integer of at least 1; got 0"),
        ({"cutout": 2.0, "augment": "standard"}, "cutout must be an integer of at least 1; got 2.0"),
        (
            {"cutout": 9, "augment": "standard"},
            "cutout must be at most the longer side of the images, 8; got 9",
        ),
        ({"auxiliary_weight": -1}, "auxiliary_weight must be a number of at least 0; got -1"),
        ({"drop_path": 1}, "drop_path must be a number of at least 0 and less than 1; got 1"),
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
