"""NEAT with dictionaries, one genome after another, for one objective and no violations but failures."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field

from reference.philox import Stream


@dataclass
class Link:
    source: int
    target: int
    weight: float
    enabled: bool = True


@dataclass
class Genome:
    """Nodes by id: (activation, aggregation) as numbers; links by innovation number."""

    nodes: dict[int, tuple[int, int]] = field(default_factory=dict)
    links: dict[int, Link] = field(default_factory=dict)

    def sort(self) -> Genome:
        self.nodes = dict(sorted(self.nodes.items()))
        self.links = dict(sorted(self.links.items()))
        return self


def symmetric(stream: Stream, size: float) -> float:
    return (stream.next_u32() * 2.0**-31 - 1.0) * size


def reaches(genome: Genome, start: int, end: int) -> bool:
    seen, todo = set(), [start]
    while todo:
        node = todo.pop()
        if node == end:
            return True
        if node not in seen:
            seen.add(node)
            todo += [link.target for link in genome.links.values() if link.source == node]
    return False


def distance(a: Genome, b: Genome, excess: float, disjoint: float, weight: float, small: int) -> float:
    matching = [i for i in a.links if i in b.links]
    ends = [max(g.links, default=-1) for g in (a, b)]
    apart = [i for i in (*a.links, *b.links) if (i in a.links) != (i in b.links)]
    far = [i for i in apart if i > min(ends)]
    larger = max(len(a.links), len(b.links))
    n = 1 if larger < small or larger == 0 else larger
    total = 0.0
    for i in matching:
        total += abs(a.links[i].weight - b.links[i].weight)
    mean = total / len(matching) if matching else 0.0
    return excess * len(far) / n + disjoint * (len(apart) - len(far)) / n + weight * mean


def cross(fitter: Genome, other: Genome, average: float, keep_disabled: float, stream: Stream) -> Genome:
    child = copy.deepcopy(fitter)
    for i, gene in child.nodes.items():
        if i in other.nodes and other.nodes[i] != gene and stream.bernoulli(0.5):
            child.nodes[i] = other.nodes[i]
    averaged = average > 0 and stream.bernoulli(average)
    for i, link in child.links.items():
        disabled = not link.enabled
        if i in other.links:
            disabled = disabled or not other.links[i].enabled
            if averaged:
                link.weight = (link.weight + other.links[i].weight) / 2
            elif stream.bernoulli(0.5):
                link.weight = other.links[i].weight
        link.enabled = not (disabled and stream.bernoulli(keep_disabled))
    return child


@dataclass
class Species:
    number: int
    representative: Genome
    created: int
    improved: int
    best: float = math.inf
    members: list[int] = field(default_factory=list)


class ReferenceNEAT:
    """`space` and `strategy` are those of nasx, read for their settings only."""

    def __init__(self, space, strategy, seed: int) -> None:
        self.s, self.seed = strategy, seed
        self.inputs, self.outputs, self.recurrent = space.inputs, space.outputs, space.recurrent
        self.sources = space.inputs + space.bias
        self.hidden = self.sources + space.outputs
        self.initial = space.initial_connections
        from nasx.spaces.networks import ACTIVATIONS, AGGREGATIONS

        self.activations = [ACTIVATIONS.index(a) for a in space.activations]
        self.aggregations = [AGGREGATIONS.index(a) for a in space.aggregations]
        self.generation = 0
        self.next_node, self.next_link = self.hidden, self.sources * self.outputs
        self.inventions: dict = {}
        self.threshold = strategy.compatibility_threshold
        self.species: list[Species] = []
        self.species_count = 0
        self.best, self.improved = math.inf, 0
        self.parents: list[Genome] = []
        self.told: list[tuple[Genome, float]] = []
        self.known: list[Genome] = []
        self.queue = [child for i in range(strategy.population_size) for child in self.child(i)]
        self.made = strategy.population_size

    # -- asking and telling ----------------------------------------------------------------------------------

    def ask(self) -> Genome:
        while True:
            if not self.queue:
                self.queue = self.child(self.made)
                self.made += 1
                continue
            genome = self.queue.pop(0)
            if self.s.allow_repeats or genome not in self.known:
                self.known.append(genome)
                return genome

    def tell(self, genome: Genome, loss: float) -> None:
        """Infinite for a failure."""
        self.told.append((genome, loss))
        if len(self.told) >= self.s.population_size:
            self.close()

    def child(self, i: int) -> list[Genome]:
        """Make child number i; none if it equals a parent, whose result it takes over while there is room."""
        if self.generation == 0:
            return [self.start(Stream("neat_start", self.seed, 0, i))]
        genome, growth = self.breed(i)
        if growth:
            self.grow(genome, growth)
        elif not self.s.allow_repeats and genome in self.parents:
            if i >= self.s.population_size:
                return []
            self.told.append((genome, self.losses[self.parents.index(genome)]))
            return []
        return [genome]

    def close(self) -> None:
        s = self.s
        self.parents, self.losses = [g for g, _ in self.told], [loss for _, loss in self.told]
        self.told = []
        self.generation += 1
        self.speciate()
        if s.target_species and len(self.species) != s.target_species:
            step = s.threshold_step if len(self.species) > s.target_species else -s.threshold_step
            self.threshold = max(self.threshold + step, s.threshold_step)
        finished = [loss for loss in self.losses if loss < math.inf]
        worst = max([0.0, *finished])
        self.fitness = [worst - loss if loss < math.inf else 0.0 for loss in self.losses]
        for one in self.species:
            one.members.sort(key=lambda i: (self.losses[i], i))
            for i in one.members:
                if self.losses[i] < one.best:
                    one.best, one.improved = self.losses[i], self.generation
                if self.losses[i] < self.best:
                    self.best, self.improved = self.losses[i], self.generation
        self.plan()
        for one in self.species:
            stream = Stream("neat_representative", self.seed, self.generation, one.number)
            one.representative = self.parents[one.members[stream.below(len(one.members))]]
        self.inventions = {}
        self.queue = [child for i in range(s.population_size) for child in self.child(i)]
        self.made = s.population_size

    # -- species ---------------------------------------------------------------------------------------------

    def speciate(self) -> None:
        s = self.s
        old = self.species
        for one in old:
            one.members = []
        self.species = list(old)
        for i, genome in enumerate(self.parents):
            for one in self.species:
                d = distance(
                    genome,
                    one.representative,
                    s.excess_coefficient,
                    s.disjoint_coefficient,
                    s.weight_coefficient,
                    s.small_genome,
                )
                if d < self.threshold:
                    break
            else:
                one = Species(self.species_count, genome, self.generation, self.generation)
                self.species_count += 1
                self.species.append(one)
            one.members.append(i)
        self.species = [one for one in self.species if one.members]

    def plan(self) -> None:
        s = self.s
        by_best = sorted(self.species, key=lambda one: self.losses[one.members[0]])
        if self.generation - self.improved > s.population_stagnation:
            eligible = by_best[:2]
            for one in eligible:
                one.improved = self.generation
            self.improved = self.generation
        else:
            eligible = [
                one
                for place, one in enumerate(by_best)
                if place < s.protected_species or self.generation - one.improved <= s.stagnation
            ] or by_best
        breeders = [one for one in self.species if any(one is other for other in eligible)]
        shares = []
        for one in breeders:
            total = 0.0
            for i in one.members:
                total += self.fitness[i]
            shares.append(total / len(one.members))
        counts = apportion(shares, s.population_size)
        self.breeders = [one for one, count in zip(breeders, counts, strict=True) if count]
        self.slots = []
        for one, count in zip(breeders, counts, strict=True):
            copied = len(one.members) >= s.champion_from
            self.slots += [(one, copied and i == 0) for i in range(count)]

    # -- children --------------------------------------------------------------------------------------------

    def start(self, stream: Stream) -> Genome:
        genome = Genome({i: self.draw(stream) for i in range(self.sources, self.hidden)})
        everything = self.sources * self.outputs
        certain = stream.below(everything) if self.initial < 1 else 0
        for i in range(everything):
            if self.initial >= 1 or i == certain or stream.bernoulli(self.initial):
                weight = symmetric(stream, self.s.weight_range)
                genome.links[i] = Link(i % self.sources, self.sources + i // self.sources, weight)
        return genome

    def draw(self, stream: Stream) -> tuple[int, int]:
        return tuple(  # type: ignore[return-value]
            choices[stream.below(len(choices))] if len(choices) > 1 else choices[0]
            for choices in (self.activations, self.aggregations)
        )

    def breed(self, i: int) -> tuple[Genome, dict]:
        s = self.s
        own, champion = self.slots[i % len(self.slots)]
        if champion and i < len(self.slots):
            return copy.deepcopy(self.parents[own.members[0]]), {}
        stream = Stream("neat_child", self.seed, self.generation, i)

        def survivors(one: Species) -> list[int]:
            return one.members[: max(1, math.ceil(s.survival * len(one.members)))]

        mother = father = survivors(own)[stream.below(len(survivors(own)))]
        if not stream.bernoulli(s.mutation_only):
            if len(self.breeders) > 1 and stream.bernoulli(s.interspecies_mating):
                others = [one for one in self.breeders if one is not own]
                other = others[stream.below(len(others))]
                father = survivors(other)[stream.below(len(survivors(other)))]
            elif len(survivors(own)) > 1:
                father = survivors(own)[stream.below(len(survivors(own)) - 1)]
                father = survivors(own)[-1] if father == mother else father
        if father == mother:
            genome = copy.deepcopy(self.parents[mother])
        else:
            parents = sorted(
                (mother, father),
                key=lambda i: (min(self.losses[i], math.inf), len(self.parents[i].links), i != mother),
            )
            a, b = (self.parents[i] for i in parents)
            genome = cross(a, b, s.averaging_crossover, s.keep_disabled, stream)
        return genome, self.mutate(genome, stream)

    def mutate(self, genome: Genome, stream: Stream) -> dict:
        s = self.s
        growth: dict = {}
        if stream.bernoulli(s.add_connection):
            vertices = [*range(self.sources), *genome.nodes]
            joined = {(link.source, link.target) for link in genome.links.values()}
            for _ in range(64):
                source = vertices[stream.below(len(vertices))]
                target = list(genome.nodes)[stream.below(len(genome.nodes))]
                if (source, target) in joined or (not self.recurrent and reaches(genome, target, source)):
                    continue
                growth["connect"] = (source, target, symmetric(stream, s.weight_range))
                break
        if stream.bernoulli(s.add_node):
            split = self.choose_split(genome, stream)
            if split is not None:
                growth["split"] = (split, self.draw(stream))
        if growth:
            return growth
        if stream.bernoulli(s.weight_mutation):
            for link in genome.links.values():
                if stream.bernoulli(s.weight_perturbation):
                    weight = link.weight + symmetric(stream, s.weight_power)
                else:
                    weight = symmetric(stream, s.weight_range)
                link.weight = min(max(weight, -s.weight_limit), s.weight_limit)
        if s.toggle_connection > 0 and genome.links and stream.bernoulli(s.toggle_connection):
            link = list(genome.links.values())[stream.below(len(genome.links))]
            link.enabled = not link.enabled
        for which, choices, rate in (
            (0, self.activations, s.activation_mutation),
            (1, self.aggregations, s.aggregation_mutation),
        ):
            if len(choices) > 1 and stream.bernoulli(rate):
                node = list(genome.nodes)[stream.below(len(genome.nodes))]
                now = list(genome.nodes[node])
                drawn = choices[stream.below(len(choices) - 1)]
                now[which] = choices[-1] if drawn == now[which] else drawn
                genome.nodes[node] = tuple(now)  # type: ignore[assignment]
        return growth

    def choose_split(self, genome: Genome, stream: Stream) -> int | None:
        """Choose a connection for a new node: none from the bias, old ones first in small genomes."""
        bias = self.inputs if self.sources > self.inputs else None
        open_ones = [i for i, link in genome.links.items() if link.enabled and link.source != bias]
        if not open_ones:
            return None
        if len(genome.links) >= 15:
            return open_ones[stream.below(len(open_ones))]
        for i in open_ones[:-1]:
            if not stream.bernoulli(0.3):
                return i
        return open_ones[-1]

    def grow(self, genome: Genome, growth: dict) -> None:
        def number(source: int, target: int, key: tuple) -> int:
            if key not in self.inventions:
                self.inventions[key] = self.next_link
                self.next_link += 1
            return self.inventions[key]

        if "connect" in growth:
            source, target, weight = growth["connect"]
            genome.links[number(source, target, ("link", source, target))] = Link(source, target, weight)
        if "split" in growth:
            i, what = growth["split"]
            old = genome.links[i]
            old.enabled = False
            if ("node", i) not in self.inventions:
                self.inventions["node", i] = self.next_node
                self.next_node += 1
            node = self.inventions["node", i]
            genome.nodes[node] = what
            genome.links[number(old.source, node, ("in", i))] = Link(old.source, node, 1.0)
            genome.links[number(node, old.target, ("out", i))] = Link(node, old.target, old.weight)
        genome.sort()


def apportion(shares: list[float], total: int) -> list[int]:
    whole = 0.0
    for share in shares:
        whole += share
    exact = [total * (share / whole if 0 < whole < math.inf else 1 / len(shares)) for share in shares]
    counts = [int(x) for x in exact]
    order = sorted(range(len(shares)), key=lambda i: counts[i] - exact[i])
    for i in range(total - sum(counts)):
        counts[order[i % len(order)]] += 1
    return counts


# -- networks ------------------------------------------------------------------------------------------------

ACTIVATIONS = {
    "steep_sigmoid": lambda x: 1 / (1 + math.exp(-4.9 * x)),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "relu": lambda x: max(x, 0.0),
    "gauss": lambda x: math.exp(-x * x),
    "sin": math.sin,
    "identity": lambda x: x,
    "softplus": lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
}
AGGREGATIONS = {
    "sum": sum,
    "mean": lambda terms: sum(terms) / len(terms),
    "max": max,
    "product": math.prod,
}


def node_value(network, node: int, read) -> float:
    """What a node does with what `read` says of its sources."""
    what = next(gene for gene in network["nodes"] if gene["id"] == node)
    terms = [
        link["weight"] * read(link["source"])
        for link in network["connections"]
        if link["enabled"] and link["target"] == node
    ]
    total = AGGREGATIONS[what["aggregation"]](terms) if terms else 0.0
    return ACTIVATIONS[what["activation"]](total)


def outputs_of(network) -> range:
    first = network.space.inputs + network.space.bias
    return range(first, first + network.space.outputs)


def feed_forward(network, x) -> list[float]:
    def read(node: int) -> float:
        if node < network.space.inputs:
            return x[node]
        if node == network.space.inputs and network.space.bias:
            return 1.0
        return node_value(network, node, read)

    return [read(node) for node in outputs_of(network)]


def recurrent(network, xs) -> list[list[float]]:
    """Outputs after each step."""
    state = {gene["id"]: 0.0 for gene in network["nodes"]}
    found = []
    for x in xs:

        def read(node: int, x=x, before=state) -> float:
            if node < network.space.inputs:
                return x[node]
            return before.get(node, 1.0)

        state = {node: node_value(network, node, read) for node in state}
        found.append([state[node] for node in outputs_of(network)])
    return found
