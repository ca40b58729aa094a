"""The live display of a search."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nasx._live import Live, format_seconds
from nasx.trial import time_taken

if TYPE_CHECKING:
    from types import TracebackType

    from nasx.result import Result
    from nasx.trial import Trial

__all__ = ["EpochProgress", "Progress"]


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
        self._spent = time_taken(self._result.trials)
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


class EpochProgress(Live):
    """Show how the training of a supernet is doing.

    Parameters
    ----------
    result : Result
        The live result; its history grows by one entry an epoch.
    epochs : int
        How many there will be.
    show : bool, optional
        By default on a terminal only.
    """

    def __init__(self, result: Result, *, epochs: int, show: bool | None = None) -> None:
        super().__init__(result.strategy, total=epochs, show=show)
        self._result, self._epochs = result, epochs

    def update(self) -> None:
        """Take notice of another epoch."""
        self._print_now_and_then()

    def completed(self) -> float:
        """Count epochs.

        Returns
        -------
        float
            Of the total.
        """
        return len(self._result.history)

    def status(self) -> str:
        """Write epochs, losses or rewards, skip connections and time left.

        Returns
        -------
        str
            One line.
        """
        history = self._result.history
        if not history:
            return f"0/{self._epochs}"
        last = history[-1]
        other = last.get("architecture_loss")
        seconds = sum(entry["seconds"] for entry in history[-5:]) / len(history[-5:])
        parts = [
            f"{len(history)}/{self._epochs}",
            f"loss {last['loss']:.4g}",
            "" if other is None else f"architecture loss {other:.4g}",
            f"reward {last['reward']:.4g}" if "reward" in last else "",
            f"{last['skips']} of {last['operations']} skip connections" if "skips" in last else "",
            f"{format_seconds((self._epochs - len(history)) * seconds)} left",
        ]
        return " | ".join(part for part in parts if part)
