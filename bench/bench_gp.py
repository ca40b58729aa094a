"""Gaussian processes over genotypes against other libraries: python bench/bench_gp.py [--only WORD].

Fits include hyperparameters and the prediction of 1,000 rows. On ranks of ordered decisions, scikit-learn
and BoTorch (if it is installed) have the same kernel as nasx, a squared exponential with a length for each
decision; the log marginal likelihoods of the standardised targets that they end at are compared first. Optuna
has a Matern kernel of a weighted Hamming distance where nasx has its exponential: on categorical decisions
the same numbers are compared, each of its own model. All of them climb from one start; nasx does too in the
first row of each pair, and from the three of its default in the second. `--rows 2000` has 2,000 rows, where
scikit-learn takes minutes.
"""

from __future__ import annotations

from harness import compare, describe  # first: it sets up the process

import argparse  # isort: skip
import copy
import itertools
import math
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import optuna
import scipy.linalg
from scipy.spatial.distance import cdist

import nasx
from nasx.models import GaussianProcess

FIT_TARGETS = {100: 5, 500: 3, 2_000: 1.5}
CHOICES = 5


class Data:
    """Additive effects of decisions that matter less and less, some pairs, and noise."""

    def __init__(self, n: int, d: int) -> None:
        self.n, self.d = n, d
        rng = np.random.default_rng(n + d)
        self.x = rng.integers(0, CHOICES, (n, d)).astype(np.int32)
        self.z = rng.integers(0, CHOICES, (1_000, d)).astype(np.int32)
        self._weights = rng.normal(size=(d, CHOICES)).cumsum(axis=1) / (1 + np.arange(d)[:, None])
        y = self._raw(self.x) + rng.normal(0, 0.1, n)
        self._mean, self._spread = y.mean(), y.std()
        self.y = (y - self._mean) / self._spread
        self.truth = self.values(self.z)

    def _raw(self, x: np.ndarray) -> np.ndarray:
        return self._weights[np.arange(self.d), x].sum(axis=1) + 0.5 * np.sin(x[:, 0] * x[:, 1])

    def values(self, x: np.ndarray) -> np.ndarray:
        """Give what would be measured without noise."""
        return (self._raw(x) - self._mean) / self._spread

    def ranks(self, x: np.ndarray) -> np.ndarray:
        return x / (CHOICES - 1)


class Fit:
    """The end of a fit: predictions, and the log marginal likelihood, which is computed when asked for."""

    def __init__(self, mean: np.ndarray, likelihood: Callable[[], float]) -> None:
        self.mean, self.likelihood = mean, likelihood


def nasx_fit(data: Data, ordered: bool, starts: int) -> Fit:
    model = GaussianProcess(
        ordered=np.full(data.d, ordered),
        cardinalities=np.full(data.d, CHOICES),
        kernel="rbf",
        priors=False,
        starts=starts,
    ).fit(data.x, data.y)
    return Fit(model.predict(data.z).mean, lambda: model.log_marginal_likelihood)


def sklearn_fit(data: Data) -> Fit:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * RBF(np.ones(data.d), (1e-2, 1e5)) + WhiteKernel(
        1e-2, (1e-6, 1e2)
    )
    model = GaussianProcessRegressor(kernel).fit(data.ranks(data.x), data.y)
    mean, _ = model.predict(data.ranks(data.z), return_std=True)
    return Fit(mean, lambda: float(model.log_marginal_likelihood_value_))


def botorch_fit(data: Data) -> Fit:
    import gpytorch
    import torch
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from gpytorch.kernels import RBFKernel, ScaleKernel

    x, y = (torch.from_numpy(np.array(a)) for a in (data.ranks(data.x), data.y[:, None]))
    kernel = ScaleKernel(RBFKernel(ard_num_dims=data.d))
    mean = gpytorch.means.ZeroMean()  # the others have no mean to fit
    model = SingleTaskGP(x, y, covar_module=kernel, mean_module=mean, outcome_transform=None)
    likelihood = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
    fit_gpytorch_mll(likelihood)
    with torch.no_grad():
        posterior = model.posterior(torch.from_numpy(data.ranks(data.z)))
        mean = posterior.mean[:, 0].numpy()
        _ = posterior.variance

    def value() -> float:
        model.train()
        with torch.no_grad():
            return float(model.likelihood(model(*model.train_inputs)).log_prob(model.train_targets))

    return Fit(mean, value)


