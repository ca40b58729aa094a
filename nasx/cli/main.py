"""The ``nasx`` command: reads the arguments and imports no more than the chosen command needs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nasx", description="Neural architecture search.")
    parser.add_argument("--traceback", action="store_true", help="show the whole traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    search = commands.add_parser(
        "search",
        help="run the search that a TOML file describes, or go on with it",
        description="Run the search of a TOML file. Ctrl-C ends it cleanly; the same command goes on.",
    )
    search.add_argument("file", metavar="FILE.toml", help="space, task, strategy, objectives and output")
    search.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change what the file says, as in --set search.evaluations=100 or "
        "--set 'strategy={name=\"asha\"}'; repeatable",
    )
    search.add_argument(
        "--fresh", action="store_true", help="drop the journal of an earlier run and start anew"
    )

    show = commands.add_parser("show", help="show what a run found, or has found so far")
    show.add_argument("run", metavar="RUN", help="the run's folder or its journal")
    show.add_argument("--json", action="store_true", help="print the whole result as JSON instead")

    plot = commands.add_parser(
        "plot", help="draw a run's progress, its Pareto front, and which decisions mattered"
    )
    plot.add_argument("run", metavar="RUN", help="the run's folder or its journal")
    plot.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="where to; the ending decides the format (default: plot.png beside the journal)",
    )

    profile = commands.add_parser(
        "profile",
        help="time a space's networks on this machine and save a latency table",
        description="Time the blocks of a space and some whole networks, and save a table that tells the "
        "latency of any of its architectures. Stopped, the same command goes on.",
    )
    profile.add_argument("space", metavar="SPACE", help="a built-in space (nasx spaces lists them)")
    profile.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the space, as in --set channels=8; repeatable",
    )
    profile.add_argument(
        "--input",
        default="3,32,32",
        metavar="C,H,W",
        help="shape of one input, or the number of tokens in a text (default: %(default)s)",
    )
    profile.add_argument(
        "--outputs", type=int, default=10, help="outputs of a network (default: %(default)s)"
    )
    profile.add_argument("--backend", choices=("torch", "onnxruntime"), default="torch")
    profile.add_argument("--device", default="cpu", help="where torch runs (default: %(default)s)")
    profile.add_argument("--batch-size", type=int, default=1, help="inputs at a time (default: %(default)s)")
    profile.add_argument(
        "--threads", type=int, default=1, help="threads of the backend (default: %(default)s)"
    )
    profile.add_argument(
        "--networks", type=int, default=60, help="whole networks to time (default: %(default)s)"
    )
    profile.add_argument(
        "--held-out",
        type=int,
        default=0,
        metavar="N",
        help="more whole networks, to compare the table with (default: %(default)s)",
    )
    profile.add_argument(
        "--rounds", type=int, default=15, help="times that everything is timed (default: %(default)s)"
    )
    profile.add_argument("--seed", type=int, default=0, help="of the networks (default: %(default)s)")
    profile.add_argument(
        "-o", "--output", metavar="FILE.npz", help="the table (default: SPACE-BACKEND.npz in this folder)"
    )

    for name, one in (("strategies", "strategy"), ("spaces", "space")):
        catalog = commands.add_parser(name, help=f"show the {name} and their settings")
        catalog.add_argument("name", metavar="NAME", nargs="?", help=f"tell all about this {one}")

    commands.add_parser("info", help="show the versions, the CPU level and the threads in use")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        The exit status: 0, 1 if a search found nothing, 2 for wrong input, 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.command == "search":
            from nasx.cli.run import run

            return run(options.file, overrides=options.set, fresh=options.fresh)
        if options.command == "show":
            from nasx.cli.show import show

            return show(options.run, as_json=options.json)
        if options.command == "plot":
            from nasx.cli.plot import plot

            return plot(options.run, options.output)
        if options.command == "profile":
            from nasx.cli.profile import profile

            return profile(options)
        if options.command in ("strategies", "spaces"):
            from nasx.cli.catalog import show_spaces, show_strategies

            return (show_strategies if options.command == "strategies" else show_spaces)(options.name)
        from nasx.cli.info import info

        return info()
    except KeyboardInterrupt:
        print("nasx: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        from nasx.errors import NasxError

        if options.traceback or not isinstance(error, NasxError | ValueError | TypeError | OSError):
            raise
        print(f"nasx: error: {error}", file=sys.stderr)
        return 2
