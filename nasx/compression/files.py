"""Plain transformers on disk, safetensors and JSON, and as ONNX models; reading them runs no code."""

from __future__ import annotations

import copy
import json
import os
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from nasx.compression.blueprint import Blueprint
from nasx.compression.families import family_of
from nasx.compression.parts import empty
from nasx.compression.plain import HiddenOutput, PlainTransformer
from nasx.errors import require

__all__ = ["load", "save", "to_onnx"]

_FORMAT = "nasx transformer 1"


def save(network: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a network: ``<path>.safetensors`` with its weights, ``<path>.json`` with all else.

    Parameters
    ----------
    network : PlainTransformer
        What is extracted where layers differ. A part that is of a class of `transformers` has a
        ``save_pretrained`` of its own.
    path : path-like
        The files' common beginning; the ending of one of them is taken off.

    Raises
    ------
    TypeError
        If it is no `PlainTransformer`.

    Examples
    --------
    >>> import tempfile
    >>> from nasx.compression.shapes import LayerShape, Shape
    >>> plan = Blueprint(Shape(8, (LayerShape(2, 1, 6),)), head_dim=4, vocabulary=10, scales=(0.5,))
    >>> network = PlainTransformer(plan).eval()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(network, folder + "/small")
    ...     again = load(folder + "/small")
    >>> x = torch.tensor([[1, 2, 3]])
    >>> bool((again(x).last_hidden_state == network(x).last_hidden_state).all())
    True
    """
    safetensors = require("safetensors.torch", "nasx.compression.save", "torch")
    if not isinstance(network, PlainTransformer):
        hint = "; its save_pretrained() writes it" if hasattr(network, "save_pretrained") else ""
        raise TypeError(f"network must be a PlainTransformer; got {type(network).__qualname__}{hint}")
    stem = _stem(path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    frozen = [name for name, value in network.named_parameters() if not value.requires_grad]
    document = {"format": _FORMAT, "plan": network.plan.to_dict(), "frozen": frozen}
    safetensors.save_file({name: value.clone() for name, value in tensors.items()}, f"{stem}.safetensors")
    Path(f"{stem}.json").write_text(json.dumps(document, indent=1, allow_nan=False))


def load(path: str | os.PathLike[str]) -> PlainTransformer:
    """Read what `save` wrote.

    Parameters
    ----------
    path : path-like
        The files' common beginning, or one of them.

    Returns
    -------
    PlainTransformer
        On the CPU and in evaluation mode.

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    ValueError
        If they are damaged or do not fit together.
    """
    safetensors = require("safetensors.torch", "nasx.compression.load", "torch")
    damaged = require("safetensors", "nasx.compression.load", "torch").SafetensorError
    stem = _stem(path)
    try:
        document = json.loads(Path(f"{stem}.json").read_text())
        if document["format"] != _FORMAT:
            raise ValueError(f"its format is {document['format']!r}; this nasx reads {_FORMAT!r}")
        plan = Blueprint.from_dict(document["plan"])
        values: dict[str, Tensor] = safetensors.load_file(f"{stem}.safetensors")
        if len(plan.layers) > len(values):  # so that a short file does not claim much time
            raise ValueError(f"it has {len(plan.layers)} layers and {len(values)} weights")
        frozen = set(document["frozen"])
        network = empty(plan, values, trainable=[name for name in values if name not in frozen])
        surplus = set(values) - set(network.state_dict())
        if surplus:
            raise ValueError(f"it has no place for {sorted(surplus)[:3]}")
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError) as error:
        raise ValueError(
            f"{stem}.json and {stem}.safetensors are damaged or no transformer: {error}"
        ) from None
    except damaged as error:
        raise ValueError(f"{stem}.safetensors is damaged: {error}") from None
    return network.eval()


def _stem(path: str | os.PathLike[str]) -> str:
    return os.fspath(path).removesuffix(".json").removesuffix(".safetensors")


class _Exported(nn.Module):
    """Takes tensors and gives tensors, in an order that ONNX models keep."""

    def __init__(self, network: PlainTransformer) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        given = self.network(input_ids, attention_mask, token_type_ids)
        tensors = (given[0], given[1]) if isinstance(given, HiddenOutput) else (given[0],)
        return tuple(one for one in tensors if one is not None)


def to_onnx(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a network as an ONNX model, in evaluation mode, for texts of any number and length.

    Its inputs are ``input_ids`` and ``attention_mask``, and ``token_type_ids`` where the network knows types,
    all of int64 and shape (batch, tokens); its outputs bear the names of the network's. A network in which no
    attention is left takes no ``attention_mask``.

    Parameters
    ----------
    model : torch.nn.Module
        A `PlainTransformer`, or a model of a class of `transformers` that `family_of` takes; left as it is.
    path : path-like
        The file.

    Raises
    ------
    MissingDependencyError
        If onnx is not installed.
    TypeError
        If the model is something else.
    """
    require("onnx", "nasx.compression.to_onnx", "onnx")
    whole = model if isinstance(model, PlainTransformer) else family_of(model).whole
    network = copy.deepcopy(whole).eval()
    plan, device = network.plan, network.tokens.weight.device
    results = ["logits"]
    if plan.head == "none":
        results = ["last_hidden_state", "pooler_output"] if plan.pooler else ["last_hidden_state"]
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if plan.token_types else [])]
    length = 3 if not plan.positions else min(3, plan.positions - 1 - (plan.padding or 0))
    example = torch.zeros(len(names), 2, max(1, length), dtype=torch.int64, device=device)
    example[1] = 1
    axes = {name: {0: "batch", 1: "tokens"} for name in (*names, *results)}
    for name in results:
        if name == "pooler_output" or plan.head == "classes":
            axes[name] = {0: "batch"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what changes in coming versions
        torch.onnx.export(
            _Exported(network).eval(),
            tuple(example),
            os.fspath(path),
            input_names=names,
            output_names=results,
            dynamic_axes=axes,
            dynamo=False,
        )
