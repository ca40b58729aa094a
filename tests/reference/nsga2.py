"""NSGA-II as the paper tells it, generation by generation, without conditions or repeats."""

from __future__ import annotations

import numpy as np

from reference import pareto
from reference.philox import Stream
from reference.population import child, repair_row, rows_array


class ReferenceNSGA2:
    def __init__(
        self,
        cardinalities: np.ndarray,
        *,
        population_size: int,
        objectives: int,
        seed: int,
        crossover: str = "uniform",
        crossover_points: int = 2,
        mutation_rate: float | None = None,
    ) -> None:
        self.cardinalities = cardinalities.tolist()
        self.size, self.seed = population_size, seed
        self.crossover, self.points = crossover, crossover_points
        self.rates = [mutation_rate or 1 / len(cardinalities)] * len(cardinalities)
        self.rows: list[list[int]] = []
        self.losses = np.empty((0, objectives))
        self.violations = np.empty(0)
        self.generation = self.proposed = 0
        self.seen: set[tuple[int, ...]] = set()

    def propose(self) -> list[int]:
        item, self.proposed = self.proposed, self.proposed + 1
        if self.generation == 0:
            empty = [-1] * len(self.cardinalities)
            return repair_row(empty, self.cardinalities, [], Stream("sample", self.seed, 0, item))
        return child(
            self.rows,
            self.ranks,
            self.crowding,
            2,
            self.cardinalities,
            [],
            self.crossover,
            self.points,
            0.9,
            self.rates,
            Stream("offspring", self.seed, self.generation, item),
        )

    def ask(self, n: int) -> np.ndarray:
        asked = []
        while len(asked) < n:
            row = self.propose()
            if tuple(row) not in self.seen:
                self.seen.add(tuple(row))
                asked.append(row)
        return rows_array(asked, len(self.cardinalities))

    def tell(self, x: np.ndarray, losses: np.ndarray, violations: np.ndarray) -> None:
        rows = self.rows + x.tolist()
        losses = np.concatenate([self.losses, losses])
        violations = np.concatenate([self.violations, violations])
        self.generation += 1
        lots = [Stream("select", self.seed, self.generation, i).next_u64() for i in range(len(rows))]
        chosen, self.ranks, self.crowding = pareto.select(losses, violations, self.size, lots)
        self.rows = [rows[i] for i in chosen]
        self.losses, self.violations = losses[chosen], violations[chosen]
