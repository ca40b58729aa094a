"""What tests of FBNet and ProxylessNAS share: spaces, methods, tables, and trainings that have begun."""

import numpy as np
import torch
from torch import nn

import nasx
from nasx.hardware import LatencyTable
from nasx.nn import LayerChoice
from nasx.spaces import NASBench201
from nasx.strategies.hardware_aware.fbnet_training import FBNetTraining
from nasx.strategies.hardware_aware.proxyless_training import ProxylessTraining
from nasx.strategies.hardware_aware.rewarded_training import RewardedTraining
from nasx.strategies.limits import CostLimits
from nasx.tasks import ImageClassification
from nasx.tasks.datasets import load

STAGES = {"channels": (8, 12), "repeats": (1, 2), "strides": (1, 2), "stem": 8, "stem_stride": 1, "head": 16}
SPACES = {
    "fbnet": nasx.spaces.FBNet(**STAGES),
    "proxyless": nasx.spaces.ProxylessMobile(**STAGES, first=8),
    "cells": NASBench201(cells=1, channels=4),
}
CELLS = SPACES["cells"]


def network():
    def layer():
        inner = LayerChoice({"relu": nn.ReLU(), "tanh": nn.Tanh()})
        deep = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), inner)
        return LayerChoice({"deep": deep, "conv": nn.Conv2d(8, 8, 1), "skip": nn.Identity()})

    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    return nn.Sequential(nn.Conv2d(1, 8, 3, stride=2), layer(), layer(), *head)


SPACES["modules"] = nasx.space_of(network)
METHODS = {
    "fbnet": nasx.FBNet(epochs=2, batch_size=16, warmup_epochs=1),
    "gradient": nasx.ProxylessNAS(epochs=2, batch_size=16, warmup_epochs=1),
    "reinforce": nasx.ProxylessNAS(epochs=2, batch_size=16, warmup_epochs=1, form="reinforce", samples=2),
}


def digits(cls=ImageClassification):
    """A few digits to learn."""
    data = load("digits")
    (x, y), (a, b) = data["train"], data["valid"]
    return cls((x[:80], y[:80]), (a[:32], b[:32]), batch_size=16, threads=1, device="cpu")


def table_of(space, seed=0):
    """A latency table with different entries everywhere."""
    random = np.random.default_rng(seed)
    return LatencyTable(space, [random.uniform(0.5, 3, n) for n in space.cardinalities], intercept=1.0)


def limited(space, share=0.4):
    """Costs, and a limit that so many architectures meet."""
    table = table_of(space)
    limit = float(np.quantile(table(space.sample(500, seed=1)), share))
    return CostLimits({"latency_ms": table}, {"latency_ms": limit}, lambda x: np.maximum(table(x) - limit, 0))


def training(kind, strategy, task, space=CELLS, cost_limits=None, spread=0.5, **more):
    """A training that has begun, with logits that differ."""
    supernet = space.supernet(task.spec).train()
    with torch.no_grad():
        for rows in supernet.logits.values():
            rows.normal_(0, spread)
    forms = {FBNetTraining: "fbnet", ProxylessTraining: "add", RewardedTraining: "add"}
    options = {"form": forms[kind], "weight": None, "exponent": None, "seed": 0, "device": None} | more
    made = kind(strategy, supernet, task, cost_limits, deadline=None, **options)
    made._schedule(0)
    return made


def batch_of(task):
    return next(iter(task.loaders("train", 0, training=True)))


def logits_of(made):
    return {name: rows.detach().clone() for name, rows in made.supernet.logits.items()}
