"""One suggestion of TPE after a history of categorical decisions: python bench/bench_tpe.py.

Peers are Optuna's TPESampler, with one estimator for all decisions (its default and ours) and with one for
each, and hyperopt if it is installed. First, Optuna finds the same trials good and gives the same densities.
Hyperopt takes another share of the history for good, so there only the quality of proposals is compared.
Last, how long nasx takes for one suggestion and its result after up to 100,000 results: as long whatever the
history with one estimator for each decision, in proportion to it with one for all.
"""

from __future__ import annotations

from harness import clock, compare, describe  # first: it sets up the process

import copy  # isort: skip
import itertools
import math
import statistics
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution

import nasx

TARGETS = {100: 40, 1_000: 100, 10_000: 150}
CHOICES = {6: 5, 40: 8}  # by number of decisions
# Every ask leaves one result out; so many copies take turns that this changes little.
COPIES = 64


class Case:
    """A history of different architectures and their losses, as all libraries take it."""

    def __init__(self, decisions: int, n: int) -> None:
        self.decisions, self.choices = decisions, CHOICES[decisions]
        self.title = f"{decisions} decisions, {n:,} told"
        names = [f"x{j:02}" for j in range(decisions)]
        self.space = nasx.Space({name: nasx.Categorical(range(self.choices)) for name in names})
        rows = np.unique(self.space.sample(3 * n, seed=0), axis=0)
        self.rows = np.random.default_rng(0).permutation(rows)[:n]
        self.losses = self.loss(self.rows) + np.random.default_rng(1).normal(0, 0.1, n)
        self.distributions = {name: CategoricalDistribution(range(self.choices)) for name in names}

    def loss(self, rows: np.ndarray) -> np.ndarray:
        return (rows != np.arange(self.decisions) % self.choices).sum(axis=1) / self.decisions

    # -- nasx ------------------------------------------------------------------------------------------------

    def nasx_tpe(self, multivariate: bool) -> nasx.TPE:
        strategy = nasx.TPE(multivariate=multivariate).setup(self.space, seed=0)
        strategy.tell(self.rows, self.losses)
        return strategy

    # -- optuna ----------------------------------------------------------------------------------------------

    def optuna_study(self, multivariate: bool) -> optuna.Study:
        sampler = optuna.samplers.TPESampler(seed=0, multivariate=multivariate)
        study = optuna.create_study(sampler=sampler)
        for row, loss in zip(self.rows.tolist(), self.losses.tolist(), strict=True):
            params = dict(zip(self.distributions, row, strict=True))
            study.add_trial(
                optuna.trial.create_trial(value=loss, params=params, distributions=self.distributions)
            )
        return study

    def optuna_suggestion(self, study: optuna.Study, trial: Any, multivariate: bool) -> dict[str, Any]:
        sampler = study.sampler
        if multivariate:
            space = sampler.infer_relative_search_space(study, trial)
            return sampler.sample_relative(study, trial, space)
        return {
            name: sampler.sample_independent(study, trial, name, distribution)
            for name, distribution in self.distributions.items()
        }

    def same_densities(self, study: optuna.Study, strategy: nasx.TPE, multivariate: bool) -> bool:
        """Both libraries call the same trials good, and give rows the same densities among both parts."""
        from optuna.samplers._tpe.sampler import _split_trials, default_gamma

        strategy = copy.deepcopy(strategy)
        strategy.ask(1)
        history = strategy._history
        x = self.space.sample(50, seed=9)
        parts = _split_trials(study, study.trials[: len(self.rows)], default_gamma(len(self.rows)))
        if [t.number for t in parts[0]] != history.good().tolist():
            return False
        # The row that ask() added is out; take it out of the comparison by a history without it.
        fresh = type(history)(
            self.space.cardinalities, self.space.conditions, self.space.ordered, multivariate, False
        )
        fresh.append(self.rows)
        fresh.set_good(history.good())
        ours = fresh.log_densities(x)
        groups = [list(self.distributions)] if multivariate else [[name] for name in self.distributions]
        theirs = np.zeros_like(ours)
        for names in groups:
            space = {name: self.distributions[name] for name in names}
            sample = {name: x[:, list(self.distributions).index(name)].astype(float) for name in names}
            for k, part in enumerate(parts):
                estimator = study.sampler._build_parzen_estimator(study, space, part, handle_below=k == 0)
                theirs[:, k] += estimator.log_pdf(sample)
        return bool(np.allclose(ours, theirs, rtol=1e-9, atol=0))

    # -- hyperopt --------------------------------------------------------------------------------------------

    def hyperopt_suggestion(self) -> Callable[[int], list[int]]:
        import hyperopt
        from hyperopt import hp, tpe

        space = {name: hp.choice(name, list(range(self.choices))) for name in self.distributions}
        domain = hyperopt.Domain(lambda values: 0.0, space)
        trials = hyperopt.Trials()
        documents = []
        for i, (row, loss) in enumerate(zip(self.rows.tolist(), self.losses.tolist(), strict=True)):
            misc = {
                "tid": i,
                "cmd": domain.cmd,
                "workdir": None,
                "idxs": {name: [i] for name in space},
                "vals": {name: [choice] for name, choice in zip(space, row, strict=True)},
            }
            result = {"loss": loss, "status": hyperopt.STATUS_OK}
            (document,) = trials.new_trial_docs([i], [None], [result], [misc])
            document["state"] = hyperopt.JOB_STATE_DONE
            documents.append(document)
        trials.insert_trial_docs(documents)
        trials.refresh()

        def suggest(seed: int) -> list[int]:
            (document,) = tpe.suggest([len(documents)], domain, trials, seed, verbose=False)
            return [int(document["misc"]["vals"][name][0]) for name in space]

        return suggest


