"""Expected costs and the best architecture under limits, by looking at every architecture."""

import itertools
import math

import numpy as np


def independent(space, rows):
    """Architectures whose decisions each have a row of weights; what is inactive is not drawn.

    Gives the genotypes, their probabilities, and their scores: what each active choice weighs less than the
    heaviest one of its decision, in logarithms.
    """
    genotypes = space.enumerate()
    probabilities, scores = [], []
    for genotype in genotypes.tolist():
        taken = [(row, k) for row, k in zip(rows, genotype, strict=True) if k >= 0]
        probabilities.append(math.prod(row[k] for row, k in taken))
        scores.append(sum(math.log(row[k] / max(row)) for row, k in taken))
    return genotypes, np.array(probabilities), np.array(scores)


def darts_nodes(space, strengths):
    """Every way to decide each node of both cells: ``{(kind, node): [({decision: choice}, weight), ...]}``."""
    found = {}
    for kind in ("normal", "reduce"):
        for node in range(space.nodes):
            ways = found[kind, node] = []
            kept = [name for name in space.all_operations if name != "none"]
            for a, b in itertools.combinations(range(node + 2), 2):
                for first, second in itertools.product(kept, kept):
                    weight = 1.0
                    for source, name in ((a, first), (b, second)):
                        row = strengths[kind][space.edges.index((node + 2, source))]
                        weight *= row[space.all_operations.index(name)]
                    choices = {f"{kind}.{node}.first": first, f"{kind}.{node}.second": second}
                    if node:
                        choices[f"{kind}.{node}.inputs"] = f"{a}+{b}"
                    ways.append((choices, weight))
    return found


def expected(space, nodes, entries, intercept):
    """Mean of a sum over decisions, where each node is decided by its weights."""
    total = intercept
    for ways in nodes.values():
        whole = sum(weight for _, weight in ways)
        for choices, weight in ways:
            cost = sum(entries[name][space[name].index(choice)] for name, choice in choices.items())
            total += weight / whole * cost
    return total


def best_of_parts(scores, costs, limit):
    """Largest sum of scores with a sum of costs within the limit, of one option a part: all of two halves."""
    halves = []
    for places in (range(len(scores) // 2), range(len(scores) // 2, len(scores))):
        score, cost = np.zeros(1), np.zeros(1)
        for i in places:
            score = np.add.outer(score, scores[i]).ravel()
            cost = np.add.outer(cost, costs[i]).ravel()
        halves.append((score, cost))
    (score, cost), (other_score, other_cost) = halves
    order = np.argsort(other_cost)
    best_so_far = np.maximum.accumulate(other_score[order])
    place = np.searchsorted(other_cost[order], limit - cost, side="right") - 1
    return max((score[place >= 0] + best_so_far[place[place >= 0]]).tolist(), default=None)


def loss(value, costs, targets, form, weight, exponent):
    """The published forms, with the logarithm of what is less than e replaced by its tangent there."""
    if form == "add":
        return value + weight * sum((costs[n] - t) / t for n, t in targets.items())

    def log(x):
        return math.log(x) if x > math.e else x / math.e

    for name, target in targets.items():
        value *= (log(costs[name]) / (log(target) if form == "multiply" else 1)) ** exponent
    return weight * value
