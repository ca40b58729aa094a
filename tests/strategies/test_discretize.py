"""The architecture that is derived within limits: against brute force, and never over a limit."""

import itertools

import numpy as np
import pytest
import reference.limits as reference
import torch
from torch import nn

import nasx
from nasx.hardware import LatencyTable
from nasx.nn import InputChoice, LayerChoice, Supernet
from nasx.nn.parts import option_scores
from nasx.strategies.differentiable import discretize
from nasx.strategies.differentiable.cost_models import CostModels
from nasx.strategies.differentiable.discretize import best_within
from nasx.strategies.limits import CostLimits
from nasx.tasks.base import TaskSpec

SPEC = TaskSpec((1, 8, 8), 10, "image_classification")
CELLS = nasx.spaces.NASBench201(cells=1, channels=4)
DARTS_SPACE = nasx.spaces.DARTS(cells=3, channels=4, nodes=2)


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        inner = LayerChoice({"a": nn.Linear(4, 4), "b": nn.Tanh(), "c": nn.ReLU()}, name="inner")
        self.outer = LayerChoice({"deep": nn.Sequential(nn.Linear(4, 4), inner), "skip": nn.Identity()})
        self.join = InputChoice(3, chosen=2)
        self.last = LayerChoice({"relu": nn.ReLU(), "tanh": nn.Tanh()})


NESTED = nasx.space_of(Nested)


def supernet_of(space, seed=0, **options):
    torch.manual_seed(seed)
    supernet = space.supernet(SPEC, **options)
    for parameter in supernet.architecture_parameters():
        nn.init.normal_(parameter)
    return supernet


def random_table(space, seed=0, pairs=0.0):
    random = np.random.default_rng(seed)
    counts = space.cardinalities.tolist()
    between = [random.uniform(0, pairs, shape) for shape in itertools.pairwise(counts)]
    return LatencyTable(
        space, [random.uniform(0.5, 2, n) for n in counts], pairs=between if pairs else None, intercept=3.0
    )


def limits_of(tables, limits):
    def violation(rows):
        return np.sum([np.maximum(tables[name](rows) - limit, 0) for name, limit in limits.items()], axis=0)

    return CostLimits(tables, limits, violation)


def score_of(supernet, genotype):
    """How far an architecture is below what is derived, in logarithms of weights."""
    models = CostModels(supernet, CostLimits({}, {}, lambda rows: np.zeros(len(rows))))
    taken = models.taken(np.asarray(genotype)[None])[0]
    scores = option_scores(models.parts, supernet.strengths())
    return sum(score[k] for score, k in zip(scores, taken, strict=True))


def scores_of_all(supernet):
    rows = [row.tolist() for part in supernet.probabilities().values() for row in part.detach().double()]
    return reference.independent(supernet.space, rows)


@pytest.fixture(params=[200_000, 0], ids=["by rank", "by knapsack"])
def way(request, monkeypatch):
    """Both ways to search, whatever the size of the space."""
    monkeypatch.setattr(discretize, "_ENUMERABLE", request.param)


# -- what is derived -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [CELLS, DARTS_SPACE, NESTED])
@pytest.mark.parametrize("edges", [False, True])
def test_without_a_limit_that_binds_it_is_what_is_derived(space, edges):
    supernet = supernet_of(space, edge_normalization=edges)
    table = random_table(space)
    loose = limits_of({"ms": table}, {"ms": 1e9})
    assert best_within(supernet, loose).tolist() == supernet.derive().tolist()
    assert best_within(supernet, None).tolist() == supernet.derive().tolist()
    assert score_of(supernet, supernet.derive()) == 0
    heaviest = [int(score.argmax()) for score in option_scores(supernet.parts, supernet.strengths())]
    models = CostModels(supernet, loose)
    assert models.genotypes(np.array([heaviest]))[0].tolist() == supernet.derive().tolist()


