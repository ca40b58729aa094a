import numpy as np
from numpy.typing import NDArray

def nsga2_select(
    losses: NDArray[np.float64],
    violations: NDArray[np.float64] | None,
    n: int,
    seed: int,
    generation: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]: ...
def nsga2_offspring(
    parents: NDArray[np.int32],
    ranks: NDArray[np.int32],
    crowding: NDArray[np.float64],
    cardinalities: NDArray[np.int32],
    conditions: NDArray[np.int32] | None,
    n: int,
    kind: str,
    points: int,
    probability: float,
    rates: NDArray[np.float64],
    seed: int,
    generation: int,
    first: int,
) -> NDArray[np.int32]: ...
