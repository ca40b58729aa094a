"""Networks that leave a supernet with their weights, as modules that need nothing of nasx."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from nasx.architecture import Architecture
from nasx.errors import require
from nasx.nn.drop_path import DropPath
from nasx.nn.layers import ReLUDepthwise, as_torch
from nasx.nn.recalibration import recalibrate
from nasx.nn.supernet import Supernet

__all__ = ["extract", "plain", "to_onnx"]


def extract(
    supernet: Supernet, architecture: Architecture, *, batches: Iterable[Any] | None = None
) -> nn.Module:
    """Make an architecture's network with copies of a supernet's weights, as `plain` makes it.

    Parameters
    ----------
    supernet : Supernet
        A trained one; it is left as it is.
    architecture : Architecture
        One of its space.
    batches : iterable, optional
        Training batches, over which batch normalisations are measured for this network alone: inputs, or
        tuples that begin with them. By default they keep what the supernet has measured.

    Returns
    -------
    torch.nn.Module
        With the outputs of the supernet's path, in the supernet's mode; with `batches` in evaluation mode.

    Raises
    ------
    ValueError
        If the supernet works on a part of the channels, or there are no batches.
    TypeError
        If a part of nasx is left that cannot be taken apart.

    Examples
    --------
    >>> import nasx
    >>> space = nasx.spaces.NASBench201(cells=1, channels=4)
    >>> supernet = space.supernet(nasx.TaskSpec((1, 8, 8), 10, "image_classification"))
    >>> network = extract(supernet, space.decode([3, 1, 3, 0, 1, 3]))
    >>> network(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    >>> [name for name, _ in network.named_modules() if "body.0" in name][:4]
    ['body.0', 'body.0.operations', 'body.0.operations.0', 'body.0.operations.0.0']
    """
    network = _taken_apart(supernet.extract(architecture))
    if batches is not None:

        def run(batch: Any) -> None:
            network(batch[0] if isinstance(batch, tuple | list) else batch)

        recalibrate(network, batches, run)
    return network


def plain(network: nn.Module) -> nn.Module:
    """Copy a network as a module in which no class is of nasx.

    It becomes a `torch.fx.GraphModule` of torch's own layers, with parameters of the same names: it can be
    trained on, saved by `save_network`, and exported. What tracing cannot follow, such as modules whose
    layers depend on the data, keeps the classes that it has, and only what is of nasx in it is replaced.

    Parameters
    ----------
    network : torch.nn.Module
        Without undecided choices; left as it is.

    Returns
    -------
    torch.nn.Module
        Equal outputs. `nasx.nn.DropPath` is left out.

    Raises
    ------
    TypeError
        If a part of nasx is left that cannot be taken apart.

    Examples
    --------
    >>> network = plain(nn.Sequential(nn.Linear(4, 2), DropPath(0.5)))
    >>> type(network).__module__, list(network.state_dict())
    ('torch.fx.graph_module', ['0.weight', '0.bias'])
    """
    return _taken_apart(copy.deepcopy(network))


def _taken_apart(network: nn.Module) -> nn.Module:
    training = network.training
    network = of_torch(network)
    found = _traced(network) or _replaced_inside(network)
    left = {type(module).__qualname__ for module in found.modules() if _is_ours(module)}
    if left:
        raise TypeError(
            f"network holds modules of nasx that cannot be traced: {', '.join(sorted(left))}; what is inside "
            "them, or they themselves, decide by the data what to compute"
        )
    return found.train(training)


def _is_ours(module: nn.Module) -> bool:
    return type(module).__module__.partition(".")[0] == "nasx"


def _is_of_torch(module: nn.Module) -> bool:
    return type(module).__module__.partition(".")[0] == "torch"


def of_torch(network: nn.Module) -> nn.Module:
    """Take PyTorch's own layers wherever there are any, and leave drop path out."""

    def own(module: nn.Module) -> nn.Module:
        return nn.Identity() if isinstance(module, DropPath) else as_torch(module)

    for parent in list(network.modules()):
        before = ""
        for name, child in list(parent.named_children()):
            if isinstance(child, ReLUDepthwise):
                setattr(parent, before, nn.ReLU())  # in the place that is kept for it
            setattr(parent, name, own(child))
            before = name
    return own(network)


def _traced(network: nn.Module) -> fx.GraphModule | None:
    """Trace a network; None if that is not possible, or it computes other things in training mode."""
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(module, dict(module._buffers)) for module in network.modules()]
    values = [(buffer, buffer.clone()) for buffer in network.buffers()]
    # What modules of torch and of nasx do in training mode is known to be part of their layers.
    foreign = any(not _is_ours(module) and not _is_of_torch(module) for module, _ in modes)
    graphs = []
    try:
        for training in (False, True) if foreign else (False,):
            for module, _ in modes:
                module.training = training
            graphs.append(_trace(network))
    except Exception:  # whatever a module's own code says to a tensor without values
        return None
    finally:
        for module, before in modes:
            module.training = before
        # A module's own code may have changed them, with numbers or with values that stand for others.
        changed = any(
            module._buffers.keys() != own.keys() or any(module._buffers[key] is not own[key] for key in own)
            for module, own in buffers
        )
        for module, own in buffers:
            module._buffers.clear()
            module._buffers.update(own)
        for buffer, value in values:
            if _differ(buffer, value):
                changed = True
                with torch.no_grad():
                    buffer.copy_(value)
    if changed:
        return None
    for graph in graphs:
        for node in graph.nodes:
            node.type = None  # annotations may be text, which cannot be pickled
    if len(graphs) > 1 and len({graph.python_code("self").src for graph in graphs}) > 1:
        return None
    return fx.GraphModule(network, graphs[0], class_name=type(network).__name__)


