"""Data as users give them: what is taken, and what is refused by name."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from nasx.tasks import splits
from nasx.tasks.splits import Held, Joined, Loaded, Summary, as_split, part_of


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (20, 3, 6, 5), np.uint8), np.arange(20) % 4


class Pairs(Dataset):
    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.images[i], self.labels[i]


class Stream(IterableDataset):
    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __iter__(self):
        return zip(self.images, self.labels, strict=True)


def read(split, size=7):
    images, labels = zip(*split.batches(size), strict=True)
    return torch.cat(images), torch.cat(labels)


def test_all_kinds_hold_the_same(pair):
    images, labels = pair
    tensors = torch.tensor(images), torch.tensor(labels)
    kinds = {
        "arrays": (images, labels),
        "lists": (images.tolist(), labels.astype(np.uint8)),
        "tensors": tensors,
        "data set of tensors": TensorDataset(*tensors),
        "data set of arrays": Pairs(images, labels),
        "loader": DataLoader(TensorDataset(*tensors), batch_size=6),
        "stream": Stream(*tensors),
        "list of batches": [(images[:9], labels[:9]), [images[9:], labels[9:]]],
    }
    kinds["lists"] = (images.astype(np.float64).tolist(), labels.tolist())
    for kind, data in kinds.items():
        found, numbers = read(as_split("train", data, 6))
        assert found.dtype == (torch.float32 if kind == "lists" else torch.uint8)
        assert torch.equal(found.to(torch.uint8), tensors[0]), kind
        assert torch.equal(numbers, tensors[1]), kind


def test_own_memory_for_arrays_and_tensors(pair):
    images, labels = pair
    images.flags.writeable = False
    for data in ((images, labels), (torch.tensor(images), torch.tensor(labels))):
        split = as_split("train", data, 4)
        before = split.fingerprint()
        data[1][:] = 0
        assert split.fingerprint() == before
        split.images.zero_()
        assert data[0].max() > 0


def test_a_large_data_set_is_not_held(pair, monkeypatch):
    monkeypatch.setattr(splits, "_HELD_BYTES", 100)
    split = as_split("valid", Pairs(*pair), 6)
    assert isinstance(split, Loaded)
    assert torch.equal(read(split)[1], torch.tensor(pair[1]))


def test_images_without_channels_get_one():
    split = as_split("train", (np.zeros((5, 4, 3), np.float64), np.zeros(5, int)), 4)
    assert split.images.shape == (5, 1, 4, 3)
    assert split.images.dtype == torch.float32


def test_shuffled_batches_are_a_permutation(pair):
    split = as_split("train", pair, 4)
    orders = [
        torch.cat([y for _, y in split.batches(6, torch.Generator().manual_seed(s))]) for s in (0, 0, 1)
    ]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])
    assert torch.equal(orders[0].sort().values, torch.tensor(sorted(pair[1])))


def test_joined_splits(pair):
    held = as_split("train", pair, 4)
    floats = as_split("valid", (pair[0] / 255, pair[1]), 4)
    both = Joined.of([held, floats])
    assert isinstance(both, Held)
    assert both.images.dtype == torch.float32
    torch.testing.assert_close(both.images[:20], both.images[20:])
    mixed = Joined.of([held, Loaded("valid", [pair])])
    assert len(read(mixed.to(torch.device("cpu")))[1]) == 40
    assert Joined.of([held]) is held


def test_summary_agrees_with_numpy(pair):
    images, labels = pair
    summary = Summary.of(
        "train", as_split("train", [(images[:13], labels[:13]), (images[13:], labels[13:])], 4)
    )
    assert (summary.images, summary.shape, summary.class_counts) == (20, (3, 6, 5), (5, 5, 5, 5))
    np.testing.assert_allclose(summary.mean.flatten(), (images / 255).mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(summary.std.flatten(), (images / 255).std((0, 2, 3)), rtol=1e-5)


def test_a_constant_channel_keeps_its_scale():
    assert (
        Summary.of("train", as_split("train", (np.full((4, 3, 3), 0.3), np.zeros(4, int)), 4)).std.item() == 1
    )


def part(split, *fractions, seed=3, **options):
    return part_of("train", split, fractions, torch.Generator().manual_seed(seed), **options)


def test_parts_share_nothing_and_leave_nothing_out():
    for count in (7, 20, 33):
        split = Held(torch.arange(count)[:, None, None, None].byte(), torch.arange(count))
        for cuts in ((0, 0.5, 1), (0.0, 0.3, 0.45, 0.8, 1.0), (0, 1 / 3, 2 / 3, 1), (0, 1)):
            parts = [part(split, low, high) for low, high in itertools.pairwise(cuts)]
            labels = [one.labels.tolist() for one in parts]
            assert sorted(itertools.chain(*labels)) == list(range(count))
            sizes = [(high - low) * count for low, high in itertools.pairwise(cuts)]
            assert all(abs(len(one) - size) <= 1 for one, size in zip(labels, sizes, strict=True))
            assert all(torch.equal(one.images.flatten(), one.labels) for one in parts)


def test_a_part_follows_from_its_order_and_is_at_random():
    split = Held(torch.zeros(50, 1, 2, 2), torch.arange(50))
    first, again, other = (part(split, 0, 0.5, seed=seed).labels.tolist() for seed in (1, 1, 2))
    assert first == again
    assert len({tuple(sorted(labels)) for labels in (first, other, range(25))}) == 3


@pytest.mark.parametrize(
    "fractions",
    [
        (0.5, 0.5),
        (0.6, 0.5),
        (-0.1, 1),
        (0, 1.1),
        (0, math.nan),
        ("a", "b"),
        (0,),
        (0, 0.5, 1),
        (False, True),
        (None, 1),
    ],
)
def test_a_part_that_is_no_range_is_named(fractions, pair):
    message = r"part must be a pair \(low, high\) of fractions with 0 <= low < high <= 1; got \("
    with pytest.raises(ValueError, match=message):
        part(as_split("train", pair, 4), *fractions)


def test_a_part_with_too_few_images_is_refused(pair):
    split = as_split("train", pair, 4)
    with pytest.raises(
        ValueError, match=r"part=\(0, 0.01\) of train holds 0 of its 20 images; take a larger"
    ):
        part(split, 0, 0.01)
    assert len(part(split, 0.5, 0.55).labels) == 1
    with pytest.raises(ValueError, match=r"part=\(0.5, 0.55\) of train holds 1 .* of at least 2"):
        part(split, 0.5, 0.55, least=2)


def test_what_a_loader_gives_cannot_be_divided(pair):
    loader = Loaded("train", [pair])
    for split in (loader, Joined.of([as_split("valid", pair, 4), loader])):
        with pytest.raises(
            ValueError, match=r'what a loader gives cannot be divided; give arrays .*="valid"$'
        ):
            part(split, 0, 0.5)


def image(shape=(4, 1, 5, 5), **kwargs):
    return np.zeros(shape, **kwargs)


LABELS = np.zeros(4, int)
NAN = image()
NAN[2, 0, 1, 1] = np.nan


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((NAN, LABELS), "valid: images must be finite; image 2 holds NaN or infinity"),
        ((image((4, 5)), LABELS), r"valid: images must have shape .*; got \(4, 5\)"),
        ((image((4, 1, 0, 5)), LABELS), r"valid: images must have shape .*; got \(4, 1, 0, 5\)"),
        ((image((4, 9, 9, 3)), LABELS), r"look like \(N, H, W, C\).*transpose\(0, 3, 1, 2\)"),
        (
            (image(dtype=int), LABELS),
            r"valid: images must be uint8 \(0..255\) or floating point; got torch.int64",
        ),
        ((image(dtype=bool), LABELS), "valid: images must be uint8"),
        ((image(), LABELS[:3]), r"valid: labels must have shape \(4,\).*got \(3,\)"),
        ((image(), np.eye(4, dtype=int)), r"valid: labels must have shape \(4,\).*got \(4, 4\)"),
        ((image(), LABELS * 1.0), "valid: labels must be integers.*got torch.float32"),
        ((image(), LABELS == 0), "valid: labels must be integers.*got torch.bool"),
        ((image(), LABELS - 1), "valid: labels must be 0 or more; got -1"),
        ((image(), np.array(list("abcd"))), "must be numbers; got dtype <U1"),
        ((image(), LABELS, LABELS), r"valid must be a pair \(images, labels\).*got 3 items"),
        ((image((0, 1, 5, 5)), LABELS[:0]), "valid holds no images"),
        ([], "valid holds no images"),
        (TensorDataset(torch.zeros(0, 1, 5, 5), torch.zeros(0)), "valid holds no images"),
        ([image()], r"valid: every batch must be a pair \(images, labels\); got ndarray"),
        ([(image(), LABELS), (image((4, 1, 6, 6)), LABELS)], "valid: images must have one shape"),
        (TensorDataset(torch.zeros(4, 1, 5, 5)), "valid: the data set's items must be pairs"),
        (Pairs([np.zeros((5, 5)), np.zeros((5, 4))], [0, 0]), "valid: the data set's items must be pairs"),
        (Pairs([None, None], [0, 0]), "must be numbers; got dtype object"),
    ],
)
def test_bad_data_are_named(data, message):
    with pytest.raises(ValueError, match=message):
        Summary.of("valid", as_split("valid", data, 4))


@pytest.mark.parametrize("data", [3, "digits", np.float64(1)])
def test_other_types_are_refused(data):
    with pytest.raises(TypeError, match="valid must be a pair"):
        as_split("valid", data, 4)


def test_an_iterator_is_refused():
    with pytest.raises(TypeError, match="valid is an iterator, which gives its batches only once"):
        as_split("valid", iter([(image(), LABELS)]), 4)
