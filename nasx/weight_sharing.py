"""Searches that train one network for all architectures: the loop around a `SupernetStrategy`."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nasx._interrupts import Interrupts
from nasx.architecture import Architecture
from nasx.checkpoint import Checkpoint
from nasx.errors import StopSearch, format_exception, require
from nasx.journal import Journal
from nasx.meta_result import MetaResult
from nasx.problem import Problem, header
from nasx.progress import EpochProgress
from nasx.registry import strategy_name
from nasx.result import Result
from nasx.sampled import remember_costs
from nasx.shared_search import random_architectures, score_baseline, search_inside
from nasx.strategies.limits import CostLimits
from nasx.strategies.one_shot.base import EVALUATIONS, OneShotStrategy
from nasx.strategies.supernet import Epoch, Fitted, SupernetStrategy
from nasx.strategies.transfer.meta_nas import MetaNAS
from nasx.tasks.base import Task
from nasx.trial import State, Trial, Trials

__all__ = ["train_supernet"]

# Why a training ends that is not gone on with.
_ENDS = ("epochs", "early_stop")


def train_supernet(
    problem: Problem,
    task: Task | Callable[..., Any],
    strategy: SupernetStrategy,
    *,
    evaluations: int | None = None,
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
        One that can train supernets, see `SupernetTask`; for `MetaNAS` a distribution of such.
    strategy : SupernetStrategy
        The method; it is left as it is.
    evaluations : int, optional
        How many architectures a `OneShotStrategy` scores after the training.
    seconds, seed, device, journal, callbacks, progress
        As for `nasx.search`. Beside the journal, a file ``<journal>.checkpoint`` keeps the training's state
        after every epoch.

    Returns
    -------
    Result
        With ``supernet`` and ``history``; its trial is the architecture that was found, scored on the
        validation images with the weights that it has in the supernet. A run that is resumed after its
        ``seconds`` were over keeps the trial of what it had found by then. After a `OneShotStrategy` the
        trials are all architectures that were scored, and there is a ``baseline``.

    Raises
    ------
    TypeError
        If the space has no supernet, or the task cannot train one.
    ValueError
        If the strategy trains within limits, and one is on a cost that is measured and no table.
    JournalError
        If the journal or the checkpoint is damaged, in use, or of another search.
    nasx.errors.EvaluationError
        If training diverges.
    """
    name = strategy_name(strategy)
    require("torch", f"strategy {name!r}", "torch")
    if not strategy.takes(task) or problem.spec is None:
        raise TypeError(f"strategy {name!r} {strategy.needs}; got {type(task).__name__}")
    if strategy.keeps_limits and problem.measured_limits:
        cost = problem.measured_limits[0]
        raise ValueError(
            f"limits: {cost!r} is measured for each network by itself, and strategy {name!r} has to know it "
            "of all while it trains; measure a table: "
            f"costs={{{cost!r}: nasx.hardware.LatencyTable.measure(space, task.spec)}}"
        )
    result = (MetaResult if isinstance(strategy, MetaNAS) else Result)(
        space=problem.space, objectives=problem.objectives, limits=problem.limits, strategy=name, seed=seed
    )
    identity = header(problem, task, name, strategy, seed=seed)
    from nasx.tasks.trained import device_of
    from nasx.tasks.training import random_state, torch_threads

    place = task.device if device is None else device_of(device)  # type: ignore[union-attr]  # it has one
    with random_state(place, seed):
        result.supernet = strategy.make_supernet(problem.space, problem.spec)
    with (
        torch_threads(getattr(task, "threads", None)),
        Interrupts() as interrupts,
        contextlib.ExitStack() as stack,
    ):
        run = _Run(problem, task, strategy, result, device=device, interrupts=interrupts, progress=progress)
        if journal is not None:
            run.journal = stack.enter_context(Journal(journal))
            run.journal.begin(identity)
            run.checkpoint = Checkpoint(Path(f"{os.fspath(journal)}.checkpoint"), identity)
        try:
            if isinstance(strategy, OneShotStrategy):
                run.train_and_search(strategy, evaluations, seconds, callbacks)
            else:
                run.train_and_derive(seconds, callbacks)
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
        progress: bool | None,
    ) -> None:
        self.problem, self.task, self.strategy, self.result = problem, task, strategy, result
        self.device, self.interrupts, self.progress = device, interrupts, progress
        self.journal: Journal | None = None
        self.checkpoint: Checkpoint | None = None

    def train_and_derive(
        self, seconds: float | None, callbacks: Sequence[Callable[[Result, Trial], None]]
    ) -> None:
        """Train, and score what was found."""
        result, began = self.result, time.time()
        ended: Any = "running" if self.journal is None else self.take_over(self.journal, _ENDS)
        # One that could not be scored, for want of memory for example, is scored again.
        done = ended in _ENDS and bool(result.trials) and result.trials[-1].state != "failed"
        if done and self.supernet_is_lost(ended):
            return
        cost_limits = self.problem.cost_limits() if self.strategy.keeps_limits else None
        if cost_limits is not None and cost_limits.limits:
            assert result.supernet is not None
            if not self.strategy.finds_any(result.supernet, cost_limits, seed=result.seed):
                result.stopped = "exhausted"  # before anything is trained in vain
                return
        began_at = time.monotonic() - sum(entry["seconds"] for entry in result.history)
        fitted = self.train(seconds, cost_limits)
        if done:
            result.stopped = ended
            result.baseline[:] = self.journal.baseline() if self.journal is not None else []
            return
        if fitted.stopped == "exhausted":
            result.stopped = "exhausted"
            return
        if fitted.genotype is None:
            raise TypeError(f"strategy {result.strategy!r}: fit must give a genotype; it gave None")
        architecture = self.problem.space.architecture(fitted.genotype, spec=self.problem.spec)
        trial = self.trial(architecture, began)
        known = self.is_known(trial)
        if not known:
            self.record(trial)
        result.stopped = fitted.stopped
        if trial.state != "failed" and fitted.stopped != "seconds":
            self.score_baseline(None if seconds is None else began_at + seconds)
        if trial.state == "failed":
            warnings.warn(
                "what was found could not be scored; with a journal, the same call tries again\n"
                f"{trial.error}",
                RuntimeWarning,
                stacklevel=4,
            )
        for callback in () if known else callbacks:
            callback(result, trial)

    def score_baseline(self, deadline: float | None) -> None:
        """Score random architectures beside what was found, where the strategy asks for it."""
        if not self.strategy.baseline:
            return
        from nasx.tasks.shared_weights import SharedWeights

        result = self.result
        in_time = score_baseline(
            self.problem,
            SharedWeights(result.supernet, self.task, seed=result.seed),
            self.strategy.baseline,
            result,
            deadline=deadline,
            journal=self.journal,
            interrupts=self.interrupts,
        )
        if not in_time:
            result.stopped = "seconds"

    def train_and_search(
        self,
        strategy: OneShotStrategy,
        evaluations: int | None,
        seconds: float | None,
        callbacks: Sequence[Callable[[Result, Trial], None]],
    ) -> None:
        """Train, and let a sampled strategy search the supernet."""
        result, problem = self.result, self.problem
        ended: Any = "running" if self.journal is None else self.take_over(self.journal, ())
        wanted = EVALUATIONS if evaluations is None else evaluations
        done = ended == "exhausted" or (ended == "evaluations" and len(result.trials) >= wanted)
        if done and self.supernet_is_lost(ended):
            result.baseline[:] = self.journal.baseline() if self.journal is not None else []
            return
        if self.journal is not None:
            remember_costs(problem, self.journal)
        limited = bool(problem.limited_costs or problem.space.constraints)
        if limited and not len(random_architectures(problem, 1, result.seed)):
            result.stopped = "exhausted"  # before anything is trained in vain
            return
        # Costs that are tables keep paths out of the training; those that are measured would take too long.
        tables = all(getattr(problem.costs[name], "vectorized", False) for name in problem.limited_costs)
        cost_limits = problem.cost_limits() if problem.limited_costs and tables else None
        began = time.monotonic() - sum(entry["seconds"] for entry in result.history)
        if self.train(seconds, cost_limits).stopped == "seconds":
            result.stopped = "seconds"
            return
        spent = sum(trial.seconds for trial in result.trials)
        result.trials = Trials()  # the search takes them over itself
        search_inside(
            problem,
            self.task,
            strategy,
            result,
            evaluations=evaluations,
            deadline=None if seconds is None else began + seconds - spent,
            journal=self.journal,
            callbacks=callbacks,
            interrupts=self.interrupts,
            progress=self.progress,
        )

    def supernet_is_lost(self, ended: Any) -> bool:
        """Whether a search that came to its end has lost its checkpoint; the rest is in the journal."""
        if self.checkpoint is None or self.checkpoint.exists():
            return False
        warnings.warn(
            f"{self.checkpoint.path} is gone, so result.supernet is None; the rest is in the journal",
            RuntimeWarning,
            stacklevel=5,  # who called nasx.search
        )
        self.result.supernet, self.result.stopped = None, ended
        return True

    def train(self, seconds: float | None, cost_limits: CostLimits | None) -> Fitted:
        """Train, after what an earlier run has trained."""
        result = self.result
        spent = sum(entry["seconds"] for entry in result.history)
        with EpochProgress(result, epochs=self.strategy.total_epochs, show=self.progress) as display:

            def after(entry: Epoch) -> None:
                if self.journal is not None:
                    with self.interrupts.held:
                        self.journal.set_history(result.history)
                display.update()

            fitted = self.strategy.fit(
                result.supernet,
                self.task,
                seed=result.seed,
                device=self.device,
                checkpoint=self.checkpoint,
                history=result.history,
                report=after,
                deadline=None if seconds is None else time.monotonic() + seconds - spent,
                cost_limits=cost_limits,
            )
        if isinstance(result, MetaResult) and isinstance(self.strategy, MetaNAS):
            result.meta = self.strategy.learner
        if self.journal is not None and self.journal.history() != result.history:
            self.journal.set_history(result.history)  # killed between the checkpoint and the journal
        return fitted

    def take_over(self, journal: Journal, ends: Sequence[str]) -> Any:
        """Read what an earlier run has recorded, and why it ended: one of `ends`, or it goes on."""
        for trial in journal.trials(self.problem.space, self.problem.spec):
            self.result.trials.append(trial)
        self.result.history[:] = journal.history()
        ended = journal.stopped()
        if ended not in ends:
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
            scorer = self.strategy.scorer(self.result.supernet, self.task, seed=self.result.seed)
            found = scorer.evaluate(architecture)
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
