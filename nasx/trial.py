"""`Trial`: one evaluated architecture."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from nasx.architecture import Architecture

__all__ = ["State", "Trial"]

State: TypeAlias = Literal["complete", "partial", "infeasible", "failed"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trial:
    """One evaluated architecture.

    Attributes
    ----------
    number : int
        Its place in the order of proposals, from 0.
    architecture : Architecture
        What was evaluated.
    state : {"complete", "partial", "infeasible", "failed"}
        Evaluated within all limits; the same with a part of the budget only; over a limit; or without a
        result.
    metrics : dict of str to float
        Everything measured, costs included; what was known before a failure if it failed.
    violation : float
        How far over the limits, summed over them, each relative to its limit; 0 within all of them.
    error : str or None
        The traceback of a failure.
    started : float
        Unix time in seconds when the evaluation began.
    seconds : float
        How long it took.
    budget : int or None
        What a multi-fidelity strategy gave it, in the task's unit; otherwise None.
    fraction : float
        That as a share of the largest budget; 1 without one.
    """

    number: int
    architecture: Architecture
    state: State
    metrics: dict[str, float]
    violation: float = 0.0
    error: str | None = None
    started: float = 0.0
    seconds: float = 0.0
    budget: int | None = None
    fraction: float = 1.0

    @property
    def genotype(self) -> npt.NDArray[np.int32]:
        """The architecture as choice indices, shape ``(d,)``; read-only."""
        return self.architecture.genotype

    def to_dict(self) -> dict[str, Any]:
        """Return the trial as JSON types.

        Returns
        -------
        dict
            One key an attribute; the architecture as its choices; metrics that are not finite as None.
        """
        return {
            "number": self.number,
            "state": self.state,
            "choices": dict(self.architecture),
            "metrics": {name: v if math.isfinite(v) else None for name, v in self.metrics.items()},
            "violation": self.violation,
            "error": self.error,
            "started": self.started,
            "seconds": self.seconds,
            "budget": self.budget,
            "fraction": self.fraction,
        }
