"""The space of DARTS cells, and the genotypes that the field writes."""

import itertools
import json
import pickle

import numpy as np
import pytest
import torch

import nasx
from nasx import Space, TaskSpec
from nasx.spaces import DARTS

SPEC = TaskSpec((1, 8, 8), 10, "image_classification")
OPERATIONS = DARTS.operations


def test_the_size_is_the_number_of_cells_twice():
    # Node i has two of i + 2 sources and an operation on each.
    cell = np.prod([(i + 2) * (i + 1) // 2 * 49 for i in range(4)], dtype=object)
    assert DARTS().size == cell**2 == 1_037_664_180**2
    assert DARTS(nodes=1).size == 7**4
    assert len(DARTS(nodes=1).enumerate()) == 7**4


def test_decisions_are_named_by_cell_and_node():
    space = DARTS()
    assert space.names[:5] == (
        "normal.0.first",
        "normal.0.second",
        "normal.1.inputs",
        "normal.1.first",
        "normal.1.second",
    )
    assert len(space.names) == 2 * (2 + 3 * 3)
    assert space["reduce.3.inputs"].choices == tuple(
        f"{a}+{b}" for a, b in itertools.combinations(range(5), 2)
    )
    assert space["reduce.0.first"].choices == OPERATIONS
    assert "none" not in OPERATIONS
    assert DARTS.all_operations == ("none", *OPERATIONS)
    assert space.edges == tuple((node, source) for node in range(2, 6) for source in range(node))


def test_settings_rebuild_the_space_through_json():
    space = DARTS(cells=5, channels=6, nodes=3, auxiliary=True)
    again = Space.from_dict(json.loads(json.dumps(space.to_dict())))
    assert type(again) is DARTS
    assert again == space
    assert again.settings == space.settings == {"cells": 5, "channels": 6, "nodes": 3, "auxiliary": True}
    assert pickle.loads(pickle.dumps(space)).settings == space.settings
    assert DARTS().settings == {"cells": 8, "channels": 16, "nodes": 4, "auxiliary": False}
    assert "DARTS" in nasx.spaces.available_spaces()
    assert nasx.spaces.DARTS is DARTS
    assert space.can_share
    assert space.can_build


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cells": 2}, "cells must be an integer of at least 3; got 2"),
        ({"cells": 8.0}, "cells must be an integer of at least 3; got 8.0"),
        ({"channels": 0}, "channels must be an integer of at least 1; got 0"),
        ({"channels": True}, "channels must be an integer of at least 1; got True"),
        ({"nodes": 0}, "nodes must be an integer of at least 1; got 0"),
        ({"nodes": 17}, "nodes must be at most 16; got 17"),
        ({"auxiliary": 1}, "auxiliary must be True or False; got 1"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        DARTS(**settings)


# -- genotypes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [1, 2, 4, 5])
def test_genotypes_of_the_field_come_back(nodes):
    space = DARTS(nodes=nodes)
    rng = np.random.default_rng(nodes)
    for row in space.sample(100, seed=nodes):
        architecture = space.decode(row)
        genotype = space.to_genotype(architecture)
        assert list(genotype) == ["normal", "reduce"]
        for pairs in genotype.values():
            assert len(pairs) == 2 * nodes
            for node in range(nodes):
                (first, low), (second, high) = pairs[2 * node : 2 * node + 2]
                assert 0 <= low < high < node + 2
                assert {first, second} <= set(OPERATIONS)
        assert space.from_genotype(genotype).genotype.tolist() == row.tolist()
        assert space.to_genotype(dict(architecture)) == genotype
        # A node's two pairs are a set, and JSON has lists.
        shuffled = {
            kind: [
                list(pair)
                for node in range(nodes)
                for pair in pairs[2 * node : 2 * node + 2][:: rng.choice([1, -1])]
            ]
            for kind, pairs in genotype.items()
        }
        shuffled["normal_concat"] = [2, 3]
        assert space.from_genotype(shuffled).genotype.tolist() == row.tolist()


def test_a_cell_lists_its_edges():
    space = DARTS(nodes=2)
    genotype = {
        "normal": [("sep_conv_3x3", 0), ("skip_connect", 1), ("max_pool_3x3", 2), ("dil_conv_5x5", 1)],
        "reduce": [("avg_pool_3x3", 0), ("avg_pool_3x3", 1), ("sep_conv_5x5", 0), ("dil_conv_3x3", 2)],
    }
    architecture = space.from_genotype(genotype, spec=SPEC)
    assert architecture.spec == SPEC
    assert space.cell(architecture, "normal") == [
        *((2, 0, "sep_conv_3x3"), (2, 1, "skip_connect")),
        *((3, 1, "dil_conv_5x5"), (3, 2, "max_pool_3x3")),
    ]
    assert architecture["normal.1.inputs"] == "1+2"
    assert architecture["normal.1.first"] == "dil_conv_5x5"
    assert architecture["reduce.1.inputs"] == "0+2"


CELL = [("sep_conv_3x3", 0), ("skip_connect", 1), ("max_pool_3x3", 2), ("dil_conv_5x5", 1)]


@pytest.mark.parametrize(
    ("normal", "message"),
    [
        (CELL[:3], r"genotype\['normal'\] must hold 4 pairs \(operation, source\), two for each node; got 3"),
        (CELL * 2, "must hold 4 pairs"),
        (None, r"genotype\['normal'\] must hold 4 pairs.*got 0"),
        ([("none", 0), *CELL[1:]], "unknown operation 'none'"),
        ([("sep_conv_3", 0), *CELL[1:]], r"unknown operation 'sep_conv_3'; did you mean 'sep_conv_3x3'"),
        ([*CELL[:3], ("dil_conv_5x5", 2)], "node 3 must have two different sources before it; got 2 and 2"),
        ([*CELL[:3], ("dil_conv_5x5", 3)], "node 3 must have two different sources before it; got 2 and 3"),
        ([("sep_conv_3x3", -1), *CELL[1:]], "node 2 must have two different sources before it; got -1 and 1"),
        ([("sep_conv_3x3", 0.5), *CELL[1:]], r"genotype\['normal'\] must hold"),
        ([("sep_conv_3x3", True), *CELL[1:]], r"genotype\['normal'\] must hold"),
        ([("sep_conv_3x3", "0"), *CELL[1:]], r"genotype\['normal'\] must hold"),
        ([("sep_conv_3x3",), *CELL[1:]], r"genotype\['normal'\] must hold"),
        ([3, *CELL[1:]], r"genotype\['normal'\] must hold"),
        (7, r"genotype\['normal'\] must hold"),
        ([(["sep_conv_3x3"], 0), *CELL[1:]], "unknown operation"),
    ],
)
def test_what_is_no_genotype_is_refused(normal, message):
    genotype = {"reduce": CELL} | ({} if normal is None else {"normal": normal})
    with pytest.raises(ValueError, match=message):
        DARTS(nodes=2).from_genotype(genotype)


# -- networks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("auxiliary", [False, True])
@pytest.mark.parametrize(("cells", "channels", "nodes"), [(3, 2, 1), (4, 5, 2), (6, 4, 4)])
def test_networks_are_built_with_every_option(cells, channels, nodes, auxiliary):
    space = DARTS(cells=cells, channels=channels, nodes=nodes, auxiliary=auxiliary)
    images = torch.randn(3, 1, 8, 8)
    for row in space.sample(3, seed=0):
        network = space.decode(row).build(SPEC)
        assert len(network.cells) == cells
        assert network.stem[0].out_channels == 3 * channels
        assert all(len(cell.operations) == 2 * nodes for cell in network.cells)
        out = network.train()(images)
        assert isinstance(out, tuple) == auxiliary
        assert network.eval()(images).shape == (3, 10)


def test_same_torch_seed_same_network():
    space = DARTS(cells=3, channels=4)
    architecture = space.decode(space.sample(1)[0], spec=SPEC)
    networks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        networks.append(architecture.build())
    one, two, other = (torch.cat([p.flatten() for p in network.parameters()]) for network in networks)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_build_asks_for_images():
    space = DARTS(cells=3, channels=4)
    with pytest.raises(ValueError, match=r"DARTS needs images, input_shape \(C, H, W\); got .*\(64,\)"):
        space.decode(space.sample(1)[0]).build(TaskSpec((64,), 10, "image_classification"))


def test_networks_learn_and_are_costed():
    space = DARTS(cells=3, channels=4)
    rows = space.sample(3, seed=0)
    counted = nasx.hardware.get_cost("parameters").bind(space, SPEC)(rows)
    built = [sum(p.numel() for p in space.decode(row).build(SPEC).parameters()) for row in rows]
    assert counted.tolist() == built
    task = nasx.tasks.ImageClassification(**nasx.tasks.datasets.load("digits"), epochs=1, device="cpu")
    result = nasx.search(space, task, strategy="random_search", evaluations=1)
    assert [trial.state for trial in result.trials] == ["complete"]


@pytest.mark.parametrize(
    "space", [nasx.spaces.DARTS(nodes=2), nasx.spaces.NASBench201()], ids=["darts", "201"]
)
def test_cells_are_drawn_with_all_their_operations(space, tmp_path):
    architecture = space.decode(space.sample(1, seed=4)[0])
    figure = architecture.plot(tmp_path / "cells.png")
    assert (tmp_path / "cells.png").stat().st_size > 1000
    written = [text.get_text() for axes in figure.axes for text in axes.texts]
    chosen = [
        str(choice)
        for name, choice in architecture.items()
        if not name.endswith("inputs") and choice != "none"
    ]
    for operation in set(chosen):
        assert written.count(operation) == chosen.count(operation)


def test_spaces_that_draw_nothing_say_so():
    architecture = nasx.spaces.ConvNet().decode(nasx.spaces.ConvNet().sample(1)[0])
    with pytest.raises(TypeError, match=r"ConvNet has no draw"):
        architecture.plot()