def optuna_fit(data: Data) -> Fit:
    import torch
    from optuna._gp import gp, prior

    model = gp.fit_kernel_params(
        X=data.x.astype(float),
        Y=data.y,
        is_categorical=np.ones(data.d, bool),
        log_prior=prior.default_log_prior,
        minimum_noise=prior.DEFAULT_MINIMUM_NOISE_VAR,
        deterministic_objective=False,
    )
    with torch.no_grad():
        mean, _ = model.posterior(torch.from_numpy(data.z.astype(float)))
        constant = 0.5 * data.n * math.log(2 * math.pi)
        return Fit(mean.numpy(), lambda: float(model.marginal_log_likelihood()) - constant)


def fits_agree(data: Data) -> Callable[[Fit, Fit], bool]:
    def agree(theirs: Fit, ours: Fit) -> bool:
        likelihoods = theirs.likelihood(), ours.likelihood()
        errors = [float(np.sqrt(np.mean((f.mean - data.truth) ** 2))) for f in (theirs, ours)]
        print(
            f"log likelihood {likelihoods[0]:.2f}, nasx {likelihoods[1]:.2f}; "
            f"error of prediction {errors[0]:.3f}, nasx {errors[1]:.3f}"
        )
        return likelihoods[1] >= likelihoods[0] - 0.1

    return agree


def once(
    case: str,
    peer: str,
    theirs: Callable[[], Any],
    ours: dict[str, Callable[[], Any]],
    same: Any,
    target: float,
) -> None:
    """As `compare`, for what takes minutes: the peer once, nasx three times in each way."""
    start = time.perf_counter()
    try:
        answer = theirs()
    except Exception as error:
        print(f"{case:<34} {peer:<11} failed after {time.perf_counter() - start:.0f} s: {error}", flush=True)
        return
    took = time.perf_counter() - start
    for way, call in ours.items():
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            found = call()
            seconds.append(time.perf_counter() - start)
        agree = "" if same(answer, found) else "  nasx is less likely"
        mine = statistics.median(seconds)
        print(
            f"{f'{case}, {way}':<34} {peer:<11} {took * 1e3:>18.0f} {mine * 1e3:>18.0f} "
            f"{took / mine:>7.2f} {target:>7g}{agree}",
            flush=True,
        )


def bench_fits(rows: Sequence[int], decisions: Sequence[int]) -> None:
    peers: list[tuple[str, Callable[[Data], Fit], bool]] = [
        ("sklearn", sklearn_fit, True),
        ("optuna", optuna_fit, False),
    ]
    if find_spec("botorch") is None:
        print("BoTorch is not installed and is left out")
    else:
        peers.append(("botorch", botorch_fit, True))
    for n, d in itertools.product(rows, decisions):
        data = Data(n, d)
        for name, fit, ordered in peers:
            case, same, target = f"fit, {n:,} x {d}", fits_agree(data), FIT_TARGETS[n]

            def theirs(fit: Callable[[Data], Fit] = fit, data: Data = data) -> Fit:
                return fit(data)

            ways = {
                way: lambda ordered=ordered, data=data, starts=starts: nasx_fit(data, ordered, starts)
                for starts, way in ((1, "one start"), (3, "three"))
            }
            if n > 100:
                once(case, name, theirs, ways, same, target)
                continue
            for way, ours in ways.items():
                try:
                    compare(f"{case}, {way}", name, theirs, ours, same, target=target)
                except AssertionError:
                    print(f"{f'{case}, {way}':<34} {name:<11} no ratio: nasx is less likely", flush=True)