# -- against brute force ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantile", [0.0, 0.001, 0.1, 0.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_cells_under_a_limit_are_the_best_of_all(way, seed, quantile):
    supernet, table = supernet_of(CELLS, seed), random_table(CELLS, seed)
    genotypes, _, scores = scores_of_all(supernet)
    costs = table(genotypes)
    limit = float(np.quantile(costs, quantile))
    found = best_within(supernet, limits_of({"ms": table}, {"ms": limit}))
    assert table(found[None])[0] <= limit
    assert score_of(supernet, found) == pytest.approx(scores[costs <= limit].max(), abs=1e-5)


def test_cells_under_two_limits_are_the_best_of_all(way):
    supernet = supernet_of(CELLS)
    tables = {"ms": random_table(CELLS), "mb": random_table(CELLS, 1)}
    genotypes, _, scores = scores_of_all(supernet)
    costs = {name: table(genotypes) for name, table in tables.items()}
    limits = {name: float(np.quantile(values, 0.1)) for name, values in costs.items()}
    found = best_within(supernet, limits_of(tables, limits))
    within = np.all([costs[name] <= limit for name, limit in limits.items()], axis=0)
    assert within.any()
    assert all(tables[name](found[None])[0] <= limit for name, limit in limits.items())
    assert score_of(supernet, found) == pytest.approx(scores[within].max(), abs=1e-5)


@pytest.mark.parametrize("limit", [5.0, 5.5, 6.5, 7.5])
def test_choices_within_candidates_under_a_limit_are_the_best_of_all(way, limit):
    supernet, table = supernet_of(NESTED), random_table(NESTED)
    genotypes = NESTED.enumerate()
    costs, scores = table(genotypes), np.array([score_of(supernet, row) for row in genotypes])
    assert scores.max() == 0
    found = best_within(supernet, limits_of({"ms": table}, {"ms": limit}))
    if not (costs <= limit).any():
        assert found is None
        return
    assert table(found[None])[0] <= limit
    assert score_of(supernet, found) == pytest.approx(scores[costs <= limit].max())


@pytest.mark.parametrize("edges", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.6])
def test_darts_cells_under_a_limit_are_the_best_of_all(share, edges):
    """52 million architectures: nodes are independent, and the twin looks at all by halves."""
    supernet, table = supernet_of(DARTS_SPACE, edge_normalization=edges), random_table(DARTS_SPACE)
    low, high = table.range()
    limit = low + share * (high - low)
    limits = limits_of({"ms": table}, {"ms": limit})
    found = best_within(supernet, limits)
    assert table(found[None])[0] <= limit
    models = CostModels(supernet, limits)
    scores = option_scores(models.parts, supernet.strengths())
    best = reference.best_of_parts(scores, models.whole("ms").options, limit - table.intercept + 1e-9)
    assert score_of(supernet, found) == pytest.approx(best, abs=1e-9)


def test_costs_that_are_no_sums_are_met_as_they_are(way):
    """Cells whose cost jumps: sums only guide the search, and by rank it is exact."""

    def cost(rows):
        heavy = (rows == 3).sum(axis=1)
        return np.where(heavy > 2, 10.0 + heavy**2, heavy + 0.1 * (rows == 2).sum(axis=1))

    for seed in range(2):
        supernet = supernet_of(CELLS, seed)
        supernet.logits["cell"].data[:, 3] += 2.0
        genotypes, _, scores = scores_of_all(supernet)
        for limit in (0.0, 1.5, 2.2, 20.0):
            found = best_within(supernet, limits_of({"x": cost}, {"x": limit}))
            assert cost(found[None])[0] <= limit
            best = scores[cost(genotypes) <= limit].max()
            # Single exchanges leave little to be gained, if anything.
            tolerance = 1e-5 if discretize._ENUMERABLE else 0.5 * abs(best) + 1e-5
            assert score_of(supernet, found) == pytest.approx(best, abs=tolerance)


def test_pairs_are_met_as_they_are(way):
    supernet, table = supernet_of(CELLS), random_table(CELLS, pairs=2.0)
    genotypes, _, scores = scores_of_all(supernet)
    costs = table(genotypes)
    for quantile in (0.001, 0.05, 0.3):
        limit = float(np.quantile(costs, quantile))
        found = best_within(supernet, limits_of({"ms": table}, {"ms": limit}))
        assert table(found[None])[0] <= limit
        best = scores[costs <= limit].max()
        tolerance = 1e-5 if discretize._ENUMERABLE else 0.5 * abs(best) + 1e-5
        assert score_of(supernet, found) == pytest.approx(best, abs=tolerance)


