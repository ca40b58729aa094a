"""``--set``: changes on the command line to what a TOML file says."""

from __future__ import annotations

import tomllib
from typing import Any

from nasx.errors import ConfigurationError

__all__ = ["override"]


def override(data: dict[str, Any], change: str) -> None:
    """Make one change to what was read from a TOML file.

    Parameters
    ----------
    data : dict
        The file's tables; changed in place.
    change : str
        A dotted key, ``=`` and a value of TOML; a value that is none is taken as a string.

    Raises
    ------
    ConfigurationError
        If it is no such change, or a key on the way is no table.

    Examples
    --------
    >>> data = {"search": {"evaluations": 6}}
    >>> override(data, "search.evaluations=100")
    >>> override(data, "strategy.name=nsga2")
    >>> override(data, "task.data='a = b.npz'")
    >>> data
    {'search': {'evaluations': 100}, 'strategy': {'name': 'nsga2'}, 'task': {'data': 'a = b.npz'}}
    """
    key, equals, text = (part.strip() for part in change.partition("="))
    try:
        names = _names(tomllib.loads(f"{key} = 0"))
    except tomllib.TOMLDecodeError:
        names = []
    if not equals or not names:
        raise ConfigurationError(f"--set takes KEY=VALUE, as in search.evaluations=100; got {change!r}")
    for i, name in enumerate(names[:-1]):
        inner = data.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ConfigurationError(f"--set {key}: {'.'.join(names[: i + 1])} is {inner!r}, no table")
        data = inner
    data[names[-1]] = _value(key, text)


def _names(tables: Any) -> list[str]:
    """Follow tables that hold one key each."""
    names: list[str] = []
    while isinstance(tables, dict):
        if len(tables) != 1:
            return []
        ((name, tables),) = tables.items()
        names.append(name)
    return names


def _value(key: str, text: str) -> Any:
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError as error:
        if text[:1] in ("", '"', "'", "[", "{"):
            raise ConfigurationError(f"--set {key}: {text!r} is no value of TOML: {error}") from None
        return text
    if set(document) != {"value"}:
        raise ConfigurationError(f"--set {key}: {text!r} is more than one value of TOML")
    return document["value"]
