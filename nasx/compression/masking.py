"""Copies of a model in which parts are silenced: the slow, obvious twin of what is extracted."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nasx.compression.parts import kept, listed
from nasx.compression.shapes import Shape

if TYPE_CHECKING:
    from nasx.compression.families.base import Family

__all__ = ["masked_copy"]


class _KeptNorm(nn.Module):
    """A norm over the first channels alone; the others, which are zero, count in no mean."""

    def __init__(self, norm: nn.Module, channels: int, epsilon: float) -> None:
        super().__init__()
        self.norm, self.channels, self.epsilon = norm, channels, epsilon

    def forward(self, x: Tensor) -> Tensor:
        norm: Any = self.norm
        here = torch.zeros(x.shape[-1], dtype=x.dtype, device=x.device)
        here[: self.channels] = 1
        bias = getattr(norm, "bias", None)
        if bias is not None:
            x = (x - (x * here).sum(-1, keepdim=True) / self.channels) * here
        variance = (x.square() * here).sum(-1, keepdim=True) / self.channels
        x = x * torch.rsqrt(variance + self.epsilon) * norm.weight
        return x if bias is None else x + bias


class _Passing(nn.Module):
    """A layer that is left out."""

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return x


def masked_copy(family: Family, shape: Shape) -> nn.Module:
    """Copy a family's model, with zeros and means over less in place of all that a shape leaves out.

    Parameters
    ----------
    family : Family
        Holds the model.
    shape : Shape
        What is kept.

    Returns
    -------
    torch.nn.Module
        Of the model's class.
    """
    model = copy.deepcopy(family.model)
    twin = type(family)(model)
    with torch.no_grad():
        for parameter, value in listed(twin.whole):
            places = kept(parameter, twin.plan, shape)
            if places is None:
                value.zero_()
                continue
            for axis, place in enumerate(places):
                here = torch.zeros(value.shape[axis], dtype=value.dtype, device=value.device)
                here[place] = 1
                value.mul_(here.view(-1, *[1] * (value.ndim - axis - 1)))
    passing: dict[nn.Module, nn.Module] = {
        twin.layer_parts(i).layer: _Passing() for i, layer in enumerate(shape.layers) if layer is None
    }
    if shape.hidden < twin.shape.hidden:
        norms = [*twin.other_norms()]
        for i in range(len(shape.layers)):
            norms.extend(twin.layer_parts(i).norms)
        passing.update({norm: _KeptNorm(norm, shape.hidden, twin.plan.epsilon) for norm in norms})
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if child in passing and not isinstance(module, _KeptNorm):
                setattr(module, name, passing[child])
    return model
