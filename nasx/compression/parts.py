"""What the axes of a transformer's parameters run over, and parts of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nasx.compression.blueprint import Blueprint
from nasx.compression.plain import PlainTransformer
from nasx.compression.shapes import LayerShape, Shape

__all__ = ["Parameter", "cut", "empty", "kept", "listed", "named_weights"]

# By the name of the layer a parameter belongs to: its axes, the output's first, as in torch.nn.Linear.
_AXES: dict[str, tuple[str | None, ...]] = {
    "tokens": (None, "hidden"),
    "positions": (None, "hidden"),
    "types": (None, "hidden"),
    "scores": (None, "hidden"),
    "classes": (None, "hidden"),
    "pooler": ("hidden", "hidden"),
    "transform": ("hidden", "hidden"),
    "query": ("heads", "hidden"),
    "key": ("groups", "hidden"),
    "value": ("groups", "hidden"),
    "output": ("hidden", "heads"),
    "query_scale": (None,),
    "key_scale": (None,),
    "up": ("mlp", "hidden"),
    "gate": ("mlp", "hidden"),
    "down": ("hidden", "mlp"),
}

Index = slice | Tensor


class Parameter(NamedTuple):
    """A parameter of a `PlainTransformer`.

    Parameters
    ----------
    name : str
        As in ``named_parameters``.
    layer : int, or None
        The layer it belongs to.
    axes : tuple of {"hidden", "heads", "groups", "mlp"} or None
        What each of its axes runs over; None is never cut.
    """

    name: str
    layer: int | None
    axes: tuple[str | None, ...]

    @property
    def part(self) -> str | None:
        """Of a layer's: which of its modules it is in, "attention" or "mlp" or the norm of one of them."""
        return None if self.layer is None else self.name.split(".")[2]


def listed(network: PlainTransformer) -> Iterator[tuple[Parameter, Tensor]]:
    """Give all parameters of a network, with what their axes mean."""
    for name, value in network.named_parameters():
        path = name.split(".")
        if path[-1] == "scores_bias":
            axes: tuple[str | None, ...] = (None,)
        elif path[-2].endswith("norm"):
            axes = ("hidden",)
        else:
            axes = _AXES[path[-2]][: value.ndim]
        yield Parameter(name, int(path[1]) if path[0] == "layers" else None, axes), value


def kept(parameter: Parameter, full: Blueprint, shape: Shape) -> tuple[Index, ...] | None:
    """Say what a shape keeps of a parameter.

    Parameters
    ----------
    parameter : Parameter
        Of the whole network.
    full : Blueprint
        Of the whole network.
    shape : Shape
        What is kept.

    Returns
    -------
    tuple of slice or Tensor of int64, or None
        For each axis, places along it: a slice wherever that is possible, since it makes a view. None if
        nothing is kept.
    """
    layer = whole = None
    if parameter.layer is not None:
        layer, whole = shape.layers[parameter.layer], full.shape.layers[parameter.layer]
        if layer is None or not {"attention": layer.heads, "mlp": layer.mlp}.get(str(parameter.part), 1):
            return None
    return tuple(_places(axis, shape.hidden, layer, whole, full.head_dim) for axis in parameter.axes)


def _places(
    axis: str | None, hidden: int, layer: LayerShape | None, whole: LayerShape | None, width: int
) -> Index:
    if axis is None:
        return slice(None)
    if axis == "hidden":
        return slice(0, hidden)
    assert layer is not None
    assert whole is not None
    if axis == "mlp":
        return slice(0, layer.mlp)
    if axis == "groups":
        return slice(0, layer.groups * width)
    return _heads(layer, whole, width)


def _heads(layer: LayerShape, whole: LayerShape, width: int) -> Index:
    """Of each of the first groups, the first heads."""
    each, of = layer.heads // layer.groups, whole.heads // whole.groups
    if layer.groups == 1 or each == of:
        return slice(0, layer.heads * width)
    return torch.arange(whole.heads * width).view(-1, of, width)[: layer.groups, :each].flatten()


def cut(network: PlainTransformer, shape: Shape) -> dict[str, Tensor]:
    """Take a part of a network's parameters.

    Parameters
    ----------
    network : PlainTransformer
        The whole one.
    shape : Shape
        What is kept of it, with one entry for each of its layers.

    Returns
    -------
    dict from str to Tensor
        Under the names of the smaller network, views wherever that is possible; with the network's buffers.
    """
    numbers = {old: new for new, old in enumerate(shape.kept)}
    values = dict(network.named_buffers())
    for parameter, value in listed(network):
        places = kept(parameter, network.plan, shape)
        if places is None:
            continue
        name = parameter.name
        if parameter.layer is not None:
            name = name.replace(f"layers.{parameter.layer}.", f"layers.{numbers[parameter.layer]}.", 1)
        for axis, place in enumerate(places):
            if not isinstance(place, slice):
                value = value.index_select(axis, place.to(value.device))
            elif place.stop is not None:
                value = value.narrow(axis, 0, place.stop)
        values[name] = value
    return values


def named_weights(modules: Mapping[str, nn.Module], prefix: str = "") -> dict[str, Tensor]:
    """Give the weights and biases of linear layers, embeddings and norms, under the names of a plain network.

    Parameters
    ----------
    modules : mapping from str to Module
        By what each is called in `PlainTransformer`.
    prefix : str
        Before each name.

    Returns
    -------
    dict from str to Tensor
        As `torch.nn.Linear` has them: weights of GPT-2's ``Conv1D`` are the other way round.
    """
    values: dict[str, Tensor] = {}
    for name, module in modules.items():
        weight = module.get_parameter("weight")
        values[f"{prefix}{name}.weight"] = weight.t() if type(module).__name__ == "Conv1D" else weight
        if getattr(module, "bias", None) is not None:
            values[f"{prefix}{name}.bias"] = module.get_parameter("bias")
    return values


def empty(plan: Blueprint, values: dict[str, Tensor], *, trainable: Sequence[str]) -> PlainTransformer:
    """Make a network around tensors, without copies of them.

    Parameters
    ----------
    plan : Blueprint
        What to make.
    values : dict from str to Tensor
        All parameters and buffers, by name.
    trainable : sequence of str
        The parameters that learn.

    Returns
    -------
    PlainTransformer
        Its parameters share the tensors' memory.
    """
    network = PlainTransformer(plan, device="meta")  # no memory, and no random numbers
    learning = set(trainable)
    for owner, module in network.named_modules():
        for name, expected in [
            *module.named_parameters(owner, recurse=False),
            *module.named_buffers(owner, recurse=False),
        ]:
            if name not in values:
                raise ValueError(f"{name} is missing")
            value = values[name]
            if value.shape != expected.shape:
                raise ValueError(f"{name} must have shape {tuple(expected.shape)}; got {tuple(value.shape)}")
            if isinstance(expected, nn.Parameter):
                value = nn.Parameter(value.detach(), requires_grad=name in learning)
            setattr(module, name.rpartition(".")[2], value)
    return network
