"""What a smaller transformer learns from the whole one: its scores, its hidden states, the text itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasx.compression.calibration import Batch, logits_of, vectors_of
from nasx.compression.families import Family
from nasx.compression.importance import as_family
from nasx.compression.plain import PlainTransformer
from nasx.compression.scoring import next_tokens

__all__ = ["Distillation", "States", "layers_of", "weight_of"]


def layers_of(model: nn.Module | Family) -> list[nn.Module]:
    """Give a model's layers, whose outputs are hidden states.

    Parameters
    ----------
    model : torch.nn.Module or Family
        A plain one, or one that `family_of` knows.

    Returns
    -------
    list of torch.nn.Module
        In the order in which they run.
    """
    if isinstance(model, PlainTransformer):
        return list(model.layers)
    family = as_family(model)
    return [family.layer_parts(i).layer for i in range(len(family.shape.layers))]


class States:
    """Hidden states that layers gave in the last call, gathered by hooks.

    What models themselves give out as hidden states differs: some normalise the last ones, some do not.

    Parameters
    ----------
    layers : sequence of torch.nn.Module
        Of one model.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._layers = layers
        self.states: list[Tensor] = []

    @contextmanager
    def watching(self) -> Iterator[list[Tensor]]:
        """Gather within, from the beginning."""
        self.states = []

        def hook(_: nn.Module, __: Any, output: Any) -> None:
            self.states.append(output[0] if isinstance(output, tuple) else output)

        handles = [layer.register_forward_hook(hook) for layer in self._layers]
        try:
            yield self.states
        finally:
            for handle in handles:
                handle.remove()


class Targets(NamedTuple):
    """What the whole model gave for a batch.

    Parameters
    ----------
    output : object
        Its output.
    states : list of Tensor
        Its layers' outputs, if they are wanted.
    """

    output: Any
    states: list[Tensor]


class Distillation:
    """The loss of a smaller model beside the whole one.

    Parameters
    ----------
    family : Family
        Around the whole model.
    temperature : float
        Both models' scores are divided by it.
    label_weight : float
        Of the cross entropy of the next token, beside that of the whole model's scores; for decoders.
    hidden_weight : float
        Of the squared differences of hidden states.

    Raises
    ------
    ValueError
        If there is a `label_weight`, and the model does not predict the next token.
    """

    def __init__(
        self, family: Family, *, temperature: float, label_weight: float, hidden_weight: float
    ) -> None:
        if label_weight and not (family.plan.causal and family.plan.head == "language"):
            raise ValueError(
                "label_weight is for decoders that predict the next token, and this is a "
                f"{type(family.model).__name__}: leave label_weight out, and what the whole model gives is "
                "learned alone"
            )
        self.temperature, self.label_weight, self.hidden_weight = temperature, label_weight, hidden_weight

    @torch.no_grad()
    def targets(self, teacher: nn.Module, layers: Sequence[nn.Module], batch: Batch) -> Targets:
        """Run the whole model.

        Parameters
        ----------
        teacher : torch.nn.Module
            In evaluation mode.
        layers : sequence of torch.nn.Module
            Its layers; those whose states are wanted.
        batch : dict of str to Tensor
            Where the model is.

        Returns
        -------
        Targets
            Without gradients.
        """
        with States(layers if self.hidden_weight else []).watching() as states:
            output = teacher(**batch)
        return Targets(output, states)

    def __call__(
        self, run: Callable[..., Any], layers: Sequence[nn.Module], batch: Batch, targets: Targets
    ) -> Tensor:
        """Run the smaller model and compare.

        Parameters
        ----------
        run : callable
            The model.
        layers : sequence of torch.nn.Module
            Its layers, as many as `targets` has states.
        batch : dict of str to Tensor
            Where the model is.
        targets : Targets
            Of the same batch.

        Returns
        -------
        Tensor, shape ()
            A mean over tokens.
        """
        mask = batch.get("attention_mask")
        with States(layers if self.hidden_weight else []).watching() as states:
            output = run(**batch)
        logits, wanted = logits_of(output), logits_of(targets.output)
        if logits is not None and wanted is not None:
            loss = self._divergence(logits, wanted, mask)
            if self.label_weight:
                tokens = next_tokens(batch).flatten()
                loss = loss + self.label_weight * F.cross_entropy(logits.flatten(0, 1).float(), tokens)
        else:
            own, whole = output.last_hidden_state, targets.output.last_hidden_state
            loss = relative_error(own, whole, mask) + _similarity_error(output, targets.output, mask)
        if self.hidden_weight:
            errors = [
                relative_error(own, whole, mask) for own, whole in zip(states, targets.states, strict=True)
            ]
            loss = loss + self.hidden_weight * torch.stack(errors).mean()
        return loss

    def _divergence(self, logits: Tensor, wanted: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None and logits.ndim == 3:
            logits, wanted = logits[mask.bool()], wanted[mask.bool()]
        own = F.log_softmax(logits.float() / self.temperature, -1)
        whole = F.log_softmax(wanted.float() / self.temperature, -1)
        each = F.kl_div(own, whole, reduction="none", log_target=True).sum(-1)
        return each.mean() * self.temperature**2


def relative_error(own: Tensor, whole: Tensor, mask: Tensor | None) -> Tensor:
    """Compare hidden states with the first channels of the whole model's.

    Parameters
    ----------
    own : Tensor, shape (B, L, hidden)
        Of the smaller model: its channels are the first ones of the whole model.
    whole : Tensor, shape (B, L, at least hidden)
        Of the whole model.
    mask : Tensor, shape (B, L), or None
        1 for tokens.

    Returns
    -------
    Tensor, shape ()
        Mean squared difference over mean square.
    """
    whole = whole[..., : own.shape[-1]].float()
    own = own.float()
    if mask is not None:
        own, whole = own[mask.bool()], whole[mask.bool()]
    return (own - whole).square().mean() / whole.square().mean().clamp_min(1e-12)


def _similarity_error(own: Any, whole: Any, mask: Tensor | None) -> Tensor:
    """Compare the cosine similarities of a batch's sequences, whatever the numbers of channels are."""
    first, second = (F.normalize(vectors_of(one, mask).float(), dim=-1) for one in (own, whole))
    return (first @ first.T - second @ second.T).square().mean()


def weight_of(batch: Batch) -> int:
    """Count what a batch's mean is over.

    Parameters
    ----------
    batch : dict of str to Tensor
        Of `Sequences.batches`.

    Returns
    -------
    int
        Its tokens, without padding.
    """
    mask = batch.get("attention_mask")
    return batch["input_ids"].numel() if mask is None else int(mask.sum())
