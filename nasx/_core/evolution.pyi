import numpy as np
from numpy.typing import NDArray

def nsga2_select(
    losses: NDArray[np.float64],
    violations: NDArray[np.float64] | None,
    n: int,
    seed: int,
    generation: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]: ...
def offspring(
    parents: NDArray[np.int32],
    keys: NDArray[np.float64],
    crowding: NDArray[np.float64] | None,
    cardinalities: NDArray[np.int32],
    conditions: NDArray[np.int32] | None,
    n: int,
    size: int,
    kind: str,
    points: int,
    probability: float,
    rates: NDArray[np.float64],
    seed: int,
    generation: int,
    first: int,
) -> NDArray[np.int32]: ...
def mutants(
    parents: NDArray[np.int32],
    keys: NDArray[np.float64],
    cardinalities: NDArray[np.int32],
    conditions: NDArray[np.int32] | None,
    n: int,
    size: int,
    seed: int,
    generation: int,
    first: int,
) -> NDArray[np.int32]: ...
