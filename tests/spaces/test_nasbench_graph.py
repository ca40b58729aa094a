"""The graph networks of NAS-Bench-Graph and when two of them are one."""

import itertools
import json
import pickle

import numpy as np
import pytest

import nasx
from nasx import Space
from nasx.registry import strategy_class
from nasx.spaces import NASBenchGraph

PROTEINS = ["gcn", "sage", "arma", "fc", "skip"]


def all_rows(space):
    sizes = [range(size) for size in space.cardinalities]
    return np.array(list(itertools.product(*sizes)), np.int32)


def canonical(space, structure, *operations):
    choices = {"structure": structure} | {f"op{i}": name for i, name in enumerate(operations, 1)}
    return space.encode(choices).tolist()


@pytest.mark.parametrize(("operations", "size"), [(NASBenchGraph.all_operations, 26_206), (PROTEINS, 2_021)])
def test_size_sampling_and_enumeration(operations, size):
    space = NASBenchGraph(operations=operations)
    rows = space.enumerate()
    assert space.size == len(rows) == len(np.unique(rows, axis=0)) == size
    np.testing.assert_array_equal(space.canonicalize(rows), rows)
    assert space.satisfies(rows).all()
    drawn = space.sample(2000, seed=1)
    np.testing.assert_array_equal(space.canonicalize(drawn), drawn)
    assert space.satisfies(drawn).all()
    np.testing.assert_array_equal(space.sample(100, seed=1), drawn[:100])


def test_representatives_are_the_smallest_of_their_class_and_stay():
    space = NASBenchGraph(operations=PROTEINS)
    rows = all_rows(space)
    first = space.canonicalize(rows)
    np.testing.assert_array_equal(space.canonicalize(first), first)
    assert all(a <= b for a, b in zip(first.tolist(), rows.tolist(), strict=True))
    assert first.dtype == np.int32


@pytest.mark.parametrize("operations", [NASBenchGraph.all_operations, PROTEINS])
def test_classes_are_those_of_the_published_package(operations):
    architecture = pytest.importorskip(
        "nas_bench_graph", reason="nas-bench-graph is not installed: pip install 'nasx[tables]'"
    ).Arch
    space = NASBenchGraph(operations=operations)
    rows = all_rows(space)
    rows = rows[space.satisfies(rows)]
    keys = [
        architecture(
            [int(source) for source in space.structures[structure].split(",")],
            [operations[index] for index in chosen],
        ).valid_hash()
        for structure, *chosen in rows.tolist()
    ]
    ours = [tuple(row) for row in space.canonicalize(rows).tolist()]
    pairs = set(zip(keys, ours, strict=True))
    assert len(pairs) == len(set(keys)) == len(set(ours)) == space.size


def test_what_is_the_same_network():
    space = NASBenchGraph()
    # The order of nodes does not matter.
    assert canonical(space, "0,0,0,0", "gat", "gcn", "gin", "fc") == canonical(
        space, "0,0,0,0", "fc", "gin", "gcn", "gat"
    )
    assert canonical(space, "0,0,1,2", "gat", "gcn", "gin", "fc") == canonical(
        space, "0,0,1,2", "gcn", "gat", "fc", "gin"
    )
    # A skip joins what is before and after it.
    assert canonical(space, "0,1,2,3", "gat", "skip", "gcn", "skip") == canonical(
        space, "0,1,2,3", "skip", "skip", "gat", "gcn"
    )
    # The input itself is no output; a node beside its readers is one.
    assert canonical(space, "0,0,0,0", "gat", "gcn", "gin", "skip") == canonical(
        space, "0,1,1,1", "skip", "gat", "gcn", "gin"
    )
    assert canonical(space, "0,1,1,1", "gat", "gcn", "gin", "skip") != canonical(
        space, "0,1,1,2", "skip", "gat", "gcn", "gin"
    )
    # The order along a chain does matter.
    assert canonical(space, "0,1,2,3", "gat", "gcn", "gin", "fc") != canonical(
        space, "0,1,2,3", "fc", "gin", "gcn", "gat"
    )


def test_the_network_that_only_skips_is_not_allowed():
    space = NASBenchGraph()
    rows = all_rows(space)
    forbidden = rows[~space.satisfies(rows)]
    assert forbidden[:, 1:].tolist() == [[8] * 4] * 9


def test_rows_are_not_modified():
    space = NASBenchGraph()
    rows = all_rows(space)[::50]
    before = rows.copy()
    space.canonicalize(rows)
    np.testing.assert_array_equal(rows, before)


def test_settings_rebuild_the_space():
    space = NASBenchGraph(operations=tuple(PROTEINS))
    again = Space.from_dict(json.loads(json.dumps(space.to_dict())))
    assert isinstance(again, NASBenchGraph)
    assert again == space
    assert again.size == 2_021
    copy = pickle.loads(pickle.dumps(space))
    np.testing.assert_array_equal(copy.enumerate(), space.enumerate())


SAMPLED = {n for n in nasx.available_strategies() if issubclass(strategy_class(n), nasx.SampledStrategy)}


@pytest.mark.parametrize("strategy", sorted(SAMPLED - {"neat"}))
def test_strategies_propose_measured_networks_only(strategy):
    space = NASBenchGraph(operations=PROTEINS)
    result = nasx.search(
        space,
        lambda a: float(a["op1"] == "skip") + float(a["op4"] != "gcn"),
        objectives={"loss": "minimize"},
        strategy=strategy,
        evaluations=300,
        seed=0,
    )
    assert space.satisfies(np.array([trial.genotype for trial in result.trials])).all()
    assert result.best.metrics["loss"] == 0


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ("gcn", "operations must be a list; got 'gcn'"),
        (["gcn", "skipp"], "operations: unknown operation 'skipp'; did you mean 'skip'"),
        (["gcn", "gat"], r"operations must hold \"skip\" and something else; got \['gcn', 'gat'\]"),
        (["skip"], "operations must hold"),
        (["skip", "gcn", "gcn"], "choices must differ; 'gcn' is there twice"),
    ],
)
def test_bad_settings_are_named(operations, message):
    with pytest.raises(ValueError, match=message):
        NASBenchGraph(operations=operations)


def test_it_describes_networks_without_building_them():
    space = NASBenchGraph()
    assert not space.can_build
    with pytest.raises(TypeError, match="NASBenchGraph has no build"):
        space.decode(space.sample(1)[0]).build()
