"""NEAT against neat-python and against the figures of the paper.

``python bench/bench_neat.py`` runs all parts; ``python bench/bench_neat.py xor`` runs one of: generation,
activation, xor, pole.

Generation: everything between two evaluations. Both populations have evolved for 100 generations on the same
data with the same rates. Activation: networks of neat-python are translated, and the outputs compared.
XOR and double pole: see the paper; the physics is in double_pole.py.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import compare, describe

import numpy as np  # isort: skip - after the harness

import nasx
from nasx.spaces import Topology
from nasx.spaces.networks import Networks

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
Y = np.array([0, 1, 1, 0], float)

CONFIG = """
[NEAT]
fitness_criterion = max
fitness_threshold = 1000.0
no_fitness_termination = True
pop_size = {size}
reset_on_extinction = True

[DefaultGenome]
num_inputs = 2
num_outputs = 1
num_hidden = 0
initial_connection = full_direct
feed_forward = True
compatibility_disjoint_coefficient = 1.0
compatibility_excess_coefficient = 1.0
compatibility_weight_coefficient = 0.4
conn_add_prob = 0.05
conn_delete_prob = 0.0
node_add_prob = 0.03
node_delete_prob = 0.0
activation_default = sigmoid
activation_options = sigmoid
activation_mutate_rate = 0.0
aggregation_default = sum
aggregation_options = sum
aggregation_mutate_rate = 0.0
bias_init_mean = 0.0
bias_init_stdev = 1.0
bias_init_type = gaussian
bias_replace_rate = 0.1
bias_mutate_rate = 0.7
bias_mutate_power = 0.5
bias_max_value = 8.0
bias_min_value = -8.0
response_init_mean = 1.0
response_init_stdev = 0.0
response_init_type = gaussian
response_replace_rate = 0.0
response_mutate_rate = 0.0
response_mutate_power = 0.0
response_max_value = 8.0
response_min_value = -8.0
weight_init_mean = 0.0
weight_init_stdev = 1.0
weight_init_type = gaussian
weight_max_value = 8.0
weight_min_value = -8.0
weight_mutate_rate = 0.8
weight_replace_rate = 0.1
weight_mutate_power = 0.5
enabled_default = True
enabled_mutate_rate = 0.0
enabled_rate_to_true_add = 0.0
enabled_rate_to_false_add = 0.0
single_structural_mutation = False
structural_mutation_surer = False
time_constant_init_mean = 1.0
time_constant_init_stdev = 0.0
time_constant_init_type = gaussian
time_constant_replace_rate = 0.0
time_constant_mutate_rate = 0.0
time_constant_mutate_power = 0.0
time_constant_max_value = 1.0
time_constant_min_value = 1.0

[DefaultSpeciesSet]
compatibility_threshold = 3.0

[DefaultStagnation]
species_fitness_func = max
max_stagnation = 15
species_elitism = 2

[DefaultReproduction]
elitism = 1
survival_threshold = 0.2
min_species_size = 1
"""


def neat_python(size: int) -> Any:
    """Make a population of neat-python's."""
    import neat

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config"
        path.write_text(CONFIG.format(size=size))
        config = neat.Config(
            neat.DefaultGenome,
            neat.DefaultReproduction,
            neat.DefaultSpeciesSet,
            neat.DefaultStagnation,
            str(path),
        )
    return neat.Population(config, seed=1)


def error_of(outputs: np.ndarray) -> np.ndarray:
    """Fitness of outputs ``(n, 4)`` on XOR."""
    fitness: np.ndarray = (4 - np.abs(outputs - Y).sum(axis=1)) ** 2
    return fitness


def generation() -> None:
    """Everything between two evaluations, after 100 generations."""
    import neat

    for size in (150, 1000):
        peer = neat_python(size)

        def evaluate(genomes: Any, config: Any) -> None:
            for _, genome in genomes:
                network = neat.nn.FeedForwardNetwork.create(genome, config)
                genome.fitness = float(error_of(np.array([[network.activate(x)[0] for x in X]]))[0])

        peer.run(evaluate, 100)
        spent: list[float] = []

        def stopwatch(genomes: Any, config: Any, spent: list[float] = spent) -> None:
            spent.append(time.perf_counter())
            evaluate(genomes, config)
            spent.append(time.perf_counter())

        strategy = nasx.NEAT(population_size=size, allow_repeats=True).setup(Topology(2, 1), seed=1)

        for _ in range(100):
            networks = strategy.ask(size)
            strategy.tell(networks, -error_of(networks(X)[:, :, 0]))
        own, theirs = [], []
        for _ in range(15):
            spent.clear()
            peer.run(stopwatch, 2)  # the first generation's reproduction, and the second's evaluation
            theirs.append(spent[2] - spent[1])
            networks = strategy.ask(size)
            losses = -error_of(networks(X)[:, :, 0])
            start = time.perf_counter()
            strategy.tell(networks, losses)
            networks = strategy.ask(size)
            own.append(time.perf_counter() - start)
            strategy.tell(networks, -error_of(networks(X)[:, :, 0]))
        genes = statistics.mean(len(g.connections) for g in peer.population.values())
        own_genes = np.mean([len(network["connections"]) for network in networks])
        line(f"generation of {size}", theirs, own, 50)
        print(
            f"    genes: {genes:.1f} (neat-python), {own_genes:.1f}; "
            f"species: {len(peer.species.species)}, {len(strategy.species)}"
        )