def asking(strategy: nasx.TPE) -> Callable[[], np.ndarray]:
    """Suggestions by many copies in turn, after the first of each, which sorts what was told in one go."""
    copies = [copy.deepcopy(strategy) for _ in range(COPIES)]
    for one in copies:
        one.ask(1)
    turns = itertools.cycle(copies)
    return lambda: next(turns).ask(1)


def against_optuna(case: Case, multivariate: bool) -> None:
    strategy, study = case.nasx_tpe(multivariate), case.optuna_study(multivariate)
    study.ask()
    trial = study.trials[-1]  # running, so that its sampler may write to it
    compare(
        f"{case.title}, {'joint' if multivariate else 'each'}",
        "optuna",
        lambda: case.optuna_suggestion(study, trial, multivariate),
        asking(strategy),
        lambda _, __: case.same_densities(study, strategy, multivariate),
        target=TARGETS[len(case.rows)],
    )


def against_hyperopt(case: Case) -> None:
    suggest, seeds = case.hyperopt_suggestion(), itertools.count()
    ask = asking(case.nasx_tpe(False))

    def agree(_: object, __: object) -> bool:
        """Both propose what is better than the history, by three standard errors of so few proposals."""
        found = [suggest(next(seeds)) for _ in range(20)], [ask()[0] for _ in range(20)]
        means = [float(case.loss(np.array(rows)).mean()) for rows in found]
        print(f"mean loss of 20 proposals: {means[0]:.2f} and {means[1]:.2f}, ", end="")
        history = case.loss(case.rows)
        print(f"of the history {history.mean():.2f}")
        return max(means) < history.mean() - 3 * float(history.std()) / math.sqrt(len(found[0]))

    compare(
        f"{case.title}, each",
        "hyperopt",
        lambda: suggest(next(seeds)),
        ask,
        agree,
        target=TARGETS[len(case.rows)],
        repeats=7,
    )


def growth() -> None:
    """Print times of asking and telling in turn, of nasx alone."""
    decisions = max(CHOICES)  # with 6 there are no 100,000 architectures
    cases = [Case(decisions, n) for n in (1_000, 10_000, 100_000)]
    for multivariate in (False, True):
        times = []
        for case in cases:
            strategy = case.nasx_tpe(multivariate)
            strategy.ask(1)  # sorts what was told in one go
            seconds = []
            for _ in range(31):
                began = clock()
                row = strategy.ask(1)
                strategy.tell(row, case.loss(row))
                seconds.append(clock() - began)
            times.append(f"{statistics.median(seconds) * 1e3:.3f} ms after {len(case.rows):,}")
        how = "joint" if multivariate else "each"
        print(f"nasx, ask and tell, {decisions} decisions, {how}: {', '.join(times)}", flush=True)


def main() -> None:
    warnings.simplefilter("ignore")  # of the peers
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    hyperopt = find_spec("hyperopt") is not None
    if not hyperopt:
        print("hyperopt is not installed and is left out")
    describe("optuna", *(["hyperopt"] if hyperopt else []))
    for decisions, n in itertools.product(CHOICES, TARGETS):
        case = Case(decisions, n)
        for multivariate in (True, False):
            against_optuna(case, multivariate)
        if hyperopt:
            against_hyperopt(case)
    growth()


if __name__ == "__main__":
    main()
