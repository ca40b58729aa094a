"""The training of ENAS: shared weights by single paths, and the controller that proposes them, in turns."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from nasx.errors import EvaluationError
from nasx.nn.recalibration import batch_statistics
from nasx.nn.supernet import Supernet
from nasx.space import Genotypes
from nasx.strategies.base import CostViolation
from nasx.strategies.epochs import EpochTraining, mean_loss
from nasx.strategies.one_shot.controller import Controller, Lesson
from nasx.strategies.one_shot.rewards import reward_of
from nasx.strategies.reinforcement.policies import Floats
from nasx.strategies.supernet import Epoch
from nasx.tasks.batches import stream
from nasx.tasks.training import random_state

if TYPE_CHECKING:
    from nasx.checkpoint import Checkpoint
    from nasx.strategies.one_shot.enas import ENAS
    from nasx.tasks.base import SupernetTask

__all__ = ["ENASTraining"]

# Streams of random numbers; the seed is that of the search, and the first of the path is the epoch.
_TORCH, _PATHS, _SAMPLES, _CONTROLLER, _FINAL = 2, 6, 7, 8, 9


class ENASTraining(EpochTraining):
    """A supernet, a controller, and their two parts of the data.

    Parameters
    ----------
    settings : ENAS
        How to train.
    supernet : Supernet
        What to train, in place; it is moved to the device.
    task : SupernetTask
        Batches and loss.
    seed : int
        Seed of everything random; each epoch's follow from it and from the epoch's number.
    device : str, optional
        By default the task's.
    deadline : float, optional
        ``time.monotonic()`` from which on no further step is begun.
    cost_violation : callable, optional
        As for `ENAS.fit`.
    """

    def __init__(
        self,
        settings: ENAS,
        supernet: Supernet,
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
        self.settings = settings
        self.optimizer = torch.optim.SGD(
            self.weights,
            settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.momentum > 0,
        )
        self.controller = Controller(
            supernet.space, settings, seed=stream(seed, 0, _CONTROLLER), cost_violation=cost_violation
        )
        share = settings.architecture_data
        self.held_out: tuple[str, tuple[float, float] | None]
        if isinstance(share, str):
            self.batches, self.held_out = self.loader("train"), (share, None)
        else:
            self.batches, self.held_out = self.loader("train", (0.0, 1 - share)), ("train", (1 - share, 1.0))
        self.others = self.loader(*self.held_out)
        self.passes = 0  # over the held-out part

    # -- one epoch -------------------------------------------------------------------------------------------

    def epoch(self, number: int) -> Epoch | None:
        """Train the weights for an epoch, then the controller; see `EpochTraining.epoch`."""
        began = time.monotonic()
        torch.manual_seed(stream(self.seed, number, _TORCH))
        rate = self.settings.rate(number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses = self._train_weights(number)
        if losses is None:
            return None
        loss = mean_loss(losses, "loss", number)  # no controller learns from weights that are not finite
        found = self._train_controller(number)
        if found is None:
            return None
        seconds = time.monotonic() - began
        return {"epoch": number + 1, "loss": loss, "lr": rate, **found, "seconds": seconds}

    def _train_weights(self, number: int) -> list[Tensor] | None:
        """Make a pass over the training images; None if time was over before its end."""
        rows = self.controller.rows(stream(self.seed, number, _PATHS))
        losses = []
        self.supernet.train()
        self.batches.epoch = number
        for batch in self.batches:
            if self.is_late:
                return None
            losses.append(self.weight_step(batch, next(rows)))
        # A last step's gradients are of no use to anybody.
        self.optimizer.zero_grad(set_to_none=True)
        return losses

    def weight_step(self, batch: Any, row: Genotypes) -> Tensor:
        """Move the weights of a path down its loss on a batch; returns the loss before.

        Weights off the path have no gradient, rather than one of zero: momentum and decay leave them alone.
        """
        self.optimizer.zero_grad(set_to_none=True)
        with self._path(row):
            value = self.task.loss(self.supernet, batch)[0]
            value.backward()  # type: ignore[no-untyped-call]  # untyped in older torch
        if self.settings.grad_clip is not None:
            nn.utils.clip_grad_norm_(self.weights, self.settings.grad_clip)
        self.optimizer.step()
        return value.detach()

    def _path(self, row: Genotypes) -> Any:
        """Choose the path of a row as it was drawn."""
        return self.supernet.path(self.supernet.space.architecture(self._canonical(row)))

    def _canonical(self, row: Genotypes) -> Genotypes:
        canonical: Genotypes = self.supernet.space.canonicalize(row[None])[0]
        return canonical

    def _train_controller(self, number: int) -> Epoch | None:
        """Make the controller's steps on held-out batches; None if time was over before the last."""
        settings = self.settings
        rewards: list[Floats] = []
        lessons: list[Lesson] = []
        best: tuple[float, Genotypes] | None = None
        others = self._others()
        # The rows of a step follow from its number, and are drawn from the controller as it then is.
        with torch.no_grad(), batch_statistics(self.supernet):
            for step in range(settings.controller_steps):
                if self.is_late:
                    return None
                rows = self._drawn(settings.controller_samples, stream(self.seed, number, _SAMPLES, step))
                batch = next(others)
                found = torch.stack([self.reward(row, batch)[0] for row in rows])
                reached = np.nan_to_num(found.double().cpu().numpy(), nan=0.0)  # the worst there is
                at = int(reached.argmax())
                if best is None or reached[at] > best[0]:
                    best = float(reached[at]), rows[at]
                rewards.append(reached)
                lessons.append(self.controller.learn(rows, reached))
        assert best is not None  # there is at least one step
        return {
            "reward": float(np.mean(rewards)),
            "baseline": self.controller.baseline,
            "entropy": float(np.mean([lesson.entropy for lesson in lessons])),
            "skip_penalty": float(np.mean([lesson.penalty for lesson in lessons])),
            "genotype": self._canonical(best[1]).tolist(),
            "best_reward": best[0],
        }

    def _others(self) -> Iterator[Any]:
        """Give batches of the held-out part without end; a phase begins with a new pass over it."""
        while True:
            self.others.epoch = self.passes
            self.passes += 1
            empty = True
            for batch in self.others:
                empty = False
                yield batch
            if empty:
                raise EvaluationError("the controller has no images to learn from")

    def reward(self, row: Genotypes, batch: Any) -> tuple[Tensor, int]:
        """Say what a network reaches on a batch with the shared weights, as the supernet's modes are.

        Parameters
        ----------
        row : ndarray of int32, shape (d,)
            As it was drawn.
        batch : object
            One of the task's.

        Returns
        -------
        reward : Tensor, shape ()
            In 0..1, more is better.
        examples : int
            How many there are in the batch.

        Raises
        ------
        nasx.errors.EvaluationError
            If accuracy is to be the reward and the task's batches are not inputs with labels.
        """
        with self._path(row):
            found = reward_of(self.task, self.supernet, batch, self.settings.reward)
        return found.value, found.examples

    # -- what comes out --------------------------------------------------------------------------------------

    def choose(self, history: list[Epoch], checkpoint: Checkpoint | None) -> tuple[Genotypes, bool]:
        """Draw architectures and keep the one that reaches most on all held-out images.

        Parameters
        ----------
        history : list
            Its last entry gets what was found, under "final"; what is there already is taken.
        checkpoint : Checkpoint, optional
            Where to keep it.

        Returns
        -------
        genotype : ndarray of int32, shape (d,)
            The best.
        complete : bool
            Whether all were scored before time was over.
        """
        if "final" in history[-1]:
            return np.array(history[-1]["final"]["genotype"], np.int32), True
        began = time.monotonic()
        split, part = self.held_out
        batches = self.task.loaders(
            split,
            self.seed,
            training=False,
            device=str(self.device),
            batch_size=self.batch_size,
            part=part,
        )
        rows = self.supernet.space.canonicalize(
            self._drawn(self.settings.final_samples, stream(self.seed, 0, _FINAL))
        )
        _, first = np.unique(rows, axis=0, return_index=True)
        rows = rows[np.sort(first)]
        scores: list[float] = []
        with torch.no_grad(), batch_statistics(self.supernet):
            for row in rows:
                if scores and self.is_late:
                    return rows[int(np.argmax(scores))], False
                with random_state(self.device, stream(self.seed, 0, _FINAL, 1)):
                    batches.epoch = 0
                    scores.append(self._score(row, batches))
        best = int(np.argmax(scores))
        history[-1]["final"] = {
            "genotype": rows[best].tolist(),
            "reward": scores[best],
            "mean_reward": float(np.mean(scores)),
            "scored": len(scores),
        }
        history[-1]["seconds"] += time.monotonic() - began
        if checkpoint is not None:
            self.save(checkpoint, history)
        return rows[best], True

    def propose(self) -> Genotypes:
        """Draw an architecture that nobody has scored: its genotype ``(d,)``."""
        return self._canonical(self._drawn(1, stream(self.seed, 0, _FINAL))[0])

    def _drawn(self, n: int, seed: int) -> Genotypes:
        """Draw n rows from the controller as it is."""
        return np.stack(list(islice(self.controller.rows(seed, block=n), n)))

    def _score(self, row: Genotypes, batches: Any) -> float:
        """Give the mean reward over the examples of some batches."""
        total, count = 0.0, 0
        for batch in batches:
            first = batch[0] if isinstance(batch, tuple | list) else batch
            if isinstance(first, Tensor) and len(first) < 2:
                continue  # a single example has no statistics
            value, examples = self.reward(row, batch)
            total += float(value) * examples
            count += examples
        if not count:
            raise EvaluationError("there are no held-out images to choose an architecture by")
        score = total / count
        return score if math.isfinite(score) else 0.0

    # -- between two runs ------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Give everything that the next epoch depends on, besides its number."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "controller": self.controller.state(),
            "passes": self.passes,
        }

    def load_state(self, state: dict[str, Any], epochs: int) -> None:
        """Be as after so many epochs, when `state` gave this."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.controller.load_state(state["controller"])
        self.passes = int(state["passes"])
