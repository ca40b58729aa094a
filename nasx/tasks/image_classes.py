"""`ImageClasses`: the images of several data sets, class by class, in one size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nasx._arguments import count
from nasx.tasks.splits import Held, Joined, Split, as_float, as_split

__all__ = ["ImageClasses", "split_classes"]


class ImageClasses:
    """Images by their classes, which are numbered through all data sets.

    Parameters
    ----------
    dataset : data, mapping or list
        As for `nasx.tasks.FewShotEpisodes`.
    size : int or tuple of int, optional
        Height and width of what `of` gives; by default the largest of the data sets'.
    least : int
        Images that every class must have.

    Attributes
    ----------
    size : tuple of int
        Height and width.
    channels : int
        The most of any data set; images of one channel are repeated.
    counts : list of int
        Images of each class.

    Raises
    ------
    ValueError
        If there is no data set, a class has too few images, `size` is no size, or the numbers of channels do
        not fit together.
    TypeError
        If a data set is not held in memory.
    """

    def __init__(self, dataset: Any, *, size: int | tuple[int, int] | None, least: int) -> None:
        given = dataset if isinstance(dataset, list) else [dataset]
        if not given:
            raise ValueError("dataset must hold at least one data set; got an empty list")
        several = len(given) > 1
        names = [f"dataset[{number}]" if several else "dataset" for number in range(len(given))]
        self._sets = [_held(name, data) for name, data in zip(names, given, strict=True)]
        shapes = [held.images.shape[1:] for held in self._sets]
        self.channels = max(shape[0] for shape in shapes)
        for name, shape in zip(names, shapes, strict=True):
            if shape[0] not in (1, self.channels):
                raise ValueError(
                    f"{name} has {shape[0]} channels, another data set {self.channels}; images must have one "
                    "channel or as many as the others"
                )
        largest = (max(shape[1] for shape in shapes), max(shape[2] for shape in shapes))
        self.size = largest if size is None else _checked_size(size)
        # Each class: its data set, and its rows there.
        self._rows: list[tuple[int, Tensor]] = []
        for number, (name, held) in enumerate(zip(names, self._sets, strict=True)):
            for label in torch.unique(held.labels).tolist():
                rows = torch.nonzero(held.labels == label).flatten()
                if len(rows) < least:
                    raise ValueError(
                        f"{name}: class {label} has {len(rows)} images, fewer than shots and queries, "
                        f"{least}; leave the class out, or take fewer queries"
                    )
                self._rows.append((number, rows))
        self.counts = [len(rows) for _, rows in self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, one: int, chosen: Tensor) -> Tensor:
        """Give images of a class.

        Parameters
        ----------
        one : int
            Its number.
        chosen : Tensor of int64, shape (N,)
            Which of its images.

        Returns
        -------
        Tensor of float32, shape (N, channels, height, width)
            uint8 is scaled to 0..1; other sizes are interpolated bilinearly, averaging where it shrinks.
        """
        number, rows = self._rows[one]
        images = as_float(self._sets[number].images[rows[chosen]])
        if images.shape[2:] != self.size:
            images = F.interpolate(images, self.size, mode="bilinear", antialias=True)
        return images.expand(-1, self.channels, -1, -1)

    def moments(self, classes: Sequence[int], most: int) -> tuple[Tensor, Tensor]:
        """Measure mean and deviation of each channel.

        Parameters
        ----------
        classes : sequence of int
            Over which classes, each with the same weight.
        most : int
            Images of each, the first ones.

        Returns
        -------
        mean, std : Tensor of shape (1, channels, 1, 1)
            A constant channel has deviation 1.
        """
        means, squares = [], []
        for one in classes:
            images = self.of(one, torch.arange(min(most, self.counts[one]))).double()
            means.append(images.mean((0, 2, 3)))
            squares.append(images.square().mean((0, 2, 3)))
        mean = torch.stack(means).mean(0)
        std = (torch.stack(squares).mean(0) - mean.square()).clamp(min=0).sqrt()
        std = torch.where(std > 1e-6, std, 1.0)
        return mean.float().reshape(1, -1, 1, 1), std.float().reshape(1, -1, 1, 1)

    def fingerprints(self) -> list[str]:
        """Hash each data set."""
        return [held.fingerprint() for held in self._sets]


def split_classes(
    number: int, valid: float | Sequence[int], test: float | Sequence[int], seed: int
) -> dict[str, tuple[int, ...]]:
    """Divide classes between learning, comparing and testing.

    Parameters
    ----------
    number : int
        How many there are.
    valid, test : float or sequence of int
        Shares of them, rounded, which are drawn; or which ones.
    seed : int
        Same seed, same classes.

    Returns
    -------
    dict of str to tuple of int
        "train", "valid" and "test", sorted; no class is in two of them.

    Raises
    ------
    ValueError
        If they are neither shares in 0..1 nor numbers of classes, or leave nothing to learn from.

    Examples
    --------
    >>> split_classes(5, valid=[4], test=[0], seed=0)
    {'train': (1, 2, 3), 'valid': (4,), 'test': (0,)}
    >>> {split: len(classes) for split, classes in split_classes(20, 0.2, 0.25, seed=0).items()}
    {'train': 11, 'valid': 4, 'test': 5}
    """
    named: dict[str, list[int]] = {}
    for name, value in (("valid", valid), ("test", test)):
        if isinstance(value, int | float):
            if isinstance(value, bool) or not 0 <= value < 1:
                raise ValueError(
                    f"{name} must be a share of the classes in 0..1, or a list of them; got {value}"
                )
            continue
        some = list(value)
        whole = all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < number for one in some)
        if not whole or len(set(some)) < len(some):
            raise ValueError(f"{name} must hold different numbers of classes in 0..{number - 1}; got {some}")
        named[name] = some
    both = set(named.get("valid", ())) & set(named.get("test", ()))
    if both:
        raise ValueError(f"valid and test must share no class; both hold {sorted(both)}")
    taken = {one for some in named.values() for one in some}
    order = torch.randperm(number, generator=torch.Generator().manual_seed(seed)).tolist()
    left = [one for one in order if one not in taken]
    for name, value in (("test", test), ("valid", valid)):  # the test classes do not depend on `valid`
        if isinstance(value, int | float):
            named[name], left = left[: round(value * number)], left[round(value * number) :]
    if not left:
        raise ValueError(f"valid={valid} and test={test} leave none of {number} classes to learn from")
    named["train"] = left
    return {split: tuple(sorted(named[split])) for split in ("train", "valid", "test")}


def _held(name: str, data: Any) -> Held:
    """Make one split in memory of a data set, or of all splits of a mapping."""
    if isinstance(data, Mapping):
        if not data:
            raise ValueError(f"{name} must hold at least one split; got an empty mapping")
        joined: Split = Joined.of([_held(f"{name}[{key!r}]", part) for key, part in data.items()])
    else:
        joined = as_split(name, data, 256)
    if not isinstance(joined, Held):
        raise TypeError(
            f"{name} must be arrays (images, labels), or a torch Dataset of at most 1 GiB: episodes draw "
            "single images, which loaders do not give"
        )
    return joined


def _checked_size(size: Any) -> tuple[int, int]:
    both = (size, size) if isinstance(size, int) else size
    if not isinstance(both, tuple | list) or len(both) != 2:
        raise ValueError(f"size must be a number of pixels, or a pair (height, width); got {size!r}")
    return count(both[0], "size"), count(both[1], "size")
