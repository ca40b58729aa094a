"""Networks on disk: weights as safetensors, what computes with them as JSON; reading them runs no code."""

from __future__ import annotations

import inspect
import json
import keyword
import math
import operator
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from nasx.errors import require, unknown

__all__ = ["load_network", "save_network"]

_FORMAT = "nasx network 1"
_OPERATORS = (
    "add sub mul truediv floordiv mod neg pow matmul getitem iadd isub imul itruediv eq ne lt le gt ge"
)
_TORCH = """
abs add addmm amax amin arange argmax avg_pool1d bmm cat chunk clamp conv1d conv2d cos cumsum div einsum
erf exp flatten full full_like gelu layer_norm log logsumexp masked_fill matmul max maximum mean min
minimum mul neg ones ones_like permute pow prelu relu relu_ reshape rsqrt rsub
scaled_dot_product_attention sigmoid sin softmax split sqrt square squeeze stack std sub sum tanh
transpose tril triu unbind unsqueeze var where zeros zeros_like
"""
_FUNCTIONAL = """
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool2d avg_pool1d avg_pool2d batch_norm conv1d
conv2d conv_transpose2d dropout elu embedding gelu glu group_norm hardsigmoid hardswish interpolate
layer_norm leaky_relu linear log_softmax max_pool1d max_pool2d mish normalize pad pixel_shuffle prelu
relu relu6 rms_norm scaled_dot_product_attention sigmoid silu softmax softplus tanh unfold
"""
_TENSOR = """
abs add add_ amax amin argmax bmm chunk clamp contiguous cos cumsum dim div exp expand expand_as flatten
float gelu log masked_fill matmul max mean min mul mul_ narrow neg permute pow relu relu_ repeat reshape
rsqrt sigmoid sin size softmax split sqrt square squeeze std sub sum t tanh to transpose tril triu
type_as unbind unflatten unsqueeze var view view_as
"""
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    f"{prefix}.{name}": getattr(module, name)
    for prefix, module, names in (
        ("operator", operator, _OPERATORS),
        ("torch", torch, _TORCH),
        ("torch.nn.functional", F, _FUNCTIONAL),
    )
    for name in names.split()
    if hasattr(module, name)
}
_METHODS = frozenset(_TENSOR.split())
_ATTRIBUTES = frozenset(("T", "device", "dtype", "mT", "ndim", "shape"))
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
_LAYERS: dict[str, type[nn.Module]] = {
    name: kind
    for name, kind in vars(nn).items()
    if isinstance(kind, type)
    and issubclass(kind, nn.Module)
    and kind.__module__.startswith("torch.nn.modules.")
    and not issubclass(kind, _CONTAINERS)
    and kind is not nn.Module
}


