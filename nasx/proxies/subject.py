"""`Subject`: a copy of a network that a proxy may do anything to, and what all proxies ask of it."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from nasx.errors import EvaluationError
from nasx.nn.export import of_torch

__all__ = ["Subject", "Watch", "check_batch", "first_tensor", "hooked", "place_of", "reached"]

_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    *([nn.RMSNorm] if hasattr(nn, "RMSNorm") else []),
)


class Subject:
    """A network, its inputs and its loss, for one proxy alone.

    Parameters
    ----------
    network : torch.nn.Module
        Copied; in the copy layers of nasx are PyTorch's own, parametrised weights are plain ones, all
        parameters take gradients, and batch normalisations work by batches, all else as in evaluation.
    inputs, labels : Tensor, or None for labels
        The batch; copied as well.
    loss : callable or None
        ``loss(outputs, labels)``; by default the cross entropy.
    place : torch.device
        Where to compute.

    Attributes
    ----------
    trainable : int
        How many of the network's parameters are trained.
    """

    def __init__(
        self, network: nn.Module, inputs: Tensor, labels: Tensor | None, loss: Any, place: torch.device
    ) -> None:
        self.trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
        self.network = of_torch(copy.deepcopy(network)).to(place)
        for module in list(self.network.modules()):
            if parametrize.is_parametrized(module):
                _bake(module)
        floats = [p for p in self.network.parameters() if p.is_floating_point()]
        for parameter in floats:
            parameter.requires_grad_(True)
            parameter.grad = None
        self.inputs = inputs.detach().to(place, copy=True)
        if self.inputs.is_floating_point() and floats:
            self.inputs = self.inputs.to(floats[0].dtype)
        self._labels = None if labels is None else labels.to(place)
        self._loss: Callable[[Any, Any], Tensor] = _cross_entropy if loss is None else loss
        self.network.eval()
        for module in self.network.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase):
                module.train()

    def run(self, inputs: Tensor | None = None) -> Any:
        """Compute the network's outputs, for the batch by default."""
        # The fused layers of transformers hide what is inside.
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            return self.network(self.inputs if inputs is None else inputs)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)

    def loss(self) -> Tensor:
        """Compute the loss of the batch, a scalar."""
        value = self._loss(self.run(), self._labels)
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise EvaluationError(f"loss must give a scalar tensor; got {value!r}")
        if not torch.isfinite(value):
            raise EvaluationError(f"the loss of the batch is {float(value.detach())}")
        return value.reshape(())

    def layers(self) -> Sequence[nn.Module]:
        """Convolutions and linear layers, at least one."""
        found = [m for m in self.network.modules() if isinstance(m, nn.modules.conv._ConvNd | nn.Linear)]
        if not found and not self.weights():
            raise EvaluationError("it is defined over convolutions and linear layers, and there are none")
        return found

    def weights(self) -> list[nn.Parameter]:
        """Weights of convolutions, linear layers and attention, each once."""
        kinds = nn.modules.conv._ConvNd | nn.Linear | nn.MultiheadAttention
        names = ("weight", "in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
        found: dict[int, nn.Parameter] = {}
        for module in self.network.modules():
            if isinstance(module, kinds):
                for name in names:
                    weight = module._parameters.get(name)
                    if weight is not None:
                        found[id(weight)] = weight
        if not found:
            raise EvaluationError("it is defined over convolutions and linear layers, and there are none")
        return list(found.values())

    def gradients(self, value: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Weights and their gradients; weights that a value does not depend on have zero."""
        weights = self.weights()
        if not value.requires_grad:
            raise EvaluationError("its outputs do not depend on any weight")
        found = torch.autograd.grad(value, weights, allow_unused=True)
        return [
            (weight.detach(), torch.zeros_like(weight) if gradient is None else gradient)
            for weight, gradient in zip(weights, found, strict=True)
        ]

    @torch.no_grad()
    def initialise(self, weight: Callable[[Tensor], Any]) -> None:
        """Draw the weights of all layers anew, with biases of 0 and normalisations that change nothing."""
        for parameter in self.weights():
            weight(parameter)
        for module in self.network.modules():
            own = module._parameters
            if isinstance(module, _NORMS) and own.get("weight") is not None:
                nn.init.ones_(own["weight"])  # type: ignore[arg-type]
            for name in ("bias", "in_proj_bias"):
                bias = own.get(name)
                if bias is not None:
                    bias.zero_()


def _cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean over labels, one for each input or for each of its tokens; the last axis of outputs is classes."""
    return F.cross_entropy(outputs.flatten(0, labels.ndim - 1), labels.flatten())


def _bake(module: nn.Module) -> None:
    """Make parametrised weights of a copy plain ones.

    Not by `remove_parametrizations`: that changes the class, which the copy shares with the original.
    """
    values = {name: getattr(module, name).detach().clone() for name in module._modules["parametrizations"]}  # type: ignore[union-attr]
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module._modules["parametrizations"]
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value))


