"""Expected costs: against every architecture, by finite differences, and in the published losses."""

import itertools
import math

import numpy as np
import pytest
import reference.limits as reference
import torch
from torch import nn

import nasx
from nasx.errors import EvaluationError
from nasx.hardware import LatencyTable
from nasx.nn import InputChoice, LayerChoice
from nasx.strategies.differentiable.cost_models import CostModels, values_of
from nasx.strategies.differentiable.expected_cost import ExpectedCosts
from nasx.strategies.limits import CostLimits
from nasx.tasks.base import TaskSpec

SPEC = TaskSpec((1, 8, 8), 10, "image_classification")
CELLS = nasx.spaces.NASBench201(cells=1, channels=4)
DARTS_SPACE = nasx.spaces.DARTS(cells=3, channels=4, nodes=2)


class Nested(nn.Module):
    """A choice within a candidate, and inputs of which two are chosen."""

    def __init__(self):
        super().__init__()
        inner = LayerChoice({"a": nn.Linear(4, 4), "b": nn.Tanh(), "c": nn.ReLU()}, name="inner")
        self.outer = LayerChoice({"deep": nn.Sequential(nn.Linear(4, 4), inner), "skip": nn.Identity()})
        self.join = InputChoice(3, chosen=2)
        self.last = LayerChoice({"relu": nn.ReLU(), "tanh": nn.Tanh()})

    def forward(self, x):
        x = self.outer(x)
        return self.last(self.join([x, x.relu(), x.tanh()]))


NESTED = nasx.space_of(Nested)


def supernet_of(space, seed=0, scale=1.0, **options):
    torch.manual_seed(seed)
    supernet = space.supernet(SPEC, **options)
    for parameter in supernet.architecture_parameters():
        nn.init.normal_(parameter, std=scale)
    return supernet


def random_table(space, seed=0, pairs=False):
    random = np.random.default_rng(seed)
    counts = space.cardinalities.tolist()
    return LatencyTable(
        space,
        [random.uniform(0.5, 2, n) for n in counts],
        pairs=[random.uniform(0, 1, shape) for shape in itertools.pairwise(counts)] if pairs else None,
        intercept=3.0,
    )


def limits_of(tables, limits=None):
    def violation(rows):
        over = [np.maximum(tables[name](rows) - limit, 0) for name, limit in (limits or {}).items()]
        return np.sum(over, axis=0) if over else np.zeros(len(rows))

    return CostLimits(tables, limits or {}, violation)


def expected_of(supernet, table, **options):
    models = CostModels(supernet, limits_of({"ms": table}))
    return ExpectedCosts(models, targets={"ms": 5.0}, **options)


def rows_of(supernet):
    """The softmax of each decision's row, where there are such rows."""
    return [row.tolist() for rows in supernet.probabilities().values() for row in rows.detach().double()]


# -- the mean over all architectures ---------------------------------------------------------------------------


@pytest.mark.parametrize("pairs", [False, True])
def test_the_expected_cost_is_the_mean_over_all_cells(pairs):
    supernet, table = supernet_of(CELLS), random_table(CELLS, pairs=pairs)
    genotypes, probabilities, _ = reference.independent(CELLS, rows_of(supernet))
    found = expected_of(supernet, table)(supernet.probabilities())["ms"]
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(probabilities @ table(genotypes), rel=1e-6)  # of float32 rows
    assert found.item() == pytest.approx(float(table.expected(rows_of(supernet))), rel=1e-6)


@pytest.mark.parametrize("pairs", [False, True])
def test_what_is_inactive_costs_nothing(pairs):
    supernet, table = supernet_of(NESTED), random_table(NESTED, pairs=pairs)
    rows = dict(zip(supernet.logits, rows_of(supernet), strict=True))
    # Two of three inputs weigh what both weigh together.
    a, b, c = rows["join"]
    both = np.array([a * b, a * c, b * c])
    rows["join"] = (both / both.sum()).tolist()
    assert NESTED["join"].choices == ("0+1", "0+2", "1+2")
    genotypes, probabilities, _ = reference.independent(NESTED, [rows[name] for name in NESTED])
    assert (genotypes < 0).any()
    assert probabilities.sum() == pytest.approx(1)
    found = expected_of(supernet, table)(supernet.probabilities())["ms"]
    assert found.item() == pytest.approx(probabilities @ table(genotypes), rel=1e-6)