def _differ(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors hold other numbers; NaN is as NaN."""
    return not one.is_meta and not torch.equal(one.nan_to_num(), other.nan_to_num())


def _trace(network: nn.Module) -> fx.Graph:
    # A class of this function alone: one with a name would be pickled with the network.
    class Tracer(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            whole = super().is_leaf_module(m, module_qualified_name)
            return whole and all(map(_is_of_torch, m.modules()))

    return Tracer().trace(network)


def _replaced_inside(network: nn.Module) -> nn.Module:
    """Trace the parts that are of nasx, and leave what is around them."""
    memo: dict[int, nn.Module] = {}
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if _is_ours(child):
                memo.setdefault(id(child), _traced(child) or child)
                setattr(parent, name, memo[id(child)])
    return network


def to_onnx(network: nn.Module, path: str | os.PathLike[str], example: Tensor | Sequence[Tensor]) -> None:
    """Write a network as an ONNX model, in evaluation mode.

    Parameters
    ----------
    network : torch.nn.Module
        One that `plain` or `extract` made, or any that torch exports; left as it is.
    path : path-like
        The file.
    example : Tensor, or sequence of Tensor
        Its inputs, with a batch of two or more, since a batch of one may be taken for a constant. Models take
        batches of any size.

    Raises
    ------
    MissingDependencyError
        If onnx is not installed.
    ValueError
        If a batch holds less than two.

    Examples
    --------
    >>> import tempfile, onnxruntime
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     to_onnx(nn.Linear(4, 2), folder + "/model.onnx", torch.zeros(2, 4))
    ...     session = onnxruntime.InferenceSession(folder + "/model.onnx")
    >>> session.run(None, {"input": torch.zeros(5, 4).numpy()})[0].shape
    (5, 2)
    """
    require("onnx", "nasx.nn.to_onnx", "onnx")
    inputs = (example,) if isinstance(example, Tensor) else tuple(example)
    for one in inputs:
        if one.ndim < 1 or len(one) < 2:
            raise ValueError(f"example must have a batch of two at least; got shape {tuple(one.shape)}")
    names = ["input"] if len(inputs) == 1 else [f"input_{i}" for i in range(len(inputs))]
    copied = copy.deepcopy(network).eval()
    with torch.no_grad():
        outputs = copied(*inputs)
    several = isinstance(outputs, tuple | list)
    results = [f"output_{i}" for i in range(len(outputs))] if several else ["output"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what changes in coming versions
        torch.onnx.export(
            copied,
            inputs,
            os.fspath(path),
            input_names=names,
            output_names=results,
            dynamic_axes={name: {0: "batch"} for name in (*names, *results)},
            dynamo=False,
        )
