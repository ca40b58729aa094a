#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "helpers.hpp"
#include "nasx/neat.hpp"
#include "nasx/neat_fitness.hpp"
#include "nasx/neat_graph.hpp"
#include "nasx/neat_networks.hpp"
#include "nasx/parallel.hpp"

using namespace nasx;
using namespace nasx::neat;
using nasx::test::has;
using nasx::test::refusal;

namespace {

// Two inputs, a bias (2), an output (3), and as many hidden nodes as links name.
Genome genome_of(std::initializer_list<Link> links) {
    Genome genome;
    std::set<std::int32_t> ids{3};
    for (const Link& link : links) {
        genome.links.push_back(link);
        for (const std::int32_t id : {link.source, link.target}) {
            if (id > 3) {
                ids.insert(id);
            }
        }
    }
    for (const std::int32_t id : ids) {
        genome.nodes.push_back({id, static_cast<std::uint8_t>(Activation::identity)});
    }
    return genome;
}

Topology small(bool recurrent = false) {
    return {2, 1, true, recurrent, {static_cast<std::uint8_t>(Activation::identity)}, {0}};
}

Genomes batch(std::initializer_list<Genome> genomes) {
    Genomes out;
    for (const Genome& genome : genomes) {
        out.append(genome.view());
    }
    return out;
}

// Tells the number of connections as the loss, plus something of the weights.
void tell(Neat& neat, const Genomes& genomes) {
    std::vector<double> losses, violations(genomes.size(), 0.0);
    for (std::size_t i = 0; i < genomes.size(); ++i) {
        double loss = -static_cast<double>(genomes[i].links.size());
        for (const Link& link : genomes[i].links) {
            loss += std::abs(link.weight - 0.5) / 10;
        }
        losses.push_back(loss);
    }
    neat.tell(genomes, {losses.data(), losses.size(), 1}, violations);
}

Genomes run(Settings settings, bool recurrent, std::size_t generations, std::uint64_t seed = 0) {
    Topology topology = small(recurrent);
    Neat neat(topology, settings, 1, seed);
    Genomes all;
    while (neat.generation() < generations) {
        const Genomes asked = neat.propose(neat.ahead());
        all.append(asked);
        tell(neat, asked);
    }
    return all;
}

Settings busy() {
    Settings settings;
    settings.population_size = 60;
    settings.reproduction.mutation.add_node = 0.3;
    settings.reproduction.mutation.add_connection = 0.4;
    settings.reproduction.mutation.toggle = 0.1;
    settings.reproduction.interspecies = 0.1;
    return settings;
}

}  // namespace

TEST_CASE("the distance counts excess, disjoint and matching genes") {
    const Genome a = genome_of({{1.0, 0, 0, 3}, {2.0, 1, 1, 3}, {3.0, 4, 1, 4}, {1.0, 5, 4, 3}});
    const Genome b = genome_of({{0.5, 0, 0, 3}, {1.0, 2, 2, 3}, {2.0, 4, 1, 4}});
    Compatibility c{1.0, 10.0, 100.0, 20};
    // Matching 0 and 4: (0.5 + 1) / 2. Disjoint 1 and 2, excess 5.
    CHECK(c.distance(a.view(), b.view()) == doctest::Approx(1 + 20 + 75));
    CHECK(c.distance(b.view(), a.view()) == c.distance(a.view(), b.view()));
    CHECK(c.distance(a.view(), a.view()) == 0.0);
    c.small = 4;  // the larger has 4 genes
    CHECK(c.distance(a.view(), b.view()) == doctest::Approx(0.25 + 5 + 75));
    CHECK(c.distance(Genome{}.view(), Genome{}.view()) == 0.0);
    CHECK(c.distance(Genome{}.view(), a.view()) == 1.0);
}

TEST_CASE("equal mutations of one generation get equal numbers, later ones get new ones") {
    Innovations innovations(small());
    CHECK(innovations.connections() == 3);
    const Link link{1.0, 1, 1, 3};
    const auto first = innovations.split(link), again = innovations.split(link);
    CHECK(first.node == 4);
    CHECK(first.in == 3);
    CHECK(first.out == 4);
    CHECK(again.node == first.node);
    CHECK(again.out == first.out);
    CHECK(innovations.connect(0, 4) == 5);
    CHECK(innovations.connect(0, 4) == 5);
    CHECK(innovations.connect(4, 0) == 6);
    innovations.next_generation();
    CHECK(innovations.split(link).node == 5);
    CHECK(innovations.connect(0, 4) == 9);
}

