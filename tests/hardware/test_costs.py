"""Counted costs against the networks themselves."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nasx import Categorical, Ordinal, Space, TaskSpec
from nasx.errors import EvaluationError
from nasx.hardware import FLOPs, MeasuredLatency, Parameters, available_costs, get_cost
from nasx.spaces import ConvNet

SPEC = TaskSpec((3, 12, 12), 5, "image_classification")


class Lines(Space):
    """Networks that count how often they are built."""

    built = 0

    def __init__(self):
        super().__init__({"width": Ordinal([2, 4]), "op": Categorical(["line", "values", "broken"])})

    def build(self, architecture, spec):
        type(self).built += 1
        if architecture["op"] == "broken":
            raise ArithmeticError("no such operation")
        width = architecture["width"]
        if architecture["op"] == "values":  # as networks with stochastic depth do
            width += int(torch.linspace(0, 1, 3).sum().item())
        frozen = nn.Linear(width, spec.num_outputs).requires_grad_(False)
        return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(spec.input_shape)), width), frozen)


@pytest.fixture
def lines():
    Lines.built = 0
    return Lines()


def test_parameters_and_flops_of_thirty_random_networks():
    space = ConvNet()
    rows = space.sample(30, seed=2)
    parameters, flops = Parameters().bind(space, SPEC)(rows), FLOPs().bind(space, SPEC)(rows)
    assert parameters.dtype == flops.dtype == np.float64
    for row, count, work in zip(rows, parameters, flops, strict=True):
        network = space.decode(row).build(SPEC).eval()
        assert count == sum(p.numel() for p in network.parameters())
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.randn(1, *SPEC.input_shape))
        assert work == counter.get_total_flops()


def test_a_multiply_add_counts_as_two_and_frozen_parameters_not_at_all(lines):
    row = lines.encode([{"width": 4, "op": "line"}])
    assert FLOPs().bind(lines, SPEC)(row) == 2 * (432 * 4 + 4 * 5)
    assert Parameters().bind(lines, SPEC)(row) == 432 * 4 + 4


def test_networks_that_look_at_values_while_they_are_built(lines):
    row = lines.encode([{"width": 4, "op": "values"}])
    assert Parameters().bind(lines, SPEC)(row) == 432 * 5 + 5
    assert FLOPs().bind(lines, SPEC)(row) == 2 * (432 * 5 + 5 * 5)


@pytest.mark.parametrize("name", ["parameters", "flops", "latency_ms"])
def test_each_architecture_is_built_once_and_torch_is_left_as_it_was(name, lines):
    cost = get_cost(name).bind(lines, SPEC)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    rows = lines.encode([{"width": w, "op": "line"} for w in (2, 4, 2)])
    before = rows.copy()
    first = cost(rows)
    np.testing.assert_array_equal(cost(rows), first)
    np.testing.assert_array_equal(rows, before)
    assert first[0] == first[2]
    assert Lines.built == 2
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert cost(rows[:0]).shape == (0,)


@pytest.mark.parametrize("name", ["parameters", "flops", "latency_ms"])
def test_what_cannot_be_built_is_named(name, lines):
    cost = get_cost(name).bind(lines, SPEC)
    message = rf"{name} of Architecture\({{'width': 2, 'op': 'broken'}}\) cannot be found: no such operation"
    with pytest.raises(EvaluationError, match=message):
        cost(lines.encode([{"width": 2, "op": "broken"}]))


def test_binding(lines):
    cost = Parameters()
    with pytest.raises(
        RuntimeError, match=r"Parameters is bound to no space: call bind\(space, spec\) first"
    ):
        cost([[0, 0]])
    bound = cost.bind(lines, SPEC)
    with pytest.raises(RuntimeError):
        cost([[0, 0]])
    with pytest.raises(ValueError, match=r"genotypes must have shape \(n, 2\)"):
        bound([[0]])
    other = bound.bind(lines, TaskSpec((1,), 5, "image_classification"))
    assert bound([[0, 0]]) != other([[0, 0]])
    plain = Space({"op": Categorical(["conv"])})
    with pytest.raises(
        TypeError, match=r"Parameters is found by building networks, and Space has no build\(\)"
    ):
        Parameters().bind(plain, SPEC)


def test_registry():
    assert dict(available_costs()) == {
        "parameters": Parameters,
        "flops": FLOPs,
        "latency_ms": MeasuredLatency,
    }
    for name, cls in available_costs().items():
        cost = get_cost(name)
        assert type(cost) is cls
        assert cost.name == name
        assert cost.unit
        assert cost.deterministic == (name != "latency_ms")
        assert repr(cls(**cost.settings)) == repr(cost)
    with pytest.raises(ValueError, match=r"unknown cost 'latency'; did you mean 'latency_ms'\?"):
        get_cost("latency")


def test_a_network_cost_needs_to_know_what_networks_are_for():
    with pytest.raises(ValueError, match="Parameters needs a TaskSpec"):
        Parameters().bind(ConvNet(), None)
