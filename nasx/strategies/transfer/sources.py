"""What earlier searches found: read from where it is, kept as JSON types, mapped into another space."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasx.decisions import decision_from_dict
from nasx.pareto import rank
from nasx.space import Genotypes, Space

__all__ = ["MOST_RESULTS", "Source", "map_record", "read_records", "to_record"]

Floats = npt.NDArray[np.float64]

MOST_RESULTS = 300
"""Of a source with more results, the better half of so many is kept, and others in proportion."""

_KEYS = ("decisions", "genotypes", "losses", "violations")


class Source(NamedTuple):
    """The results of an earlier search as genotypes of another space.

    Attributes
    ----------
    rows : ndarray of int32, shape (n, d)
        Genotypes, -1 where a decision is inactive, unknown, or was taken to a choice that the space lacks.
    losses : ndarray of float64, shape (n, m)
        Smaller is better; infinite where a result failed.
    violations : ndarray of float64, shape (n,)
        0 where feasible, infinite where a result failed.
    shared : ndarray of bool, shape (d,)
        Which decisions the earlier space had.
    missing : tuple of str
        What does not fit, each in a few words; empty if the spaces agree.
    """

    rows: Genotypes
    losses: Floats
    violations: Floats
    shared: npt.NDArray[np.bool_]
    missing: tuple[str, ...]


def read_records(sources: Any, *, objectives: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Read several sources.

    Parameters
    ----------
    sources : sequence
        Of what `to_record` takes; or a path or a `Result` alone.
    objectives : mapping of str to {"minimize", "maximize"}, optional
        As for `to_record`.

    Returns
    -------
    list of dict
        One for each.

    Raises
    ------
    TypeError
        If it is no sequence of sources.
    ValueError
        If there is nothing to learn from in one of them.
    """
    if isinstance(sources, str | os.PathLike | Mapping) or hasattr(sources, "trials"):
        sources = [sources]
    if not isinstance(sources, Sequence):
        raise TypeError(
            "sources must be a list of results, journals or (genotypes, losses); got "
            f"{type(sources).__name__}"
        )
    return [to_record(source, f"sources[{i}]", objectives=objectives) for i, source in enumerate(sources)]