def bench_kernel() -> None:
    n, d = 2_000, 40
    x = np.random.default_rng(0).integers(0, CHOICES, (n, d)).astype(np.int32)
    rates = np.random.default_rng(1).random(d) + 0.1
    process = nasx._core.gaussian_process.Process(np.full(d, CHOICES, np.int32), np.zeros(d, bool), "rbf")
    process.set_parameters(np.concatenate([-np.log(rates), [0.0, -5.0]]))
    as_floats = x.astype(np.float64)
    compare(
        f"kernel matrix, {n:,} rows, {d} decisions",
        "scipy",
        lambda: np.exp(-rates.sum() * cdist(as_floats, as_floats, "hamming", w=rates)),
        lambda: process.prior_covariance(x),
        lambda a, b: bool(np.allclose(a, b, rtol=1e-12, atol=0)),
        target=3,
    )


def bench_factor() -> None:
    """Conditioning on rows beside LAPACK, which is handed the covariance that nasx computes."""
    for n in FIT_TARGETS:
        data = Data(n, 6)
        process = nasx._core.gaussian_process.Process(
            np.full(6, CHOICES, np.int32), np.zeros(6, bool), "matern52"
        )
        prior, noise = process.prior_covariance(data.x), math.exp(process.parameters()[-1])
        covariance = np.asfortranarray(prior + noise * np.eye(n))

        def theirs(covariance: np.ndarray = covariance) -> np.ndarray:
            lower, _ = scipy.linalg.lapack.dpotrf(covariance, lower=1, clean=1)
            inverse, _ = scipy.linalg.lapack.dtrtri(lower, lower=1)
            return inverse

        def ours(process: Any = process, data: Data = data) -> Any:
            process.condition(data.x, data.y[:, None])
            return process

        def same(inverse: np.ndarray, process: Any, data: Data = data, prior: np.ndarray = prior) -> bool:
            expected = prior @ (inverse.T @ (inverse @ data.y))
            return bool(np.allclose(process.predict(data.x)[0][:, 0], expected, atol=1e-8))

        compare(f"inverse factor, {n:,} rows, 6 decisions", "LAPACK", theirs, ours, same)


def bench_append() -> None:
    n, d = 1_000, 40
    data = Data(n + 500, d)
    model = GaussianProcess(cardinalities=np.full(d, CHOICES)).fit(data.x[:n], data.y[:n])
    process = model._process
    assert process is not None
    covariance = process.prior_covariance(data.x[: n + 1])
    covariance[np.diag_indices(n + 1)] += math.exp(process.parameters()[-1])

    def theirs() -> np.ndarray:
        lower = scipy.linalg.cholesky(covariance, lower=True, check_finite=False)
        return scipy.linalg.cho_solve((lower, True), data.y[: n + 1], check_finite=False)

    new = iter(range(n, n + 500))

    def ours() -> None:
        """Take the next row: the first time as many as the peer has, then ever more."""
        i = next(new)
        process.append(data.x[i : i + 1])
        process.set_targets(data.y[: i + 1, None])

    def same(weights: np.ndarray, _: None) -> bool:
        cross = covariance[:n] - math.exp(process.parameters()[-1]) * np.eye(n, n + 1)
        return bool(np.allclose(process.predict(data.x[:n])[0][:, 0], cross @ weights, atol=1e-8))

    compare(f"one more row, {n:,} rows, {d} decisions", "scipy", theirs, ours, same, target=20)


class Told:
    """A study of Optuna and a strategy that know the same results."""

    def __init__(self, n: int, d: int) -> None:
        self.data = Data(n, d)
        _, first = np.unique(self.data.x, axis=0, return_index=True)
        self.rows, self.losses = self.data.x[np.sort(first)], self.data.y[np.sort(first)]
        self.names = [f"x{j}" for j in range(d)]
        self.space = nasx.Space({name: nasx.Categorical(range(CHOICES)) for name in self.names})
        self.distributions = {
            name: optuna.distributions.CategoricalDistribution(range(CHOICES)) for name in self.names
        }

    def study(self) -> optuna.Study:
        study = optuna.create_study(sampler=optuna.samplers.GPSampler(seed=0))
        for row, loss in zip(self.rows.tolist(), self.losses.tolist(), strict=True):
            params = dict(zip(self.names, row, strict=True))
            study.add_trial(
                optuna.trial.create_trial(value=loss, params=params, distributions=self.distributions)
            )
        return study

    def strategy(self) -> nasx.GaussianProcess:
        strategy = nasx.GaussianProcess().setup(self.space, seed=0)
        strategy.tell(self.rows, self.losses)
        return strategy


