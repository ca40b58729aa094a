"""What leaving parts of a decoder out would change to first order, by gates of one on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from nasx.compression.families import family_of


def gated_effects(model: Any, rows: torch.Tensor, layer: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the derivatives of the summed loss for gates on each token's heads and neurons.

    Every head and neuron of `layer` is multiplied by a gate of its own for each token, all of them 1.

    Returns
    -------
    heads : ndarray, shape (tokens, heads)
    neurons : ndarray, shape (tokens, mlp)
    """
    family = family_of(model)
    parts, whole = family.layer_parts(layer), family.shape.layers[layer]
    heads = torch.ones(*rows.shape, whole.heads, requires_grad=True)
    neurons = torch.ones(*rows.shape, whole.mlp, requires_grad=True)

    def gate_heads(_: Any, args: Any) -> Any:
        return (args[0] * heads.repeat_interleave(family.head_dim, dim=-1),)

    def gate_neurons(_: Any, args: Any) -> Any:
        return (args[0] * neurons,)

    handles = [
        parts.attention_output.register_forward_pre_hook(gate_heads),
        parts.mlp_output.register_forward_pre_hook(gate_neurons),
    ]
    with torch.enable_grad():
        logits = model(rows).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="sum")
        found = torch.autograd.grad(loss, [heads, neurons])
    for handle in handles:
        handle.remove()
    return found[0].flatten(0, 1).double().numpy(), found[1].flatten(0, 1).double().numpy()