def to_record(source: Any, name: str, *, objectives: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Read what a search found, as JSON types that need no file any more.

    Parameters
    ----------
    source : Result, path-like, pair of arrays, or mapping
        A result; the journal of a search; genotypes ``(n, d)`` of the new space and losses ``(n,)`` or
        ``(n, m)``, smaller is better and NaN is a failure; or what this function gave.
    name : str
        What to call it in messages.
    objectives : mapping of str to {"minimize", "maximize"}, optional
        Of the new search. Where a result has metrics of all these names, they are its losses; otherwise its
        own objectives are, in their order.

    Returns
    -------
    dict
        ``decisions`` of the source's space (None: those of the new one), ``genotypes``, ``losses`` (None for
        a failure or where an infeasible one was never measured) and ``violations``. Of more than
        `MOST_RESULTS` results, the better half of so many and others in proportion.

    Raises
    ------
    TypeError
        If it is none of these.
    ValueError
        If it holds nothing to learn from, or arrays do not fit each other.
    """
    if isinstance(source, str | os.PathLike):
        from nasx.result import Result

        source = Result.load(source)
    if hasattr(source, "trials") and hasattr(source, "objectives"):
        record = _of_result(source, name, objectives)
    elif isinstance(source, Mapping):
        if sorted(source) != sorted(_KEYS):
            raise ValueError(
                f"{name} must have the keys {', '.join(_KEYS)}; got {', '.join(map(str, source))}"
            )
        record = {key: source[key] for key in _KEYS}
    elif isinstance(source, tuple | list) and len(source) == 2:
        record = _of_arrays(source[0], source[1], name)
    else:
        raise TypeError(
            f"{name} must be a Result, the path of a journal or (genotypes, losses); got "
            f"{type(source).__name__}. Put several sources into a list"
        )
    return _thinned(record, name)


def _of_result(result: Any, name: str, objectives: Mapping[str, str] | None) -> dict[str, Any]:
    if not result.space.decisions:
        raise ValueError(
            f"{name} searched {type(result.space).__name__}, which has no decisions to learn from"
        )
    trials = [trial for trial in result.trials if trial.state != "partial"]
    ways = result.objectives
    finished = [trial for trial in trials if trial.state == "complete"]
    if objectives and all(objectives.keys() <= trial.metrics.keys() for trial in finished):
        ways = objectives
    signs = {metric: 1.0 if way == "minimize" else -1.0 for metric, way in ways.items()}
    losses: list[list[float] | None] = []
    for trial in trials:
        known = trial.state != "failed" and all(
            math.isfinite(trial.metrics.get(metric, math.nan)) for metric in signs
        )
        losses.append([sign * trial.metrics[metric] for metric, sign in signs.items()] if known else None)
    return {
        "decisions": result.space.to_dict()["decisions"],
        "genotypes": [trial.genotype.tolist() for trial in trials],
        "losses": losses,
        "violations": [float(trial.violation) if trial.state == "infeasible" else 0.0 for trial in trials],
    }


def _of_arrays(genotypes: Any, losses: Any, name: str) -> dict[str, Any]:
    try:
        rows, values = np.asarray(genotypes), np.asarray(losses, np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be genotypes and losses as arrays: {error}") from None
    values = values[:, None] if values.ndim == 1 else values
    if rows.ndim != 2 or rows.dtype.kind not in "iu" or values.ndim != 2 or len(values) != len(rows):
        raise ValueError(
            f"{name} must be integer genotypes (n, d) and losses (n,) or (n, m); got {rows.dtype} "
            f"{rows.shape} and {values.shape}"
        )
    if np.isinf(values).any():
        raise ValueError(f"{name}: losses must be finite, or NaN for what failed")
    failed = [any(map(math.isnan, row)) for row in values.tolist()]
    return {
        "decisions": None,
        "genotypes": rows.tolist(),
        "losses": [None if bad else row for bad, row in zip(failed, values.tolist(), strict=True)],
        "violations": [0.0] * len(rows),
    }


def _columns(record: Mapping[str, Any], name: str) -> tuple[Floats, Floats]:
    """Give losses (n, m) and violations (n,) as strategies are told them; what failed is infinite in both."""
    try:
        over = np.array(record["violations"], np.float64)
        measured = [row for row in record["losses"] if row is not None]
        width = len(measured[0]) if measured else 0
        losses = np.full((len(record["losses"]), max(width, 1)), np.inf)
        for i, row in enumerate(record["losses"]):
            if row is not None:
                losses[i] = row
        if over.shape != (len(losses),) or len(record["genotypes"]) != len(losses):
            raise ValueError("genotypes, losses and violations differ in length")
        if not np.isfinite(over).all() or any(not np.isfinite(row).all() for row in measured):
            raise ValueError("losses and violations must be finite")
        if any(len(row) != width for row in measured):
            raise ValueError("losses must have one number for each objective")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from None
    unmeasured = np.array([row is None for row in record["losses"]], bool)
    over[unmeasured & (over <= 0)] = np.inf
    if not np.isfinite(over).any():
        raise ValueError(f"{name} holds no result that did not fail: there is nothing to learn from")
    return losses, over


def _thinned(record: dict[str, Any], name: str) -> dict[str, Any]:
    losses, over = _columns(record, name)
    n = len(losses)
    if n <= MOST_RESULTS:
        return record
    order = np.argsort(rank(losses, over), kind="stable")
    half = MOST_RESULTS // 2
    rest = order[half:]
    others = rest[(np.arange(1, MOST_RESULTS - half + 1) * len(rest)) // (MOST_RESULTS - half) - 1]
    kept = np.sort(np.concatenate([order[:half], others])).tolist()
    thin = {key: [record[key][i] for i in kept] for key in ("genotypes", "losses", "violations")}
    return {"decisions": record["decisions"], **thin}


def map_record(record: Mapping[str, Any], space: Space, name: str) -> Source:
    """Express a source in a space, decision by decision and choice by choice, by their names.

    Parameters
    ----------
    record : mapping
        What `to_record` gave.
    space : Space
        The new one.
    name : str
        What to call the source in messages.

    Returns
    -------
    Source
        Its results.

    Raises
    ------
    ValueError
        If genotypes do not fit, or not one decision is shared.

    Examples
    --------
    >>> from nasx.decisions import Categorical, Integer
    >>> old = Space({"op": Categorical(["conv", "pool"]), "depth": Integer(1, 3)})
    >>> new = Space({"depth": Integer(2, 5), "op": Categorical(["skip", "conv"])})
    >>> record = {"decisions": old.to_dict()["decisions"], "genotypes": [[0, 2], [1, 0]],
    ...           "losses": [[1.0], [2.0]], "violations": [0.0, 0.0]}
    >>> source = map_record(record, new, "sources[0]")
    >>> source.rows.tolist(), source.missing  # depth 3 and conv; neither depth 1 nor pool is there
    ([[1, 1], [-1, -1]], ("choices 'pool' of 'op'", "choices 1 of 'depth'"))
    """
    losses, over = _columns(record, name)
    if record["decisions"] is None:
        try:
            rows = space.canonicalize(space.check(np.array(record["genotypes"])))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: genotypes: {error}") from None
        return Source(rows, losses, over, np.ones(len(space), bool), ())
    try:
        old = {key: decision_from_dict(value) for key, value in record["decisions"].items()}
        given = Space(old).check(np.array(record["genotypes"]))
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise ValueError(f"{name}: {error}") from None
    shared = np.array([decision in old for decision in space.names])
    if not shared.any():
        raise ValueError(
            f"{name} has none of the decisions {', '.join(space.names)}: it is a search of another space"
        )
    missing = [f"decision {key!r}" for key in old if key not in space]
    missing += [f"no decision {key!r}" for key in space.names if key not in old]
    rows = np.full((len(given), len(space)), -1, np.int32)
    for column, (key, decision) in enumerate(old.items()):
        if key not in space:
            continue
        there = {choice: index for index, choice in enumerate(space[key].choices)}
        table = np.array([there.get(choice, -1) for choice in decision.choices] + [-1], np.int32)
        rows[:, space.names.index(key)] = table[given[:, column]]
        taken = [
            decision.choices[k]
            for k in np.unique(given[:, column]).tolist()
            if k >= 0 and decision.choices[k] not in there
        ]
        if taken:
            missing.append(f"choices {', '.join(map(repr, taken))} of {key!r}")
    return Source(rows, losses, over, shared, tuple(missing))
