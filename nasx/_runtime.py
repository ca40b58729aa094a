"""Threads and CPU levels of the native core."""

from __future__ import annotations

import operator
import sys

from nasx._core import runtime

__all__ = ["get_num_threads", "set_num_threads", "simd_level", "sync_num_threads"]

_chosen = False


def set_num_threads(n: int) -> None:
    """Set how many threads the native core uses.

    Results never depend on it. Until this is called, the core uses one thread for each CPU this process may
    run on or, if torch is loaded when nasx is imported or a search begins, as many as torch.

    Parameters
    ----------
    n : int
        At least 1; 1 keeps all work on the calling thread.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is less than 1.

    Examples
    --------
    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    global _chosen
    try:
        threads = operator.index(n)
    except TypeError:
        raise TypeError(f"n must be an integer; got {n!r}") from None
    if not 1 <= threads <= 65536:
        raise ValueError(f"n must be at least 1 (and at most 65536); got {threads}")
    runtime.set_num_threads(threads)
    _chosen = True


def get_num_threads() -> int:
    """Return how many threads the native core uses.

    Returns
    -------
    int
        What `set_num_threads` set; else torch's number if torch is loaded; else the number of CPUs
        this process may run on.

    Examples
    --------
    >>> get_num_threads() >= 1
    True
    """
    sync_num_threads()
    return runtime.get_num_threads()


def sync_num_threads() -> None:
    """Follow torch's number of threads if torch is loaded and the user has not chosen one."""
    torch = sys.modules.get("torch")
    # Absent while torch is still being imported.
    threads = getattr(torch, "get_num_threads", None)
    if threads is not None and not _chosen:
        runtime.set_num_threads(int(threads()))


def simd_level() -> str:
    """Return which build of the native hot loops is in use.

    The fastest one that this CPU runs, unless the environment variable ``NASX_SIMD`` named another when
    nasx was first imported. Results are the same at every level.

    Returns
    -------
    str
        ``"baseline"``, ``"avx2"`` or ``"avx512"``.

    Examples
    --------
    >>> simd_level() in ("baseline", "avx2", "avx512")
    True
    """
    return runtime.simd_level()


sync_num_threads()
