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
