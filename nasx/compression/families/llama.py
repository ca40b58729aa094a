"""Decoders like LLaMA: rotary positions, RMS norms, gated MLPs, heads that may share keys and values."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from nasx.compression.blueprint import ACTIVATIONS, Blueprint
from nasx.compression.families.base import Family, LayerParts
from nasx.compression.parts import named_weights
from nasx.compression.shapes import LayerShape, Shape
from nasx.errors import unknown

__all__ = ["Llama"]

# Of other kinds the frequencies depend on the length of the text.
_ROTARY = ("default", "linear", "llama3", "yarn")


class Llama(Family):
    """LLaMA and what is built like it: Mistral, Qwen 2, and Qwen 3, whose heads have norms of their own.

    Parameters
    ----------
    model : torch.nn.Module
        With or without the head that scores tokens.

    Raises
    ------
    ValueError
        If the model looks at a sliding window, or its rotary positions depend on the text's length.

    References
    ----------
    H. Touvron et al. LLaMA: open and efficient foundation language models. 2023.
    """

    name = "llama"
    classes: ClassVar[tuple[str, ...]] = tuple(
        f"{kind}{end}" for kind in ("Llama", "Mistral", "Qwen2", "Qwen3") for end in ("ForCausalLM", "Model")
    )

    @property
    def _base(self) -> Any:
        model: Any = self.model
        return model.model if hasattr(model, "lm_head") else model

    def _described(self) -> tuple[Blueprint, dict[str, Tensor]]:
        base, config = self._base, self._base.config
        if getattr(config, "sliding_window", None) is not None:
            raise ValueError(
                f"the model must see the whole text; its config.sliding_window is {config.sliding_window}, "
                "which is not supported: set it to None if your texts are shorter"
            )
        rotary = base.rotary_emb
        if rotary.rope_type not in _ROTARY:
            raise ValueError(unknown("kind of rotary positions", rotary.rope_type, _ROTARY))
        if config.hidden_act not in ACTIVATIONS:
            raise ValueError(unknown("activation", config.hidden_act, ACTIVATIONS))
        head = getattr(self.model, "lm_head", None)
        tied = head is not None and head.weight is base.embed_tokens.weight
        values = {"tokens.weight": base.embed_tokens.weight, "norm.weight": base.norm.weight}
        values["frequencies"] = rotary.inv_freq
        if head is not None and not tied:
            values["scores.weight"] = head.weight
        for i, layer in enumerate(base.layers):
            values |= named_weights(_modules(layer), f"layers.{i}.")
        first = base.layers[0]
        width = first.self_attn.head_dim
        shapes = tuple(
            LayerShape(
                layer.self_attn.q_proj.weight.shape[0] // width,
                layer.self_attn.k_proj.weight.shape[0] // width,
                layer.mlp.down_proj.weight.shape[1],
            )
            for layer in base.layers
        )
        plan = Blueprint(
            Shape(base.embed_tokens.weight.shape[1], shapes),
            head_dim=width,
            vocabulary=base.embed_tokens.weight.shape[0],
            scales=tuple(float(layer.self_attn.scaling) for layer in base.layers),
            norm="rms",
            epsilon=float(base.norm.variance_epsilon),
            activation=ACTIVATIONS[config.hidden_act],
            gated=True,
            input_bias=first.self_attn.q_proj.bias is not None,
            output_bias=first.self_attn.o_proj.bias is not None,
            mlp_bias=first.mlp.down_proj.bias is not None,
            head_norm=hasattr(first.self_attn, "q_norm"),
            rotary=float(rotary.attention_scaling),
            head="none" if head is None else "language",
            tied=tied,
        )
        return plan, values

    def layer_parts(self, i: int) -> LayerParts:
        """Give the modules of layer `i` of the model, for hooks."""
        layer = self._base.layers[i]
        norms = (layer.input_layernorm, layer.post_attention_layernorm)
        return LayerParts(layer, layer.self_attn.o_proj, layer.mlp.down_proj, norms)

    def other_norms(self) -> tuple[nn.Module, ...]:
        """Give the last norm."""
        return (self._base.norm,)

    def _fits_config(self, hidden: int, layer: LayerShape, kept: tuple[int, ...]) -> bool:
        return hidden % layer.heads == 0  # LlamaConfig wants it, though its model would not

    def _native(self, shape: Shape) -> nn.Module:
        layer = shape.layers[shape.kept[0]]
        assert layer is not None
        changes = {
            "hidden_size": shape.hidden,
            "num_hidden_layers": len(shape.kept),
            "num_attention_heads": layer.heads,
            "num_key_value_heads": layer.groups,
            "intermediate_size": layer.mlp,
            "head_dim": self.head_dim,
        }
        return self._changed(changes, shape.kept)


def _modules(layer: Any) -> dict[str, nn.Module]:
    """Name a layer's modules as `PlainTransformer` does."""
    attention, mlp = layer.self_attn, layer.mlp
    modules = {
        "attention.query": attention.q_proj,
        "attention.key": attention.k_proj,
        "attention.value": attention.v_proj,
        "attention.output": attention.o_proj,
        "mlp.gate": mlp.gate_proj,
        "mlp.up": mlp.up_proj,
        "mlp.down": mlp.down_proj,
        "attention_norm": layer.input_layernorm,
        "mlp_norm": layer.post_attention_layernorm,
    }
    if hasattr(attention, "q_norm"):
        modules |= {"attention.query_scale": attention.q_norm, "attention.key_scale": attention.k_norm}
    return modules
