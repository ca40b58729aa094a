"""Smaller transformers: plain modules, cut out of a model, that keep to hard limits."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasx.compression.calibration import Sequences
    from nasx.compression.families import family_of
    from nasx.compression.files import load, save, to_onnx
    from nasx.compression.generation import generate
    from nasx.compression.importance import Ranking, rank
    from nasx.compression.profiling import Profile, profile
    from nasx.compression.recovery import recover
    from nasx.compression.result import Candidate, CompressionResult
    from nasx.compression.sandwich import train_supernet
    from nasx.compression.scoring import Scorer
    from nasx.compression.searching import compress, search
    from nasx.compression.shapes import LayerShape, Order, Shape
    from nasx.compression.space import CompressionSpace
    from nasx.compression.times import Latency, measure_latency

_EXPORTS = {
    "Candidate": "result",
    "CompressionResult": "result",
    "CompressionSpace": "space",
    "Latency": "times",
    "LayerShape": "shapes",
    "Order": "shapes",
    "Profile": "profiling",
    "Ranking": "importance",
    "Scorer": "scoring",
    "Sequences": "calibration",
    "Shape": "shapes",
    "compress": "searching",
    "family_of": "families",
    "generate": "generation",
    "load": "files",
    "measure_latency": "times",
    "profile": "profiling",
    "rank": "importance",
    "recover": "recovery",
    "save": "files",
    "search": "searching",
    "to_onnx": "files",
    "train_supernet": "sandwich",
}

__all__ = [
    "Candidate",
    "CompressionResult",
    "CompressionSpace",
    "Latency",
    "LayerShape",
    "Order",
    "Profile",
    "Ranking",
    "Scorer",
    "Sequences",
    "Shape",
    "compress",
    "family_of",
    "generate",
    "load",
    "measure_latency",
    "profile",
    "rank",
    "recover",
    "save",
    "search",
    "to_onnx",
    "train_supernet",
]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'nasx.compression' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"nasx.compression.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
