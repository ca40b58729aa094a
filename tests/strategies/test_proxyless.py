"""The traps of ProxylessNAS: pairs, gates, what a step leaves alone, memory, rewards."""

import dataclasses

import numpy as np
import pytest
import reference.hardware_aware as reference
import torch
from strategies.cost_aware import (
    CELLS,
    METHODS,
    SPACES,
    batch_of,
    limited,
    training,
)
from torch import nn

import nasx
from nasx.nn import LayerChoice
from nasx.nn.mixed import Pair
from nasx.nn.supernet import EdgeChoices
from nasx.strategies.hardware_aware.proxyless_training import ProxylessTraining
from nasx.strategies.hardware_aware.rewarded_training import RewardedTraining

pytestmark = pytest.mark.usefixtures("seeded")


# -- ProxylessNAS: pairs -------------------------------------------------------------------------------------


def test_pairs_are_drawn_without_replacement_by_the_probabilities(task):
    made = training(ProxylessTraining, METHODS["gradient"], task)
    probabilities = torch.softmax(made.supernet.logits["cell"].detach(), 1)
    counts = torch.zeros(6, 5, 5)
    n = 1500
    for _ in range(n):
        pair = made.draw_pairs()["cell"]
        one, other = pair.indices.unbind(1)
        assert (one != other).all()
        counts[torch.arange(6), one, other] += 1
    # Without order a pair is drawn with p q / (1 - p) + q p / (1 - q); then one of both by their shares.
    p, q = probabilities[:, :, None], probabilities[:, None, :]
    pairs = p * q / (1 - p) + q * p / (1 - q)
    expected = pairs * p / (p + q) * (1 - torch.eye(5))
    torch.testing.assert_close(counts / n, expected, rtol=0, atol=0.05)


def drawn_step(made, task, limits=None):
    """A step whose pair, gates' changes and logits are known."""
    pairs, changes = [], []
    draw, given = made.draw_pairs, made.set_gradients

    def set_gradients(pair, gates, value):
        (found,) = torch.autograd.grad(value, gates["cell"], retain_graph=True)
        changes.append(found.clone())
        given(pair, gates, value)

    made.draw_pairs = lambda: pairs.append(draw()) or pairs[-1]
    made.set_gradients = set_gradients
    before = made.supernet.logits["cell"].detach().clone()
    loss = made.architecture_step(None, batch_of(task))
    return pairs[0]["cell"], changes[0], before, float(loss)


def test_a_step_is_the_plain_one(task):
    made = training(ProxylessTraining, METHODS["gradient"], task)
    moments = np.zeros((6, 5))
    for step in (1, 2, 3):
        pair, changes, before, _ = drawn_step(made, task)
        found = made.supernet.logits["cell"].detach()
        gradient = made.supernet.logits["cell"].grad
        assert changes.abs().min() >= 0
        for edge in range(6):
            row, indices = before[edge].tolist(), pair.indices[edge].tolist()
            expected = reference.pair_gradient(row, indices, changes[edge].tolist())
            np.testing.assert_allclose(gradient[edge], expected, rtol=1e-4, atol=1e-6)
            moved, moments[edge] = reference.pair_step(row, indices, expected, moments[edge], step, 0.001)
            np.testing.assert_allclose(found[edge], moved, rtol=1e-5, atol=2e-6)


def test_probabilities_of_operations_that_were_not_drawn_stay_as_they_are(task):
    made = training(ProxylessTraining, METHODS["gradient"], task, cost_limits=limited(CELLS))
    made.architecture_optimizer.param_groups[0]["lr"] = 0.5
    for _ in range(4):
        before = made.supernet.probabilities()["cell"].detach()
        pair, *_ = drawn_step(made, task)
        after = made.supernet.probabilities()["cell"].detach()
        others = torch.ones(6, 5, dtype=torch.bool).scatter(1, pair.indices, False)
        torch.testing.assert_close(after[others], before[others], rtol=0, atol=1e-6)
        changed = (after - before).gather(1, pair.indices).abs().amax(1)
        assert changed.max() > 0.01
    # Adam's memory of the first moment would move them.
    assert made.architecture_optimizer.param_groups[0]["betas"] == (0.0, 0.999)
    assert made.architecture_optimizer.param_groups[0]["weight_decay"] == 0


