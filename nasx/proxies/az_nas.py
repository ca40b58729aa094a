"""The components of AZ-NAS: what the outputs of a network's blocks say of each other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasx.errors import EvaluationError
from nasx.proxies.sizes import flops
from nasx.proxies.subject import Subject, first_tensor, hooked, reached

__all__ = ["az_complexity", "az_expressivity", "az_progressivity", "az_trainability", "blocks_of"]

az_complexity = flops

_SMALL = 1e-8
_SMALLEST_GAIN = 1e-6


def az_expressivity(subject: Subject) -> float:
    """Sum the blocks' entropies of how much of the features' variance lies in each direction."""
    return sum(_entropies(subject))


def az_progressivity(subject: Subject) -> float:
    """Take the least difference of entropies from one block to the next."""
    entropies = _entropies(subject)
    return min(after - before for before, after in itertools.pairwise(entropies))


def _entropies(subject: Subject) -> list[float]:
    entropies = []
    for number, features in enumerate(_features(subject)):
        rows = _rows(features.detach()).double()
        rows = rows - rows.mean(0)
        variances = torch.linalg.eigvalsh(rows.T @ rows / len(rows)).clamp(min=0)
        if not float(variances.sum()) > 0:
            raise EvaluationError(f"the features after block {number} are constant")
        shares = variances / variances.sum()
        entropies.append(-float((shares * (shares + _SMALL).log()).sum()))
    return entropies


def az_trainability(subject: Subject) -> float:
    """Average over the blocks how near their gain of a random gradient of signs is to 1, at best 0."""
    features = _features(subject)
    scores = []
    for number in range(len(features) - 1, 0, -1):
        out, before = features[number], features[number - 1]
        signs = torch.randint(0, 2, out.shape, device=out.device).to(out.dtype) * 2 - 1
        (gradient,) = torch.autograd.grad(out, before, signs, retain_graph=True, allow_unused=True)
        if gradient is None:
            raise EvaluationError(f"block {number} does not depend on the block before it")
        if gradient.shape == signs.shape and torch.equal(gradient, signs):
            raise EvaluationError(f"block {number} computes nothing: it gives what it is given")
        rows_out, rows_in = _rows(signs), _rows(_folded(gradient, out))
        gain = float(torch.linalg.matrix_norm(rows_in.T @ rows_out / len(rows_out), 2))
        scores.append(2 - gain - 1 / (gain + _SMALLEST_GAIN))
    return sum(scores) / len(scores)


def _folded(gradient: Tensor, out: Tensor) -> Tensor:
    """Bring a gradient to the height and width of a block's smaller output: its pixels become channels."""
    if gradient.ndim != 4 or gradient.shape[2:] == out.shape[2:]:
        return gradient
    stride = max(-(-gradient.shape[2] // out.shape[2]), -(-gradient.shape[3] // out.shape[3]))
    missing = [out.shape[axis] * stride - gradient.shape[axis] for axis in (3, 2)]
    if min(missing) < 0:
        raise EvaluationError(f"a block maps {tuple(gradient.shape)} to {tuple(out.shape)}")
    return F.pixel_unshuffle(F.pad(gradient, (0, missing[0], 0, missing[1])), stride)


def _rows(features: Tensor) -> Tensor:
    """One row a place, one column a channel: the second axis of images, the last of all else."""
    if features.ndim == 4:
        features = features.permute(0, 2, 3, 1)
    return features.reshape(-1, features.shape[-1])


def _features(subject: Subject) -> list[Tensor]:
    """Run the network, with new weights, and keep what its blocks give, in the order of running.

    Blocks on which the outputs do not depend are left out.
    """

    def he(weight: Tensor) -> None:
        nn.init.kaiming_normal_(weight, mode="fan_in", nonlinearity="relu")

    subject.initialise(he)
    found: list[Tensor] = []

    def keep(module: nn.Module, _: Any, output: Any) -> Any:
        if not isinstance(output, Tensor) or (found and output.ndim != found[0].ndim):
            return output  # a classifier, behind the blocks
        found.append(output)
        return output.clone()  # what follows may work in place

    with hooked(blocks_of(subject), keep):
        output = first_tensor(subject.run())
    needed = reached(output.grad_fn)
    found = [features for features in found if features.grad_fn in needed]
    if len(found) < 2:
        raise EvaluationError(
            "it compares the outputs of blocks, modules in a Sequential or ModuleList, of which the "
            f"outputs must depend on two at least; it has {len(found)}"
        )
    if not all(torch.isfinite(features).all() for features in found):
        raise EvaluationError("features of a block are NaN or infinite")
    return found


def blocks_of(subject: Subject) -> Sequence[nn.Module]:
    """Find the composite modules that stand in a sequence; else all convolutions and linear layers."""
    found: dict[nn.Module, None] = {}

    def look(module: nn.Module) -> None:
        in_sequence = isinstance(module, nn.Sequential | nn.ModuleList)
        for child in module.children():
            sequence = isinstance(child, nn.Sequential | nn.ModuleList)
            holds_blocks = sequence and any(list(grandchild.children()) for grandchild in child.children())
            if in_sequence and list(child.children()) and not holds_blocks:
                found[child] = None
            else:
                look(child)

    look(subject.network)
    return list(found) if len(found) > 1 else subject.layers()
