"""Proxies that ask what each weight or channel does to the outputs or to the loss."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from nasx.errors import EvaluationError
from nasx.proxies.subject import Subject, Watch, first_tensor, hooked

__all__ = ["fisher", "grad_norm", "snip", "synflow"]

_NORMALISATIONS = ("batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm")


def synflow(subject: Subject) -> float:
    """Sum what flows through each weight of the network of absolute weights; its logarithm.

    Normalisations are left out, as published: by the statistics of a batch of one they would give zeros, and
    by running ones they would subtract means from what must only ever add up.
    """
    network = subject.network.eval().double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    ones = torch.ones_like(subject.inputs[:1], dtype=torch.float64)
    with Watch(dict.fromkeys(_NORMALISATIONS, _left_out)):
        flow = first_tensor(subject.run(ones)).sum()
    total = sum(float((weight * gradient).abs().sum()) for weight, gradient in subject.gradients(flow))
    if not math.isfinite(total):
        raise EvaluationError("the flow is too large for double precision, or not a number")
    if total <= 0:
        raise EvaluationError("nothing flows from the inputs through a weight to the outputs")
    return math.log(total)


def _left_out(call: Any, *args: Any, **kwargs: Any) -> Any:
    return args[0] if args else kwargs["input"]


def snip(subject: Subject) -> float:
    """Sum |weight x gradient of the loss|: how much the loss depends on each weight being there."""
    return sum(float((w * g).double().abs().sum()) for w, g in subject.gradients(subject.loss()))


def grad_norm(subject: Subject) -> float:
    """Sum the Euclidean norms of the layers' gradients of the loss."""
    return sum(float(gradient.double().norm()) for _, gradient in subject.gradients(subject.loss()))


def fisher(subject: Subject) -> float:
    """Sum over channels of half the mean square of what the loss of each input has by that channel.

    What an input has by a channel is the sum over its places of the channel's activation times its gradient;
    a layer that runs several times has the sum of them all.
    """
    outputs: list[tuple[nn.Module, Tensor]] = []

    def keep(module: nn.Module, _: Any, output: Tensor) -> Tensor:
        outputs.append((module, output))
        return output.clone()  # an activation that works in place must not change what is kept

    with hooked(subject.layers(), keep):
        loss = subject.loss()
    kept = [output for _, output in outputs]
    if not kept or not loss.requires_grad:
        raise EvaluationError("no convolution or linear layer was run as a module")
    effects: dict[nn.Module, Tensor] = {}
    gradients: tuple[Tensor | None, ...] = torch.autograd.grad(loss, kept, allow_unused=True)
    for (module, output), gradient in zip(outputs, gradients, strict=True):
        if gradient is None:  # a layer that leads nowhere
            continue
        effect = (output.detach() * gradient).double()
        channel = effect.ndim - 1 if isinstance(module, nn.Linear) else 1
        places = [axis for axis in range(1, effect.ndim) if axis != channel]
        effect = effect.sum(places) if places else effect
        effects[module] = effects[module] + effect if module in effects else effect
    return sum(float(effect.pow(2).mean(0).sum()) / 2 for effect in effects.values())
