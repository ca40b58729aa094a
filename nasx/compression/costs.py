"""What a part of a transformer costs: sums over layers' attentions and MLPs, looked up by whole matrices."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from nasx._arguments import count
from nasx.compression.families import Family
from nasx.compression.shapes import LayerShape, Shape
from nasx.compression.space import CompressionSpace
from nasx.errors import unknown
from nasx.hardware import Cost
from nasx.space import Space

__all__ = ["LIMITS", "CacheSize", "Memory", "Parameters", "PartsCost", "Tables", "counted_costs"]

_Floats = npt.NDArray[np.float64]

LIMITS = ("params", "latency_ms", "memory_mb", "kv_mb")
"""What a budget can limit."""


@dataclasses.dataclass(frozen=True, eq=False)
class Tables:
    """Numbers that costs are sums of; for H hidden sizes, L layers and the options of a `CompressionSpace`.

    Parameters
    ----------
    whole : ndarray of float64, shape (H,)
        Cost with all layers whole.
    attention : ndarray of float64, shape (H, L, most options)
        What each layer's attention adds to that.
    mlp : ndarray of float64, shape (H, L, most options)
        What each layer's MLP adds to that.
    gone : ndarray of float64, shape (H, L)
        What a layer adds besides where both are left out: norms that one of them would have kept.
    """

    whole: _Floats
    attention: _Floats
    mlp: _Floats
    gone: _Floats

    def row(self, hidden: int, layer: int, space: CompressionSpace) -> _Floats:
        """Give what a layer adds for each pair of options.

        Parameters
        ----------
        hidden, layer : int
            Numbers of the hidden size and the layer.
        space : CompressionSpace
            Whose options.

        Returns
        -------
        ndarray of float64, shape (attention options, MLP options)
            To be added to ``whole``.
        """
        attention, mlp = (len(options) for options in space.options[layer])
        sums = self.attention[hidden, layer, :attention, None] + self.mlp[hidden, layer, None, :mlp]
        sums[0, 0] += self.gone[hidden, layer]
        return np.asarray(sums)


class PartsCost(Cost):
    """A cost that is a sum over attentions and MLPs, given the hidden size.

    Parameters
    ----------
    space : CompressionSpace
        Whose architectures it is for.
    tables : Tables
        The numbers.
    """

    needs_spec: ClassVar[bool] = False
    vectorized = True

    _space: CompressionSpace

    def __init__(self, space: CompressionSpace, tables: Tables) -> None:
        self._space, self.tables = space, tables

    @property
    def settings(self) -> dict[str, Any]:
        """A fingerprint of the numbers."""
        content = hashlib.sha256()
        for field in dataclasses.fields(self.tables):
            content.update(getattr(self.tables, field.name).astype("<f8").tobytes())
        return {"digest": content.hexdigest()[:32]}

    def bind(self, space: Space, spec: Any) -> Self:
        """Give the same cost for a space with the same options, for example one with another depth order.

        Parameters
        ----------
        space : CompressionSpace
            The space.
        spec : object
            Not used.

        Returns
        -------
        PartsCost
            A copy.

        Raises
        ------
        ValueError
            If the space has other options.
        """
        own = self._space
        if not isinstance(space, CompressionSpace) or (space.hiddens, space.options) != (
            own.hiddens,
            own.options,
        ):
            raise ValueError(f"{type(self).__name__} is for {own!r}; got {space!r}, which has other options")
        return super().bind(space, spec)

    def _compute(self, genotypes: npt.NDArray[np.int32]) -> _Floats:
        hidden, attention, mlp = self._space.parts(genotypes)
        layers = np.arange(attention.shape[1])[None]
        taken = hidden[:, None]
        sums = self.tables.attention[taken, layers, attention] + self.tables.mlp[taken, layers, mlp]
        gone = np.where((attention == 0) & (mlp == 0), self.tables.gone[hidden], 0.0)
        # Nothing costs less than nothing, but for rounding.
        total: _Floats = np.maximum(self.tables.whole[hidden] + (sums + gone).sum(axis=1), 0.0)
        return total

    def of(self, shape: Shape) -> float:
        """Give the cost of one shape.

        Parameters
        ----------
        shape : Shape
            One of the space's.

        Returns
        -------
        float
            Its cost.
        """
        return float(self._compute(self._space.genotype_of(shape)[None])[0])


class Parameters(PartsCost):
    """Number of parameters; tied embeddings once."""

    name = "params"
    unit = "parameters"


class Memory(PartsCost):
    """Memory that the weights take in the model's own dtype."""

    name = "memory_mb"
    unit = "MB of 10^6 bytes"


