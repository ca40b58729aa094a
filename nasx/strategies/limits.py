"""`CostLimits`: what methods that train a supernet are told about costs and the limits on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy.typing as npt

from nasx.space import Genotypes
from nasx.strategies.base import CostViolation

__all__ = ["COST_FORMS", "CostFunction", "CostLimits"]

CostFunction: TypeAlias = Callable[[Genotypes], npt.ArrayLike]
"""Maps genotypes ``(n, d)`` to costs ``(n,)``: a bound `nasx.hardware.FlopsTable`, for example."""

COST_FORMS = {"add": (0.1, 1.0), "multiply": (0.2, 0.3), "fbnet": (0.2, 0.6)}
"""How expected costs enter a loss (`ExpectedCosts`), with the weight and the exponent of the papers."""


@dataclasses.dataclass(frozen=True, eq=False)
class CostLimits:
    """Costs of a search that are known without training, and the limits on them.

    Parameters
    ----------
    tables : mapping of str to callable
        Every cost by name: maps genotypes ``(n, d)`` to values ``(n,)``. A `nasx.hardware.AdditiveTable`,
        such as a `nasx.hardware.LatencyTable`, also says what each choice adds.
    limits : mapping of str to float
        Upper bounds on some of the costs, in their units; perhaps none.
    violation : callable
        Maps genotypes ``(n, d)`` to how far each is over all limits, ``(n,)``; 0 or less within them.

    Raises
    ------
    ValueError
        If there is a limit on what is no cost.

    Examples
    --------
    >>> import numpy as np
    >>> size = lambda genotypes: genotypes.sum(axis=1).astype(float)
    >>> limited = CostLimits({"size": size}, {"size": 3.0}, lambda x: np.maximum(size(x) - 3.0, 0.0))
    >>> limited.violation(np.array([[1, 2], [2, 2]], np.int32))
    array([0., 1.])
    """

    tables: Mapping[str, CostFunction]
    limits: Mapping[str, float]
    violation: CostViolation

    def __post_init__(self) -> None:
        unknown = [name for name in self.limits if name not in self.tables]
        if unknown:
            raise ValueError(
                f"limits must be on costs, {', '.join(self.tables) or 'of which there are none'}; "
                f"got {', '.join(unknown)}"
            )
