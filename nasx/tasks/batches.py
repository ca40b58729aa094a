"""`Batches`: a split made ready to train on, shuffled, augmented, normalised and on its device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nasx.tasks.splits import Batch, Split, as_float

__all__ = ["Augment", "Batches", "cut_out", "shift_and_flip", "stream"]

Augment: TypeAlias = Callable[[Tensor], Tensor]


def stream(seed: int, *path: int) -> int:
    """Seed for a torch generator, different for every path."""
    return int(np.random.SeedSequence(seed, spawn_key=path).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Batches:
    """The batches of a split; every pass over it is the next epoch.

    Parameters
    ----------
    split : Split
        Images and labels.
    batch_size : int
        Images in a batch; loaders keep their own.
    seed : int
        Same seed and epoch, same order and shifts. A loader's own order, and an augmentation that is a
        callable, draw from torch's global generator.
    training : bool
        Shuffle, augment, and leave out a last batch of one image, which batch normalisation cannot take.
    augment : "standard", callable or None
        Augmentation of training batches: callables map float32 images in their own range to the same shape.
    flip : bool
        Whether "standard" flips images left to right.
    cutout : int, optional
        Side of the square that "standard" sets to zero, after normalisation.
    normalization : tuple of Tensor or None
        Mean and deviation, each of shape ``(1, C, 1, 1)``.
    device : torch.device
        Where batches are put; a split in memory is moved there as a whole.

    Attributes
    ----------
    epoch : int
        Number of the next pass, from 0; set it to go on where an earlier run ended.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        seed: int,
        training: bool,
        augment: str | Augment | None,
        flip: bool,
        normalization: tuple[Tensor, Tensor] | None,
        device: torch.device,
        cutout: int | None = None,
    ) -> None:
        self.epoch = 0
        self._split, self._batch_size, self._seed, self._training = (
            split.to(device),
            batch_size,
            seed,
            training,
        )
        self._augment, self._flip, self._cutout = augment if training else None, flip, cutout
        self._device = device
        self._normalization = normalization and (normalization[0].to(device), normalization[1].to(device))

    def __iter__(self) -> Iterator[Batch]:
        """Give batches of images ``(B, C, H, W)``, float32, and labels ``(B,)``, int64."""
        generator = torch.Generator().manual_seed(stream(self._seed, self.epoch))
        self.epoch += 1
        for images, labels in self._split.batches(self._batch_size, generator if self._training else None):
            if self._training and len(labels) < 2:
                continue
            images = as_float(images.to(self._device, non_blocking=True))
            if self._augment == "standard":
                images = shift_and_flip(images, generator, flip=self._flip)
            elif callable(self._augment):
                images = self._augment(images)
            if self._normalization:
                images = (images - self._normalization[0]) / self._normalization[1]
            if self._augment == "standard" and self._cutout:
                images = cut_out(images, self._cutout, generator)
            yield images, labels.to(self._device, non_blocking=True)


def shift_and_flip(images: Tensor, generator: torch.Generator, *, flip: bool) -> Tensor:
    """Shift each image by up to an eighth of its size, filling with zeros; flip half of them if asked."""
    count, channels, height, width = images.shape
    down, right = max(1, round(height / 8)), max(1, round(width / 8))
    padded = F.pad(images, (right, right, down, down))
    top = torch.randint(2 * down + 1, (count, 1), generator=generator)
    left = torch.randint(2 * right + 1, (count, 1), generator=generator)
    rows, columns = top + torch.arange(height), left + torch.arange(width)
    if flip:
        mirrored = torch.rand(count, generator=generator) < 0.5
        columns[mirrored] = columns[mirrored].flip(1)
    rows, columns = rows.to(images.device), columns.to(images.device)
    which = torch.arange(count, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[which, channel, rows[:, None, :, None], columns[:, None, None, :]]


def cut_out(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Set a square to zero in each image; its centre is anywhere in the image, what lies outside is lost."""
    count, _, height, width = images.shape
    top = torch.randint(height, (count, 1), generator=generator) - side // 2
    left = torch.randint(width, (count, 1), generator=generator) - side // 2
    rows, columns = torch.arange(height), torch.arange(width)
    in_rows = ((rows >= top) & (rows < top + side)).to(images.device)
    in_columns = ((columns >= left) & (columns < left + side)).to(images.device)
    return images.masked_fill(in_rows[:, None, :, None] & in_columns[:, None, None, :], 0.0)
