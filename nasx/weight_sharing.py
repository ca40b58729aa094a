"""Searches that train one network for all architectures: the loop around a `SupernetStrategy`."""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasx._interrupts import Interrupts
from nasx.architecture import Architecture
from nasx.checkpoint import Checkpoint
from nasx.errors import StopSearch, format_exception, require
from nasx.journal import Journal
from nasx.problem import Problem, header
from nasx.progress import EpochProgress
from nasx.registry import strategy_name
from nasx.result import Result
from nasx.strategies.supernet import Epoch, SupernetStrategy
from nasx.tasks.base import SupernetTask, Task
from nasx.trial import State, Trial

if TYPE_CHECKING:
    from nasx.nn.supernet import Supernet

__all__ = ["train_supernet"]

# Why a training ends that is not gone on with.
_ENDS = ("epochs", "early_stop")
# Batches of training images over which batch normalisation is measured anew for a score.
_BATCHES = 20


def train_supernet(
    problem: Problem,
    task: Task | Callable[..., Any],
    strategy: SupernetStrategy,
    *,
    seconds: float | None = None,
    seed: int = 0,
    device: str | None = None,
    journal: str | os.PathLike[str] | None = None,
    callbacks: Sequence[Callable[[Result, Trial], None]] = (),
    progress: bool | None = None,
) -> Result:
    """Run a search by a strategy that trains a supernet; `nasx.search` with such a strategy calls this.

    Parameters
    ----------
    problem : Problem
        The space, objectives, costs and limits.
    task : Task
        One that can train supernets, see `SupernetTask`.
    strategy : SupernetStrategy
        The method; it is left as it is.
    seconds, seed, device, journal, callbacks, progress
        As for `nasx.search`. Beside the journal, a file ``<journal>.checkpoint`` keeps the training's state
        after every epoch.

    Returns
    -------
    Result
        With ``supernet`` and ``history``; its trial is the architecture that was found, scored on the
        validation images with the weights that it has in the supernet. A run that is resumed after its
        ``seconds`` were over keeps the trial of what it had found by then.

    Raises
    ------
    TypeError
        If the space has no supernet, or the task cannot train one.
    JournalError
        If the journal or the checkpoint is damaged, in use, or of another search.
    nasx.errors.EvaluationError
        If training diverges.
    """
    name = strategy_name(strategy)
    torch = require("torch", f"strategy {name!r}", "torch")
    if not isinstance(task, Task) or not isinstance(task, SupernetTask) or problem.spec is None:
        raise TypeError(
            f"strategy {name!r} trains a supernet: it needs a task with a spec, loaders, loss and score, "
            f"such as nasx.tasks.ImageClassification; got {type(task).__name__}"
        )
    result = Result(
        space=problem.space, objectives=problem.objectives, limits=problem.limits, strategy=name, seed=seed
    )
    identity = header(problem, task, name, strategy, seed=seed)
    from nasx.tasks.training import random_state, torch_threads

    place = task.device if device is None else torch.device(device)
    with random_state(place, seed):
        result.supernet = problem.space.supernet(problem.spec, **strategy.supernet_settings)
    with (
        torch_threads(getattr(task, "threads", None)),
        Interrupts() as interrupts,
        EpochProgress(result, epochs=strategy.total_epochs, show=progress) as display,
        contextlib.ExitStack() as stack,
    ):
        run = _Run(problem, task, strategy, result, device=device, interrupts=interrupts)
        if journal is not None:
            run.journal = stack.enter_context(Journal(journal))
            run.journal.begin(identity)
            run.checkpoint = Checkpoint(Path(f"{os.fspath(journal)}.checkpoint"), identity)
        try:
            run.go(seconds, callbacks, display.update)
        except KeyboardInterrupt:
            result.stopped = "interrupted"
        except StopSearch:
            result.stopped = "callback"
        if run.journal is not None:
            run.journal.set_stopped(result.stopped)
    return result


