"""`MetaResult`: what a search over many tasks learned, besides what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nasx.result import Result

if TYPE_CHECKING:
    from nasx.strategies.transfer.learner import Adapted, MetaLearner
    from nasx.tasks.base import SupernetTask

__all__ = ["MetaResult"]


class MetaResult(Result):
    """The result of a search by `nasx.MetaNAS`, which adapts to new tasks.

    Made by `nasx.search`.

    Attributes
    ----------
    meta : MetaLearner or None
        What was learned: it adapts, is saved and loaded. None if training was interrupted before it began, or
        its checkpoint is gone.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.meta: MetaLearner | None = None

    def adapt(
        self, task: SupernetTask, *, steps: int | None = None, seed: int = 0, device: str | None = None
    ) -> Adapted:
        """Adapt to a new task: ``result.meta.adapt``.

        Parameters
        ----------
        task, steps, seed, device
            As for `MetaLearner.adapt`.

        Returns
        -------
        Adapted
            With ``architecture``, ``model``, ``score()`` and ``accuracy()``.

        Raises
        ------
        ValueError
            If nothing was learned.
        """
        return self._learned().adapt(task, steps=steps, seed=seed, device=device)

    def save(self, path: Any) -> None:
        """Write what was learned, so that `nasx.MetaLearner.load` reads it: ``result.meta.save``.

        Parameters
        ----------
        path : path-like
            The files' common beginning.

        Raises
        ------
        ValueError
            If nothing was learned.
        """
        self._learned().save(path)

    def _learned(self) -> MetaLearner:
        if self.meta is None:
            raise ValueError(
                "nothing was learned that could be adapted: training was interrupted, or its checkpoint is "
                "gone; the same search with the same journal goes on"
            )
        return self.meta