def line(case: str, theirs: list[float], ours: list[float], target: float) -> None:
    """Print a line as `harness.compare` does."""
    cells = [f"{statistics.median(t) * 1e3:.3f} ({min(t) * 1e3:.3f})" for t in (theirs, ours)]
    ratio = statistics.median(theirs) / statistics.median(ours)
    print(
        f"{case:<34} {'neat-python':<11} {cells[0]:>18} {cells[1]:>18} {ratio:>7.2f} {target:>7g}", flush=True
    )


def activation() -> None:
    """A population of 1,000 on 1,000 inputs, neat-python's networks in both."""
    import neat

    peer = neat_python(1000)

    def evaluate(genomes: Any, config: Any) -> None:
        for _, genome in genomes:
            genome.fitness = len(genome.connections) + 1.0  # large ones, so that there is something to do

    peer.run(evaluate, 30)
    genomes = list(peer.population.values())
    networks = [neat.nn.FeedForwardNetwork.create(genome, peer.config) for genome in genomes]
    translated = translate(genomes)
    inputs = np.random.default_rng(0).normal(size=(1000, 2))
    rows = inputs.tolist()
    print(f"    connections: {translated.connections.mean():.1f} on average")

    def theirs() -> np.ndarray:
        return np.array([[network.activate(row) for row in rows] for network in networks])

    compare(
        "1,000 networks on 1,000 inputs",
        "neat-python",
        theirs,
        lambda: translated(inputs),
        lambda a, b: bool(np.allclose(a, b, atol=1e-9)),
        target=100,
        repeats=7,
    )


def translate(genomes: Any) -> Networks:
    """Turn genomes of neat-python into ours; its biases become connections from the bias node."""
    space = Topology(2, 1, activations=["sigmoid"])
    keys = ("innovation", "source", "target", "weight", "enabled")
    rows = []
    for genome in genomes:
        name = {-1: 0, -2: 1, 0: 3} | {node: node + 10 for node in genome.nodes if node != 0}
        # Its sigmoid is five times as steep.
        links = [(2, name[node], 5.0 * gene.bias, True) for node, gene in genome.nodes.items()]
        links += [
            (name[source], name[target], 5.0 * gene.weight, gene.enabled)
            for (source, target), gene in genome.connections.items()
        ]
        # Those of inputs and outputs have their sources' numbers; any will do for the others.
        direct = sorted((one[0], *one) for one in links if one[0] < 3 and one[1] == 3)
        others = [one for one in links if one[0] >= 3 or one[1] != 3]
        genes = direct + [(3 + i, *one) for i, one in enumerate(others)]
        rows.append(
            {
                "nodes": [
                    {"id": name[node], "activation": "sigmoid", "aggregation": "sum"}
                    for node in sorted(genome.nodes, key=lambda node: name[node])
                ],
                "connections": [dict(zip(keys, gene, strict=True)) for gene in genes],
            }
        )
    networks: Networks = space.encode(rows)
    return networks


def xor(seeds: int = 100, first: int = 0) -> None:
    """The paper's first experiment: how soon a network is on the right side of one half everywhere."""
    found = []
    for seed in range(first, first + seeds):
        strategy = nasx.NEAT(allow_repeats=True).setup(Topology(2, 1), seed=seed)
        evaluations = 0
        while strategy.generation < 200:
            networks = strategy.ask(strategy.ahead)
            outputs = networks(X)[:, :, 0]
            solved = ((outputs > 0.5) == (Y > 0.5)).all(axis=1)
            if solved.any():
                i = int(np.argmax(solved))
                network = networks[i]
                found.append(
                    (strategy.generation + 1, evaluations + i + 1, network.nodes - 1, network.connections)
                )
                break
            evaluations += len(networks)
            strategy.tell(networks, -error_of(outputs))
    means = np.mean(found, axis=0)
    print(
        f"XOR: {len(found)} of {seeds} seeds solved within 200 generations; on average {means[0]:.1f} "
        f"generations (paper: 32), {means[1]:,.0f} evaluations (4,755), {means[2]:.2f} hidden nodes (2.35), "
        f"{means[3]:.2f} connections (7.48)",
        flush=True,
    )


def pole(seeds: int = 20) -> None:
    """The paper's hardest: two poles on one cart without velocities."""
    from double_pole import solve

    found = []
    for seed in range(seeds):
        start = time.perf_counter()
        solution = solve(seed)
        found.append(solution)
        print(f"    seed {seed}: {solution} ({time.perf_counter() - start:.0f} s)", flush=True)
    solved = [one for one in found if one.network is not None]
    print(
        f"double pole without velocities: {len(solved)} of {seeds} seeds solved; on average "
        f"{np.mean([one.evaluations for one in solved]):,.0f} evaluations (paper: 33,184), "
        f"{np.mean([one.generations for one in solved]):.0f} generations (24), "
        f"{np.mean([one.generalization for one in solved]):.0f} of 625 starts balanced (286)",
        flush=True,
    )


def main() -> None:
    parts = {"generation": generation, "activation": activation, "xor": xor, "pole": pole}
    chosen = sys.argv[1:] or list(parts)
    describe("neat-python")
    for name in chosen:
        parts[name]()


if __name__ == "__main__":
    main()
