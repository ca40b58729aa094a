"""Methods that carry what one search has learned into the next."""

from __future__ import annotations

import importlib
from typing import Any

from nasx.errors import require


def __getattr__(name: str) -> Any:
    if name == "MetaLearner":
        require("torch", "nasx.MetaLearner", "torch")
        return importlib.import_module("nasx.strategies.transfer.learner").MetaLearner
    raise AttributeError(f"module 'nasx.strategies.transfer' has no attribute {name!r}")
