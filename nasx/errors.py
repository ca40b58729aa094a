"""The exceptions of nasx, and the two helpers that word the commonest of them."""

from __future__ import annotations

import difflib
import importlib
import traceback
from collections.abc import Iterable
from types import ModuleType
from typing import Any

__all__ = [
    "ConfigurationError",
    "EvaluationError",
    "JournalError",
    "MissingDependencyError",
    "NasxError",
    "StopSearch",
    "WorkerError",
    "format_exception",
    "require",
    "unknown",
]


class NasxError(Exception):
    """Base class of the errors that only nasx raises.

    Wrong arguments raise the built-in ``ValueError`` and ``TypeError`` instead.
    """


class MissingDependencyError(NasxError, ImportError):
    """An optional package is needed and not installed; the message names the extra that brings it."""


class EvaluationError(NasxError):
    """One architecture could not be evaluated; inside a search it becomes a failed trial."""


class JournalError(NasxError):
    """A journal cannot be used: foreign, damaged, or of another search."""


class ConfigurationError(NasxError, ValueError):
    """A configuration file is wrong; the message names the key, its table and the nearest right one."""


class WorkerError(NasxError, RuntimeError):
    """Worker processes cannot be started, or the task cannot be sent to them."""


class StopSearch(Exception):
    """Raised by a callback to end a search cleanly after the current trial."""


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """Word the message for a name that is not one of the known ones.

    Parameters
    ----------
    kind : str
        What the name should have been, for example ``"strategy"``.
    name : object
        What came.
    known : iterable of str
        The valid names.

    Returns
    -------
    str
        A sentence with the nearest valid name, if one is near, and all valid names.

    Examples
    --------
    >>> unknown("strategy", "nsga3", ["nsga2", "random_search"])
    "unknown strategy 'nsga3'; did you mean 'nsga2'? Known: nsga2, random_search"
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {name!r}{hint} Known: {', '.join(known) or 'none'}"


def format_exception() -> str:
    """Write the traceback of the exception being handled, in characters that every file can hold.

    Returns
    -------
    str
        The traceback.
    """
    return traceback.format_exc().encode("utf-8", "backslashreplace").decode()


def require(module: str, purpose: str, extra: str) -> Any:
    """Import an optional module, or say which extra brings it.

    Parameters
    ----------
    module : str
        Module to import, for example ``"torch"``.
    purpose : str
        What needs it; the subject of the sentence in the error.
    extra : str
        The extra of nasx that installs it.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    MissingDependencyError
        When the module is not installed.

    Examples
    --------
    >>> require("json", "the example", "all").dumps([1])
    '[1]'
    """
    try:
        found: ModuleType = importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name != top:
            raise
        raise MissingDependencyError(
            f"{purpose} needs {top}: pip install 'nasx[{extra}]'", name=top
        ) from None
    return found