def test_gates_say_what_each_operation_would_change(task):
    made = training(ProxylessTraining, METHODS["gradient"], task)
    supernet, batch = made.supernet.double().eval(), batch_of(task)
    batch = (batch[0].double(), batch[1])
    pair, small = made.draw_pairs()["cell"], 1e-5
    gates = torch.tensor([[1.0, 0.0]]).double().repeat(6, 1)

    def loss(gates):
        taken = [Pair(a, b, gate) for (a, b), gate in zip(pair.indices.tolist(), gates.unbind(), strict=True)]
        with supernet.running({"cell": EdgeChoices(taken)}):
            return task.loss(supernet, batch)[0]

    leaf = gates.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(leaf), leaf)
    # The last edges read what others give; what flows through the other operation is held, so look at these.
    for edge in (3, 4, 5):
        for which in (0, 1):
            up, down = gates.clone(), gates.clone()
            up[edge, which] += small
            down[edge, which] -= small
            change = (loss(up) - loss(down)) / (2 * small)
            torch.testing.assert_close(found[edge, which], change.detach(), rtol=1e-4, atol=1e-7)
    with supernet.running({"cell": EdgeChoices(pair.indices[:, 0].tolist())}):
        torch.testing.assert_close(task.loss(supernet, batch)[0], loss(gates))


def test_expected_costs_go_through_the_pair_too(task):
    limits = limited(CELLS)
    made = training(ProxylessTraining, METHODS["gradient"], task, cost_limits=limits)
    table, target = limits.tables["latency_ms"], limits.limits["latency_ms"]
    probabilities = made.supernet.probabilities()["cell"].detach()
    costs = made.expected({"cell": probabilities})
    expected = reference.expected_cost(probabilities, table.entries, table.intercept)
    assert float(costs["latency_ms"]) == pytest.approx(expected, rel=1e-5)
    assert float(made.expected.loss(torch.tensor(2.0), costs)) == pytest.approx(
        reference.add_loss(2.0, expected, target), rel=1e-5
    )
    pair, changes, before, _ = drawn_step(made, task)
    gradient = made.supernet.logits["cell"].grad
    for edge in range(6):
        indices = pair.indices[edge].tolist()
        whole = [
            float(changes[edge, i]) + 0.1 / target * table.entries[edge][k] for i, k in enumerate(indices)
        ]
        plain = reference.pair_gradient(before[edge].tolist(), indices, whole)
        np.testing.assert_allclose(gradient[edge], plain, rtol=1e-3, atol=1e-6)


def test_costs_can_multiply_the_loss(task):
    limits = limited(CELLS)
    made = training(
        ProxylessTraining, METHODS["gradient"], task, cost_limits=limits, form="multiply", weight=0.3
    )
    probabilities = {"cell": made.supernet.probabilities()["cell"].detach()}
    costs = made.expected(probabilities)
    found = made.expected.loss(torch.tensor(2.0), costs)
    expected = reference.multiply_loss(
        2.0, float(costs["latency_ms"]), limits.limits["latency_ms"], weight=0.3
    )
    assert float(found) == pytest.approx(expected, rel=1e-5)
    drawn_step(made, task)
    assert torch.isfinite(made.supernet.logits["cell"]).all()


@pytest.mark.parametrize("published", [True, False])
def test_costs_alone_make_the_cheap_likelier(task, published):
    """With a loss that says nothing, every step moves each pair towards its cheaper operation.

    Under a limit it does so until the limit holds on average.
    """
    limits = limited(CELLS)
    limit = limits.limits["latency_ms"]
    strategy = dataclasses.replace(METHODS["gradient"], targets=dict(limits.limits) if published else None)
    made = training(ProxylessTraining, strategy, task, cost_limits=limits, weight=1.0)
    made.loss_of = lambda choices, batch: sum(0 * c.gates.sum() for c in choices["cell"].choices)

    def expected():
        return made.expected({"cell": made.supernet.probabilities()["cell"].detach()})["latency_ms"].item()

    before = expected()
    made.architecture_optimizer.param_groups[0]["lr"] = 0.1
    for _ in range(200):
        made.architecture_step(None, batch_of(task))
    entries = np.stack(limits.tables["latency_ms"].entries)
    if not published:
        assert limit - 0.3 < expected() <= limit < before
        return
    assert expected() < min(before, limit) - 1
    assert (made.supernet.logits["cell"].argmax(1).numpy() == entries.argmin(1)).mean() > 0.8


