"""``nasx profile``: a latency table of a space on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nasx.cli.config import make_space
from nasx.cli.overrides import override
from nasx.cli.show import describe, number
from nasx.hardware import LatencyTable
from nasx.tasks.base import TaskSpec

__all__ = ["profile"]

_SAMPLED = 10_000


def profile(options: argparse.Namespace) -> int:
    """Time a space's networks, save the table, and print what it says.

    Parameters
    ----------
    options : argparse.Namespace
        As the command line has them.

    Returns
    -------
    int
        Always 0.

    Raises
    ------
    ValueError
        If there is no such space, or a setting is wrong.
    """
    settings: dict[str, Any] = {}
    for change in options.set:
        override(settings, change)
    space = make_space({"name": options.space, **settings})
    if not space.can_build:
        raise ValueError(f"profile times networks, and {options.space} has none: it only describes them")
    try:
        shape = tuple(int(size) for size in options.input.split(","))
    except ValueError:
        raise ValueError(f"--input must be sizes such as 3,32,32; got {options.input!r}") from None
    # Sizes of one axis are lengths of texts; encoders, which see all of them, predict what is hidden.
    text = "language_modelling" if settings.get("causal", True) else "masked_language_modelling"
    spec = TaskSpec(shape, options.outputs, text if len(shape) == 1 else "image_classification")
    path = Path(options.output or f"{options.space}-{options.backend}.npz")
    timings = path.with_name(f"{path.name}.timings")
    table = LatencyTable.measure(
        space,
        spec,
        backend=options.backend,
        device=options.device,
        batch_size=options.batch_size,
        threads=options.threads,
        networks=options.networks,
        held_out=options.held_out,
        rounds=options.rounds,
        seed=options.seed,
        resume=timings,
        progress=True,
    )
    table.save(path)
    timings.unlink(missing_ok=True)
    _print(table, path, options)
    return 0


def _print(table: LatencyTable, path: Path, options: argparse.Namespace) -> None:
    console = Console(highlight=False)
    space, about, errors = table.space, table.about, table.about["errors"]
    rows = space.enumerate() if space.size <= _SAMPLED else space.sample(_SAMPLED, seed=options.seed)
    order = table(rows).argsort(kind="stable")
    ends = rows[order[0]], rows[order[-1]]
    sampled = f"of {number(_SAMPLED)} random architectures" if space.size > _SAMPLED else None
    if sampled and table.adds_up:  # else all would have to be looked at, slowly
        try:
            ends = table.fastest(), table.slowest()
            sampled = f"the median is {sampled}"
        except ValueError:  # conditions or constraints in a space too large to look at all
            pass
    shown = np.stack([ends[0], rows[order[len(order) // 2]], ends[1]])
    found = Table(title=f"{type(space).__name__} on {escape(about['device'])}, {about['backend']}")
    found.add_column("", no_wrap=True)
    found.add_column("ms", justify="right", no_wrap=True)
    found.add_column("architecture", overflow="fold")
    for name, row, ms in zip(("fastest", "median", "slowest"), shown, table(shown), strict=True):
        found.add_row(name, f"{ms:.3f}", escape(describe(space.decode(row))))
    found.caption = sampled
    console.print(found)
    console.print(f"on {about['timings']} networks, each left out in turn: {_told(errors)}")
    if held_out := about.get("held_out"):
        console.print(f"on {len(held_out['told_ms'])} networks held out: {_told(held_out['errors'])}")
        if repeated := held_out.get("repeated_errors"):
            console.print(f"these networks themselves, half of the rounds by the other: {_told(repeated)}")
    if unseen := about.get("block_errors"):
        console.print(
            f"sums of blocks, of which {len(about['blocks'])} were timed; others are told from them: "
            f"median error {unseen['median_relative']:.1%}, rank correlation {unseen['rank_correlation']:.3f}"
        )
    console.print(f'{path} is the table; a search takes it as\n\n\\[costs.latency_ms]\ntable = "{path}"')


def _told(errors: Mapping[str, float]) -> str:
    return (
        f"median error {errors['median_relative']:.1%}, {errors['within_10_percent']:.0%} within 10 %, rank "
        f"correlation {errors['rank_correlation']:.3f}"
    )
