"""What is being learned: tasks train and score one architecture at a time."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nasx.errors import require
from nasx.tasks.base import SupernetTask, Task, TaskSpec

if TYPE_CHECKING:
    from nasx.tasks import datasets, tables
    from nasx.tasks.classification import ImageClassification
    from nasx.tasks.distributions import TaskDistribution, TaskSequence
    from nasx.tasks.episodes import FewShotEpisodes
    from nasx.tasks.language import LanguageModelling
    from nasx.tasks.shared_weights import SharedWeights
    from nasx.tasks.tabular import TabularBenchmark

__all__ = [
    "FewShotEpisodes",
    "ImageClassification",
    "LanguageModelling",
    "SharedWeights",
    "SupernetTask",
    "TabularBenchmark",
    "Task",
    "TaskDistribution",
    "TaskSequence",
    "TaskSpec",
    "datasets",
    "tables",
]


def __getattr__(name: str) -> Any:
    if name == "ImageClassification":
        require("torch", "nasx.tasks.ImageClassification", "torch")
        return importlib.import_module("nasx.tasks.classification").ImageClassification
    if name == "FewShotEpisodes":
        require("torch", "nasx.tasks.FewShotEpisodes", "torch")
        return importlib.import_module("nasx.tasks.episodes").FewShotEpisodes
    if name == "LanguageModelling":
        require("torch", "nasx.tasks.LanguageModelling", "torch")
        return importlib.import_module("nasx.tasks.language").LanguageModelling
    if name == "SharedWeights":
        require("torch", "nasx.tasks.SharedWeights", "torch")
        return importlib.import_module("nasx.tasks.shared_weights").SharedWeights
    if name == "TabularBenchmark":
        return importlib.import_module("nasx.tasks.tabular").TabularBenchmark
    if name in ("TaskDistribution", "TaskSequence"):
        return getattr(importlib.import_module("nasx.tasks.distributions"), name)
    if name in ("datasets", "tables"):
        return importlib.import_module(f"nasx.tasks.{name}")
    raise AttributeError(f"module 'nasx.tasks' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
