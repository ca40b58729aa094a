"""The spaces of ENAS: their sizes, their canonical forms, their networks."""

import itertools
import json
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import nasx
from nasx import Space, TaskSpec
from nasx.nn.enas_cell import loose_ends, micro_layout
from nasx.nn.enas_macro import reductions_of
from nasx.spaces import ENASCell, ENASMacro

SPEC = TaskSpec((1, 8, 8), 10, "image_classification")
CELL = ENASCell(cells=3, channels=4, nodes=2)
MACRO = ENASMacro(layers=4, channels=4)
SPACES = {"cell": CELL, "macro": MACRO}


@pytest.fixture(params=SPACES)
def space(request):
    return SPACES[request.param]


# -- decisions -------------------------------------------------------------------------------------------------


def test_sizes_are_the_formulas():
    # A node's two halves are a multiset of pairs of an input and an operation.
    pairs = [(node + 2) * 5 for node in range(5)]
    assert ENASCell().size == np.prod([n * (n + 1) // 2 for n in pairs], dtype=object) ** 2
    small = ENASCell(nodes=1)
    rows = small.enumerate()
    assert small.size == len(rows) == len(np.unique(rows, axis=0)) == 55**2
    assert ENASMacro().size == 6**12 * 2 ** (12 * 11 // 2)
    assert ENASMacro(layers=3).size == len(ENASMacro(layers=3).enumerate()) == 6**3 * 2**3


def test_decisions_are_named_by_cell_and_node_and_by_layer():
    space = ENASCell()
    assert len(space) == 2 * 5 * 4
    assert space.names[4:8] == (
        "normal.1.first_input",
        "normal.1.first",
        "normal.1.second_input",
        "normal.1.second",
    )
    assert space["reduce.4.first_input"].choices == tuple("012345")
    assert space["reduce.4.second"].choices == ENASCell.operations
    assert len(ENASMacro()) == 12 + 66
    assert [name for name in ENASMacro() if name.startswith("5.")] == [
        "5.operation",
        *(f"5.skip.{value}" for value in range(4)),
    ]


def test_settings_rebuild_the_spaces_through_json():
    for space in (ENASCell(cells=5, channels=6, nodes=3), ENASMacro(layers=5, channels=6)):
        again = Space.from_dict(json.loads(json.dumps(space.to_dict())))
        assert type(again) is type(space)
        assert again == space
        assert again.settings == space.settings
        assert pickle.loads(pickle.dumps(space)).settings == space.settings
        assert type(space).__name__ in nasx.spaces.available_spaces()
        assert space.can_share
        assert space.can_build
    assert ENASCell().settings == {"cells": 8, "channels": 20, "nodes": 5}
    assert ENASMacro().settings == {"layers": 12, "channels": 36}


@pytest.mark.parametrize(
    ("cls", "settings", "message"),
    [
        (ENASCell, {"cells": 2}, "cells must be an integer of at least 3; got 2"),
        (ENASCell, {"channels": True}, "channels must be an integer of at least 1; got True"),
        (ENASCell, {"nodes": 0}, "nodes must be an integer of at least 1; got 0"),
        (ENASCell, {"nodes": 17}, "nodes must be at most 16; got 17"),
        (ENASMacro, {"layers": 2}, "layers must be an integer of at least 3; got 2"),
        (ENASMacro, {"layers": 49}, "layers must be at most 48; got 49"),
        (ENASMacro, {"channels": 2.0}, "channels must be an integer of at least 1; got 2.0"),
    ],
)
def test_bad_settings_are_named(cls, settings, message):
    with pytest.raises(ValueError, match=message):
        cls(**settings)


# -- equal networks --------------------------------------------------------------------------------------------


def test_the_order_of_a_nodes_halves_makes_no_difference():
    space = ENASCell(cells=3, channels=4)
    raw = nasx.population.sample(space.cardinalities, 200, seed=1, conditions=space.conditions)
    before = raw.copy()
    rows = space.canonicalize(raw)
    np.testing.assert_array_equal(raw, before)
    np.testing.assert_array_equal(space.canonicalize(rows), rows)
    assert (rows != raw).any(axis=1).mean() > 0.9
    rng = np.random.default_rng(0)
    swapped = raw.reshape(200, 10, 2, 2).copy()
    swap = rng.random((200, 10)) < 0.5
    swapped[swap] = swapped[swap][:, ::-1]
    np.testing.assert_array_equal(space.canonicalize(swapped.reshape(200, 40)), rows)
    for row, other in zip(rows[:20], raw[:20], strict=True):
        mine, theirs = space.decode(row), space.decode(other)
        assert mine == theirs
        for kind in ("normal", "reduce"):
            cell = space.cell(mine, kind)
            names = [(source, ENASCell.operations.index(name)) for _, source, name in cell]
            assert all(one <= two for one, two in zip(names[::2], names[1::2], strict=True))
            plain = space.cell(dict(zip(space, _choices(space, other), strict=True)), kind)
            for node in range(5):
                assert sorted(cell[2 * node : 2 * node + 2]) == sorted(plain[2 * node : 2 * node + 2])
    assert space.sample(5, seed=1).tolist() == rows[:5].tolist()


def _choices(space, row):
    return [decision.choices[index] for decision, index in zip(space.decisions.values(), row, strict=True)]


# -- networks --------------------------------------------------------------------------------------------------


def test_loose_ends_are_what_nobody_reads():
    assert loose_ends([(2, 0, "a"), (2, 1, "a"), (3, 2, "a"), (3, 2, "a")], 2) == [3]
    assert loose_ends([(2, 1, "a"), (2, 1, "a"), (3, 1, "a"), (3, 1, "a")], 2) == [0, 2, 3]


def test_reductions_stand_after_one_and_two_thirds():
    assert [place.reduction for place in micro_layout(8, 4)] == [i in (2, 5) for i in range(8)]
    assert [(p.before, p.previous, p.channels) for p in micro_layout(4, 2)] == [
        (6, 6, 2),
        (6, 2, 4),  # a reduction: both of its inputs are of what has 2 channels
        (4, 4, 8),
        (8, 8, 8),
    ]
    # Values of the first stage that are read later than the first reduction, and those of the second.
    assert reductions_of([[], [], [], [], [], [0, 2]]) == {
        f"layer{layer}_value{value}": layer // 2 for layer, value in ((2, 0), (2, 2), (4, 0), (4, 2), (4, 4))
    }
    assert reductions_of([[], [], [0], [], [], []]) == {
        "layer2_value0": 1,
        "layer2_value2": 1,
        "layer4_value4": 2,
    }


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (2, 7, 5), (1, 1, 1)])
def test_networks_are_built_for_every_image_size(space, shape):
    spec = TaskSpec(shape, 7, "image_classification")
    for row in space.sample(3, seed=0):
        network = space.decode(row).build(spec)
        for batch in (1, 3):
            assert network.eval()(torch.randn(batch, *shape)).shape == (batch, 7)
        assert network.train()(torch.randn(4, *shape)).shape == (4, 7)
        network.train()(torch.randn(4, *shape)).sum().backward()
        assert all(p.grad is not None for p in network.parameters())  # nothing is made that is not read


def test_a_cell_computes_its_nodes():
    """By hand, for poolings and identities."""
    space = ENASCell(cells=3, channels=4, nodes=2)
    choices = {"normal.0.first_input": "0", "normal.0.first": "skip_connect"}
    choices |= {"normal.0.second_input": "0", "normal.0.second": "avg_pool_3x3"}
    choices |= {"normal.1.first_input": "0", "normal.1.first": "max_pool_3x3"}
    choices |= {"normal.1.second_input": "2", "normal.1.second": "skip_connect"}
    choices |= {name.replace("normal", "reduce"): choice for name, choice in choices.items()}
    network = space.decode(space.encode(choices)).build(SPEC).eval()
    assert len(network.cells) == 3
    for cell in network.cells:
        assert cell.ends == [1, 3]
        before, previous = (torch.randn(2, c, 8, 8) for c in _inputs(cell))
        if cell.reduction is not None:
            left = cell.reduction(previous)
            zero, one = cell.from_before(previous), left
        else:
            left, zero, one = previous, cell.from_before(before), cell.from_previous(previous)
        average = nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)
        two = zero + average(zero)
        three = nn.MaxPool2d(3, 1, padding=1)(zero) + two
        expected = cell.join(torch.cat([one, three], 1))
        for found, wanted in zip(cell(before, previous), (left, expected), strict=True):
            torch.testing.assert_close(found, wanted)
    assert network(torch.randn(2, 1, 8, 8)).shape == (2, 10)


