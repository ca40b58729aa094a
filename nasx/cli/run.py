"""``nasx search``: the search, a baseline beside it, and everything it leaves on disk."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nasx import pareto
from nasx.cli.config import Config, read_config
from nasx.cli.show import front_table, number, size
from nasx.errors import EvaluationError, MissingDependencyError, require
from nasx.journal import Journal
from nasx.loop import search, trial_seed
from nasx.result import Result
from nasx.trial import Trial

__all__ = ["run"]

_WHY = {
    "evaluations": "all evaluations are done",
    "epochs": "all epochs are done",
    "early_stop": "the search was about to collapse",
    "seconds": "the time is up",
    "exhausted": "nothing new was found within the limits",
    "interrupted": "interrupted",
}


@dataclasses.dataclass(frozen=True)
class _Retrained:
    """A search's chosen network, trained again for longer; or why that failed."""

    module: Any
    metrics: dict[str, float]
    error: str = ""


def run(path: str | os.PathLike[str], *, overrides: Sequence[str] = (), fresh: bool = False) -> int:
    """Run or go on with the search of a TOML file.

    Parameters
    ----------
    path : path-like
        The file.
    overrides : sequence of str, optional
        Changes to what the file says, each as ``"search.evaluations=100"``.
    fresh : bool, default False
        Drop the journals of an earlier run first.

    Returns
    -------
    int
        0, 1 if nothing feasible was found or the chosen network failed to train again, 130 if interrupted.

    Raises
    ------
    ConfigurationError
        If the file is wrong.
    JournalError
        If a journal is damaged or of another search.
    """
    config = read_config(path, overrides)
    console = Console()
    console.print(_opening(config), soft_wrap=True)
    searches = {"journal": config.strategy, "baseline": config.baseline}
    journals = {name: config.directory / f"{name}.db" for name in searches}
    if fresh:
        for journal in journals.values():
            Journal.remove(journal)
    results = []
    for name, strategy in searches.items():
        if strategy is None:
            continue
        result = search(
            config.space,
            config.task,
            strategy=strategy,
            journal=journals[name],
            progress=True,
            **config.search,
        )
        console.print(f"{escape(result.strategy)}: {len(result.trials)} trials; {_WHY[result.stopped]}")
        if result.stopped == "interrupted":
            console.print("Everything told is in the journal; the same command goes on from here.")
            return 130
        if name == "journal":
            console.print(front_table(result))
            if result.best is None:
                console.print(f"[red]Nothing to choose:[/red] {escape(str(result.reason))}")
                return 1
        results.append(result)
    return _finish(console, config, results)


def _opening(config: Config) -> str:
    space = config.space
    return (
        f"[bold]{type(space).__name__}[/bold]: {size(space)} architectures, {len(space)} decisions | "
        f"[bold]{type(config.task).__name__}[/bold] | "
        f"everything goes to [bold]{escape(str(config.directory))}[/bold]"
    )


def _finish(console: Console, config: Config, results: list[Result]) -> int:
    """Write what was found, train the chosen networks again if the task can, and compare them."""
    directory, result = config.directory, results[0]
    best = result.best
    assert best is not None
    chosen: dict[str, Any] = {"number": best.number}
    _write_result(directory, result, chosen)
    lines = [f"journal    {directory / 'journal.db'}", f"result     {directory / 'result.json'}"]
    try:
        result.plot(directory / "pareto.png", other=results[1] if len(results) > 1 else None)
        lines.append(f"picture    {directory / 'pareto.png'}")
    except MissingDependencyError as error:
        lines.append(f"picture    none: {error}")
    again: list[_Retrained] = []
    if hasattr(config.task, "retrain"):
        with console.status("training the chosen networks again"):
            again = [_retrain(config, one) for one in results]
    if again or len(results) > 1:
        console.print(_comparison(results, again, getattr(config.task, "watched", "error")))
    failed = bool(again and again[0].error)
    if failed:
        lines.append(f"network    none: {again[0].error}")
    else:
        lines.append(f"network    {_write_network(config, best, again[0] if again else None)}")
    if again and not failed:
        _write_result(directory, result, chosen | {"retrained": again[0].metrics})
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    return 1 if failed else 0


def _write_network(config: Config, best: Trial, retrained: _Retrained | None) -> str:
    """Write the chosen architecture, and its weights if it was trained; say where."""
    document, path = best.architecture.to_dict(), config.directory / "architecture.json"
    if retrained is None:
        path.write_text(json.dumps(document, indent=1))
        return str(path)
    task: Any = config.task
    path.write_text(json.dumps(document | task.input_format, indent=1))
    weights = config.directory / "model.safetensors"
    safetensors = require("safetensors.torch", "writing a network's weights", "torch")
    safetensors.save_model(retrained.module, str(weights))
    return f"{path} + {weights}"


def _write_result(directory: Path, result: Result, chosen: dict[str, Any]) -> None:
    document = result.to_dict() | {"chosen": chosen}
    (directory / "result.json").write_text(json.dumps(document, indent=1, allow_nan=False))


def _retrain(config: Config, result: Result) -> _Retrained:
    if result.best is None:
        return _Retrained(None, {}, "nothing to train")
    seed = trial_seed(result.seed, result.best.number)
    try:
        return _Retrained(*result.retrain(config.task, epochs=config.retrain_epochs, seed=seed))
    except EvaluationError as error:
        return _Retrained(None, {}, str(error))


def _comparison(results: list[Result], again: list[_Retrained], watched: str) -> Table:
    """Put the chosen networks side by side, and each front's share of the front of both searches."""
    objectives = list(results[0].objectives)
    together = [trial for result in results for trial in result.pareto_front]
    mask = pareto.front(results[0].losses(together))
    best = {id(trial) for trial, on_front in zip(together, mask, strict=True) if on_front}
    retrained = f"; test {watched} after training again on training and validation data" if again else ""
    table = Table(title=f"Chosen networks{retrained}")
    for name in ("strategy", *objectives, *([f"test_{watched}"] if again else []), "joint front"):
        table.add_column(escape(name), justify="left" if name == "strategy" else "right")
    for i, result in enumerate(results):
        if result.best is None:
            table.add_row(escape(result.strategy), "none", *[""] * (len(table.columns) - 2))
            continue
        share = sum(id(trial) in best for trial in result.pareto_front)
        table.add_row(
            escape(result.strategy),
            *(number(result.best.metrics[name]) for name in objectives),
            *([_tested(again[i], watched)] if again else []),
            f"{share} of {len(best)}",
        )
    return table


def _tested(retrained: _Retrained, watched: str) -> str:
    if retrained.error:
        return "failed"
    value = retrained.metrics.get(f"test_{watched}")
    return "-" if value is None else number(value)
