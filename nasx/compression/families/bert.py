"""Encoders like BERT and RoBERTa: learned positions, norms after the residual additions, no order in time."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from nasx.compression.blueprint import ACTIVATIONS, Blueprint
from nasx.compression.families.base import Family, LayerParts
from nasx.compression.parts import named_weights
from nasx.compression.shapes import LayerShape, Shape
from nasx.errors import unknown

__all__ = ["Bert", "Roberta"]


class _Head(NamedTuple):
    """What a model puts on top of the encoder, in the words of `Blueprint`."""

    kind: Literal["none", "masked", "classes"] = "none"
    modules: dict[str, nn.Module] = {}  # noqa: RUF012  (never changed)
    decoder: Any = None


class Bert(Family):
    """BERT as an encoder: bare (as sentence encoders are built), with its head for masked tokens, or classes.

    A model of the user's class has as many channels as its heads have together, so parts that keep another
    number of channels are plain modules. Where attention or MLP is left out of a layer its norm stays: it
    belongs to the sum of what came in and what was added, and the next part was trained on its output.

    Parameters
    ----------
    model : torch.nn.Module
        An encoder.

    Raises
    ------
    ValueError
        If it is used as a decoder, or has a setting that is not supported.

    References
    ----------
    J. Devlin et al. BERT: pre-training of deep bidirectional transformers for language understanding. 2019.
    """

    name = "bert"
    classes: ClassVar[tuple[str, ...]] = ("BertModel", "BertForMaskedLM", "BertForSequenceClassification")

    @property
    def _base(self) -> Any:
        model: Any = self.model
        return getattr(model, "bert", model)

    @property
    def _head(self) -> _Head:
        model: Any = self.model
        pooler = {} if self._base.pooler is None else {"pooler": self._base.pooler.dense}
        if hasattr(model, "cls"):
            last = model.cls.predictions
            added = {"transform": last.transform.dense, "transform_norm": last.transform.LayerNorm}
            return _Head("masked", added, last.decoder)
        if hasattr(model, "classifier"):
            return _Head("classes", {**pooler, "classes": model.classifier})
        return _Head("none", pooler)

    @property
    def _padding(self) -> int | None:
        """The token from whose number positions count."""
        return None

    def _described(self) -> tuple[Blueprint, dict[str, Tensor]]:
        base, config = self._base, self._base.config
        if config.is_decoder:
            raise ValueError("the model must be an encoder; its config.is_decoder is set")
        if getattr(config, "position_embedding_type", "absolute") != "absolute":
            raise ValueError(
                "the model's positions must be absolute; its config.position_embedding_type is "
                f"{config.position_embedding_type!r}"
            )
        if config.hidden_act not in ACTIVATIONS:
            raise ValueError(unknown("activation", config.hidden_act, ACTIVATIONS))
        embeddings = base.embeddings
        modules = {
            "tokens": embeddings.word_embeddings,
            "positions": embeddings.position_embeddings,
            "types": embeddings.token_type_embeddings,
            "embedding_norm": embeddings.LayerNorm,
        }
        head = self._head
        values = named_weights({**modules, **head.modules})
        tied = head.decoder is not None and head.decoder.weight is embeddings.word_embeddings.weight
        if head.decoder is not None:
            values["scores_bias"] = head.decoder.bias
            if not tied:
                values["scores.weight"] = head.decoder.weight
        layers = base.encoder.layer
        for i, layer in enumerate(layers):
            values |= named_weights(_modules(layer), f"layers.{i}.")
        own = [layer.attention.self for layer in layers]
        shapes = tuple(
            LayerShape(one.num_attention_heads, one.num_attention_heads, layer.output.dense.weight.shape[1])
            for one, layer in zip(own, layers, strict=True)
        )
        plan = Blueprint(
            Shape(embeddings.word_embeddings.weight.shape[1], shapes),
            head_dim=own[0].attention_head_size,
            vocabulary=embeddings.word_embeddings.weight.shape[0],
            scales=tuple(float(one.attention_head_size**-0.5) for one in own),
            norm="layer",
            epsilon=float(embeddings.LayerNorm.eps),
            activation=ACTIVATIONS[config.hidden_act],
            causal=False,
            post_norm=True,
            input_bias=True,
            output_bias=True,
            mlp_bias=True,
            positions=embeddings.position_embeddings.weight.shape[0],
            token_types=embeddings.token_type_embeddings.weight.shape[0],
            embedding_norm=True,
            head=head.kind,
            tied=tied,
            pooler="pooler" in head.modules,
            classes=len(values["classes.weight"]) if head.kind == "classes" else 0,
            padding=self._padding,
        )
        return plan, values

    def layer_parts(self, i: int) -> LayerParts:
        """Give the modules of layer `i` of the model, for hooks."""
        layer = self._base.encoder.layer[i]
        attention, output = layer.attention.output, layer.output
        return LayerParts(layer, attention.dense, output.dense, (attention.LayerNorm, output.LayerNorm))

    def other_norms(self) -> tuple[nn.Module, ...]:
        """Give the norm of the embeddings, and that of the head for masked tokens."""
        last = self._head.modules.get("transform_norm")
        first = self._base.embeddings.LayerNorm
        return (first,) if last is None else (first, last)

    def _fits_config(self, hidden: int, layer: LayerShape, kept: tuple[int, ...]) -> bool:
        return hidden == layer.heads * self.head_dim

    def _native(self, shape: Shape) -> nn.Module:
        layer = shape.layers[shape.kept[0]]
        assert layer is not None
        changes = {
            "hidden_size": shape.hidden,
            "num_hidden_layers": len(shape.kept),
            "num_attention_heads": layer.heads,
            "intermediate_size": layer.mlp,
        }
        return self._changed(changes, shape.kept)

    def _constructor(self) -> dict[str, Any]:
        bare = self._base is self.model
        return {"add_pooling_layer": self._base.pooler is not None} if bare else {}


class Roberta(Bert):
    """RoBERTa and XLM-RoBERTa, whose positions count the tokens that are no padding.

    Parameters
    ----------
    model : torch.nn.Module
        An encoder.

    Raises
    ------
    ValueError
        If it is used as a decoder, or has a setting that is not supported.

    References
    ----------
    Y. Liu et al. RoBERTa: a robustly optimized BERT pretraining approach. 2019.
    """

    name = "roberta"
    classes: ClassVar[tuple[str, ...]] = tuple(
        f"{kind}{end}"
        for kind in ("Roberta", "XLMRoberta")
        for end in ("Model", "ForMaskedLM", "ForSequenceClassification")
    )

    @property
    def _base(self) -> Any:
        model: Any = self.model
        return getattr(model, "roberta", model)

    @property
    def _head(self) -> _Head:
        model: Any = self.model
        if hasattr(model, "lm_head"):
            if self._base.config.hidden_act != "gelu":
                raise ValueError(
                    "config.hidden_act must be 'gelu', as in the head for masked tokens; got "
                    f"{self._base.config.hidden_act!r}"
                )
            last = model.lm_head
            return _Head("masked", {"transform": last.dense, "transform_norm": last.layer_norm}, last.decoder)
        if hasattr(model, "classifier"):
            last = model.classifier
            return _Head("classes", {"pooler": last.dense, "classes": last.out_proj})
        return super()._head

    @property
    def _padding(self) -> int | None:
        return int(self._base.embeddings.padding_idx)


def _modules(layer: Any) -> dict[str, nn.Module]:
    """Name a layer's modules as `PlainTransformer` does."""
    attention, output = layer.attention.self, layer.attention.output
    return {
        "attention.query": attention.query,
        "attention.key": attention.key,
        "attention.value": attention.value,
        "attention.output": output.dense,
        "attention_norm": output.LayerNorm,
        "mlp.up": layer.intermediate.dense,
        "mlp.down": layer.output.dense,
        "mlp_norm": layer.output.LayerNorm,
    }
