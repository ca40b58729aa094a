"""The networks of `nasx.spaces.Transformer`, and the supernet that holds all of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import functional as F

from nasx.architecture import Architecture
from nasx.errors import unknown
from nasx.nn.choices import LayerChoice
from nasx.nn.elastic import ElasticLinear, ElasticRepeat
from nasx.nn.elastic_sequence import ElasticDepthwiseConv1d, ElasticEmbedding, ElasticLayerNorm
from nasx.nn.mixed import Zero
from nasx.nn.module_supernet import ModuleSupernet
from nasx.nn.sizes import Elastic, Size, current
from nasx.spaces._images import scaled

if TYPE_CHECKING:
    from nasx.spaces.transformer import Transformer
    from nasx.tasks.base import TaskSpec

__all__ = [
    "Attention",
    "TimeConvolution",
    "TransformerBranch",
    "TransformerModule",
    "TransformerSupernet",
    "transformer_block",
    "transformer_branch",
]

_DEVIATION = 0.02  # of embeddings, as in GPT-2: outputs that are scored by them begin close to uniform


class Attention(nn.Module):
    """Scaled dot-product attention of tokens to each other, by heads of one width [1]_.

    Fewer heads of an elastic number are the first ones. With `kv_heads`, head ``j`` of the queries goes with
    head ``j % kv_heads`` of keys and values [2]_, so that fewer of them still share all of these evenly.

    Parameters
    ----------
    hidden : int, or an elastic size
        Width of inputs and outputs.
    heads : int, or an elastic size
        Heads of the queries.
    head_dim : int
        Width of a head.
    kv_heads : int, optional
        Heads of keys and values, by default `heads`.
    causal : bool, default True
        Whether no token sees those after it.

    Raises
    ------
    ValueError
        If a size is no positive integer.

    References
    ----------
    .. [1] A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017.
    .. [2] J. Ainslie et al., "GQA: Training Generalized Multi-Query Transformer Models from Multi-Head
       Checkpoints", EMNLP 2023.

    Examples
    --------
    >>> import torch
    >>> Attention(16, 4, 8, kv_heads=2)(torch.zeros(3, 10, 16)).shape
    torch.Size([3, 10, 16])
    """

    def __init__(
        self, hidden: Size, heads: Size, head_dim: int, *, kv_heads: int | None = None, causal: bool = True
    ) -> None:
        super().__init__()
        self.heads, self.head_dim, self.kv_heads, self.causal = heads, head_dim, kv_heads, causal
        width = heads * head_dim
        shared = width if kv_heads is None else kv_heads * head_dim
        self.query = _linear(hidden, width)
        self.key, self.value = _linear(hidden, shared), _linear(hidden, shared)
        self.out = _linear(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, T, hidden)`` to the same shape."""
        query, key, value = (self._by_head(layer(x)) for layer in (self.query, self.key, self.value))
        if self.kv_heads is not None:
            times = current(self.heads) // self.kv_heads
            key, value = key.repeat(1, times, 1, 1), value.repeat(1, times, 1, 1)
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        out: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return out

    def _by_head(self, x: Tensor) -> Tensor:
        """Map ``(B, T, heads * head_dim)`` to ``(B, heads, T, head_dim)``."""
        heads: Tensor = x.unflatten(-1, (-1, self.head_dim))  # type: ignore[no-untyped-call]  # in torch
        return heads.transpose(1, 2)


class TimeConvolution(nn.Module):
    """A depthwise convolution over tokens, GELU, and a linear layer over their features.

    Parameters
    ----------
    hidden : int, or an elastic size
        Width of inputs and outputs.
    kernel_size : int
        Tokens that each sees, odd: with `causal` itself and those before it, else as many on both sides.
    causal : bool, default True
        Whether no token sees those after it.

    Examples
    --------
    >>> import torch
    >>> TimeConvolution(16, 5)(torch.zeros(3, 10, 16)).shape
    torch.Size([3, 10, 16])
    """

    def __init__(self, hidden: Size, kernel_size: int, *, causal: bool = True) -> None:
        super().__init__()
        self.padding = (kernel_size - 1, 0) if causal else (kernel_size // 2, kernel_size // 2)
        self.convolution: nn.Module
        if isinstance(hidden, int):
            self.convolution = nn.Conv1d(hidden, hidden, kernel_size, groups=hidden)
        else:
            self.convolution = ElasticDepthwiseConv1d(hidden, kernel_size)
        self.activation = nn.GELU()
        self.out = _linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, T, hidden)`` to the same shape."""
        seen = self.convolution(F.pad(x.transpose(1, 2), self.padding))
        out: Tensor = self.out(self.activation(seen.transpose(1, 2)))
        return out


class TransformerBranch(nn.Module):
    """A part of a layer: its input is normalised before, and added to what comes out.

    Parameters
    ----------
    hidden : int, or an elastic size
        Width of inputs and outputs.
    body : torch.nn.Module
        What is done, or a choice. `nasx.nn.Zero` leaves the input as it is.
    dropout : float, default 0
        Rate of dropout before the input is added.
    switch : Elastic, optional
        Where it is 0, the input is left as it is.

    Examples
    --------
    >>> import torch
    >>> TransformerBranch(2, nn.Identity())(torch.tensor([[1.0, 3.0]])).round().tolist()
    [[0.0, 4.0]]
    """

    def __init__(
        self, hidden: Size, body: nn.Module, *, dropout: float = 0.0, switch: Elastic | None = None
    ) -> None:
        super().__init__()
        self.switch = switch
        self.norm = nn.LayerNorm(hidden) if isinstance(hidden, int) else ElasticLayerNorm(hidden)
        self.body = body
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, T, hidden)`` to the same shape."""
        # Weights of a mixture sum to one, so that the input is added once, whatever is mixed.
        return x if self._is_idle() else x + self.dropout(self.body(self.norm(x)))

    def _is_idle(self) -> bool:
        """Whether a supernet's path has nothing here."""
        if self.switch is not None and self.switch.value == 0:
            return True
        choice = self.body
        if not isinstance(choice, LayerChoice) or not isinstance(choice.choice, int):
            return False
        return isinstance(choice.mixed.operations[choice.choice], Zero)


