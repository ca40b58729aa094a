import numpy as np
from numpy.typing import NDArray

def sample(
    cardinalities: NDArray[np.int32],
    conditions: NDArray[np.int32] | None,
    n: int,
    seed: int,
    generation: int,
    first: int,
) -> NDArray[np.int32]: ...
def first_malformed(
    genotypes: NDArray[np.int32], cardinalities: NDArray[np.int32], conditions: NDArray[np.int32] | None
) -> int: ...
def repair(
    genotypes: NDArray[np.int32],
    cardinalities: NDArray[np.int32],
    conditions: NDArray[np.int32] | None,
    seed: int,
    generation: int,
    first: int,
) -> NDArray[np.int32]: ...
def mutate(
    genotypes: NDArray[np.int32],
    cardinalities: NDArray[np.int32],
    conditions: NDArray[np.int32] | None,
    rates: NDArray[np.float64],
    seed: int,
    generation: int,
    first: int,
) -> NDArray[np.int32]: ...
def mutate_one(
    genotypes: NDArray[np.int32],
    cardinalities: NDArray[np.int32],
    conditions: NDArray[np.int32] | None,
    seed: int,
    generation: int,
    first: int,
) -> NDArray[np.int32]: ...
def crossover(
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    cardinalities: NDArray[np.int32],
    conditions: NDArray[np.int32] | None,
    kind: str,
    points: int,
    probability: float,
    seed: int,
    generation: int,
    first: int,
) -> NDArray[np.int32]: ...
def neighbors(
    genotype: NDArray[np.int32],
    cardinalities: NDArray[np.int32],
    conditions: NDArray[np.int32] | None,
    adjacent: NDArray[np.bool_] | None,
    n: int | None,
    shuffled: bool,
    seed: int,
    generation: int,
    first: int,
) -> NDArray[np.int32]: ...
def tournament(
    keys: NDArray[np.float64],
    crowding: NDArray[np.float64] | None,
    n: int,
    size: int,
    seed: int,
    generation: int,
    first: int,
) -> NDArray[np.int32]: ...
def look_up(
    genotypes: NDArray[np.int32], cardinalities: NDArray[np.int32], table: NDArray[np.float64]
) -> NDArray[np.float64]: ...
def hash_rows(genotypes: NDArray[np.int32]) -> NDArray[np.uint64]: ...
def unique(genotypes: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]: ...

class GenotypeSet:
    def __init__(self, width: int) -> None: ...
    def insert(self, rows: NDArray[np.int32], most: int | None = None) -> NDArray[np.bool_]: ...
    def mark(self, rows: NDArray[np.int32]) -> NDArray[np.bool_]: ...
    def contains(self, rows: NDArray[np.int32]) -> NDArray[np.bool_]: ...
    def find(self, rows: NDArray[np.int32]) -> NDArray[np.int64]: ...
    def rows(self) -> NDArray[np.int32]: ...
    def marks(self) -> NDArray[np.bool_]: ...
    def __len__(self) -> int: ...
    @property
    def marked(self) -> int: ...
    @property
    def width(self) -> int: ...
