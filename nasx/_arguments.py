"""From what users pass to what the native core takes: contiguous arrays of one dtype, checked by name."""

from __future__ import annotations

import operator

import numpy as np
import numpy.typing as npt

_FLOAT64 = np.dtype(np.float64)
_INT32 = np.dtype(np.int32)
_DIMENSIONS = {1: "one dimension", 2: "two dimensions"}


def floats(value: npt.ArrayLike, name: str, ndim: int) -> npt.NDArray[np.float64]:
    """Return numbers as C-contiguous float64; `value` itself if it is that already."""
    if (
        type(value) is np.ndarray
        and value.dtype == _FLOAT64
        and value.ndim == ndim
        and value.flags.c_contiguous
    ):
        return value
    array = _array(value, name, ndim)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}")
    return np.ascontiguousarray(array, np.float64)


def integers(value: npt.ArrayLike, name: str, ndim: int) -> npt.NDArray[np.int32]:
    """Return integers as C-contiguous int32; `value` itself if it is that already."""
    if (
        type(value) is np.ndarray
        and value.dtype == _INT32
        and value.ndim == ndim
        and value.flags.c_contiguous
    ):
        return value
    array = _array(value, name, ndim)
    if array.size == 0:
        return np.zeros(array.shape, np.int32)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers; got dtype {array.dtype}")
    limits = np.iinfo(np.int32)
    if array.min() < limits.min or array.max() > limits.max:
        raise ValueError(f"{name} must fit in int32; got values from {array.min()} to {array.max()}")
    return np.ascontiguousarray(array, np.int32)


def _array(value: npt.ArrayLike, name: str, ndim: int) -> npt.NDArray[np.generic]:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array with {_DIMENSIONS[ndim]}: {error}") from None
    if array.ndim != ndim:
        raise ValueError(f"{name} must have {_DIMENSIONS[ndim]}; got shape {array.shape}")
    return array


def count(value: int, name: str, least: int = 1) -> int:
    """Return an integer of at least so much; no bool."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}; got {value!r}")
    return value


def unsigned(value: int, name: str, bits: int = 63) -> int:
    """Return a non-negative integer below 2**bits."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer; got {value!r}") from None
    if not 0 <= number < 1 << bits:
        raise ValueError(f"{name} must be at least 0 and below 2**{bits}; got {number}")
    return number
