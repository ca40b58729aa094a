"""Ctrl-C between two steps instead of inside one."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

__all__ = ["Interrupts"]


class Interrupts:
    """While entered, Ctrl-C that comes during a ``with interrupts.held:`` block takes effect at its end.

    Does nothing outside the main thread, or where the program handles the signal in its own way.
    """

    def __init__(self) -> None:
        self.held = _Held()
        self._installed = False

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self.held.handle)
            self._installed = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._installed = False


class _Held:
    """The block during which an interrupt waits."""

    def __init__(self) -> None:
        self._active = self._pending = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        if not self._active:
            raise KeyboardInterrupt
        self._pending = True

    def __enter__(self) -> None:
        self._active = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._active = False
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt
