"""`PlainTransformer`: a decoder or encoder whose layers may all have different widths."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasx.compression.blueprint import Blueprint
from nasx.compression.shapes import LayerShape

__all__ = ["HiddenOutput", "KeyValues", "PlainLayer", "PlainTransformer", "ScoresOutput"]


class ScoresOutput(NamedTuple):
    """What a network with a head gives.

    Parameters
    ----------
    logits : Tensor, shape (batch, tokens, vocabulary) or (batch, classes)
        Scores before softmax.
    hidden_states : tuple of Tensor, or None
        Where asked for: what came out of the embeddings and of each layer, each (batch, tokens, hidden).
    """

    logits: Tensor
    hidden_states: tuple[Tensor, ...] | None = None


class HiddenOutput(NamedTuple):
    """What a network without a head gives.

    Parameters
    ----------
    last_hidden_state : Tensor, shape (batch, tokens, hidden)
        Each token's vector.
    pooler_output : Tensor, shape (batch, hidden), or None
        What the pooler made of the first token's, if there is one.
    hidden_states : tuple of Tensor, or None
        Where asked for: what came out of the embeddings and of each layer, each (batch, tokens, hidden).
    """

    last_hidden_state: Tensor
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class KeyValues:
    """Keys and values of the tokens that a decoder has read, so that it need not read them again.

    It is made empty, and a network that is called with it adds what it reads.

    Examples
    --------
    >>> KeyValues().length
    0
    """

    def __init__(self) -> None:
        self._held: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        self.length = 0
        """Number of tokens."""

    def joined(self, owner: nn.Module, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add to what belongs to an attention, each (batch, groups, tokens, head_dim), and give all of it."""
        if owner in self._held:
            keys, values = self._held[owner]
            key, value = torch.cat((keys, key), 2), torch.cat((values, value), 2)
        self._held[owner] = key, value
        return key, value

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        return sum(key.nbytes + value.nbytes for key, value in self._held.values())


def _linear(inputs: int, outputs: int, bias: bool, device: str | None) -> nn.Linear:
    """Make a linear layer; on "meta", where there are no values, without the work of drawing them."""
    if device != "meta":
        return nn.Linear(inputs, outputs, bias=bias, device=device)
    layer = nn.Linear.__new__(nn.Linear)
    nn.Module.__init__(layer)
    layer.in_features, layer.out_features = inputs, outputs
    layer.weight = nn.Parameter(torch.empty(outputs, inputs, device=device))
    layer.register_parameter("bias", nn.Parameter(torch.empty(outputs, device=device)) if bias else None)
    return layer


def _embedding(count: int, width: int, device: str | None) -> nn.Embedding:
    """Make embeddings, in the same way."""
    if device != "meta":
        return nn.Embedding(count, width, device=device)
    return nn.Embedding(count, width, _weight=torch.empty(count, width, device=device))


class _Norm(nn.Module):
    """Normalise the last axis: by its root mean square, or by mean and standard deviation."""

    def __init__(self, width: int, kind: str, epsilon: float, device: str | None) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(width, device=device))
        self.bias = nn.Parameter(torch.zeros(width, device=device)) if kind == "layer" else None

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is not None:
            return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)
        wide = x.float()  # squares of half-precision numbers overflow
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.epsilon)
        return self.weight * wide.to(x.dtype)


def _activated(x: Tensor, name: str) -> Tensor:
    if name.startswith("gelu"):
        return F.gelu(x, approximate="tanh" if name == "gelu_tanh" else "none")
    if name == "silu":
        return F.silu(x)
    return F.relu(x) if name == "relu" else torch.tanh(x)


class _Attention(nn.Module):
    def __init__(self, plan: Blueprint, layer: LayerShape, scale: float, device: str | None) -> None:
        super().__init__()
        hidden, self.width, self.scale = plan.shape.hidden, plan.head_dim, scale
        self.repeats = layer.heads // layer.groups
        self.query = _linear(hidden, layer.heads * self.width, plan.input_bias, device)
        self.key = _linear(hidden, layer.groups * self.width, plan.input_bias, device)
        self.value = _linear(hidden, layer.groups * self.width, plan.input_bias, device)
        self.output = _linear(layer.heads * self.width, hidden, plan.output_bias, device)
        if plan.head_norm:
            self.query_scale = _Norm(self.width, "rms", plan.epsilon, device)
            self.key_scale = _Norm(self.width, "rms", plan.epsilon, device)
        self.causal, self.head_norm = plan.causal, plan.head_norm

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], -1, self.width).transpose(1, 2)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        turn: tuple[Tensor, Tensor] | None,
        memory: KeyValues | None,
    ) -> Tensor:
        query, key, value = (self._heads(one(x)) for one in (self.query, self.key, self.value))
        if self.head_norm:
            query, key = self.query_scale(query), self.key_scale(key)
        if turn is not None:
            query, key = _turned(query, *turn), _turned(key, *turn)
        if memory is not None:
            key, value = memory.joined(self, key, value)
        # Without a mask, several tokens are the whole text, and one sees all.
        masked = self.causal and mask is None and query.shape[2] > 1
        if self.repeats > 1:
            key, value = (_repeated(one, self.repeats) for one in (key, value))
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=masked, scale=self.scale
        )
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output


def _repeated(x: Tensor, times: int) -> Tensor:
    return x[:, :, None].expand(-1, -1, times, -1, -1).flatten(1, 2)


def _turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat((-second, first), -1) * sine


class _MLP(nn.Module):
    def __init__(self, plan: Blueprint, width: int, device: str | None) -> None:
        super().__init__()
        hidden, bias = plan.shape.hidden, plan.mlp_bias
        self.up = _linear(hidden, width, bias, device)
        self.gate = _linear(hidden, width, bias, device) if plan.gated else None
        self.down = _linear(width, hidden, bias, device)
        self.activation = plan.activation

    def forward(self, x: Tensor) -> Tensor:
        up = self.up(x)
        wide = _activated(up, self.activation) if self.gate is None else up * self._gated(x)
        output: Tensor = self.down(wide)
        return output

    def _gated(self, x: Tensor) -> Tensor:
        assert self.gate is not None
        return _activated(self.gate(x), self.activation)


class PlainLayer(nn.Module):
    """One layer: attention and MLP, each added to what came in, with a norm before or after; either may lack.

    It is called with x of shape (batch, tokens, hidden), a mask (batch or 1, 1, tokens, tokens) or None, and
    cosine and sine, each (batch or 1, 1, tokens, head_dim), or None; `PlainTransformer.context` gives both.
    """

    def __init__(
        self, plan: Blueprint, layer: LayerShape, scale: float, *, device: str | None = None
    ) -> None:
        super().__init__()
        self.post_norm = plan.post_norm

        def norm(size: int) -> _Norm | None:
            there = size or plan.post_norm
            return _Norm(plan.shape.hidden, plan.norm, plan.epsilon, device) if there else None

        self.attention_norm, self.mlp_norm = norm(layer.heads), norm(layer.mlp)
        self.attention = _Attention(plan, layer, scale, device) if layer.heads else None
        self.mlp = _MLP(plan, layer.mlp, device) if layer.mlp else None

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        turn: tuple[Tensor, Tensor] | None = None,
        memory: KeyValues | None = None,
    ) -> Tensor:
        """Compute the layer's output, of the same shape as `x`."""
        for part, norm in ((self.attention, self.attention_norm), (self.mlp, self.mlp_norm)):
            added = x
            if part is not None:
                taken = x if norm is None or self.post_norm else norm(x)
                added = x + (part(taken, mask, turn, memory) if part is self.attention else part(taken))
            x = norm(added) if norm is not None and self.post_norm else added
        return x


