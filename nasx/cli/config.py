"""Reading a search from a TOML file."""

from __future__ import annotations

import dataclasses
import inspect
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nasx import spaces, tasks
from nasx.cli.overrides import override
from nasx.errors import ConfigurationError, unknown
from nasx.hardware import LatencyTable, available_costs
from nasx.loop import search
from nasx.registry import available_strategies, strategy_class
from nasx.space import Space
from nasx.strategies.base import Strategy
from nasx.tasks import datasets, tables
from nasx.tasks.base import Task

__all__ = ["Config", "make_space", "read_config"]

_TABLES = ("space", "task", "strategy", "search", "objectives", "costs", "limits", "output")
# Arguments of a search that have a table or a command of their own, or that no file can hold. All others may
# stand in [search].
_ELSEWHERE = ("space", "task", "strategy", "objectives", "costs", "limits", "journal", "progress")
_CODE = ("executor", "callbacks")
_TEXTS = ("train", "valid", "test")
_TASKS = ("ImageClassification", "LanguageModelling", "TabularBenchmark")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """A search as a TOML file describes it.

    Attributes
    ----------
    space : Space
        From ``[space]``: a built-in space's ``name`` and settings; or the task's, if that is a table with a
        space of its own.
    task : Task
        From ``[task]``: ``name`` and settings. An ``ImageClassification`` takes ``data`` and the shares of
        ``valid`` and ``test``; a ``LanguageModelling`` files of text, or shares of ``train`` for the other
        two; a ``TabularBenchmark`` a ``file``, with ``decisions`` if it names its choices,
        or a ``dataset`` of NAS-Bench-Graph.
    strategy, baseline : Strategy, and Strategy or None
        From ``[strategy]``: ``name`` and settings, in ``[strategy.inner]`` those of an inner one; and from
        ``[search]``, ``baseline``, a name or a table like that.
    search : dict
        The arguments of `nasx.search` from ``[search]``, ``[objectives]``, ``[costs]`` and ``[limits]``.
    directory : Path
        From ``[output]``: where everything is written.
    retrain_epochs : int or None
        From ``[output]``: how long the chosen network is trained.
    """

    space: Space
    task: Task
    strategy: Strategy
    baseline: Strategy | None
    search: dict[str, Any]
    directory: Path
    retrain_epochs: int | None


