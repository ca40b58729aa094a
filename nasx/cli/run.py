"""``nasx search``: the search, a baseline beside it, and everything it leaves on disk."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from nasx import pareto
from nasx.cli.config import Config, read_config
from nasx.cli.show import front_table, number
from nasx.errors import MissingDependencyError, require
from nasx.journal import Journal
from nasx.loop import search, trial_seed
from nasx.result import Result
from nasx.strategies.base import Strategy
from nasx.trial import Trial

__all__ = ["run"]

_WHY = {
    "evaluations": "all evaluations are done",
    "seconds": "the time is up",
    "exhausted": "nothing new is left within the limits",
    "interrupted": "interrupted",
}


@dataclasses.dataclass(frozen=True)
class _Chosen:
    """A search's chosen network, trained again for longer."""

    result: Result
    trial: Trial
    module: Any
    metrics: dict[str, float]


def run(path: str | os.PathLike[str], *, fresh: bool = False) -> int:
    """Run or go on with the search of a TOML file.

    Parameters
    ----------
    path : path-like
        The file.
    fresh : bool, default False
        Drop the journals of an earlier run first.

    Returns
    -------
    int
        0, 1 if nothing feasible was found, 130 if interrupted.

    Raises
    ------
    ConfigurationError
        If the file is wrong.
    JournalError
        If a journal is damaged or of another search.
    """
    config = read_config(path)
    console = Console()
    space = config.space
    console.print(
        f"[bold]{type(space).__name__}[/bold]: {number(space.size)} architectures, {len(space)} decisions | "
        f"[bold]{type(config.task).__name__}[/bold] | everything goes to [bold]{config.directory}[/bold]"
    )
    results = []
    for name, strategy in (("journal", config.strategy), ("baseline", config.baseline)):
        if strategy is None:
            continue
        result = _search(config, strategy, config.directory / f"{name}.db", fresh)
        console.print(f"{result.strategy}: {len(result.trials)} trials; {_WHY[result.stopped]}")
        if result.stopped == "interrupted":
            console.print(
                "Interrupted. Everything told is in the journal; the same command goes on from here."
            )
            return 130
        results.append(result)
    result, *others = results
    console.print(front_table(result))
    if result.best is None:
        console.print(f"[red]Nothing to choose:[/red] {result.reason}")
        return 1
    with console.status("training the chosen networks again"):
        chosen = [_retrain(config, one) for one in results if one.best is not None]
    console.print(_comparison(chosen, results))
    for line in _write(config, result, others, chosen[0]):
        console.print(line, soft_wrap=True)
    return 0


def _search(config: Config, strategy: Strategy, journal: Path, fresh: bool) -> Result:
    if fresh:
        Journal.remove(journal)
    return search(
        config.space, config.task, strategy=strategy, journal=journal, progress=True, **config.search
    )


def _retrain(config: Config, result: Result) -> _Chosen:
    trial = result.best
    assert trial is not None
    seed = trial_seed(result.seed, trial.number)
    trained = config.task.retrain(trial.architecture, epochs=config.retrain_epochs, seed=seed)
    return _Chosen(result, trial, *trained)


def _comparison(chosen: list[_Chosen], results: list[Result]) -> Table:
    """Put the chosen networks side by side, and each front's share of the front of both searches."""
    objectives = list(chosen[0].result.objectives)
    together = [trial for result in results for trial in result.pareto_front]
    mask = pareto.front(results[0].losses(together))
    best = {id(trial) for trial, on_front in zip(together, mask, strict=True) if on_front}
    table = Table(title="Chosen networks; test error after training again on training and validation data")
    for name in ("strategy", *objectives, "test_error", "joint front"):
        table.add_column(name, justify="left" if name == "strategy" else "right")
    for one in chosen:
        share = sum(id(trial) in best for trial in one.result.pareto_front)
        table.add_row(
            one.result.strategy,
            *(number(one.trial.metrics[name]) for name in objectives),
            number(one.metrics["test_error"]),
            f"{share} of {len(best)}",
        )
    return table


def _write(config: Config, result: Result, others: list[Result], chosen: _Chosen) -> list[str]:
    """Write result, picture and network; say where each is."""
    directory, architecture, module = config.directory, chosen.trial.architecture, chosen.module
    document = result.to_dict() | {"chosen": {"number": chosen.trial.number, "retrained": chosen.metrics}}
    (directory / "result.json").write_text(json.dumps(document, indent=1))
    network = architecture.to_dict() | {"normalization": config.task.normalization}
    (directory / "architecture.json").write_text(json.dumps(network, indent=1))
    safetensors = require("safetensors.torch", "writing a network's weights", "torch")
    safetensors.save_model(module, str(directory / "model.safetensors"))
    lines = [
        f"journal    {directory / 'journal.db'}",
        f"result     {directory / 'result.json'}",
        f"network    {directory / 'architecture.json'} + {directory / 'model.safetensors'}",
    ]
    try:
        result.plot(directory / "pareto.png", other=others[0] if others else None)
        lines.append(f"picture    {directory / 'pareto.png'}")
    except MissingDependencyError as error:
        lines.append(f"picture    none: {error}")
    return lines
