"""The same ranking-weighted ensemble with BoTorch, for `bench_transfer.py`.

Kernels, posterior draws, leave-one-out by batched models with the fitted hyperparameters, weights and
expected improvement as in BoTorch's own tutorial on the method. It looks at `CANDIDATES` random
architectures in one batch, where nasx looks at some thousand and climbs from the best: less work for the
peer.
"""

from __future__ import annotations

from typing import NamedTuple

import gpytorch
import numpy as np
import torch
from botorch.acquisition.analytic import LogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from gpytorch.kernels import RBFKernel, ScaleKernel

import nasx
from nasx.strategies.bayesian.scores import normal_scores
from nasx.strategies.transfer.ranking import ranking_weights

CANDIDATES = 2_000
DRAWS = 256
CHOICES = 5


class Suggestion(NamedTuple):
    weights: np.ndarray
    loss: float  # the true one of what is suggested


class Problem:
    """A task and four others that are more and more unlike it."""

    def __init__(self, d: int = 8) -> None:
        self.space = nasx.Space({f"x{j}": nasx.Integer(0, CHOICES - 1) for j in range(d)})
        rng = np.random.default_rng(0)
        self.effects = rng.normal(size=(5, d, CHOICES)).cumsum(axis=2)
        for i in range(4):  # sources 0 to 3; 4 is the target
            self.effects[i] = self.effects[4] + (0.3 + i) * 0.6 * self.effects[i]
        self.sources = []
        for i in range(4):
            x = self.space.sample(100, seed=i)
            self.sources.append((x, self.losses(x, i)))
        self.x = self.space.sample(50, seed=9)
        self.y = self.losses(self.x, 4)
        self.models = [fitted(x, y) for x, y in self.sources]
        self.strategy = nasx.FewShotTransfer(
            sources=self.sources, n_startup=1, n_draws=DRAWS, kernel="rbf", n_candidates=CANDIDATES
        )

    def losses(self, x: np.ndarray, task: int) -> np.ndarray:
        main = self.effects[task][np.arange(x.shape[1]), x].sum(axis=1)
        return main + np.sin(x[:, 0] * x[:, 1] + 0.0)

    def alike(self, theirs: Suggestion, ours: Suggestion) -> bool:
        """Both believe the same models, about, and suggest what is better than three in four others."""
        typical = np.quantile(self.losses(self.space.sample(2_000, seed=3), 4), 0.25)
        near = np.abs(theirs.weights - ours.weights).max() < 0.25
        return bool(near and max(theirs.loss, ours.loss) < typical)


def unit(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x / (CHOICES - 1))


def fitted(x: np.ndarray, y: np.ndarray) -> SingleTaskGP:
    targets = torch.from_numpy(normal_scores(y[:, None], np.zeros(len(y))))
    kernel = ScaleKernel(RBFKernel(ard_num_dims=x.shape[1]))
    model = SingleTaskGP(unit(x), targets, covar_module=kernel, outcome_transform=None)
    fit_gpytorch_mll(gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model))
    return model


def left_out_draws(model: SingleTaskGP) -> torch.Tensor:
    """Draws (DRAWS, n) at each row of a batch of models, each without that row."""
    (x,), y = model.train_inputs, model.train_targets
    n = len(x)
    keep = ~torch.eye(n, dtype=torch.bool)
    several = x.expand(n, n, -1)[keep].view(n, n - 1, -1), y.expand(n, n)[keep].view(n, n - 1, 1)
    kernel = ScaleKernel(RBFKernel(ard_num_dims=x.shape[1]))
    batch = SingleTaskGP(*several, covar_module=kernel, outcome_transform=None)
    values = dict(model.named_parameters())
    for name, parameter in batch.named_parameters():  # one for each model of the batch, all the same
        parameter.data = values[name].data.expand(parameter.shape).clone()
    batch.eval()
    with torch.no_grad():
        return batch.posterior(x[:, None]).rsample(torch.Size([DRAWS]))[:, :, 0, 0]


def wrong_pairs(values: torch.Tensor, other: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    wrong = (values[:, :, None] < other[:, None, :]) ^ (y[:, None] < y[None])
    diagonal = torch.arange(len(y))
    wrong[:, diagonal, diagonal] = False
    return wrong.sum(dim=(1, 2)).numpy()


class Mixture(SingleTaskGP):
    """A weighted sum of posteriors, as a model of the acquisition function."""

    def __init__(self, models: list[SingleTaskGP], weights: np.ndarray) -> None:
        super().__init__(
            models[-1].train_inputs[0], models[-1].train_targets[:, None], outcome_transform=None
        )
        self.parts, self.shares = (
            [m for m, w in zip(models, weights, strict=True) if w > 0],
            weights[weights > 0],
        )

    def posterior(self, X: torch.Tensor, *args: object, **kwargs: object) -> object:
        said = [part.posterior(X) for part in self.parts]
        mean = sum(w * p.mean for w, p in zip(self.shares, said, strict=True))
        variance = sum(w**2 * p.variance for w, p in zip(self.shares, said, strict=True))
        normal = gpytorch.distributions.MultivariateNormal(mean[..., 0], torch.diag_embed(variance[..., 0]))
        from botorch.posteriors import GPyTorchPosterior

        return GPyTorchPosterior(normal)


def botorch_suggestion(problem: Problem) -> Suggestion:
    torch.manual_seed(0)
    target = fitted(problem.x, problem.y)
    x, y = unit(problem.x), torch.from_numpy(problem.y)
    losses = []
    with torch.no_grad():
        for model in problem.models:
            values = model.posterior(x).rsample(torch.Size([DRAWS]))[:, :, 0]
            losses.append(wrong_pairs(values, values, y))
    own = left_out_draws(target)
    losses.append(wrong_pairs(own, target.train_targets.expand(DRAWS, -1), y))
    weights = ranking_weights(losses)
    mixture = Mixture([*problem.models, target], weights)
    rows = problem.space.sample(CANDIDATES, seed=17)
    with torch.no_grad():
        best = mixture.posterior(x[:, None]).mean.min()
        values = LogExpectedImprovement(mixture, best_f=best, maximize=False)(unit(rows)[:, None])
    chosen = rows[int(values.argmax())][None]
    return Suggestion(weights, float(problem.losses(chosen, 4)[0]))


def nasx_suggestion(problem: Problem) -> Suggestion:
    strategy = problem.strategy
    if not hasattr(strategy, "space"):
        strategy.setup(problem.space, seed=0)
        strategy.tell(problem.x, problem.y)
    # As right after the fiftieth result: fit, weights and search are all due.
    strategy._fitted_at, strategy._weighed_at = 0, None
    x = strategy.ask(1)
    strategy._out.clear(), strategy._numbers.clear()
    return Suggestion(strategy.weights, float(problem.losses(x, 4)[0]))