def read_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Config:
    """Read a search from a TOML file.

    Parameters
    ----------
    path : path-like
        The file.
    overrides : sequence of str, optional
        Changes to what it says, each as ``"search.evaluations=100"``.

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
    except (ValueError, RecursionError) as error:  # numbers too long to read and tables too deep among them
        raise ConfigurationError(f"{path} is not TOML: {error}") from None
    try:
        for change in overrides:
            override(data, change)
        return _config(path, data)
    except ConfigurationError as error:
        changed = "".join(f" with --set {change}" for change in overrides)
        raise ConfigurationError(f"{path}{changed}: {error}") from None


def _config(path: Path, data: dict[str, Any]) -> Config:
    for name, table in data.items():
        if name not in _TABLES:
            raise ConfigurationError(unknown("table", name, _TABLES))
        if not isinstance(table, dict):
            raise ConfigurationError(f"{name} must be a table, [{name}]; got {table!r}")
    arguments = dict(data.get("search", {}))
    allowed = [key for key in _parameters(search) if key not in (*_ELSEWHERE, *_CODE)]
    _check_keys("search", arguments, ["baseline", *allowed])
    output = data.get("output", {})
    _check_keys("output", output, ("directory", "retrain_epochs"))
    baseline = arguments.pop("baseline", None)
    if isinstance(baseline, str):
        baseline = {"name": baseline}
    for name in ("objectives", "limits"):
        if name in data:
            arguments[name] = data[name]
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
    space, task = _space_and_task(data, path.parent)
    arguments["costs"] = {
        name: _cost(name, settings, space, path.parent) for name, settings in data.get("costs", {}).items()
    }
    if retrain_epochs is not None and not hasattr(task, "retrain"):
        raise ConfigurationError(
            f"retrain_epochs in table [output]: a {type(task).__name__} has nothing to train; leave it out"
        )
    return Config(
        space=space,
        task=task,
        strategy=_strategy("strategy", data.get("strategy", {"name": "nsga2"})),
        baseline=None if baseline is None else _strategy("search.baseline", baseline),
        search=arguments,
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


def _named(table: str, settings: Any, known: Iterable[str], kind: str) -> tuple[str, dict[str, Any]]:
    if not isinstance(settings, dict):
        raise ConfigurationError(f"[{table}] must be a table with a name; got {settings!r}")
    rest = dict(settings)
    name = rest.pop("name", None)
    if name is None:
        raise ConfigurationError(f"table [{table}] needs a name; known: {', '.join(sorted(known))}")
    if name not in known:
        raise ConfigurationError(f"in table [{table}]: " + unknown(kind, name, known))
    return name, rest


def make_space(table: Any) -> Space:
    """Make a built-in space.

    Parameters
    ----------
    table : dict
        Its ``name`` and settings, as in ``[space]``.

    Returns
    -------
    Space
        The space.

    Raises
    ------
    ConfigurationError
        If there is no such space, or a setting is wrong.
    """
    name, settings = _named("space", table, spaces.available_spaces(), "space")
    cls = spaces.get(name)
    space: Space = _make("space", cls, settings, _parameters(cls))
    return space


def _strategy(where: str, table: Any) -> Strategy:
    name, settings = _named(where, table, available_strategies(), "strategy")
    cls = strategy_class(name)
    if isinstance(settings.get("inner"), dict) and "inner" in _parameters(cls):
        settings["inner"] = _strategy(f"{where}.inner", settings["inner"])
    strategy: Strategy = _make(where, cls, settings, _parameters(cls))
    return strategy


def _cost(name: str, settings: Any, space: Space, folder: Path) -> Any:
    if name not in available_costs():
        raise ConfigurationError("in table [costs]: " + unknown("cost", name, available_costs()))
    if not isinstance(settings, dict):
        raise ConfigurationError(f"in table [costs]: {name} must be a table of settings, [costs.{name}]")
    cls = available_costs()[name]
    if name == LatencyTable.name and "table" in settings:

        def load(table: str) -> LatencyTable:
            return LatencyTable.load(folder / table, space=space)

        return _make(f"costs.{name}", load, settings, ["table"])
    return _make(f"costs.{name}", cls, settings, _parameters(cls))


def _space_and_task(data: Mapping[str, Any], folder: Path) -> tuple[Space, Task]:
    name, settings = _named("task", data.get("task", {}), _TASKS, "task")
    if name == "ImageClassification":
        return make_space(data.get("space", {})), _images(settings, folder)
    if name == "LanguageModelling":
        return make_space(data.get("space", {})), _texts(settings, folder)
    space = make_space(data["space"]) if "space" in data else None
    table = _table(settings, space, data.get("objectives"), folder)
    return table.space, table


def _images(settings: dict[str, Any], folder: Path) -> tasks.ImageClassification:
    cls: Callable[..., tasks.ImageClassification] = tasks.ImageClassification

    def make(data: str, data_seed: int = 0, valid: float = 0.2, test: float = 0.2, **settings: Any) -> Any:
        source = folder / data if data.endswith(".npz") else data
        return cls(**datasets.load(source, seed=data_seed, valid=valid, test=test), **settings)

    if not isinstance(settings.get("data"), str):
        raise ConfigurationError('table [task] needs data = "digits", or a .npz file with images and labels')
    keys = ["data", "data_seed", "valid", "test", *_parameters(cls)]
    task: tasks.ImageClassification = _make("task", make, settings, [key for key in keys if key != "train"])
    return task


def _texts(settings: dict[str, Any], folder: Path) -> tasks.LanguageModelling:
    cls: Callable[..., tasks.LanguageModelling] = tasks.LanguageModelling
    if not isinstance(settings.get("train"), str):
        raise ConfigurationError('table [task] needs train = "text.txt", a file of text in UTF-8')
    files = {
        key: folder / value for key, value in settings.items() if key in _TEXTS and isinstance(value, str)
    }
    task: tasks.LanguageModelling = _make("task", cls, settings | files, _parameters(cls))
    return task


def _table(
    settings: dict[str, Any], space: Space | None, objectives: Any, folder: Path
) -> tasks.TabularBenchmark:
    """Read a table by the reader whose argument is there."""
    if "dataset" in settings:
        read: Callable[..., tasks.TabularBenchmark] = tables.nas_bench_graph
    else:
        read = tables.read_columns if "decisions" in settings else tables.read_npz
        if not isinstance(settings.get("file"), str):
            raise ConfigurationError(
                'table [task] needs file = "table.npz", or dataset = "cora" of NAS-Bench-Graph'
            )
    accepted = ["file" if key == "path" else key for key in _parameters(read)]
    if space is not None and "space" not in accepted:
        raise ConfigurationError("table [space] must be left out: the table of [task] has a space of its own")

    def make(**settings: Any) -> tasks.TabularBenchmark:
        if "file" in settings:
            settings["path"] = folder / settings.pop("file")
        if objectives is not None or "dataset" not in settings:
            settings["objectives"] = objectives or {}
        return read(**settings, **({} if space is None else {"space": space}))

    # The keys that choose a reader are known to all of them, to be proposed for a misspelt one.
    keys = {*accepted, "file", "decisions", "dataset"} - {"space", "objectives", "spec"}
    table: tasks.TabularBenchmark = _make("task", make, settings, keys)
    return table
