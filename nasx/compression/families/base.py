"""`Family`: what all kinds of transformers that can be made smaller have in common."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from nasx.compression.blueprint import Blueprint
from nasx.compression.masking import masked_copy
from nasx.compression.parts import cut, empty
from nasx.compression.plain import PlainTransformer
from nasx.compression.shapes import LayerShape, Order, Shape
from nasx.compression.sorting import reorder

__all__ = ["Family", "LayerParts"]


class LayerParts(NamedTuple):
    """Modules of one layer of the user's model, for hooks.

    Parameters
    ----------
    layer : Module
        The whole layer; its first input and its output are hidden states, (batch, tokens, hidden).
    attention_output : Module
        The attention's output projection; its input is all heads' outputs side by side,
        (batch, tokens, heads * head_dim).
    mlp_output : Module
        The MLP's down projection; its input is the neurons, (batch, tokens, mlp).
    norms : tuple of Module
        The norm that belongs to the attention, and that of the MLP; outputs are (batch, tokens, hidden).
    """

    layer: nn.Module
    attention_output: nn.Module
    mlp_output: nn.Module
    norms: tuple[nn.Module, nn.Module]


class Family(ABC):
    """A model, and how parts of it become smaller models; the model itself is never changed.

    Parameters
    ----------
    model : torch.nn.Module
        Of one of the classes in `classes`.

    Attributes
    ----------
    model : torch.nn.Module
        The user's.
    whole : PlainTransformer
        The same network, as a plain module whose weights are views of the model's.
    """

    name: ClassVar[str]
    """What the family is called."""
    classes: ClassVar[tuple[str, ...]]
    """The classes of `transformers` that belong to it."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        plan, values = self._described()
        self.whole = empty(plan, values, trainable=())
        self.whole.train(model.training)

    # -- what each family says -------------------------------------------------------------------------------

    @abstractmethod
    def _described(self) -> tuple[Blueprint, dict[str, Tensor]]:
        """Give what the model is, and its weights under the names of `PlainTransformer`, as views."""

    @abstractmethod
    def layer_parts(self, i: int) -> LayerParts:
        """Give the modules of layer `i` of the model, for hooks."""

    @abstractmethod
    def other_norms(self) -> tuple[nn.Module, ...]:
        """Give the model's norms of hidden states outside the layers, in the order in which they run."""

    @abstractmethod
    def _native(self, shape: Shape) -> nn.Module:
        """Make an uninitialised model of the user's class in a shape that `is_native`."""

    @abstractmethod
    def _fits_config(self, hidden: int, layer: LayerShape, kept: tuple[int, ...]) -> bool:
        """Whether the user's class can be made with such layers."""

    # -- sizes -----------------------------------------------------------------------------------------------

    @property
    def plan(self) -> Blueprint:
        """All about the model but its weights."""
        return self.whole.plan

    @property
    def shape(self) -> Shape:
        """The model's own shape."""
        return self.plan.shape

    @property
    def head_dim(self) -> int:
        """Width of a head; the same in all parts."""
        return self.plan.head_dim

    def check(self, shape: Shape) -> Shape:
        """Make sure that a shape is part of the model.

        Parameters
        ----------
        shape : Shape
            With one entry for each layer of the model.

        Returns
        -------
        Shape
            The same.

        Raises
        ------
        TypeError
            If it is no `Shape`.
        ValueError
            If there is more of something than the model has, or no layer is left.
        """
        if not isinstance(shape, Shape):
            raise TypeError(f"shape must be a nasx.compression.shapes.Shape; got {type(shape).__name__}")
        whole = self.plan.layers
        if len(shape.layers) != len(whole):
            raise ValueError(
                f"shape.layers must have one entry for each of the model's {len(whole)} layers; "
                f"got {len(shape.layers)}"
            )
        if shape.hidden > self.shape.hidden:
            raise ValueError(
                f"shape.hidden must be at most {self.shape.hidden}, the model's; got {shape.hidden}"
            )
        if not shape.kept:
            raise ValueError("shape.layers must keep one layer at least; all are left out")
        for i, (layer, most) in enumerate(zip(shape.layers, whole, strict=True)):
            if layer is None:
                continue
            for part in ("heads", "groups", "mlp"):
                if getattr(layer, part) > getattr(most, part):
                    raise ValueError(
                        f"shape.layers[{i}].{part} must be at most {getattr(most, part)}, the model's; "
                        f"got {getattr(layer, part)}"
                    )
            if layer.heads and layer.heads // layer.groups > most.heads // most.groups:
                raise ValueError(
                    f"shape.layers[{i}] must have at most {most.heads // most.groups} heads in a group, as "
                    f"the model has; got {layer.heads // layer.groups}"
                )
        return shape

    def parameters(self, shape: Shape | None = None) -> int:
        """Count the parameters of a part; tied embeddings once.

        Parameters
        ----------
        shape : Shape, optional
            By default the model's own.

        Returns
        -------
        int
            By a formula; nothing is made.
        """
        return (self.plan if shape is None else self.plan.cut(self.check(shape))).parameters

    def weight_bytes(self, shape: Shape | None = None) -> int:
        """Count the bytes of a part's weights, in the model's own dtype.

        Parameters
        ----------
        shape : Shape, optional
            By default the model's own.

        Returns
        -------
        int
            Bytes.
        """
        return self.parameters(shape) * self.whole.tokens.weight.element_size()

    def kv_bytes(self, shape: Shape | None = None, tokens: int = 1, batch: int = 1) -> int:
        """Count the bytes of keys and values that are kept while text is generated.

        Parameters
        ----------
        shape : Shape, optional
            By default the model's own.
        tokens : int
            Length of the text.
        batch : int
            How many texts.

        Returns
        -------
        int
            Bytes, in the model's own dtype; 0 for encoders.
        """
        plan = self.plan if shape is None else self.plan.cut(self.check(shape))
        return plan.kv_values(tokens, batch) * self.whole.tokens.weight.element_size()

    # -- parts -----------------------------------------------------------------------------------------------

    def is_native(self, shape: Shape) -> bool:
        """Say whether a model of the user's class can have a shape.

        Parameters
        ----------
        shape : Shape
            Part of the model.

        Returns
        -------
        bool
            Never for shapes that are not uniform.
        """
        layer = next((one for one in shape.layers if one is not None), None)
        return layer is not None and shape.uniform and self._fits_config(shape.hidden, layer, shape.kept)

    def extract(self, shape: Shape, *, share: bool = False, plain: bool = False) -> nn.Module:
        """Take the first hidden channels, heads and neurons out of the model, as a model of its own.

        Parameters
        ----------
        shape : Shape
            How much to keep.
        share : bool
            Whether the weights are views of the model's where that is possible, for candidates that are only
            scored: they cannot be trained. It gives a `PlainTransformer`.
        plain : bool
            Whether to make a `PlainTransformer` even where the model's own class would do.

        Returns
        -------
        torch.nn.Module
            Of the model's class if `is_native`, otherwise a `PlainTransformer`; on the model's device. All of
            a copy can be trained, whatever of the model is frozen.

        Raises
        ------
        TypeError, ValueError
            If the shape is not part of the model.
        """
        if share or plain or not self.is_native(self.check(shape)):
            return self._cut(shape, share=share)
        part = self._native(shape)
        source, target = dict(self._cut(shape, share=True).named_parameters()), type(self)(part).whole
        with torch.no_grad():
            for name, value in target.named_parameters():
                value.copy_(source[name])
            original = dict(self.model.named_parameters())
            used = {value.untyped_storage().data_ptr() for value in target.parameters()}
            for name, value in part.named_parameters():
                if value.untyped_storage().data_ptr() not in used:  # some classes have weights without a use
                    value.copy_(original[self._original(name, shape.kept)])
        return part.train(self.model.training)

    def _original(self, name: str, kept: tuple[int, ...]) -> str:
        """Give the name in the model of a parameter of a native part: the layers' numbers differ."""
        path = name.split(".")
        return ".".join(str(kept[int(one)]) if one.isdecimal() else one for one in path)

    def _cut(self, shape: Shape, *, share: bool) -> PlainTransformer:
        """Take a part out as a plain network."""
        plan, values = self.plan.cut(self.check(shape)), cut(self.whole, shape)
        if not share:
            values = {n: v.clone(memory_format=torch.contiguous_format) for n, v in values.items()}
        return empty(plan, values, trainable=() if share else list(values)).train(self.model.training)

    def masked(self, shape: Shape) -> nn.Module:
        """Make a copy of the whole model in which all that a shape leaves out is silenced.

        Its outputs are those of the extracted network; hidden states that are given out have zeros in the
        channels that are left out. It proves extraction right, and is as large and slow as the model.

        Parameters
        ----------
        shape : Shape
            How much to keep.

        Returns
        -------
        torch.nn.Module
            Of the model's class.
        """
        self.check(shape)
        return masked_copy(self, shape)

    def sorted(self, order: Order) -> nn.Module:
        """Make a copy of the model with its parts in another order, which computes the same.

        Where a model gives hidden states out, their channels are in the new order too.

        Parameters
        ----------
        order : Order
            What comes first.

        Returns
        -------
        torch.nn.Module
            Of the model's class.

        Raises
        ------
        ValueError
            If the order does not fit the model.
        """
        part = copy.deepcopy(self.model)
        reorder(type(self)(part).whole, order)
        return part

    def _changed(self, changes: dict[str, Any], kept: tuple[int, ...]) -> nn.Module:
        """Make a model of the user's class with changed settings, and no values in its parameters."""
        model: Any = self.model
        settings = {**model.config.to_dict(), **changes}
        if isinstance(settings.get("layer_types"), list):
            settings["layer_types"] = [settings["layer_types"][i] for i in kept]
        config = type(model.config).from_dict(settings)
        config._attn_implementation = model.config._attn_implementation
        with torch.device("meta"):  # no memory, and no random numbers
            part: Any = type(model)(config, **self._constructor())
        part.to(self.whole.tokens.weight.dtype).to_empty(device=self.whole.tokens.weight.device)
        part.tie_weights()
        # Buffers have no values either; none of them depends on what is cut.
        for name, buffer in model.named_buffers():
            part.get_buffer(name).copy_(buffer)
        if getattr(model, "generation_config", None) is not None:
            part.generation_config = copy.deepcopy(model.generation_config)
        return part  # type: ignore[no-any-return]

    def _constructor(self) -> dict[str, Any]:
        """Give further arguments of the model's class."""
        return {}
