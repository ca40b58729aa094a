"""Proxies that run no data: sizes of networks and of their weights."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from nasx.proxies.subject import Subject

__all__ = ["flops", "l2_norm", "params"]


def params(subject: Subject) -> float:
    """Count trainable parameters, as `nasx.hardware.ParamsTable` does."""
    return subject.trainable


@torch.no_grad()
def flops(subject: Subject) -> float:
    """Count operations for one input, as `nasx.hardware.FlopsTable` does: a multiply-add counts as two."""
    subject.network.eval()
    with FlopCounterMode(display=False) as counter:
        subject.run(subject.inputs[:1])
    return float(counter.get_total_flops())


@torch.no_grad()
def l2_norm(subject: Subject) -> float:
    """Sum the Euclidean norms of the layers' weights."""
    return sum(float(weight.double().norm()) for weight in subject.weights())
