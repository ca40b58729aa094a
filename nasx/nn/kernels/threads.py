"""On whose threads kernels run."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch

from nasx._core import mixed_op as native

__all__ = ["borrow_threads"]


def borrow_threads() -> None:
    """Let tensor kernels run on the threads of torch's OpenMP runtime, if that is GNU's and it is found.

    Its threads spin for milliseconds after each of torch's operators; kernels on other threads would share
    the CPUs with them.
    """
    try:
        mapped = Path("/proc/self/maps").read_text()
    except OSError:  # another system
        return
    found = {line.split(maxsplit=5)[5] for line in mapped.splitlines() if "/libgomp" in line}
    folder = str(Path(torch.__file__ or "").parent)
    own = {path for path in found if path.startswith(folder)} or found
    if len(own) != 1:  # others' copies have threads of their own
        return
    try:
        function = ctypes.CDLL(own.pop()).GOMP_parallel
    except (OSError, AttributeError):  # the file has been replaced since, or is another library
        return
    native.set_team(ctypes.cast(function, ctypes.c_void_p).value or 0)
