"""The training of ProxylessNAS: weights on single paths, architecture parameters on pairs of operations."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from nasx.nn.mixed import Choice, Pair
from nasx.nn.supernet import EdgeChoices
from nasx.strategies.epochs import mean_loss
from nasx.strategies.hardware_aware.training import CostAwareTraining

__all__ = ["Pairs", "ProxylessTraining", "SampledPaths"]


class SampledPaths(CostAwareTraining):
    """A supernet whose weights learn on paths drawn by the architecture parameters.

    Subclasses define `architecture_step`. Parameters are those of `CostAwareTraining`.

    Raises
    ------
    ValueError
        If a decision has other weights than its choices, so that no choice can be drawn by them.
    """

    def __init__(self, *args: Any, **where: Any) -> None:
        super().__init__(*args, **where)
        space = self.supernet.space
        for name, columns in self.supernet.columns.items():
            if name in space and columns != tuple(map(str, space[name].choices)):
                raise ValueError(
                    f"decision {name!r} chooses several inputs, which no single path is drawn by; use DARTS, "
                    "FBNet or SPOS, or an InputChoice for each of them"
                )
        for group in self.weight_optimizer.param_groups:
            group["nesterov"] = self.settings.momentum > 0

    def learn(self, number: int) -> tuple[list[Tensor], dict[str, Any]] | None:
        """Move the weights on a path for every batch, and the architecture parameters in turns with them."""
        losses: list[Tensor] = []
        held_out_losses: list[Tensor] = []
        learns, others = self.learns(number), self._others()
        self.batches.epoch = number
        for place, batch in enumerate(self.batches, 1):
            if self.is_late:
                return None
            losses.append(self.drawn_weight_step(self.path_of(self.draw()), batch))
            if learns and place % self.settings.architecture_every == 0:
                held_out_losses.append(self.architecture_step(batch, next(others)))
        mean = mean_loss(held_out_losses, "architecture loss", number) if held_out_losses else None
        return losses, {"architecture_loss": mean, **self.summary(number)}

    def summary(self, number: int) -> dict[str, Any]:
        """Say what else the epoch's entry has."""
        return {}

    def _schedule(self, number: int) -> float:
        """Set the learning rate: one cosine for the warm-up, another for the rest; returns it."""
        settings = self.settings
        warm = settings.warmup_epochs
        if number < warm:
            return self._cosine(settings.warmup_lr, number, warm)
        return self._cosine(settings.lr, number - warm, settings.epochs - warm)

    @torch.no_grad()
    def draw(self) -> dict[str, Tensor]:
        """Draw an operation for each edge by its probability: group -> ``(edges,)``."""
        return {
            name: torch.multinomial(rows, 1)[:, 0] for name, rows in self.supernet.probabilities().items()
        }

    def path_of(self, drawn: dict[str, Tensor]) -> dict[str, EdgeChoices]:
        """Say what runs where these operations were drawn."""
        return {name: EdgeChoices(taken.tolist()) for name, taken in drawn.items()}


class Pairs(NamedTuple):
    """Two operations of each edge of a group; where there is one only, that one twice.

    Parameters
    ----------
    indices : Tensor of int64, shape (edges, 2)
        The one that is computed, and the other.
    shares : Tensor, shape (edges, 2)
        The softmax of their two logits.
    """

    indices: Tensor
    shares: Tensor


class ProxylessTraining(SampledPaths):
    """The form "gradient"; parameters are those of `CostAwareTraining`."""

    @torch.no_grad()
    def draw_pairs(self) -> dict[str, Pairs]:
        """Draw two operations for each edge by their probabilities, and which of both is computed."""
        found = {}
        for name, rows in self.supernet.logits.items():
            if rows.shape[1] == 1:
                found[name] = Pairs(rows.new_zeros(len(rows), 2).long(), rows.new_full((len(rows), 2), 0.5))
                continue
            indices = torch.multinomial(torch.softmax(rows, -1), 2)
            shares = torch.softmax(rows.gather(1, indices), -1)
            first = torch.multinomial(shares, 1)
            order = torch.cat([first, 1 - first], 1)
            found[name] = Pairs(indices.gather(1, order), shares.gather(1, order))
        return found

    def architecture_step(self, batch: Any, held_out: Any) -> Tensor:
        """Move the architecture parameters of drawn pairs; returns the loss of what was computed."""
        pairs = self.draw_pairs()
        open_closed = {
            name: torch.tensor([1.0, 0.0]).to(pair.shares).repeat(len(pair.shares), 1).requires_grad_()
            for name, pair in pairs.items()
        }
        value = self.loss_of(self._running(pairs, open_closed), held_out)
        self.set_gradients(pairs, open_closed, value)
        with torch.no_grad():
            before = self._totals(pairs)
            self.architecture_optimizer.step()
            # What both have together stays as it was, and so do the probabilities of all others.
            for name, after in self._totals(pairs).items():
                rows, indices = self.supernet.logits[name], pairs[name].indices
                if rows.shape[1] > 1:
                    rows.scatter_add_(1, indices, (before[name] - after)[:, None].expand(-1, 2))
        return value.detach()

    def set_gradients(self, pairs: dict[str, Pairs], gates: dict[str, Tensor], value: Tensor) -> None:
        """Set the logits' gradients from what gates and probabilities change.

        With ``d`` what changes by a gate, and by a probability through the expected cost, an operation of the
        pair has the gradient ``s (d - sum s d)``, for its share ``s`` of both; the others have zero.

        Parameters
        ----------
        pairs : dict of str to Pairs
            What was drawn.
        gates : dict of str to Tensor, shape (edges, 2)
            The gates that `value` depends on.
        value : Tensor, shape ()
            The loss of what was computed.
        """
        probabilities = {
            name: rows.detach().requires_grad_() for name, rows in self.supernet.probabilities().items()
        }
        whole = value
        if self.expected is not None:
            whole = self.expected.loss(value, self.expected(probabilities))
        leaves = [*gates.values(), *probabilities.values()]
        found = torch.autograd.grad(whole, leaves, allow_unused=True)
        changes = [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, found, strict=True)]
        by_gate, by_probability = changes[: len(gates)], changes[len(gates) :]
        for (name, pair), gate, cost in zip(pairs.items(), by_gate, by_probability, strict=True):
            rows, shares = self.supernet.logits[name], pair.shares
            rows.grad = torch.zeros_like(rows)
            if rows.shape[1] == 1:
                continue
            change = gate + cost.gather(1, pair.indices)
            within = shares * (change - (shares * change).sum(1, keepdim=True))
            rows.grad.scatter_(1, pair.indices, within)

    def _running(self, pairs: dict[str, Pairs], gates: dict[str, Tensor]) -> dict[str, EdgeChoices]:
        found = {}
        for name, pair in pairs.items():
            taken: list[Choice | None] = [
                0 if one == other else Pair(one, other, gate)
                for (one, other), gate in zip(pair.indices.tolist(), gates[name].unbind(), strict=True)
            ]
            found[name] = EdgeChoices(taken)
        return found

    def _totals(self, pairs: dict[str, Pairs]) -> dict[str, Tensor]:
        """Logarithms of what both of each pair have together, before it is divided by the sum over all."""
        logits = self.supernet.logits
        return {name: logits[name].gather(1, pair.indices).logsumexp(1) for name, pair in pairs.items()}
