"""Evolutionary methods with plain lists, one architecture after another, for spaces without limits."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from reference import pareto
from reference.philox import Stream
from reference.population import Row, Rules, child, mutant, repair_row, rows_array


class Member(NamedTuple):
    row: Row
    losses: list[float]
    violation: float


def losses_of(members: list[Member]) -> np.ndarray:
    return np.array([m.losses for m in members])


def violations_of(members: list[Member]) -> np.ndarray:
    return np.array([m.violation for m in members])


class Reference:
    """Random architectures first, then whatever `breed` makes; nothing is asked for twice."""

    def __init__(
        self, cardinalities: list[int], rules: Rules, *, population_size: int, seed: int, **settings: object
    ) -> None:
        self.cardinalities, self.rules = cardinalities, rules
        self.size, self.seed, self.settings = population_size, seed, settings
        self.asked: set[tuple[int, ...]] = set()
        self.proposed = 0
        self.population: list[Member] | deque[Member] = []

    def breed(self, item: int) -> Row:
        raise NotImplementedError

    def enter(self, member: Member) -> None:
        raise NotImplementedError

    def ask(self, n: int) -> np.ndarray:
        rows = []
        while len(rows) < n:
            item, self.proposed = self.proposed, self.proposed + 1
            if len(self.asked) < self.size or not self.population:
                stream = Stream("sample", self.seed, 0, item)
                row = repair_row([-1] * len(self.cardinalities), self.cardinalities, self.rules, stream)
            else:
                row = self.breed(item)
            if tuple(row) not in self.asked:
                self.asked.add(tuple(row))
                rows.append(row)
        return rows_array(rows, len(self.cardinalities))

    def tell(self, x: np.ndarray, losses: np.ndarray, violations: np.ndarray, failed: np.ndarray) -> None:
        for row, values, violation, lost in zip(x.tolist(), losses.tolist(), violations, failed, strict=True):
            if lost:
                self.enter(Member(row, [np.inf] * len(values), np.inf))
            else:
                self.enter(Member(row, values, float(violation)))


class ReferenceRegularizedEvolution(Reference):
    def __init__(self, *space: object, sample_size: int, **settings: object) -> None:
        super().__init__(*space, **settings)  # type: ignore[arg-type]
        self.sample_size = sample_size
        self.population = deque()

    def breed(self, item: int) -> Row:
        members = list(self.population)
        losses = losses_of(members)
        keys = pareto.rank(losses, violations_of(members))
        crowding = pareto.crowding_distance(losses, keys) if len(members[0].losses) > 1 else None
        stream = Stream("mutants", self.seed, 0, item)
        parents = [m.row for m in members]
        return mutant(parents, keys, self.sample_size, self.cardinalities, self.rules, stream, crowding)

    def enter(self, member: Member) -> None:
        self.population.append(member)
        if len(self.population) > self.size:
            self.population.popleft()


class ReferenceGeneticAlgorithm(Reference):
    """`breeders` of the ranked population take part in tournaments of `contestants`."""

    def __init__(
        self,
        *space: object,
        elites: int,
        breeders: int,
        contestants: int,
        crossover: str,
        points: int,
        rate: float,
        **settings: object,
    ) -> None:
        super().__init__(*space, **settings)  # type: ignore[arg-type]
        self.elites, self.breeders, self.contestants = elites, breeders, contestants
        self.crossover, self.points = crossover, points
        self.rates = [rate] * len(self.cardinalities)
        self.generation = 0
        self.offspring: list[Member] = []

    def select(self, members: list[Member], n: int) -> tuple[list[int], list[int], list[float]]:
        lots = [Stream("select", self.seed, self.generation, i).next_u64() for i in range(len(members))]
        return pareto.select(losses_of(members), violations_of(members), n, lots)

    def breed(self, item: int) -> Row:
        chosen, ranks, crowding = self.select(self.population, self.breeders)
        return child(
            [self.population[i].row for i in chosen],
            ranks,
            crowding,
            self.contestants,
            self.cardinalities,
            self.rules,
            self.crossover,
            self.points,
            0.9,
            self.rates,
            Stream("offspring", self.seed, self.generation, item),
        )

    def enter(self, member: Member) -> None:
        self.offspring.append(member)
        if len(self.offspring) == self.size - (self.elites if self.population else 0):
            self.generation += 1
            best = self.select(self.population, self.elites)[0] if self.population else []
            self.population = [self.population[i] for i in best] + self.offspring
            self.offspring = []
