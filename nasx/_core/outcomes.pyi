import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasx._core.population import GenotypeSet

def settle(
    losses: NDArray[np.float64],
    violations: NDArray[np.float64] | None,
    failed: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
def receive(
    x: ArrayLike,
    losses: ArrayLike,
    violations: ArrayLike | None,
    failed: ArrayLike | None,
    objectives: int,
    cardinalities: NDArray[np.int32],
    conditions: NDArray[np.int32],
    seen: GenotypeSet | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_] | None, int] | None: ...
