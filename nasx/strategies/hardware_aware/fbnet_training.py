"""The training of FBNet: mixtures drawn from a Gumbel softmax, and their cost in the loss."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nasx.nn.supernet import EdgeChoices
from nasx.strategies.epochs import mean_loss
from nasx.strategies.hardware_aware.training import CostAwareTraining

__all__ = ["FBNetTraining"]


class FBNetTraining(CostAwareTraining):
    """A supernet whose mixtures are drawn; parameters are those of `CostAwareTraining`."""

    _temperature = 1.0

    @property
    def temperature(self) -> float:
        """Of the Gumbel softmax."""
        return self._temperature

    def learn(self, number: int) -> tuple[list[Tensor], dict[str, Any]] | None:
        """Make a pass over the weights' images, then one over the architecture's."""
        losses, held_out_losses = [], []
        self.batches.epoch = number
        for batch in self.batches:
            if self.is_late:
                return None
            with torch.no_grad():
                drawn = self.draw()
            losses.append(self.drawn_weight_step(self.mixture(drawn), batch))
        mean_loss(losses, "loss", number)  # no architecture learns from weights that are not finite
        learns = self.learns(number)
        if learns:
            self.held_out.epoch = number
            for batch in self.held_out:
                if self.is_late:
                    return None
                held_out_losses.append(self.architecture_step(None, batch))
        mean = mean_loss(held_out_losses, "architecture loss", number) if learns else None
        return losses, {"architecture_loss": mean}

    def _schedule(self, number: int) -> float:
        """Set temperature and learning rate, both constant within an epoch; returns the rate."""
        settings = self.settings
        self._temperature = settings.temperature * math.exp(-settings.annealing * number)
        return self._cosine(settings.lr, number, settings.epochs)

    def draw(self) -> dict[str, Tensor]:
        """Draw the weights of a mixture: group -> ``(edges, operations)``, rows that sum to one."""
        return {
            name: F.gumbel_softmax(rows, tau=self._temperature, dim=-1)
            for name, rows in self.supernet.logits.items()
        }

    def mixture(self, drawn: dict[str, Tensor]) -> dict[str, EdgeChoices]:
        """Say what runs where these weights were drawn."""
        edges = self.supernet.edge_probabilities()
        return {name: EdgeChoices(rows.unbind(), edges.get(name)) for name, rows in drawn.items()}

    def architecture_step(self, batch: Any, held_out: Any) -> Tensor:
        """Move the architecture parameters down the loss of one mixture and its cost; returns the loss."""
        drawn = self.draw()
        value = self.loss_of(self.mixture(drawn), held_out)
        whole = value
        if self.expected is not None:
            # The same draw: what is paid for is what has been computed. But whether the limits hold is seen
            # without it: while the temperature is high, every draw costs about the mean over all.
            edges, mean = self.supernet.edge_probabilities(), None
            if self.expected.limited:
                with torch.no_grad():
                    mean = self.expected(self.supernet.probabilities(), edges)
            whole = self.expected.loss(value, self.expected(drawn, edges), judged=mean)
        self._backward(whole, self.logits, self.architecture_scaler)
        self.architecture_optimizer.step()
        return value.detach()

    # -- between two runs ------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Give everything that the next epoch depends on, besides its number."""
        return super().state() | {"temperature": self._temperature}

    def load_state(self, state: dict[str, Any], epochs: int) -> None:
        """Be as after so many epochs, when `state` gave this."""
        super().load_state(state, epochs)
        self._temperature = float(state["temperature"])
