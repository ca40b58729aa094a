"""Files of tables: an npz of plain arrays with a header of JSON, written as a whole, read with care."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from nasx._npz import read_arrays
from nasx.space import Space

__all__ = ["check_space", "read_table", "write_table"]

Table = TypeVar("Table")
Arrays = Mapping[str, npt.NDArray[Any]]


def write_table(
    path: str | os.PathLike[str], form: str, space: Space, header: Mapping[str, Any], arrays: Arrays
) -> None:
    """Write a table; a file that is there is replaced as a whole.

    Parameters
    ----------
    path : path-like
        The file.
    form : str
        Name and version of what is written.
    space : Space
        Whose architectures the table is for.
    header : mapping of str to JSON types
        What else is not an array.
    arrays : mapping of str to ndarray
        Numbers, without Python objects.
    """
    text = json.dumps({"format": form, "space": space.to_dict(), **header})
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as stream:
            np.savez(stream, header=np.array(text), **arrays)  # type: ignore[arg-type]
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_table(
    path: str | os.PathLike[str],
    forms: Sequence[str],
    what: str,
    make: Callable[[Space, dict[str, Any], Arrays], Table],
    space: Space | None,
) -> Table:
    """Read what `write_table` wrote.

    Parameters
    ----------
    path : path-like
        The file.
    forms : sequence of str
        Names and versions of what it may be.
    what : str
        That in words, for messages: ``"a latency table"``.
    make : callable
        Makes the table of a space, the header and the arrays; what it raises means that the file is damaged.
    space : Space, optional
        The space that it must be for, by default the recorded one.

    Returns
    -------
    object
        What `make` made.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, something else, or a table of another space: one with other decisions, of the same
        class with other settings, or of another class (other than `Space` itself).
    """
    name = os.fspath(path)
    arrays = read_arrays(path, what=what)
    with _refused(f"{name} cannot be read as {what}"):
        header = json.loads(str(arrays["header"]))
        if header["format"] not in forms:
            raise ValueError(f"its format is {header['format']!r}, not {forms[0]!r}")
        recorded = Space.from_dict(header["space"])
    if space is not None:
        check_space(header["space"], space, f"{name} is {what}")
    with _refused(f"{name} cannot be read as {what}"):
        return make(recorded if space is None else space, header, arrays)


def check_space(written: Mapping[str, Any], space: Space, table: str) -> None:
    """Refuse a table of another space.

    Parameters
    ----------
    written : mapping
        The table's, as `Space.to_dict` gives it.
    space : Space
        What it is wanted for.
    table : str
        For the message: ``"table.npz is a latency table"``.

    Raises
    ------
    ValueError
        If the decisions differ, the settings of one class, or the classes.
    """
    recorded = Space.from_dict(written)
    if space != recorded:
        raise ValueError(f"{table} of {recorded!r}, not of {space!r}: the decisions differ")
    (name, theirs), (given, ours) = (_named(data) for data in (written, space.to_dict()))
    if name == given and theirs != ours:
        raise ValueError(f"{table} of {name} with {theirs}, not with {ours}: the settings differ")
    if name != given and Space.__name__ not in (name, given):  # a plain space says nothing of its networks
        raise ValueError(f"{table} of {name}, not of {given}: networks of different classes differ")


def _named(data: Mapping[str, Any]) -> tuple[str, Any]:
    """Name and settings of a space, as a file has them: without tuples."""
    return data["name"], json.loads(json.dumps(data["settings"]))


@contextlib.contextmanager
def _refused(message: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # JSON, NumPy and the readers have each their own
        raise ValueError(f"{message}: {error}") from None
