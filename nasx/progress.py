"""Live displays of what takes its time."""

from __future__ import annotations

import sys
import threading
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from nasx.result import Result
    from nasx.trial import Trial

__all__ = ["Live", "Progress", "format_seconds"]

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


class Progress(Live):
    """Show how a search is doing.

    Parameters
    ----------
    result : Result
        The live result.
    evaluations, seconds : int and float, optional
        The budgets.
    show : bool, optional
        By default on a terminal only.
    """

    def __init__(
        self, result: Result, *, evaluations: int | None, seconds: float | None, show: bool | None = None
    ) -> None:
        super().__init__(result.strategy, total=evaluations or seconds, show=show)
        self._result, self._evaluations, self._seconds = result, evaluations, seconds
        self._failed = 0
        self._done = self._before = 0.0  # evaluations, parts of them counted as parts
        self._spent = 0.0
        self._found, self._look_again = "", 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._look_again = 0.0
        super().__exit__(kind, error, trace)

    def resumed(self) -> None:
        """Leave the trials of the earlier run out of the rate, and count their time as spent."""
        self._done = self._before = self._result.spent
        self._spent = sum(trial.seconds for trial in self._result.trials)
        self._failed = sum(trial.state == "failed" for trial in self._result.trials)

    def update_many(self, trials: int, failed: int) -> None:
        """Count more of them.

        Parameters
        ----------
        trials, failed : int
            How many, and how many of those failed.
        """
        self._done += trials
        self._failed += failed
        self._print_now_and_then()

    def update(self, trial: Trial) -> None:
        """Count one more trial.

        Parameters
        ----------
        trial : Trial
            The new one.
        """
        self._done += trial.fraction
        self._failed += trial.state == "failed"
        self._print_now_and_then()

    def completed(self) -> float:
        """Count evaluations or seconds, whichever is the budget.

        Returns
        -------
        float
            Of the total.
        """
        return self._done if self._evaluations else self._elapsed() + self._spent

    def status(self) -> str:
        """Write done/total, best so far, size of the front, rate, failures and time left.

        Returns
        -------
        str
            One line.
        """
        done, now = self._done, time.monotonic()
        if now >= self._look_again:
            self._found = self._describe_best()
            # Looking through a long history takes a while: spend at most a twentieth of the time on it.
            self._look_again = now + 20 * (time.monotonic() - now)
        elapsed = self._elapsed()
        rate = (done - self._before) / elapsed if elapsed > 0 else 0.0
        left = []
        if self._evaluations is not None and rate > 0:
            left.append((self._evaluations - done) / rate)
        if self._seconds is not None:
            left.append(max(self._seconds - self._spent - elapsed, 0.0))
        parts = [
            f"{done:.0f}/{self._evaluations}" if self._evaluations is not None else f"{done:.0f} done",
            self._found,
            f"{rate:.2g}/s" if rate < 10 else f"{rate:.0f}/s",
            f"{self._failed} failed",
            f"{format_seconds(min(left))} left" if left else "",
        ]
        return " | ".join(part for part in parts if part)

    def _describe_best(self) -> str:
        result = self._result
        front = result.pareto_front
        if not front:
            return "nothing feasible yet"
        values = " ".join(f"{name} {front[0].metrics[name]:.4g}" for name in result.objectives)
        return f"best {values}" + (f" | front {len(front)}" if len(result.objectives) > 1 else "")


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