class TransformerModule(nn.Module):
    """A language model: embeddings of tokens and places, layers, and a score for each token that can be next.

    Parameters
    ----------
    tokens : int
        How many different ones there are.
    context : int
        The most tokens at a time.
    hidden : int, or an elastic size
        Width between layers.
    layers : iterable of iterable of mapping, or torch.nn.Module
        Of each layer its parts, as arguments of `transformer_branch`; or all layers as a module.
    tied : bool, default True
        Whether tokens are scored by their embeddings [1]_, instead of weights of their own.
    dropout : float, default 0
        Rate of dropout after the embeddings.

    References
    ----------
    .. [1] O. Press and L. Wolf, "Using the Output Embedding to Improve Language Models", EACL 2017.

    Examples
    --------
    >>> import torch
    >>> layer = [
    ...     {"kind": "attention", "hidden": 16, "heads": 2, "head_dim": 8},
    ...     {"kind": "mlp", "hidden": 16, "inner": 32},
    ... ]
    >>> network = TransformerModule(tokens=50, context=32, hidden=16, layers=[layer, layer])
    >>> network(torch.zeros(3, 20, dtype=torch.long)).shape
    torch.Size([3, 20, 50])
    """

    def __init__(
        self,
        *,
        tokens: int,
        context: int,
        hidden: Size,
        layers: Iterable[Iterable[Mapping[str, Any]]] | nn.Module = (),
        tied: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.tokens, self.places = _embedding(tokens, hidden), _embedding(context, hidden)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.layers = layers if isinstance(layers, nn.Module) else nn.Sequential(*map(_plain_layer, layers))
        self.norm = nn.LayerNorm(hidden) if isinstance(hidden, int) else ElasticLayerNorm(hidden)
        self.head = None if tied else _linear(hidden, tokens, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map int64 ``(B, T)`` to scores of what is next, or hidden, at each place: ``(B, T, tokens)``."""
        x = self.tokens(tokens) + _weight(self.places)[: tokens.shape[1]]
        x = self.norm(self.layers(self.dropout(x)))
        scores: Tensor = F.linear(x, _weight(self.tokens)) if self.head is None else self.head(x)
        return scores


class TransformerSupernet(ModuleSupernet):
    """All networks of `nasx.spaces.Transformer` in one: as wide and deep as any, and in layers of every kind.

    Parameters
    ----------
    space : nasx.spaces.Transformer
        The space.
    spec : TaskSpec
        ``input_shape`` ``(T,)`` and the number of tokens, of kind "language_modelling" or
        "masked_language_modelling".

    Raises
    ------
    ValueError
        If inputs are no tokens, or the networks of this space would see what they are to predict.

    Notes
    -----
    A smaller network has the first features, heads and layers of the largest [1]_. Where a number is decided
    there is no weighted mixture: one architecture is computed at a time, within `path`.

    References
    ----------
    .. [1] H. Wang et al., "HAT: Hardware-Aware Transformers for Efficient Natural Language Processing", ACL
       2020.

    Examples
    --------
    >>> import nasx, torch
    >>> space = nasx.spaces.Transformer(hidden=[16, 32], depths=[1, 2], heads=[2, 4], head_dim=8, mlp=[2])
    >>> supernet = space.supernet(nasx.TaskSpec((24,), 50, "language_modelling"))
    >>> with supernet.path(space.decode([0, 0, 1, -1, -1, -1])):
    ...     supernet(torch.zeros(2, 24, dtype=torch.long)).shape
    torch.Size([2, 24, 50])
    """

    space: Transformer

    def __init__(self, space: Transformer, spec: TaskSpec) -> None:
        frame = space.frame(spec)
        hidden: Size = _elastic(space.hidden, "hidden")
        depth: Any = _elastic(space.depths, "depth")
        layers = (_layer(space, f"layer{i}", hidden) for i in range(1, space.depths[-1] + 1))
        network = TransformerModule(hidden=hidden, layers=ElasticRepeat(layers, depth), **frame)
        super().__init__(space, network)
        self.spec = spec

    def extract(self, architecture: Architecture) -> TransformerModule:
        """Make an architecture's network with copies of the shared weights.

        Raises
        ------
        ValueError
            If the architecture is of another space.
        """
        mine, theirs = super().extract(architecture), self.space.build(architecture, self.spec)
        assert isinstance(theirs, TransformerModule)
        # What is left out of a layer has left a normalisation behind; all else must be there.
        weights = mine.state_dict()
        theirs.load_state_dict({name: weights[name] for name in theirs.state_dict()})
        return theirs.to(next(self.parameters())).train(self.training)


def transformer_branch(
    kind: str, hidden: Size, *, dropout: float = 0.0, **settings: Any
) -> TransformerBranch:
    """Make a part of a layer.

    Parameters
    ----------
    kind : {"attention", "convolution", "mlp"}
        Which.
    hidden : int, or an elastic size
        Width of inputs and outputs.
    dropout : float, default 0
        Rate of dropout before the input is added.
    **settings
        Of `Attention`, of `TimeConvolution`, or of "mlp", two linear layers with GELU between them, the width
        ``inner`` there.

    Returns
    -------
    TransformerBranch
        The part.

    Raises
    ------
    ValueError
        If there is no such part.

    Examples
    --------
    >>> import torch
    >>> transformer_branch("mlp", 8, inner=16)(torch.zeros(2, 3, 8)).shape
    torch.Size([2, 3, 8])
    """
    if kind not in _BODIES:
        raise ValueError(unknown("kind", kind, _BODIES))
    return TransformerBranch(hidden, _BODIES[kind](hidden, **settings), dropout=dropout)


def transformer_block(kind: str, **settings: Any) -> nn.Module:
    """Make a part of these networks.

    Parameters
    ----------
    kind : {"frame", "attention", "convolution", "mlp"}
        Which; the frame is all that is around the layers.
    **settings
        ``hidden`` and what it takes to make it.

    Returns
    -------
    torch.nn.Module
        The part.

    Raises
    ------
    ValueError
        If there is no such part.
    """
    known = ("frame", *_BODIES)
    if kind not in known:
        raise ValueError(unknown("kind", kind, known))
    return TransformerModule(**settings) if kind == "frame" else transformer_branch(kind, **settings)


def _mlp(hidden: Size, inner: Size) -> nn.Module:
    return nn.Sequential(_linear(hidden, inner), nn.GELU(), _linear(inner, hidden))


_BODIES: dict[str, Any] = {"attention": Attention, "convolution": TimeConvolution, "mlp": _mlp}


def _layer(space: Transformer, name: str, hidden: Size) -> nn.Module:
    """Make a layer with all of its kinds, at its widest."""
    kinds: dict[str, nn.Module] = {}
    for kind in space.kinds:
        if kind == "attention":
            heads = _elastic(space.heads, f"{name}.heads")
            kinds[kind] = Attention(hidden, heads, **space.mixing(kind))
        else:
            kinds[kind] = Zero() if kind == "identity" else TimeConvolution(hidden, **space.mixing(kind))
    parts = OrderedDict[str, nn.Module]()
    if space.kinds != ("identity",):
        several = len(kinds) > 1
        body = LayerChoice(kinds, name=f"{name}.kind") if several else next(iter(kinds.values()))
        parts["mixer"] = TransformerBranch(hidden, body, dropout=space.dropout)
    if space.mlp != (0,):
        ratio: Any = space.mlp[0] if len(space.mlp) == 1 else Elastic(space.mlp, name=f"{name}.mlp")
        both = isinstance(hidden, int) and not isinstance(ratio, Elastic)
        inner = scaled(hidden, ratio) if both else hidden * ratio  # type: ignore[arg-type]  # both are numbers
        switch = ratio if isinstance(ratio, Elastic) and space.mlp[0] == 0 else None
        parts["mlp"] = TransformerBranch(hidden, _mlp(hidden, inner), dropout=space.dropout, switch=switch)
    return nn.Sequential(parts)


def _plain_layer(parts: Iterable[Mapping[str, Any]]) -> nn.Module:
    named = (("mlp" if part["kind"] == "mlp" else "mixer", transformer_branch(**part)) for part in parts)
    return nn.Sequential(OrderedDict(named))


def _elastic(values: tuple[int, ...], name: str) -> int | Elastic:
    return values[0] if len(values) == 1 else Elastic(values, name=name)


def _linear(inputs: Size, outputs: Size, bias: bool = True) -> nn.Module:
    if isinstance(inputs, int) and isinstance(outputs, int):
        return nn.Linear(inputs, outputs, bias=bias)
    return ElasticLinear(inputs, outputs, bias=bias)


def _embedding(number: int, width: Size) -> nn.Embedding | ElasticEmbedding:
    made = nn.Embedding(number, width) if isinstance(width, int) else ElasticEmbedding(number, width)
    nn.init.normal_(made.weight, std=_DEVIATION)
    return made


def _weight(embedding: nn.Module) -> Any:
    return embedding.active() if isinstance(embedding, ElasticEmbedding) else embedding.weight
