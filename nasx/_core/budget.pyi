import numpy as np
from numpy.typing import NDArray

def best_under(
    cardinalities: NDArray[np.int32],
    scores: NDArray[np.float64],
    intercept: float,
    costs: NDArray[np.float64],
    intercepts: NDArray[np.float64],
    limits: NDArray[np.float64],
    resolution: int,
    nodes: int,
) -> tuple[NDArray[np.int32], float, NDArray[np.float64], float, int]: ...
def pareto_of_sums(
    cardinalities: NDArray[np.int32],
    costs: NDArray[np.float64],
    intercepts: NDArray[np.float64],
    cap: int,
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]: ...
def sample_under(
    cardinalities: NDArray[np.int32],
    costs: NDArray[np.float64],
    intercept: float,
    limit: float,
    resolution: int,
    n: int,
    seed: int,
    generation: int,
    first: int,
) -> NDArray[np.int32]: ...
