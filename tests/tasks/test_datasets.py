"""Loading and splitting labelled images."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from nasx.tasks.datasets import load


def rows(split):
    return {image.tobytes() for image in split[0]}


def test_digits_are_all_there_once_with_their_labels():
    data = load("digits")
    digits = load_digits()
    assert sum(len(labels) for _, labels in data.values()) == 1797
    known = {
        (image / 16).astype(np.float32).tobytes(): label
        for image, label in zip(*digits_pairs(digits), strict=True)
    }
    for images, labels in data.values():
        assert images.dtype == np.float32
        assert images.shape[1:] == (1, 8, 8)
        assert images.min() == 0
        assert images.max() == 1
        assert [known[image.tobytes()] for image in images] == labels.tolist()
    for first, second in (("train", "valid"), ("train", "test"), ("valid", "test")):
        assert not rows(data[first]) & rows(data[second])


def digits_pairs(digits):
    return digits.images, digits.target


def test_splits_are_stratified():
    for split, share in (("train", 0.6), ("valid", 0.2), ("test", 0.2)):
        counts = np.bincount(load("digits")[split][1])
        np.testing.assert_allclose(counts, share * np.bincount(load_digits().target), atol=1)


def test_same_seed_same_splits_and_the_test_split_ignores_valid():
    base, again, other = load("digits"), load("digits"), load("digits", seed=1)
    more = load("digits", valid=0.4)
    for split in base:
        np.testing.assert_array_equal(base[split][0], again[split][0])
    assert rows(base["test"]) != rows(other["test"])
    assert rows(base["test"]) == rows(more["test"])
    assert len(more["valid"][1]) == pytest.approx(2 * len(base["valid"][1]), abs=10)


def test_npz_file(tmp_path):
    images = np.arange(40 * 4, dtype=np.uint8).reshape(40, 2, 2)
    labels = np.arange(40) % 2
    np.savez(tmp_path / "own.npz", images=images, labels=labels)
    data = load(tmp_path / "own.npz", valid=0.25, test=0.0)
    assert {split: len(x) for split, (x, _) in data.items()} == {"train": 30, "valid": 10, "test": 0}
    for x, y in data.values():
        np.testing.assert_array_equal(x[:, 0, 0] // 4 % 2, y)


def test_bad_input_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"unknown data set 'digit'; did you mean 'digits'\?.*\.npz"):
        load("digit")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(ValueError, match=r"write one with numpy\.savez"):
        load(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(ValueError, match=r"write one with numpy\.savez"):
        load(tmp_path / "one.npz")
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 2, 2)))
    with pytest.raises(ValueError, match=r"unknown array 'images'.*Known: x.*numpy\.savez"):
        load(tmp_path / "x.npz")
    np.savez(tmp_path / "lengths.npz", images=np.zeros((3, 2, 2)), labels=np.zeros(2, int))
    with pytest.raises(ValueError, match=r"got shapes \(3, 2, 2\) and \(2,\)"):
        load(tmp_path / "lengths.npz")
    np.savez(tmp_path / "object.npz", images=np.array([None, 1], object), labels=np.zeros(2, int))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load(tmp_path / "object.npz")


@pytest.mark.parametrize(("valid", "test"), [(0.5, 0.5), (-0.1, 0.2), (0.2, 1.0), (float("nan"), 0.2)])
def test_fractions_must_leave_training_images(valid, test):
    with pytest.raises(ValueError, match=r"valid and test must be in 0\.\.1"):
        load("digits", valid=valid, test=test)
