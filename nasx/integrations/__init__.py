"""Bridges to other libraries; each module needs the library that it is named after."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["optuna"]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"nasx.integrations.{name}")
    raise AttributeError(f"module 'nasx.integrations' has no attribute {name!r}")
