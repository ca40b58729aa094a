import numpy as np
from numpy.typing import NDArray

def settle(
    losses: NDArray[np.float64],
    violations: NDArray[np.float64] | None,
    failed: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