# -- constraints, canonical spaces, nothing --------------------------------------------------------------------


def constrained(*constraints):
    def network():
        layers = [LayerChoice({"a": nn.ReLU(), "b": nn.Tanh(), "c": nn.Identity()}) for _ in range(4)]
        return nn.Sequential(*layers)

    space = nasx.space_of(network)
    space.constraints = constraints
    return space


def test_constraints_hold_with_limits_and_without(way):
    space = constrained(lambda rows: rows.sum(axis=1) % 3 == 1)
    supernet, table = supernet_of(space, 3), random_table(space)
    genotypes, _, scores = scores_of_all(supernet)
    assert len(genotypes) == 27
    exact = {} if discretize._ENUMERABLE else {"abs": 1.0}
    for limit in (np.inf, float(np.quantile(table(genotypes), 0.3))):
        within = table(genotypes) <= limit
        limits = None if limit == np.inf else limits_of({"ms": table}, {"ms": limit})
        found = best_within(supernet, limits)
        assert space.satisfies(found[None])[0]
        assert table(found[None])[0] <= limit
        assert score_of(supernet, found) == pytest.approx(scores[within].max(), **exact)


def test_in_canonical_spaces_costs_are_those_of_the_network(way):
    space = nasx.spaces.NASBench201(cells=1, channels=4, canonical=True)
    supernet, table = supernet_of(space, 1), random_table(space)
    rows = space.enumerate()
    limit = float(np.quantile(table(rows), 0.02))
    found = best_within(supernet, limits_of({"ms": table}, {"ms": limit}))
    assert table(found[None])[0] <= limit
    assert (space.canonicalize(found[None]) == found).all()


def test_nothing_within_the_limits_is_none(way):
    supernet, table = supernet_of(CELLS), random_table(CELLS)
    assert best_within(supernet, limits_of({"ms": table}, {"ms": 0.99 * table.range()[0]})) is None
    assert best_within(supernet_of(constrained(lambda rows: rows[:, 0] > 5)), None) is None
    assert best_within(supernet, limits_of({"x": lambda rows: np.ones(len(rows))}, {"x": 0.0})) is None


def test_a_needle_is_found_by_chance():
    """Only what has four of one operation in the normal cell is within, in 52 million architectures."""
    places = [j for j, name in enumerate(DARTS_SPACE) if name.startswith("normal") and "inputs" not in name]

    def cost(rows):
        kinds = rows[:, places]
        return np.where((kinds == kinds[:, :1]).all(axis=1), 1.0, 5.0)

    for seed in range(2):
        supernet = supernet_of(DARTS_SPACE, seed)
        found = best_within(supernet, limits_of({"x": cost}, {"x": 2.0}), seed=seed)
        assert cost(found[None])[0] == 1.0


def test_same_seed_same_architecture():
    def cost(rows):
        return np.abs(np.sin(1 + rows @ np.arange(1, rows.shape[1] + 1)))

    supernet = supernet_of(DARTS_SPACE)
    limits = limits_of({"x": cost}, {"x": 0.01})
    one, other = (best_within(supernet, limits, seed=4) for _ in range(2))
    assert cost(one[None])[0] <= 0.01
    assert one.tolist() == other.tolist()


def test_supernets_without_parts_say_so():
    class Other(Supernet):
        def __init__(self, space):
            super().__init__(space, {"all": (2, 3)})

        columns = property(lambda self: {"all": ("a", "b", "c")})
        choices_of = extract = skips = None

        def derive(self):
            return np.zeros(6, np.int32)

    supernet, table = Other(CELLS), random_table(CELLS)
    assert best_within(supernet, limits_of({"ms": table}, {"ms": 1e9})).tolist() == [0] * 6
    with pytest.raises(TypeError, match="Other has no row of architecture parameters for each decision"):
        best_within(supernet, limits_of({"ms": table}, {"ms": 0.0}))
