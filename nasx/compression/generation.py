"""Writing text with a plain decoder, which keeps the keys and values of what it has read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasx.compression.plain import KeyValues, PlainTransformer, ScoresOutput

__all__ = ["generate"]


def generate(
    network: nn.Module,
    input_ids: Tensor,
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    stop: int | None = None,
) -> Tensor:
    """Go on with texts.

    Parts that are of a class of `transformers` have a ``generate`` of their own.

    Parameters
    ----------
    network : torch.nn.Module
        A `PlainTransformer`, a decoder with a head that scores tokens.
    input_ids : Tensor of int64, shape (batch, tokens)
        What the texts begin with; no padding.
    max_new_tokens : int
        How many tokens to add.
    temperature : float
        What scores are divided by before softmax; 0 takes the likeliest token.
    seed : int
        Of the random numbers, where the temperature is above 0.
    stop : int, optional
        A token after which a text is done; it is repeated to the end. Nothing more is computed once all are.

    Returns
    -------
    Tensor of int64, shape (batch, tokens + at most max_new_tokens)
        The texts with what was added.

    Raises
    ------
    TypeError
        If the network is something else.
    ValueError
        If it cannot write, or a number is out of its range.

    Examples
    --------
    >>> from nasx.compression.blueprint import Blueprint
    >>> from nasx.compression.shapes import LayerShape, Shape
    >>> shape = Shape(8, (LayerShape(2, 1, 6),))
    >>> plan = Blueprint(shape, head_dim=4, vocabulary=10, scales=(0.5,), head="language")
    >>> generate(PlainTransformer(plan), torch.tensor([[1, 2], [3, 4]]), max_new_tokens=3).shape
    torch.Size([2, 5])
    """
    if not isinstance(network, PlainTransformer):
        hint = "; it has a generate() of its own" if hasattr(network, "generate") else ""
        raise TypeError(f"network must be a PlainTransformer; got {type(network).__qualname__}{hint}")
    plan = network.plan
    if plan.head != "language" or not plan.causal:
        raise ValueError("network must be a decoder with a head that scores tokens; this one cannot write")
    if input_ids.ndim != 2 or not input_ids.numel():
        raise ValueError(
            f"input_ids must have shape (batch, tokens), with one each; got {tuple(input_ids.shape)}"
        )
    if max_new_tokens < 0 or not 0 <= temperature < float("inf"):
        raise ValueError(
            f"max_new_tokens and temperature must not be negative; got {max_new_tokens} and {temperature}"
        )
    length = input_ids.shape[1] + max_new_tokens
    if plan.positions and length > plan.positions:
        raise ValueError(
            f"the text would have {length} tokens; this network has positions for {plan.positions}"
        )
    generator = torch.Generator(input_ids.device).manual_seed(seed)
    memory = KeyValues()
    done = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
    new, training = input_ids, network.training
    network.eval()
    try:
        with torch.no_grad():
            for _ in range(max_new_tokens):
                given = network(new, memory=memory)
                assert isinstance(given, ScoresOutput)
                scores = given.logits[:, -1].float()
                if temperature:
                    likely = torch.softmax(scores / temperature, -1)
                    new = torch.multinomial(likely, 1, generator=generator)
                else:
                    new = scores.argmax(-1, keepdim=True)
                if stop is not None:
                    new = new.masked_fill(done[:, None], stop)
                    done |= new[:, 0] == stop
                input_ids = torch.cat((input_ids, new), 1)
                if stop is not None and bool(done.all()):
                    break
    finally:
        network.train(training)
    return input_ids
