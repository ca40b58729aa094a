"""`search`: the one loop that asks a strategy, evaluates, tells it, and writes everything down."""

from __future__ import annotations

import contextlib
import inspect
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nasx import vectorized as matrices
from nasx._interrupts import Interrupts
from nasx._runtime import sync_num_threads
from nasx.architecture import Architecture
from nasx.executors import Executor, make_evaluator
from nasx.journal import Journal
from nasx.population import unique
from nasx.problem import Costs, Problem, header
from nasx.progress import Progress
from nasx.registry import get_strategy, strategy_name
from nasx.result import Result
from nasx.sampled import Callback, SampledRun, trial_seed
from nasx.space import Space
from nasx.strategies.base import SampledStrategy, Strategy
from nasx.strategies.multi_fidelity.base import MultiFidelityStrategy
from nasx.strategies.prescreened import Prescreened
from nasx.strategies.supernet import SupernetStrategy
from nasx.strategies.transfer.short_form import begin_with
from nasx.tasks.base import Direction, Task
from nasx.tasks.distributions import TaskSequence
from nasx.weight_sharing import train_supernet

__all__ = ["Callback", "search", "trial_seed"]


def search(
    space: Space,
    task: Task | Callable[[Architecture], float | Mapping[str, float]] | list[Task] | tuple[Task, ...],
    *,
    strategy: str | Strategy | type[Strategy] = "nsga2",
    evaluations: int | None = None,
    seconds: float | None = None,
    objectives: Mapping[str, Direction] | None = None,
    costs: Costs | None = None,
    limits: Mapping[str, float] | None = None,
    seed: int = 0,
    replicates: int = 1,
    initial: Iterable[Mapping[str, Any]] = (),
    prescreen: Any = None,
    warm_start: Any = None,
    workers: int | None = None,
    executor: Executor | None = None,
    timeout: float | None = None,
    vectorized: bool = False,
    batch_size: int = 64,
    device: str | None = None,
    devices: Sequence[str] = (),
    journal: str | os.PathLike[str] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
) -> Result:
    """Search for the best architectures of a space.

    Parameters
    ----------
    space : Space
        The architectures.
    task : Task, callable or list of Task
        What is being learned; or a function of an `Architecture` that returns a number, or a dict of numbers
        by name. Several tasks, which `MetaNAS` learns from, are a `nasx.tasks.TaskSequence`.
    strategy : str, Strategy or type, default "nsga2"
        The method: a name of `available_strategies`, or an instance with settings. An instance is copied
        and stays as it is.
    evaluations : int, optional
        How many architectures to evaluate in all; those of a resumed run count. An evaluation with a part of
        the budget, by a multi-fidelity strategy, counts as that part. Strategies that train a supernet, such
        as `DARTS`, need no budget: they train for their ``epochs`` and score one architecture; `SPOS` and the
        like score so many by shared weights, 1,000 by default.
    seconds : float, optional
        Begin no evaluation after so much time, and wait for those that are out; a resumed run's count.
    objectives : mapping of str to {"minimize", "maximize"}, optional
        Metrics to optimise, the most important first. Needed for a function; a task brings its own.
    costs : mapping or sequence of str, optional
        Metrics known without training, usable in `objectives` and `limits`: names of `nasx.hardware`
        (``["parameters", "latency_ms"]``), or name -> cost or function from genotypes ``(n, d)`` to ``(n,)``.
    limits : mapping of str to float, optional
        Hard upper bounds on metrics. One on a cost is checked before anything is trained.
    seed : int, default 0
        Seeds the strategy and, with the trial's number, every evaluation.
    replicates : int, default 1
        Evaluate every architecture so often, one after the other with seeds of their own, and count the means
        of its metrics, for objectives that are noisy. It fails if one of them does. Together they are one of
        the `evaluations`, and have one `timeout`.
    initial : iterable of mapping, optional
        Architectures to evaluate first, as name -> choice.
    prescreen : str, nasx.proxies.Proxy, callable, or a list of them, optional
        Let the strategy propose ten architectures for each that is evaluated, the best of them by this score
        without training: short for ``strategy=nasx.Prescreened(inner=strategy, proxy=prescreen)``.
    warm_start : Result, path-like or sequence of these, optional
        Earlier searches to begin with, or their journals, of this space or another with some of its
        decisions. `GaussianProcess` becomes `FewShotTransfer`, which models them too; of other strategies the
        first proposals, after `initial`, are the five that the earlier searches predict to be best. Metrics
        are matched by name where an earlier search has all of the objectives. They are part of what the
        search is: a resumed run needs the same ones.
    workers : int, optional
        Evaluate so many at once, in processes of their own; by default one, in this process. With
        `executor`, how many it is given at once.
    executor : Executor, optional
        Somebody else's workers: anything with the ``submit`` of `concurrent.futures`, such as
        ``dask_client.get_executor()``, ``mpi4py.futures.MPIPoolExecutor()`` or `nasx.executors.RayExecutor`.
    timeout : float, optional
        Seconds after which an evaluation counts as failed. A process of our own is then killed and
        replaced; what somebody else's executor was given is abandoned, and its time counts from when it was
        given.
    vectorized : bool, default False
        Evaluate whole matrices: the task is a function from genotypes ``(n, d)`` to values ``(n,)`` or to
        name -> values, or has ``evaluate_many(genotypes, *, seed)`` as `nasx.tasks.TabularBenchmark` has.
        For tables and predictors, where millions of evaluations are affordable.
    batch_size : int, default 64
        How many architectures are asked for at once if `vectorized`.
    device : str, optional
        Where a `Task` trains, for example ``"cuda"``; by default the task decides.
    devices : sequence of str, optional
        The same for several workers, which take turns: ``["cuda:0", "cuda:1"]``. By default as many workers
        as devices.
    journal : path-like, optional
        SQLite file that records every proposal and result. If it exists and belongs to the same search, the
        search goes on where that one ended, with the same trials as if it had never stopped. A supernet's
        training goes on from ``<journal>.checkpoint``, which is written after every epoch.
    callbacks : sequence of callable, optional
        Each is called as ``callback(result, trial)`` after every trial; raising `StopSearch` ends the search.
    progress : bool, optional
        Show progress on the standard error stream; by default on a terminal, once two seconds have passed.

    Returns
    -------
    Result
        Also after Ctrl-C, with everything that was finished (``result.stopped == "interrupted"``).

    Raises
    ------
    ValueError
        If an argument is wrong; the message names it.
    JournalError
        If the journal is damaged, in use, or of another search; it is left as it is.
    WorkerError
        If worker processes cannot be started, or the task cannot be sent to them.

    Warns
    -----
    RuntimeWarning
        If every evaluation failed, or a resumed strategy proposes other architectures than before.

    Notes
    -----
    An evaluation that raises, or whose metrics are missing or not finite, becomes a failed trial with its
    traceback, and the search goes on; so does one whose worker dies or takes too long. A strategy is asked
    whenever a worker is free and never waits for the others.

    Worker processes are started anew (``spawn``): the task must be importable from them, and a script needs
    its search under ``if __name__ == "__main__":``.

    Examples
    --------
    >>> import nasx
    >>> space = nasx.Space({"depth": nasx.Integer(1, 8), "op": nasx.Categorical(["conv", "skip"])})
    >>> result = nasx.search(
    ...     space,
    ...     lambda architecture: abs(architecture["depth"] - 5) + (architecture["op"] == "skip"),
    ...     objectives={"error": "minimize"},
    ...     evaluations=16,
    ... )
    >>> dict(result.best.architecture), result.best.metrics
    ({'depth': 5, 'op': 'conv'}, {'error': 0.0})
    """
    method = get_strategy(strategy)
    if prescreen is not None:
        method = _prescreened(method, prescreen)
    _check_budget(evaluations, seconds, needed=not isinstance(method, SupernetStrategy))
    seed = _integer("seed", seed)
    replicates = _integer("replicates", replicates)
    if replicates < 1:
        raise ValueError(f"replicates must be at least 1; got {replicates}")
    if device is not None and devices:
        raise ValueError("give device= or devices=, not both")
    places = tuple(devices) or (device,)
    if isinstance(task, list | tuple):
        task = TaskSequence(task)
    problem = Problem(space, task, objectives=objectives, costs=costs, limits=limits)
    if isinstance(method, SupernetStrategy):
        alone = workers is None and executor is None and timeout is None and not devices
        if not alone or vectorized or replicates > 1:
            raise ValueError(
                f"strategy {strategy_name(method)!r} trains one network in this process: leave workers, "
                "executor, timeout, vectorized, devices and replicates out"
            )
        if not isinstance(initial, tuple) or initial:
            raise ValueError(f"strategy {strategy_name(method)!r} learns its architecture: leave initial out")
        if warm_start is not None:
            raise ValueError(
                f"strategy {strategy_name(method)!r} learns its architecture: leave warm_start out"
            )
        return train_supernet(
            problem,
            task,
            method,
            evaluations=evaluations,
            seconds=seconds,
            seed=seed,
            device=device,
            journal=journal,
            callbacks=callbacks,
            progress=progress,
        )
    if not isinstance(method, SampledStrategy | MultiFidelityStrategy):
        raise TypeError(f"strategy {strategy_name(method)!r} is no sampled strategy")
    if isinstance(initial, Mapping):
        raise TypeError("initial must be a list of architectures; put the one you have into a list")
    first = space.encode(list(dict.fromkeys(space.decode(row) for row in space.encode(list(initial)))))
    if not space.satisfies(first).all():
        raise ValueError(
            f"initial: architecture {int(np.argmin(space.satisfies(first)))} breaks a constraint"
        )
    within_limits = problem.cost_violation if problem.limited_costs else None
    if warm_start is not None:
        method, best = begin_with(
            method,
            warm_start,
            space,
            objectives=problem.objectives,
            seed=seed,
            # Costs that are measured may differ next time, and so would what a resumed run begins with.
            cost_violation=None if problem.remembers_costs else within_limits,
        )
        first = unique(space.join([first, best])).rows
    more: dict[str, Any] = {}
    if isinstance(method, MultiFidelityStrategy):
        more["max_budget"] = _whole_budget(task)
    elif isinstance(method, Prescreened):
        more["spec"] = problem.spec
    method.setup(
        space,
        objectives=len(problem.names),
        seed=seed,
        cost_violation=within_limits,
        **more,
    )
    result = Result(
        space=space,
        objectives=problem.objectives,
        limits=problem.limits,
        strategy=strategy_name(method),
        seed=seed,
    )
    batch = None
    if vectorized:
        if workers is not None or executor is not None or timeout is not None or devices:
            raise ValueError(
                "vectorized=True evaluates in this process: leave workers, executor, timeout out"
            )
        if replicates > 1:
            raise ValueError(
                "vectorized=True evaluates each row once: average in the task, not by replicates"
            )
        if isinstance(method, MultiFidelityStrategy):
            raise ValueError(
                f"strategy {result.strategy!r} gives budgets, which vectorized=True does not know"
            )
        if _integer("batch_size", batch_size) < 1:
            raise ValueError(f"batch_size must be at least 1; got {batch_size}")
        batch = matrices.whole_matrices(task)
    sync_num_threads()
    with (
        make_evaluator(
            task, workers=workers, executor=executor, timeout=timeout, devices=places
        ) as evaluator,
        Interrupts() as interrupts,
        Progress(result, evaluations=evaluations, seconds=seconds, show=progress) as display,
    ):
        run = SampledRun(
            problem, method, result, evaluator, callbacks, interrupts=interrupts, progress=display
        )
        run.seeded, run.replicates = isinstance(task, Task), replicates
        with contextlib.ExitStack() as stack:
            if journal is not None:
                run.journal = stack.enter_context(Journal(journal))
                run.journal.begin(
                    header(
                        problem,
                        task,
                        result.strategy,
                        method,
                        seed=seed,
                        initial=first,
                        max_budget=run.whole,
                        replicates=replicates,
                    )
                )
            if batch is None:
                run.go(first, evaluations, seconds, run.evaluate_one_by_one)
            else:
                run.go(first, evaluations, seconds, run.evaluate_batches, batch, batch_size)
            if run.journal is not None:
                run.journal.set_stopped(result.stopped)
    result.policy = getattr(method, "learned_policy", None)
    if result.trials and all(trial.state == "failed" for trial in result.trials):
        warnings.warn(f"{result.reason}\n{result.trials[0].error}", RuntimeWarning, stacklevel=2)
    return result