TEST_CASE("numbers of genomes from elsewhere are taken over if they mean the same") {
    Innovations innovations(small());
    innovations.adopt(genome_of({{1.0, 0, 0, 3}, {1.0, 7, 0, 8}, {1.0, 9, 8, 3}}).view(), 0);
    CHECK(innovations.connect(1, 8) == 10);
    CHECK(innovations.split({1.0, 0, 0, 3}).node == 9);
    innovations.adopt(genome_of({{1.0, 8, 1, 8}}).view(), 0);  // in a gap
    CHECK(has(refusal([&] { innovations.adopt(genome_of({{1.0, 7, 1, 8}}).view(), 3); }),
              "genome 3 is of another search: its connection 7"));
}

TEST_CASE("splitting keeps what the network computes nearly as it was") {
    Innovations innovations(small());
    Genome genome = genome_of({{0.5, 0, 0, 3}, {2.0, 1, 1, 3}});
    Growth growth;
    growth.split = 1;
    grow(growth, innovations, genome);
    REQUIRE(genome.links.size() == 4);
    CHECK(genome.links[1].enabled == 0);
    CHECK(genome.links[2] == Link{1.0, 3, 1, 4});
    CHECK(genome.links[3] == Link{2.0, 4, 4, 3});
    CHECK(genome.nodes.back().id == 4);
    CHECK(genome.view().enabled() == 3);
}

TEST_CASE("nodes split what sees inputs, in small genomes the oldest first") {
    const Topology topology = small();  // inputs 0 and 1, the bias 2, the output 3
    Mutation mutation;
    mutation.add_connection = 0;
    mutation.add_node = 1;
    const auto splits = [&](const Genome& genome) {
        std::map<std::int32_t, int> found;
        for (std::uint64_t i = 0; i < 1000; ++i) {
            Stream stream(1, Purpose::neat_child, 0, i);
            Genome child = genome;
            ++found[mutate(topology, mutation, stream, child).split];
        }
        return found;
    };
    auto found = splits(
        genome_of({{1.0, 0, 0, 3}, {1.0, 1, 1, 3, 0}, {1.0, 2, 2, 3}, {1.0, 3, 1, 4}, {1.0, 4, 4, 3}}));
    CHECK(found.size() == 3);
    CHECK(found[0] > 640);  // 700
    CHECK(found[0] < 760);
    CHECK(found[3] > 160);  // 210
    CHECK(found[3] < 260);
    CHECK(found[4] > 50);  // 90

    CHECK(splits(genome_of({{1.0, 0, 0, 3, 0}, {1.0, 2, 2, 3}}))[-1] == 1000);

    Genome large = genome_of({{1.0, 0, 0, 3}, {1.0, 1, 1, 3}, {1.0, 2, 2, 3}});
    for (std::int32_t i = 0; i < 13; ++i) {
        large.nodes.push_back({4 + i, 0, 0});
        large.links.push_back({1.0, 3 + i, i < 3 ? 2 : 1, 4 + i, i < 12});
    }
    found = splits(large);  // 16 connections: 11 of inputs, 4 of the bias, a disabled one
    CHECK(found.size() == 11);
    for (const auto& [innovation, count] : found) {
        CHECK(innovation != 2);
        CHECK(count > 50);  // 91
        CHECK(count < 140);
    }
}

TEST_CASE("a crossover has the structure of the fitter and weights of both") {
    const Genome fitter = genome_of({{1.0, 0, 0, 3}, {1.0, 1, 1, 3, 0}, {1.0, 5, 0, 5}, {1.0, 6, 5, 3}});
    const Genome other = genome_of({{2.0, 0, 0, 3}, {2.0, 1, 1, 3}, {2.0, 2, 2, 3}, {2.0, 6, 5, 3}});
    std::size_t twos = 0, disabled = 0;
    for (std::uint64_t i = 0; i < 400; ++i) {
        Stream stream(1, Purpose::neat_child, 0, i);
        Genome child;
        cross(fitter.view(), other.view(), {}, stream, child);
        REQUIRE(child.links.size() == 4);
        CHECK(child.links[2].weight == 1.0);
        twos += child.links[0].weight == 2.0;
        disabled += child.links[1].enabled == 0;
        CHECK(child.links[0].enabled == 1);
    }
    CHECK(twos > 150);
    CHECK(twos < 250);
    CHECK(disabled > 260);
    CHECK(disabled < 340);
    Stream stream(1, Purpose::neat_child, 0, 0);
    Genome child;
    cross(fitter.view(), other.view(), {1.0, 1.0}, stream, child);
    CHECK(child.links[0].weight == 1.5);
    CHECK(child.links[1].enabled == 0);
}

