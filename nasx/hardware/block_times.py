"""`BlockTimes`: the latency of networks as the sum over the blocks that they are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nasx.architecture import Block
from nasx.hardware.additive_fit import errors_of
from nasx.models import GaussianProcess
from nasx.space import Genotypes, Space

if TYPE_CHECKING:
    from nasx.tasks.base import TaskSpec

__all__ = ["BlockTimes"]

_Floats = npt.NDArray[np.float64]
_FOLDS = 5
_LEAST = 1e-3  # of the median: what takes no time has no logarithm


class BlockTimes:
    """What the blocks of a space take, each timed once wherever it stands.

    In many spaces what a block takes depends on those before it, by their widths and strides, and so is no
    sum over decisions. A space may have more blocks than can be timed: what others take is told from those
    that are known, by a Gaussian process over their kinds, shapes and settings.

    Parameters
    ----------
    space : Space
        Whose `blocks` say what networks are made of.
    spec : TaskSpec
        What the networks are for.
    times : mapping of Block to float
        Milliseconds; at least one block.

    Raises
    ------
    ValueError
        If there are no times, or one is not finite.

    Notes
    -----
    Takes O(blocks) in Python for each network: tens of thousands a second.

    Examples
    --------
    >>> from nasx import TaskSpec
    >>> from nasx.spaces import ConvNet
    >>> space = ConvNet(depths=[1], widths=[8, 16], operations=["conv"], kernel_sizes=[3], residual=False)
    >>> spec, rows = TaskSpec((1, 8, 8), 10, "image_classification"), space.enumerate()
    >>> blocks = {block for row in rows for block in space.blocks(space.decode(row), spec)}
    >>> BlockTimes(space, spec, dict.fromkeys(blocks, 0.5))(rows[:2])  # stem, block, classifier
    array([1.5, 1.5])
    """

    def __init__(self, space: Space, spec: TaskSpec, times: Mapping[Block, float]) -> None:
        if not times or not all(map(math.isfinite, times.values())):
            raise ValueError(f"times must be finite, of at least one block; got {len(times)} times")
        self.space, self.spec, self.times = space, spec, dict(times)
        self._told = dict(times)
        self._model: _Model | None = None

    def __call__(self, rows: Genotypes) -> _Floats:
        """Add up what the blocks of networks take.

        Parameters
        ----------
        rows : ndarray of int32, shape (n, d)
            Genotypes of the space.

        Returns
        -------
        ndarray of float64, shape (n,)
            Milliseconds.
        """
        networks = [self.space.blocks(self.space.decode(row), self.spec) for row in rows]
        new = list({block: None for blocks in networks for block in blocks if block not in self._told})
        if new:
            self._model = self._model or _Model(self.times)
            self._told.update(zip(new, self._model(new).tolist(), strict=True))
        return np.array([sum(map(self._told.__getitem__, blocks)) for blocks in networks], np.float64)

    def errors(self, *, seed: int = 0) -> dict[str, float]:
        """Find how well blocks are told that were left out, by five-fold cross-validation.

        Parameters
        ----------
        seed : int, default 0
            Of the folds.

        Returns
        -------
        dict of str to float
            As of `nasx.hardware.additive_fit.errors_of`; nothing if there are too few blocks.
        """
        blocks, times = list(self.times), np.array(list(self.times.values()))
        if len(blocks) < 2 * _FOLDS:
            return {}
        folds = np.random.default_rng(seed).permutation(len(blocks)) % _FOLDS
        told = np.empty(len(blocks))
        for fold in range(_FOLDS):
            kept = {block: ms for block, ms, own in zip(blocks, times, folds, strict=True) if own != fold}
            told[folds == fold] = _Model(kept)(
                [block for block, own in zip(blocks, folds, strict=True) if own == fold]
            )
        return errors_of(told, times)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.space, self.spec, self.times)


class _Model:
    """Tells what blocks take that were not timed."""

    def __init__(self, times: Mapping[Block, float]) -> None:
        milliseconds = np.array(list(times.values()))
        self._median = float(np.median(milliseconds))
        columns: dict[str, set[Any]] = {}
        for block in times:
            for name, value in _described(block).items():
                columns.setdefault(name, set()).add(value)
        # What has one value tells nothing.
        parts = [(name, _Feature(values)) for name, values in sorted(columns.items())]
        self._features = {name: feature for name, feature in parts if len(feature.values) > 1}
        if not self._features or self._median <= 0:
            self._process = None
            return
        self._process = GaussianProcess(
            ordered=[feature.ordered for feature in self._features.values()],
            cardinalities=[len(feature.values) for feature in self._features.values()],
        )
        logarithms = np.log(np.maximum(milliseconds, _LEAST * self._median))
        self._process.fit(self._codes(times), logarithms)

    def __call__(self, blocks: Sequence[Block]) -> _Floats:
        if self._process is None:
            return np.full(len(blocks), self._median)
        told: _Floats = np.exp(self._process.predict(self._codes(blocks)).mean)
        return told

    def _codes(self, blocks: Iterable[Block]) -> Genotypes:
        rows = []
        for block in blocks:
            described = _described(block)
            rows.append(
                [
                    feature.code(described[name]) if name in described else -1
                    for name, feature in self._features.items()
                ]
            )
        return np.array(rows, np.int32).reshape(-1, len(self._features))


class _Feature:
    """Something that describes blocks: what values it takes, and whether they are in an order."""

    def __init__(self, values: Iterable[Any]) -> None:
        values = set(values)
        self.ordered = all(isinstance(value, int | float) and type(value) is not bool for value in values)
        self.values = sorted(values) if self.ordered else sorted(values, key=repr)

    def code(self, value: Any) -> int:
        """Give the place of a value; numbers that are new take that of the nearest, others none."""
        if value in self.values:
            return self.values.index(value)
        if self.ordered and isinstance(value, int | float):
            return min(range(len(self.values)), key=lambda place: abs(self.values[place] - value))
        return -1


def _described(block: Block) -> dict[str, Any]:
    shape = {f"input_shape[{axis}]": size for axis, size in enumerate(block.input_shape)}
    return {"kind": block.kind, "channels_last": block.channels_last, **shape, **dict(block.settings)}