def _prescreened(method: Strategy, proxy: Any) -> Prescreened:
    if isinstance(method, MultiFidelityStrategy):
        name = strategy_name(method)
        raise ValueError(
            f"prescreen is for strategies that give no budgets; give {name!r} a prescreened inner strategy, "
            f"nasx.{type(method).__name__}(inner=nasx.Prescreened(inner=..., proxy=...))"
        )
    if not isinstance(method, SampledStrategy) or isinstance(method, Prescreened):
        raise ValueError(
            f"prescreen is for sampled strategies that are not prescreened; got {strategy_name(method)!r}"
        )
    return Prescreened(inner=method, proxy=proxy)


def _check_budget(evaluations: int | None, seconds: float | None, *, needed: bool) -> None:
    if evaluations is None and seconds is None and needed:
        raise ValueError("a search needs a budget: give evaluations= or seconds=")
    if evaluations is not None and _integer("evaluations", evaluations) < 1:
        raise ValueError(f"evaluations must be a positive integer; got {evaluations!r}")
    if seconds is not None and (not isinstance(seconds, int | float | np.number) or not seconds > 0):
        raise ValueError(f"seconds must be a positive number; got {seconds!r}")


def _whole_budget(task: Task | Callable[..., Any]) -> int | None:
    """Largest budget of a task, after checking that it can be given smaller ones."""
    if isinstance(task, Task):
        return task.max_budget
    try:
        inspect.signature(task).bind(None, budget=1)
    except TypeError:
        raise TypeError(
            "a multi-fidelity strategy needs a task that takes a budget: task(architecture, *, budget)"
        ) from None
    except ValueError:  # no signature to look at
        pass
    return None


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{name} must be an integer; got {value!r}")
    return int(value)
