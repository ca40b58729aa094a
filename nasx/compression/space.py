"""`CompressionSpace`: the parts of a transformer that a smaller one can be made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasx._arguments import count
from nasx.compression.shapes import LayerShape, Shape
from nasx.decisions import Boolean, Decision, Ordinal
from nasx.errors import unknown
from nasx.space import Genotypes, Space

__all__ = ["DIMENSIONS", "CompressionSpace", "Options", "Parts"]

DIMENSIONS = ("hidden", "heads", "mlp", "skip", "layers")
"""What can be cut: channels, query heads and their groups, neurons, attentions or MLPs, whole layers."""

Indices = npt.NDArray[np.int64]


class Options(NamedTuple):
    """What a layer's attention and MLP can be, the larger the later.

    Parameters
    ----------
    attention : tuple of (int, int)
        Query heads, and groups of keys and values; ``(0, 0)``, which leaves it out, is always there.
    mlp : tuple of int
        Widths; 0, which leaves it out, is always there.
    """

    attention: tuple[tuple[int, int], ...]
    mlp: tuple[int, ...]


class Parts(NamedTuple):
    """What architectures take, as numbers of options.

    Parameters
    ----------
    hidden : ndarray of int64, shape (n,)
        Number of the hidden size in `CompressionSpace.hiddens`.
    attention, mlp : ndarray of int64, shape (n, layers)
        Numbers in `Options`; of a layer that is left out both are 0.
    """

    hidden: Indices
    attention: Indices
    mlp: Indices


class CompressionSpace(Space):
    """Sub-networks of one transformer: how many channels, heads, groups and neurons of which layers are kept.

    Which ones these are is no decision: the most important come first, by `nasx.compression.rank`. With
    ``uniform=False`` each layer has decisions of its own: ``"layer3.groups"``, of keys and values, 0 where
    attention is left out; ``"layer3.heads"`` in each group, where there is more than one; ``"layer3.mlp"``, 0
    where the MLP is left out. A layer with neither is left out. Where no heads share keys and values, heads
    and groups are one decision, ``"layer3.heads"``. Where whole layers are left out but not their parts,
    ``"layer3.kept"`` says so. With ``uniform=True`` all layers that are kept are alike, ``"groups"``,
    ``"heads"`` and ``"mlp"``, and ``"depth"`` says how many. ``"hidden"`` is one decision in both.

    Parameters
    ----------
    full : Shape
        The model's own shape, as `nasx.compression.families.Family.shape` gives it.
    uniform : bool, default False
        Whether all kept layers are alike, so that the model's own class can hold the result.
    dimensions : sequence of str, default all
        What is cut: "hidden", "heads" (and groups), "mlp", "skip" (attention or MLP of a layer; not with
        `uniform`), "layers" (whole ones).
    divisor : int, optional
        Hidden sizes and MLP widths are multiples of it, or the whole; by default of an eighth of the whole,
        and with `uniform` hidden sizes of what the model has for each head.
    least : float, default 0.25
        What remains of a dimension at least, as a share of the whole; what is skipped is gone altogether.
    depth_order : sequence of int, optional
        With `uniform`: the layers, the most important first; by default the first ones stay.
    fits : callable, optional
        Says of a hidden size and a `LayerShape` whether they go together in a network; others are left out.
        Whoever rebuilds the space from its settings gives it again.

    Attributes
    ----------
    hiddens : tuple of int
        Hidden sizes to choose from.
    options : tuple of Options
        For each layer.

    Raises
    ------
    ValueError
        If an argument is out of range, or nothing is left to decide.

    Examples
    --------
    >>> full = Shape(64, [LayerShape(heads=4, groups=2, mlp=128)] * 2)
    >>> space = CompressionSpace(full, divisor=32)
    >>> list(space)[:4]
    ['hidden', 'layer0.groups', 'layer0.heads', 'layer0.mlp']
    >>> space["layer0.mlp"].choices
    (0, 32, 64, 96, 128)
    >>> space.shape_of(space.genotype_of(full)) == full
    True
    >>> CompressionSpace(full, divisor=32, uniform=True).size
    64
    """

    def __init__(
        self,
        full: Shape,
        *,
        uniform: bool = False,
        dimensions: Sequence[str] = DIMENSIONS,
        divisor: int | None = None,
        least: float = 0.25,
        depth_order: Sequence[int] | None = None,
        fits: Callable[[int, LayerShape], bool] | None = None,
    ) -> None:
        if isinstance(dimensions, str):
            raise ValueError(
                f"dimensions must be a sequence of names; got {dimensions!r}: write [{dimensions!r}]"
            )
        for name in dimensions:
            if name not in DIMENSIONS:
                raise ValueError("dimensions: " + unknown("dimension", name, DIMENSIONS))
        if not 0 < least <= 1:
            raise ValueError(f"least must be a share, more than 0 and at most 1; got {least!r}")
        if divisor is not None:
            count(divisor, "divisor")
        if not full.kept or None in full.layers:
            raise ValueError("full must be the shape of a whole model, with all of its layers")
        self.full, self.uniform, self.divisor, self.least = full, uniform, divisor, float(least)
        self.dimensions = tuple(name for name in DIMENSIONS if name in dimensions)
        self.depth_order = _order(depth_order, len(full.layers))
        self.joint = not uniform and "layers" in self.dimensions and "skip" not in self.dimensions
        layers = [layer for layer in full.layers if layer is not None]
        if uniform and len(set(layers)) > 1:
            raise ValueError("uniform=True needs a model whose layers are all alike; give uniform=False")
        self.hiddens = self._widths(full.hidden, "hidden")
        decisions: dict[str, Decision] = {}
        _add(decisions, "hidden", self.hiddens)
        self._choices: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = []
        options = []
        for i, layer in enumerate(layers):
            groups, each, widths = self._layer(layer)
            self._choices.append((groups, each, widths))
            pairs = {(g * e, g) for g in groups if g for e in each}
            options.append(Options(((0, 0), *sorted(pairs)), tuple(sorted({0, *widths}))))
            if uniform and i:
                continue
            prefix = "" if uniform else f"layer{i}."
            kept = {prefix + "kept": True} if self.joint else {}
            if self.joint:
                decisions[prefix + "kept"] = Boolean()
            grouped = layer.heads > layer.groups
            _add(decisions, prefix + ("groups" if grouped else "heads"), groups, kept)
            if grouped:
                some = {prefix + "groups": [g for g in groups if g]} if 0 in groups else {}
                _add(decisions, prefix + "heads", each, kept | some)
            _add(decisions, prefix + "mlp", widths, kept)
        if uniform and "layers" in self.dimensions:
            fewest = max(1, math.ceil(least * len(layers)))
            _add(decisions, "depth", tuple(range(fewest, len(layers) + 1)))
        if not decisions:
            raise ValueError(
                "nothing is left to decide: give more dimensions, a smaller divisor or less least"
            )
        self.options = tuple(options)
        constraints: list[Callable[[Genotypes], npt.NDArray[np.bool_]]] = []
        # Were all layers left out, nothing would be computed.
        if self.joint or (not uniform and all(0 in g and 0 in widths for g, _, widths in self._choices)):
            constraints.append(self._keeps_a_layer)
        self._fitting = None if fits is None else self._find_fitting(fits)
        if self._fitting is not None and not self._fitting.all():
            constraints.append(self._fits)
        super().__init__(decisions, constraints=constraints)

    def _find_fitting(self, fits: Callable[[int, LayerShape], bool]) -> npt.NDArray[np.bool_]:
        """Say for each hidden size and attention of the first layer whether they go together."""
        whole, options = self.full.layers[0], self.options[0]
        assert whole is not None
        shapes = [LayerShape(heads, groups, whole.mlp) for heads, groups in options.attention]
        return np.array([[not s.heads or fits(hidden, s) for s in shapes] for hidden in self.hiddens])

    def _fits(self, genotypes: Genotypes) -> npt.NDArray[np.bool_]:
        assert self._fitting is not None
        parts = self.parts(genotypes)
        together = self._fitting[parts.hidden[:, None], parts.attention]
        return np.asarray(np.logical_and.reduce(together, axis=1))

    def _widths(self, whole: int, dimension: str) -> tuple[int, ...]:
        if dimension not in self.dimensions or not whole:
            return (whole,)
        step = self.divisor or max(1, whole // 8)
        first = self.full.layers[0]
        if dimension == "hidden" and self.divisor is None and self.uniform and first and first.heads:
            step = max(1, whole // first.heads)
        fewest = max(1, math.ceil(self.least * whole))
        return tuple(sorted({w for w in range(step, whole, step) if w >= fewest} | {whole}))

    def _layer(self, layer: LayerShape) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Choices of groups, of heads in each, and of widths."""
        groups: tuple[int, ...] = (layer.groups,)
        each: tuple[int, ...] = (layer.heads // layer.groups if layer.groups else 0,)
        if "heads" in self.dimensions and layer.heads:
            groups = tuple(range(max(1, math.ceil(self.least * layer.groups)), layer.groups + 1))
            each = tuple(range(max(1, math.ceil(self.least * each[0])), each[0] + 1))
        widths = self._widths(layer.mlp, "mlp")
        if not self.uniform and "skip" in self.dimensions:
            groups = (0, *groups) if groups[0] else groups
            widths = (0, *widths) if widths[0] else widths
        return groups, each, widths

    # -- genotypes and shapes --------------------------------------------------------------------------------

    def _column(self, rows: Genotypes, name: str, choices: Sequence[int]) -> Indices:
        """Values of a decision, or the only one there is; 0 where it is inactive."""
        if name not in self.decisions:
            return np.full(len(rows), choices[-1], np.int64)
        taken = rows[:, self._position[name]]
        return np.where(taken < 0, 0, np.array(self.decisions[name].choices, np.int64)[taken])

    def parts(self, genotypes: Genotypes) -> Parts:
        """Say which options architectures take.

        Parameters
        ----------
        genotypes : ndarray of int32, shape (n, d)
            Checked genotypes.

        Returns
        -------
        Parts
            By numbers.
        """
        layers = len(self.full.layers)
        hidden = np.searchsorted(self.hiddens, self._column(genotypes, "hidden", self.hiddens))
        attention, mlp = (np.empty((len(genotypes), layers), np.int64) for _ in range(2))
        for i, ((groups, each, widths), options) in enumerate(zip(self._choices, self.options, strict=True)):
            prefix = "" if self.uniform else f"layer{i}."
            grouped = self._grouped(i)
            g = self._column(genotypes, prefix + ("groups" if grouped else "heads"), groups)
            e = self._column(genotypes, prefix + "heads", each) if grouped else np.ones_like(g)
            keys = np.array([heads * 1_000_003 + number for heads, number in options.attention])
            attention[:, i] = np.searchsorted(keys, np.where(g > 0, g * e * 1_000_003 + g, 0))
            mlp[:, i] = np.searchsorted(options.mlp, self._column(genotypes, prefix + "mlp", widths))
            if self.joint:
                gone = self._column(genotypes, prefix + "kept", (1,)) == 0
                attention[gone, i] = mlp[gone, i] = 0
        if self.uniform:
            depth = self._column(genotypes, "depth", (layers,))
            dropped = np.argsort(self.depth_order)[None] >= depth[:, None]
            attention[dropped] = mlp[dropped] = 0
        return Parts(hidden.astype(np.int64), attention, mlp)

    def choices(self, i: int) -> tuple[list[int], list[int]]:
        """Say which options of a layer there are to choose, by their numbers.

        Parameters
        ----------
        i : int
            The layer.

        Returns
        -------
        attention, mlp : list of int
            With 0 only where the part alone can be left out.
        """
        groups, _, widths = self._choices[i]
        options = self.options[i]
        return (
            list(range(0 if 0 in groups else 1, len(options.attention))),
            [number for number, width in enumerate(options.mlp) if width in widths],
        )

    def _grouped(self, i: int) -> bool:
        layer = self.full.layers[i]
        return layer is not None and layer.heads > layer.groups

    def shape_of(self, architecture: Mapping[str, Any] | npt.ArrayLike) -> Shape:
        """Give the shape that an architecture stands for.

        Parameters
        ----------
        architecture : Architecture, mapping or array_like of int, shape (d,)
            A mapping from decisions to choices, or a genotype.

        Returns
        -------
        Shape
            With one entry for each layer of the model.

        Raises
        ------
        ValueError
            If it is none of this space.
        """
        row = self.encode(architecture) if isinstance(architecture, Mapping) else np.asarray(architecture)
        hidden, attention, mlp = self.parts(self.check(row[None]))
        pairs = zip(attention[0].tolist(), mlp[0].tolist(), strict=True)
        layers = [self.layer(i, a, m) for i, (a, m) in enumerate(pairs)]
        return Shape(self.hiddens[int(hidden[0])], tuple(layers))

    def layer(self, i: int, attention: int, mlp: int) -> LayerShape | None:
        """Give a layer's shape.

        Parameters
        ----------
        i : int
            The layer.
        attention, mlp : int
            Numbers of its options.

        Returns
        -------
        LayerShape or None
            None if both are left out.
        """
        heads, groups = self.options[i].attention[attention]
        width = self.options[i].mlp[mlp]
        return LayerShape(heads, groups, width) if heads or width else None

    def genotype_of(self, shape: Shape) -> Genotypes:
        """Give the genotype of a shape.

        Parameters
        ----------
        shape : Shape
            One that this space holds.

        Returns
        -------
        ndarray of int32, shape (d,)
            So that `shape_of` gives the shape back.

        Raises
        ------
        ValueError
            If the space does not hold it.
        """
        layers = shape.layers
        choices: dict[str, int] = {"hidden": shape.hidden}
        if self.uniform:
            choices["depth"] = len(shape.kept)
            layers = tuple(layer for layer in layers if layer is not None)[:1]
        for i, layer in enumerate(layers):
            prefix = "" if self.uniform else f"layer{i}."
            choices[prefix + "kept"] = layer is not None
            heads, groups, mlp = (layer.heads, layer.groups, layer.mlp) if layer else (0, 0, 0)
            if self._grouped(i):
                choices[prefix + "groups"] = groups
                if groups:
                    choices[prefix + "heads"] = heads // groups
            else:
                choices[prefix + "heads"] = heads
            choices[prefix + "mlp"] = mlp
        row = self.encode({name: choice for name, choice in choices.items() if name in self.decisions})
        if self.shape_of(row) != shape:
            raise ValueError(f"shape must be one of this space, {self!r}; got {shape!r}")
        return row

    def _keeps_a_layer(self, genotypes: Genotypes) -> npt.NDArray[np.bool_]:
        _, attention, mlp = self.parts(genotypes)
        return np.asarray((attention > 0).any(axis=1) | (mlp > 0).any(axis=1))

    # -- written ---------------------------------------------------------------------------------------------

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the space, `full` as `Shape.to_dict` writes it."""
        return {
            "full": self.full.to_dict(),
            "uniform": self.uniform,
            "dimensions": list(self.dimensions),
            "divisor": self.divisor,
            "least": self.least,
            "depth_order": list(self.depth_order),
        }

    def __repr__(self) -> str:
        layers, hidden = len(self.full.layers), self.full.hidden
        return (
            f"<CompressionSpace of {layers} layers, hidden size {hidden}, {len(self)} decisions"
            f"{', uniform' if self.uniform else ''}>"
        )


def _add(
    decisions: dict[str, Decision], name: str, choices: Sequence[int], when: Mapping[str, Any] | None = None
) -> None:
    """Add a decision if there is anything to decide."""
    if len(choices) > 1:
        known = {parent: allowed for parent, allowed in (when or {}).items() if parent in decisions}
        decisions[name] = Ordinal(choices, when=known)


def _order(order: Sequence[int] | None, layers: int) -> tuple[int, ...]:
    taken = tuple(range(layers)) if order is None else tuple(map(int, order))
    if sorted(taken) != list(range(layers)):
        raise ValueError(f"depth_order must hold each number from 0 to {layers - 1} once; got {list(taken)}")
    return taken