def _inputs(cell):
    channels = [cell.join[1].out_channels] * 2
    if cell.reduction is not None:
        channels = [cell.reduction.first.in_channels] * 2
    elif isinstance(cell.from_before, nn.Sequential):
        channels[0] = cell.from_before[1].in_channels
    if isinstance(cell.from_previous, nn.Sequential):
        channels[1] = cell.from_previous[1].in_channels
    return channels


def test_a_macro_network_adds_what_it_chose():
    choices = {f"{layer}.operation": "conv_3x3" for layer in (1, 2, 3, 4)}
    choices |= {name: False for name in MACRO if "skip" in name} | {"3.skip.1": True, "4.skip.0": True}
    architecture = MACRO.decode(MACRO.encode(choices))
    assert MACRO.network(architecture) == (["conv_3x3"] * 4, [[], [], [1], [0]])
    network = architecture.build(SPEC).eval()
    images = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        r, layer, norm = network.reductions, network.layers, network.norms
        zero = network.stem(images)
        one = norm[0](layer[0](zero))
        zero, one = r["layer1_value0"](zero), r["layer1_value1"](one)
        two = norm[1](layer[1](one))
        zero, two = r["layer2_value0"](zero), r["layer2_value2"](two)
        three = norm[2](layer[2](two) + r["layer2_value1"](one))
        four = norm[3](layer[3](three) + zero)
        torch.testing.assert_close(network(images), network.classifier(four))
    assert four.shape == (2, 16, 2, 2)
    assert set(r) == {f"layer{i}_value{k}" for i, k in ((1, 0), (1, 1), (2, 0), (2, 1), (2, 2))}


