import numpy as np
from numpy.typing import NDArray

class Process:
    def __init__(self, cardinalities: NDArray[np.int32], ordered: NDArray[np.bool_], kernel: str) -> None: ...
    def fit(
        self,
        rows: NDArray[np.int32],
        targets: NDArray[np.float64],
        priors: bool,
        starts: int,
        start_rows: int,
        iterations: int,
        tolerance: float,
    ) -> None: ...
    def condition(self, rows: NDArray[np.int32], targets: NDArray[np.float64]) -> None: ...
    def append(self, rows: NDArray[np.int32]) -> None: ...
    def truncate(self, size: int) -> None: ...
    def drop(self, i: int) -> None: ...
    def set_targets(self, targets: NDArray[np.float64]) -> None: ...
    def set_parameters(self, parameters: NDArray[np.float64]) -> None: ...
    def parameters(self) -> NDArray[np.float64]: ...
    def rows(self) -> NDArray[np.int32]: ...
    def targets(self) -> NDArray[np.float64]: ...
    def log_likelihood(self) -> float: ...
    def predict(self, rows: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
    def sample(
        self, rows: NDArray[np.int32], draws: int, seed: int, generation: int, first: int
    ) -> NDArray[np.float64]: ...
    def prior_covariance(self, rows: NDArray[np.int32]) -> NDArray[np.float64]: ...
    def objective(
        self,
        rows: NDArray[np.int32],
        targets: NDArray[np.float64],
        parameters: NDArray[np.float64],
        priors: bool,
    ) -> tuple[float, NDArray[np.float64]]: ...
    def search(
        self,
        cardinalities: NDArray[np.int32],
        conditions: NDArray[np.int32] | None,
        acquisition: str,
        best: float,
        deviations: float,
        points: NDArray[np.float64] | None,
        reference: NDArray[np.float64] | None,
        starts: NDArray[np.int32],
        random: int,
        wanted: int,
        seed: int,
        first: int,
        repeats: bool,
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]: ...
    def first_candidates(
        self,
        cardinalities: NDArray[np.int32],
        conditions: NDArray[np.int32] | None,
        starts: NDArray[np.int32],
        random: int,
        seed: int,
        first: int,
        repeats: bool,
    ) -> NDArray[np.int32]: ...
    def __len__(self) -> int: ...

def log_expected_improvement(
    means: NDArray[np.float64], variances: NDArray[np.float64], best: float
) -> NDArray[np.float64]: ...
def log_expected_area(
    means: NDArray[np.float64],
    variances: NDArray[np.float64],
    points: NDArray[np.float64],
    reference: NDArray[np.float64],
) -> NDArray[np.float64]: ...
def ensemble_predict(
    processes: list[Process],
    weights: NDArray[np.float64],
    shared: NDArray[np.bool_],
    rows: NDArray[np.int32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
def ensemble_search(
    processes: list[Process],
    weights: NDArray[np.float64],
    shared: NDArray[np.bool_],
    cardinalities: NDArray[np.int32],
    conditions: NDArray[np.int32] | None,
    acquisition: str,
    best: float,
    deviations: float,
    starts: NDArray[np.int32],
    random: int,
    wanted: int,
    seed: int,
    first: int,
    repeats: bool,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]: ...
def leave_one_out(process: Process) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
def ranking_losses(
    values: NDArray[np.float64], targets: NDArray[np.float64], held_out: bool
) -> NDArray[np.int64]: ...
