"""Reading npz files of strangers: plain arrays, and no more memory than such a file may honestly need."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nasx.errors import unknown

__all__ = ["read_arrays"]

# A file may unpack to this many bytes in any case, and to so many for each of its own.
_FREE = 64 << 20
_RATIO = 100
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_arrays(
    path: str | os.PathLike[str], names: Sequence[str] | None = None, *, what: str
) -> dict[str, npt.NDArray[Any]]:
    """Read arrays of an npz file.

    Parameters
    ----------
    path : path-like
        The file.
    names : sequence of str, optional
        The arrays to read; the others are not looked at. By default all.
    what : str
        What the file should be, for the message of an error: ``"a table"``.

    Returns
    -------
    dict of str to ndarray
        The arrays, in the order of `names`, or of the file.

    Raises
    ------
    ValueError
        If the file is no npz file, is damaged, lacks an array, holds Python objects, or would unpack to far
        more than it is; the message names the file and says why.
    FileNotFoundError
        If there is no such file.
    """
    try:
        with open(path, "rb") as stream:
            if stream.read(6) == b"\x93NUMPY":
                raise ValueError("it is a single array")
            with zipfile.ZipFile(stream) as archive:
                members = {
                    member.filename.removesuffix(".npy"): member
                    for member in archive.infolist()
                    if member.filename.endswith(".npy")
                }
                for name in names or ():
                    if name not in members:
                        raise ValueError(unknown("array", name, members))
                wanted = {name: members[name] for name in (members if names is None else names)}
                size = sum(member.file_size for member in wanted.values())
                if size > _FREE + _RATIO * os.fstat(stream.fileno()).st_size:
                    raise ValueError(f"it would unpack to {size} bytes, far more than it is")
                return {name: _array(archive, member) for name, member in wanted.items()}
    except FileNotFoundError:
        raise
    except Exception as error:  # zip, zlib, NumPy and this block have each their own
        reason = str(error) or type(error).__name__
        raise ValueError(f"{os.fspath(path)} cannot be read as {what}: {reason}") from None


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is packed in a way that NumPy does not write")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"{member.filename} is of format {version}, which is not for plain arrays")
        shape, _, dtype = _HEADERS[version](stream)
        # NumPy would make room for whatever the header says.
        claimed = math.prod(shape) * dtype.itemsize
        if not dtype.hasobject and (not dtype.itemsize or claimed != member.file_size - stream.tell()):
            raise ValueError(f"{member.filename} does not hold what its header says, {dtype} {shape}")
    with archive.open(member) as stream:
        array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        return array
