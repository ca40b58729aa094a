"""The decisions a space is made of: a name's possible choices, and when it has to be taken at all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, TypeAlias

from nasx.errors import unknown

__all__ = ["Boolean", "Categorical", "Choice", "Decision", "Integer", "Ordinal", "decision_from_dict"]

Choice: TypeAlias = str | int | float | bool | None


_MOST = 1_000_000


class Decision:
    """One decision of a space: its choices in order, and its condition.

    Use `Categorical`, `Ordinal`, `Integer` or `Boolean`.

    Attributes
    ----------
    choices : tuple
        The possible choices; a genotype holds their indices.
    when : dict
        Earlier decisions and the choices of theirs that activate this one; empty: always active.
    """

    kind: ClassVar[str] = ""
    ordered: ClassVar[bool] = False

    def __init__(self, choices: Iterable[Choice], when: Mapping[str, Any] | None) -> None:
        # Counted before all are taken: a range may have any length.
        self.choices: tuple[Choice, ...] = tuple(itertools.islice(choices, _MOST + 1))
        if len(self.choices) > _MOST:
            raise ValueError(f"{type(self).__name__}: more than {_MOST} choices; use a coarser step")
        if not self.choices:
            raise ValueError(f"{type(self).__name__}: choices is empty; give at least one choice")
        for choice in self.choices:
            fits = choice is None or isinstance(choice, str | int | float)
            if not fits or (isinstance(choice, float) and not math.isfinite(choice)):
                raise ValueError(
                    f"{type(self).__name__}: choices must be strings, numbers, booleans or None, so that an "
                    f"architecture can be written as JSON; got {choice!r}. Name it and look it up in build"
                )
        self._index = {choice: index for index, choice in enumerate(self.choices)}
        if len(self._index) < len(self.choices):
            twice = next(c for i, c in enumerate(self.choices) if self._index[c] != i)
            raise ValueError(f"{type(self).__name__}: choices must differ; {twice!r} is there twice")
        self.when = {
            parent: tuple(allowed)
            if isinstance(allowed, list | tuple | set | frozenset | range)
            else (allowed,)
            for parent, allowed in (when or {}).items()
        }

    def index(self, choice: Any) -> int:
        """Position of a choice.

        Parameters
        ----------
        choice : str, int, float, bool or None
            One of `choices`.

        Returns
        -------
        int
            Its index, the number that stands in a genotype.

        Raises
        ------
        ValueError
            If it is none of the choices.
        """
        try:
            return self._index[choice]
        except (KeyError, TypeError):
            raise ValueError(unknown("choice", choice, map(repr, self.choices))) from None

    def __len__(self) -> int:
        return len(self.choices)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Decision) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.kind, self.choices))

    def __repr__(self) -> str:
        when = f", when={self.when}" if self.when else ""
        return f"{type(self).__name__}({self._arguments()}{when})"

    def _arguments(self) -> str:
        return repr(list(self.choices))

    def to_dict(self) -> dict[str, Any]:
        """Return the decision as JSON types.

        Returns
        -------
        dict
            ``kind``, ``choices`` and, if it has one, its condition ``when``.
        """
        data: dict[str, Any] = {"kind": self.kind, "choices": list(self.choices)}
        if self.when:
            data["when"] = {parent: list(allowed) for parent, allowed in self.when.items()}
        return data


class Categorical(Decision):
    """A choice among alternatives without an order, such as operations.

    Parameters
    ----------
    choices : iterable of str, int, float, bool or None
        The alternatives, all different.
    when : mapping, optional
        Names of earlier decisions and the choices of theirs that activate this one, for example
        ``{"depth": [3, 4]}``. Several names must all agree.

    Raises
    ------
    ValueError
        If there are no choices, two are equal, or one is not a JSON value.

    Examples
    --------
    >>> Categorical(["conv3x3", "conv5x5", "skip"]).index("skip")
    2
    """

    kind = "categorical"

    def __init__(self, choices: Iterable[Choice], *, when: Mapping[str, Any] | None = None) -> None:
        super().__init__(choices, when)


class Ordinal(Decision):
    """A choice among numbers in increasing order, such as widths.

    Parameters
    ----------
    values : iterable of int or float
        The numbers, strictly increasing.
    when : mapping, optional
        Condition, as in `Categorical`.

    Raises
    ------
    ValueError
        If a value is not a finite number or the values do not increase.

    Examples
    --------
    >>> Ordinal([8, 16, 32]).choices
    (8, 16, 32)
    """

    kind = "ordinal"
    ordered = True

    def __init__(self, values: Iterable[int | float], *, when: Mapping[str, Any] | None = None) -> None:
        values = tuple(itertools.islice(values, _MOST + 1))
        for value in values:
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or value in (float("inf"), -float("inf"))
            ):
                raise ValueError(f"Ordinal: values must be finite numbers; got {value!r}")
        if any(a >= b for a, b in itertools.pairwise(values)):
            raise ValueError(f"Ordinal: values must increase; got {list(values)}")
        super().__init__(values, when)


class Integer(Decision):
    """A choice among the integers ``low, low + step, ...`` up to and including `high`.

    Parameters
    ----------
    low, high : int
        The smallest and the largest possible choice.
    step : int, default 1
        Distance between neighbouring choices.
    when : mapping, optional
        Condition, as in `Categorical`.

    Raises
    ------
    ValueError
        If ``high < low``, ``step < 1``, or a bound is not an integer.

    Examples
    --------
    >>> Integer(2, 8, step=2).choices
    (2, 4, 6, 8)
    """

    kind = "integer"
    ordered = True

    def __init__(self, low: int, high: int, *, step: int = 1, when: Mapping[str, Any] | None = None) -> None:
        for name, value in (("low", low), ("high", high), ("step", step)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise ValueError(f"Integer: {name} must be an integer; got {value!r}")
        if step < 1 or high < low:
            raise ValueError(
                f"Integer: needs low <= high and step >= 1; got low={low}, high={high}, step={step}"
            )
        if (high - low) // step >= _MOST:
            raise ValueError(f"Integer: more than {_MOST} choices from {low} to {high}; use a larger step")
        super().__init__(range(low, high + 1, step), when)

    def _arguments(self) -> str:
        first, last = self.choices[0], self.choices[-1]
        step = int(self.choices[1]) - int(first) if len(self) > 1 else 1  # type: ignore[arg-type]
        return f"{first}, {last}" + (f", step={step}" if step != 1 else "")


class Boolean(Decision):
    """A yes or no.

    Parameters
    ----------
    when : mapping, optional
        Condition, as in `Categorical`.

    Examples
    --------
    >>> Boolean().choices
    (False, True)
    """

    kind = "boolean"

    def __init__(self, *, when: Mapping[str, Any] | None = None) -> None:
        super().__init__((False, True), when)

    def _arguments(self) -> str:
        return ""

    def __repr__(self) -> str:
        return f"Boolean({f'when={self.when}' if self.when else ''})"


def decision_from_dict(data: Mapping[str, Any]) -> Decision:
    """Rebuild a decision from what `Decision.to_dict` gave.

    Parameters
    ----------
    data : mapping
        ``kind``, ``choices`` and optionally ``when``.

    Returns
    -------
    Decision
        An equal decision.

    Raises
    ------
    ValueError
        If the kind is unknown or a field is missing or malformed.

    Examples
    --------
    >>> decision_from_dict(Integer(1, 3).to_dict())
    Integer(1, 3)
    """
    try:
        kind, choices, when = data["kind"], list(data["choices"]), data.get("when")
        if kind == "categorical":
            return Categorical(choices, when=when)
        if kind == "ordinal":
            return Ordinal(choices, when=when)
        if kind == "boolean":
            return Boolean(when=when)
        if kind == "integer":
            step = choices[1] - choices[0] if len(choices) > 1 else 1
            low, high = choices[0], choices[-1]
            # Compared before it is made: three numbers must not become a million.
            if any(type(choice) is not int for choice in choices) or choices != list(
                itertools.islice(itertools.count(low, step), len(choices))
            ):
                raise ValueError(f"Integer: choices must be integers in equal steps; got {choices!r}")
            return Integer(low, high, step=step, when=when)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"not a decision: {data!r} ({error!r})") from None
    raise ValueError(unknown("kind of decision", kind, ["categorical", "ordinal", "integer", "boolean"]))
