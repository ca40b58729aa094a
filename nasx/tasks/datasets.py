"""Labelled images for examples and the command line, split for architecture search."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nasx._npz import read_arrays
from nasx.errors import require, unknown

__all__ = ["available_datasets", "load"]

Split: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[Any]]


def available_datasets() -> tuple[str, ...]:
    """Names of the data sets that need no file.

    Returns
    -------
    tuple of str
        The names that `load` takes besides paths.

    Examples
    --------
    >>> available_datasets()
    ('digits',)
    """
    return ("digits",)


def load(
    name_or_path: str | os.PathLike[str], *, seed: int = 0, valid: float = 0.2, test: float = 0.2
) -> dict[str, Split]:
    """Load labelled images and split them, class by class.

    Parameters
    ----------
    name_or_path : str or path
        "digits": the 1,797 handwritten digits that scikit-learn ships [1]_, scaled to 0..1, shape
        ``(1, 8, 8)``. Otherwise the path of an ``.npz`` file with the arrays ``images``, ``(N, H, W)`` or
        ``(N, C, H, W)``, and ``labels``, ``(N,)``.
    seed : int, default 0
        Same seed, same splits.
    valid, test : float, default 0.2
        Fractions of each class to validate and to test on. The test split does not depend on `valid`.

    Returns
    -------
    dict
        "train", "valid" and "test": each ``(images, labels)``.

    Raises
    ------
    ValueError
        If the name is unknown, the file lacks an array, lengths differ, or the fractions leave no training
        images or are not in 0..1.
    FileNotFoundError
        If the path does not exist.
    nasx.errors.MissingDependencyError
        If "digits" is asked for and scikit-learn is not installed.

    References
    ----------
    .. [1] E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
       Repository, 1998.

    Examples
    --------
    >>> {split: images.shape for split, (images, labels) in load("digits").items()}
    {'train': (1079, 1, 8, 8), 'valid': (359, 1, 8, 8), 'test': (359, 1, 8, 8)}
    """
    if not (0 <= valid < 1 and 0 <= test < 1 and valid + test < 1):
        raise ValueError(
            f"valid and test must be in 0..1 and leave something to train on; got {valid} and {test}"
        )
    if str(name_or_path) in available_datasets():
        images, labels = _digits()
    else:
        images, labels = _read(Path(name_or_path))
    rows: dict[str, list[npt.NDArray[np.int64]]] = {"train": [], "valid": [], "test": []}
    for number, label in enumerate(np.unique(labels)):
        members = np.random.default_rng([seed, number]).permutation(np.flatnonzero(labels == label))
        tested, validated = round(test * len(members)), round(valid * len(members))
        rows["test"].append(members[:tested])
        rows["valid"].append(members[tested : tested + validated])
        rows["train"].append(members[tested + validated :])
    order = {split: np.sort(np.concatenate(parts)) for split, parts in rows.items()}
    return {split: (images[chosen], labels[chosen]) for split, chosen in order.items()}


def _digits() -> Split:
    digits = require("sklearn.datasets", "the data set 'digits'", "data").load_digits()
    return (digits.images / 16).astype(np.float32)[:, None], digits.target.astype(np.int64)


def _read(path: Path) -> Split:
    if path.suffix != ".npz":
        raise ValueError(
            f"{unknown('data set', str(path), available_datasets())}; or give the path of an .npz file"
        )
    try:
        images, labels = read_arrays(path, ["images", "labels"], what="a data set").values()
    except ValueError as error:
        raise ValueError(f"{error}; write one with numpy.savez(path, images=..., labels=...)") from None
    if labels.ndim != 1 or not images.ndim or len(images) != len(labels) or not len(labels):
        raise ValueError(
            f"{path}: images and labels must be as many, at least one, and labels one-dimensional; "
            f"got shapes {images.shape} and {labels.shape}"
        )
    return images, labels