def save_network(network: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a network: ``<path>.safetensors`` with its weights, ``<path>.json`` with what it computes.

    Parameters
    ----------
    network : torch.nn.Module
        One that `nasx.nn.plain` or ``architecture.extract`` made.
    path : path-like
        The files' common beginning; the ending of one of them is taken off.

    Raises
    ------
    TypeError
        If it is no `torch.fx.GraphModule`: a module with code of its own cannot be read without that code.
        Or if it computes something that is not known to be harmless.

    Examples
    --------
    >>> import tempfile
    >>> from nasx.nn.export import plain
    >>> network = plain(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_network(network, folder + "/best")
    ...     again = load_network(folder + "/best")
    >>> x = torch.randn(3, 4)
    >>> bool((again(x) == network(x)).all())
    True
    """
    safetensors = require("safetensors.torch", "nasx.nn.save_network", "torch")
    if not isinstance(network, fx.GraphModule):
        raise TypeError(
            f"network must be a torch.fx.GraphModule, as nasx.nn.plain makes; got "
            f"{type(network).__qualname__}, "
            "which cannot be read without its code: save its state_dict() instead"
        )
    modules = {
        str(node.target): network.get_submodule(str(node.target))
        for node in network.graph.nodes
        if node.op == "call_module"
    }
    inside = {f"{name}.{key}" for name, module in modules.items() for key in module.state_dict()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    parameters = dict(network.named_parameters())
    document = {
        "format": _FORMAT,
        "name": type(network).__name__,
        "layers": {name: _layer(name, module) for name, module in modules.items()},
        "tensors": {name: name in parameters for name in tensors if name not in inside},
        "nodes": [_written(node) for node in network.graph.nodes],
    }
    document["frozen"] = [name for name, parameter in parameters.items() if not parameter.requires_grad]
    stem = _stem(path)
    safetensors.save_file(_apart(tensors), f"{stem}.safetensors")
    Path(f"{stem}.json").write_text(json.dumps(document, indent=1, allow_nan=False))


def load_network(path: str | os.PathLike[str]) -> nn.Module:
    """Read what `save_network` wrote.

    Parameters
    ----------
    path : path-like
        The files' common beginning, or one of them.

    Returns
    -------
    torch.nn.Module
        A `torch.fx.GraphModule`, on the CPU and in evaluation mode.

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    ValueError
        If they are damaged, do not fit together, or name anything but torch's layers and functions.
    """
    safetensors = require("safetensors.torch", "nasx.nn.load_network", "torch")
    stem = _stem(path)
    try:
        document = json.loads(Path(f"{stem}.json").read_text())
        if document["format"] != _FORMAT:
            raise ValueError(f"its format is {document['format']!r}; this nasx reads {_FORMAT!r}")
        tensors = safetensors.load_file(f"{stem}.safetensors")
        root = nn.Module()
        for name, layer in document["layers"].items():
            _put(root, name, _made(layer))
        for name, is_parameter in document["tensors"].items():
            tensor = tensors[name]
            _put(root, name, nn.Parameter(tensor) if is_parameter else tensor)
        graph = _graph(document["nodes"], root)
        network = fx.GraphModule(root, graph, class_name=_identifier(document["name"]))
        network.load_state_dict(tensors, assign=True)
        for name in document["frozen"]:
            network.get_parameter(name).requires_grad_(False)
    except FileNotFoundError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, RecursionError) as error:
        raise ValueError(f"{stem}.json and {stem}.safetensors are damaged or no network: {error}") from None
    except safetensors_error() as error:
        raise ValueError(f"{stem}.safetensors is damaged: {error}") from None
    return network.eval()


def safetensors_error() -> type[Exception]:
    """Give the exception that safetensors raises for damaged files."""
    kind: type[Exception] = require("safetensors", "nasx.nn.load_network", "torch").SafetensorError
    return kind


def _stem(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    return name.removesuffix(".json").removesuffix(".safetensors")


def _apart(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy tensors that share memory, which safetensors refuses."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        apart[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return apart


# -- layers --------------------------------------------------------------------------------------------------


def _layer(name: str, module: nn.Module) -> dict[str, Any]:
    """Describe a layer by its class and what that is called with, and make sure that this is all."""
    kind = type(module).__name__
    settings: dict[str, Any] = {}
    if _LAYERS.get(kind) is type(module):
        for key, parameter in inspect.signature(type(module).__init__).parameters.items():
            if key in ("self", "device", "dtype") or parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
                continue
            if not hasattr(module, key):
                continue
            value = getattr(module, key)
            if key == "bias" or isinstance(value, nn.Parameter):
                value = value is not None and value is not False
            settings[key] = value
        layer = {"kind": kind, "settings": _encoded(settings)}
        try:
            twin = _made(json.loads(json.dumps(layer)))
        except (TypeError, ValueError):
            twin = nn.Module()
        shapes = [{key: value.shape for key, value in one.state_dict().items()} for one in (module, twin)]
        if repr(twin) == repr(module) and shapes[0] == shapes[1]:
            return layer
    raise TypeError(
        f"layer {name!r}, {module!r}, cannot be described by settings; save its state_dict() instead"
    )


def _made(layer: Mapping[str, Any]) -> nn.Module:
    if layer["kind"] not in _LAYERS:
        raise ValueError(unknown("layer", layer["kind"], _LAYERS))
    with torch.device("meta"):  # a short file must not claim much memory
        module: nn.Module = _LAYERS[layer["kind"]](**_decoded(layer["settings"], {}))
    return module


def _put(root: nn.Module, name: str, value: nn.Module | torch.Tensor) -> None:
    """Put a layer, a parameter or a buffer in its place, with modules that hold it around."""
    *parents, last = (_part(part) for part in name.split("."))
    for part in parents:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    if isinstance(value, nn.Module):
        for key, child in getattr(root, last, nn.Module()).named_children():
            value.add_module(key, child)
        root.add_module(last, value)
    elif isinstance(value, nn.Parameter):
        root.register_parameter(last, value)
    else:
        root.register_buffer(last, value)


def _part(name: str) -> str:
    # It becomes part of a program's text.
    if not (name.isidentifier() or name.isdecimal()) or keyword.iskeyword(name):
        raise ValueError(f"{name!r} is no name of a module")
    return name


def _identifier(name: Any) -> str:
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"{name!r} is no name")
    return name


# -- what is computed ----------------------------------------------------------------------------------------


def _written(node: fx.Node) -> dict[str, Any]:
    target: Any = node.target
    if node.op == "call_function":
        if target is getattr and node.args[1] in _ATTRIBUTES:
            target = "getattr"
        else:
            names = [name for name, function in _FUNCTIONS.items() if function is target]
            if not names:
                raise TypeError(f"function {target!r} is not known to be harmless")
            target = names[0]
    if node.op == "call_method" and target not in _METHODS:
        raise TypeError(f"method {target!r} is not known to be harmless")
    return {
        "op": node.op,
        "name": node.name,
        "target": target,
        "args": _encoded(node.args),
        "kwargs": _encoded(node.kwargs),
    }


def _graph(nodes: list[dict[str, Any]], root: nn.Module) -> fx.Graph:
    graph, known = fx.Graph(), dict[str, fx.Node]()
    for entry in nodes:
        op, target, name = entry["op"], entry["target"], _identifier(entry["name"])
        args, kwargs = _decoded(entry["args"], known), _decoded(entry["kwargs"], known)
        if op == "call_function":
            if target == "getattr":
                if len(args) != 2 or args[1] not in _ATTRIBUTES or kwargs:
                    raise ValueError(f"attribute {args[1:]!r} is not known to be harmless")
                target = getattr
            elif target in _FUNCTIONS:
                target = _FUNCTIONS[target]
            else:
                raise ValueError(f"function {target!r} is not known to be harmless")
        elif op == "call_method":
            if target not in _METHODS:
                raise ValueError(f"method {target!r} is not known to be harmless")
        elif op in ("call_module", "get_attr"):
            for part in target.split("."):
                _part(part)
        elif op in ("placeholder", "output"):
            _identifier(target)
        else:
            raise ValueError(f"{op!r} is no operation of a graph")
        known[name] = graph.create_node(op, target, tuple(args), dict(kwargs), name=name)
    graph.owning_module = None
    graph.lint()
    return graph


def _encoded(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, tuple):
        return {"tuple": [_encoded(each) for each in value]}
    if isinstance(value, list):
        return [_encoded(each) for each in value]
    if isinstance(value, Mapping):
        return {"dict": {str(key): _encoded(each) for key, each in value.items()}}
    if isinstance(value, slice):
        return {"slice": [_encoded(each) for each in (value.start, value.stop, value.step)]}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is Ellipsis:
        return {"ellipsis": True}
    for kind in (torch.dtype, torch.memory_format):
        if isinstance(value, kind):
            return {kind.__name__: str(value).removeprefix("torch.")}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(f"{value!r} cannot be written as JSON")


def _decoded(value: Any, nodes: Mapping[str, fx.Node]) -> Any:
    if isinstance(value, list):
        return [_decoded(each, nodes) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "node":
        return nodes[content]
    if kind == "tuple":
        return tuple(_decoded(each, nodes) for each in content)
    if kind == "dict":
        return {_identifier(key): _decoded(each, nodes) for key, each in content.items()}
    if kind == "slice":
        return slice(*(_decoded(each, nodes) for each in content))
    if kind == "float":
        return float(content)
    if kind == "ellipsis":
        return ...
    if kind in ("dtype", "memory_format"):
        found = getattr(torch, _identifier(content))
        if isinstance(found, getattr(torch, kind)):
            return found
    raise ValueError(f"{kind!r} is no kind of value")