@pytest.mark.parametrize("edges", [False, True])
def test_in_darts_cells_it_is_the_mean_over_edges_that_are_kept_and_their_operations(edges):
    supernet, table = supernet_of(DARTS_SPACE, edge_normalization=edges), random_table(DARTS_SPACE)
    nodes = reference.darts_nodes(DARTS_SPACE, supernet.strengths())
    entries = dict(zip(DARTS_SPACE, table.entries, strict=True))
    expected = reference.expected(DARTS_SPACE, nodes, entries, table.intercept)
    found = expected_of(supernet, table)(supernet.probabilities(), supernet.edge_probabilities())["ms"]
    assert found.item() == pytest.approx(expected, rel=1e-6)
    if edges:  # which edges are kept depends on their weights
        assert expected_of(supernet, table)(supernet.probabilities())["ms"].item() != pytest.approx(expected)


def test_pairs_within_and_between_nodes_of_darts_cells_count():
    supernet, table = supernet_of(DARTS_SPACE), random_table(DARTS_SPACE, pairs=True)
    models = CostModels(supernet, limits_of({"ms": table}))
    assert len(models.whole("ms").bridges) == 3  # four nodes in a row
    random = np.random.default_rng(0)
    taken = np.stack([random.integers(len(part.options), size=50) for part in models.parts], axis=1)
    np.testing.assert_allclose(models.whole("ms")(taken), table(models.genotypes(taken)), rtol=1e-12)
    assert (models.taken(models.genotypes(taken)) == taken).all()
    # Near certainty the mean is the derived architecture's cost.
    supernet.temperature = 1e-3
    found = expected_of(supernet, table)(supernet.probabilities())["ms"]
    assert found.item() == pytest.approx(table(supernet.derive()[None])[0], rel=1e-6)


def test_drawn_rows_take_the_place_of_the_softmax():
    supernet, table = supernet_of(CELLS), random_table(CELLS)
    rows = torch.zeros(6, 5)
    rows[range(6), [4, 3, 2, 1, 0, 1]] = 1.0
    found = expected_of(supernet, table)({"cell": rows})["ms"]
    assert found.item() == pytest.approx(table([[4, 3, 2, 1, 0, 1]])[0])


def test_groups_are_known_by_their_names():
    supernet, table = supernet_of(NESTED), random_table(NESTED)
    expected, rows = expected_of(supernet, table), supernet.probabilities()
    backwards = dict(reversed(rows.items()))
    assert list(backwards) != list(rows)
    assert expected(backwards)["ms"].item() == expected(rows)["ms"].item()


# -- gradients -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["add", "multiply", "fbnet"])
@pytest.mark.parametrize("space", [CELLS, DARTS_SPACE, NESTED])
def test_gradients_are_those_of_finite_differences(space, form):
    supernet = supernet_of(space, **({"edge_normalization": True} if space is DARTS_SPACE else {})).double()
    expected = expected_of(supernet, random_table(space, pairs=True), form=form)

    def value():
        costs = expected(supernet.probabilities(), supernet.edge_probabilities())
        return expected.loss(torch.tensor(2.0, dtype=torch.float64), costs)

    value().backward()
    for parameter in supernet.architecture_parameters():
        assert parameter.grad.abs().max() > 1e-6
        flat, step = parameter.data.view(-1), 1e-5
        for place in range(0, len(flat), 7):
            before = flat[place].item()
            sides = []
            for sign in (1, -1):
                flat[place] = before + sign * step
                sides.append(value().item())
            flat[place] = before
            difference = (sides[0] - sides[1]) / (2 * step)
            assert parameter.grad.view(-1)[place].item() == pytest.approx(difference, rel=1e-4, abs=1e-9)


