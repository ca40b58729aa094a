"""`profile`: what limits the parts of a transformer can keep to."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nasx.compression.costs import LIMITS, PartsCost, counted_costs
from nasx.compression.families import Family
from nasx.compression.importance import as_family
from nasx.compression.space import CompressionSpace
from nasx.compression.start import Estimates, best_start, can_meet
from nasx.compression.times import Latency, measure_latency
from nasx.errors import unknown

__all__ = ["Profile", "Reach", "check_budget", "check_names", "profile", "space_of_parts"]

_SAMPLED = 2_000
_NO_LIMIT = 1e300


@dataclasses.dataclass(frozen=True)
class Reach:
    """What values of one cost a space can reach.

    Parameters
    ----------
    whole : float
        Of the whole model.
    least, most : float
        The extremes; exact.
    median : float
        Of random sub-networks.
    """

    whole: float
    least: float
    median: float
    most: float


@dataclasses.dataclass(frozen=True, eq=False)
class Profile:
    """What a transformer's parts cost.

    Parameters
    ----------
    space : CompressionSpace
        The parts.
    costs : dict of str to PartsCost
        The costs that were asked for.
    reach : dict of str to Reach
        For each of them.
    """

    space: CompressionSpace
    costs: dict[str, PartsCost]
    reach: dict[str, Reach]

    def check(self, budget: Mapping[str, float]) -> None:
        """Make sure that a budget can be met.

        Parameters
        ----------
        budget : mapping of str to float
            Upper bounds, of costs that were profiled.

        Raises
        ------
        ValueError
            If it cannot; the message says what can be reached, and what to change.
        """
        for name, limit in check_budget(budget).items():
            if name not in self.costs:
                raise ValueError(f"budget: {name} was not profiled; give it to profile()")
            if limit < self.reach[name].least:
                raise ValueError(
                    f"budget: {name} of at most {limit:,g} cannot be met: the least that this space reaches "
                    f"is {self.reach[name].least:,.6g}, of the model's {self.reach[name].whole:,.6g}; raise "
                    "the limit, or let the space cut more by dimensions= or a smaller least="
                )
        if budget and not can_meet(self.space, self.costs, dict(budget)):
            raise ValueError(
                f"budget: each of {', '.join(budget)} can be met, but no part of the model meets all of "
                "them; raise one of the limits, or let the space cut more by dimensions= or a smaller least="
            )

    def __str__(self) -> str:
        """Write a table with a row for each cost."""
        lines = [f"{'':<11} {'model':>14} {'least':>14} {'median':>14} {'most':>14}"]
        for name, reach in self.reach.items():
            values = (reach.whole, reach.least, reach.median, reach.most)
            lines.append(f"{name:<11} " + " ".join(f"{_short(value):>14}" for value in values))
        return "\n".join(lines)


def profile(
    model: Any,
    budget: Mapping[str, float] | tuple[str, ...] | list[str],
    *,
    space: CompressionSpace | None = None,
    latency: Latency | Mapping[str, Any] | None = None,
    context: int = 2048,
    seed: int = 0,
    progress: bool | None = None,
    **cuts: Any,
) -> Profile:
    """Find out what a transformer's parts cost, and whether a budget can be met.

    Parameters
    ----------
    model : torch.nn.Module
        One of those that `nasx.compress` takes. It stays as it is.
    budget : mapping of str to float, or sequence of str
        Limits, or names alone: "params", "memory_mb" (of the weights), "kv_mb" (of keys and values), both in
        10^6 bytes, and "latency_ms".
    space : CompressionSpace, optional
        The parts; by default of `cuts`.
    latency : Latency or mapping, optional
        For "latency_ms": what was measured before, or settings of `nasx.compression.measure_latency`, with
        which it is measured now.
    context : int, default 2048
        Tokens whose keys and values are kept, for "kv_mb".
    seed : int, default 0
        Of the random sub-networks.
    progress : bool, optional
        Of the measuring; by default on a terminal only.
    **cuts
        Arguments of `CompressionSpace`: `uniform`, `dimensions`, `divisor`, `least`.

    Returns
    -------
    Profile
        With its ``reach``; printed, it is a table.

    Raises
    ------
    TypeError
        If the model is of another kind, or there is no such argument.
    ValueError
        If a budget with numbers cannot be met: the message says what can.

    Examples
    --------
    >>> import transformers
    >>> config = transformers.LlamaConfig(
    ...     vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4
    ... )
    >>> model = transformers.LlamaForCausalLM(config)
    >>> found = profile(model, ["params", "kv_mb"], divisor=8)
    >>> found.reach["params"].whole == sum(p.numel() for p in model.parameters())
    True
    >>> profile(model, {"params": 100}, divisor=8)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: budget: params of at most 100 cannot be met: the least that this space reaches is 944, ...
    """
    check_names(cuts, profile, CompressionSpace)
    family = as_family(model)
    names = list(check_budget(budget)) if isinstance(budget, Mapping) else list(budget)
    if space is None:
        space = space_of_parts(family, **cuts)
    elif cuts:
        raise ValueError(f"space is given: leave {', '.join(cuts)} out")
    costs = counted_costs(family, space, names, context=context)
    if "latency_ms" in names:
        if not isinstance(latency, Latency):
            latency = measure_latency(family, space, progress=progress, **dict(latency or {}))
        costs["latency_ms"] = latency.bind(space, None)
    costs = {name: costs[name] for name in names}
    rows = space.sample(_SAMPLED, seed=seed)
    found = Profile(space, costs, {name: _reach(space, name, cost, rows) for name, cost in costs.items()})
    if isinstance(budget, Mapping):
        found.check(budget)
    return found


def space_of_parts(family: Family, *, uniform: bool = False, **cuts: Any) -> CompressionSpace:
    """Make the space of a model's parts.

    Parameters
    ----------
    family : Family
        The model.
    uniform : bool, default False
        Whether only what the model's own class can hold.
    **cuts
        Further arguments of `CompressionSpace`.

    Returns
    -------
    CompressionSpace
        Of its shape.
    """
    if not uniform:
        return CompressionSpace(family.shape, **cuts)
    layers = len(family.shape.layers)

    def fits(hidden: int, layer: Any) -> bool:
        return family.is_native(dataclasses.replace(family.shape, hidden=hidden, layers=(layer,) * layers))

    return CompressionSpace(family.shape, uniform=True, fits=fits, **cuts)


def check_names(given: Mapping[str, Any], *known: Callable[..., Any]) -> None:
    """Check the names of further arguments, before anything is computed.

    Parameters
    ----------
    given : mapping of str to object
        The arguments.
    *known : callable
        The function that was called, and those that it hands them to.

    Raises
    ------
    TypeError
        If none of them has an argument of that name.
    """
    names = [
        name
        for function in known
        for name, one in inspect.signature(function).parameters.items()
        if one.kind is not one.VAR_KEYWORD
    ]
    for name in given:
        if name not in names:
            raise TypeError(f"{known[0].__name__}: {unknown('argument', name, set(names))}")


def check_budget(budget: Mapping[str, float]) -> dict[str, float]:
    """Check the names and numbers of a budget.

    Parameters
    ----------
    budget : mapping of str to float
        Upper bounds.

    Returns
    -------
    dict of str to float
        The same.

    Raises
    ------
    ValueError
        If it is empty, a name is unknown, or a limit is no positive number.
    """
    if not isinstance(budget, Mapping) or not budget:
        raise ValueError(f'budget must map limits to numbers, as in {{"params": 60e6}}; got {budget!r}')
    checked = {}
    for name, limit in budget.items():
        if name not in LIMITS:
            raise ValueError("budget: " + unknown("limit", name, LIMITS))
        if (
            isinstance(limit, bool)
            or not isinstance(limit, int | float | np.number)
            or not 0 < limit < math.inf
        ):
            raise ValueError(f"budget[{name!r}] must be a positive number, the most allowed; got {limit!r}")
        checked[name] = float(limit)
    return checked


def _reach(space: CompressionSpace, name: str, cost: PartsCost, rows: Any) -> Reach:
    whole = cost.of(space.full)
    values = cost(rows)
    return Reach(whole, _least(space, name, cost), float(np.median(values)), max(whole, float(values.max())))


def _least(space: CompressionSpace, name: str, cost: PartsCost) -> float:
    """Find the least cost: the architecture that saves most."""
    if space.uniform:
        return float(cost(space.enumerate()).min())
    tables, zero, least = cost.tables, Estimates.zero(space), math.inf
    for hidden in range(len(space.hiddens)):
        saved = dataclasses.replace(
            zero,
            attention=[tables.attention[hidden, i, : len(o.attention)] for i, o in enumerate(space.options)],
            mlp=[tables.mlp[hidden, i, : len(o.mlp)] for i, o in enumerate(space.options)],
        )
        start = best_start(space, {name: cost}, {name: _NO_LIMIT}, saved, hidden=hidden)
        assert start is not None
        least = min(least, float(cost(start.genotype[None])[0]))
    return least


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