TEST_CASE("the graph knows cycles and ways") {
    const Topology topology = small(true);
    const Genome line = genome_of({{1.0, 3, 0, 4}, {1.0, 4, 4, 5}, {1.0, 5, 5, 3}});
    Graph graph(topology, line.view());  // vertices: 0 1 2, then 3 4 5
    CHECK(!graph.cyclic());
    CHECK(graph.reaches(0, 3));
    CHECK(graph.reaches(4, 3));
    CHECK(!graph.reaches(3, 4));
    CHECK(graph.reaches(4, 4));
    CHECK(graph.joined(4, 5));
    CHECK(!graph.joined(5, 4));
    const Genome ring = genome_of({{1.0, 3, 4, 5}, {1.0, 4, 5, 4, 0}});
    CHECK(Graph(topology, ring.view()).cyclic());
    CHECK(Graph(topology, genome_of({{1.0, 3, 4, 4}}).view()).cyclic());
}

TEST_CASE("genomes that are none are refused") {
    const Topology topology = small();
    const auto refused = [&](const Genome& genome) {
        return refusal([&] { topology.check(genome.view(), 7); });
    };
    CHECK(refused(genome_of({{1.0, 0, 0, 3}})).empty());
    CHECK(has(refused(genome_of({{1.0, 1, 0, 3}})), "genome 7 is none of this topology: connection 1"));
    CHECK(has(refused(genome_of({{1.0, 5, 0, 4}, {1.0, 4, 4, 3}})), "numbers must increase"));
    CHECK(has(refused(genome_of({{1.0, 4, 0, 4}, {1.0, 5, 0, 4}})), "joined already"));
    CHECK(has(refused(genome_of({{1.0, 4, 4, 1}})), "no output or hidden node"));
    CHECK(has(refused(genome_of({{NAN, 0, 0, 3}})), "not finite"));
    CHECK(has(refused(genome_of({{1.0, 4, 4, 5}, {1.0, 5, 5, 4}})), "cycle"));
    CHECK(has(refused(Genome{}), "0 of 1 outputs"));
    Genome strange = genome_of({{1.0, 0, 0, 3}});
    strange.nodes[0].activation = 3;
    CHECK(has(refused(strange), "activation"));
    strange = genome_of({{1.0, 9, 9, 3}});
    strange.nodes.pop_back();
    CHECK(has(refused(strange), "node 9, which is not there"));
}

TEST_CASE("genomes survive bytes, and other bytes are refused") {
    const Genomes genomes = run(busy(), false, 4);
    const std::string bytes = genomes.to_bytes();
    CHECK(Genomes::from_bytes(bytes) == genomes);
    CHECK(Genomes::from_bytes(Genomes{}.to_bytes()) == Genomes{});
    for (const std::size_t cut : {std::size_t{0}, std::size_t{3}, std::size_t{9}, bytes.size() - 1}) {
        CHECK(has(refusal([&] { Genomes::from_bytes(bytes.substr(0, cut)); }), "cut short"));
    }
    CHECK(has(refusal([&] { Genomes::from_bytes(bytes + "x"); }), "something follows"));
}

TEST_CASE("every proposal is a genome of the topology, at any number of threads") {
    for (const bool recurrent : {false, true}) {
        set_num_threads(1);
        const Genomes one = run(busy(), recurrent, 12);
        set_num_threads(2);
        CHECK(run(busy(), recurrent, 12) == one);
        std::size_t hidden = 0;
        for (std::size_t i = 0; i < one.size(); ++i) {
            small(recurrent).check(one[i], i);
            hidden += one[i].nodes.size() - 1;
        }
        CHECK(hidden > one.size());
        CHECK(!(run(busy(), recurrent, 12, 1) == one));
    }
}

