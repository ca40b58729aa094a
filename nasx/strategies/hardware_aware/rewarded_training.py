"""The training of ProxylessNAS by rewards: paths are drawn, and those that do well become likelier."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasx.errors import EvaluationError
from nasx.nn.recalibration import batch_statistics
from nasx.population import repair
from nasx.space import Genotypes
from nasx.strategies.hardware_aware.proxyless_training import SampledPaths
from nasx.strategies.one_shot.rewards import reward_of

__all__ = ["RewardedTraining"]


class RewardedTraining(SampledPaths):
    """The form "reinforce"; parameters are those of `CostAwareTraining`."""

    _sum, _lessons = 0.0, 0

    def __init__(self, *args: Any, **where: Any) -> None:
        super().__init__(*args, **where)
        self._rewards: list[float] = []
        if self.expected is not None:
            # Those that cannot be told are refused before anything is trained.
            logits = self.supernet.logits.items()
            self.genotypes([{name: torch.zeros(len(rows), dtype=torch.int64) for name, rows in logits}])

    @property
    def baseline(self) -> float:
        """The moving average of rewards, as if it had begun at their mean; 0 before the first."""
        weight = 1 - self.settings.baseline_decay**self._lessons
        return self._sum / weight if weight else 0.0

    def architecture_step(self, batch: Any, held_out: Any) -> Tensor:
        """Draw and reward some paths, and make better ones likelier; returns their mean loss."""
        drawn = [self.draw() for _ in range(self.settings.samples)]
        rewards, losses = [], []
        with torch.no_grad(), batch_statistics(self.supernet):
            for one in drawn:
                with self.supernet.running(self.path_of(one)):
                    found = reward_of(self.task, self.supernet, held_out, self.settings.reward)
                rewards.append(found.value)
                losses.append(found.loss)
        reached = np.nan_to_num(torch.stack(rewards).double().cpu().numpy(), nan=0.0)  # the worst there is
        self.follow(drawn, reached * self.bonus(drawn))
        return torch.stack(losses).mean()

    def bonus(self, drawn: list[dict[str, Tensor]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Say what rewards are multiplied by: ``(target / cost)^r`` for each cost that has a target.

        Where the targets are limits, costs below them count as the limits.
        """
        factor = np.ones(len(drawn))
        if self.expected is None:
            return factor
        assert self.cost_limits is not None
        rows = self.genotypes(drawn)
        for name, target in self.expected.targets.items():
            values = np.asarray(self.cost_limits.tables[name](rows), np.float64)
            if not (values > 0).all():
                raise EvaluationError(
                    f"costs[{name!r}] must be more than 0 for rewards that are divided by it; got "
                    f"{values.min()}"
                )
            if self.expected.limited:
                values = np.maximum(values, target)
            factor *= (target / values) ** self.settings.reward_exponent
        return factor

    def follow(self, drawn: list[dict[str, Tensor]], rewards: Any) -> None:
        """Make a step of the policy gradient.

        Parameters
        ----------
        drawn : list of dict
            The operations of each path.
        rewards : ndarray of float64, shape (n,)
            What they reached; more is better. The baseline moves before it is taken off.
        """
        decay = self.settings.baseline_decay
        self._sum = decay * self._sum + (1 - decay) * float(rewards.mean())
        self._lessons += 1
        self._rewards.extend(rewards.tolist())
        logs = {name: torch.log_softmax(rows, -1) for name, rows in self.supernet.logits.items()}
        active = self._active(drawn)
        total = torch.zeros((), device=self.device)
        for place, (one, advantage) in enumerate(zip(drawn, rewards - self.baseline, strict=True)):
            # The sum over decisions, not the mean: a path is drawn by all of them.
            for name, taken in one.items():
                taken_logs = logs[name].gather(1, taken[:, None])[:, 0]
                total = total - float(advantage) * (taken_logs * active[name][place]).sum()
        for rows in self.logits:
            rows.grad = None
        (total / len(drawn)).backward(inputs=self.logits)  # type: ignore[no-untyped-call]
        self.architecture_optimizer.step()

    # -- paths as architectures ------------------------------------------------------------------------------

    def genotypes(self, drawn: list[dict[str, Tensor]]) -> Genotypes:
        """Give the architectures of paths.

        Parameters
        ----------
        drawn : list of dict
            The operations of each path.

        Returns
        -------
        ndarray of int32, shape (n, d)
            Canonical genotypes.

        Raises
        ------
        TypeError
            If paths of this supernet are no architectures, since these leave edges out.
        """
        return self.supernet.space.canonicalize(self._repaired(drawn))

    def _repaired(self, drawn: list[dict[str, Tensor]]) -> Genotypes:
        space, groups = self.supernet.space, list(self.supernet.logits)
        columns = {name: np.stack([one[name].cpu().numpy() for one in drawn]) for name in groups}
        if all(name in space for name in groups):
            groups = list(space.names)
        rows = np.hstack([columns[name] for name in groups]).astype(np.int32)
        sizes = [rows.shape[1] for name in groups for rows in [self.supernet.logits[name]] for _ in rows]
        if sizes != space.cardinalities.tolist():
            raise TypeError(
                f"paths of {type(self.supernet).__name__} are no architectures of its space, so their costs "
                'are not known: use form="gradient"'
            )
        return repair(rows, space.cardinalities, conditions=space.conditions)

    def _active(self, drawn: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Say which of the drawn operations are part of each path: group -> ``(n, edges)``, 1 or 0."""
        space = self.supernet.space
        everything = {name: torch.ones(len(drawn), len(rows)) for name, rows in self.supernet.logits.items()}
        if len(space.conditions):
            used = torch.from_numpy((self._repaired(drawn) >= 0).astype(np.float32))
            everything = {name: used[:, [space.names.index(name)]] for name in everything}
        return {name: part.to(self.device) for name, part in everything.items()}

    # -- what is kept ----------------------------------------------------------------------------------------

    def summary(self, number: int) -> dict[str, Any]:
        """Say what was reached: the mean reward of the epoch, and the baseline."""
        rewards, self._rewards = self._rewards, []
        return {"reward": float(np.mean(rewards)) if rewards else None, "baseline": self.baseline}

    def state(self) -> dict[str, Any]:
        """Give everything that the next epoch depends on, besides its number."""
        return super().state() | {"rewards": self._sum, "lessons": self._lessons}

    def load_state(self, state: dict[str, Any], epochs: int) -> None:
        """Be as after so many epochs, when `state` gave this."""
        super().load_state(state, epochs)
        self._sum, self._lessons = float(state["rewards"]), int(state["lessons"])