def test_the_term_alone_leads_to_the_cheapest():
    supernet, table = supernet_of(DARTS_SPACE), random_table(DARTS_SPACE)
    expected = expected_of(supernet, table, weight=1.0)
    for _ in range(60):
        supernet.zero_grad()
        costs = expected(supernet.probabilities())
        expected.loss(torch.zeros(()), costs).backward()
        for parameter in supernet.architecture_parameters():
            parameter.data -= 0.1 * parameter.grad.sign()
    cheapest, dearest = table.range()
    assert table(supernet.derive()[None])[0] < cheapest + 0.1 * (dearest - cheapest)


# -- the losses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0.02, 1.0, 40.0])
@pytest.mark.parametrize(
    ("form", "weight", "exponent"),
    [
        ("add", 0.1, 1.0),
        ("multiply", 0.2, 0.3),
        ("fbnet", 0.2, 0.6),
        ("multiply", 0.5, 1.5),
        ("fbnet", 3.0, 2),
    ],
)
def test_losses_are_the_published_ones(form, weight, exponent, size):
    supernet = supernet_of(CELLS)
    tables = {"ms": random_table(CELLS), "mb": random_table(CELLS, 1)}
    targets = {"ms": 9.0, "mb": 1.5}
    options = {} if weight < 0.3 else {"weight": weight, "exponent": exponent}  # those are the defaults
    expected = ExpectedCosts(CostModels(supernet, limits_of(tables)), form=form, targets=targets, **options)
    costs = {
        "ms": torch.tensor(size, dtype=torch.float64, requires_grad=True),
        "mb": torch.tensor(5.0).double(),
    }
    found = expected.loss(torch.tensor(2.5), costs)
    assert found.dtype == torch.float32
    numbers = {name: cost.item() for name, cost in costs.items()}
    told = reference.loss(2.5, numbers, targets, form, weight, exponent)
    assert found.item() == pytest.approx(told, rel=1e-6)
    found.backward()
    assert math.isfinite(costs["ms"].grad.item())  # below a latency of 1 too
    assert costs["ms"].grad.item() > 0


def test_costs_of_nothing_and_less_have_a_loss_too():
    supernet = supernet_of(CELLS)
    expected = expected_of(supernet, random_table(CELLS), form="fbnet")
    cost = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    value = expected.loss(torch.tensor(1.0), {"ms": cost})
    value.backward()
    assert math.isfinite(value.item())
    assert value.item() > 0
    assert cost.grad.item() == 0


def test_the_limits_are_the_targets_unless_others_are_named():
    supernet, tables = supernet_of(CELLS), {"ms": random_table(CELLS), "mb": random_table(CELLS, 1)}
    models = CostModels(supernet, limits_of(tables, {"mb": 9.0}))
    assert ExpectedCosts(models).targets == {"mb": 9.0}
    assert list(ExpectedCosts(models)(supernet.probabilities())) == ["mb"]
    assert ExpectedCosts(models, targets={"ms": 2.0}).names == ("ms",)


@pytest.mark.parametrize("form", ["add", "multiply", "fbnet"])
def test_a_cost_below_its_limit_counts_as_the_limit_and_above_it_as_published(form):
    supernet, tables = supernet_of(CELLS), {"ms": random_table(CELLS)}
    limited = ExpectedCosts(CostModels(supernet, limits_of(tables, {"ms": 4.0})), form=form)
    published = ExpectedCosts(CostModels(supernet, limits_of(tables)), form=form, targets={"ms": 4.0})
    assert (limited.limited, published.limited) == (True, False)
    network = torch.tensor(2.5, requires_grad=True)
    for value, reached in ((0.5, 4.0), (3.9, 4.0), (4.1, 4.1), (30.0, 30.0)):
        cost = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        loss = limited.loss(network, {"ms": cost})
        assert loss.item() == pytest.approx(published.loss(network, {"ms": torch.tensor(reached)}).item())
        loss.backward()
        assert (cost.grad.item() > 0) == (value > 4.0)
    assert network.grad.item() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "log"}, "unknown form 'log'"),
        ({"weight": 0}, "weight must be a number of more than 0; got 0"),
        ({"weight": True}, "weight must be a number of more than 0; got True"),
        ({"exponent": math.inf}, "exponent must be a number of more than 0; got inf"),
        ({"targets": {}}, "targets must name at least one cost"),
        ({"targets": {"s": 1.0}}, "targets: unknown cost 's'"),
        ({"form": "multiply", "targets": {"ms": 0.0}}, r"targets\['ms'\] must be more than 0"),
    ],
)
def test_what_makes_no_loss_is_named(options, message):
    models = CostModels(supernet_of(CELLS), limits_of({"ms": random_table(CELLS)}))
    with pytest.raises(ValueError, match=message):
        ExpectedCosts(models, **({"targets": {"ms": 1.0}} | options))


