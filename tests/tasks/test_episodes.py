"""Few-shot episodes: what is in them, and that classes and images never mix."""

import json

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import nasx
from nasx.tasks import FewShotEpisodes, ImageClassification, SupernetTask, TaskDistribution, TaskSequence
from nasx.tasks.image_classes import split_classes


def marked(classes=10, images=12, side=4, first=0):
    """Images whose first pixel is their class and whose last one is their number, and which are 0 elsewhere."""
    x = np.zeros((classes * images, 1, side, side), np.float32)
    labels = np.repeat(np.arange(classes), images)
    x[:, 0, 0, 0] = first + labels
    x[:, 0, -1, -1] = np.tile(np.arange(images), classes) + 1
    return x, labels


def read(episode, split):
    (batch,) = episode.loaders(split, training=False, device="cpu")
    return batch


def make(**options):
    settings = {"ways": 2, "shots": 3, "queries": 4, "normalize": False, "device": "cpu"} | options
    dataset = settings.pop("dataset", None) or marked()
    return FewShotEpisodes(dataset, **settings)


def test_an_episode_holds_so_many_images_of_each_class_and_none_twice():
    tasks = make(ways=3, valid=0.3, test=0.3)
    for index in range(20):
        episode = tasks.episode(index)
        assert isinstance(episode, SupernetTask)
        assert len(set(episode.classes)) == 3
        (x, y), (a, b) = read(episode, "train"), read(episode, "valid")
        assert x.shape == (9, 1, 4, 4)
        assert a.shape == (12, 1, 4, 4)
        assert torch.bincount(y).tolist() == [3, 3, 3]
        assert torch.bincount(b).tolist() == [4, 4, 4]
        for label, one in enumerate(episode.classes):
            assert set(x[y == label, 0, 0, 0].tolist()) == set(a[b == label, 0, 0, 0].tolist()) == {one}
            numbers = [*x[y == label, 0, -1, -1].tolist(), *a[b == label, 0, -1, -1].tolist()]
            assert len(set(numbers)) == 7
    assert tasks.spec == episode.spec == nasx.TaskSpec((1, 4, 4), 3, "image_classification")


