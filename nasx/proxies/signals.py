"""Proxies that ask how well a network tells its inputs apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasx.errors import EvaluationError
from nasx.proxies.subject import Subject, Watch, first_tensor, reached

__all__ = ["jacob_cov", "naswot", "zen"]

# Functions of torch that are on above zero and (nearly) off below.
_ACTIVATIONS = (
    *("relu", "relu_", "relu6", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "rrelu", "rrelu_"),
    *("prelu", "gelu", "silu", "hardswish", "elu", "elu_", "celu", "celu_", "selu", "selu_", "mish"),
    *("threshold", "_threshold", "threshold_"),
)
_POOLINGS = ("adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "max_pool2d", "mean", "amax")
_ZEN_REPEATS = 4
_ZEN_NOISE = 0.01
_JACOB_COV = 1e-5
# Integers up to this are exact in float32.
_EXACT = 2**24


def naswot(subject: Subject) -> float:
    """Take the log-determinant of the matrix of agreeing activations of each two inputs."""
    kernels: list[tuple[Any, Tensor]] = []
    n = len(subject.inputs)

    def watch(call: Any, *args: Any, **kwargs: Any) -> Any:
        out = call(*args, **kwargs)
        if out.shape[0] % n:
            raise EvaluationError(
                f"an activation has shape {tuple(out.shape)}, whose first axis does not hold the batch of {n}"
            )
        kernels.append((out.grad_fn, _agreement(out.detach().reshape(n, -1) > 0)))
        return out

    if subject.inputs.is_floating_point():
        subject.inputs.requires_grad_(True)  # activations before the first layer are on the graph too
    with Watch(dict.fromkeys(_ACTIVATIONS, watch)):
        output = first_tensor(subject.run())
    if not kernels:
        raise EvaluationError("it compares activations of ReLU and its relatives, and none was computed")
    needed = reached(output.grad_fn)
    counted = [kernel for node, kernel in kernels if node in needed]
    if not counted:
        raise EvaluationError("the outputs depend on no activation")
    sign, value = torch.linalg.slogdet(torch.stack(counted).sum(0))
    if not float(sign) > 0:
        raise EvaluationError("some inputs have all their activations in common: it does not tell them apart")
    return float(value)


def _agreement(codes: Tensor) -> Tensor:
    """Count, for each two rows of bits ``(n, units)``, the bits that they share."""
    units = codes.shape[1]
    codes = codes.to(torch.float32 if units < _EXACT else torch.float64)
    ones = codes.sum(1).double()
    return 2 * (codes @ codes.T).double() + units - ones[:, None] - ones[None, :]


def jacob_cov(subject: Subject) -> float:
    """Score the spectrum of the correlations between the inputs' gradients of the sum of outputs."""
    inputs = subject.inputs.requires_grad_(True)
    value = first_tensor(subject.run()).sum()
    if not value.requires_grad:
        raise EvaluationError("the outputs do not depend on the inputs")
    (gradients,) = torch.autograd.grad(value, inputs, allow_unused=True)
    if gradients is None:
        raise EvaluationError("the outputs do not depend on the inputs")
    rows = gradients.reshape(len(inputs), -1).double()
    if not torch.isfinite(rows).all():
        raise EvaluationError("a gradient by an input is NaN or infinite")
    rows = rows - rows.mean(1, keepdim=True)
    norms = rows.norm(dim=1, keepdim=True)
    if not (norms > 0).all():
        raise EvaluationError("the gradient by an input is constant, so that nothing correlates with it")
    rows = rows / norms
    spectrum = torch.linalg.eigvalsh(rows @ rows.T).clamp(min=0) + _JACOB_COV
    return -float((spectrum.log() + 1 / spectrum).sum())


@torch.no_grad()
def zen(subject: Subject) -> float:
    """Measure the change of the features of random inputs by noise, with random weights."""
    return sum(_zen_once(subject) for _ in range(_ZEN_REPEATS)) / _ZEN_REPEATS


def _zen_once(subject: Subject) -> float:
    subject.initialise(nn.init.normal_)
    inputs = torch.randn_like(subject.inputs)
    noise = torch.randn_like(subject.inputs)
    scales: list[float] = []

    def norm(call: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        axes = [axis for axis in range(x.ndim) if axis != 1]
        scales.append(float(x.double().var(axes, correction=0).mean()))
        return call(x, *args, **kwargs)

    features = _features(subject, inputs, {"batch_norm": norm})
    changed = _features(subject, inputs + _ZEN_NOISE * noise, {})
    change = float((features - changed).double().abs().flatten(1).sum(1).mean())
    if not math.isfinite(change) or not all(map(math.isfinite, scales)):
        raise EvaluationError("features with random normal weights are too large for their data type")
    if change <= 0:
        raise EvaluationError("its features do not depend on the inputs")
    return math.log(change) + sum(math.log(scale) / 2 for scale in scales if scale > 0)


def _features(subject: Subject, inputs: Tensor, on: dict[str, Any]) -> Tensor:
    """Run a network; its features before the last global pooling, or its outputs if it has none."""
    found: Sequence[Tensor] = ()

    def pool(call: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal found
        out = call(x, *args, **kwargs)
        pooled = out.shape[2:].numel() == 1 if isinstance(out, Tensor) else False
        if pooled and isinstance(x, Tensor) and x.ndim == 4 and len(out) == len(x):
            found = (x,)
        return out

    with Watch(dict.fromkeys(_POOLINGS, pool) | on):
        outputs = first_tensor(subject.run(inputs))
    return found[0] if found else outputs
