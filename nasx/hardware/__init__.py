"""What a network costs on hardware: sizes that are counted and times that are measured."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nasx.errors import unknown
from nasx.hardware.block_times import BlockTimes
from nasx.hardware.budget import BudgetResult, SumsFront, best_under, pareto_of_sums, sample_under
from nasx.hardware.costs import Connections, Cost, NetworkCost, Nodes
from nasx.hardware.counted import FlopsTable, MemoryTable, ParamsTable
from nasx.hardware.latency_table import LatencyTable
from nasx.hardware.profiler import MeasuredLatency
from nasx.hardware.timing import measure_latency

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BlockTimes",
    "BudgetResult",
    "Connections",
    "Cost",
    "FlopsTable",
    "LatencyTable",
    "MeasuredLatency",
    "MemoryTable",
    "NetworkCost",
    "Nodes",
    "ParamsTable",
    "SumsFront",
    "available_costs",
    "best_under",
    "get_cost",
    "measure_latency",
    "pareto_of_sums",
    "sample_under",
]

_COSTS: Mapping[str, type[Cost]] = MappingProxyType(
    {cost.name: cost for cost in (ParamsTable, FlopsTable, MemoryTable, MeasuredLatency, Nodes, Connections)}
)


def available_costs() -> Mapping[str, type[Cost]]:
    """Names of the built-in costs.

    Returns
    -------
    mapping of str to type
        Name -> class; its keyword arguments are the cost's settings.

    Examples
    --------
    >>> list(available_costs())
    ['parameters', 'flops', 'memory_bytes', 'latency_ms', 'nodes', 'connections']
    """
    return _COSTS


def get_cost(name: str, **settings: Any) -> Cost:
    """Make a built-in cost.

    Parameters
    ----------
    name : str
        One of `available_costs`.
    **settings
        Keyword arguments of its class.

    Returns
    -------
    Cost
        Not yet bound to a space.

    Raises
    ------
    ValueError
        If there is no such cost; the message names the nearest one.

    Examples
    --------
    >>> get_cost("latency_ms", batch_size=8).unit
    'ms'
    """
    if name not in _COSTS:
        raise ValueError(unknown("cost", name, _COSTS))
    return _COSTS[name](**settings)
