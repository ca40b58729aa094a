"""`Topology`: networks as genotypes, what they compute, and their other forms."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import neat as reference

import nasx
from nasx.spaces import Topology
from nasx.spaces.networks import ACTIVATIONS, AGGREGATIONS, Network


def evolved(space, seed=0, generations=6):
    """Networks with hidden nodes of all kinds."""
    strategy = nasx.NEAT(
        population_size=20,
        add_node=0.5,
        add_connection=0.5,
        toggle_connection=0.2,
        activation_mutation=0.5,
        aggregation_mutation=0.5,
    ).setup(space, seed=seed)
    while strategy.generation < generations:
        networks = strategy.ask(strategy.ahead)
        strategy.tell(networks, -networks.nodes.astype(float))
    return strategy.population


EVERYTHING = {"activations": ACTIVATIONS, "aggregations": AGGREGATIONS}
MIXED = evolved(Topology(3, 2, **EVERYTHING))
LOOPS = evolved(Topology(2, 2, bias=False, recurrent=True, activations=["tanh", "sin", "gauss"]))


@settings(deadline=None, max_examples=25)
@given(place=st.integers(0, len(MIXED) - 1), rows=st.integers(0, 9), seed=st.integers(0, 99))
def test_a_network_computes_what_its_twin_does(place, rows, seed):
    x = np.random.default_rng(seed).normal(size=(rows, 3))
    found = MIXED[place](x)
    assert found.shape == (rows, 2)
    for i in range(rows):
        np.testing.assert_allclose(
            found[i], reference.feed_forward(MIXED[place], x[i]), rtol=1e-12, atol=1e-12
        )


@settings(deadline=None, max_examples=25)
@given(place=st.integers(0, len(LOOPS) - 1), steps=st.integers(0, 6), seed=st.integers(0, 99))
def test_a_recurrent_network_computes_what_its_twin_does(place, steps, seed):
    x = np.random.default_rng(seed).normal(size=(2, steps, 2))
    found = LOOPS[place](x)
    assert found.shape == (2, steps, 2)
    for i in range(2):
        expected = np.reshape(reference.recurrent(LOOPS[place], x[i]), (steps, 2))
        np.testing.assert_allclose(found[i], expected, rtol=1e-12, atol=1e-12)


def test_all_networks_at_once_are_each_by_itself():
    rng = np.random.default_rng(0)
    for rows in (1, 3, 4, 129):
        x = rng.normal(size=(len(MIXED), rows, 3))
        shared = MIXED(x[0])
        own = MIXED(x)
        for i, network in enumerate(MIXED):
            np.testing.assert_array_equal(shared[i], network(x[0]))
            np.testing.assert_array_equal(own[i], network(x[i]))


def test_steps_of_a_population():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, len(LOOPS), 3, 2))
    state, single = None, [None] * len(LOOPS)
    for now in x:
        y, state = LOOPS.step(now, state)
        assert y.shape == (len(LOOPS), 3, 2)
        for i, network in enumerate(LOOPS):
            alone, single[i] = network.step(now[i], single[i])
            np.testing.assert_array_equal(y[i], alone)
    sequences = LOOPS(x.transpose(1, 2, 0, 3))
    np.testing.assert_array_equal(sequences[:, :, -1], y)
    y, state = LOOPS.step(x[0, :, 0])
    assert y.shape == (len(LOOPS), 2)
    y, state = LOOPS.step(x[1, :, 0], state)
    np.testing.assert_array_equal(y, LOOPS(x[:2, :, :1].transpose(1, 2, 0, 3))[:, 0, -1])


def test_levels_and_threads_give_the_same_bits(tmp_path):
    code = (
        "import sys, numpy as np, nasx, pickle\n"
        "nasx.set_num_threads(int(sys.argv[3]))\n"
        "networks = pickle.load(open(sys.argv[1], 'rb'))\n"
        "x = np.random.default_rng(0).normal(size=(257, 3)) * 3\n"
        "np.save(sys.argv[2], networks(x))\n"
    )
    (tmp_path / "networks").write_bytes(pickle.dumps(MIXED))
    found = []
    for level in ("baseline", nasx.simd_level()):
        for threads in ("1", "2"):
            out = tmp_path / f"{level}{threads}.npy"
            subprocess.run(
                [sys.executable, "-c", code, str(tmp_path / "networks"), str(out), threads],
                check=True,
                env=os.environ | {"NASX_SIMD": level},
            )
            found.append(np.load(out).tobytes())
    assert len(set(found)) == 1


@pytest.mark.parametrize("networks", [MIXED, LOOPS], ids=["feed-forward", "recurrent"])
def test_torch_modules_agree_and_learn(networks):
    space = networks.space
    shape = (7, 5, space.inputs) if space.recurrent else (7, space.inputs)
    x = np.random.default_rng(1).normal(size=shape)
    for network in networks:
        module = network.to_torch()
        out = module(torch.from_numpy(x))
        np.testing.assert_allclose(out.detach().numpy(), network(x), rtol=1e-6, atol=1e-6)
        single = network.to_torch(torch.float32)(torch.from_numpy(x).float())
        np.testing.assert_allclose(single.detach().numpy(), network(x), rtol=1e-3, atol=1e-3)
        out.sum().backward()
        gradients = [p.grad for p in module.parameters() if p.numel()]
        assert all(g is not None for g in gradients)
        assert sum(p.numel() for p in module.parameters()) <= network.connections


def test_forms_and_copies():
    for networks in (MIXED, LOOPS, MIXED[:0]):
        space = networks.space
        assert pickle.loads(pickle.dumps(networks)) == networks
        assert copy.deepcopy(networks) == networks
        assert space.from_bytes([space.to_bytes(networks)] * 2) == [networks, networks]
        assert space.encode(networks.tolist()) == networks
        assert space.stack(list(networks)) == networks
        assert space.join([networks[:3], networks[3:]]) == networks
        again = nasx.Space.from_dict(space.to_dict())
        assert again == space
        assert hash(again) == hash(space)
        assert again.settings == space.settings
    network = MIXED[-1]
    assert network == MIXED[len(MIXED) - 1]
    assert hash(network) == hash(pickle.loads(pickle.dumps(network)))
    assert network != MIXED[0]
    assert network != 3
    assert dict(nasx.architecture.Architecture.from_json(network.to_json())) == dict(network)
    spec = nasx.TaskSpec((3,), 2, "classification")
    bound = MIXED.space.decode(network, spec=spec)
    assert nasx.architecture.Architecture.from_json(bound.to_json()).spec == spec
    assert MIXED[[1, 0]] == MIXED.space.stack([MIXED[1], MIXED[0]])
    assert MIXED[np.arange(len(MIXED)) < 2] == MIXED[:2]
    assert MIXED[::-1][0] == network
    assert "hidden nodes" in repr(network)
    assert "networks of Topology" in repr(MIXED)


def test_complexity():
    for i, network in enumerate(MIXED):
        assert network.nodes == len(network["nodes"]) == MIXED.nodes[i]
        assert (
            network.connections == sum(c["enabled"] for c in network["connections"]) == MIXED.connections[i]
        )


def test_sampling():
    space = Topology(6, 4, initial_connections=0.25)
    networks = space.sample(200, seed=3)
    assert space.sample(10, seed=3) == networks[:10]
    assert networks.connections.min() >= 1
    assert 5 < networks.connections.mean() < 10
    assert space.sample(200, seed=4) != networks
    assert (Topology(6, 4).sample(3).connections == 28).all()


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    for networks in (MIXED, LOOPS):
        figure = networks[0].plot(tmp_path / "network.png")
        assert figure.axes
        assert (tmp_path / "network.png").stat().st_size > 1000


def test_a_task_with_torch_trains_an_evolved_network():
    spec = nasx.TaskSpec((3,), 2, "classification")
    module = MIXED[0].build(spec)
    assert module(torch.zeros(4, 3)).shape == (4, 2)
    with pytest.raises(ValueError, match=r"inputs of shape \(5,\) and 2 outputs"):
        MIXED[0].build(nasx.TaskSpec((5,), 2, "classification"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": 0, "outputs": 1}, "inputs must be a positive integer; got 0"),
        ({"inputs": 1, "outputs": 1.5}, "outputs must be a positive integer"),
        ({"inputs": 1, "outputs": 1, "bias": 1}, "bias must be True or False"),
        (
            {"inputs": 1, "outputs": 1, "activations": ["tan"]},
            "unknown activation 'tan'; did you mean 'tanh'",
        ),
        ({"inputs": 1, "outputs": 1, "activations": "tanh"}, "activations must be a list"),
        ({"inputs": 1, "outputs": 1, "aggregations": ["sum", "sum"]}, "aggregations must not hold one twice"),
        ({"inputs": 1, "outputs": 1, "initial_connections": 0}, "initial_connections must be above 0"),
    ],
)
def test_bad_topologies_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Topology(**arguments)


def test_bad_inputs_are_named():
    network = MIXED[0]
    for x, message in (
        (np.zeros((2, 4)), "the last of the 3 inputs"),
        (np.zeros(3), "x must have 2 dimensions"),
        (np.full((1, 3), np.nan), "x must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            network(x)
    with pytest.raises(ValueError, match="inputs for each of the 20 networks"):
        MIXED(np.zeros((2, 5, 3)))
    with pytest.raises(ValueError, match="these networks have no state"):
        network.step(np.zeros(3))
    with pytest.raises(IndexError, match="there are 20 networks"):
        MIXED[20]
    with pytest.raises(KeyError, match="'nodes' and 'connections'"):
        network["weights"]
    for call in (
        MIXED.space.enumerate,
        lambda: MIXED.space.neighbors(network),
        lambda: MIXED.space.random_walk(2),
    ):
        with pytest.raises(ValueError, match=r"search it with nasx\.NEAT"):
            call()


def genes(**changes):
    data = {
        "nodes": [{"id": 3, "activation": "tanh", "aggregation": "sum"}],
        "connections": [{"innovation": 0, "source": 0, "target": 3, "weight": 0.5, "enabled": True}],
    }
    return data | changes


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"nodes": []}, "a network needs 'connections'"),
        (genes(nodes=[{"id": 3, "activation": "tan", "aggregation": "sum"}]), "not the genes of a network"),
        (genes(nodes=[]), "goes to node 3|0 of 1 outputs"),
        (
            genes(connections=[{"innovation": 1, "source": 0, "target": 3, "weight": 1, "enabled": True}]),
            "number",
        ),
        (
            genes(connections=[{"innovation": 0, "source": 0, "target": 3, "weight": "x", "enabled": True}]),
            "genes",
        ),
        (genes(connections=3), "not the genes"),
    ],
)
def test_bad_genes_are_named(data, message):
    space = Topology(2, 1, activations=["tanh"])
    with pytest.raises(ValueError, match=message):
        space.encode(data)
    assert isinstance(space.encode(genes()), Network)


def test_bytes_of_something_else_are_refused():
    space = MIXED.space
    with pytest.raises(ValueError, match="cut short"):
        space.from_bytes([space.to_bytes(MIXED)[:-1]])
    with pytest.raises(ValueError, match="none of this topology"):
        Topology(4, 1).from_bytes([space.to_bytes(MIXED)])


def test_costs_of_size_need_networks():
    for name in ("nodes", "connections"):
        with pytest.raises(TypeError, match=r"networks of a nasx\.spaces\.Topology"):
            nasx.hardware.get_cost(name).bind(nasx.Space({"a": nasx.Boolean()}), None)