def test_same_torch_seed_same_network(space):
    architecture = space.decode(space.sample(1)[0], spec=SPEC)
    networks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        networks.append(architecture.build())
    one, two, other = (torch.cat([p.flatten() for p in network.parameters()]) for network in networks)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_build_asks_for_images(space):
    with pytest.raises(ValueError, match=r"needs images, input_shape \(C, H, W\); got .*\(64,\)"):
        space.decode(space.sample(1)[0]).build(TaskSpec((64,), 10, "image_classification"))


def test_networks_learn_and_are_costed(space):
    rows = space.sample(3, seed=0)
    counted = nasx.hardware.get_cost("parameters").bind(space, SPEC)(rows)
    built = [sum(p.numel() for p in space.decode(row).build(SPEC).parameters()) for row in rows]
    assert counted.tolist() == built
    assert (nasx.hardware.get_cost("flops").bind(space, SPEC)(rows) > 0).all()
    data = {name: (x[:64], y[:64]) for name, (x, y) in nasx.tasks.datasets.load("digits").items()}
    task = nasx.tasks.ImageClassification(**data, epochs=1, device="cpu", threads=1)
    result = nasx.search(space, task, strategy="random_search", evaluations=1)
    assert [trial.state for trial in result.trials] == ["complete"]


def test_architectures_are_drawn_with_all_their_operations(space, tmp_path):
    architecture = space.decode(space.sample(1, seed=4)[0])
    figure = architecture.plot(tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").stat().st_size > 1000
    written = [text.get_text() for axes in figure.axes for text in axes.texts]
    chosen = [choice for choice in architecture.values() if choice in space.operations]
    for operation in set(chosen):
        assert written.count(operation) == chosen.count(operation)
    assert len(chosen) == (8 if space is CELL else 4)


def test_operations_differ_in_their_weights_and_outputs():
    images = torch.randn(2, 4, 5, 5)
    outputs = []
    for name in ENASMacro.operations:
        torch.manual_seed(0)
        outputs.append(nasx.nn.enas_layer(name, 4)(images))
    assert all(not torch.allclose(one, two) for one, two in itertools.combinations(outputs, 2))
    with pytest.raises(ValueError, match="unknown operation 'conv3x3'; did you mean 'conv_3x3'"):
        nasx.nn.enas_layer("conv3x3", 4)