class Watch(TorchFunctionMode):
    """See every call of a function of torch while a network runs, by modules and by code alike.

    Parameters
    ----------
    **on : callable
        Name of a function -> ``on(call, *args, **kwargs)``, which gives the result; `call` is the function.
    """

    def __init__(self, on: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__()
        self._on = on

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call what watches a function, or the function itself."""
        on = self._on.get(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {})) if on is None else on(func, *args, **(kwargs or {}))


@contextlib.contextmanager
def hooked(modules: Sequence[nn.Module], hook: Callable[[nn.Module, Any, Any], Any]) -> Iterator[None]:
    """Call a hook after every forward of some modules while the context lasts."""
    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def place_of(network: Any) -> torch.device:
    """Say where a module's first parameter or buffer is; the CPU for all else."""
    if isinstance(network, nn.Module):
        for tensor in (*network.parameters(), *network.buffers()):
            return tensor.device
    return torch.device("cpu")


def first_tensor(outputs: Any) -> Tensor:
    """Take the outputs of a network that may give several."""
    if isinstance(outputs, Mapping):
        outputs = next(iter(outputs.values()), None)
    while isinstance(outputs, tuple | list) and outputs:
        outputs = outputs[0]
    if not isinstance(outputs, Tensor):
        raise EvaluationError(f"the network gives {type(outputs).__name__} where a tensor is wanted")
    return outputs


def reached(node: Any) -> set[Any]:
    """All nodes of the graph of gradients that lead to one; none if there is no graph."""
    found: set[Any] = {node} - {None}
    waiting = list(found)
    while waiting:
        for earlier, _ in waiting.pop().next_functions:
            if earlier is not None and earlier not in found:
                found.add(earlier)
                waiting.append(earlier)
    return found


def check_batch(batch: Any) -> tuple[Tensor, Tensor | None]:
    """Turn a batch into tensors.

    Parameters
    ----------
    batch : array_like, or tuple of array_like
        Inputs ``(n, ...)``, or inputs and labels.

    Returns
    -------
    inputs, labels : Tensor, and Tensor or None
        As many labels as inputs. Floating-point arrays become float32, integers stay.

    Raises
    ------
    ValueError
        If it is no batch.
    """
    parts = tuple(batch) if isinstance(batch, tuple | list) and len(batch) <= 2 else (batch,)
    try:
        inputs, *labels = [_tensor(part) for part in parts]
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"batch must be inputs, or inputs and labels, as arrays; {error}") from None
    if inputs.ndim < 2 or not inputs.numel():
        raise ValueError(f"batch must hold inputs of shape (n, ...); got {tuple(inputs.shape)}")
    if inputs.is_floating_point() and not torch.isfinite(inputs).all():
        raise ValueError("batch: an input is NaN or infinite")
    if labels and (not labels[0].ndim or len(labels[0]) != len(inputs)):
        raise ValueError(
            f"batch must hold as many labels as inputs, {len(inputs)}; got shape {tuple(labels[0].shape)}"
        )
    return inputs, labels[0] if labels else None


def _tensor(value: Any) -> Tensor:
    tensor = value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
    return tensor.float() if tensor.dtype == torch.float64 and not isinstance(value, Tensor) else tensor
