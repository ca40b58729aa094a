"""`CompressionResult`: the smaller transformers that a search found."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasx.compression.families import Family
from nasx.compression.importance import Ranking
from nasx.compression.profiling import Profile
from nasx.compression.scoring import Scorer
from nasx.compression.shapes import Shape
from nasx.compression.space import CompressionSpace
from nasx.errors import NasxError
from nasx.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

__all__ = ["Candidate", "CompressionResult"]

_FORMAT = "nasx compression 1"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One smaller transformer.

    Parameters
    ----------
    shape : Shape
        What is kept of the model.
    metrics : dict of str to float
        Its metric with the model's weights, as they are, and its costs.
    """

    shape: Shape
    metrics: dict[str, float]


class CompressionResult:
    """What `nasx.compress` found.

    Attributes
    ----------
    family : Family
        A copy of the model, sorted so that what matters comes first, and trained if `sandwich` was asked for:
        what parts are taken out of.
    ranking : Ranking
        By what it is sorted.
    space : CompressionSpace
        The parts.
    profile : Profile
        What they cost.
    search : nasx.Result
        All that was scored.
    original : dict of str to float
        Metric and costs of the whole model.
    model : torch.nn.Module or None
        The best part, once `nasx.compress` has taken it out; with `recover`, it is the trained one.
    history : list of dict
        Of that training.
    sandwich : list of dict
        What `nasx.compression.train_supernet` gave, if all parts were trained before the search.
    """

    def __init__(
        self,
        family: Family,
        ranking: Ranking,
        profile: Profile,
        scorer: Scorer,
        search: Result,
        original: Mapping[str, float],
        sandwich: Sequence[dict[str, float]] = (),
    ) -> None:
        self.family, self.ranking, self.profile, self.search = family, ranking, profile, search
        self.scorer, self.original = scorer, dict(original)
        self.model: nn.Module | None = None
        self.history: list[dict[str, float]] = []
        self.sandwich = list(sandwich)

    @property
    def space(self) -> CompressionSpace:
        """The parts."""
        space: Any = self.search.space
        return space  # type: ignore[no-any-return]

    @property
    def front(self) -> list[Candidate]:
        """The candidates within all limits that no other one beats, those with the best metric first."""
        return [
            Candidate(self.space.shape_of(trial.architecture), dict(trial.metrics))
            for trial in self.search.pareto_front
        ]

    @property
    def best(self) -> Candidate:
        """The candidate within all limits with the best metric.

        Raises
        ------
        nasx.errors.NasxError
            If none was scored; the message says why.
        """
        front = self.front
        if not front:
            raise NasxError(f"no candidate was found: {self.search.reason}")
        return front[0]

    def extract(self, candidate: Candidate | Shape | None = None, *, plain: bool | None = None) -> nn.Module:
        """Take a part out of the model anew, as cut: what `nasx.compress` recovered is in ``model``.

        Parameters
        ----------
        candidate : Candidate or Shape, optional
            By default `best`.
        plain : bool, optional
            Whether to make a `PlainTransformer`, which `nasx.compression.save` writes, even where the model's
            own class would do; by default unless the space is uniform, so that the kind does not hang on what
            was found.

        Returns
        -------
        torch.nn.Module
            With copies of the whole model's weights; nothing that `recover` learned is in it.
        """
        plain = not self.space.uniform if plain is None else plain
        return self.family.extract(self._shape(candidate), plain=plain)

    def _shape(self, candidate: Candidate | Shape | None) -> Shape:
        if candidate is None:
            candidate = self.best
        return candidate.shape if isinstance(candidate, Candidate) else candidate

    def score(self, model: nn.Module) -> float:
        """Score a module as candidates were scored.

        Parameters
        ----------
        model : torch.nn.Module
            For example one that was trained by `recover`.

        Returns
        -------
        float
            The metric on the held-out text.
        """
        return self.scorer.score(model)

    def recover(
        self,
        data: Any,
        *,
        candidate: Candidate | Shape | None = None,
        model: nn.Module | None = None,
        **settings: Any,
    ) -> tuple[nn.Module, list[dict[str, float]]]:
        """Take a part out and train it to give what the whole model gives.

        Parameters
        ----------
        data : Sequences or what `Sequences.of` takes
            Text to train on.
        candidate : Candidate or Shape, optional
            By default `best`.
        model : torch.nn.Module, optional
            What is trained, in place, if it was taken out before.
        **settings
            As for `nasx.compression.recover`.

        Returns
        -------
        model : torch.nn.Module
            Trained.
        history : list of dict
            What `nasx.compression.recover` gave.
        """
        from nasx.compression.recovery import recover

        shape = self._shape(candidate)
        student = self.extract(shape) if model is None else model
        return student, recover(student, self.scorer.reference, data, kept=shape.kept, **settings)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write what was found, and the model if it was taken out.

        Parameters
        ----------
        folder : path-like
            Made if it is not there. ``compression.json`` has the front's shapes and metrics, the limits and
            the whole model's metrics. The model goes beside it: by its ``save_pretrained``, or if it is plain
            as ``model.safetensors`` and ``model.json``, which `nasx.compression.load` reads.

        Returns
        -------
        Path
            The folder.
        """
        from nasx.compression.files import save
        from nasx.compression.plain import PlainTransformer

        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        front = [{"shape": one.shape.to_dict(), "metrics": one.metrics} for one in self.front]
        document = {
            "format": _FORMAT,
            "objectives": self.search.objectives,
            "limits": self.search.limits,
            "original": self.original,
            "front": front,
            "history": self.history,
        }
        (place / "compression.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
        if isinstance(self.model, PlainTransformer):
            save(self.model, place / "model")
        elif self.model is not None:
            model: Any = self.model
            model.save_pretrained(place)
        return place

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw what was scored, with the front.

        Parameters
        ----------
        path : path-like, optional
            Write the picture here too.

        Returns
        -------
        matplotlib.figure.Figure
            The picture.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.
        """
        return self.search.plot(path=path)

    def __repr__(self) -> str:
        front = self.front
        best = f", best {front[0].metrics}" if front else ""
        return f"<CompressionResult: {len(self.search.trials)} scored, {len(front)} on the front{best}>"
