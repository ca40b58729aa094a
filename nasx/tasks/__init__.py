"""What is being learned: tasks train and score one architecture at a time."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nasx.errors import require
from nasx.tasks.base import Task, TaskSpec

if TYPE_CHECKING:
    from nasx.tasks.classification import ImageClassification

__all__ = ["ImageClassification", "Task", "TaskSpec"]


def __getattr__(name: str) -> Any:
    if name == "ImageClassification":
        require("torch", "nasx.tasks.ImageClassification", "torch")
        return importlib.import_module("nasx.tasks.classification").ImageClassification
    raise AttributeError(f"module 'nasx.tasks' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