def test_episodes_follow_from_seed_split_and_index_alone():
    def content(episode):
        return [*read(episode, "train"), *read(episode, "valid")]

    def same(one, other):
        return one.classes == other.classes and all(map(torch.equal, content(one), content(other)))

    one, again, other = make(seed=3), make(seed=3), make(seed=4)
    for index in (7, 0, 7):
        torch.manual_seed(index + 1)  # what is drawn elsewhere makes no difference
        assert same(one.episode(index), again.episode(index))
    state = torch.random.get_rng_state()
    one.episode(2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not same(one.episode(0), one.episode(1))
    valid = [make(valid=[8, 9], test=[], seed=3).episode(k, "valid") for k in range(8)]
    assert len({episode.classes for episode in valid}) == 2  # labels are drawn too
    assert other.classes != one.classes
    fixed = [make(valid=[8, 9], test=[6, 7], seed=seed) for seed in (3, 4)]
    assert fixed[0].classes == fixed[1].classes
    assert not same(fixed[0].episode(0), fixed[1].episode(0))


@pytest.mark.parametrize("rotations", [False, True])
def test_classes_are_in_one_split_with_all_their_rotations(rotations):
    for seed in range(2):
        tasks = make(rotations=rotations, valid=0.2, test=0.3, seed=seed)
        turns = 4 if rotations else 1
        assert {split: len(some) for split, some in tasks.classes.items()} == {
            "train": 5 * turns,
            "valid": 2 * turns,
            "test": 3 * turns,
        }
        base = {split: {one // turns for one in some} for split, some in tasks.classes.items()}
        assert not base["train"] & base["valid"]
        assert not base["train"] & base["test"]
        assert not base["valid"] & base["test"]
        assert set.union(*base.values()) == set(range(10))
        for split, some in tasks.classes.items():
            drawn = {one for index in range(8) for one in tasks.episode(index, split).classes}
            assert drawn <= set(some)
            assert len(drawn) > len(some) / 3
    assert split_classes(10, 0.4, 0.3, 1)["test"] == split_classes(10, 0.0, 0.3, 1)["test"]


def test_rotated_classes_are_rotated_and_the_others_are_not():
    tasks = make(rotations=True)
    corners = [(0, 0), (-1, 0), (-1, -1), (0, -1)]  # of the pixel that marks the class, turned to the left
    seen = set()
    for index in range(30):
        episode = tasks.episode(index)
        for split in ("train", "valid"):
            x, y = read(episode, split)
            for label, number in enumerate(episode.classes):
                one, turn = divmod(number, 4)
                row, column = corners[turn]
                assert (x[y == label, 0, row, column] == one).all()
                seen.add(turn)
    assert seen == {0, 1, 2, 3}


def test_several_data_sets_have_classes_of_their_own_in_one_size():
    small, (x, labels) = marked(4, first=1), marked(3, side=8, first=1)
    rgb = np.repeat(np.uint8(20 * x), 3, 1)
    tasks = make(dataset=[small, (rgb, labels)], valid=[0, 5], test=[6, 3])
    assert tasks.classes == {"train": (1, 2, 4), "valid": (0, 5), "test": (3, 6)}
    assert tasks.spec.input_shape == (3, 8, 8)
    assert make(dataset=[small, (rgb, labels)], valid=0, test=0, size=4).spec.input_shape == (3, 4, 4)
    for index in range(10):
        episode = tasks.episode(index, "valid")
        images, y = read(episode, "train")
        assert images.shape == (6, 3, 8, 8)
        own = images[y == episode.classes.index(5)]
        assert torch.allclose(own[:, :, 0, 0], torch.tensor(40 / 255))  # the second class, 20 * (1 + 1)
        grey = images[y == episode.classes.index(0)]
        assert torch.equal(grey[:, 0], grey[:, 2])
        assert 0 < float(grey[:, 0].max()) <= 12


def test_shrinking_averages_over_what_is_lost():
    x = np.zeros((20, 1, 8, 8), np.float32)
    x[:, 0, ::2] = 1.0
    tasks = make(dataset=(x, np.repeat([0, 1], 10)), size=4, valid=0, test=0)
    images, _ = read(tasks.episode(0), "train")
    assert torch.allclose(images[:, :, 1:3], torch.tensor(0.5), atol=0.1)


def test_normalisation_is_by_training_classes_alone():
    x, labels = marked(4, images=12)
    x[labels == 3] += 1000.0
    tasks = make(dataset=(x, labels), valid=[3], test=[], normalize=True, ways=2, rotations=True)
    assert tasks.normalization["mean"][0] < 2
    images = torch.cat([read(tasks.episode(index), "train")[0] for index in range(60)])
    assert abs(float(images.mean())) < 0.1
    assert abs(float(images.std()) - 1) < 0.1
    assert make().normalization is None


def test_mappings_data_sets_and_training_shots():
    x, labels = marked()
    halves = {"train": (x[::2], labels[::2]), "test": (x[1::2], labels[1::2])}
    assert make(dataset=halves)._images.counts == [12] * 10
    held = TensorDataset(torch.from_numpy(x), torch.from_numpy(labels))
    assert torch.equal(*(read(make(dataset=d).episode(5), "train")[0] for d in (held, (x, labels))))
    tasks = make(shots=1, train_shots=5)
    assert len(read(tasks.episode(0), "train")[1]) == 10
    assert len(read(tasks.episode(0, "test"), "train")[1]) == 2


def test_settings_name_the_data_and_are_json():
    one, other = make(), make(dataset=marked(images=13))
    assert json.loads(json.dumps(one.settings)) == one.settings == make(device=None).settings
    assert one.settings["data"] != other.settings["data"]
    assert one.settings != make(seed=1).settings
    assert isinstance(one, TaskDistribution)
    assert not isinstance(one, SupernetTask)


def test_networks_can_be_trained_on_episodes_from_scratch():
    tasks = FewShotEpisodes(marked(), 2, 3, queries=4, epochs=1, episodes=2, threads=1, device="cpu")
    space = nasx.spaces.ConvNet(depths=[1], widths=[8])
    architecture = space.decode(space.sample(1)[0])
    found = tasks.evaluate(architecture, seed=0)
    each = [tasks.episode(index, "valid").evaluate(architecture, seed=0) for index in range(2)]
    assert found == {name: (each[0][name] + each[1][name]) / 2 for name in ("error", "accuracy", "loss")}
    assert found["error"] == pytest.approx(1 - found["accuracy"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ways": 1}, ValueError, "ways must be an integer of at least 2; got 1"),
        ({"shots": 0}, ValueError, "shots must be an integer of at least 1"),
        ({"queries": 0}, ValueError, "queries must be an integer of at least 1"),
        ({"train_shots": True}, ValueError, "train_shots must be"),
        (
            {"ways": 7},
            ValueError,
            "train has 6 of 10 classes, fewer than ways, 7: give more classes, rotations",
        ),
        ({"ways": 3}, ValueError, "valid has 2 of 10 classes"),
        ({"shots": 9}, ValueError, "class 0 has 12 images, fewer than shots and queries, 13"),
        ({"train_shots": 9}, ValueError, "class 0 has 12 images, fewer than shots and queries, 13"),
        ({"valid": 1.0}, ValueError, r"valid must be a share of the classes in 0\.\.1"),
        ({"valid": 0.5, "test": 0.5}, ValueError, "leave none of 10 classes to learn from"),
        (
            {"valid": [1, 10]},
            ValueError,
            r"valid must hold different numbers of classes in 0\.\.9; got \[1, 10\]",
        ),
        ({"valid": [1, 2], "test": [2, 3]}, ValueError, r"share no class; both hold \[2\]"),
        ({"size": 0}, ValueError, "size must be an integer of at least 1"),
        ({"size": (4, 4, 4)}, ValueError, "size must be a number of pixels, or a pair"),
        ({"size": (4, 8), "rotations": True}, ValueError, "rotations=True needs square images"),
        ({"rotations": 1}, ValueError, "rotations must be True or False"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"dataset": [marked()[:1]]}, ValueError, "dataset must be a pair"),
        ({"dataset": [(np.zeros((0, 1, 4, 4), np.float32), np.zeros(0, np.int64))]}, ValueError, "classes"),
        (
            {"dataset": [marked(), (np.zeros((20, 2, 4, 4), np.float32), np.repeat([0, 1], 10))]},
            ValueError,
            None,
        ),
    ],
)
def test_wrong_settings_are_named(options, error, message):
    if message is None:
        x, y = marked()
        options = {"dataset": [(np.repeat(x, 3, 1), y), options["dataset"][1]]}
        message = r"dataset\[1\] has 2 channels, another data set 3"
    with pytest.raises(error, match=message):
        make(**options)


def test_wrong_calls_are_named():
    x, labels = marked()
    loader = DataLoader(TensorDataset(torch.from_numpy(x), torch.from_numpy(labels)), 8)
    with pytest.raises(TypeError, match="dataset must be arrays"):
        make(dataset=loader)
    tasks = make(valid=0)
    with pytest.raises(ValueError, match="split 'valid' has no classes"):
        tasks.episode(0, "valid")
    with pytest.raises(ValueError, match="split 'tset'"):
        tasks.episode(0, "tset")
    with pytest.raises(ValueError, match="index must be at least 0"):
        tasks.episode(-1)
    before = x.copy()
    tasks.episode(0)
    assert (x == before).all()


def test_sequences_of_tasks_are_distributions():
    x, labels = marked(2)
    task, other = (ImageClassification((x, labels), (x, labels), epochs=k, device="cpu") for k in (1, 2))
    tasks = TaskSequence([task, other])
    assert [tasks.episode(index) for index in range(4)] == [task, other, task, other]
    assert tasks.episode(3, "valid") is other
    assert tasks.settings["tasks"][1]["settings"]["epochs"] == 2
    space = nasx.spaces.ConvNet(depths=[1], widths=[8])
    architecture = space.decode(space.sample(1)[0])
    each = [one.evaluate(architecture, seed=1) for one in (task, other)]
    assert tasks.evaluate(architecture, seed=1)["loss"] == (each[0]["loss"] + each[1]["loss"]) / 2
    with pytest.raises(ValueError, match="at least one task"):
        TaskSequence([])
    with pytest.raises(
        TypeError, match=r"tasks\[1\] must be a task with a spec, loaders, loss and score.*got builtin"
    ):
        TaskSequence([task, len])
    with pytest.warns(UserWarning, match="no image of class 2"):
        wide = ImageClassification((x, labels), (x, labels), num_classes=3, device="cpu")
    with pytest.raises(ValueError, match=r"tasks must have one spec.*tasks\[1\] has"):
        TaskSequence([task, wide])
