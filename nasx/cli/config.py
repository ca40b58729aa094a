"""Reading a search from a TOML file."""

from __future__ import annotations

import dataclasses
import inspect
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasx import spaces, tasks
from nasx.errors import ConfigurationError, unknown
from nasx.hardware import available_costs
from nasx.registry import available_strategies, strategy_class
from nasx.space import Space
from nasx.strategies.base import Strategy
from nasx.tasks import datasets

if TYPE_CHECKING:
    from nasx.tasks import ImageClassification

__all__ = ["Config", "read_config"]

_TABLES = ("space", "task", "strategy", "search", "objectives", "costs", "limits", "output")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """A search as a TOML file describes it.

    Attributes
    ----------
    space : Space
        From ``[space]``: a built-in space's ``name`` and settings.
    task : ImageClassification
        From ``[task]``: ``name``, ``data``, the shares of ``valid`` and ``test``, and settings.
    strategy, baseline : Strategy, and Strategy or None
        From ``[strategy]``: ``name`` and settings; and from ``[search]``, ``baseline``.
    search : dict
        The arguments of `nasx.search` from ``[search]``, ``[objectives]``, ``[costs]`` and ``[limits]``.
    directory : Path
        From ``[output]``: where everything is written.
    retrain_epochs : int or None
        From ``[output]``: how long the chosen network is trained.
    """

    space: Space
    task: ImageClassification
    strategy: Strategy
    baseline: Strategy | None
    search: dict[str, Any]
    directory: Path
    retrain_epochs: int | None


def read_config(path: str | os.PathLike[str]) -> Config:
    """Read a search from a TOML file.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    Config
        Everything made and checked.

    Raises
    ------
    ConfigurationError
        If the file is no TOML, or a key or value is wrong; the message names the key, its table and the
        nearest right one.
    FileNotFoundError
        If there is no such file.
    """
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from None
    try:
        return _config(path, data)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _config(path: Path, data: dict[str, Any]) -> Config:
    for name, table in data.items():
        if name not in _TABLES:
            raise ConfigurationError(unknown("table", name, _TABLES))
        if not isinstance(table, dict):
            raise ConfigurationError(f"{name} must be a table, [{name}]; got {table!r}")
    search = dict(data.get("search", {}))
    _check_keys("search", search, ("evaluations", "seconds", "seed", "baseline"))
    output = data.get("output", {})
    _check_keys("output", output, ("directory", "retrain_epochs"))
    baseline = search.pop("baseline", None)
    for name in ("objectives", "limits"):
        if name in data:
            search[name] = data[name]
    search["costs"] = {name: _cost(name, settings) for name, settings in data.get("costs", {}).items()}
    retrain_epochs = output.get("retrain_epochs")
    if retrain_epochs is not None and (
        isinstance(retrain_epochs, bool) or not isinstance(retrain_epochs, int) or retrain_epochs < 1
    ):
        raise ConfigurationError(
            f"retrain_epochs in table [output] must be a positive integer; got {retrain_epochs!r}"
        )
    directory = output.get("directory", f"runs/{path.stem}")
    if not isinstance(directory, str) or not directory:
        raise ConfigurationError(f"directory in table [output] must be a path; got {directory!r}")
    return Config(
        space=_space(data.get("space", {})),
        task=_task(data.get("task", {}), path.parent),
        strategy=_strategy("strategy", data.get("strategy", {"name": "nsga2"})),
        baseline=None if baseline is None else _strategy("search", {"name": baseline}),
        search=search,
        directory=Path(directory),
        retrain_epochs=retrain_epochs,
    )


def _check_keys(table: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    allowed = list(allowed)
    for key in given:
        if key not in allowed:
            raise ConfigurationError(f"in table [{table}]: " + unknown("key", key, allowed))


def _make(table: str, make: Callable[..., Any], settings: Mapping[str, Any], keys: Iterable[str]) -> Any:
    """Call a constructor with a table's settings, so that whatever it refuses names the table."""
    _check_keys(table, settings, keys)
    try:
        return make(**settings)
    except (ValueError, TypeError, OSError) as error:
        raise ConfigurationError(f"in table [{table}]: {error}") from error


def _parameters(make: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(make).parameters)


def _named(
    table: str, settings: Mapping[str, Any], known: Iterable[str], kind: str
) -> tuple[str, dict[str, Any]]:
    rest = dict(settings)
    name = rest.pop("name", None)
    if name is None:
        raise ConfigurationError(f"table [{table}] needs a name; known: {', '.join(sorted(known))}")
    if name not in known:
        raise ConfigurationError(f"in table [{table}]: " + unknown(kind, name, known))
    return name, rest


def _space(table: Mapping[str, Any]) -> Space:
    name, settings = _named("space", table, spaces.available_spaces(), "space")
    cls = spaces.get(name)
    space: Space = _make("space", cls, settings, _parameters(cls))
    return space


def _strategy(where: str, table: Mapping[str, Any]) -> Strategy:
    name, settings = _named(where, table, available_strategies(), "strategy")
    cls = strategy_class(name)
    strategy: Strategy = _make(where, cls, settings, _parameters(cls))
    return strategy


def _cost(name: str, settings: Any) -> Any:
    if name not in available_costs():
        raise ConfigurationError("in table [costs]: " + unknown("cost", name, available_costs()))
    if not isinstance(settings, dict):
        raise ConfigurationError(f"in table [costs]: {name} must be a table of settings, [costs.{name}]")
    cls = available_costs()[name]
    return _make(f"costs.{name}", cls, settings, _parameters(cls))


def _task(table: Mapping[str, Any], folder: Path) -> ImageClassification:
    name, settings = _named("task", table, ("ImageClassification",), "task")
    cls = getattr(tasks, name)

    def make(data: str, data_seed: int = 0, valid: float = 0.2, test: float = 0.2, **settings: Any) -> Any:
        source = folder / data if data.endswith(".npz") else data
        return cls(**datasets.load(source, seed=data_seed, valid=valid, test=test), **settings)

    if not isinstance(settings.get("data"), str):
        raise ConfigurationError('table [task] needs data = "digits", or a .npz file with images and labels')
    keys = ["data", "data_seed", "valid", "test", *_parameters(cls)]
    task: ImageClassification = _make("task", make, settings, [key for key in keys if key != "train"])
    return task
