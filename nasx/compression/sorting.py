"""Putting the parts of a transformer in another order without changing what it computes."""

from __future__ import annotations

import torch
from torch import Tensor

from nasx.compression.blueprint import Blueprint
from nasx.compression.parts import listed
from nasx.compression.plain import PlainTransformer
from nasx.compression.shapes import Order

__all__ = ["reorder"]


def reorder(network: PlainTransformer, order: Order) -> None:
    """Permute a network's parameters in place, each axis as the order says.

    Parameters
    ----------
    network : PlainTransformer
        Its weights may be views of another model's: that one changes too.
    order : Order
        What comes first.

    Raises
    ------
    TypeError
        If `order` is no `Order`.
    ValueError
        If it does not fit the network.
    """
    if not isinstance(order, Order):
        raise TypeError(f"order must be a nasx.compression.shapes.Order; got {type(order).__name__}")
    places = _places(network.plan, order)
    with torch.no_grad():
        for parameter, value in listed(network):
            for axis, kind in enumerate(parameter.axes):
                place = places.get((kind, None if kind == "hidden" else parameter.layer))
                if place is not None:
                    value.copy_(value.index_select(axis, place.to(value.device)))


def _places(plan: Blueprint, order: Order) -> dict[tuple[str | None, int | None], Tensor]:
    """Say for each kind of axis, and layer, which places to take in turn."""
    found: dict[tuple[str | None, int | None], Tensor] = {}
    if order.hidden is not None:
        _expect("order.hidden", len(order.hidden), plan.shape.hidden, "channels")
        found["hidden", None] = torch.tensor(order.hidden)
    for name, rows in (("heads", order.heads), ("mlp", order.mlp)):
        if rows is not None and len(rows) != len(plan.layers):
            raise ValueError(
                f"order.{name} must have one entry for each of the {len(plan.layers)} layers; got {len(rows)}"
            )
    for i, row in enumerate(order.mlp or ()):
        if row is not None:
            _expect(f"order.mlp[{i}]", len(row), plan.layers[i].mlp, "neurons")
            found["mlp", i] = torch.tensor(row, dtype=torch.int64)
    for i, row in enumerate(order.heads or ()):
        if row is None:
            continue
        layer = plan.layers[i]
        _expect(f"order.heads[{i}]", len(row), layer.heads, "heads")
        if not layer.heads:
            continue
        heads = torch.tensor(row).view(layer.groups, -1)
        groups = heads // heads.shape[1]
        if bool((groups != groups[:, :1]).any()):
            raise ValueError(
                f"order.heads[{i}] must keep each group's {heads.shape[1]} heads together, since they share "
                f"keys and values; got {str(row)[:80]}"
            )
        found["heads", i] = _spread(heads.flatten(), plan.head_dim)
        found["groups", i] = _spread(groups[:, 0], plan.head_dim)
    return found


def _spread(heads: Tensor, width: int) -> Tensor:
    return (heads[:, None] * width + torch.arange(width)).flatten()


def _expect(name: str, length: int, wanted: int, of: str) -> None:
    if length != wanted:
        raise ValueError(f"{name} must order all of the {wanted} {of}; got {length} numbers")
