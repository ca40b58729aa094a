"""TPE kernel by kernel, in plain Python, for spaces without limits."""

from __future__ import annotations

import bisect
import itertools
import math
from typing import NamedTuple

import numpy as np

from reference import pareto
from reference.philox import Stream
from reference.population import Row, Rules, active, repair_row, rows_array


def age_weights(n: int) -> list[float]:
    """1 for the last 25, before them a line from 1/n to 1; the oldest first."""
    if n < 25:
        return [1.0] * n
    return [*np.linspace(1 / n, 1, n - 25).tolist(), *[1.0] * 25]


def below(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


class Normal(NamedTuple):
    """Cut off half a choice beyond the first and the last of `choices`."""

    centre: float
    width: float
    choices: int

    def between(self, a: float, b: float) -> float:
        a, b = (a - self.centre) / self.width, (b - self.centre) / self.width
        return below(-a) - below(-b) if a > 0 else below(b) - below(a)

    def mass(self, x: int) -> float:
        return self.between(x - 0.5, x + 0.5) / self.between(-0.5, self.choices - 0.5)

    def draw(self, stream: Stream) -> int:
        low = below((-0.5 - self.centre) / self.width)
        target = low + stream.uniform() * self.between(-0.5, self.choices - 0.5)
        for x in range(self.choices - 1):
            if below((x + 0.5 - self.centre) / self.width) >= target:
                return x
        return self.choices - 1


class Ordered:
    """One normal density an observation; equal ones are sorted in every order, so each is their mean."""

    def __init__(self, observed: list[int], choices: int) -> None:
        values, n = sorted(observed), len(observed)
        padded = [-0.5, *values, choices - 0.5]
        gaps = [b - a for a, b in itertools.pairwise(padded)]
        widths = [max(gaps[i], gaps[i + 1]) for i in range(n)]
        if n > 1:
            widths[0], widths[-1] = gaps[1], gaps[-2]
        least = choices / min(100, n + 2)
        self.kernels: dict[int, list[Normal]] = {}
        for value, width in zip(values, widths, strict=True):
            self.kernels.setdefault(value, []).append(Normal(value, min(max(width, least), choices), choices))
        self.prior = Normal((choices - 1) / 2, choices, choices)

    def mass(self, x: int, observed: int) -> float:
        if observed < 0:
            return self.prior.mass(x)
        return float(np.mean([kernel.mass(x) for kernel in self.kernels[observed]]))

    def draw(self, observed: int, stream: Stream) -> int:
        if observed < 0:
            return self.prior.draw(stream)
        kernels = self.kernels[observed]
        first_last_between = [kernels[0], *kernels[-1:], *kernels[1:-1]] if len(kernels) > 1 else kernels
        return first_last_between[stream.below(len(kernels)) if len(kernels) > 1 else 0].draw(stream)


class Categorical:
    def __init__(self, n: int, choices: int) -> None:
        self.smoothing, self.choices = 1 / (n + 1), choices

    def mass(self, x: int, observed: int) -> float:
        if observed < 0:
            return 1 / self.choices
        return (self.smoothing + (x == observed)) / (1 + self.choices * self.smoothing)

    def draw(self, observed: int, stream: Stream) -> int:
        if observed < 0:
            return stream.below(self.choices)
        at = stream.uniform() * (1 + self.choices * self.smoothing)
        return observed if at < 1 else min(int((at - 1) / self.smoothing), self.choices - 1)


class Estimator:
    def __init__(
        self,
        rows: list[Row],
        cardinalities: list[int],
        rules: Rules,
        ordered: list[bool],
        *,
        joint: bool,
        equal: bool,
    ) -> None:
        self.rows, self.cardinalities, self.rules = rows, cardinalities, rules
        self.joint, self.equal = joint, equal
        self.weights = [1.0] * len(rows) if equal else age_weights(len(rows))
        self.kernels: list[Ordered | Categorical] = []
        for j, choices in enumerate(cardinalities):
            seen = [row[j] for row in rows if row[j] >= 0]
            n = len(rows) if joint else len(seen)
            self.kernels.append(Ordered(seen, choices) if ordered[j] else Categorical(n, choices))

    def density(self, x: Row) -> float:
        taken = [j for j in range(len(x)) if x[j] >= 0]
        if self.joint:
            kernels = [*self.rows, [-1] * len(x)]
            weights = [*self.weights, 1.0]
            products = [math.prod(self.kernels[j].mass(x[j], row[j]) for j in taken) for row in kernels]
            return float(np.dot(weights, products)) / sum(weights)
        return math.prod(self.one_density(j, x[j]) for j in taken)

    def one_density(self, j: int, x: int) -> float:
        seen = [*(row[j] for row in self.rows if row[j] >= 0), -1]
        weights = [*([1.0] * (len(seen) - 1) if self.equal else age_weights(len(seen) - 1)), 1.0]
        masses = [self.kernels[j].mass(x, v) for v in seen]
        return float(np.dot(weights, masses)) / sum(weights)

    def draw(self, stream: Stream) -> Row:
        d = len(self.cardinalities)
        row = [-1] * d
        chosen = None
        if self.joint:
            cumulative = np.cumsum(self.weights).tolist()
            at = bisect.bisect_right(cumulative, stream.uniform() * (sum(self.weights) + 1))
            chosen = self.rows[at] if at < len(self.rows) else [-1] * d
        for j in range(d):
            if active(j, row, self.rules):
                observed = self.one_observed(j, stream) if chosen is None else chosen[j]
                row[j] = self.kernels[j].draw(observed, stream)
        return row

    def one_observed(self, j: int, stream: Stream) -> int:
        seen = [row[j] for row in self.rows if row[j] >= 0]
        weights = [1.0] * len(seen) if self.equal else age_weights(len(seen))
        at = stream.uniform() * (sum(weights) + 1)
        for v in range(self.cardinalities[j]):
            at -= sum(w for w, choice in zip(weights, seen, strict=True) if choice == v)
            if at < 0:
                return v
        return -1


def best_subset(losses: np.ndarray, violations: np.ndarray, n: int) -> list[int]:
    """Whole fronts; of the one that does not fit, again and again the point that adds most volume."""
    ranks = pareto.rank(losses, violations).tolist()
    order = sorted(range(len(ranks)), key=lambda i: ranks[i])
    if n >= len(order):
        return order
    last = ranks[order[n]]
    whole, cut = [i for i in order if ranks[i] < last], [i for i in order if ranks[i] == last]
    if violations[cut[0]] > 0 or not np.isfinite(losses[cut]).all():
        return order[:n]
    worst = losses[cut].max(axis=0)
    reference = np.where(worst > 0, 1.1 * worst, np.where(worst < 0, 0.9 * worst, 1e-12))
    firsts = {tuple(losses[i].tolist()): i for i in reversed(cut)}
    left = [firsts[point] for point in sorted(firsts)]
    equals = [i for i in cut if i not in left]
    chosen: list[int] = []
    while left and len(whole) + len(chosen) < n:
        volumes = [pareto.hypervolume(losses[[*chosen, i]], reference) for i in left]
        chosen.append(left.pop(int(np.argmax(volumes))))
    chosen += equals[: n - len(whole) - len(chosen)]
    return whole + chosen


class ReferenceTPE:
    def __init__(
        self,
        cardinalities: list[int],
        rules: Rules,
        ordered: list[bool],
        *,
        objectives: int,
        seed: int,
        n_startup: int,
        n_candidates: int,
        multivariate: bool,
    ) -> None:
        self.space = cardinalities, rules, ordered
        self.objectives, self.seed = objectives, seed
        self.n_startup, self.n_candidates, self.joint = n_startup, n_candidates, multivariate
        self.asked: list[Row] = []
        self.told: dict[int, tuple[list[float], float]] = {}  # place among the asked -> losses, violation
        self.proposed = 0

    def good(self) -> list[int]:
        n = math.ceil(len(self.told) / 10)
        places = [i for i, (_, violation) in self.told.items() if violation < math.inf]
        if self.objectives == 1:
            key = {i: (self.told[i][1], self.told[i][0][0], i) for i in places}
            return sorted(sorted(places, key=key.__getitem__)[: min(n, 25)])
        losses = np.array([self.told[i][0] for i in places]).reshape(-1, self.objectives)
        violations = np.array([self.told[i][1] for i in places])
        return sorted(places[i] for i in best_subset(losses, violations, n)) if places else []

    def estimators(self) -> tuple[Estimator, Estimator]:
        good = self.good()
        several = self.objectives > 1
        return (
            Estimator([self.asked[i] for i in good], *self.space, joint=self.joint, equal=several),
            Estimator(
                [row for i, row in enumerate(self.asked) if i not in good],
                *self.space,
                joint=self.joint,
                equal=False,
            ),
        )

    def ask(self, n: int) -> np.ndarray:
        rows: list[Row] = []
        while len(rows) < n:
            item, self.proposed = self.proposed, self.proposed + 1
            row = self.propose(item)
            if row not in self.asked:
                self.asked.append(row)
                rows.append(row)
        return rows_array(rows, len(self.space[0]))

    def propose(self, item: int) -> Row:
        if len(self.told) < self.n_startup:
            return self.random(0, item)
        good, bad = self.estimators()
        for generation in range(4):
            stream = Stream("parzen", self.seed, generation, item)
            candidates = [good.draw(stream) for _ in range(self.n_candidates)]
            scores = [
                round((math.log(good.density(x)) - math.log(bad.density(x))) * 2**30) for x in candidates
            ]
            order = sorted(range(len(scores)), key=lambda i: -scores[i])
            new = [candidates[i] for i in order if candidates[i] not in self.asked]
            if new:
                return new[0]
        rows = [self.random(1, item * 64 + i) for i in range(64)]
        return next((row for row in rows if row not in self.asked), rows[0])

    def random(self, generation: int, item: int) -> Row:
        cardinalities, rules, _ = self.space
        stream = Stream("sample", self.seed, generation, item)
        return repair_row([-1] * len(cardinalities), cardinalities, rules, stream)

    def tell(self, x: np.ndarray, losses: np.ndarray, violations: np.ndarray, failed: np.ndarray) -> None:
        for row, values, violation, lost in zip(x.tolist(), losses.tolist(), violations, failed, strict=True):
            if row not in self.asked:
                self.asked.append(row)
            self.told[self.asked.index(row)] = (values, math.inf if lost else float(violation))
