"""The controller of ENAS: an LSTM that proposes architectures and learns from their rewards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nasx.errors import EvaluationError
from nasx.space import Boolean, Genotypes, Space
from nasx.strategies.base import CostViolation
from nasx.strategies.reinforcement.lstm import LSTMPolicy
from nasx.strategies.reinforcement.policies import Floats

if TYPE_CHECKING:
    from nasx.strategies.one_shot.enas import ENAS

__all__ = ["Controller", "Lesson"]

_PATIENCE = 4096  # rows without an allowed one


class Lesson(NamedTuple):
    """What a step of the controller was.

    Parameters
    ----------
    entropy : float
        Mean over the rows of the entropies of their decisions, summed, in nats.
    penalty : float
        How far Boolean decisions are from their target, 0 without any.
    """

    entropy: float
    penalty: float


class Controller(LSTMPolicy):
    """The policy of ENAS, with its baseline [1]_.

    A row's reward is what its network reaches plus a part of the policy's entropy along it. That part is a
    number: no gradient goes through it. The policy moves by ``(reward - baseline) * gradient of the
    log-probability``, where the baseline is a moving average of rewards, moved before it is taken off.

    Parameters
    ----------
    space : Space
        What it draws from.
    settings : ENAS
        How it learns.
    seed : int
        Of its weights.
    cost_violation : callable, optional
        As for `ENAS.fit`: what is over the limits is drawn again.

    Attributes
    ----------
    baseline : float
        The moving average so far.

    References
    ----------
    .. [1] H. Pham, M. Guan, B. Zoph, Q. Le and J. Dean, "Efficient Neural Architecture Search via Parameter
       Sharing", ICML 2018.
    """

    def __init__(
        self, space: Space, settings: ENAS, *, seed: int, cost_violation: CostViolation | None = None
    ) -> None:
        super().__init__(
            space.cardinalities,
            space.conditions,
            seed=seed,
            temperature=settings.temperature,
            bound=settings.tanh_constant,
        )
        self.space, self.enas, self._cost_violation = space, settings, cost_violation
        self._flags = np.array([isinstance(decision, Boolean) for decision in space.decisions.values()])
        self._sum, self._lessons = 0.0, 0

    @property
    def baseline(self) -> float:
        """The moving average so far, as if it had always been the mean of what it has seen; at first 0."""
        weight = 1 - self.enas.baseline_decay**self._lessons
        return self._sum / weight if self._lessons else 0.0

    def rows(self, seed: int, *, block: int = 64) -> Iterator[Genotypes]:
        """Draw rows that the space's constraints and the limits allow, without end.

        Parameters
        ----------
        seed : int
            Same seed and weights, same rows.
        block : int, default 64
            How many are drawn at once; it makes no difference to what they are.

        Yields
        ------
        ndarray of int32, shape (d,)
            A row as it was drawn, before `nasx.Space.canonicalize`.

        Raises
        ------
        nasx.errors.EvaluationError
            If practically none is allowed.
        """
        first = refused = 0
        while True:
            drawn, _ = self.draw(block, seed, first)
            first += block
            canonical = self.space.canonicalize(drawn)
            for row, network, fits in zip(drawn, canonical, self.space.satisfies(canonical), strict=True):
                # One at a time: a cost may take longer than all the rest, and most rows are not needed.
                if fits and (self._cost_violation is None or self._cost_violation(network[None])[0] <= 0):
                    refused = 0
                    yield row
                    continue
                refused += 1
                if refused >= _PATIENCE:
                    raise EvaluationError(
                        f"constraints or limits refuse {refused} architectures in a row that the controller "
                        "proposes; loosen them, or raise entropy_weight"
                    )

    def learn(self, rows: Genotypes, rewards: Floats) -> Lesson:
        """Make one step of Adam.

        Parameters
        ----------
        rows : ndarray of int32, shape (n, d)
            Rows as they were drawn, with the weights as they are.
        rewards : ndarray of float64, shape (n,)
            What their networks reached; more is better.

        Returns
        -------
        Lesson
            How sure the controller was.
        """
        settings = self.enas
        with torch.enable_grad():
            tensors = self._tensors(learned=True)
            log_prob, entropy, penalty = self._along(tensors, rows)
            gains = rewards + settings.entropy_weight * entropy.detach().double().numpy()
            decay = settings.baseline_decay
            self._sum = decay * self._sum + (1 - decay) * float(gains.mean())
            self._lessons += 1
            advantages = torch.from_numpy(gains - self.baseline).to(log_prob.dtype)
            loss = -(advantages * log_prob).mean() + settings.skip_weight * penalty
            loss.backward()  # type: ignore[no-untyped-call]  # untyped in older torch
        self._descend(tensors, settings.controller_lr, max_norm=0.0)
        return Lesson(float(entropy.detach().mean()), float(penalty.detach()))

    def _along(self, tensors: dict[str, Any], rows: Genotypes) -> tuple[Tensor, Tensor, Tensor]:
        """Give log-probabilities and entropies of rows, each ``(n,)``, and the penalty of Booleans."""
        log_prob, entropy, penalty = torch.zeros(3, len(rows))
        target = torch.tensor([1 - self.enas.skip_target, self.enas.skip_target]).log()
        for decided in self._decide(tensors, rows):
            log_prob = log_prob + decided.chosen().sum(dim=1)
            entropy = entropy + decided.entropies().sum(dim=1)
            flags = self._flags[decided.columns]
            if flags.any():
                log_probs = decided.log_probs[:, flags]
                divergence = (log_probs.exp() * (log_probs - target)).sum(dim=2)
                penalty = penalty + (divergence * decided.active[:, flags]).sum(dim=1)
        layers = max(int((~self._flags).sum()), 1)
        return log_prob, entropy, penalty.mean() / layers

    # -- between two runs ------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Give everything that it has learned, its optimiser's memory and its baseline."""
        tensors = {name: torch.from_numpy(weight.copy()) for name, weight in self.weights.items()}
        for name, moments in self._moments.items():
            for which, moment in enumerate(moments):
                tensors[f"{name}.{which}"] = torch.from_numpy(moment.copy())
        return {"tensors": tensors, "steps": self._steps, "sum": self._sum, "lessons": self._lessons}

    def load_state(self, state: dict[str, Any]) -> None:
        """Be as when `state` gave this.

        Parameters
        ----------
        state : dict
            From `state`.

        Raises
        ------
        ValueError
            If it is of another space.
        """
        for name, weight in self.weights.items():
            for key, array in (
                (name, weight),
                *((f"{name}.{which}", moment) for which, moment in enumerate(self._moments[name])),
            ):
                saved = state["tensors"][key].numpy()
                if saved.shape != array.shape:
                    raise ValueError(f"controller: {key} must have shape {array.shape}; got {saved.shape}")
                array[:] = saved
        self._steps, self._lessons = int(state["steps"]), int(state["lessons"])
        self._sum = float(state["sum"])
