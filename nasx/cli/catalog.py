"""``nasx strategies`` and ``nasx spaces``: what there is to choose from, and with which settings."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nasx import spaces
from nasx.cli.show import number
from nasx.errors import MissingDependencyError
from nasx.registry import available_strategies, strategy_class

__all__ = ["show_spaces", "show_strategies"]


def show_strategies(name: str | None = None) -> int:
    """Print the strategies, or all about one.

    Parameters
    ----------
    name : str, optional
        One of `nasx.available_strategies`.

    Returns
    -------
    int
        Always 0.

    Raises
    ------
    ValueError
        If there is no such strategy; the nearest one is named.
    """
    if name is not None:
        return _details("strategy", name, strategy_class(name))
    _catalog("strategies", {name: _loader(strategy_class, name) for name in available_strategies()})
    return 0


def show_spaces(name: str | None = None) -> int:
    """Print the built-in spaces, or all about one.

    Parameters
    ----------
    name : str, optional
        One of `nasx.spaces.available_spaces`.

    Returns
    -------
    int
        Always 0.

    Raises
    ------
    ValueError
        If there is no such space; the nearest one is named.
    """
    if name is not None:
        return _details("space", name, spaces.get(name))
    _catalog("spaces", {name: _loader(spaces.get, name) for name in spaces.available_spaces()})
    return 0


def _loader(find: Callable[[str], type[Any]], name: str) -> Callable[[], type[Any]]:
    return lambda: find(name)


def _catalog(kind: str, classes: dict[str, Callable[[], type[Any]]]) -> None:
    """Print a table with a row for each class."""
    table = Table(caption=f"nasx {kind} NAME tells all about one", show_lines=True)
    table.add_column("name", no_wrap=True)
    table.add_column("what it is", overflow="fold")
    table.add_column("settings and their defaults", overflow="fold")
    for name, load in classes.items():
        try:
            cls = load()
        except MissingDependencyError as error:
            table.add_row(escape(name), escape(str(error)), "")
            continue
        known = name if cls.__name__ == name else f"{name}\n{cls.__name__}"
        settings = ", ".join(f"{key} = {_toml(value)}" for key, value in _settings(cls).items())
        table.add_row(escape(known), escape(inspect.getdoc(cls) or "").partition("\n")[0], escape(settings))
    Console().print(table)


def _details(table: str, name: str, cls: type[Any]) -> int:
    """Print a class's documentation, and its defaults as they stand in a configuration file."""
    console = Console(highlight=False)
    console.print(f"[bold]{escape(name)}[/bold]: {cls.__module__}.{cls.__qualname__}\n")
    print(inspect.getdoc(cls) or "")
    if table == "space" and all(value is not inspect.Parameter.empty for value in _settings(cls).values()):
        space = cls()
        print(f"\nWith the defaults: {number(space.size)} architectures, {len(space)} decisions.")
    print(f'\n[{table}]\nname = "{name}"')
    for key, value in _settings(cls).items():
        needed = value is inspect.Parameter.empty
        print(
            f"# {key}: {'to be given' if needed else 'not set'}"
            if needed or value is None
            else f"{key} = {_toml(value)}"
        )
    return 0


def _settings(cls: type[Any]) -> dict[str, Any]:
    """Find the arguments of a class and their defaults."""
    return {name: parameter.default for name, parameter in inspect.signature(cls).parameters.items()}


def _toml(value: Any) -> str:
    """Write a default as TOML does; what TOML cannot say in words."""
    if value is inspect.Parameter.empty:
        return "to be given"
    if value is None:
        return "not set"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value) if isinstance(value, bool | int | float | str) else repr(value)