def test_only_two_operations_of_a_layer_are_computed_and_only_one_has_gradients(task):
    space = SPACES["fbnet"]
    made = training(ProxylessTraining, METHODS["gradient"], task, space)
    seen = []
    for name, unit in zip(space, made.supernet.network.units, strict=True):
        for k, op in enumerate(unit.operation.mixed.operations):
            op.register_forward_hook(
                lambda module, x, out, name=name, k=k: seen.append((name, k, out.requires_grad))
            )
    pairs, draw = [], made.draw_pairs
    made.draw_pairs = lambda: pairs.append(draw()) or pairs[-1]
    made.architecture_step(None, batch_of(task))
    for name in space:
        one, other = pairs[0][name].indices[0].tolist()
        ran = [(k, learned) for where, k, learned in seen if where == name]
        assert [k for k, _ in ran] == [one, other]
        assert not ran[1][1]


def kept(run):
    """Bytes that are kept for gradients while something runs."""
    found = {}

    def pack(tensor):
        found[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(found.values())


@pytest.mark.parametrize("name", ["fbnet", "proxyless", "cells"])
def test_a_pair_keeps_less_than_two_and_a_half_paths(task, name):
    made = training(ProxylessTraining, METHODS["gradient"], task, SPACES[name])
    batch = (torch.randn(32, 1, 16, 16), torch.arange(32) % 10)
    heaviest = {group: rows.new_full((len(rows),), 3).long() for group, rows in made.supernet.logits.items()}
    path = kept(lambda: made.loss_of(made.path_of(heaviest), batch))
    pairs = {
        group: Pair_of(rows.new_tensor([[3, 2]]).repeat(len(rows), 1).long())
        for group, rows in made.supernet.logits.items()
    }
    gates = {
        group: rows.new_tensor([[1.0, 0.0]]).repeat(len(rows), 1).requires_grad_()
        for group, rows in made.supernet.logits.items()
    }
    both = kept(lambda: made.loss_of(made._running(pairs, gates), batch))
    mixture = kept(lambda: task.loss(made.supernet, batch))
    assert path < both < 2.5 * path
    assert both < mixture


class Pair_of:
    def __init__(self, indices):
        self.indices = indices


def test_weights_learn_on_one_path_and_all_others_stay_as_they_are(task):
    made = training(ProxylessTraining, METHODS["gradient"], task)
    batch, drawn = batch_of(task), made.draw()
    # Momentum of earlier steps must not move what is off the path either.
    for _ in range(3):
        made.drawn_weight_step(made.path_of(made.draw()), batch)
    before = {name: p.detach().clone() for name, p in made.supernet.named_parameters()}
    made.drawn_weight_step(made.path_of(drawn), batch)
    cell = "body.0.operations"
    for name, parameter in made.supernet.named_parameters():
        if name.startswith(cell):
            edge, _, k = name.removeprefix(cell + ".").split(".")[:3]
            on_path = int(drawn["cell"][int(edge)]) == int(k)
            assert torch.equal(before[name], parameter) or on_path
    assert not torch.equal(before["stem.0.weight"], made.supernet.stem[0].weight)
    assert made.weight_optimizer.param_groups[0]["nesterov"]


def test_warming_up_leaves_the_architecture_as_it_is_to_the_bit(task):
    for method in METHODS.values():
        supernet = CELLS.supernet(task.spec)
        rows = [supernet.logits["cell"].detach().clone()]

        def after(_, logits=supernet.logits["cell"], rows=rows):
            rows.append(logits.detach().clone())

        method.fit(supernet, task, report=after)
        assert torch.equal(rows[0], rows[1])
        assert not torch.equal(rows[1], rows[2])


def test_rates_of_proxyless_are_two_cosines(task):
    history = []
    nasx.ProxylessNAS(epochs=4, warmup_epochs=2, batch_size=32).fit(
        CELLS.supernet(task.spec), task, history=history
    )
    np.testing.assert_allclose([e["lr"] for e in history], [0.05, 0.025, 0.025, 0.0125])


def test_layers_without_a_choice_are_no_pair(task):
    made = nn.Sequential(
        nn.Flatten(), LayerChoice({"only": nn.Linear(64, 10)}), LayerChoice([nn.ReLU(), nn.Tanh()])
    )
    space = nasx.space_of(made)
    for method in METHODS.values():
        result = nasx.search(space, task, strategy=method)
        assert result.best.architecture.genotype[0] == 0


def test_choices_of_several_inputs_are_refused(task):
    class Sums(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(64, 10) for _ in range(3))
            self.which = nasx.nn.InputChoice(3, chosen=2)

        def forward(self, x):
            return self.which([layer(x.flatten(1)) for layer in self.layers])

    space = nasx.space_of(Sums)
    with pytest.raises(ValueError, match="decision 'which' chooses several inputs, which no single path"):
        nasx.search(space, task, strategy=METHODS["gradient"])
    assert nasx.search(space, task, strategy=METHODS["fbnet"]).best is not None


# -- ProxylessNAS: rewards -----------------------------------------------------------------------------------


def test_rewards_move_the_policy_as_the_plain_gradient_does(task):
    made = training(RewardedTraining, METHODS["reinforce"], task)
    rows = made.supernet.logits["cell"].detach().clone()
    drawn, rewards = [made.draw() for _ in range(4)], np.array([0.1, 0.9, 0.4, 0.3])
    made.follow(drawn, rewards)
    assert made.baseline == pytest.approx(rewards.mean())  # as if it had begun there
    paths = [one["cell"].tolist() for one in drawn]
    expected = reference.policy_gradient(rows.tolist(), paths, rewards - rewards.mean())
    np.testing.assert_allclose(made.supernet.logits["cell"].grad, np.stack(expected), rtol=1e-4, atol=1e-6)
    made.follow(drawn, np.full(4, 0.8))
    assert made.baseline == pytest.approx((0.99 * rewards.mean() + 0.8) / 1.99)


def test_better_paths_become_likelier(task):
    made = training(RewardedTraining, METHODS["reinforce"], task, spread=0.0)
    made.architecture_optimizer.param_groups[0]["lr"] = 0.05
    for _ in range(150):
        drawn = [made.draw() for _ in range(8)]
        made.follow(drawn, np.array([(one["cell"] == 2).double().mean().item() for one in drawn]))
    assert (made.supernet.probabilities()["cell"][:, 2] > 0.6).all()


def test_rewards_are_divided_by_a_power_of_what_paths_cost(task):
    limits = limited(CELLS)
    made = training(RewardedTraining, METHODS["reinforce"], task, cost_limits=limits)
    drawn = [made.draw() for _ in range(5)]
    rows = np.stack([one["cell"].numpy() for one in drawn]).astype(np.int32)
    assert made.genotypes(drawn).tolist() == rows.tolist()
    ratios = limits.limits["latency_ms"] / limits.tables["latency_ms"](rows)
    assert 0 < (ratios > 1).sum() < 5
    np.testing.assert_allclose(made.bonus(drawn), np.minimum(ratios, 1) ** 0.1)  # nothing below a limit
    aiming = dataclasses.replace(METHODS["reinforce"], targets=dict(limits.limits))
    made = training(RewardedTraining, aiming, task, cost_limits=limits)
    np.testing.assert_allclose(made.bonus(drawn), ratios**0.1)


def test_decisions_that_are_no_part_of_a_path_learn_nothing_from_it(task):
    space = SPACES["modules"]
    made = training(RewardedTraining, METHODS["reinforce"], task, space, cost_limits=limited(space))
    inner = next(name for name in space if "deep" in name)
    outer = inner.split(".")[0]
    drawn = [{name: torch.zeros(1, dtype=torch.int64) for name in space} for _ in range(2)]
    for one in drawn:
        one[outer] = torch.tensor([2])  # the skip
    assert (made.genotypes(drawn)[:, space.names.index(inner)] == -1).all()
    made.follow(drawn, np.array([1.0, 0.0]))
    assert not made.supernet.logits[inner].grad.any()


def test_paths_of_supernets_whose_architectures_leave_edges_out_have_no_costs(task):
    space = nasx.spaces.DARTS(cells=3, channels=4, nodes=2)
    strategy = nasx.ProxylessNAS(epochs=1, warmup_epochs=0, batch_size=32, form="reinforce", samples=2)
    with pytest.raises(TypeError, match=r'paths of DARTSSupernet are no architectures.*form="gradient"'):
        nasx.search(space, task, strategy=strategy, costs=["parameters"], limits={"parameters": 1e5})
    gradient = nasx.ProxylessNAS(epochs=1, warmup_epochs=0, batch_size=32)
    result = nasx.search(space, task, strategy=gradient, costs=["parameters"], limits={"parameters": 1e5})
    assert result.best.metrics["parameters"] <= 1e5
