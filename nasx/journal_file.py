"""What a journal is as a file: its mark, its tables, and the lock of the process that writes it."""

from __future__ import annotations

import functools
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Self

from nasx.errors import JournalError

__all__ = ["APPLICATION_ID", "SCHEMA", "TABLES", "VERSION", "Lock", "foreign", "is_new", "schema"]

APPLICATION_ID = 0x6E617378  # "nasx"
VERSION = 3
TABLES = """
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE asks (
    id INTEGER PRIMARY KEY, requested INTEGER NOT NULL, told_before INTEGER NOT NULL,
    genotypes BLOB NOT NULL, budgets BLOB, position TEXT);
CREATE TABLE trials (
    told INTEGER PRIMARY KEY, number INTEGER NOT NULL UNIQUE, state TEXT NOT NULL, metrics TEXT NOT NULL,
    violation REAL NOT NULL, error TEXT, started REAL NOT NULL, seconds REAL NOT NULL);
CREATE TABLE costs (genotype BLOB PRIMARY KEY, value BLOB NOT NULL);
"""
SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master"


@functools.cache
def schema() -> frozenset[Any]:
    """Give what a journal's schema holds."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(TABLES)
        return frozenset(connection.execute(SCHEMA).fetchall())


def foreign(path: Path) -> str:
    """Say that a file is something else."""
    return f"{path} is not a journal of nasx; it was left as it is. Choose another path"


def is_new(path: Path) -> bool:
    """Whether a journal is still to be begun at a path; raises JournalError if something else is there."""
    try:
        if not path.exists():
            return True
        if not path.is_file():
            raise JournalError(foreign(path))
        size = path.stat().st_size
        if path.resolve() in Lock._held:
            # Ours, and being written. Closing a file here would give up the locks that SQLite has on it.
            return size == 0
        with path.open("rb") as file:
            head = file.read(100)
        if not head:
            log = Path(f"{path}-wal")
            if log.exists() and log.stat().st_size:
                raise JournalError(
                    f"{path} is damaged: it is empty, and its log is not; it was left as it is"
                )
            return True
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error.strerror}") from None
    # Where SQLite keeps the application's number.
    if not head.startswith(b"SQLite format 3\0") or head[68:72] != APPLICATION_ID.to_bytes(4, "big"):
        raise JournalError(foreign(path))
    return False


class Lock:
    """The right to write a journal: a locked file beside it, which the system frees when the process dies."""

    _held: ClassVar[set[Path]] = set()  # such locks do not exclude their own process

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        busy = f"{path} is being written already, here or by another process; wait, or use another path"
        if self._path in self._held:
            raise JournalError(busy)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(f"{path}.lock", "a")  # noqa: SIM115 - held until close
        except OSError as error:
            raise JournalError(f"{path} cannot be written: {error.strerror}: {error.filename}") from None
        try:
            import fcntl

            fcntl.lockf(
                self._file, fcntl.LOCK_EX | fcntl.LOCK_NB
            )  # unlike flock's, children do not inherit it
        except ImportError:  # no such locks on this system; SQLite still keeps the file whole
            pass
        except OSError:
            self._file.close()
            raise JournalError(busy) from None
        self._held.add(self._path)

    def close(self) -> None:
        """Give the right up."""
        self._held.discard(self._path)
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