TEST_CASE("asking for many is asking many times") {
    Neat whole(small(), busy(), 1, 3), single(small(), busy(), 1, 3);
    for (int round = 0; round < 30; ++round) {
        const Genomes asked = whole.propose(17);
        Genomes one_by_one;
        for (int i = 0; i < 17; ++i) {
            one_by_one.append(single.propose(1));
        }
        REQUIRE(asked == one_by_one);
        tell(whole, asked);
        for (std::size_t i = 0; i < asked.size(); ++i) {
            Genomes one;
            one.append(asked[i]);
            tell(single, one);
        }
    }
    CHECK(whole.generation() > 6);
}

TEST_CASE("species share the offspring") {
    std::vector<std::size_t> counts(3);
    apportion(std::vector<double>{1, 1, 2}, 8, counts);
    CHECK(counts == std::vector<std::size_t>{2, 2, 4});
    apportion(std::vector<double>{1, 1, 1}, 8, counts);
    CHECK(counts == std::vector<std::size_t>{3, 3, 2});
    apportion(std::vector<double>{0, 0, 0}, 7, counts);
    CHECK(counts == std::vector<std::size_t>{3, 2, 2});
    apportion(std::vector<double>{1e308, 1e308, 0}, 3, counts);
    CHECK(counts == std::vector<std::size_t>{1, 1, 1});
    apportion(std::vector<double>{0, 5, 0}, 4, counts);
    CHECK(counts == std::vector<std::size_t>{0, 4, 0});
}

TEST_CASE("fitness is the negated loss, or what it is below the worst") {
    std::vector<std::uint32_t> places(4);
    std::vector<double> fitness(4);
    const std::vector<double> none(4, 0.0);
    const std::vector<double> gains{-3, -1, 0, -3};
    rate({gains.data(), 4, 1}, none, places, fitness);
    CHECK(fitness == std::vector<double>{3, 1, 0, 3});
    CHECK(places == std::vector<std::uint32_t>{0, 2, 3, 0});
    const std::vector<double> errors{1, 2, 5, 4};
    rate({errors.data(), 4, 1}, none, places, fitness);
    CHECK(fitness == std::vector<double>{4, 3, 0, 1});
    const std::vector<double> over{0, 3, INFINITY, 1};
    rate({errors.data(), 4, 1}, over, places, fitness);
    CHECK(fitness == std::vector<double>{0, 0, 0, 0});
    CHECK(places == std::vector<std::uint32_t>{0, 2, 3, 1});
    const std::vector<double> all_over{4, 3, INFINITY, 1};
    rate({errors.data(), 4, 1}, all_over, places, fitness);
    CHECK(fitness == std::vector<double>{0, 1, 0, 3});
    const std::vector<double> two{1, 4, 4, 1, 2, 2, 5, 5};
    rate({two.data(), 4, 2}, none, places, fitness);
    CHECK(fitness[3] < fitness[2]);
    CHECK(places[3] == 3);
}

TEST_CASE("networks compute what their genes say, whatever the number of rows and the level") {
    const auto id = static_cast<std::uint8_t>(Activation::identity);
    // Hidden node 4 is twice input 0 plus the bias; the output subtracts input 1. Node 5 leads nowhere.
    const Genome genome = genome_of(
        {{-1.0, 1, 1, 3}, {9.0, 2, 2, 3, 0}, {2.0, 3, 0, 4}, {1.0, 4, 4, 3}, {1.0, 5, 2, 4}, {1.0, 6, 0, 5}});
    CHECK(genome.nodes[0].activation == id);
    const Networks networks(small(), batch({genome, genome_of({})}));
    CHECK(networks.width() == 2);
    for (const std::size_t rows : {1u, 3u, 4u, 127u, 128u, 129u, 300u}) {
        std::vector<double> x(rows * 2), out(2 * rows);
        std::iota(x.begin(), x.end(), 0.0);
        networks.evaluate({x.data(), rows, 2}, out);
        std::vector<double> twice(x);
        twice.insert(twice.end(), x.begin(), x.end());
        std::vector<double> each(2 * rows);
        networks.evaluate_each(twice, rows, each);
        CHECK(out == each);
        for (std::size_t i = 0; i < rows; ++i) {
            REQUIRE(out[i] == 2 * x[2 * i] + 1 - x[2 * i + 1]);
            REQUIRE(out[rows + i] == 0.0);
        }
    }
}