class _Run:
    """The state of one search."""

    def __init__(
        self,
        problem: Problem,
        task: Any,
        strategy: SupernetStrategy,
        result: Result,
        *,
        device: str | None,
        interrupts: Interrupts,
    ) -> None:
        self.problem, self.task, self.strategy, self.result = problem, task, strategy, result
        self.device, self.interrupts = device, interrupts
        self.journal: Journal | None = None
        self.checkpoint: Checkpoint | None = None

    def go(
        self,
        seconds: float | None,
        callbacks: Sequence[Callable[[Result, Trial], None]],
        report: Callable[[], None],
    ) -> None:
        """Train, and score what was found."""
        result, began = self.result, time.time()
        ended: Any = "running" if self.journal is None else self.take_over(self.journal)
        # One that could not be scored, for want of memory for example, is scored again.
        done = ended in _ENDS and bool(result.trials) and result.trials[-1].state != "failed"
        if done and self.checkpoint is not None and not self.checkpoint.exists():
            warnings.warn(
                f"{self.checkpoint.path} is gone, so result.supernet is None; the rest is in the journal",
                RuntimeWarning,
                stacklevel=4,  # who called nasx.search
            )
            result.supernet, result.stopped = None, ended
            return

        def after(entry: Epoch) -> None:
            if self.journal is not None:
                with self.interrupts.held:
                    self.journal.set_history(result.history)
            report()

        spent = sum(entry["seconds"] for entry in result.history)
        fitted = self.strategy.fit(
            result.supernet,
            self.task,
            seed=result.seed,
            device=self.device,
            checkpoint=self.checkpoint,
            history=result.history,
            report=after,
            deadline=None if seconds is None else time.monotonic() + seconds - spent,
        )
        if self.journal is not None and self.journal.history() != result.history:
            self.journal.set_history(result.history)  # killed between the checkpoint and the journal
        if done:
            result.stopped = ended
            return
        architecture = self.problem.space.architecture(fitted.genotype, spec=self.problem.spec)
        trial = self.trial(architecture, began)
        known = self.is_known(trial)
        if not known:
            self.record(trial)
        result.stopped = fitted.stopped
        if trial.state == "failed":
            warnings.warn(
                "what was found could not be scored; with a journal, the same call tries again\n"
                f"{trial.error}",
                RuntimeWarning,
                stacklevel=4,
            )
        for callback in () if known else callbacks:
            callback(result, trial)

    def take_over(self, journal: Journal) -> Any:
        """Read what an earlier run has recorded; returns why that ended."""
        for trial in journal.trials(self.problem.space, self.problem.spec):
            self.result.trials.append(trial)
        self.result.history[:] = journal.history()
        ended = journal.stopped()
        if ended not in _ENDS:
            journal.set_stopped("running")
        return ended

    def record(self, trial: Trial) -> None:
        """Write a score down."""
        result = self.result
        with self.interrupts.held:
            if self.journal is not None:
                blob = self.problem.space.to_bytes(trial.genotype[None])
                self.journal.asked(blob, requested=1, told_before=len(result.trials))
                self.journal.told(trial)
            result.trials.append(trial)

    def is_known(self, trial: Trial) -> bool:
        """Whether an earlier run has scored this already and nothing was trained since."""
        if not self.result.trials:
            return False
        last, costs = self.result.trials[-1], set(self.problem.costs)
        scores = [{n: v for n, v in t.metrics.items() if n not in costs} for t in (last, trial)]
        return last.architecture == trial.architecture and scores[0] == scores[1]

    def trial(self, architecture: Architecture, began: float) -> Trial:
        """Score an architecture with the weights that it has in the supernet."""
        clock, error, metrics = time.perf_counter(), None, dict[str, float]()
        state: State = "complete"
        violation = 0.0
        try:
            if self.problem.costs:
                metrics = self.problem.metrics_of_costs(architecture.genotype)
            found = score_shared(self.result.supernet, architecture, self.task, self.result.seed, self.device)
            metrics = self.problem.check_metrics(found, metrics)
            violation = self.problem.violation(metrics) if self.problem.limits else 0.0
            state = "infeasible" if violation > 0 else "complete"
        except Exception:
            state, error = "failed", format_exception()
        spent = sum(entry["seconds"] for entry in self.result.history) + time.perf_counter() - clock
        return Trial(
            number=len(self.result.trials),
            architecture=architecture,
            state=state,
            metrics=metrics,
            violation=violation,
            error=error,
            started=began,
            seconds=spent,
        )


def score_shared(
    supernet: Supernet, architecture: Architecture, task: Any, seed: int, device: str | None
) -> Mapping[str, float]:
    """Measure an architecture on the validation images with its weights in the supernet.

    Parameters
    ----------
    supernet : Supernet
        A trained one; it is left as it is.
    architecture : Architecture
        What to score.
    task : SupernetTask
        Gives batches, loss and score.
    seed : int
        Seed of the batches over which batch normalisations are measured for this architecture.
    device : str, optional
        Where; by default where the task does.

    Returns
    -------
    mapping of str to float
        The task's metrics.
    """
    from nasx.nn.recalibration import recalibrate
    from nasx.tasks.batches import stream
    from nasx.tasks.training import random_state

    network = copy.deepcopy(supernet)
    place = next(network.parameters()).device
    batches = itertools.islice(task.loaders("train", seed, training=True, device=device), _BATCHES)
    with network.path(architecture), random_state(place, stream(seed, 0, 4)):
        recalibrate(network, batches, lambda batch: task.loss(network, batch))
        metrics: Mapping[str, float] = task.score(network, "valid", device=device)
    return metrics
