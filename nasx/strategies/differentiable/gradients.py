"""Gradients of a loss in the architecture parameters, and how sharply the loss bends in them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from nasx.nn.recalibration import frozen_statistics

__all__ = ["dominant_eigenvalue", "second_order_gradient"]

Loss: TypeAlias = Callable[[Any], Tensor]
"""The supernet's loss on a batch."""

# Differences are taken over this length, as in DARTS.
_LENGTH = 0.01
_ITERATIONS = 20


def second_order_gradient(
    supernet: nn.Module,
    loss: Loss,
    training: Any,
    held_out: Any,
    *,
    weights: Sequence[nn.Parameter],
    logits: Sequence[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    objective: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Set the gradient of the held-out loss after one step of the weights, in the architecture parameters.

    With ``w' = w - lr (momentum * buffer + gradient + decay * w)`` it is the gradient at ``w'``, minus ``lr``
    times the mixed second derivative of the training loss at ``w``, applied to the gradient in ``w'``. That
    product is a central difference of gradients, so that first derivatives are all it takes. Weights and
    running statistics end as they were, after an error as well. The training loss is taken three times, with
    the same dropout: a difference of noise over so small a length would drown all else.

    Parameters
    ----------
    supernet : torch.nn.Module
        The network.
    loss : callable
        Its loss on a batch.
    training, held_out : batch
        What the weights' step is on, and what the architecture is judged on.
    weights, logits : sequence of Parameter
        The network's weights, and the architecture parameters, whose ``grad`` is set.
    optimizer : torch.optim.SGD
        Of the weights, with its momentum, weight decay, buffers and current learning rate.
    objective : callable, optional
        What the architecture is to minimise, as a function of the held-out loss and of its parameters; by
        default that loss itself. The weights' step is not changed by it.

    Returns
    -------
    Tensor
        The held-out loss after the step.

    References
    ----------
    H. Liu, K. Simonyan and Y. Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, section 2.3.
    """
    group = optimizer.param_groups[0]
    rate, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
    before = [weight.detach().clone() for weight in weights]
    draws = _Draws(logits[0].device)
    try:
        with frozen_statistics(supernet):
            gradients = torch.autograd.grad(loss(training), weights, allow_unused=True)
            with torch.no_grad():
                for weight, gradient in zip(weights, gradients, strict=True):
                    buffer = optimizer.state[weight].get("momentum_buffer")
                    step: Tensor = decay * weight
                    if gradient is not None:
                        step += gradient
                    if buffer is not None:
                        step += momentum * buffer
                    weight.sub_(rate * step)
            value = loss(held_out)
            minimised = value if objective is None else objective(value)
            found = torch.autograd.grad(minimised, [*logits, *weights], allow_unused=True)
            direct, ahead = found[: len(logits)], found[len(logits) :]
            norm = math.sqrt(sum(float(g.square().sum()) for g in ahead if g is not None))
            length = _LENGTH / max(norm, 1e-12)
            sides = []
            for sign in (1.0, -1.0):
                with torch.no_grad():
                    for weight, old, gradient in zip(weights, before, ahead, strict=True):
                        weight.copy_(old if gradient is None else old + sign * length * gradient)
                with draws.again():
                    sides.append(torch.autograd.grad(loss(training), logits, allow_unused=True))
    finally:
        _put_back(weights, before)
    with torch.no_grad():
        for logit, first, up, down in zip(logits, direct, *sides, strict=True):
            gradient = torch.zeros_like(logit) if first is None else first
            if up is not None and down is not None:
                gradient = gradient - rate * (up - down) / (2 * length)
            logit.grad = gradient
    return value.detach()


def dominant_eigenvalue(
    supernet: nn.Module, loss: Loss, batch: Any, logits: Sequence[nn.Parameter], *, generator: torch.Generator
) -> float:
    """Estimate the largest eigenvalue, by size, of the loss's Hessian in the architecture parameters.

    Power iteration; products with the Hessian are central differences of gradients.

    Parameters
    ----------
    supernet : torch.nn.Module
        The network; running statistics end as they were.
    loss : callable
        Its loss on a batch.
    batch : batch
        What the loss is taken on.
    logits : sequence of Parameter
        The architecture parameters; they end as they were.
    generator : torch.Generator
        Draws the first direction, on the CPU.

    Returns
    -------
    float
        The eigenvalue.

    References
    ----------
    A. Zela et al., "Understanding and Robustifying Differentiable Architecture Search", ICLR 2020.
    """
    before = [logit.detach().clone() for logit in logits]
    direction = [torch.randn(logit.shape, generator=generator).to(logit) for logit in logits]
    draws = _Draws(logits[0].device)
    value = 0.0
    try:
        with frozen_statistics(supernet):
            for _ in range(_ITERATIONS):
                norm = math.sqrt(sum(float(part.square().sum()) for part in direction))
                direction = [part / max(norm, 1e-30) for part in direction]
                sides = []
                for sign in (1.0, -1.0):
                    with torch.no_grad():
                        for logit, old, part in zip(logits, before, direction, strict=True):
                            logit.copy_(old + sign * _LENGTH * part)
                    with draws.again():
                        sides.append(torch.autograd.grad(loss(batch), logits, allow_unused=True))
                product = [
                    torch.zeros_like(part) if up is None or down is None else (up - down) / (2 * _LENGTH)
                    for part, up, down in zip(direction, *sides, strict=True)
                ]
                value = sum(float((p * d).sum()) for p, d in zip(product, direction, strict=True))
                direction = product
    finally:
        _put_back(logits, before)
    return value


def _put_back(parameters: Sequence[nn.Parameter], before: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for parameter, old in zip(parameters, before, strict=True):
            parameter.copy_(old)


class _Draws:
    """What torch's generators are about to give, so that they give it again."""

    def __init__(self, device: torch.device) -> None:
        self._devices = [device] if device.type == "cuda" else []
        self._state = torch.get_rng_state()
        self._states = [torch.cuda.get_rng_state(one) for one in self._devices]

    @contextlib.contextmanager
    def again(self) -> Iterator[None]:
        with torch.random.fork_rng(devices=self._devices):
            torch.set_rng_state(self._state)
            for state, device in zip(self._states, self._devices, strict=True):
                torch.cuda.set_rng_state(state, device)
            yield
