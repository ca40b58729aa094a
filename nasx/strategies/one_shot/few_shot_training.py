"""The training of a supernet that is split into parts on the way."""

from __future__ import annotations

import functools
import itertools
import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from nasx import population
from nasx.nn.few_shot import FewShotSupernet
from nasx.nn.supernet import Supernet
from nasx.space import Genotypes
from nasx.strategies.base import CostViolation
from nasx.strategies.epochs import EpochTraining
from nasx.strategies.one_shot.matching import disagreement, similarities, two_groups
from nasx.strategies.one_shot.sampling import feasible, within
from nasx.strategies.one_shot.training import PathTraining
from nasx.strategies.supernet import Epoch
from nasx.tasks.batches import stream

if TYPE_CHECKING:
    from nasx.strategies.one_shot.few_shot import FewShot
    from nasx.tasks.base import SupernetTask

__all__ = ["FewShotTraining"]

# Random architectures among which those within the limits say which choices can be trained.
_LOOKED_AT = 65_536


class FewShotTraining(EpochTraining):
    """First the training of the whole, then those of its parts, one epoch of each in turn.

    Parameters
    ----------
    settings : FewShot
        How to train, and how to split.
    supernet : FewShotSupernet
        What to train, in place.
    task, seed, device, deadline, cost_violation
        As for `PathTraining`.
    """

    supernet: FewShotSupernet

    def __init__(
        self,
        settings: FewShot,
        supernet: FewShotSupernet,
        task: SupernetTask,
        *,
        seed: int,
        device: str | None,
        deadline: float | None,
        cost_violation: CostViolation | None = None,
    ) -> None:
        super().__init__(
            supernet, task, batch_size=settings.batch_size, seed=seed, device=device, deadline=deadline
        )
        self.settings, self.cost_violation = settings, cost_violation
        self.trainings = self._trainings()

    def _trainings(self) -> list[PathTraining]:
        """Make fresh trainings of the members that there are."""
        split = self.supernet.decision is not None
        found = []
        for number, member in enumerate(self.supernet.members):
            assert isinstance(member, Supernet)
            found.append(
                PathTraining(
                    self.settings,
                    member,
                    self.task,
                    # Parts see batches in other orders, and other than the whole has.
                    seed=stream(self.seed, number, 7) if split else self.seed,
                    device=str(self.device),
                    deadline=self.deadline,
                    cost_violation=self._others(number) if split else self.cost_violation,
                    epochs=self.settings.child_epochs if split else self.settings.epochs,
                )
            )
        return found

    def _others(self, number: int) -> CostViolation:
        """Say that what other members hold is over a limit."""

        def violation(genotypes: Genotypes) -> npt.NDArray[np.float64]:
            over: npt.NDArray[np.float64] = (self.supernet.holder(genotypes) != number).astype(np.float64)
            return over if self.cost_violation is None else over + self.cost_violation(genotypes)

        return violation

    def epoch(self, number: int) -> Epoch | None:
        """Train for an epoch: the whole, or each part; see `EpochTraining.epoch`."""
        first = number - self.settings.whole_epochs
        if first < 0:
            return self.trainings[0].epoch(number)
        began = time.monotonic()
        if first == 0:
            self.split()
        entries = []
        for training in self.trainings:
            entry = training.epoch(first)
            if entry is None:
                return None
            entries.append(entry)
        losses = [entry["loss"] for entry in entries]
        return {
            "epoch": number + 1,
            "loss": float(np.mean(losses)),
            "lr": entries[0]["lr"],
            "split": self.supernet.decision,
            "losses": losses,
            "seconds": time.monotonic() - began,
        }

    def split(self) -> None:
        """Choose by what to split, and split."""
        settings, space = self.settings, self.supernet.space
        found = {}
        if settings.split == "gradient" or settings.groups == 2:
            names = space.names if settings.split == "gradient" else (settings.split,)
            found = self._similarities(tuple(names))
        decision = settings.split
        if decision == "gradient":
            decision = max(found, key=lambda name: disagreement(found[name]))
        size = len(space.decisions[decision].choices)
        groups: Any = [[choice] for choice in range(size)]
        if settings.groups == 2 and size > 1:
            groups = two_groups(found[decision])
        self.supernet.split(decision, self._with_architectures(decision, groups))
        self.supernet.zero_grad(set_to_none=True)
        self.trainings = self._trainings()

    def _with_architectures(self, decision: str, groups: Any) -> Any:
        """Let groups that hold nothing within the limits join one that does: they could not be trained."""
        space = self.supernet.space
        if not space.constraints and self.cost_violation is None:
            return groups
        rows = space.canonicalize(
            population.sample(
                space.cardinalities, _LOOKED_AT, seed=stream(self.seed, 0, 10), conditions=space.conditions
            )
        )
        rows = rows[within(space, rows, self.cost_violation)]
        taken = set(rows[:, space.names.index(decision)].tolist())
        found = [list(group) for group in groups if taken & set(group)] or [[]]
        found[0] += [choice for group in groups if not taken & set(group) for choice in group]
        return found

    def _similarities(self, names: tuple[str, ...]) -> dict[str, npt.NDArray[np.float64]]:
        (whole,) = self.trainings
        torch.manual_seed(stream(self.seed, 0, 8))
        whole.batches.epoch = 0
        batches = list(itertools.islice(whole.batches, self.settings.matching_batches))
        rows = list(
            itertools.islice(
                feasible(self.supernet.space, stream(self.seed, 0, 9), self.cost_violation), len(batches)
            )
        )
        space = self.supernet.space
        self.supernet.train()
        return {
            name: similarities(
                whole.supernet,
                lambda batch: self.task.loss(whole.supernet, batch)[0],
                batches,
                np.array(rows, np.int32),
                space.names.index(name),
                may=functools.partial(within, space, cost_violation=self.cost_violation),
            )
            for name in names
        }

    def state(self) -> dict[str, Any]:
        """Give everything that the next epoch depends on, besides its number."""
        return {
            "split": json.dumps([self.supernet.decision, self.supernet.groups]),
            "trainings": [training.state() for training in self.trainings],
        }

    def prepare(self, state: dict[str, Any]) -> None:
        """Split as `state` says, before weights are loaded."""
        decision, groups = json.loads(state["split"])
        if decision is not None and self.supernet.decision is None:
            self.supernet.split(decision, groups)
            self.trainings = self._trainings()

    def load_state(self, state: dict[str, Any], epochs: int) -> None:
        """Be as after so many epochs, when `state` gave this."""
        for training, one in zip(self.trainings, state["trainings"], strict=True):
            training.load_state(one, epochs)
