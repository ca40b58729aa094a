"""Labelled images as tasks take them: arrays, data sets or loaders, checked once and iterated in batches."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from nasx._fingerprint import fingerprint

__all__ = [
    "Batch",
    "Held",
    "Joined",
    "Loaded",
    "Split",
    "Summary",
    "as_float",
    "as_split",
    "check_part",
    "part_of",
]

Batch: TypeAlias = tuple[Tensor, Tensor]

# A data set up to this size is read into memory once; a larger one goes through a DataLoader.
_HELD_BYTES = 1 << 30


class Split(Protocol):
    """Images and labels that can be read again and again."""

    def batches(self, size: int, order: torch.Generator | None = None) -> Iterator[Batch]:
        """Raw batches, shuffled if there is a generator; what a loader gives is left as it comes."""

    def to(self, device: torch.device) -> Split:
        """Move what is held in memory to `device`."""


class Held:
    """Images ``(N, C, H, W)``, uint8 or float32, and int64 labels ``(N,)`` in memory."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def batches(self, size: int, order: torch.Generator | None = None) -> Iterator[Batch]:
        """Give raw batches, shuffled if there is a generator."""
        if order is None:
            yield from zip(torch.split(self.images, size), torch.split(self.labels, size), strict=True)
            return
        rows = torch.randperm(len(self.labels), generator=order).to(self.labels.device)
        for chosen in torch.split(rows, size):
            yield self.images[chosen], self.labels[chosen]

    def to(self, device: torch.device) -> Held:
        """Move the tensors to `device`."""
        return Held(self.images.to(device), self.labels.to(device))

    def fingerprint(self) -> str:
        """Hash what is held."""
        return fingerprint((self.images, self.labels))


class Loaded:
    """Whatever gives batches of images and labels each time it is iterated."""

    def __init__(self, name: str, loader: Iterable[Any]) -> None:
        self.name, self.loader = name, loader

    def batches(self, size: int, order: torch.Generator | None = None) -> Iterator[Batch]:
        """Give the loader's batches, checked."""
        for batch in self.loader:
            if not isinstance(batch, tuple | list) or len(batch) != 2:
                raise ValueError(
                    f"{self.name}: every batch must be a pair (images, labels); got {type(batch).__name__}"
                )
            yield _as_tensors(self.name, *batch)

    def to(self, device: torch.device) -> Loaded:
        """Give itself: nothing is held."""
        return self


class Joined:
    """Several splits, one after the other."""

    def __init__(self, parts: Sequence[Split]) -> None:
        self.parts = parts

    def batches(self, size: int, order: torch.Generator | None = None) -> Iterator[Batch]:
        """Give the parts' batches."""
        for part in self.parts:
            yield from part.batches(size, order)

    def to(self, device: torch.device) -> Joined:
        """Move every part."""
        return Joined([part.to(device) for part in self.parts])

    @staticmethod
    def of(parts: Sequence[Split]) -> Split:
        """Join splits, in memory if they are there: then they are shuffled together."""
        if len(parts) == 1:
            return parts[0]
        held = [part for part in parts if isinstance(part, Held)]
        if len(held) < len(parts):
            return Joined(parts)
        images = [part.images for part in held]
        if len({tensor.dtype for tensor in images}) > 1:
            images = [as_float(tensor) for tensor in images]
        return Held(torch.cat(images), torch.cat([part.labels for part in held]))


def part_of(name: str, split: Split, part: Any, order: torch.Generator, *, least: int = 1) -> Held:
    """Take a range of a random order of a split in memory.

    Parameters
    ----------
    name : str
        The split's name, for errors.
    split : Split
        What is divided.
    part : tuple of float
        Where the range begins and where it ends, as fractions ``0 <= low < high <= 1``. Ranges that meet
        share no image and leave none out.
    order : torch.Generator
        Draws the order; in the same state, the same order.
    least : int, default 1
        Images that the part must hold.

    Returns
    -------
    Held
        Images and labels of its own.

    Raises
    ------
    ValueError
        If `part` is no such pair, holds too few images, or the split is not in memory.
    """
    low, high = check_part(part)
    if not isinstance(split, Held):
        raise ValueError(
            f"part={part!r} of {name}: what a loader gives cannot be divided; give arrays or a data set of "
            "at most 1 GiB, or let the strategy learn architectures from the validation images: "
            'architecture_data="valid"'
        )
    count = len(split.labels)
    rows = torch.randperm(count, generator=order)[round(low * count) : round(high * count)]
    if len(rows) < least:
        raise ValueError(
            f"part={part!r} of {name} holds {len(rows)} of its {count} images; take a larger part, of at "
            f"least {least}"
        )
    rows = rows.to(split.labels.device)
    return Held(split.images[rows], split.labels[rows])


def check_part(part: Any) -> tuple[float, float]:
    """Return a range of fractions; raise ValueError for anything else."""
    try:
        low, high = part
        fractions = not isinstance(low, bool) and not isinstance(high, bool) and 0 <= low < high <= 1
    except (TypeError, ValueError):
        fractions = False
    if not fractions:
        raise ValueError(
            f"part must be a pair (low, high) of fractions with 0 <= low < high <= 1; got {part!r}"
        )
    return low, high


