"""``nasx show``: what a journal says, finished or not."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from typing import get_args

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nasx.result import Result
from nasx.space import Space
from nasx.trial import State

__all__ = ["describe", "front_table", "number", "show", "size"]

_ROWS = 12


def show(path: str | os.PathLike[str], *, as_json: bool = False) -> int:
    """Print a run's best trial and front, or everything as JSON.

    Parameters
    ----------
    path : path-like
        The run's folder or journal.
    as_json : bool, default False
        Print the document of ``Result.to_json`` instead.

    Returns
    -------
    int
        0, or 1 if nothing feasible was found.

    Raises
    ------
    FileNotFoundError, JournalError
        If there is no journal, or it is damaged.
    """
    result = Result.load(path)
    if as_json:
        print(result.to_json())
        return 0 if result.best else 1
    console = Console()
    states = Counter(trial.state for trial in result.trials)
    counts = (
        ", ".join(f"{states[state]} {state}" for state in get_args(State) if states[state]) or "no trials yet"
    )
    console.print(
        f"[bold]{escape(result.strategy)}[/bold], seed {result.seed}, on {type(result.space).__name__} "
        f"({size(result.space)} architectures): {counts}; {result.stopped}"
    )
    best = result.best
    if best is None:
        console.print(f"[red]No best:[/red] {escape(str(result.reason))}")
        return 1
    console.print(front_table(result))
    console.print(f"best is trial {best.number}: {escape(describe(best.architecture))}")
    if result.beside_random:
        console.print(f"by the same shared weights, {escape(result.beside_random)}")
    return 0


def front_table(result: Result) -> Table:
    """Lay the Pareto front out as a table.

    Parameters
    ----------
    result : Result
        What a search found.

    Returns
    -------
    rich.table.Table
        One row a member, the best first, at most twelve.
    """
    several = len(result.objectives) > 1
    front = result.pareto_front if several else result.pareto_front[:1]
    table = Table(title=f"Pareto front of {escape(result.strategy)} ({len(front)})" if several else "Best")
    table.add_column("trial", justify="right")
    for name in result.objectives:
        table.add_column(escape(name), justify="right")
    table.add_column("architecture", overflow="fold")
    for trial in front[:_ROWS]:
        values = [number(trial.metrics[name]) for name in result.objectives]
        table.add_row(str(trial.number), *values, escape(describe(trial.architecture)))
    if len(front) > _ROWS:
        table.caption = f"and {len(front) - _ROWS} more: nasx show --json, or Result.load"
    return table


def describe(architecture: Mapping[str, object]) -> str:
    """Write an architecture on one line; decisions that share the part before a dot stand together.

    Parameters
    ----------
    architecture : mapping
        Name -> choice.

    Returns
    -------
    str
        For example ``"depth=2 block1=conv/16/3"``.

    Examples
    --------
    >>> describe({"depth": 1, "block1.op": "conv", "block1.width": 16})
    'depth=1 block1=conv/16'
    """
    groups: dict[str, list[str]] = {}
    for name, choice in architecture.items():
        groups.setdefault(name.partition(".")[0], []).append(str(choice))
    return " ".join(f"{name}={'/'.join(choices)}" for name, choices in groups.items())


def size(space: Space) -> str:
    """Write how many architectures a space has.

    Parameters
    ----------
    space : Space
        The space.

    Returns
    -------
    str
        As `number` writes it, or that they cannot be counted.
    """
    try:
        return number(space.size)
    except ValueError:
        return "uncounted"


def number(value: float) -> str:
    """Write a number for people.

    Parameters
    ----------
    value : float
        Any number.

    Returns
    -------
    str
        Whole numbers in full with separators up to a billion, others with four digits; those that no double
        holds as a power of ten.

    Examples
    --------
    >>> number(17_304), number(0.027777), number(3.2e12)
    ('17,304', '0.02778', '3.2e+12')
    """
    if value == round(value) and abs(value) < 1e9:
        return f"{round(value):,}"
    try:
        return f"{value:.4g}"
    except OverflowError:
        return f"1e{math.log10(value):.0f}"