def bench_suggestion() -> None:
    n, d = 200, 6
    given = Told(n, d)
    rows, losses, names = given.rows, given.losses, given.names
    study, told = given.study(), given.strategy()
    study.ask()
    trial = study.trials[-1]  # running, so that its sampler may write to it

    def theirs() -> np.ndarray:
        sampler = study.sampler
        found = sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial))
        return np.array([[found[name] for name in names]], np.int32)

    # Each is asked once: then it fits hyperparameters, as the peer does.
    unasked = [copy.deepcopy(told) for _ in range(64)]

    def ours() -> np.ndarray:
        return unasked.pop().ask(1)

    model = GaussianProcess().fit(rows, losses)

    def same(a: np.ndarray, b: np.ndarray) -> bool:
        """Both propose what a model of all that is known expects to be among the best."""
        expected = [float(model.predict(x).mean[0]) for x in (a, b)]
        print(
            f"expected loss of the proposals: {expected[0]:.2f} and {expected[1]:.2f}, "
            f"best known {losses.min():.2f}"
        )
        return max(expected) < np.quantile(losses, 0.1)

    title = f"one suggestion, {n} told, {d} decisions"
    compare(f"{title}, with fit", "optuna", theirs, ours, same, target=20)
    # Between two fits only the new results are added.
    copies = [copy.deepcopy(told) for _ in range(64)]
    for one in copies:
        one.ask(1)
    turns = itertools.cycle(copies)
    compare(title, "optuna", theirs, lambda: next(turns).ask(1), same, target=20)
    bench_search(given)


def bench_search(given: Told) -> None:
    """Forty suggestions of a search, each told before the next, with fits when they are due."""
    more, repeats = 40, 7
    # One of each for every call: the answers, the time of a call, a round that is discarded, the rounds.
    studies = [given.study() for _ in range(repeats + 3)]
    strategies = [given.strategy() for _ in range(repeats + 3)]

    def theirs() -> list[float]:
        study = studies.pop()
        for _ in range(more):
            trial = study.ask(given.distributions)
            row = np.array([[trial.params[name] for name in given.names]], np.int32)
            study.tell(trial, float(given.data.values(row)[0]))
        return [float(trial.value) for trial in study.trials]

    def ours() -> list[float]:
        strategy, losses = strategies.pop(), list(given.losses)
        for _ in range(more):
            row = strategy.ask(1)
            loss = given.data.values(row)
            strategy.tell(row, loss)
            losses.append(float(loss[0]))
        return losses

    def same(a: list[float], b: list[float]) -> bool:
        print(f"best after them: {min(a):.3f}, nasx {min(b):.3f}")
        return len(a) == len(b) and min(b) <= min(a) + 0.01

    title = f"{more} suggestions of a search"
    compare(title, "optuna", theirs, ours, same, target=20, repeats=repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--rows", type=int, nargs="+", choices=FIT_TARGETS, default=[100, 500], help="of fits"
    )
    parser.add_argument("--decisions", type=int, nargs="+", default=[6, 40], help="of fits")
    benches = {
        "kernel": bench_kernel,
        "factor": bench_factor,
        "append": bench_append,
        "suggestion": bench_suggestion,
        "fit": lambda: bench_fits(options.rows, options.decisions),
    }
    parser.add_argument("--only", choices=benches, action="append", help="only this one; may come again")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of the peers
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    describe("scipy", "scikit-learn", "optuna", *(["botorch"] if find_spec("botorch") else []))
    for name in options.only or benches:
        benches[name]()


if __name__ == "__main__":
    main()
