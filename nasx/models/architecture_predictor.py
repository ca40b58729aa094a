"""A network that learns which of two architectures is the better one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from nasx._arguments import floats, integers, unsigned
from nasx._npz import read_arrays
from nasx.models._ranking_network import Floats, Rows, Training, Weights, fresh, learn, outputs, shapes
from nasx.population import unique

__all__ = ["ArchitecturePredictor"]

_KIND = "nasx architecture predictor 1"
_WIDEST, _DEEPEST = 1 << 16, 16


class ArchitecturePredictor:
    """A small network on one-hot genotypes that learns to put architectures in order, not their values [1]_.

    Each pair of rows with different targets costs what its two outputs say too little, or the wrong way
    round. `pretrain` learns from tables of other tasks, each compared within itself alone, since values of
    different tasks have nothing to do with each other; `fit` then starts from what was learned there and is
    drawn back to it [2]_, so that a few results of a new task are enough. Without `pretrain` it starts anew.

    Parameters
    ----------
    cardinalities : array_like of int, shape (d,), optional
        How many choices each decision has (``space.cardinalities``); by default those that the first rows
        show.
    hidden : sequence of int, default (64, 64)
        Widths of the hidden layers, 1 to 65,536 each, at most 16 of them.
    loss : {"logistic", "hinge"}, default "logistic"
        Of the difference of a pair's outputs, where it has the right sign if positive: the logarithm of 1 +
        exp(-difference), or how much it is below `margin`.
    margin : float, default 1.0
        Of ``"hinge"``, above 0.
    epochs : int, default 200
        Steps over all rows, in `pretrain` and in `fit`, at least 1.
    learning_rate : float, default 3e-3
        Of Adam, above 0.
    weight_decay : float, default 1e-3
        How strongly weights are drawn back to where `fit` starts, or, before anything was learned, to zero;
        at least 0.
    seed : int, default 0
        Same seed and rows, same predictor, on the same machine and with as many threads.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Notes
    -----
    Learning needs torch, predicting does not. An epoch over n rows takes O(n w + n b) operations for w
    weights and b = min(n, 128). Torch's own random state is left alone.

    References
    ----------
    .. [1] C. Burges, T. Shaked, E. Renshaw, A. Lazier, M. Deeds, N. Hamilton, G. Hullender, "Learning to rank
       using gradient descent", ICML 2005; for architectures Y. Xu et al., "ReNAS: relativistic evaluation of
       neural architecture search", CVPR 2021.
    .. [2] X. Li, Y. Grandvalet, F. Davoine, "Explicit inductive bias for transfer learning with convolutional
       networks", ICML 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from nasx import Categorical, Space
    >>> space = Space({f"op{i}": Categorical("abcd") for i in range(5)})
    >>> x = space.sample(200, seed=0)
    >>> truth = lambda x: (x == 2).sum(axis=1) - 0.5 * (x[:, 0] == 1)
    >>> model = ArchitecturePredictor(cardinalities=space.cardinalities, epochs=60)
    >>> model = model.pretrain([(x[:100], np.exp(truth(x[:100])))]).fit(x[100:110], truth(x[100:110]))
    >>> bool(np.corrcoef(model.predict(x[110:]), truth(x[110:]))[0, 1] > 0.8)
    True
    """

    def __init__(
        self,
        *,
        cardinalities: npt.ArrayLike | None = None,
        hidden: Sequence[int] = (64, 64),
        loss: Literal["logistic", "hinge"] = "logistic",
        margin: float = 1.0,
        epochs: int = 200,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-3,
        seed: int = 0,
    ) -> None:
        widths = list(hidden) if isinstance(hidden, Sequence) else None
        if (
            widths is None
            or len(widths) > _DEEPEST
            or any(type(w) is not int or not 1 <= w <= _WIDEST for w in widths)
        ):
            raise ValueError(f"hidden must be at most 16 widths from 1 to 65536; got {hidden!r}")
        if loss not in ("logistic", "hinge"):
            raise ValueError(f"loss must be 'logistic' or 'hinge'; got {loss!r}")
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise ValueError(f"epochs must be an integer of at least 1; got {epochs!r}")
        for name, value, least in (
            ("margin", margin, 1e-12),
            ("learning_rate", learning_rate, 1e-12),
            ("weight_decay", weight_decay, 0.0),
        ):
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < np.inf:
                raise ValueError(
                    f"{name} must be a number {'of at least 0' if least == 0 else 'above 0'}; got {value!r}"
                )
        self.hidden, self.loss, self.margin, self.epochs = tuple(widths), loss, margin, epochs
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.seed = unsigned(seed, "seed")
        self._cardinalities: Rows | None = None
        if cardinalities is not None:
            self._cardinalities = integers(cardinalities, "cardinalities", 1).copy()
            if not len(self._cardinalities) or self._cardinalities.min() < 1:
                raise ValueError(f"cardinalities must be at least 1; got {self._cardinalities.tolist()}")
        self._pretrained: Weights | None = None
        self._weights: Weights | None = None
        # What an output means: values have mean `centre` where outputs have `shift`, and so on.
        self._centre, self._spread, self._shift, self._scale = 0.0, 1.0, 0.0, 1.0

    # -- learning --------------------------------------------------------------------------------------------

    def pretrain(self, sources: Iterable[tuple[npt.ArrayLike, npt.ArrayLike]]) -> Self:
        """Learn from other tasks, from the beginning.

        Parameters
        ----------
        sources : iterable of (genotypes, y)
            Of each task, as for `fit`; larger targets are what `predict` will give larger values.

        Returns
        -------
        ArchitecturePredictor
            The model itself; it predicts at once, in units of standard deviations.

        Raises
        ------
        ValueError
            If there is no source, or one does not fit.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        tables = [self._checked(*source, f"sources[{i}]: ") for i, source in enumerate(sources)]
        if not tables:
            raise ValueError("sources is empty; give at least one (genotypes, y)")
        self._pretrained = self._weights = self._learn(tables, None)
        self._centre, self._spread = 0.0, 1.0
        self._measure(np.concatenate([rows for rows, _ in tables]))
        return self

    def fit(self, genotypes: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Learn a task from what `pretrain` left; what an earlier `fit` learned is forgotten.

        Parameters
        ----------
        genotypes : array_like of int, shape (n, d)
            The index of the choice at each decision, -1 where it is inactive. At least one row.
        y : array_like of float, shape (n,)
            Finite targets.

        Returns
        -------
        ArchitecturePredictor
            The model itself.

        Raises
        ------
        ValueError
            If a shape does not fit, a target is not finite, or a choice is out of range.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        rows, targets = self._checked(genotypes, y)
        self._weights = self._learn([(rows, targets)], self._pretrained)
        self._centre, self._spread = float(targets.mean()), float(targets.std())
        self._measure(rows)
        return self

    def _measure(self, rows: Rows) -> None:
        """Note mean and deviation of the outputs, over different rows so that a repeated one counts once."""
        outputs = self._outputs(unique(rows).rows)
        self._shift, self._scale = float(outputs.mean()), float(outputs.std())

    def _learn(self, tables: list[tuple[Rows, Floats]], start: Weights | None) -> Weights:
        """Train from given weights and back to them, or anew and back to zero."""
        known = self._cardinalities
        assert known is not None
        begin = fresh(known, self.hidden, self.seed) if start is None else start
        anchor = [np.zeros_like(w) for w in begin] if start is None else begin
        how = Training(self.loss, self.margin, self.epochs, self.learning_rate, self.weight_decay, self.seed)
        return learn(tables, known, begin, anchor, how)

    # -- predicting ------------------------------------------------------------------------------------------

    def predict(self, genotypes: npt.ArrayLike) -> Floats:
        """Predict the values of rows.

        Parameters
        ----------
        genotypes : array_like of int, shape (k, d)
            As for `fit`.

        Returns
        -------
        ndarray of float64, shape (k,)
            In units of the targets of the last `fit`, with their mean and deviation over its rows; it is the
            order that was learned.

        Raises
        ------
        ValueError
            If the shape does not fit, or a choice is out of range.
        RuntimeError
            If neither `fit` nor `pretrain` was called.
        """
        if self._weights is None:
            raise RuntimeError("ArchitecturePredictor: call pretrain(sources) or fit(genotypes, y) first")
        outputs = self._outputs(self._check_rows(integers(genotypes, "genotypes", 2), "genotypes"))
        scale = self._spread / self._scale if self._scale > 0 else 0.0
        values: Floats = self._centre + (outputs - self._shift) * scale
        return values

    def _outputs(self, rows: Rows) -> Floats:
        assert self._weights is not None
        assert self._cardinalities is not None
        return outputs(rows, self._cardinalities, self._weights)

    def _check_rows(self, rows: Rows, name: str) -> Rows:
        known = self._cardinalities
        assert known is not None
        if rows.shape[1] != len(known):
            raise ValueError(f"{name} must have {len(known)} columns, one a decision; got {rows.shape[1]}")
        wrong = (rows < -1) | (rows >= known)
        if wrong.any():
            i, j = np.argwhere(wrong)[0].tolist()
            raise ValueError(
                f"{name}: row {i}, decision {j} must be -1 to {known[j] - 1}; got {rows[i, j]}. Give "
                "cardinalities=space.cardinalities"
            )
        return rows

    def _checked(self, genotypes: npt.ArrayLike, y: npt.ArrayLike, where: str = "") -> tuple[Rows, Floats]:
        rows, targets = integers(genotypes, f"{where}genotypes", 2), floats(y, f"{where}y", 1)
        if not len(rows) or not rows.shape[1]:
            raise ValueError(f"{where}genotypes is empty; there must be at least one row and one decision")
        if len(targets) != len(rows):
            raise ValueError(
                f"{where}y must have one value for each of the {len(rows)} genotypes; got {targets.shape}"
            )
        if not np.isfinite(targets).all():
            raise ValueError(f"{where}y must be finite; leave out what failed")
        if self._cardinalities is None:
            self._cardinalities = np.maximum(rows.max(axis=0), 0) + np.int32(1)
        return self._check_rows(rows, f"{where}genotypes"), targets

    # -- on disk ---------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to an npz file of plain arrays.

        Parameters
        ----------
        path : path-like
            The file; it is replaced.

        Raises
        ------
        RuntimeError
            If there is nothing learned to write.
        """
        if self._weights is None or self._cardinalities is None:
            raise RuntimeError("ArchitecturePredictor: call pretrain(sources) or fit(genotypes, y) first")
        names = ("loss", "margin", "epochs", "learning_rate", "weight_decay", "seed")
        settings = {name: getattr(self, name) for name in names} | {"hidden": list(self.hidden)}
        about = {"kind": _KIND, "settings": settings, "pretrained": self._pretrained is not None}
        arrays: dict[str, Any] = {
            "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
            "cardinalities": self._cardinalities,
            "units": np.array([self._centre, self._spread, self._shift, self._scale]),
        }
        for name, weights in (("fitted", self._weights), ("pretrained", self._pretrained or [])):
            arrays |= {f"{name}.{i}": w for i, w in enumerate(weights)}
        with open(path, "wb") as file:
            np.savez(file, **arrays)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> ArchitecturePredictor:
        """Read what `save` wrote; no code runs, and torch is not needed.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        ArchitecturePredictor
            One that predicts the same.

        Raises
        ------
        ValueError
            If the file is damaged, or something else.
        FileNotFoundError
            If there is none.
        """
        arrays = read_arrays(path, what="an architecture predictor")
        try:
            about = json.loads(arrays["about"].astype(np.uint8).tobytes())
            if about["kind"] != _KIND:
                raise ValueError(f"its kind is {about['kind']!r}")
            model = ArchitecturePredictor(cardinalities=arrays["cardinalities"], **about["settings"])
            units = floats(arrays["units"], "units", 1)
            if units.shape != (4,) or not np.isfinite(units).all() or min(units[1], units[3]) < 0:
                raise ValueError("its units are no units")
            model._centre, model._spread, model._shift, model._scale = units.tolist()
            model._weights = model._stored(arrays, "fitted")
            model._pretrained = model._stored(arrays, "pretrained") if about["pretrained"] else None
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ValueError(f"{os.fspath(path)} is no architecture predictor: {error}") from None
        return model

    def _stored(self, arrays: dict[str, npt.NDArray[Any]], name: str) -> Weights:
        assert self._cardinalities is not None
        wanted = shapes(self._cardinalities, self.hidden)
        found = [arrays[f"{name}.{i}"] for i in range(len(wanted))]
        for i, (w, shape) in enumerate(zip(found, wanted, strict=True)):
            if w.dtype != np.float32 or w.shape != shape or not np.isfinite(w).all():
                raise ValueError(f"{name}.{i} must be finite float32 {shape}; got {w.dtype} {w.shape}")
        return found
