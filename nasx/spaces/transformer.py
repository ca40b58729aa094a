"""`Transformer`: language models of which width, depth and each layer's parts are decided."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nasx._arguments import count
from nasx.architecture import Block
from nasx.errors import unknown
from nasx.space import Categorical, Decision, Ordinal, Space
from nasx.spaces._images import listed, scaled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from nasx.architecture import Architecture
    from nasx.nn import TransformerSupernet
    from nasx.tasks.base import TaskSpec

__all__ = ["Transformer"]

_KINDS = ("attention", "convolution", "identity")
_DEEPEST = 200  # so that a short file cannot ask for millions of decisions


class Transformer(Space):
    """Language models: transformers [1]_ whose layers mix tokens by attention, a convolution, or not at all.

    ``hidden`` is the width between layers and ``depth`` the number of layers. ``layer<i>.kind`` says how the
    layer mixes tokens, ``layer<i>.heads`` by how many heads where that is attention, and ``layer<i>.mlp`` how
    many times `hidden` the layer's perceptron is wide. What has one possible value is not decided: with one
    value for each number, only kinds are left, which methods that learn by gradients can choose among.

    Layers are normalised before each part, token and position embeddings are learned, and contexts are as
    long as the task's inputs. The default settings span some 4e7 decoders, of 1 to 10 million parameters.

    Parameters
    ----------
    hidden : sequence of int, default (128, 256, 384)
        Possible widths, increasing.
    depths : sequence of int, default (3, 4, 5, 6)
        Possible numbers of layers, increasing; at most 200. The first layers are kept.
    kinds : sequence of str, default ("attention", "convolution", "identity")
        What layers can mix tokens by; by "identity" they do not.
    heads : sequence of int, default (2, 4, 8)
        Possible numbers of heads, increasing.
    head_dim : int, default 32
        Width of a head.
    kv_heads : int, optional
        Heads of keys and values, shared by several heads of queries each [2]_: it divides all `heads`. By
        default as many as `heads`.
    mlp : sequence of float, default (1, 2, 4)
        Possible widths of perceptrons, in multiples of `hidden`, increasing. 0 leaves the perceptron out; it
        cannot go with the kind "identity", by which a layer would do nothing.
    kernel_size : int, default 5
        Tokens that a convolution sees; odd.
    causal : bool, default True
        Whether no token sees those after it: decoders, of which GPT is one; else encoders, as BERT.
    tied : bool, default True
        Whether outputs are scored by the tokens' embeddings, instead of weights of their own.
    dropout : float, default 0
        Rate of dropout after each part of a layer.

    Raises
    ------
    ValueError
        If a number is out of range, numbers do not increase, a kind is unknown, settings do not go together,
        or nothing is left to decide.

    References
    ----------
    .. [1] A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017.
    .. [2] J. Ainslie et al., "GQA: Training Generalized Multi-Query Transformer Models from Multi-Head
       Checkpoints", EMNLP 2023.

    Examples
    --------
    >>> from nasx import TaskSpec
    >>> space = Transformer(hidden=[16, 32], depths=[1, 2], heads=[2, 4], head_dim=8, mlp=[2])
    >>> space.size
    40
    >>> dict(space.decode([0, 0, 1, -1, -1, -1]))
    {'hidden': 16, 'depth': 1, 'layer1.kind': 'convolution'}
    >>> network = space.decode(space.sample(1)[0]).build(TaskSpec((64,), 100, "language_modelling"))
    >>> list(Transformer(hidden=[64], depths=[3], heads=[2], mlp=[4]))  # for DARTS
    ['layer1.kind', 'layer2.kind', 'layer3.kind']
    """

    def __init__(
        self,
        *,
        hidden: Sequence[int] = (128, 256, 384),
        depths: Sequence[int] = (3, 4, 5, 6),
        kinds: Sequence[str] = _KINDS,
        heads: Sequence[int] = (2, 4, 8),
        head_dim: int = 32,
        kv_heads: int | None = None,
        mlp: Sequence[float] = (1, 2, 4),
        kernel_size: int = 5,
        causal: bool = True,
        tied: bool = True,
        dropout: float = 0.0,
    ) -> None:
        self.hidden, self.depths = _sizes(hidden, "hidden"), _sizes(depths, "depths")
        self.heads, self.head_dim = _sizes(heads, "heads"), count(head_dim, "head_dim")
        if self.depths[-1] > _DEEPEST:
            raise ValueError(f"depths must be at most {_DEEPEST}; got {self.depths[-1]}")
        self.kinds = _known(kinds)
        self.kv_heads = None if kv_heads is None else count(kv_heads, "kv_heads")
        for number in self.heads:
            if self.kv_heads is not None and number % self.kv_heads:
                raise ValueError(f"kv_heads must divide all heads; {kv_heads} does not divide {number}")
        self.mlp = _ratios(mlp, self.hidden[0])
        if self.mlp[0] == 0 and "identity" in self.kinds:
            raise ValueError(
                "mlp=0 and the kind 'identity' make a layer that does nothing, and so equal networks of two "
                "architectures: leave one of them out, and vary depths instead"
            )
        self.kernel_size = count(kernel_size, "kernel_size", 3)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd; got {kernel_size}")
        for name, value in (("causal", causal), ("tied", tied)):
            if not isinstance(value, bool):
                raise ValueError(f"{name} must be True or False; got {value!r}")
        self.causal, self.tied = causal, tied
        if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
            raise ValueError(f"dropout must be a number of at least 0 and less than 1; got {dropout!r}")
        self.dropout = float(dropout)
        decisions = self._decided()
        if not decisions:
            raise ValueError(
                "nothing is left to decide: give hidden, depths, kinds or mlp more than one value"
            )
        super().__init__(decisions)

    def _decided(self) -> dict[str, Decision]:
        decisions: dict[str, Decision] = {}
        if len(self.hidden) > 1:
            decisions["hidden"] = Ordinal(self.hidden)
        if len(self.depths) > 1:
            decisions["depth"] = Ordinal(self.depths)
        for i in range(1, self.depths[-1] + 1):
            there: dict[str, Any] = {}
            if i > self.depths[0]:
                there["depth"] = [depth for depth in self.depths if depth >= i]
            attends = there
            if len(self.kinds) > 1:
                decisions[f"layer{i}.kind"] = Categorical(self.kinds, when=there)
                attends = there | {f"layer{i}.kind": ["attention"]}
            if len(self.heads) > 1 and "attention" in self.kinds:
                decisions[f"layer{i}.heads"] = Ordinal(self.heads, when=attends)
            if len(self.mlp) > 1:
                decisions[f"layer{i}.mlp"] = Ordinal(self.mlp, when=there)
        return decisions

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON types."""
        return {
            "hidden": list(self.hidden),
            "depths": list(self.depths),
            "kinds": list(self.kinds),
            "heads": list(self.heads),
            "head_dim": self.head_dim,
            "kv_heads": self.kv_heads,
            "mlp": list(self.mlp),
            "kernel_size": self.kernel_size,
            "causal": self.causal,
            "tied": self.tied,
            "dropout": self.dropout,
        }

    # -- networks --------------------------------------------------------------------------------------------

    def layers(self, architecture: Architecture) -> list[list[dict[str, Any]]]:
        """Say what stands in each layer.

        Parameters
        ----------
        architecture : Architecture
            One of this space.

        Returns
        -------
        list of list of dict
            Of each layer the parts that it has, what mixes tokens and then the perceptron, as arguments of
            `nasx.nn.transformer_branch`.
        """
        hidden: Any = architecture.get("hidden", self.hidden[0])
        depth: Any = architecture.get("depth", self.depths[0])
        return [self._layer(architecture, f"layer{i}", hidden) for i in range(1, depth + 1)]

    def _layer(self, architecture: Architecture, layer: str, hidden: int) -> list[dict[str, Any]]:
        kind = str(architecture.get(f"{layer}.kind", self.kinds[0]))
        ratio: Any = architecture.get(f"{layer}.mlp", self.mlp[0])
        more = {"hidden": hidden, "dropout": self.dropout}
        parts: list[dict[str, Any]] = []
        if kind == "attention":
            heads = architecture.get(f"{layer}.heads", self.heads[0])
            parts.append({"kind": kind, "heads": heads, **self.mixing(kind), **more})
        elif kind == "convolution":
            parts.append({"kind": kind, **self.mixing(kind), **more})
        if ratio:
            parts.append({"kind": "mlp", "inner": scaled(hidden, ratio), **more})
        return parts

    def mixing(self, kind: str) -> dict[str, Any]:
        """Give what is the same in all layers that mix tokens in one way.

        Parameters
        ----------
        kind : {"attention", "convolution"}
            How.

        Returns
        -------
        dict
            Arguments of `nasx.nn.transformer_branch`.
        """
        if kind == "attention":
            return {"head_dim": self.head_dim, "kv_heads": self.kv_heads, "causal": self.causal}
        return {"kernel_size": self.kernel_size, "causal": self.causal}

    def frame(self, spec: TaskSpec) -> dict[str, Any]:
        """Say what stands around the layers: arguments of `nasx.nn.TransformerModule`.

        Parameters
        ----------
        spec : TaskSpec
            Of tokens.

        Returns
        -------
        dict
            All but the layers and `hidden`.

        Raises
        ------
        ValueError
            If inputs are no tokens, or the networks of this space would see what they are to predict.
        """
        if not spec.takes_tokens or len(spec.input_shape) != 1:
            raise ValueError(
                "Transformer needs tokens: a spec with input_shape (T,) of kind 'language_modelling' or "
                f"'masked_language_modelling'; got {spec}"
            )
        if spec.kind == "language_modelling" and not self.causal:
            raise ValueError(
                "with causal=False each token sees the next one, which 'language_modelling' predicts: set "
                "causal=True, or let the task hide tokens, nasx.tasks.LanguageModelling(..., masked=0.15)"
            )
        return {
            "tokens": spec.num_outputs,
            "context": spec.input_shape[0],
            "tied": self.tied,
            "dropout": self.dropout,
        }

    def build(self, architecture: Architecture, spec: TaskSpec) -> nn.Module:
        """Make the network of an architecture.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        spec : TaskSpec
            ``input_shape`` ``(T,)`` and the number of tokens, of kind "language_modelling" or
            "masked_language_modelling".

        Returns
        -------
        nasx.nn.TransformerModule
            Maps int64 ``(B, T)`` to scores of all tokens ``(B, T, num_outputs)``; freshly initialised from
            torch's random state.

        Raises
        ------
        ValueError
            If inputs are no tokens, or the networks of this space would see what they are to predict.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        frame = self.frame(spec)
        from nasx.nn import TransformerModule

        hidden: Any = architecture.get("hidden", self.hidden[0])
        return TransformerModule(hidden=hidden, layers=self.layers(architecture), **frame)

    def blocks(self, architecture: Architecture, spec: TaskSpec) -> list[Block]:
        """List what is around the layers, and then their parts.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        spec : TaskSpec
            As for `build`.

        Returns
        -------
        list of Block
            First embeddings and scores, as one block.

        Raises
        ------
        ValueError
            As `build`.
        """
        frame = self.frame(spec)
        hidden: Any = architecture.get("hidden", self.hidden[0])
        found = [_block("frame", spec.input_shape, frame | {"hidden": hidden})]
        shape = (*spec.input_shape, hidden)
        for parts in self.layers(architecture):
            for part in parts:
                settings = {name: value for name, value in part.items() if name != "kind"}
                found.append(_block(part["kind"], shape, settings))
        return found

    def build_block(self, block: Block) -> nn.Module:
        """Make one of `blocks`.

        Parameters
        ----------
        block : Block
            One of this space.

        Returns
        -------
        torch.nn.Module
            What `nasx.nn.transformer_block` makes.
        """
        from nasx.nn import transformer_block

        return transformer_block(block.kind, **dict(block.settings))

    def supernet(
        self, spec: TaskSpec, *, partial_channels: int = 1, edge_normalization: bool = False
    ) -> TransformerSupernet:
        """Make the network that holds all of this space's.

        Where a number is decided, it runs one architecture at a time, within ``supernet.path(architecture)``.

        Parameters
        ----------
        spec : TaskSpec
            As for `build`.
        partial_channels : int, default 1
            Only 1: heads are no parts of channels.
        edge_normalization : bool, default False
            Makes no difference: no two edges meet.

        Returns
        -------
        nasx.nn.TransformerSupernet
            Freshly initialised from torch's random state.

        Raises
        ------
        ValueError
            As `build`, or if `partial_channels` is not 1.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        from nasx.nn import TransformerSupernet

        if partial_channels != 1:
            raise ValueError(
                "partial_channels must be 1 for Transformer, whose layers mix tokens over all of the width; "
                f"got {partial_channels!r}"
            )
        return TransformerSupernet(self, spec)

    def draw(self, architecture: Architecture, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the layers from left to right: how wide their parts are inside.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        path : path-like, optional
            Write the picture here too.

        Returns
        -------
        matplotlib.figure.Figure
            The picture.
        """
        from nasx.spaces._transformer_drawing import draw

        hidden: Any = architecture.get("hidden", self.hidden[0])
        return draw(self.layers(architecture), hidden, path)


def _block(kind: str, shape: tuple[int, ...], settings: dict[str, Any]) -> Block:
    return Block(kind, shape, tuple(sorted(settings.items())))


def _sizes(values: Sequence[int], name: str) -> tuple[int, ...]:
    """Check positive integers that increase."""
    found = listed(values, name)
    if any(one >= other for one, other in itertools.pairwise(found)):
        raise ValueError(f"{name} must increase; got {list(values)}")
    return found


def _known(kinds: Sequence[str]) -> tuple[str, ...]:
    if isinstance(kinds, str) or not isinstance(kinds, Sequence) or not kinds:
        raise ValueError(f"kinds must be a non-empty list of {', '.join(_KINDS)}; got {kinds!r}")
    for kind in kinds:
        if kind not in _KINDS:
            raise ValueError("kinds: " + unknown("kind", kind, _KINDS))
    if len(set(kinds)) < len(kinds):
        raise ValueError(f"kinds must be different; got {list(kinds)}")
    return tuple(kinds)


def _ratios(mlp: Sequence[float], narrowest: int) -> tuple[float, ...]:
    """Check multiples of the width, and that they differ where it is smallest."""
    try:
        values = Ordinal(mlp).choices
    except (TypeError, ValueError) as error:
        raise ValueError(f"mlp: {error}") from None
    ratios = tuple(value for value in values if isinstance(value, int | float))
    if ratios[0] < 0:
        raise ValueError(f"mlp must hold numbers of at least 0; got {ratios[0]}")
    # Equal networks are one genotype: so different multiples give different widths.
    for one, other in itertools.pairwise(ratios):
        if one and scaled(narrowest, one) == scaled(narrowest, other):
            raise ValueError(
                f"mlp: {one} and {other} times {narrowest} are both {scaled(narrowest, one)}: take fewer "
                "multiples, or wider layers"
            )
    return ratios
