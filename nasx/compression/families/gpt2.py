"""GPT-2: decoders with learned positions, layer norms and plain MLPs."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from nasx.compression.blueprint import ACTIVATIONS, Blueprint
from nasx.compression.families.base import Family, LayerParts
from nasx.compression.parts import named_weights
from nasx.compression.shapes import LayerShape, Shape
from nasx.errors import unknown

__all__ = ["GPT2"]


class GPT2(Family):
    """GPT-2, with or without the head that scores tokens.

    A model of the user's class has as many channels as its heads have together, so parts that keep another
    number of channels are plain modules.

    Parameters
    ----------
    model : torch.nn.Module
        Without attention to an encoder.

    Raises
    ------
    ValueError
        If it has that, or an activation that is not supported.

    References
    ----------
    A. Radford et al. Language models are unsupervised multitask learners. 2019.
    """

    name = "gpt2"
    classes: ClassVar[tuple[str, ...]] = ("GPT2LMHeadModel", "GPT2Model")

    @property
    def _base(self) -> Any:
        model: Any = self.model
        return model.transformer if hasattr(model, "lm_head") else model

    def _described(self) -> tuple[Blueprint, dict[str, Tensor]]:
        base, config = self._base, self._base.config
        if config.add_cross_attention:
            raise ValueError("the model must not attend to an encoder; its config.add_cross_attention is set")
        if config.activation_function not in ACTIVATIONS:
            raise ValueError(unknown("activation", config.activation_function, ACTIVATIONS))
        head = getattr(self.model, "lm_head", None)
        tied = head is not None and head.weight is base.wte.weight
        modules = {"tokens": base.wte, "positions": base.wpe, "norm": base.ln_f}
        if head is not None and not tied:
            modules["scores"] = head
        values = named_weights(modules)
        width = base.h[0].attn.head_dim
        for i, layer in enumerate(base.h):
            values |= _layer(layer, f"layers.{i}.")
        shapes = tuple(
            LayerShape(layer.attn.num_heads, layer.attn.num_heads, layer.mlp.c_proj.weight.shape[0])
            for layer in base.h
        )
        plan = Blueprint(
            Shape(base.wte.weight.shape[1], shapes),
            head_dim=width,
            vocabulary=base.wte.weight.shape[0],
            scales=tuple(float(layer.attn.scaling) for layer in base.h),
            norm="layer",
            epsilon=float(base.ln_f.eps),
            activation=ACTIVATIONS[config.activation_function],
            input_bias=True,
            output_bias=True,
            mlp_bias=True,
            positions=base.wpe.weight.shape[0],
            head="none" if head is None else "language",
            tied=tied,
        )
        return plan, values

    def layer_parts(self, i: int) -> LayerParts:
        """Give the modules of layer `i` of the model, for hooks."""
        layer = self._base.h[i]
        return LayerParts(layer, layer.attn.c_proj, layer.mlp.c_proj, (layer.ln_1, layer.ln_2))

    def other_norms(self) -> tuple[nn.Module, ...]:
        """Give the last norm."""
        return (self._base.ln_f,)

    def _fits_config(self, hidden: int, layer: LayerShape, kept: tuple[int, ...]) -> bool:
        # Where the scale follows from a layer's number, the layer must keep its number.
        numbered = self._base.config.scale_attn_by_inverse_layer_idx
        return hidden == layer.heads * self.head_dim and (not numbered or kept == tuple(range(len(kept))))

    def _native(self, shape: Shape) -> nn.Module:
        layer = shape.layers[shape.kept[0]]
        assert layer is not None
        changes = {
            "n_embd": shape.hidden,
            "n_layer": len(shape.kept),
            "n_head": layer.heads,
            "n_inner": layer.mlp,
        }
        return self._changed(changes, shape.kept)


def _layer(layer: Any, prefix: str) -> dict[str, Tensor]:
    """Name a layer's weights as `PlainTransformer` does; one matrix makes queries, keys and values."""
    attention, mlp = layer.attn, layer.mlp
    values = named_weights(
        {
            "attention.output": attention.c_proj,
            "mlp.up": mlp.c_fc,
            "mlp.down": mlp.c_proj,
            "attention_norm": layer.ln_1,
            "mlp_norm": layer.ln_2,
        },
        prefix,
    )
    weights = attention.c_attn.weight.t().chunk(3)
    biases = attention.c_attn.bias.chunk(3)
    for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
        values[f"{prefix}attention.{name}.weight"] = weight
        values[f"{prefix}attention.{name}.bias"] = bias
    return values
