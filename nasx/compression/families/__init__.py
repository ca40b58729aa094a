"""Kinds of transformers that can be made smaller; `family_of` finds a model's."""

from __future__ import annotations

from torch import nn

from nasx.compression.families.base import Family, LayerParts
from nasx.compression.families.bert import Bert, Roberta
from nasx.compression.families.gpt2 import GPT2
from nasx.compression.families.llama import Llama

__all__ = ["Family", "LayerParts", "family_of"]

_FAMILIES: tuple[type[Family], ...] = (Llama, GPT2, Bert, Roberta)


def family_of(model: nn.Module) -> Family:
    """Find out what kind of transformer a model is.

    Parameters
    ----------
    model : torch.nn.Module
        Of one of the classes of `transformers` that are supported; it is left as it is.

    Returns
    -------
    Family
        Around the model.

    Raises
    ------
    TypeError
        If it is none of them; the message names them.
    ValueError
        If it is, with a setting that is not supported.

    Examples
    --------
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> from nasx.compression.shapes import LayerShape, Shape
    >>> config = LlamaConfig(
    ...     vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
    ...     num_key_value_heads=2, max_position_embeddings=32,
    ... )
    >>> family = family_of(LlamaForCausalLM(config))
    >>> uniform = Shape(12, (LayerShape(heads=2, groups=1, mlp=20), None))
    >>> type(family.extract(uniform)).__name__
    'LlamaForCausalLM'
    >>> mixed = Shape(12, (LayerShape(heads=2, groups=1, mlp=20), LayerShape(heads=0, groups=0, mlp=8)))
    >>> small = family.extract(mixed)
    >>> type(small).__name__
    'PlainTransformer'
    >>> family.parameters(mixed) == sum(value.numel() for value in small.parameters())
    True
    >>> family.kv_bytes(mixed, tokens=100)
    3200
    """
    kind = type(model)
    for family in _FAMILIES:
        if kind.__name__ in family.classes and kind.__module__.startswith("transformers."):
            return family(model)
    known = ", ".join(name for family in _FAMILIES for name in family.classes)
    raise TypeError(
        f"model must be one of transformers' {known}; got {kind.__module__}.{kind.__qualname__}. "
        "Give the model itself, not what is wrapped around it"
    )
