"""Order, augmentation and normalisation of batches."""

import pytest
import torch

from nasx.tasks.batches import Batches, cut_out, shift_and_flip, stream
from nasx.tasks.splits import Held, Loaded


@pytest.fixture
def split():
    generator = torch.Generator().manual_seed(0)
    return Held(torch.rand(21, 2, 8, 8, generator=generator), torch.arange(21))


def batches(split, **options):
    defaults = {"batch_size": 5, "seed": 0, "training": True, "augment": None, "flip": False}
    return Batches(split, **defaults | {"normalization": None, "device": torch.device("cpu")} | options)


def labels_of(passes):
    return torch.cat([labels for _, labels in passes]).tolist()


def test_every_epoch_has_its_own_order_and_can_be_repeated(split):
    first, again, other = batches(split), batches(split), batches(split, seed=1)
    epochs = [labels_of(first) for _ in range(3)]
    assert [labels_of(again) for _ in range(3)] == epochs
    assert len({tuple(order) for order in [*epochs, labels_of(other)]}) == 4
    again.epoch = 1
    assert labels_of(again) == epochs[1]


def test_a_last_batch_of_one_is_left_out_of_training_only(split):
    assert [len(labels) for _, labels in batches(split)] == [5, 5, 5, 5]
    assert [len(labels) for _, labels in batches(split, training=False)] == [5, 5, 5, 5, 1]
    ones = Loaded("train", [(torch.rand(n, 8, 8), torch.arange(n)) for n in (3, 1, 2)])
    assert [len(labels) for _, labels in batches(ones)] == [3, 2]


def test_evaluation_is_in_order_and_not_augmented(split):
    plain = batches(split, training=False, augment="standard", flip=True)
    assert torch.equal(torch.cat([images for images, _ in plain]), split.images)


def test_uint8_is_scaled_and_normalised(split):
    raw = Held((split.images * 255).byte(), split.labels)
    mean, std = torch.rand(1, 2, 1, 1), torch.rand(1, 2, 1, 1) + 0.5
    images = torch.cat([x for x, _ in batches(raw, training=False, normalization=(mean, std))])
    torch.testing.assert_close(images, (raw.images / 255.0 - mean) / std)
    assert raw.images.dtype == torch.uint8


def test_a_callable_augments_before_normalisation(split):
    seen = []
    zero, two = torch.zeros(1, 2, 1, 1), torch.full((1, 2, 1, 1), 2.0)
    for images, _ in batches(
        split, augment=lambda x: seen.append(x.max()) or x * 0 + 1, normalization=(zero, two)
    ):
        assert (images == 0.5).all()
    assert max(seen) <= 1


def test_shifts_are_crops_of_the_padded_image_and_all_occur():
    image = torch.arange(1.0, 65).reshape(1, 1, 8, 8).repeat(400, 1, 1, 1)
    padded = torch.nn.functional.pad(image[:1], (1, 1, 1, 1))
    crops = {(t, le): padded[0, :, t : t + 8, le : le + 8] for t in range(3) for le in range(3)}
    shifted = shift_and_flip(image, torch.Generator().manual_seed(0), flip=False)
    found = [next(where for where, crop in crops.items() if torch.equal(crop, one)) for one in shifted]
    assert set(found) == set(crops)
    flipped = shift_and_flip(image, torch.Generator().manual_seed(0), flip=True)
    mirrored = sum(not any(torch.equal(crop, one) for crop in crops.values()) for one in flipped)
    assert 150 < mirrored < 250
    assert all(
        any(torch.equal(crop, x) for crop in crops.values() for x in (one, one.flip(2))) for one in flipped
    )


def test_all_channels_of_an_image_move_together():
    image = torch.rand(50, 1, 28, 20).repeat(1, 3, 1, 1)
    shifted = shift_and_flip(image, torch.Generator().manual_seed(0), flip=True)
    assert shifted.shape == image.shape
    assert torch.equal(shifted[:, 0], shifted[:, 2])
    assert not torch.equal(shifted, image)


def test_squares_are_cut_around_every_pixel_and_clipped_at_the_border():
    height, width = 6, 5
    for side in (1, 2, 3, 6, 9):
        squares = set()
        for y in range(height):
            for x in range(width):
                kept = torch.ones(height, width)
                top, left = y - side // 2, x - side // 2
                kept[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = 0
                squares.add(tuple(kept.flatten().tolist()))
        images = torch.full((2000, 2, height, width), 3.0)
        cut = cut_out(images, side, torch.Generator().manual_seed(side))
        assert (images == 3).all()
        assert torch.equal(cut[:, 0], cut[:, 1])
        found = {tuple(one.flatten().tolist()) for one in cut[:, 0] / 3}
        assert found == squares, side


def test_centres_of_squares_are_uniform():
    cut = cut_out(torch.ones(6000, 1, 3, 4), 1, torch.Generator().manual_seed(0))
    share = 1 - cut.mean(0)[0]
    assert (share - 1 / 12).abs().max() < 0.02


def test_cut_pixels_are_zero_after_normalisation_and_the_rest_is_as_ever(split):
    mean, std = torch.full((1, 2, 1, 1), 0.25), torch.full((1, 2, 1, 1), 0.5)
    for normalization in ((mean, std), None):
        options = {"augment": "standard", "flip": True, "normalization": normalization, "batch_size": 21}
        (plain, order), *_ = batches(split, **options)
        (cut, same_order), *_ = batches(split, cutout=3, **options)
        assert torch.equal(order, same_order)
        changed = (cut != plain).any(1)
        assert changed.flatten(1).any(1).all()
        assert (cut.movedim(1, -1)[changed] == 0).all()
        assert changed.sum((1, 2)).max() <= 9


def test_cutout_is_for_standard_training_batches_only(split):
    for options in ({"training": False, "augment": "standard"}, {"augment": None}, {"augment": lambda x: x}):
        plain, cut = (torch.cat([x for x, _ in batches(split, cutout=c, **options)]) for c in (None, 4))
        assert torch.equal(plain, cut)


def test_without_cutout_nothing_else_is_drawn(split):
    # Journals written before there was a cutout must go on with the same trainings.
    found = batches(split, augment="standard", flip=True, batch_size=8, seed=7)
    for epoch in range(2):
        generator = torch.Generator().manual_seed(stream(7, epoch))
        for (images, labels), rows in zip(
            found, torch.randperm(21, generator=generator).split(8), strict=True
        ):
            assert torch.equal(labels, split.labels[rows])
            assert torch.equal(images, shift_and_flip(split.images[rows], generator, flip=True))


def test_batches_leave_the_global_generator_alone(split):
    before = torch.random.get_rng_state()
    labels_of(batches(split, augment="standard"))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_streams_differ():
    assert len({stream(s, *path) for s in (0, 1, 2**62) for path in ((0,), (1,), (0, 1), (1, 0))}) == 12
