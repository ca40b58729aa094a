import numpy as np
from numpy.typing import ArrayLike, NDArray

from nasx._core.population import GenotypeSet

def nsga2_select(
    losses: NDArray[np.float64],
    violations: NDArray[np.float64] | None,
    n: int,
    seed: int,
    generation: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]: ...

class Offspring:
    def __init__(
        self,
        parents: NDArray[np.int32],
        keys: NDArray[np.float64],
        crowding: NDArray[np.float64] | None,
        cardinalities: NDArray[np.int32],
        conditions: NDArray[np.int32] | None,
        size: int,
        kind: str,
        points: int,
        probability: float,
        rates: NDArray[np.float64],
        seed: int,
        generation: int,
    ) -> None: ...
    def make(self, n: int, first: int) -> NDArray[np.int32]: ...
    def make_new(
        self, n: int, first: int, seen: GenotypeSet, rejected: int, patience: int
    ) -> tuple[NDArray[np.int32], int, int]: ...

class Mutants:
    def __init__(
        self,
        parents: NDArray[np.int32],
        keys: NDArray[np.float64],
        cardinalities: NDArray[np.int32],
        conditions: NDArray[np.int32] | None,
        size: int,
        seed: int,
        generation: int,
    ) -> None: ...
    def make(self, n: int, first: int) -> NDArray[np.int32]: ...
    def make_new(
        self, n: int, first: int, seen: GenotypeSet, rejected: int, patience: int
    ) -> tuple[NDArray[np.int32], int, int]: ...

class AgingPopulation:
    def __init__(
        self,
        cardinalities: NDArray[np.int32],
        conditions: NDArray[np.int32] | None,
        population_size: int,
        sample_size: int,
        objectives: int,
        seed: int,
    ) -> None: ...
    def make(self, n: int, first: int) -> NDArray[np.int32]: ...
    def make_new(
        self, n: int, first: int, seen: GenotypeSet, rejected: int, patience: int
    ) -> tuple[NDArray[np.int32], int, int]: ...
    def enter(
        self, x: NDArray[np.int32], losses: NDArray[np.float64], violations: NDArray[np.float64]
    ) -> None: ...
    def tell(
        self,
        x: ArrayLike,
        losses: ArrayLike,
        violations: ArrayLike | None,
        failed: ArrayLike | None,
        seen: GenotypeSet | None,
    ) -> bool: ...
    @property
    def size(self) -> int: ...
    @property
    def genotypes(self) -> NDArray[np.int32]: ...
    @property
    def losses(self) -> NDArray[np.float64]: ...
    @property
    def violations(self) -> NDArray[np.float64]: ...
    @property
    def keys(self) -> NDArray[np.float64]: ...