class PlainTransformer(nn.Module):
    """A decoder or encoder that needs nothing but torch; `nasx.compression.save` writes it, `load` reads it.

    Parameters
    ----------
    plan : Blueprint
        All about it but its weights.
    device : str, optional
        Where to make it. On "meta" its parameters have neither memory nor values.

    Notes
    -----
    It has no dropout, and its outputs are named tuples, with the names that `transformers` uses.

    Examples
    --------
    >>> from nasx.compression.shapes import LayerShape, Shape
    >>> shape = Shape(16, (LayerShape(heads=4, groups=2, mlp=24), LayerShape(0, 0, 8)))
    >>> plan = Blueprint(shape, head_dim=4, vocabulary=100, scales=(0.5, 0.5), head="language", tied=True)
    >>> network = PlainTransformer(plan)
    >>> network(torch.tensor([[1, 2, 3]])).logits.shape
    torch.Size([1, 3, 100])
    >>> sum(p.numel() for p in network.parameters()) == plan.parameters
    True
    """

    def __init__(self, plan: Blueprint, *, device: str | None = None) -> None:
        super().__init__()
        self.plan = plan
        hidden = plan.shape.hidden

        def norm() -> _Norm:
            return _Norm(hidden, plan.norm, plan.epsilon, device)

        self.tokens = _embedding(plan.vocabulary, hidden, device)
        self.positions = _embedding(plan.positions, hidden, device) if plan.positions else None
        self.types = _embedding(plan.token_types, hidden, device) if plan.token_types else None
        self.embedding_norm = norm() if plan.embedding_norm else None
        self.layers = nn.ModuleList(
            PlainLayer(plan, layer, scale, device=device)
            for layer, scale in zip(plan.layers, plan.scales, strict=True)
        )
        self.norm = None if plan.post_norm else norm()
        self.pooler = _linear(hidden, hidden, True, device) if plan.pooler else None
        self.transform = _linear(hidden, hidden, True, device) if plan.head == "masked" else None
        self.transform_norm = norm() if plan.head == "masked" else None
        self.scores_bias = (
            nn.Parameter(torch.zeros(plan.vocabulary, device=device)) if plan.head == "masked" else None
        )
        if plan.head in ("language", "masked") and not plan.tied:
            self.scores = _linear(hidden, plan.vocabulary, False, device)
        self.classes = _linear(hidden, plan.classes, True, device) if plan.head == "classes" else None
        if plan.rotary is not None:
            self.register_buffer("frequencies", torch.ones(plan.head_dim // 2, device=device))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_hidden_states: bool = False,
        memory: KeyValues | None = None,
    ) -> ScoresOutput | HiddenOutput:
        """Compute scores, or hidden states where there is no head.

        Parameters
        ----------
        input_ids : Tensor of int64, shape (batch, tokens)
            Tokens.
        attention_mask : Tensor, shape (batch, tokens), optional
            1 for tokens, 0 for padding; with `memory`, for the tokens in it too.
        token_type_ids, position_ids : Tensor of int64, shape (batch, tokens), optional
            By default all 0, and 0, 1, 2, ..., or with `memory` those after the tokens in it.
        output_hidden_states : bool
            Whether to give those too.
        memory : KeyValues, optional
            Of the text before, for decoders; that of these tokens is added.

        Returns
        -------
        ScoresOutput or HiddenOutput
            By whether there is a head. What is given for padding means nothing.
        """
        if position_ids is None and self.plan.padding is not None:
            text = (input_ids != self.plan.padding).long()
            position_ids = text.cumsum(1) * text + self.plan.padding
        elif position_ids is None:
            past = 0 if memory is None else memory.length
            position_ids = torch.arange(past, past + input_ids.shape[1], device=input_ids.device)[None]
        x = self._embedded(input_ids, token_type_ids, position_ids)
        if memory is not None and not self.plan.causal:
            raise ValueError("memory must not be given: in an encoder, tokens see those after them too")
        mask, turn = self.context(x, attention_mask, position_ids, 0 if memory is None else memory.length)
        states = [x]
        for layer in self.layers:
            x = layer(x, mask, turn, memory)
            if output_hidden_states:
                states.append(x)
        if memory is not None:
            memory.length += input_ids.shape[1]
        given = tuple(states) if output_hidden_states else None
        if self.norm is not None:
            x = self.norm(x)
        pooled = None if self.pooler is None else torch.tanh(self.pooler(x[:, 0]))
        if self.classes is not None:
            return ScoresOutput(self.classes(pooled), given)
        if self.plan.head == "none":
            return HiddenOutput(x, pooled, given)
        if self.transform is not None and self.transform_norm is not None:
            x = self.transform_norm(_activated(self.transform(x), self.plan.activation))
        weight = self.tokens.weight if self.plan.tied else self.scores.weight
        return ScoresOutput(F.linear(x, weight, self.scores_bias), given)

    def _embedded(self, tokens: Tensor, types: Tensor | None, positions: Tensor) -> Tensor:
        x: Tensor = self.tokens(tokens)
        if self.types is not None:
            x = x + self.types(torch.zeros_like(tokens) if types is None else types)
        elif types is not None:
            raise ValueError("token_type_ids must not be given: this network has no embeddings of types")
        if self.positions is not None:
            x = x + self.positions(positions)
        return x if self.embedding_norm is None else self.embedding_norm(x)

    def context(
        self, x: Tensor, attention_mask: Tensor | None, position_ids: Tensor, past: int = 0
    ) -> tuple[Tensor | None, tuple[Tensor, Tensor] | None]:
        """Make what all layers are called with besides `x`.

        Parameters
        ----------
        x : Tensor, shape (batch, tokens, hidden)
            Gives dtype, device and length.
        attention_mask : Tensor, shape (batch, past + tokens), or None
            1 for tokens, 0 for padding.
        position_ids : Tensor of int64, shape (batch or 1, tokens)
            Of the tokens.
        past : int
            How many tokens came before.

        Returns
        -------
        mask : Tensor, shape (batch or 1, 1, tokens or 1, past + tokens), or None
            What is added to scores.
        turn : pair of Tensor, shape (batch or 1, 1, tokens, head_dim), or None
            Cosine and sine.
        """
        mask = turn = None
        if attention_mask is None and past and x.shape[1] > 1:
            attention_mask = torch.ones(1, past + x.shape[1], device=x.device)
        if attention_mask is not None:
            seen = attention_mask[:, None, None].bool()
            if self.plan.causal:
                here = torch.arange(past + x.shape[1], device=x.device)
                seen = seen & (here[past:, None] >= here)
            # Finite, since a token that sees nothing must not become NaN: 0 times NaN is NaN to all others.
            least = torch.finfo(x.dtype).min / 2
            mask = torch.zeros_like(seen, dtype=x.dtype).masked_fill(~seen, least)
        if self.plan.rotary is not None:
            angles = position_ids[:, None, :, None].float() * self.get_buffer("frequencies").float()
            angles = torch.cat((angles, angles), -1)
            factor = self.plan.rotary
            turn = ((angles.cos() * factor).to(x.dtype), (angles.sin() * factor).to(x.dtype))
        return mask, turn
