"""The journal: one SQLite file that holds everything needed to show, resume or audit a search."""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self, get_args

import numpy as np
import numpy.typing as npt

from nasx.errors import JournalError
from nasx.journal_file import APPLICATION_ID, SCHEMA, TABLES, VERSION, Lock, foreign, is_new, schema
from nasx.space import Genotypes, Space
from nasx.trial import State, Trial

__all__ = ["MOST_REQUESTED", "Ask", "Journal"]

MOST_REQUESTED = 1 << 24
"""How many rows one recorded ask may have requested: a damaged record must not claim all memory."""

_STATES = frozenset(get_args(State))
# What reading nonsense raises.
_NONSENSE = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)
_TELL = """
INSERT INTO trials (number, state, metrics, violation, error, started, seconds) VALUES (?, ?, ?, ?, ?, ?, ?)
"""


class Ask(NamedTuple):
    """One recorded proposal: how many rows were requested, after how many results, and what came."""

    requested: int
    told_before: int
    genotypes: Genotypes
    budgets: Genotypes | None


class Journal:
    """A journal on disk, open for writing or for reading.

    Every result is one transaction in SQLite's write-ahead log: a process that is killed loses nothing that
    was told. One process writes at a time; any number may read meanwhile. A file that is no journal, or a
    damaged one, stays as it is to the byte.

    Parameters
    ----------
    path : path-like
        The file.
    read_only : bool, default False
        Open an existing journal without locking it.

    Raises
    ------
    JournalError
        If the file is damaged or no journal, cannot be read or written, or another process is writing it.
    FileNotFoundError
        If it is to be read and is not there.
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        self.path = Path(path)
        self._lock: Lock | None = None
        if read_only and not os.path.lexists(self.path):
            raise FileNotFoundError(f"there is no journal at {self.path}")
        try:
            new = is_new(self.path)
            if new and read_only:
                raise JournalError(f"{self.path} holds nothing yet")
            if not read_only:
                self._lock = Lock(self.path)
                new = is_new(self.path)  # nobody else begins it from here on
            with self._named_errors("it was left as it is"):
                self._open(new, read_only)
        except BaseException:
            self.close()
            raise

    def _open(self, new: bool, read_only: bool) -> None:
        # A transaction that was cut off while the journal was made; only writing undoes it.
        unfinished = Path(f"{self.path}-journal").exists() and not read_only
        if not (new or unfinished):
            # Looked at before anything writes: opened for writing, SQLite tidies up when it closes.
            self._connect("ro")
            self._verify()
            if read_only:
                return
            self._connection.close()
        self._connect("rwc")
        if new or (unfinished and not self._value("PRAGMA application_id")):
            # Not in the write-ahead log: from the first moment the file itself says what it is.
            self._connection.executescript(
                f"BEGIN; PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={VERSION};"
                f"{TABLES} COMMIT;"
            )
        elif unfinished:
            self._verify()
        self._execute("PRAGMA journal_mode=WAL")
        self._execute("PRAGMA synchronous=NORMAL")

    def _connect(self, mode: str) -> None:
        uri = f"{self.path.absolute().as_uri()}?mode={mode}"
        if (
            mode == "ro"
            and not os.access(self.path.parent, os.W_OK)
            and not Path(f"{self.path}-wal").exists()
        ):
            # Nobody writes here, and SQLite cannot put its shared index beside the file.
            uri += "&immutable=1"
        self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)

    def _verify(self) -> None:
        """Make sure that it is a journal of this version, and whole."""
        # Views and triggers of a stranger could do anything that SQL can, such as never end.
        self._execute("PRAGMA trusted_schema=OFF")
        if self._value("PRAGMA application_id") != APPLICATION_ID:
            raise JournalError(foreign(self.path))
        version = self._value("PRAGMA user_version")
        if version != VERSION:
            raise JournalError(
                f"{self.path} has journal version {version}; this nasx reads version {VERSION}"
            )
        if set(self._rows(SCHEMA)) != schema():
            raise JournalError(
                f"{self.path} is damaged: its tables are not a journal's; it was left as it is"
            )
        if (verdict := self._value("PRAGMA quick_check(1)")) != "ok":
            raise JournalError(f"{self.path} is damaged ({verdict}); it was left as it is")

    @contextmanager
    def _named_errors(self, ending: str = "everything told before is kept") -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(f"journal {self.path}: {error}; {ending}") from error

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Word what goes wrong while records are understood."""
        try:
            yield
        except _NONSENSE as error:
            raise JournalError(f"{self.path} is damaged: {error}; it was left as it is") from None

    def _execute(self, sql: str, values: Sequence[Any] = ()) -> None:
        with self._named_errors():
            self._connection.execute(sql, values)

    def _rows(self, sql: str) -> list[Any]:
        with self._named_errors("it was left as it is"):
            return self._connection.execute(sql).fetchall()

    def _value(self, sql: str) -> Any:
        return self._rows(sql)[0][0]

    def close(self) -> None:
        """Close the file and let others write it; harmless if closed already."""
        connection, self._connection = getattr(self, "_connection", None), None  # type: ignore[assignment]
        if connection is not None:
            connection.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @staticmethod
    def remove(path: str | os.PathLike[str]) -> None:
        """Delete a journal, and the checkpoint beside it; harmless if there is none.

        Parameters
        ----------
        path : path-like
            The journal.

        Raises
        ------
        JournalError
            If another process is writing it, or it is no journal.
        """
        if not os.path.lexists(path):
            return
        is_new(Path(path))
        with Lock(Path(path)):
            for ending in ("", "-wal", "-shm", "-journal", ".checkpoint", ".checkpoint.new"):
                Path(f"{path}{ending}").unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the search it belongs to ----------------------------------------------------------------------------

    def header(self) -> dict[str, Any]:
        """Read what the search is.

        Returns
        -------
        dict
            What `begin` recorded; empty for a new journal.

        Raises
        ------
        JournalError
            If it cannot be read.
        """
        rows = self._rows("SELECT key, value FROM run")
        with self._reading():
            return {key: json.loads(value) for key, value in rows}

    def begin(self, header: Mapping[str, Any]) -> None:
        """Record which search this is, or make sure that it is the same one.

        Parameters
        ----------
        header : mapping of str to JSON types
            Everything that a resumed run must share.

        Raises
        ------
        JournalError
            If the journal belongs to another search; what differs is named.
        TypeError
            If something is not of JSON types.
        """
        for key, value in header.items():
            try:
                json.dumps(value)
            except (TypeError, ValueError) as error:
                raise TypeError(
                    f"a journal cannot record {key}, which is not of JSON types: {error}"
                ) from None
        header = json.loads(json.dumps(header))
        found = self.header()
        if not found:
            rows = [(key, json.dumps(value)) for key, value in header.items()]
            with self._named_errors(), self._connection:
                self._connection.execute("BEGIN")
                self._connection.executemany("INSERT INTO run VALUES (?, ?)", rows)
            return
        for key in dict.fromkeys([*header, *found]):
            difference = _difference(key, found.get(key), header.get(key))
            if difference:
                raise JournalError(
                    f"{self.path} belongs to another search: {difference}. "
                    "Use another journal, or the same settings"
                )

    def stopped(self) -> Any:
        """Read why the search ended.

        Returns
        -------
        str
            ``"running"`` if it has not, or was killed.
        """
        rows = self._rows("SELECT value FROM state WHERE key = 'stopped'")
        return rows[0][0] if rows else "running"

    def set_stopped(self, why: str) -> None:
        """Record why the search ended, or that it goes on.

        Parameters
        ----------
        why : str
            As in ``Result.stopped``.
        """
        self._execute("INSERT OR REPLACE INTO state VALUES ('stopped', ?)", (why,))

    def history(self) -> list[dict[str, Any]]:
        """Read what the epochs of a supernet gave.

        Returns
        -------
        list of dict
            Empty if the search trains none.

        Raises
        ------
        JournalError
            If the record is damaged.
        """
        return self._listed("history")

    def set_history(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Record what the epochs of a supernet gave.

        Parameters
        ----------
        history : sequence of mapping
            All of them, as JSON types.
        """
        self._execute("INSERT OR REPLACE INTO state VALUES ('history', ?)", (json.dumps(history),))

    def baseline(self) -> list[dict[str, float]]:
        """Read what random sub-networks of a supernet scored.

        Returns
        -------
        list of dict
            The metrics of each; empty if none were scored.

        Raises
        ------
        JournalError
            If the record is damaged.
        """
        found = self._listed("baseline")
        with self._reading():
            if not {type(value) for metrics in found for value in metrics.values()} <= {float}:
                raise ValueError("the baseline has metrics that are no numbers")
        return found

    def set_baseline(self, baseline: Sequence[Mapping[str, float]]) -> None:
        """Record what random sub-networks of a supernet scored.

        Parameters
        ----------
        baseline : sequence of mapping
            The metrics of each.
        """
        self._execute("INSERT OR REPLACE INTO state VALUES ('baseline', ?)", (json.dumps(baseline),))

    def _listed(self, key: str) -> list[dict[str, Any]]:
        with self._named_errors("it was left as it is"):
            sql = "SELECT value FROM state WHERE key = ?"
            rows = self._connection.execute(sql, (key,)).fetchall()
        with self._reading():
            found = json.loads(rows[0][0]) if rows else []
            if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
                raise ValueError(f"the {key} is no list of records")
        return found

    # -- events ----------------------------------------------------------------------------------------------

    def asked(
        self,
        genotypes: bytes,
        *,
        requested: int,
        told_before: int,
        budgets: npt.NDArray[np.int32] | None = None,
        position: Sequence[int] | None = None,
    ) -> None:
        """Record a proposal before any of it is evaluated.

        Parameters
        ----------
        genotypes : bytes
            What was proposed, as ``space.to_bytes`` writes it.
        requested : int
            How many rows were asked for; 0 for architectures that the user gave.
        told_before : int
            How many results had been told.
        budgets : ndarray of int32, shape (n,), optional
            What each is to be evaluated with, if that is not the whole.
        position : sequence of int, optional
            Where the strategy is now, if it has a position.
        """
        blob = None if budgets is None else budgets.astype("<i4").tobytes()
        text = None if position is None else json.dumps(position)
        sql = "INSERT INTO asks (requested, told_before, genotypes, budgets, position) VALUES (?, ?, ?, ?, ?)"
        self._execute(sql, (requested, told_before, genotypes, blob, text))

    def told(self, trial: Trial) -> None:
        """Record a result.

        Parameters
        ----------
        trial : Trial
            What was told to the strategy.
        """
        self._execute(_TELL, _told_values(trial))

    def told_many(self, trials: Iterable[Trial]) -> None:
        """Record the results of one call, all or none of them.

        Parameters
        ----------
        trials : iterable of Trial
            What was told to the strategy at once.
        """
        with self._named_errors(), self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany(_TELL, map(_told_values, trials))

    def measured(self, space: Space, genotypes: Genotypes, values: npt.NDArray[np.float64]) -> None:
        """Record measured costs, so that a resumed run decides by the same values.

        Parameters
        ----------
        space : Space
            The search's space.
        genotypes : ndarray of int32, shape (n, d)
            Architectures.
        values : ndarray of float64, shape (n, number of costs)
            Their costs.
        """
        rows = [
            (space.to_bytes(genotypes[i : i + 1]), value.astype("<f8").tobytes())
            for i, value in enumerate(values)
        ]
        with self._named_errors(), self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT OR REPLACE INTO costs VALUES (?, ?)", rows)

    # -- reading ---------------------------------------------------------------------------------------------

    def asks(self, space: Space) -> list[Ask]:
        """Read the proposals in order.

        Parameters
        ----------
        space : Space
            The search's space.

        Returns
        -------
        list of Ask
            Every recorded proposal.

        Raises
        ------
        JournalError
            If the records do not fit the space.
        """
        recorded = self._rows("SELECT requested, told_before, genotypes, budgets FROM asks ORDER BY id")
        asks, end, before = [], 0, 0
        with self._reading():
            batches = space.from_bytes([row[2] for row in recorded])
            for (requested, told, _, more), genotypes in zip(recorded, batches, strict=True):
                start, end = end, end + len(genotypes)
                budgets = None if more is None else self._matrix(more, "<i4", np.int32, 1)[:, 0]
                if budgets is not None and len(budgets) != len(genotypes):
                    raise ValueError("a proposal is cut short")
                if not 0 <= requested <= MOST_REQUESTED or not before <= told <= start:
                    raise ValueError(f"a proposal of {requested} rows after {told} results")
                asks.append(Ask(requested, told, genotypes, budgets))
                before = told
        return asks

    def position(self) -> Any:
        """Read where the strategy was after the last proposal.

        Returns
        -------
        list of int, or None
            What `asked` recorded; None if that is nothing.

        Raises
        ------
        JournalError
            If it cannot be read.
        """
        rows = self._rows("SELECT position FROM asks ORDER BY id DESC LIMIT 1")
        with self._reading():
            return None if not rows or rows[0][0] is None else json.loads(rows[0][0])

    def costs(self, space: Space, number: int) -> tuple[Genotypes, npt.NDArray[np.float64]]:
        """Read the measured costs.

        Parameters
        ----------
        space : Space
            The search's space.
        number : int
            Number of costs.

        Returns
        -------
        genotypes : ndarray of int32, shape (n, d)
            Architectures.
        values : ndarray of float64, shape (n, number)
            Their costs.

        Raises
        ------
        JournalError
            If the records do not fit the space.
        """
        rows = self._rows("SELECT genotype, value FROM costs ORDER BY rowid")
        with self._reading():
            genotypes = space.join(space.from_bytes([row[0] for row in rows]))
            values = self._matrix(b"".join(row[1] for row in rows), "<f8", np.float64, number)
            if len(genotypes) != len(values):
                raise ValueError("there are not as many costs as architectures")
        return genotypes, values

    def _matrix(self, blob: bytes, stored: str, dtype: Any, width: int) -> Any:
        try:
            return np.frombuffer(blob, stored).astype(dtype).reshape(-1, width)
        except ValueError:
            raise ValueError(f"a recorded matrix has not {width} columns") from None

    def trials(self, space: Space, spec: Any = None, *, asks: Sequence[Ask] | None = None) -> list[Trial]:
        """Read the results in the order in which they were told.

        Parameters
        ----------
        space : Space
            The search's space.
        spec : TaskSpec, optional
            Bound to the architectures.
        asks : sequence of Ask, optional
            What `asks` gave, if nobody writes meanwhile.

        Returns
        -------
        list of Trial
            Every recorded result.

        Raises
        ------
        JournalError
            If the records do not fit the space.
        """
        # Trials first: a search that is still writing adds the ask before its result.
        sql = "SELECT number, state, metrics, violation, error, started, seconds FROM trials ORDER BY told"
        told = self._rows(sql)
        asks = self.asks(space) if asks is None else asks
        header = self.header()
        whole = header.get("max_budget")
        with self._reading():
            rows = space.join([ask.genotypes for ask in asks])
            budgets: list[int | None] = []
            for ask in asks:
                budgets += [whole] * len(ask.genotypes) if ask.budgets is None else ask.budgets.tolist()
            all_metrics = json.loads(f"[{','.join(row[2] for row in told)}]")
            _check_results(told, all_metrics, tuple(header.get("objectives", ())))
            return [
                Trial(
                    number=number,
                    architecture=space.architecture(rows[number], spec=spec),
                    state=state,
                    metrics=metrics,
                    violation=violation,
                    error=error,
                    started=started,
                    seconds=seconds,
                    budget=(budget := budgets[number]),
                    fraction=1.0 if budget is None else _fraction(budget, whole),
                )
                for (number, state, _, violation, error, started, seconds), metrics in zip(
                    told, all_metrics, strict=True
                )
            ]


def _check_results(told: list[Any], metrics: list[Any], objectives: tuple[str, ...]) -> None:
    """Make sure that recorded results are some. Column by column, since there may be a hundred thousand."""
    if not told:
        return
    numbers, states, _, violations, errors, *times = zip(*told, strict=True)
    if set(map(type, numbers)) != {int} or min(numbers) < 0:
        raise ValueError("a result has no number")
    if not set(states) <= _STATES:
        raise ValueError(f"a result has the state {(set(states) - _STATES).pop()!r}")
    if any(set(map(type, column)) != {float} for column in (violations, *times)):
        raise ValueError("a result has a violation or a time that is no number")
    if not set(map(type, errors)) <= {str, type(None)}:
        raise ValueError("a result has an error that is no text")
    if set(map(type, metrics)) != {dict} or not {type(v) for one in metrics for v in one.values()} <= {float}:
        raise ValueError("a result has metrics that are no numbers")
    measured = [one for one, state in zip(metrics, states, strict=True) if state in ("complete", "partial")]
    for name in objectives:
        if not all(map(math.isfinite, [one[name] for one in measured])):
            raise ValueError(f"a result has a {name!r} that is not finite")


def _fraction(budget: int, whole: Any) -> float:
    if type(whole) is not int or not 1 <= budget <= whole:
        raise ValueError(f"a budget of {budget} out of {whole!r}")
    return budget / whole


def _difference(where: str, there: Any, here: Any) -> str:
    """Name the first place at which two JSON values differ; empty if they are equal."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in [*there, *(key for key in here if key not in there)]:
            if found := _difference(f"{where}.{key}", there.get(key), here.get(key)):
                return found
        # Order matters too: of decisions, and of objectives.
        return f"{where} has another order" if list(there) != list(here) else ""
    return "" if there == here else f"{where} is {_short(there)} there and {_short(here)} here"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _told_values(trial: Trial) -> tuple[Any, ...]:
    return (
        trial.number,
        trial.state,
        json.dumps(trial.metrics),
        trial.violation,
        trial.error,
        trial.started,
        trial.seconds,
    )