def test_limits_are_on_costs():
    with pytest.raises(ValueError, match="limits must be on costs, ms; got s"):
        CostLimits({"ms": random_table(CELLS)}, {"s": 1.0}, lambda rows: np.zeros(len(rows)))


# -- costs that are no tables ----------------------------------------------------------------------------------


def test_a_sum_over_edges_is_found_exactly():
    kinds = {name: i for i, name in enumerate(DARTS_SPACE.all_operations)}

    def cost(rows):
        return np.array(
            [
                1e6
                + sum(
                    (1 + source) * 10.0 ** kinds[name] * (1 if kind == "normal" else 3)
                    for kind in ("normal", "reduce")
                    for _, source, name in DARTS_SPACE.cell(DARTS_SPACE.decode(row), kind)
                )
                for row in rows
            ]
        )

    supernet = supernet_of(DARTS_SPACE)
    models = CostModels(supernet, limits_of({"x": cost}))
    model = models.whole("x")
    assert model.exact
    random = np.random.default_rng(1)
    taken = np.stack([random.integers(len(part.options), size=20) for part in models.parts], axis=1)
    np.testing.assert_allclose(model(taken), cost(models.genotypes(taken)), rtol=1e-9)


def test_parameters_are_such_a_sum():
    counted = nasx.hardware.ParamsTable().bind(CELLS, SPEC)
    models = CostModels(supernet_of(CELLS), limits_of({"parameters": counted}))
    assert models.whole("parameters").exact
    rows = CELLS.sample(30, seed=5)
    np.testing.assert_allclose(models.whole("parameters")(models.taken(rows)), counted(rows))


def test_the_error_of_what_is_no_sum_is_told():
    def cost(rows):
        return 1.0 + (rows == 3).sum(axis=1) ** 2

    models = CostModels(supernet_of(CELLS), limits_of({"x": cost}), seed=1)
    model = models.whole("x")
    assert not model.exact
    assert 0.01 < model.error < 1
    assert model is models.whole("x")  # fitted once
    rows = CELLS.sample(2000, seed=9)
    told, costs = model(models.taken(rows)), cost(rows)
    assert np.corrcoef(told, costs)[0, 1] > 0.7


def test_pairs_are_fitted_where_a_plain_sum_is_needed():
    table = random_table(CELLS, pairs=True)
    models = CostModels(supernet_of(CELLS), limits_of({"ms": table}))
    assert models.whole("ms").bridges
    assert not models.additive("ms").bridges
    assert 0 < models.additive("ms").error < 0.5


def test_costs_that_cannot_be_computed_are_left_out():
    table = random_table(CELLS)

    def cost(rows):
        if (rows[:, 0] == 2).any():
            raise RuntimeError("no such operation")
        return table(rows)

    rows = np.array([[0] * 6, [2] * 6, [1] * 6], np.int32)
    np.testing.assert_array_equal(np.isnan(values_of(cost, rows)), [False, True, False])
    supernet = supernet_of(CELLS)
    models = CostModels(supernet, limits_of({"x": cost}))
    kept = CELLS.sample(40, seed=3)
    kept = kept[kept[:, 0] != 2]
    np.testing.assert_allclose(models.whole("x")(models.taken(kept)), table(kept))

    def never(rows):
        raise RuntimeError("nothing")

    with pytest.raises(EvaluationError, match=r"costs\['x'\] could be computed for none of .*: nothing"):
        CostModels(supernet, limits_of({"x": never})).whole("x")
