"""``nasx plot``: a picture of what a run found."""

from __future__ import annotations

import os
from pathlib import Path

from nasx.plots import plot_summary
from nasx.result import Result

__all__ = ["plot"]


def plot(path: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> int:
    """Draw a run's progress, its Pareto front and the importance of its decisions.

    Parameters
    ----------
    path : path-like
        The run's folder or journal.
    output : path-like, optional
        The picture's file, whose ending decides the format; by default ``plot.png`` beside the journal.

    Returns
    -------
    int
        0, or 1 if nothing feasible was found, so that there is nothing to draw.

    Raises
    ------
    FileNotFoundError, JournalError
        If there is no journal, or it is damaged.
    MissingDependencyError
        If matplotlib is not installed.
    """
    result = Result.load(path)
    if result.best is None:
        print(f"Nothing to draw: {result.reason}")
        return 1
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    target = folder / "plot.png" if output is None else Path(output)
    target.parent.mkdir(parents=True, exist_ok=True)
    plot_summary(result, path=target)
    print(target)
    return 0
