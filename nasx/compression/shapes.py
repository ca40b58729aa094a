"""`Shape`: how much of a transformer is kept; `Order`: what of it comes first."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["LayerShape", "Order", "Shape"]


def _count(value: Any, name: str, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer; got {value!r}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}; got {number}")
    return number


@dataclass(frozen=True)
class LayerShape:
    """How much of one layer is kept.

    Parameters
    ----------
    heads : int
        Query heads; 0 leaves the attention out.
    groups : int
        Heads of keys and values, each of which serves ``heads / groups`` query heads; as many as `heads`
        where attention is not grouped, 0 with no heads.
    mlp : int
        Width of the MLP; 0 leaves it out.

    Raises
    ------
    TypeError
        If one is no integer.
    ValueError
        If one is negative, or the heads cannot be shared out evenly among the groups.

    Examples
    --------
    >>> LayerShape(heads=6, groups=2, mlp=1024)
    LayerShape(heads=6, groups=2, mlp=1024)
    """

    heads: int
    groups: int
    mlp: int

    def __post_init__(self) -> None:
        for name in ("heads", "groups", "mlp"):
            object.__setattr__(self, name, _count(getattr(self, name), name, 0))
        if (self.heads == 0) != (self.groups == 0):
            raise ValueError(
                f"heads and groups must both be 0, which leaves attention out, or neither; got {self.heads} "
                f"and {self.groups}"
            )
        if self.groups and self.heads % self.groups:
            raise ValueError(
                f"heads must be a multiple of groups; got {self.heads} heads and {self.groups} groups"
            )


@dataclass(frozen=True)
class Shape:
    """How much of a transformer is kept.

    Parameters
    ----------
    hidden : int
        Width of what goes from layer to layer.
    layers : sequence of LayerShape or None
        One for each layer of the model; None leaves the layer out. A layer with neither attention nor MLP
        is the same as None, and becomes None.

    Raises
    ------
    TypeError
        If something is of another type.
    ValueError
        If `hidden` is less than 1.

    Examples
    --------
    >>> shape = Shape(64, [LayerShape(4, 2, 128), LayerShape(0, 0, 96), None])
    >>> shape.uniform
    False
    >>> Shape.from_dict(shape.to_dict()) == shape
    True
    """

    hidden: int
    layers: tuple[LayerShape | None, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", _count(self.hidden, "hidden", 1))
        given: Any = self.layers
        if isinstance(given, str | bytes) or not isinstance(given, Sequence):
            raise TypeError(f"layers must be a sequence of LayerShape or None; got {given!r}")
        layers = []
        for i, layer in enumerate(given):
            if layer is not None and not isinstance(layer, LayerShape):
                raise TypeError(f"layers[{i}] must be a LayerShape or None; got {layer!r}")
            layers.append(layer if layer and (layer.heads or layer.mlp) else None)
        object.__setattr__(self, "layers", tuple(layers))

    @property
    def kept(self) -> tuple[int, ...]:
        """The numbers of the layers that are kept."""
        return tuple(i for i, layer in enumerate(self.layers) if layer is not None)

    @property
    def uniform(self) -> bool:
        """Whether all layers that are kept are alike, and have both attention and MLP."""
        kinds = {layer for layer in self.layers if layer is not None}
        return len(kinds) == 1 and all(layer.heads and layer.mlp for layer in kinds)

    def to_dict(self) -> dict[str, Any]:
        """Write it as what JSON can hold; `from_dict` reads it."""
        rows = [None if layer is None else [layer.heads, layer.groups, layer.mlp] for layer in self.layers]
        return {"hidden": self.hidden, "layers": rows}

    @classmethod
    def from_dict(cls, written: Mapping[str, Any]) -> Shape:
        """Read what `to_dict` wrote.

        Raises
        ------
        ValueError
            If it is something else.
        """
        try:
            rows = written["layers"]
            return cls(written["hidden"], tuple(None if row is None else LayerShape(*row) for row in rows))
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no shape, as Shape.to_dict gives it: {error}") from None


@dataclass(frozen=True)
class Order:
    """In what order a model's parts are laid, so that the important come first; the function stays the same.

    What is kept of a model is always the beginning: the first hidden channels, the first groups and of each
    group the first heads, the first neurons of the MLP.

    Parameters
    ----------
    hidden : sequence of int, or None
        The present numbers of the channels, the most important first; None leaves them.
    heads : sequence with a sequence of int, or None, for each layer; or None
        The present numbers of the query heads. Heads that share keys and values stay together: each run of
        ``heads / groups`` numbers must be one group of the model, whose keys and values come along.
    mlp : sequence with a sequence of int, or None, for each layer; or None
        The present numbers of the MLP's neurons.

    Raises
    ------
    ValueError
        If one is no permutation. Whether it fits a model, `Family.sorted` finds.

    Examples
    --------
    >>> order = Order(hidden=[2, 0, 1], mlp=[[1, 0], None])
    >>> order.mlp
    ((1, 0), None)
    """

    hidden: Sequence[int] | None = None
    heads: Sequence[Sequence[int] | None] | None = None
    mlp: Sequence[Sequence[int] | None] | None = None

    def __post_init__(self) -> None:
        if self.hidden is not None:
            object.__setattr__(self, "hidden", _permutation(self.hidden, "hidden"))
        for name in ("heads", "mlp"):
            each = getattr(self, name)
            if each is not None:
                rows = enumerate(each)
                made = tuple(None if r is None else _permutation(r, f"{name}[{i}]") for i, r in rows)
                object.__setattr__(self, name, made)


def _permutation(numbers: Sequence[int], name: str) -> tuple[int, ...]:
    row = tuple(_count(number, name, 0) for number in numbers)
    if sorted(row) != list(range(len(row))):
        raise ValueError(f"{name} must hold each number from 0 to {len(row) - 1} once; got {str(row)[:80]}")
    return row
