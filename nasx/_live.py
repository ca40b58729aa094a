"""A live display of what takes its time."""

from __future__ import annotations

import sys
import threading
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self

__all__ = ["Live", "format_seconds"]

_QUIET_SECONDS = 2.0
_LINE_SECONDS = 10.0


class Live(ABC):
    """A live bar on a terminal, a line now and then elsewhere.

    Nothing is shown for the first two seconds. Subclasses say how far they are.

    Parameters
    ----------
    title : str
        What is going on.
    total : float, optional
        What `completed` ends at.
    show : bool, optional
        By default on a terminal only.
    """

    def __init__(self, title: str, *, total: float | None, show: bool | None = None) -> None:
        self._title, self._total = title, total
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._show = sys.stderr is not None and (self._terminal if show is None else show)
        self._begun = self._printed = time.monotonic()
        self._bar: Any = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(_QUIET_SECONDS, self._start)
        self._timer.daemon = True

    @property
    def shown(self) -> bool:
        """Whether anything is going to be shown, if it takes long enough."""
        return self._show

    @abstractmethod
    def completed(self) -> float:
        """How much is done, of the total."""

    @abstractmethod
    def status(self) -> str:
        """Write on one line how far it is."""

    def __enter__(self) -> Self:
        if self._show and self._terminal:
            self._timer.start()  # also when the first evaluation takes an hour
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._timer.cancel()
            self._show, bar, self._bar = False, self._bar, None
        if bar is not None:
            bar.stop()
        elif not self._terminal and self._printed > self._begun:
            self._print_line()

    def _start(self) -> None:
        from rich import progress
        from rich.console import Console
        from rich.text import Text

        class Status(progress.ProgressColumn):
            """Everything right of the bar, made anew at every refresh."""

            def render(column, task: progress.Task) -> Text:
                task.completed = self.completed()
                return Text(self.status())

        with self._lock:
            if not self._show:
                return
            self._bar = progress.Progress(
                progress.TextColumn(self._title),
                progress.BarColumn(bar_width=20),
                Status(),
                console=Console(stderr=True),
                refresh_per_second=4,
            )
            self._bar.add_task("", total=self._total)
            self._bar.start()

    def _elapsed(self) -> float:
        return time.monotonic() - self._begun

    def _print_now_and_then(self) -> None:
        if self._show and not self._terminal and time.monotonic() - self._printed > _LINE_SECONDS:
            self._print_line()

    def _print_line(self) -> None:
        self._printed = time.monotonic()
        print(f"{self._title}: {self.status()}", file=sys.stderr, flush=True)


def format_seconds(seconds: float) -> str:
    """Write a duration for people.

    Parameters
    ----------
    seconds : float
        Not negative.

    Returns
    -------
    str
        For example ``"42 s"``, ``"3:05"`` or ``"2:00:00"``.

    Examples
    --------
    >>> format_seconds(42.3), format_seconds(185), format_seconds(7200)
    ('42 s', '3:05', '2:00:00')
    """
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{whole} s"
