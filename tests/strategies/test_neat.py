"""NEAT beyond the protocol: against a plain twin, what evolution promises, and searches."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import neat as reference
from reference.philox import Stream

import nasx
from nasx._core import neat as core
from nasx.spaces import Topology
from nasx.spaces.networks import ACTIVATIONS, AGGREGATIONS

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
Y = np.array([[0], [1], [1], [0]], float)
BUSY = {
    "population_size": 30,
    "add_node": 0.3,
    "add_connection": 0.4,
    "toggle_connection": 0.1,
    "interspecies_mating": 0.2,
    "compatibility_threshold": 1.5,
    "stagnation": 3,
    "population_stagnation": 5,
}


def loss_of(networks):
    """Something that all genes have a part in, with ties."""
    out = []
    for network in networks:
        genes = network["connections"]
        total = sum(round(abs(g["weight"] - g["target"] % 3), 1) * (1 + g["enabled"]) for g in genes)
        out.append(total % 7 - len(genes) / 4 - 3 * len({n["activation"] for n in network["nodes"]}))
    return np.array(out)


def as_reference(network):
    nodes = {
        n["id"]: (ACTIVATIONS.index(n["activation"]), AGGREGATIONS.index(n["aggregation"]))
        for n in network["nodes"]
    }
    links = {
        c["innovation"]: reference.Link(c["source"], c["target"], c["weight"], c["enabled"])
        for c in network["connections"]
    }
    return reference.Genome(nodes, links)


def evolved(space, generations=8, seed=0, **settings):
    """Give the networks of one generation and its strategy."""
    strategy = nasx.NEAT(**(BUSY | settings)).setup(space, seed=seed)
    while strategy.generation < generations:
        networks = strategy.ask(strategy.ahead)
        strategy.tell(networks, loss_of(networks))
    return strategy.population, strategy


TWINS = [
    (Topology(2, 1), {}),
    (Topology(3, 2, recurrent=True), {"protected_species": 2, "averaging_crossover": 0.5}),
    (
        Topology(2, 2, bias=False, activations=["tanh", "sin", "relu"], aggregations=["sum", "max"]),
        {"activation_mutation": 0.3, "aggregation_mutation": 0.3, "target_species": 4, "small_genome": 5},
    ),
    (
        Topology(4, 1, initial_connections=0.3),
        {"allow_repeats": True, "champion_from": 2, "weight_limit": 1.5},
    ),
]


@pytest.mark.parametrize(("space", "more"), TWINS)
def test_it_proposes_what_its_twin_does(space, more):
    strategy = nasx.NEAT(**(BUSY | more)).setup(space, seed=11)
    twin = reference.ReferenceNEAT(space, nasx.NEAT(**(BUSY | more)), seed=11)
    for turn in range(60):
        networks = strategy.ask(13)
        losses, failed = loss_of(networks), np.arange(13) == turn % 20
        asked = [twin.ask() for _ in networks]
        assert [as_reference(network) for network in networks] == asked
        for found, loss in zip(asked, np.where(failed, np.inf, losses), strict=True):
            twin.tell(found, loss)
        strategy.tell(networks, losses, failed=failed)
    assert strategy.generation == twin.generation > 20
    assert [(s.number, s.members, s.created, s.improved) for s in strategy.species] == [
        (s.number, s.members, s.created, s.improved) for s in twin.species
    ]
    assert strategy.threshold == twin.threshold
    assert max(networks.nodes) > space.outputs + 2


@pytest.mark.parametrize("recurrent", [False, True])
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**63 - 1), generations=st.integers(1, 12))
def test_genomes_stay_well_formed(recurrent, seed, generations):
    space = Topology(3, 2, recurrent=recurrent)
    networks, strategy = evolved(space, generations, seed)
    assert sum(len(s.members) for s in strategy.species) == strategy.population_size == len(networks)
    assert sorted(i for s in strategy.species for i in s.members) == list(range(len(networks)))
    ends = {}
    for network in networks:
        numbers = [c["innovation"] for c in network["connections"]]
        assert numbers == sorted(set(numbers))
        for c in network["connections"]:
            assert ends.setdefault(c["innovation"], (c["source"], c["target"])) == (c["source"], c["target"])
        pairs = [(c["source"], c["target"]) for c in network["connections"]]
        assert len(pairs) == len(set(pairs))
        if not recurrent:
            genome = as_reference(network)
            assert not any(reference.reaches(genome, c.target, c.source) for c in genome.links.values())
    space.native.check(networks.native)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 1000),
    i=st.integers(0, 29),
    j=st.integers(0, 29),
    average=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_a_child_has_its_parents_genes(seed, i, j, average):
    networks = POPULATION
    child = nasx.spaces.networks.Network(
        networks.space, core.cross(networks[i].native, networks[j].native, average, 0.75, seed)
    )
    fitter, other, found = (as_reference(n) for n in (networks[i], networks[j], child))
    assert list(found.links) == list(fitter.links)
    assert list(found.nodes) == list(fitter.nodes)
    for number, link in found.links.items():
        weights = {g.links[number].weight for g in (fitter, other) if number in g.links}
        assert link.weight in weights | {sum(weights) / 2}
        if all(g.links[number].enabled for g in (fitter, other) if number in g.links):
            assert link.enabled
    for node, what in found.nodes.items():
        assert what in {g.nodes[node] for g in (fitter, other) if node in g.nodes}
    assert found == reference.cross(fitter, other, average, 0.75, Stream("neat_child", seed, 0, 0))


@settings(deadline=None, max_examples=40)
@given(i=st.integers(0, 29), j=st.integers(0, 29), small=st.sampled_from([0, 8, 100]))
def test_the_distance_is_that_of_the_twin(i, j, small):
    def distance(a, b):
        return core.distance(POPULATION.native, a, POPULATION.native, b, 1.0, 2.0, 0.4, small)

    assert distance(i, j) == distance(j, i)
    assert distance(i, i) == 0
    expected = reference.distance(
        as_reference(POPULATION[i]), as_reference(POPULATION[j]), 1.0, 2.0, 0.4, small
    )
    assert distance(i, j) == pytest.approx(expected, abs=1e-12)


POPULATION, _ = evolved(Topology(3, 2, activations=["tanh", "sin"]), 10)


def test_threads_make_no_difference():
    before = nasx.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            nasx.set_num_threads(threads)
            found.append(evolved(Topology(5, 2), 10, population_size=300)[0])
        assert found[0] == found[1]
    finally:
        nasx.set_num_threads(before)


def fitness(networks):
    return (4 - np.abs(networks(X) - Y).sum(axis=(1, 2))) ** 2


def test_xor_is_solved():
    for seed in range(3):
        strategy = nasx.NEAT().setup(Topology(2, 1), seed=seed)
        solved = False
        while not solved and strategy.generation < 150:
            networks = strategy.ask(strategy.ahead)
            strategy.tell(networks, -fitness(networks))
            solved = (np.abs(networks(X) - Y) < 0.5).all(axis=(1, 2)).any()
        assert solved


def test_copies_enter_with_their_results_and_repeats_are_evaluated():
    asked = {}
    for repeats in (False, True):
        strategy = nasx.NEAT(allow_repeats=repeats).setup(Topology(2, 1), seed=0)
        seen, asked[repeats] = [], 0
        while strategy.generation < 10:
            networks = strategy.ask(strategy.ahead)
            asked[repeats] += len(networks)
            seen += [network.tobytes() for network in networks]
            strategy.tell(networks, -fitness(networks))
        assert (len(set(seen)) == len(seen)) is not repeats
    assert asked[True] == 1500
    assert 1200 < asked[False] < 1500


def test_nothing_changes_where_no_mutation_is_allowed():
    still = {"weight_mutation": 0.0, "add_node": 0.0, "add_connection": 0.0, "mutation_only": 1.0}
    strategy = nasx.NEAT(population_size=5, **still).setup(Topology(2, 1))
    networks = strategy.ask(5)
    strategy.tell(networks, np.arange(5.0))
    assert len(strategy.ask(3)) == 0


def test_networks_of_the_callers_own():
    space = Topology(2, 1)
    networks = space.stack(list(dict.fromkeys(evolved(space, 6)[0])))  # told again, a copy would not count
    strategy = nasx.NEAT(**BUSY | {"population_size": len(networks)}).setup(space, seed=5)
    strategy.tell(networks, loss_of(networks))
    assert strategy.generation == 1
    assert strategy.population == networks
    newest = max(c["innovation"] for n in networks for c in n["connections"])
    for _ in range(5):
        asked = strategy.ask(30)
        strategy.tell(asked, loss_of(asked))
    known = {c["innovation"]: (c["source"], c["target"]) for n in networks for c in n["connections"]}
    for network in asked:
        for c in network["connections"]:
            assert c["innovation"] > newest or known.get(c["innovation"]) == (c["source"], c["target"])
    with pytest.raises(ValueError, match=r"genome \d+ is of another search: its connection \d+ joins"):
        strategy.tell(evolved(space, 6, seed=9)[0], np.zeros(30))
    with pytest.raises(ValueError, match="none of this topology"):
        strategy.tell(Topology(3, 1).sample(2), [0.0, 0.0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"population_size": 1}, "population_size must be at least 2; got 1"),
        ({"population_size": 2.5}, "population_size must be an integer"),
        ({"add_node": 1.5}, "add_node must be in 0..1; got 1.5"),
        ({"survival": float("nan")}, "survival must be in 0..1"),
        ({"weight_power": 0}, "weight_power must be positive"),
        ({"weight_limit": "8"}, "weight_limit must be a number; got '8'"),
        ({"compatibility_threshold": -1.0}, "compatibility_threshold must be positive"),
        ({"target_species": 0}, "target_species must be at least 1"),
        ({"excess_coefficient": -1}, "excess_coefficient must be at least 0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        nasx.NEAT(**settings)


# -- searches ----------------------------------------------------------------------------------------------------


def one(network):
    return float(((4 - np.abs(network(X) - Y).sum()) ** 2).item())


@pytest.mark.parametrize("vectorized", [False, True])
def test_a_search_gets_one_network_or_all(vectorized):
    sizes = []

    def many(networks):
        sizes.append(len(networks))
        return fitness(networks)

    result = nasx.search(
        Topology(2, 1),
        many if vectorized else one,
        objectives={"fitness": "maximize"},
        strategy=nasx.NEAT(population_size=50),
        vectorized=vectorized,
        batch_size=50,
        evaluations=300,
    )
    assert len(result.trials) == 300
    assert result.best.metrics["fitness"] == pytest.approx(one(result.best.architecture))
    assert result.best.metrics["fitness"] > 6
    if vectorized:
        assert sizes[0] == 50
        assert all(size <= 50 for size in sizes)


def test_batches_and_single_evaluations_are_the_same_search():
    def go(task, **more):
        return nasx.search(
            Topology(2, 1),
            task,
            objectives={"fitness": "maximize"},
            strategy=nasx.NEAT(population_size=20),
            evaluations=100,
            **more,
        )

    a, b = go(one), go(fitness, vectorized=True, batch_size=7)
    assert [t.architecture for t in a.trials] == [t.architecture for t in b.trials]


def test_limits_and_pareto_search_by_size():
    result = nasx.search(
        Topology(2, 1),
        fitness,
        objectives={"fitness": "maximize", "connections": "minimize"},
        costs=["connections", "nodes"],
        limits={"connections": 6, "nodes": 3},
        strategy=nasx.NEAT(population_size=40, add_node=0.2, add_connection=0.2),
        vectorized=True,
        evaluations=800,
    )
    networks = [t.architecture for t in result.trials]
    assert max(n.connections for n in networks) == 6
    assert max(n.nodes for n in networks) == 3
    front = result.pareto_front
    assert len({t.metrics["connections"] for t in front}) >= 2
    assert all(t.metrics["connections"] == t.architecture.connections for t in front)


def test_a_journal_keeps_networks_and_resumes_exactly(tmp_path):
    def go(path, evaluations, vectorized=True):
        return nasx.search(
            Topology(2, 1),
            fitness,
            objectives={"fitness": "maximize"},
            strategy=nasx.NEAT(population_size=30),
            vectorized=True,
            evaluations=evaluations,
            journal=path,
        )

    whole = go(tmp_path / "whole.db", 200)
    for evaluations in (50, 51, 130, 200):
        parts = go(tmp_path / "parts.db", evaluations)
    assert [t.architecture for t in parts.trials] == [t.architecture for t in whole.trials]
    loaded = nasx.Result.load(tmp_path / "parts.db")
    assert loaded.space == Topology(2, 1)
    assert [t.architecture for t in loaded.trials] == [t.architecture for t in whole.trials]
    assert loaded.best.architecture(X).tolist() == whole.best.architecture(X).tolist()
    assert (
        nasx.architecture.Architecture.from_json(loaded.best.architecture.to_json())
        == whole.best.architecture
    )


def test_results_have_their_other_forms(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("pandas")
    result = nasx.search(
        Topology(2, 1),
        one,
        objectives={"fitness": "maximize"},
        costs=["connections"],
        strategy=nasx.NEAT(population_size=10),
        evaluations=25,
    )
    frame = result.to_dataframe()
    assert list(frame["connections"]) == [t.architecture.connections for t in result.trials]
    assert result.to_json().count('"activation"') >= 25
    result.plot(tmp_path / "progress.png")
    nasx.plots.plot_summary(result)


def test_measured_costs_are_remembered(tmp_path):
    calls = []

    def time_of(networks):  # no cost of nasx's: its values may differ next time
        calls.append(len(networks))
        return networks.connections + 0.5

    def go(evaluations):
        return nasx.search(
            Topology(2, 1),
            one,
            objectives={"fitness": "maximize"},
            costs={"time": time_of},
            limits={"time": 5.0},
            strategy=nasx.NEAT(population_size=10, add_node=0.3),
            evaluations=evaluations,
            journal=tmp_path / "run.db",
        )

    go(30)
    before = sum(calls)
    result = go(31)
    assert sum(calls) - before < 25  # those of new proposals
    assert max(t.metrics["time"] for t in result.trials) <= 5.0


def test_the_state_of_a_run():
    networks, strategy = evolved(Topology(2, 1), 5)
    assert len(networks) == 30
    assert strategy.generation == 5
    assert strategy.warmup == 30
    assert 1 <= strategy.portion(1000) <= 30
    twin = copy.deepcopy(strategy)
    assert twin.ask(10) == strategy.ask(10)
    assert dataclasses.asdict(nasx.NEAT()) == nasx.NEAT().settings
    with pytest.raises(RuntimeError, match="call setup"):
        _ = nasx.NEAT().generation
