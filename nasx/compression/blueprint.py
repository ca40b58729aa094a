"""`Blueprint`: all that there is to say of a transformer but its weights; it counts parameters and bytes."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

from nasx.compression.shapes import LayerShape, Shape
from nasx.errors import unknown

__all__ = ["ACTIVATIONS", "Blueprint"]

ACTIVATIONS: dict[str, str] = {
    "gelu": "gelu",
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
"""Names of activations, and what each is called here."""


@functools.cache
def _hints() -> dict[str, Any]:
    return get_type_hints(Blueprint)


@dataclass(frozen=True)
class Blueprint:
    """What a `nasx.compression.plain.PlainTransformer` is made from.

    Parameters
    ----------
    shape : Shape
        Of the network; no layer of it is None.
    head_dim : int
        Width of a head.
    vocabulary : int
        Number of tokens.
    scales : tuple of float
        What each layer's attention scores are multiplied by.
    norm : {"rms", "layer"}
        How channels are normalised.
    epsilon : float
        What norms add to the variance.
    activation : str
        Of the MLP, one of the values of `ACTIVATIONS`.
    causal : bool
        Whether tokens see only those before them.
    post_norm : bool
        Whether norms come after the residual additions, as in BERT, or before attention and MLP. In the
        former case the norm of an attention or MLP that is left out stays, in the latter it goes.
    gated : bool
        Whether the MLP's activation is a gate.
    input_bias, output_bias, mlp_bias : bool
        Whether there are biases in queries, keys and values, in the attention's output, and in the MLP.
    head_norm : bool
        Whether queries and keys are normalised, each head by itself.
    rotary : float or None
        If positions turn queries and keys: what cosine and sine are multiplied by.
    positions, token_types : int
        Numbers of learned embeddings; 0 for none.
    embedding_norm : bool
        Whether what comes out of the embeddings is normalised.
    head : {"none", "language", "masked", "classes"}
        What is made of the last layer's output: nothing, scores of tokens, the same through a further layer
        (as BERT does), or scores of classes from what the pooler gives.
    tied : bool
        Whether the head's weights are the token embeddings.
    pooler : bool
        Whether a layer makes one vector of the first token's.
    classes : int
        Number of classes of the head "classes".
    padding : int or None
        If positions count the tokens that are no padding, from the number after it: the token for padding.

    Raises
    ------
    ValueError
        If one is out of its range or they contradict each other.
    """

    shape: Shape
    head_dim: int
    vocabulary: int
    scales: tuple[float, ...]
    norm: Literal["rms", "layer"] = "rms"
    epsilon: float = 1e-6
    activation: str = "silu"
    causal: bool = True
    post_norm: bool = False
    gated: bool = False
    input_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    head_norm: bool = False
    rotary: float | None = None
    positions: int = 0
    token_types: int = 0
    embedding_norm: bool = False
    head: Literal["none", "language", "masked", "classes"] = "none"
    tied: bool = False
    pooler: bool = False
    classes: int = 0
    padding: int | None = None

    def __post_init__(self) -> None:
        if None in self.shape.layers:
            raise ValueError("a blueprint's shape must leave no layer out; give the layers that are there")
        if len(self.scales) != len(self.shape.layers):
            raise ValueError(
                f"scales must have one number for each of the {len(self.shape.layers)} layers; "
                f"got {len(self.scales)}"
            )
        hints = _hints()
        for name in ("norm", "head"):
            if getattr(self, name) not in get_args(hints[name]):
                raise ValueError(unknown(name, getattr(self, name), get_args(hints[name])))
        if self.activation not in ACTIVATIONS.values():
            raise ValueError(unknown("activation", self.activation, ACTIVATIONS.values()))
        for name, least in (("head_dim", 1), ("vocabulary", 1), ("positions", 0), ("token_types", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}; got {getattr(self, name)}")
        if not all(map(math.isfinite, (*self.scales, self.epsilon, self.rotary or 0.0))):
            raise ValueError("scales, epsilon and rotary must be finite")
        if self.rotary is not None and self.head_dim % 2:
            raise ValueError(f"head_dim must be even where positions turn heads; got {self.head_dim}")
        if self.padding is not None and (not 0 <= self.padding < self.positions or self.causal):
            raise ValueError(
                "padding must be from 0 to below the number of positions, in an encoder; "
                f"got {self.padding} for {self.positions}"
            )
        if self.head == "classes" and not (self.pooler and self.classes > 0):
            raise ValueError("head 'classes' needs a pooler and at least one class")

    @property
    def layers(self) -> tuple[LayerShape, ...]:
        """The layers' shapes."""
        return tuple(layer for layer in self.shape.layers if layer is not None)

    def cut(self, shape: Shape) -> Blueprint:
        """Give the blueprint of a part of this network.

        Parameters
        ----------
        shape : Shape
            With one entry for each layer of this network.

        Returns
        -------
        Blueprint
            Without the layers that are left out.
        """
        kept = shape.kept
        return dataclasses.replace(
            self,
            shape=Shape(shape.hidden, tuple(shape.layers[i] for i in kept)),
            scales=tuple(self.scales[i] for i in kept),
        )

    # -- counts ----------------------------------------------------------------------------------------------

    def _norm(self, hidden: int) -> int:
        return hidden if self.norm == "rms" else 2 * hidden

    def layer_parameters(self, layer: LayerShape | None, hidden: int) -> int:
        """Count the parameters of a layer.

        Parameters
        ----------
        layer : LayerShape or None
            Its shape; None has none.
        hidden : int
            Width of what it takes and gives.

        Returns
        -------
        int
            With its norms.
        """
        if layer is None:
            return 0
        total = self._norm(hidden) * sum(1 for size in (layer.heads, layer.mlp) if size or self.post_norm)
        if layer.heads:
            inputs = (layer.heads + 2 * layer.groups) * self.head_dim
            total += inputs * (hidden + self.input_bias)
            total += hidden * (layer.heads * self.head_dim + self.output_bias)
            total += 2 * self.head_dim * self.head_norm
        if layer.mlp:
            total += (1 + self.gated) * layer.mlp * (hidden + self.mlp_bias)
            total += hidden * (layer.mlp + self.mlp_bias)
        return total

    def other_parameters(self, hidden: int) -> int:
        """Count the parameters outside the layers: embeddings, the last norm, heads; tied weights once.

        Parameters
        ----------
        hidden : int
            Width of what goes from layer to layer.

        Returns
        -------
        int
            The same whatever the layers are.
        """
        total = (self.vocabulary + self.positions + self.token_types) * hidden
        total += self._norm(hidden) * (self.embedding_norm + (not self.post_norm))
        total += hidden * (hidden + 1) * self.pooler
        if self.head in ("language", "masked"):
            total += 0 if self.tied else self.vocabulary * hidden
        if self.head == "masked":
            total += hidden * (hidden + 1) + self._norm(hidden) + self.vocabulary
        if self.head == "classes":
            total += self.classes * (hidden + 1)
        return total

    @property
    def parameters(self) -> int:
        """Number of parameters; tied weights count once."""
        hidden = self.shape.hidden
        return self.other_parameters(hidden) + sum(self.layer_parameters(one, hidden) for one in self.layers)

    def kv_values(self, tokens: int, batch: int = 1) -> int:
        """Count the numbers that are kept of keys and values while text is generated.

        Parameters
        ----------
        tokens : int
            Length of the text.
        batch : int
            How many texts.

        Returns
        -------
        int
            0 for encoders, which keep none.
        """
        groups = sum(layer.groups for layer in self.layers)
        return 2 * groups * self.head_dim * tokens * batch if self.causal else 0

    # -- files -----------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Write it as what JSON can hold; `from_dict` reads it."""
        written = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**written, "shape": self.shape.to_dict(), "scales": list(self.scales)}

    @classmethod
    def from_dict(cls, written: Mapping[str, Any]) -> Blueprint:
        """Read what `to_dict` wrote.

        Raises
        ------
        ValueError
            If it is something else.
        """
        kinds = {field.name: field for field in dataclasses.fields(cls)}
        if not isinstance(written, Mapping) or set(written) != set(kinds):
            raise ValueError(f"a blueprint has the fields {sorted(kinds)}; got {str(written)[:200]}")
        values = dict(written)
        for name, value in values.items():
            wanted = {
                "int": (int,),
                "bool": (bool,),
                "float": (int, float),
                "str": (str,),
                "int | None": (int, type(None)),
                "float | None": (int, float, type(None)),
            }.get(str(kinds[name].type))
            if wanted and (not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted)):
                raise ValueError(f"{name} must be {kinds[name].type}; got {value!r}")
        if not isinstance(values["scales"], list):
            raise ValueError(f"scales must be a list; got {values['scales']!r}")
        values["shape"] = Shape.from_dict(values["shape"])
        values["scales"] = tuple(float(one) for one in values["scales"])
        return cls(**values)
