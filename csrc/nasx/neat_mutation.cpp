#include "nasx/neat_mutation.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "nasx/neat_graph.hpp"

namespace nasx::neat {
namespace {

constexpr int tries = 64;
// Genomes with fewer connections split the old ones first, each passed over with this probability.
constexpr std::size_t few_links = 15;
constexpr double passed_over = 0.3;

std::uint32_t draw(Stream& stream, std::size_t n) {
    return stream.below(static_cast<std::uint32_t>(n));
}

void mutate_weights(const Mutation& mutation, Stream& stream, Genome& genome) {
    for (Link& link : genome.links) {
        const double weight = stream.bernoulli(mutation.perturbed)
                                  ? link.weight + symmetric(stream, mutation.power)
                                  : symmetric(stream, mutation.range);
        link.weight = std::clamp(weight, -mutation.limit, mutation.limit);
    }
}

// Another one of at least two.
std::uint8_t other(const std::vector<std::uint8_t>& choices, std::uint8_t now, Stream& stream) {
    const std::uint8_t drawn = choices[draw(stream, choices.size() - 1)];
    return drawn == now ? choices.back() : drawn;
}

void add_connection(const Topology& topology, const Mutation& mutation, Stream& stream, const Genome& genome,
                    Growth& growth) {
    Graph graph(topology, genome.view());
    for (int i = 0; i < tries; ++i) {
        const std::size_t source = draw(stream, graph.size());
        const std::size_t target = graph.sources() + draw(stream, genome.nodes.size());
        if (graph.joined(source, target) || (!topology.recurrent && graph.reaches(target, source))) {
            continue;
        }
        growth.source = source < graph.sources() ? static_cast<std::int32_t>(source)
                                                 : genome.nodes[source - graph.sources()].id;
        growth.target = genome.nodes[target - graph.sources()].id;
        growth.weight = symmetric(stream, mutation.range);
        return;
    }
}

void add_node(const Topology& topology, Stream& stream, const Genome& genome, Growth& growth) {
    const auto open = [&](const Link& link) {
        return link.enabled != 0 && !(topology.bias && link.source == topology.inputs);
    };
    std::size_t left = static_cast<std::size_t>(std::ranges::count_if(genome.links, open));
    if (left == 0) {
        return;
    }
    const bool oldest_first = genome.links.size() < few_links;
    if (!oldest_first) {
        left = draw(stream, left) + 1;
    }
    for (const Link& link : genome.links) {
        if (open(link) && (--left == 0 || (oldest_first && !stream.bernoulli(passed_over)))) {
            growth.split = link.innovation;
            break;
        }
    }
    growth.activation = topology.draw_activation(stream);
    growth.aggregation = topology.draw_aggregation(stream);
}

// Innovations of one generation may reach a genome in any order.
void insert(std::vector<Link>& links, const Link& link) {
    const auto place = std::find_if(links.rbegin(), links.rend(), [&](const Link& other) {
                           return other.innovation < link.innovation;
                       }).base();
    links.insert(place, link);
}

}  // namespace

void Mutation::check() const {
    const auto refuse = [](const char* name, const char* expected, double value) {
        throw std::invalid_argument(std::string(name) + " must be " + expected + "; got " +
                                    std::to_string(value));
    };
    const std::pair<const char*, double> shares[] = {{"weight_mutation", weights},
                                                     {"weight_perturbation", perturbed},
                                                     {"add_node", add_node},
                                                     {"add_connection", add_connection},
                                                     {"toggle_connection", toggle},
                                                     {"activation_mutation", activation},
                                                     {"aggregation_mutation", aggregation}};
    for (const auto& [name, value] : shares) {
        if (!(value >= 0 && value <= 1)) {
            refuse(name, "in 0..1", value);
        }
    }
    const std::pair<const char*, double> sizes[] = {
        {"weight_power", power}, {"weight_range", range}, {"weight_limit", limit}};
    for (const auto& [name, value] : sizes) {
        if (!(value > 0 && std::isfinite(value))) {
            refuse(name, "positive", value);
        }
    }
}

Growth mutate(const Topology& topology, const Mutation& mutation, Stream& stream, Genome& genome) {
    Growth growth;
    if (stream.bernoulli(mutation.add_connection)) {
        add_connection(topology, mutation, stream, genome, growth);
    }
    if (stream.bernoulli(mutation.add_node)) {
        add_node(topology, stream, genome, growth);
    }
    if (growth.any()) {
        return growth;
    }
    if (stream.bernoulli(mutation.weights)) {
        mutate_weights(mutation, stream, genome);
    }
    if (mutation.toggle > 0 && !genome.links.empty() && stream.bernoulli(mutation.toggle)) {
        Link& link = genome.links[draw(stream, genome.links.size())];
        link.enabled = 1 - link.enabled;
    }
    if (topology.activations.size() > 1 && stream.bernoulli(mutation.activation)) {
        Node& node = genome.nodes[draw(stream, genome.nodes.size())];
        node.activation = other(topology.activations, node.activation, stream);
    }
    if (topology.aggregations.size() > 1 && stream.bernoulli(mutation.aggregation)) {
        Node& node = genome.nodes[draw(stream, genome.nodes.size())];
        node.aggregation = other(topology.aggregations, node.aggregation, stream);
    }
    return growth;
}

void grow(const Growth& growth, Innovations& innovations, Genome& genome) {
    if (growth.source >= 0) {
        insert(genome.links, {growth.weight, innovations.connect(growth.source, growth.target), growth.source,
                              growth.target});
    }
    if (growth.split >= 0) {
        const auto found =
            std::lower_bound(genome.links.begin(), genome.links.end(), growth.split,
                             [](const Link& link, std::int32_t wanted) { return link.innovation < wanted; });
        const Link old = *found;
        found->enabled = 0;
        const auto [node, in, out] = innovations.split(old);
        const auto place = std::find_if(genome.nodes.rbegin(), genome.nodes.rend(), [&](const Node& other) {
                               return other.id < node;
                           }).base();
        genome.nodes.insert(place, {node, growth.activation, growth.aggregation});
        insert(genome.links, {1.0, in, old.source, node});
        insert(genome.links, {old.weight, out, node, old.target});
    }
}

}  // namespace nasx::neat
