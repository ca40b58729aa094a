"""The cells of NAS-Bench-201, their classes, their strings and their networks."""

import itertools
import json
import pickle

import numpy as np
import pytest
import torch
from reference.nasbench201 import output

import nasx
from nasx import Space, TaskSpec
from nasx.spaces import NASBench201

SPEC = TaskSpec((3, 32, 32), 10, "image_classification")
DENSE = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
EMPTY = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
MIXED = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"


def parameters(text, spec=SPEC, **settings):
    network = NASBench201(**settings).from_string(text).build(spec)
    return sum(p.numel() for p in network.parameters())


# -- the space -----------------------------------------------------------------------------------------------


def test_rows_are_all_cells_in_lexicographic_order():
    space = NASBench201()
    assert space.size == 5**6
    assert space.enumerate().tolist() == [list(row) for row in itertools.product(range(5), repeat=6)]
    assert list(space) == ["1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2"]


@pytest.mark.data
def test_genotypes_are_the_tables_rows(data_dir):
    with np.load(data_dir / "nasbench201.npz", allow_pickle=False) as table:
        assert tuple(table["ops"]) == NASBench201.operations
        np.testing.assert_array_equal(NASBench201().enumerate(), table["genotypes"])


def test_strings_of_all_cells_come_back():
    space = NASBench201()
    texts = [space.to_string(space.decode(row)) for row in space.enumerate()[::7]]
    assert len(set(texts)) == len(texts)
    assert [space.from_string(text).genotype.tolist() for text in texts] == space.enumerate()[::7].tolist()


def test_a_string_names_each_edge_with_its_source():
    space = NASBench201()
    architecture = space.decode([4, 2, 1, 2, 1, 1])
    assert space.to_string(architecture) == MIXED
    assert space.to_string(dict(architecture)) == MIXED
    assert dict(space.from_string(MIXED)) == dict(architecture)
    assert space.from_string(MIXED, spec=SPEC).spec == SPEC


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "text must be a cell such as"),
        (EMPTY[1:], "text must be a cell such as"),
        (EMPTY + "|none~3|", "text must be a cell such as"),
        (EMPTY.replace("none~2", "none~1"), "text must be a cell such as"),
        (EMPTY.replace("+|none~0|none~1|+", "+|none~1|none~0|+"), "text must be a cell such as"),
        (EMPTY.replace("none~2", "nor_conv_5x5~2"), "unknown operation 'nor_conv_5x5'"),
    ],
)
def test_bad_strings_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        NASBench201().from_string(text)


def test_a_mapping_that_is_no_cell_has_no_string():
    cell = dict(NASBench201().decode([0] * 6))
    for wrong in ({}, cell | {"4<-0": "none"}, {k: v for k, v in cell.items() if k != "3<-2"}):
        with pytest.raises(ValueError, match="architecture must give each of"):
            NASBench201().to_string(wrong)
    with pytest.raises(ValueError, match="unknown choice 'conv'"):
        NASBench201().to_string(cell | {"1<-0": "conv"})


