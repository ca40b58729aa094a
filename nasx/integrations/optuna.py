"""Optuna: nasx strategies as samplers of studies, and results as studies.

Needs ``pip install 'nasx[optuna]'``.
"""

from __future__ import annotations

import datetime
import math
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from nasx.decisions import Categorical, Decision, Integer
from nasx.errors import require
from nasx.registry import get_strategy, strategy_name
from nasx.result import Result
from nasx.space import Genotypes, Space
from nasx.strategies.base import SampledStrategy, Strategy, check_setup
from nasx.trial import Trial

require("optuna", "nasx.integrations.optuna", "optuna")

import optuna  # noqa: E402  # says first what to install
from optuna.distributions import (  # noqa: E402
    BaseDistribution,
    CategoricalDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler  # noqa: E402
from optuna.search_space import IntersectionSearchSpace  # noqa: E402
from optuna.study import Study, StudyDirection  # noqa: E402
from optuna.trial import FrozenTrial, TrialState  # noqa: E402

__all__ = ["NasxSampler", "to_optuna"]

# Beneath Optuna's own logger, so that its verbosity counts.
_logger = optuna.logging.get_logger("optuna.nasx")

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_MOST_CHOICES = 1_000_000
# Choices on a logarithmic scale, where there are more integers than that.
_LOG_CHOICES = 128


class NasxSampler(BaseSampler):
    """A nasx strategy that samples the trials of an Optuna study.

    Parameters that all finished trials have in common are sampled together by the strategy: categorical ones
    and integers, the latter as choices in an order. On a logarithmic scale with more than 128 integers, 128
    of them are proposed, evenly spaced on that scale. Floats, integers with more than a million choices, and
    parameters that come and go or whose range changes are drawn at random, each with a warning in Optuna's
    log; so is the whole first trial, since Optuna knows no parameter before it.

    The strategy is told every finished trial of the study, whoever sampled it. Trials that failed or were
    pruned lose to all others, and the sum of what a trial's constraints are over 0 is its violation. When the
    strategy has proposed everything there is, trials are drawn at random.

    Parameters
    ----------
    strategy : str, Strategy or type, default "tpe"
        A name of `nasx.available_strategies`, or an instance with settings, which is copied.
    seed : int, default 0
        Seeds the strategy and the random draws. Processes that work on one study need different ones.
    warn_independent_sampling : bool, default True
        Warn when a parameter is drawn at random.

    Raises
    ------
    ValueError
        If the strategy's name is unknown, or `seed` is out of range.
    TypeError
        If the strategy sets budgets or shares weights, as a trial knows neither.

    Notes
    -----
    Threads may share a sampler. Trials that other processes have not finished are not known to it.

    Examples
    --------
    >>> import optuna
    >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
    >>> study = optuna.create_study(sampler=NasxSampler("regularized_evolution", seed=1))
    >>> def objective(trial):
    ...     return trial.suggest_int("depth", 1, 20) + 5 * trial.suggest_categorical("skip", [False, True])
    >>> study.optimize(objective, n_trials=40)
    >>> study.best_params
    {'depth': 1, 'skip': False}
    """

    def __init__(
        self,
        strategy: str | Strategy | type[Strategy] = "tpe",
        *,
        seed: int = 0,
        warn_independent_sampling: bool = True,
    ) -> None:
        method = get_strategy(strategy)
        if not isinstance(method, SampledStrategy):
            raise TypeError(
                f"strategy {strategy_name(method)!r} does more than propose architectures; give one that "
                "derives from nasx.SampledStrategy"
            )
        check_setup(1, seed)
        self._strategy = method
        self._seed = seed
        self._warn = warn_independent_sampling
        self._random = RandomSampler(seed=seed % 2**32)
        self._intersection = IntersectionSearchSpace(include_pruned=True)
        self._run: _Run | None = None
        self._warned: set[str] = set()
        self._exhausted = False
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return f"NasxSampler({strategy_name(self._strategy)!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def reseed_rng(self) -> None:
        """Draw other random numbers from now on; the strategy is shared by the threads, and stays."""
        self._random.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Find the parameters that the strategy samples.

        Parameters
        ----------
        study : optuna.study.Study
            The study.
        trial : optuna.trial.FrozenTrial
            The trial to sample.

        Returns
        -------
        dict
            Name -> distribution.
        """
        with self._lock:
            common = self._intersection.calculate(study)
        return {name: d for name, d in common.items() if not d.single() and _takes(d)}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Ask the strategy for a trial's parameters, after telling it what has finished.

        Parameters
        ----------
        study : optuna.study.Study
            The study.
        trial : optuna.trial.FrozenTrial
            The trial to sample.
        search_space : dict
            What `infer_relative_search_space` gave, or a part of it.

        Returns
        -------
        dict
            Name -> value, at random once the strategy has proposed everything.

        Raises
        ------
        ValueError
            If a distribution is neither categorical nor of integers, or has too many choices.
        """
        if not search_space:
            return {}
        trials = study.get_trials(deepcopy=False, states=_FINISHED)
        with self._lock:
            if self._run is None or not self._run.continues(study, search_space):
                self._run = _Run(self._strategy.fresh(), study, search_space, self._seed)
            self._run.tell(trials)
            params = self._run.ask()
        if params:
            return params
        if not self._exhausted:
            self._exhausted = True
            _logger.warning(
                f"{self} has proposed everything in the search space; from Trial#{trial.number} on, trials "
                "are drawn at random."
            )
        return {
            name: self._random.sample_independent(study, trial, name, distribution)
            for name, distribution in search_space.items()
        }

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one parameter at random.

        Parameters
        ----------
        study : optuna.study.Study
            The study.
        trial : optuna.trial.FrozenTrial
            The trial to sample.
        param_name : str
            The parameter.
        param_distribution : optuna.distributions.BaseDistribution
            What it may be.

        Returns
        -------
        Any
            A value.
        """
        if self._warn and param_name not in self._warned:
            finished = study.get_trials(deepcopy=False, states=_FINISHED)
            if any(param_name in one.params for one in finished):  # otherwise nobody could know it
                self._warned.add(param_name)
                why = "it is not in every trial with the same range"
                if not _takes(param_distribution):
                    why = f"{param_distribution} is not a choice among at most {_MOST_CHOICES:,}"
                _logger.warning(
                    f"The parameter {param_name!r} in Trial#{trial.number} is drawn at random instead of by "
                    f"{self}, since {why}. Silence this with warn_independent_sampling=False."
                )
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Do nothing but what the random sampler does.

        Parameters
        ----------
        study : optuna.study.Study
            The study.
        trial : optuna.trial.FrozenTrial
            The trial that begins.
        """
        self._random.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Do nothing but what the random sampler does; the strategy is told before it is asked.

        Parameters
        ----------
        study : optuna.study.Study
            The study.
        trial : optuna.trial.FrozenTrial
            The trial that ended.
        state : optuna.trial.TrialState
            How.
        values : sequence of float or None
            With which values.
        """
        self._random.after_trial(study, trial, state, values)


class _Run:
    """A strategy at work on one search space of one study."""

    def __init__(
        self, strategy: SampledStrategy, study: Study, search_space: dict[str, BaseDistribution], seed: int
    ) -> None:
        self.study_name, self.search_space = study.study_name, dict(search_space)
        self.parameters = {name: _Parameter(name, d) for name, d in search_space.items()}
        self.space = Space({name: parameter.decision for name, parameter in self.parameters.items()})
        self.signs = np.array([-1.0 if d == StudyDirection.MAXIMIZE else 1.0 for d in study.directions])
        self.strategy = strategy.setup(self.space, objectives=len(self.signs), seed=seed)
        self.told: set[int] = set()

    def continues(self, study: Study, search_space: dict[str, BaseDistribution]) -> bool:
        """Whether this is still the run of that study and space."""
        return study.study_name == self.study_name and search_space == self.search_space

    def ask(self) -> dict[str, Any]:
        """Give the next proposal as parameters; none if nothing is left."""
        rows = self.strategy.ask(1)
        if not len(rows):
            return {}
        row = rows[0].tolist()
        return {p.name: p.value(index) for p, index in zip(self.parameters.values(), row, strict=True)}

    def tell(self, trials: Sequence[FrozenTrial]) -> None:
        """Tell the strategy those of the finished trials that are new and of this space."""
        for trial in trials:
            if trial.number in self.told:
                continue
            self.told.add(trial.number)
            row = self.row(trial)
            if row is None:
                continue
            violation = sum(v for v in trial.constraints.values() if v > 0)
            failed = trial.state != TrialState.COMPLETE
            losses = np.full(len(self.signs), np.nan) if failed else self.signs * np.array(trial.values)
            self.strategy.tell(row, losses[None], violations=[violation], failed=np.array([failed]))

    def row(self, trial: FrozenTrial) -> Genotypes | None:
        """Encode a trial; None if a parameter is missing or of another range."""
        indices = []
        for name, parameter in self.parameters.items():
            index = parameter.index(trial.params[name]) if name in trial.params else None
            if index is None:
                return None
            indices.append(index)
        return np.array([indices], np.int32)


class _Parameter:
    """A parameter of Optuna as a decision among numbered choices."""

    def __init__(self, name: str, distribution: BaseDistribution) -> None:
        if not _takes(distribution):
            raise ValueError(
                f"search_space[{name!r}] must be categorical, or of integers with at most {_MOST_CHOICES:,} "
                f"choices; got {distribution}"
            )
        self.name, self.distribution = name, distribution
        self.choices: Sequence[Any]
        self.decision: Decision
        if isinstance(distribution, CategoricalDistribution):
            self.choices = distribution.choices
            self.decision = Categorical(range(len(self.choices)))
            return
        assert isinstance(distribution, IntDistribution)
        low, high = distribution.low, distribution.high
        self.choices = range(low, high + 1, distribution.step)
        if distribution.log and len(self.choices) > _LOG_CHOICES:
            spaced = np.rint(np.geomspace(low, high, _LOG_CHOICES)).astype(int)
            self.choices = np.unique(spaced).tolist()
        self.decision = Integer(0, len(self.choices) - 1)

    def value(self, index: int) -> Any:
        return self.choices[index]

    def index(self, value: Any) -> int | None:
        """Find the choice that is, or on a logarithmic scale is nearest to, a value; None outside."""
        distribution = self.distribution
        if isinstance(distribution, IntDistribution):
            if not isinstance(value, int) or not distribution.low <= value <= distribution.high:
                return None
            if distribution.log:
                return int(np.abs(np.log(self.choices) - math.log(value)).argmin())
            index, beside = divmod(value - distribution.low, distribution.step)
            return None if beside else index
        try:
            return int(distribution.to_internal_repr(value))
        except ValueError:
            return None


def _takes(distribution: BaseDistribution) -> bool:
    """Whether a strategy can sample it."""
    if isinstance(distribution, IntDistribution):
        return (distribution.high - distribution.low) // distribution.step < _MOST_CHOICES
    return isinstance(distribution, CategoricalDistribution)


def to_optuna(
    result: Result, storage: str | optuna.storages.BaseStorage | None = None, *, study_name: str | None = None
) -> Study:
    """Write a result as a finished Optuna study, for example to look at it in optuna-dashboard.

    A trial within the limits is complete. So is one over a limit, with its violation as a constraint, if its
    objectives were measured; otherwise it has failed. An evaluation with a part of the budget only is pruned,
    and what it measured an intermediate value at this budget; with several objectives, of which Optuna keeps
    no intermediate values, it is in the attributes. `Ordinal` decisions become categorical parameters, and
    inactive ones are left out.

    Parameters
    ----------
    result : Result
        What a search found.
    storage : str or optuna.storages.BaseStorage, optional
        Where to, such as ``"sqlite:///study.db"``; in memory by default.
    study_name : str, optional
        The study's name, new in this storage; by default Optuna makes one up.

    Returns
    -------
    optuna.study.Study
        The study. Metrics that are no values, the state, a budget and the traceback of a failure are
        attributes of its trials; strategy, seed and limits are attributes of the study.

    Raises
    ------
    ValueError
        If the space has no decisions, as `nasx.spaces.Topology`.
    optuna.exceptions.DuplicatedStudyError
        If the storage has a study of this name.

    Examples
    --------
    >>> import nasx, optuna
    >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
    >>> space = nasx.Space({"depth": nasx.Integer(1, 8)})
    >>> result = nasx.search(space, lambda a: (a["depth"] - 5) ** 2, objectives={"error": "minimize"},
    ...                      evaluations=8)
    >>> study = to_optuna(result, study_name="depths")
    >>> study.best_params, study.best_value
    ({'depth': 5}, 0.0)
    """
    if not result.space.decisions:
        raise ValueError(
            f"result: {type(result.space).__name__} has no decisions that could be parameters of a study; "
            "result.to_dataframe() has its trials"
        )
    study = optuna.create_study(
        storage=storage, study_name=study_name, directions=list(result.objectives.values())
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(result.objectives))
    for name, value in (("strategy", result.strategy), ("seed", result.seed), ("limits", result.limits)):
        study.set_user_attr(name, value)
    distributions = {name: _distribution(d) for name, d in result.space.decisions.items()}
    study.add_trials(
        [_frozen(t, result, distributions) for t in sorted(result.trials, key=lambda t: t.number)]
    )
    return study


def _distribution(decision: Decision) -> BaseDistribution:
    if isinstance(decision, Integer):
        first, last = int(decision.choices[0]), int(decision.choices[-1])  # type: ignore[arg-type]
        step = (last - first) // (len(decision) - 1) if len(decision) > 1 else 1
        return IntDistribution(first, last, step=step)
    return CategoricalDistribution(decision.choices)


def _frozen(trial: Trial, result: Result, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    """Make an Optuna trial; its identity is given by the study."""
    measured = [trial.metrics[name] for name in result.objectives if name in trial.metrics]
    whole = len(measured) == len(result.objectives)
    state, values, steps = TrialState.FAIL, None, {}
    if trial.state in ("complete", "infeasible") and whole:
        state, values = TrialState.COMPLETE, measured
    elif trial.state == "partial":
        state = TrialState.PRUNED
        if len(measured) == 1 and trial.budget is not None:
            steps = {trial.budget: measured[0]}
    said = result.objectives if values is not None or steps else ()
    attributes: dict[str, Any] = {k: v for k, v in trial.metrics.items() if k not in said}
    attributes["state"] = trial.state
    if trial.budget is not None:
        attributes["budget"] = trial.budget
    if trial.error is not None:
        attributes["error"] = trial.error
    started = datetime.datetime.fromtimestamp(trial.started)
    params = dict(trial.architecture)
    return FrozenTrial(
        number=-1,
        trial_id=-1,
        state=state,
        value=None,
        values=values,
        datetime_start=started,
        datetime_complete=started + datetime.timedelta(seconds=trial.seconds),
        params=params,
        distributions={name: distributions[name] for name in params},
        user_attrs=attributes,
        system_attrs={"constraints": [trial.violation]} if result.limits else {},
        intermediate_values=steps,
    )
