"""The sandwich rule, bins of a cost, and distillation from the largest sub-network."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nasx
from nasx import Boolean, Categorical, Integer, Ordinal, Space, TaskSpec
from nasx.hardware import ParamsTable
from nasx.nn import Elastic, ElasticLinear
from nasx.spaces import NASBench201, ShuffleNetV2
from nasx.strategies.one_shot.distillation import sandwich_losses, soft_cross_entropy
from nasx.strategies.one_shot.elastic_sampling import by_cost, extremes, sandwich
from nasx.strategies.one_shot.sampling import paths


def draws(space, seed=0):
    """Random architectures without end."""
    for block in itertools.count():
        yield from space.sample(64, seed=seed * 1000 + block)


def take(steps, n):
    return list(itertools.islice(steps, n))


# -- the largest and the smallest --------------------------------------------------------------------------------


def test_by_default_ordered_decisions_say_what_is_large():
    space = Space(
        {
            "depth": Integer(1, 3),
            "op": Categorical("abc"),
            "width": Ordinal([8, 16], when={"depth": [2, 3]}),
            "bias": Boolean(),
        }
    )
    largest, smallest = extremes(space)
    assert dict(space.decode(largest)) == {"depth": 3, "op": "a", "width": 16, "bias": False}
    assert dict(space.decode(smallest)) == {"depth": 1, "op": "a", "bias": False}
    with pytest.raises(ValueError, match=r"cost must be given.*ParamsTable"):
        extremes(NASBench201())


@pytest.mark.parametrize("conditions", [False, True])
def test_a_cost_finds_them_where_they_are_by_enumeration(conditions):
    rng = np.random.default_rng(0)
    space = Space(
        {
            "a": Categorical("xyz"),
            "b": Ordinal([1, 2, 3], when={"a": ["y", "z"]} if conditions else None),
            "c": Categorical("pq", when={"b": [3]} if conditions else None),
            "d": Integer(0, 3),
        }
    )
    rows = space.enumerate()
    for _ in range(20):
        # A sum over decisions; what is inactive costs nothing, and what is active something.
        tables = [rng.random(n) if conditions else rng.normal(size=n) for n in space.cardinalities]
        if conditions:
            tables[1].sort()  # the larger the dearer

        def cost(rows, tables=tables):
            return sum(np.where(rows[:, j] < 0, 0, table[rows[:, j]]) for j, table in enumerate(tables))

        values = cost(rows)
        largest, smallest = extremes(space, cost)
        assert cost(smallest[None])[0] == pytest.approx(values.min())
        # Of a network without "c" its cost is not asked: that is good enough, not always the best.
        assert cost(largest[None])[0] >= np.quantile(values, 0.9 if conditions else 1.0) - 1e-12
        assert space.check([largest, smallest]).shape == (2, 4)


@pytest.mark.parametrize(
    "space",
    [
        ShuffleNetV2(channels=(12,), repeats=(2,), stem=6, stem_stride=1, head=8, multipliers=(0.5, 1, 2)),
        NASBench201(cells=1, channels=4),
    ],
    ids=lambda s: type(s).__name__,
)
def test_parameters_find_the_largest_and_smallest_network(space):
    cost = ParamsTable().bind(space, TaskSpec((1, 8, 8), 10, "image_classification"))
    rows = space.enumerate()
    rows = rows[:: -(-len(rows) // 500)]
    largest, smallest = (cost(row[None])[0] for row in extremes(space, cost))
    assert largest >= cost(rows).max()
    assert smallest <= cost(rows).min()
    assert smallest < largest


def test_constraints_and_limits_hold_for_them_too():
    integers = {f"x{i}": Integer(0, 3) for i in range(3)}

    def total(rows):
        return rows.sum(axis=1)

    for space, allowed in (
        (Space(integers, constraints=[lambda rows: total(rows) <= 5]), None),
        (Space(integers), lambda rows: total(rows) <= 5),
    ):
        for cost in (None, total):
            largest, smallest = extremes(space, cost, allowed=allowed)
            assert largest.sum() == 5
            assert smallest.tolist() == [0, 0, 0]
    space = Space(integers, constraints=[lambda rows: rows[:, 0] < 3])
    largest, smallest = extremes(space, total, allowed=lambda rows: rows[:, 1] > 0)
    assert largest.tolist() == [2, 3, 3]
    assert smallest.tolist() == [0, 1, 0]
    with pytest.raises(
        ValueError, match="no architecture that was tried as the largest or smallest is allowed"
    ):
        extremes(space, total, allowed=lambda rows: total(rows) == 100)


def test_costs_must_be_finite():
    space = Space({"x": Integer(0, 3)})
    with pytest.raises(
        ValueError, match=r"cost must give a finite number for each of 4 genotypes; got \[nan"
    ):
        extremes(space, lambda rows: np.full(len(rows), np.nan))
    with pytest.raises(ValueError, match="cost must give a finite number"):
        next(by_cost(draws(space), lambda rows: 1.0))


# -- rules -------------------------------------------------------------------------------------------------------


def test_sandwiches_have_the_largest_first_and_the_smallest_last():
    space = Space({"x": Integer(0, 99)})
    for randoms in (0, 1, 3):
        steps = take(sandwich(draws(space), *extremes(space), randoms=randoms), 50)
        assert all(len(step) == randoms + 2 for step in steps)
        assert {step[0].item() for step in steps} == {99}
        assert {step[-1].item() for step in steps} == {0}
        between = [row.item() for step in steps for row in step[1:-1]]
        assert between == [row.item() for row in take(draws(space), 50 * randoms)]
    with pytest.raises(ValueError, match="randoms must be an integer of at least 0; got -1"):
        sandwich(draws(space), *extremes(space), randoms=-1)


def test_bins_of_a_cost_are_trained_alike():
    space = Space({f"x{i}": Boolean() for i in range(16)})

    def cost(rows):
        return rows.sum(axis=1).astype(float)

    first = np.array([cost(row[None])[0] for row in take(draws(space), 256)])
    edges = np.linspace(first.min(), first.max(), 6)[1:-1]
    found = np.array([cost(step[0][None])[0] for step in take(by_cost(draws(space), cost, bins=5), 2000)])
    counts = np.bincount(np.searchsorted(edges, found, side="right"), minlength=5)
    # Each a fifth, within four standard deviations.
    assert np.abs(counts - 400).max() < 4 * np.sqrt(2000 * 0.2 * 0.8)
    plain = np.array([cost(row[None])[0] for row in take(draws(space), 2000)])
    few = np.bincount(np.searchsorted(edges, plain, side="right"), minlength=5)
    assert few.min() < 200 < 600 < few.max()


def test_bins_give_new_architectures_while_there_are_any():
    space = Space({f"x{i}": Integer(0, 9) for i in range(8)})

    def cost(rows):
        return rows.sum(axis=1)

    rows = [tuple(step[0].tolist()) for step in take(by_cost(draws(space), cost, bins=3, batch=64), 500)]
    assert len(set(rows)) > 480
    # And none for ever: a space of two architectures repeats them.
    tiny = Space({"x": Boolean()})
    repeated = take(by_cost(draws(tiny), cost, bins=4, batch=8), 200)
    assert {step[0].item() for step in repeated} == {0, 1}
    # One cost for all: one bin.
    assert len(take(by_cost(draws(space), lambda rows: np.ones(len(rows))), 20)) == 20


def test_a_bin_that_is_not_met_again_repeats_what_it_gave():
    space = Space({"x": Integer(0, 9)})
    rare = itertools.chain([np.array([9], np.int32)], itertools.repeat(np.array([0], np.int32)))
    found = [step[0].item() for step in take(by_cost(rare, lambda rows: rows[:, 0], bins=2, batch=4), 100)]
    assert 20 < found.count(9) < 80
    assert found.count(9) + found.count(0) == 100
    assert len(space) == 1


def test_steps_follow_from_the_seeds():
    space = Space({f"x{i}": Integer(0, 9) for i in range(4)})

    def steps(draw, pick):
        found = take(by_cost(draws(space, draw), lambda rows: rows.sum(axis=1), seed=pick), 40)
        return [step[0].tolist() for step in found]

    assert steps(0, 0) == steps(0, 0)
    assert steps(0, 0) != steps(0, 1)
    assert steps(0, 0) != steps(1, 0)
    for wrong in ({"bins": 0}, {"batch": 0}, {"seed": -1}):
        with pytest.raises(ValueError, match="must be"):
            by_cost(draws(space), len, **wrong)


# -- distillation ------------------------------------------------------------------------------------------------


def test_the_soft_loss_is_the_divergence_and_the_teachers_entropy():
    torch.manual_seed(0)
    teacher = torch.randn(4, 3, 5)
    scores = torch.randn(4, 3, 5, requires_grad=True)
    for temperature in (1.0, 2.0):
        p, q = (torch.log_softmax(x / temperature, -1) for x in (teacher, scores))
        divergence, entropy = (p.exp() * (p - q)).sum(-1), -(p.exp() * p).sum(-1)
        expected = (divergence + entropy).mean() * temperature**2
        torch.testing.assert_close(soft_cross_entropy(scores, teacher, temperature=temperature), expected)
    # One-hot targets make it the usual loss.
    labels = torch.tensor([0, 2, 4, 1])
    flat = torch.randn(4, 5)
    hard = 1e4 * F.one_hot(labels, 5).float()
    torch.testing.assert_close(soft_cross_entropy(flat, hard), F.cross_entropy(flat, labels))


def test_no_gradient_reaches_the_teacher():
    teacher, scores = (torch.randn(3, 4, requires_grad=True) for _ in range(2))
    soft_cross_entropy(scores, teacher).backward()
    assert teacher.grad is None
    assert scores.grad.any()


@pytest.mark.parametrize(
    ("shapes", "temperature", "message"),
    [
        (((2, 3), (2, 4)), 1.0, r"teacher must have the shape of outputs, \(2, 3\); got \(2, 4\)"),
        (((2, 1), (2, 1)), 1.0, "outputs must be scores of two classes or more"),
        (((2, 3), (2, 3)), 0.0, "temperature must be positive; got 0.0"),
    ],
)
def test_what_cannot_be_distilled(shapes, temperature, message):
    with pytest.raises(ValueError, match=message):
        soft_cross_entropy(*map(torch.zeros, shapes), temperature=temperature)


def test_a_sandwich_step_adds_up_the_gradients_of_labels_and_of_the_teacher():
    torch.manual_seed(0)
    width = Elastic([2, 3, 5], name="width")
    space = nasx.space_of(nn.Sequential(ElasticLinear(4, width), nn.Tanh(), ElasticLinear(width, 3)))
    supernet = space.supernet()
    first, _, last = supernet.network
    x, labels = torch.randn(6, 4), torch.arange(6) % 3

    def loss(batch):
        outputs = supernet(batch[0])
        return F.cross_entropy(outputs, batch[1]), outputs

    genotypes = [space.encode({"width": w}) for w in (5, 3, 2)]
    values = []
    for value in sandwich_losses(supernet, loss, (x, labels), genotypes):
        value.backward()
        values.append(value.detach())
    grads = [p.grad.clone() for p in supernet.network.parameters()]
    supernet.zero_grad()

    def outputs(w):
        hidden = torch.tanh(F.linear(x, first.weight[:w], first.bias[:w]))
        return F.linear(hidden, last.weight[:, :w], last.bias)

    soft = outputs(5).softmax(1).detach()
    terms = [F.cross_entropy(outputs(5), labels), *(F.cross_entropy(outputs(w), soft) for w in (3, 2))]
    torch.testing.assert_close(torch.stack(values), torch.stack(terms).detach())
    sum(terms).backward()
    for grad, parameter in zip(grads, supernet.network.parameters(), strict=True):
        torch.testing.assert_close(grad, parameter.grad)
    # Paths end with the iteration.
    with pytest.raises(ValueError, match="no weighted mixture"):
        supernet(x)


# -- as rules of a search ----------------------------------------------------------------------------------------


def widths():
    width, hidden = Elastic([4, 8], name="width"), Elastic([4, 8, 16], name="hidden")
    return nn.Sequential(
        nn.Flatten(),
        ElasticLinear(64, width),
        nn.Tanh(),
        ElasticLinear(width, hidden),
        ElasticLinear(hidden, 10),
    )


def test_rules_are_found_by_name():
    space = nasx.space_of(widths)
    cost = ParamsTable().bind(space, TaskSpec((1, 8, 8), 10, "image_classification"))
    for step in take(paths(space, "sandwich", seed=0, cost=cost), 5):
        assert [row.tolist() for row in (step[0], step[-1])] == [[1, 2], [0, 0]]
        assert len(step) == 4
    assert {len(step) for step in take(paths(space, "flops", seed=0, cost=cost), 5)} == {1}
    over = take(paths(space, "flops", seed=0, cost=cost, cost_violation=lambda rows: rows[:, 0] - 0.0), 20)
    assert {step[0][0].item() for step in over} == {0}
    within = paths(space, "sandwich", seed=0, cost=cost, cost_violation=lambda rows: rows[:, 0] - 0.0)
    assert [row.tolist() for row in next(within)][::3] == [[0, 2], [0, 0]]


@pytest.mark.parametrize("sampling", ["sandwich", "flops"])
def test_searches_train_by_these_rules(sampling):
    torch.manual_seed(0)
    labels = torch.arange(120) % 10
    images = F.one_hot(labels, 64).float().view(-1, 1, 8, 8) + 0.1 * torch.randn(120, 1, 8, 8)
    task = nasx.tasks.ImageClassification(
        (images, labels), (images, labels), device="cpu", threads=1, augment=None
    )
    strategy = nasx.SPOS(epochs=12, sampling=sampling, lr=0.3, batch_size=40, baseline=0)
    results = [nasx.search(nasx.space_of(widths), task, strategy=strategy, evaluations=6) for _ in range(2)]
    losses = [entry["loss"] for entry in results[0].history]
    assert losses[-1] < 0.7 * losses[0]
    assert results[0].best.metrics["error"] < 0.3
    assert results[0].history[-1]["loss"] == results[1].history[-1]["loss"]


def test_parts_of_a_split_supernet_train_sandwiches_of_their_own():
    torch.manual_seed(0)
    images, labels = torch.randn(24, 1, 8, 8), torch.arange(24) % 10
    task = nasx.tasks.ImageClassification((images, labels), (images, labels), device="cpu", threads=1)
    settings = {"epochs": 1, "sampling": "sandwich", "batch_size": 12, "weight_decay": 0.0, "baseline": 0}
    space = nasx.space_of(widths)
    whole = nasx.search(space, task, strategy=nasx.SPOS(**settings), evaluations=1).supernet
    strategy = nasx.FewShot(child_epochs=1, split="width", **settings)
    result = nasx.search(space, task, strategy=strategy, evaluations=6)
    before, narrow, wide = (one.network[1].weight.detach() for one in (whole, *result.supernet.members))
    # The narrow part has moved its own four units only, whichever is the largest of the space.
    assert torch.equal(narrow[4:], before[4:])
    assert not torch.equal(narrow[:4], before[:4])
    assert not torch.equal(wide[4:], before[4:])
    assert len(result.trials) == 6