TEST_CASE("recurrent networks take one step for each connection") {
    const Genome genome = genome_of({{2.0, 3, 0, 4}, {1.0, 4, 4, 3}, {0.5, 5, 3, 3}});
    const Networks networks(small(true), batch({genome}));
    std::vector<double> state(2 * 2, 0.0), next(4), out(2), x{1, 0, 2, 0};
    std::vector<double> seen;
    for (int step = 0; step < 4; ++step) {
        networks.step(x, 2, state, next, out);
        state = next;
        seen.push_back(out[0]);
        CHECK(out[1] == 2 * out[0]);
    }
    CHECK(seen == std::vector<double>{0, 2, 3, 3.5});
    std::vector<double> rows(4);
    CHECK(has(refusal([&] { networks.evaluate({x.data(), 2, 2}, rows); }), "use step"));
    CHECK(has(refusal([&] { networks.step(x, 2, rows, next, rows); }), "out must have 2"));
}

TEST_CASE("activations agree with the C library") {
    std::vector<double> x;
    for (int i = -4000; i <= 4000; ++i) {
        x.push_back(i * 0.01);
    }
    for (const double big : {1e-300, -1e-9, 1e3, -1e3, 1e5, 700.0, -745.0}) {
        x.push_back(big);
    }
    x.resize((x.size() + 3) / 4 * 4, 0.0);
    const auto check = [&](Activation kind, auto&& expected) {
        std::vector<double> found(x);
        activate(kind, found);
        for (std::size_t i = 0; i < x.size(); ++i) {
            const double wanted = expected(x[i]);
            REQUIRE(std::abs(found[i] - wanted) <= 1e-14 * std::max(1.0, std::abs(wanted)));
        }
    };
    check(Activation::sigmoid, [](double v) { return 1 / (1 + std::exp(-v)); });
    check(Activation::steep_sigmoid, [](double v) { return 1 / (1 + std::exp(-4.9 * v)); });
    check(Activation::tanh, [](double v) { return std::tanh(v); });
    check(Activation::relu, [](double v) { return v > 0 ? v : 0.0; });
    check(Activation::gauss, [](double v) { return std::exp(-v * v); });
    check(Activation::sin, [](double v) { return std::sin(v); });
    check(Activation::identity, [](double v) { return v; });
    check(Activation::softplus,
          [](double v) { return std::max(v, 0.0) + std::log1p(std::exp(-std::abs(v))); });
    for (int kind = 0; kind < 8; ++kind) {
        std::vector<double> nan(4, NAN);
        activate(static_cast<Activation>(kind), nan);
        CHECK(std::isnan(nan[2]));
    }
}

TEST_CASE("results that are refused leave an evolution as it was") {
    Settings settings;
    settings.population_size = 4;
    Neat neat(small(), settings, 1, 0);
    const Genomes asked = neat.propose(4);
    std::vector<double> losses{1, 2, NAN, 4}, violations{0, 0, 0, 0};
    const auto tell = [&] { return refusal([&] { neat.tell(asked, {losses.data(), 4, 1}, violations); }); };
    CHECK(has(tell(), "losses holds NaN in row 2"));
    losses[2] = 3;
    violations[1] = NAN;
    CHECK(has(tell(), "violations holds NaN in row 1"));
    CHECK(neat.generation() == 0);
    violations[1] = 0;
    CHECK(tell().empty());
    CHECK(neat.generation() == 1);
    CHECK(neat.propose(6).size() > 0);
}

TEST_CASE("bad settings are named") {
    const auto refused = [](auto&& change) {
        Settings settings;
        change(settings);
        return refusal([&] { Neat(small(), settings, 1, 0); });
    };
    CHECK(has(refused([](Settings& s) { s.population_size = 1; }), "population_size"));
    CHECK(has(refused([](Settings& s) { s.threshold = 0; }), "compatibility_threshold"));
    CHECK(has(refused([](Settings& s) { s.reproduction.mutation.add_node = 1.5; }), "add_node"));
    CHECK(has(refused([](Settings& s) { s.reproduction.mutation.power = NAN; }), "weight_power"));
    CHECK(has(refused([](Settings& s) { s.reproduction.survival = -1; }), "survival"));
    CHECK(has(refusal([] { Neat(small(), {}, 0, 0); }), "objectives"));
    Topology none = small();
    none.inputs = 0;
    CHECK(has(refusal([&] { none.check(); }), "inputs must be in 1.."));
    none = small();
    none.activations = {0, 0};
    CHECK(has(refusal([&] { none.check(); }), "activations must not hold one twice"));
}
