"""`Result`: what a search found."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from nasx import pareto
from nasx.errors import JournalError, require
from nasx.journal import Journal
from nasx.space import Space
from nasx.tasks.base import Direction, TaskSpec
from nasx.trial import Trial, Trials

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from nasx.strategies.reinforcement.policies import Policy
    from nasx.tasks.trained import TrainedNetwork

__all__ = ["Result", "Stopped"]

Stopped: TypeAlias = Literal[
    "running", "evaluations", "epochs", "early_stop", "seconds", "exhausted", "interrupted", "callback"
]


class Result:
    """What a search found: every trial, the best one and the Pareto front.

    Made by `nasx.search`, or read from a journal by `load`.

    Attributes
    ----------
    space : Space
        Where was searched.
    objectives : dict of str to {"minimize", "maximize"}
        What was optimised.
    limits : dict of str to float
        Upper bounds that feasible architectures obey.
    strategy : str
        The strategy's name.
    seed : int
        The search's seed.
    trials : sequence of Trial
        All of them, in the order in which they finished.
    stopped : str
        Why the search ended: ``"evaluations"``, ``"epochs"`` or ``"early_stop"`` (of a supernet),
        ``"seconds"``, ``"exhausted"``
        (nothing new is left), ``"interrupted"`` (Ctrl-C), ``"callback"``, or ``"running"``.
    supernet : nasx.nn.Supernet or None
        The trained network that holds all architectures, if the strategy trains one; not in journals.
    history : list of dict
        What each epoch of a supernet gave, as JSON types: "loss", "architecture_loss", "lr", "temperature",
        the "genotype" that it stood for, its "skips" among its "operations", and the operations'
        "probabilities" and "edge_probabilities".
    policy : nasx.Policy or None
        What `REINFORCE` or `PPO` learned, to be drawn from or saved; not in journals.
    baseline : list of dict
        Metrics of random architectures by the same shared weights, after one-shot methods: what a search
        finds is worth what it is above them.
    """

    def __init__(
        self,
        *,
        space: Space,
        objectives: Mapping[str, Direction],
        limits: Mapping[str, float],
        strategy: str,
        seed: int,
        trials: Iterable[Trial] = (),
        stopped: Stopped = "running",
        history: Iterable[dict[str, Any]] = (),
        baseline: Iterable[dict[str, float]] = (),
    ) -> None:
        self.space = space
        self.objectives = dict(objectives)
        self.limits = dict(limits)
        self.strategy = strategy
        self.seed = seed
        self.trials = trials if isinstance(trials, Trials) else Trials(trials)
        self.stopped: Stopped = stopped
        self.history = list(history)
        self.baseline = list(baseline)
        self.supernet: Any = None
        self.policy: Policy | None = None

    # -- what was found --------------------------------------------------------------------------------------

    @property
    def spent(self) -> float:
        """Cost of the trials so far, in evaluations with the whole budget."""
        return self.trials.spent

    @property
    def complete(self) -> list[Trial]:
        """The trials with a result within all limits, of the whole budget."""
        return [trial for trial in self.trials if trial.state == "complete"]

    def losses(self, trials: Sequence[Trial]) -> npt.NDArray[np.float64]:
        """Objectives as losses, smaller is better.

        Parameters
        ----------
        trials : sequence of Trial
            Trials with metrics.

        Returns
        -------
        ndarray of float64, shape (n, number of objectives)
            Signs turned where an objective is maximised.
        """
        values = [[trial.metrics[name] for name in self.objectives] for trial in trials]
        return self._signs * np.array(values, np.float64).reshape(len(values), len(self.objectives))

    @property
    def _signs(self) -> npt.NDArray[np.float64]:
        return np.array([1.0 if direction == "minimize" else -1.0 for direction in self.objectives.values()])

    @property
    def pareto_front(self) -> list[Trial]:
        """The feasible trials that no other feasible one dominates, the best first objective first.

        With one objective, all trials that share the best value.
        """
        places, values = self.trials.complete(tuple(self.objectives))
        losses = self._signs * values
        on_front = np.flatnonzero(pareto.front(losses))
        order = np.lexsort(losses[on_front].T[::-1])
        return [self.trials[i] for i in places[on_front[order]].tolist()]

    @property
    def best(self) -> Trial | None:
        """The best trial over the whole history, or None if none is feasible; `reason` then says why.

        With several objectives, the member of `pareto_front` with the best first objective.
        """
        front = self.pareto_front
        return front[0] if front else None

    @property
    def reason(self) -> str | None:
        """Why `best` is None, or None if there is a best trial."""
        states = {trial.state for trial in self.trials}
        if "complete" in states:
            return None
        if not self.trials and self.history and self.stopped != "exhausted":
            return "nothing was evaluated yet: training was interrupted; with the same journal it goes on"
        if not self.trials:
            return "nothing was evaluated" + (
                ": no architecture within the limits on costs and the constraints was found"
                if self.stopped == "exhausted"
                else ""
            )
        if "partial" in states and self.stopped == "exhausted":
            return "nothing finished with the whole budget: what was given it failed, and nothing is left"
        if "partial" in states:
            return "nothing was evaluated with the whole budget yet; give the search more evaluations"
        if states == {"failed"}:
            last = (self.trials[0].error or "").strip().splitlines()[-1:]
            return f"all {len(self.trials)} evaluations failed; the first with: {''.join(last)}"
        nearest = min(
            (trial for trial in self.trials if trial.state == "infeasible"), key=lambda t: t.violation
        )
        over = ", ".join(
            f"{name} {nearest.metrics[name]:.4g} > {limit:.4g}"
            for name, limit in self.limits.items()
            if nearest.metrics.get(name, limit) > limit
        )
        return f"none of {len(self.trials)} architectures is within the limits; the nearest has {over}"

    @property
    def beside_random(self) -> str | None:
        """What the `baseline` scored, in words: mean and best of each objective; None without one."""
        if not self.baseline:
            return None
        parts = []
        for name, direction in self.objectives.items():
            values = [metrics[name] for metrics in self.baseline]
            best = min(values) if direction == "minimize" else max(values)
            parts.append(f"{name} {np.mean(values):.4g} on average, {best:.4g} at best")
        return f"{len(self.baseline)} random ones: {', '.join(parts)}"

    def retrain(
        self,
        task: Any,
        *,
        epochs: int | None = None,
        seed: int | None = None,
        device: str | None = None,
    ) -> TrainedNetwork:
        """Train the best architecture again: for longer, on all images that the search could see.

        Parameters
        ----------
        task : Task
            One that can, such as `nasx.tasks.ImageClassification`: usually the search's own, or one on more
            images or with other settings.
        epochs : int, optional
            By default the task's.
        seed : int, optional
            Seed of the training; by default the search's.
        device : str, optional
            By default the task's.

        Returns
        -------
        TrainedNetwork
            ``model`` and ``metrics``, as from the task's ``retrain``.

        Raises
        ------
        ValueError
            If there is no best architecture; the message gives `reason`.
        TypeError
            If the task has no ``retrain``.
        nasx.errors.EvaluationError
            If the training fails.

        Examples
        --------
        >>> import nasx
        >>> data = nasx.tasks.datasets.load("digits")
        >>> task = nasx.tasks.ImageClassification(**data, epochs=1, device="cpu")
        >>> space = nasx.spaces.ConvNet(depths=[1], widths=[8])
        >>> result = nasx.search(space, task, strategy="random_search", evaluations=2, seed=0)
        >>> network, metrics = result.retrain(task, epochs=4)
        >>> metrics["test_error"] < 0.5
        True
        """
        if not callable(getattr(task, "retrain", None)):
            raise TypeError(
                "task must have a method retrain, as nasx.tasks.ImageClassification has; got a "
                f"{type(task).__name__}, which trains no network"
            )
        best = self.best
        if best is None:
            raise ValueError(f"there is no best architecture to train: {self.reason}")
        seed = self.seed if seed is None else seed
        trained: TrainedNetwork = task.retrain(best.architecture, epochs=epochs, seed=seed, device=device)
        return trained

    # -- other forms -----------------------------------------------------------------------------------------

    def to_dataframe(self) -> pd.DataFrame:
        """Put the trials into a table.

        Returns
        -------
        pandas.DataFrame
            One row a trial, indexed by its number: state, metrics, budget if a strategy set it, violation,
            seconds, whether it is on the Pareto front, and one column ``choice.NAME`` a decision (missing
            where inactive). A metric with the name of another column gets ``metric.`` before it.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed.
        """
        pandas = require("pandas", "Result.to_dataframe", "data")
        front = {trial.number for trial in self.pareto_front}
        own = ("number", "state", "budget", "violation", "seconds", "on_front")
        rows = [
            {
                "number": trial.number,
                "state": trial.state,
                **{f"metric.{name}" if name in own else name: trial.metrics[name] for name in trial.metrics},
                "budget": trial.budget,
                "violation": trial.violation,
                "seconds": trial.seconds,
                "on_front": trial.number in front,
                **{f"choice.{name}": trial.architecture.get(name) for name in self.space.names},
            }
            for trial in self.trials
        ]
        columns = None if rows else list(own)
        frame: pd.DataFrame = pandas.DataFrame(rows, columns=columns).set_index("number")
        return frame

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON types.

        Returns
        -------
        dict
            Settings, all trials, and the numbers of the best one and of those on the front.
        """
        best = self.best
        return {
            "strategy": self.strategy,
            "seed": self.seed,
            "objectives": self.objectives,
            "limits": self.limits,
            "stopped": self.stopped,
            "best": best.number if best else None,
            "reason": self.reason,
            "pareto_front": [trial.number for trial in self.pareto_front],
            "space": self.space.to_dict(),
            "trials": [trial.to_dict() for trial in self.trials],
            **({"history": self.history} if self.history else {}),
            **({"baseline": self.baseline} if self.baseline else {}),
        }

    def to_json(self) -> str:
        """Write the result as JSON.

        Returns
        -------
        str
            The document of `to_dict`.
        """
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def plot(self, path: str | os.PathLike[str] | None = None, *, other: Result | None = None) -> Figure:
        """Draw the Pareto front, or with one objective the best value over the evaluations.

        Parameters
        ----------
        path : path-like, optional
            Write the picture here too.
        other : Result, optional
            Another search on the same objectives, drawn for comparison.

        Returns
        -------
        matplotlib.figure.Figure
            The picture; notebooks show it.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.
        """
        from nasx import plots

        return plots.plot(self, other=other, path=path)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Result:
        """Read a result from a journal, finished or still being written.

        Parameters
        ----------
        path : path-like
            The journal, or a folder with a ``journal.db``.

        Returns
        -------
        Result
            With ``stopped="running"`` if the search has not ended.

        Raises
        ------
        FileNotFoundError
            If there is no journal.
        JournalError
            If it is damaged or no journal.
        """
        path = Path(path)
        if path.is_dir():
            path = path / "journal.db"
        with Journal(path, read_only=True) as journal:
            header = journal.header()
            try:
                space = Space.from_dict(header["space"])
                spec = TaskSpec(**header["spec"]) if header["spec"] else None
                objectives, limits, stopped = header["objectives"], header["limits"], journal.stopped()
                strategy, seed = header["strategy"]["name"], header["seed"]
                if not objectives or not set(objectives.values()) <= set(get_args(Direction)):
                    raise ValueError(f"objectives {objectives!r}")
                if not all(type(limit) is float for limit in limits.values()):
                    raise ValueError(f"limits {limits!r}")
                if not isinstance(strategy, str) or type(seed) is not int or stopped not in get_args(Stopped):
                    raise ValueError(f"strategy {strategy!r}, seed {seed!r}, stopped {stopped!r}")
                trials, history = journal.trials(space, spec), journal.history()
                baseline = journal.baseline()
                if not all(objectives.keys() <= metrics.keys() for metrics in baseline):
                    raise ValueError("a baseline without the objectives")
            except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
                raise JournalError(f"{path} is damaged or empty: {error!r}") from None
            return Result(
                space=space,
                objectives=objectives,
                limits=limits,
                strategy=strategy,
                seed=seed,
                trials=trials,
                stopped=stopped,
                history=history,
                baseline=baseline,
            )

    def __repr__(self) -> str:
        best = self.best
        if best is None:
            return f"<Result: {self.reason}>"
        values = ", ".join(f"{name}={best.metrics[name]:.4g}" for name in self.objectives)
        front = f", {len(self.pareto_front)} on the front" if len(self.objectives) > 1 else ""
        beside = f"; {self.beside_random}" if self.baseline else ""
        return f"<Result of {len(self.trials)} trials by {self.strategy}: best {values}{front}{beside}>"
