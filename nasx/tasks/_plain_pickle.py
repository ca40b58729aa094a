"""Reading a pickle of plain containers and numbers without running anything that it asks for."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

__all__ = ["load_plain"]

_NUMBERS = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})


class _Number:
    """Stands for a NumPy dtype of one number; the real one would let a file forge object pointers."""

    __slots__ = ("dtype",)

    def __init__(self, code: str) -> None:
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        _, order, *parts = state
        if order not in ("<", ">", "=", "|") or any(part is not None for part in parts[:3]):
            raise pickle.UnpicklingError("it holds a NumPy data type that is no plain number")
        self.dtype = self.dtype.newbyteorder(order)


# Where the stack holds keys, or members of a set, when such a code is met.
_KEYED = (
    (pickle.SETITEM, slice(-2, -1)),
    (pickle.SETITEMS, slice(None, None, 2)),
    (pickle.DICT, slice(None, None, 2)),
    (pickle.ADDITEMS, slice(None)),
    (pickle.FROZENSET, slice(None)),
)


def _checking(code: int, keys: slice) -> Callable[[Any], None]:
    load = pickle._Unpickler.dispatch[code]

    def checked(self: Any) -> None:
        if any(isinstance(key, tuple | frozenset) for key in self.stack[keys]):
            raise pickle.UnpicklingError("it holds a container as a key or in a set")
        load(self)

    return checked


def _refuse(self: Any) -> None:
    raise pickle.UnpicklingError("it holds a byte array; only containers and numbers are read")


class _PlainUnpickler(pickle._Unpickler):
    """Makes containers, strings, bytes and numbers; any other name in the file is refused.

    The one written in Python, since in the one written in C a damaged number of a few bytes can claim all
    memory. Methods stand for NumPy's functions, since a file can set attributes of what it is given, and
    those of bound methods cannot be set.

    Keys and members of sets are single values: hashing a tuple of tuples that a short file repeats inside
    each other would never end. Byte arrays are refused, since they are made as long as the file says.
    """

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        **{code[0]: _checking(code[0], keys) for code, keys in _KEYED},
        pickle.BYTEARRAY8[0]: _refuse,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "dtype"):
            return self._dtype
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "scalar":
            return self._scalar
        raise pickle.UnpicklingError(f"it asks for {module}.{name}; only containers and numbers are read")

    def _dtype(self, code: Any, align: Any = False, copy: Any = False) -> _Number:
        if not isinstance(code, str) or code not in _NUMBERS:
            what = repr(code) if isinstance(code, str) else "of another kind"
            raise pickle.UnpicklingError(f"it holds the NumPy data type {what}; only numbers are read")
        return _Number(code)

    def _scalar(self, kind: Any, data: Any) -> int | float | bool:
        if not isinstance(kind, _Number) or not isinstance(data, bytes) or len(data) != kind.dtype.itemsize:
            raise pickle.UnpicklingError("it holds a NumPy scalar that is no number")
        number: int | float | bool = np.frombuffer(data, kind.dtype)[0].item()
        return number


def load_plain(path: str | os.PathLike[str]) -> Any:
    """Read a pickle that holds nothing but containers, strings, bytes and numbers.

    Nothing that the file names is imported or called, so a foreign file can do no more than be refused.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    object
        What was pickled; NumPy scalars as Python numbers.

    Raises
    ------
    ValueError
        If the file is no pickle, is cut short, or asks for anything else; the message says for what.
    FileNotFoundError
        If there is no such file.
    """
    with open(path, "rb") as file:
        data = file.read()
    stream = io.BytesIO(data)
    try:
        value = _PlainUnpickler(stream).load()
    except Exception as error:  # a damaged pickle raises nearly anything
        reason = str(error) or "it is cut short"  # the end of a file has no text
        raise ValueError(f"{os.fspath(path)} cannot be read as plain data: {reason}") from None
    if stream.tell() != len(data):
        raise ValueError(f"{os.fspath(path)} cannot be read as plain data: it goes on after its end")
    return value
