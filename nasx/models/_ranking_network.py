"""The network of `ArchitecturePredictor`: one-hot genotypes in, one number out, trained on pairs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from nasx.errors import require

__all__ = ["Floats", "Rows", "Training", "Weights", "fresh", "learn", "one_hot", "outputs", "shapes"]

Floats: TypeAlias = npt.NDArray[np.float64]
Rows: TypeAlias = npt.NDArray[np.int32]
Weights: TypeAlias = list[npt.NDArray[np.float32]]
"""Matrix ``(in, out)`` and biases ``(out,)`` of each layer in turn."""

# Of more rows, batches of so many are compared with each other.
_BATCH = 128


class Training(NamedTuple):
    """How to learn; see `ArchitecturePredictor`."""

    loss: str
    margin: float
    epochs: int
    learning_rate: float
    weight_decay: float
    seed: int


def shapes(cardinalities: Rows, hidden: Sequence[int]) -> list[tuple[int, ...]]:
    """List the shapes of the weights.

    Parameters
    ----------
    cardinalities : ndarray of int32, shape (d,)
        How many choices each decision has.
    hidden : sequence of int
        Widths of the hidden layers.

    Returns
    -------
    list of tuple of int
        In the order of `Weights`.
    """
    widths = [int(cardinalities.sum(dtype=np.int64)), *hidden, 1]
    return [s for a, b in pairwise(widths) for s in ((a, b), (b,))]


def fresh(cardinalities: Rows, hidden: Sequence[int], seed: int) -> Weights:
    """Draw weights within one over the root of what comes into a layer; biases are 0.

    Parameters
    ----------
    cardinalities, hidden
        As for `shapes`.
    seed : int
        Same seed, same weights.

    Returns
    -------
    Weights
        New arrays.
    """
    rng = np.random.default_rng(seed)
    return [
        (rng.uniform(-1, 1, shape) / np.sqrt(shape[0])).astype(np.float32)
        if len(shape) == 2
        else np.zeros(shape, np.float32)
        for shape in shapes(cardinalities, hidden)
    ]


def one_hot(rows: Rows, cardinalities: Rows) -> npt.NDArray[np.float32]:
    """Write choices as columns of zeros and ones; none for an inactive decision.

    Parameters
    ----------
    rows : ndarray of int32, shape (n, d)
        Genotypes.
    cardinalities : ndarray of int32, shape (d,)
        How many choices each decision has.

    Returns
    -------
    ndarray of float32, shape (n, sum of cardinalities)
        The columns.

    Examples
    --------
    >>> one_hot(np.array([[1, 0], [-1, 2]]), np.array([2, 3])).tolist()
    [[0.0, 1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]]
    """
    ends = np.cumsum(cardinalities, dtype=np.int64)
    x = np.zeros((len(rows), int(ends[-1])), np.float32)
    places, decisions = np.nonzero(rows >= 0)
    x[places, (ends - cardinalities)[decisions] + rows[places, decisions]] = 1
    return x


def outputs(rows: Rows, cardinalities: Rows, weights: Weights) -> Floats:
    """Compute what the network says.

    Parameters
    ----------
    rows, cardinalities
        As for `one_hot`.
    weights : Weights
        The network.

    Returns
    -------
    ndarray of float64, shape (n,)
        One number a row.
    """
    x = one_hot(rows, cardinalities)
    for layer in range(0, len(weights), 2):
        x = (np.maximum(x, 0) if layer else x) @ weights[layer] + weights[layer + 1]
    return x[:, 0].astype(np.float64)


def learn(
    tables: Sequence[tuple[Rows, Floats]],
    cardinalities: Rows,
    start: Weights,
    anchor: Weights,
    how: Training,
) -> Weights:
    """Train on the pairs of each table.

    Parameters
    ----------
    tables : sequence of (ndarray of int32 (n, d), ndarray of float64 (n,))
        Genotypes and targets of one task each.
    cardinalities : ndarray of int32, shape (d,)
        How many choices each decision has.
    start, anchor : Weights
        Where training begins, and where weights are drawn back to.
    how : Training
        Settings.

    Returns
    -------
    Weights
        New arrays.
    """
    torch = require("torch", "ArchitecturePredictor", "torch")
    data = [
        (torch.from_numpy(one_hot(rows, cardinalities)), torch.from_numpy(targets.copy()))
        for rows, targets in tables
    ]
    rng = np.random.default_rng([how.seed, 1])
    with torch.enable_grad():
        weights = [torch.from_numpy(w.copy()).requires_grad_() for w in start]
        back = [torch.from_numpy(w.copy()) for w in anchor]
        optimizer = torch.optim.Adam(weights, lr=how.learning_rate)
        for _ in range(how.epochs):
            # A source with more rows has more batches; each is compared within itself.
            batches = [
                (x[some], y[some])
                for x, y in data
                for some in torch.from_numpy(rng.permutation(len(x))).split(_BATCH)
            ]
            for i in rng.permutation(len(batches)).tolist():
                x, y = batches[i]
                optimizer.zero_grad()
                decay = sum(((w - b) ** 2).sum() for w, b in zip(weights, back, strict=True))
                (_pair_loss(torch, x, y, weights, how) + how.weight_decay * decay).backward()
                optimizer.step()
    return [w.detach().numpy().copy() for w in weights]


def _pair_loss(torch: Any, x: Any, y: Any, weights: Any, how: Training) -> Any:
    for layer in range(0, len(weights), 2):
        x = (x.relu() if layer else x) @ weights[layer] + weights[layer + 1]
    difference = (x - x.T)[y[:, None] > y[None]]
    if not len(difference):
        return difference.sum()
    if how.loss == "hinge":
        return (how.margin - difference).relu().mean()
    return torch.nn.functional.softplus(-difference).mean()