class CacheSize(PartsCost):
    """Memory that keys and values take while text is generated."""

    name = "kv_mb"
    unit = "MB of 10^6 bytes"


def counted_costs(
    family: Family, space: CompressionSpace, names: Sequence[str], *, context: int = 2048, batch: int = 1
) -> dict[str, PartsCost]:
    """Make the costs that need no measuring.

    Parameters
    ----------
    family : Family
        The model.
    space : CompressionSpace
        Its parts.
    names : sequence of str
        Of `LIMITS`; what is measured is passed over.
    context : int, default 2048
        Tokens whose keys and values are kept.
    batch : int, default 1
        How many texts are generated at once.

    Returns
    -------
    dict of str to PartsCost
        By name.

    Raises
    ------
    ValueError
        If a name is unknown, or the model keeps no keys and values.
    """
    count(context, "context")
    count(batch, "batch")
    functions: Mapping[str, tuple[type[PartsCost], Callable[[Shape], float]]] = {
        "params": (Parameters, lambda shape: float(family.parameters(shape))),
        "memory_mb": (Memory, lambda shape: family.weight_bytes(shape) / 1e6),
        "kv_mb": (CacheSize, lambda shape: family.kv_bytes(shape, context, batch) / 1e6),
    }
    costs: dict[str, PartsCost] = {}
    for name in names:
        if name not in LIMITS:
            raise ValueError("budget: " + unknown("limit", name, LIMITS))
        if name == "kv_mb" and not family.plan.causal:
            raise ValueError(
                "budget: kv_mb is for models that generate text; an encoder keeps no keys and values"
            )
        if name in functions:
            kind, function = functions[name]
            costs[name] = kind(space, tabulate(space, function))
    return costs


def tabulate(space: CompressionSpace, function: Callable[[Shape], float]) -> Tables:
    """Write a function of shapes that adds up as tables, by changing one part at a time.

    Parameters
    ----------
    space : CompressionSpace
        Whose options.
    function : callable
        From a shape to a number.

    Returns
    -------
    Tables
        Of it.
    """
    layers = [layer for layer in space.full.layers if layer is not None]
    sizes = [max(len(options[k]) for options in space.options) for k in range(2)]
    whole = np.zeros(len(space.hiddens))
    attention, mlp = (np.zeros((len(whole), len(layers), size)) for size in sizes)
    gone = np.zeros((len(whole), len(layers)))
    for h, hidden in enumerate(space.hiddens):
        whole[h] = function(Shape(hidden, tuple(layers)))
        alike: dict[LayerShape, int] = {}  # layers that are alike cost the same wherever they stand
        for i, layer in enumerate(layers):
            if layer in alike:
                for table in (attention, mlp, gone):
                    table[h, i] = table[h, alike[layer]]
                continue
            alike[layer] = i

            def changed(new: LayerShape | None, i: int = i, hidden: int = hidden, h: int = h) -> float:
                return function(Shape(hidden, (*layers[:i], new, *layers[i + 1 :]))) - float(whole[h])

            for a, (heads, groups) in enumerate(space.options[i].attention):
                attention[h, i, a] = changed(LayerShape(heads, groups, layer.mlp))
            for m, width in enumerate(space.options[i].mlp):
                mlp[h, i, m] = changed(LayerShape(layer.heads, layer.groups, width))
            if len(layers) > 1:
                gone[h, i] = changed(None) - attention[h, i, 0] - mlp[h, i, 0]
    return Tables(whole, attention, mlp, gone)