def test_settings_rebuild_the_space_through_json():
    space = NASBench201(cells=2, channels=8, canonical=True)
    again = Space.from_dict(json.loads(json.dumps(space.to_dict())))
    assert isinstance(again, NASBench201)
    assert again.settings == space.settings == {"cells": 2, "channels": 8, "canonical": True}
    assert pickle.loads(pickle.dumps(space)).settings == space.settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cells": 0}, "cells must be a positive integer; got 0"),
        ({"channels": 2.0}, "channels must be a positive integer; got 2.0"),
        ({"cells": True}, "cells must be a positive integer; got True"),
        ({"canonical": 1}, "canonical must be True or False; got 1"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        NASBench201(**settings)


# -- cells that are the same ---------------------------------------------------------------------------------


def test_the_published_number_of_classes():
    space = NASBench201(canonical=True)
    rows = NASBench201().enumerate()
    classes = np.unique(space.canonicalize(rows), axis=0)
    assert len(classes) == space.size == 6466
    np.testing.assert_array_equal(space.enumerate(), classes)


def test_representatives_are_the_smallest_of_their_class_and_stay():
    space = NASBench201(canonical=True)
    rows = NASBench201().enumerate()
    first = space.canonicalize(rows)
    np.testing.assert_array_equal(space.canonicalize(first), first)
    powers = 5 ** np.arange(5, -1, -1)
    assert (first @ powers <= rows @ powers).all()
    assert first.dtype == np.int32


def test_cells_of_one_class_compute_the_same():
    space = NASBench201(canonical=True)
    x = np.array([-0.9, 0.35, 1.7])
    names = np.array(NASBench201.operations)
    rows = NASBench201().enumerate()
    values = np.array([output(names[row], x) for row in rows])
    firsts = space.canonicalize(rows) @ (5 ** np.arange(5, -1, -1))
    np.testing.assert_allclose(values, values[firsts], rtol=1e-12, atol=1e-12)
    # Not all is one class: the functions of most pairs differ.
    assert len(np.unique(values.round(9), axis=0)) > 4000


def test_what_the_form_sees_through():
    space = NASBench201(canonical=True)

    def same(a, b):
        first, second = space.canonicalize(np.array([a, b], np.int32))
        return np.array_equal(first, second)

    assert same([3, 0, 1, 0, 0, 1], [0, 0, 0, 3, 0, 1])  # a skip is its node
    assert same([0, 0, 3, 2, 4, 0], [0, 0, 0, 2, 0, 0])  # operations on zeros, edges of unused nodes
    assert same([2, 0, 0, 3, 1, 0], [3, 0, 0, 2, 1, 0])  # the order of a sum
    assert not same([3, 0, 0, 0, 1, 0], [2, 0, 0, 0, 1, 0])  # the operation
    assert not same([3, 0, 0, 0, 2, 0], [2, 0, 0, 0, 3, 0])  # the order of a chain


def test_without_the_setting_rows_stay_as_they_are():
    rows = NASBench201().sample(10, seed=1)
    assert NASBench201().canonicalize(rows) is rows
    assert NASBench201.canonical is False
    assert NASBench201().canonical is False


def test_a_canonical_space_gives_canonical_rows_only():
    space = NASBench201(canonical=True)
    rows = space.sample(500, seed=3)
    np.testing.assert_array_equal(space.canonicalize(rows), rows)
    np.testing.assert_array_equal(space.sample(20, seed=3), rows[:20])
    raw = next(row for row in NASBench201().enumerate() if (space.canonicalize(row[None]) != row).any())
    assert space.decode(raw).genotype.tolist() == space.canonicalize(raw[None])[0].tolist()
    assert space.encode(NASBench201().decode(raw)).tolist() == space.decode(raw).genotype.tolist()
    before = raw.copy()
    space.canonicalize(raw[None])
    np.testing.assert_array_equal(raw, before)


@pytest.mark.data
def test_cells_of_one_class_were_measured_alike(data_dir):
    with np.load(data_dir / "nasbench201.npz", allow_pickle=False) as table:
        rows, accuracy = table["genotypes"].astype(np.int32), table["cifar10_val"]
    first = NASBench201(canonical=True).canonicalize(rows) @ (5 ** np.arange(5, -1, -1))
    others = first != np.arange(len(rows))
    alike = np.abs(accuracy - accuracy[first])[others]
    shuffled = np.random.default_rng(0).permutation(accuracy)
    unlike = np.abs(accuracy - shuffled)[others]
    assert others.sum() == 15625 - 6466
    assert np.median(alike) < 1.0 < 5.0 < np.median(unlike)
    assert alike.mean() < unlike.mean() / 5


# -- the network ---------------------------------------------------------------------------------------------


def test_numbers_of_parameters_are_the_published_ones():
    assert parameters(DENSE) == 1_531_546
    assert parameters(EMPTY) == 73_306
    assert parameters(MIXED) == 129_306
    three = "|skip_connect~0|+|none~0|nor_conv_3x3~1|+|avg_pool_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    assert parameters(three) == 802_426
    assert parameters(DENSE, TaskSpec((3, 32, 32), 100, "image_classification")) == 1_537_396


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 7, 5), (1, 1, 1)])
def test_every_image_size_works(shape):
    spec = TaskSpec(shape, 7, "image_classification")
    space = NASBench201(cells=1, channels=4)
    for text in (DENSE, EMPTY, MIXED):
        network = space.from_string(text).build(spec)
        for batch in (1, 3):
            assert network.eval()(torch.randn(batch, *shape)).shape == (batch, 7)
        assert network.train()(torch.randn(4, *shape)).shape == (4, 7)


def test_build_asks_for_images():
    with pytest.raises(ValueError, match=r"NASBench201 needs images, input_shape \(C, H, W\); got .*\(64,\)"):
        NASBench201().decode([0] * 6).build(TaskSpec((64,), 10, "image_classification"))


@pytest.mark.parametrize("text", [DENSE, EMPTY, MIXED])
def test_networks_learn_digits(text):
    from nasx.tasks.datasets import load

    torch.manual_seed(0)
    images, labels = (torch.as_tensor(part[:128]) for part in load("digits")["train"])
    spec = TaskSpec((1, 8, 8), 10, "image_classification")
    network = NASBench201(cells=1, channels=8).from_string(text).build(spec)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    losses = []
    for _ in range(15):
        loss = torch.nn.functional.cross_entropy(network(images.float()), labels.long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    if text == EMPTY:  # nothing of the image reaches the classifier: it learns the classes' frequencies
        assert losses[-1] == pytest.approx(np.log(10), abs=0.05)
    else:
        assert losses[-1] < 0.5 * losses[0]


def test_a_search_trains_cells_on_digits():
    task = nasx.tasks.ImageClassification(**nasx.tasks.datasets.load("digits"), epochs=1)
    result = nasx.search(
        NASBench201(cells=1, channels=4),
        task,
        strategy="random_search",
        evaluations=2,
        costs=["parameters"],
        limits={"parameters": 20_000},
    )
    assert [trial.state for trial in result.trials] == ["complete"] * 2
    assert all(0 <= trial.metrics["error"] < 1 for trial in result.trials)