@dataclasses.dataclass(frozen=True)
class Summary:
    """What one pass over a split found: sizes, class counts, and per-channel mean and deviation."""

    images: int
    shape: tuple[int, ...]
    class_counts: tuple[int, ...]
    mean: Tensor
    std: Tensor

    @staticmethod
    def of(name: str, split: Split) -> Summary:
        """Read a split once."""
        count = 0
        shape: tuple[int, ...] = ()
        classes = torch.zeros(0, dtype=torch.int64)
        total = squares = torch.zeros(())
        for images, labels in split.batches(4096):
            if count and images.shape[1:] != shape:
                raise ValueError(
                    f"{name}: images must have one shape; got {shape} and {tuple(images.shape[1:])}"
                )
            shape = tuple(images.shape[1:])
            count += len(images)
            found = torch.bincount(labels, minlength=len(classes))
            found[: len(classes)] += classes
            classes = found
            values = as_float(images).double()
            total = total + values.mean((2, 3)).sum(0)
            squares = squares + values.square().mean((2, 3)).sum(0)
        if not count:
            raise ValueError(f"{name} holds no images; give at least one")
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0).sqrt()
        # A constant channel carries nothing; leave its scale alone.
        std = torch.where(std > 1e-6, std, 1.0)
        shaped = (mean.float().reshape(1, -1, 1, 1), std.float().reshape(1, -1, 1, 1))
        return Summary(count, shape, tuple(classes.tolist()), *shaped)


def as_split(name: str, data: Any, batch_size: int) -> Split:
    """Make a split of arrays ``(images, labels)``, a torch data set, or anything that gives batches."""
    if isinstance(data, tuple):
        if len(data) != 2:
            raise ValueError(
                f"{name} must be a pair (images, labels), a data set or a loader; got {len(data)} items"
            )
        images, labels = _as_tensors(name, *data)
        # Own memory: what the caller does to the arrays later must not change the task.
        return Held(images.detach().to("cpu", copy=True), labels.detach().to("cpu", copy=True))
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        return _of_dataset(name, data, batch_size)
    if isinstance(data, IterableDataset):
        return Loaded(name, DataLoader(data, batch_size))
    if isinstance(data, str) or not isinstance(data, Iterable):
        raise TypeError(
            f"{name} must be a pair (images, labels) of arrays, a torch Dataset or a DataLoader; got {data!r}"
        )
    if isinstance(data, Iterator):
        raise TypeError(
            f"{name} is an iterator, which gives its batches only once; give a DataLoader or a list"
        )
    return Loaded(name, data)


def _of_dataset(name: str, data: Dataset[Any], batch_size: int) -> Split:
    length = len(data)  # type: ignore[arg-type]  # map-style data sets have a length
    if not length:
        raise ValueError(f"{name} holds no images; give at least one")
    first, _ = _as_tensors(name, *_batch_of(name, [data[0]]))
    if length * first.element_size() * first.numel() > _HELD_BYTES:
        return Loaded(name, DataLoader(data, batch_size, shuffle=name == "train"))
    return Held(*_as_tensors(name, *_batch_of(name, [data[i] for i in range(length)])))


def _batch_of(name: str, items: list[Any]) -> tuple[Any, Any]:
    try:
        images, labels = zip(*items, strict=True)
        return np.stack([np.asarray(image) for image in images]), np.array(
            [operator.index(label) for label in labels]
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: the data set's items must be pairs (image, label) of one shape, the image an array or "
            f"tensor: {error}"
        ) from None


def as_float(images: Tensor) -> Tensor:
    """Images as float32; uint8 is scaled to 0..1."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def _as_tensors(name: str, images: Any, labels: Any) -> Batch:
    """Check images and labels; uint8 or float32 of shape (N, C, H, W), and int64 (N,)."""
    images, labels = _as_tensor(images), _as_tensor(labels)
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise ValueError(
            f"{name}: images must have shape (N, H, W) or (N, C, H, W); got {tuple(images.shape)}"
        )
    _, channels, height, width = images.shape
    if channels == height > 4 and width in (1, 3, 4):
        raise ValueError(
            f"{name}: images of shape {tuple(images.shape)} look like (N, H, W, C); move channels forward "
            "with images.transpose(0, 3, 1, 2)"
        )
    if images.dtype != torch.uint8:
        if not images.is_floating_point():
            raise ValueError(f"{name}: images must be uint8 (0..255) or floating point; got {images.dtype}")
        images = images.float()
        finite = images.isfinite().flatten(1).all(1)
        if not finite.all():
            raise ValueError(
                f"{name}: images must be finite; image {int(finite.int().argmin())} holds NaN or infinity"
            )
    if labels.ndim != 1 or len(labels) != len(images):
        raise ValueError(
            f"{name}: labels must have shape ({len(images)},), one class number an image; "
            f"got {tuple(labels.shape)}"
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"{name}: labels must be integers, the numbers of the classes; got {labels.dtype}")
    labels = labels.long()
    if len(labels) and int(labels.min()) < 0:
        raise ValueError(f"{name}: labels must be 0 or more; got {int(labels.min())}")
    return images, labels


def _as_tensor(values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values
    array = np.asarray(values)
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    elif array.dtype.kind in "iu" and array.dtype != np.uint8:
        array = array.astype(np.int64)
    elif array.dtype.kind not in "ub":
        raise ValueError(f"images and labels must be numbers; got dtype {array.dtype}")
    # A copy: torch cannot hold read-only or reversed arrays.
    return torch.from_numpy(np.array(array, order="C"))
