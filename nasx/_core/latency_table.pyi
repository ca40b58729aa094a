import numpy as np
from numpy.typing import NDArray

class LatencyTable:
    def __init__(
        self,
        cardinalities: NDArray[np.int32],
        entries: NDArray[np.float64],
        pairs: NDArray[np.float64] | None,
        intercept: float,
    ) -> None: ...
    def sum(self, genotypes: NDArray[np.int32]) -> NDArray[np.float64]: ...
