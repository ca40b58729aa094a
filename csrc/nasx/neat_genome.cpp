#include "nasx/neat_genome.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <set>
#include <stdexcept>
#include <utility>

#include "nasx/neat_graph.hpp"

namespace nasx::neat {
namespace {

static_assert(std::endian::native == std::endian::little, "genomes are written as they are in memory");
static_assert(sizeof(Node) == 8 && sizeof(Link) == 24, "genes have no padding");

std::uint64_t mix(std::uint64_t hash, std::uint64_t word) {
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    return hash ^ (hash >> 29);
}

// Each word of a gene has a chain of its own, so that the CPU goes along all of them at once.
template <std::size_t words, class T>
std::uint64_t mix_genes(std::uint64_t hash, std::span<const T> genes) {
    static_assert(sizeof(T) == 8 * words);
    std::uint64_t chains[words];
    for (std::size_t k = 0; k < words; ++k) {
        chains[k] = hash + k;
    }
    for (const T& gene : genes) {
        std::uint64_t parts[words];
        std::memcpy(parts, &gene, sizeof gene);
        for (std::size_t k = 0; k < words; ++k) {
            chains[k] = mix(chains[k], parts[k]);
        }
    }
    hash = mix(hash, genes.size());
    for (const std::uint64_t chain : chains) {
        hash = mix(hash, chain);
    }
    return hash;
}

void require(bool holds, const char* argument, const std::string& expected) {
    if (!holds) {
        throw std::invalid_argument(std::string(argument) + " must " + expected);
    }
}

void check_choice(const std::vector<std::uint8_t>& choices, std::size_t known, const char* name) {
    require(!choices.empty(), name, "hold at least one");
    for (std::size_t i = 0; i < choices.size(); ++i) {
        require(choices[i] < known, name, "hold known ones only");
        require(std::find(choices.begin(), choices.begin() + static_cast<std::ptrdiff_t>(i), choices[i]) ==
                    choices.begin() + static_cast<std::ptrdiff_t>(i),
                name, "not hold one twice");
    }
}

bool holds(const std::vector<std::uint8_t>& choices, std::uint8_t choice) {
    return std::find(choices.begin(), choices.end(), choice) != choices.end();
}

void put(std::string& out, std::uint32_t number) {
    out.append(reinterpret_cast<const char*>(&number), sizeof number);
}

// Reads from the front.
template <class T>
void take(std::string_view& bytes, T* out, std::size_t count) {
    if (bytes.size() / sizeof(T) < count) {
        throw std::invalid_argument("genomes are cut short");
    }
    if (count > 0) {
        std::memcpy(out, bytes.data(), count * sizeof(T));
    }
    bytes.remove_prefix(count * sizeof(T));
}

}  // namespace

std::size_t GenomeView::find(std::int32_t id) const {
    const auto found =
        std::lower_bound(nodes.begin(), nodes.end(), id,
                         [](const Node& node, std::int32_t wanted) { return node.id < wanted; });
    return found != nodes.end() && found->id == id ? static_cast<std::size_t>(found - nodes.begin())
                                                   : nodes.size();
}

std::size_t GenomeView::enabled() const {
    return static_cast<std::size_t>(
        std::count_if(links.begin(), links.end(), [](const Link& link) { return link.enabled != 0; }));
}

std::uint64_t GenomeView::hash() const {
    return mix_genes<3>(mix_genes<1>(0x243F6A8885A308D3u, nodes), links);
}

bool GenomeView::operator==(const GenomeView& other) const {
    return std::ranges::equal(nodes, other.nodes) && std::ranges::equal(links, other.links);
}

void Genome::assign(GenomeView other) {
    nodes.assign(other.nodes.begin(), other.nodes.end());
    links.assign(other.links.begin(), other.links.end());
}

GenomeView Genomes::operator[](std::size_t i) const {
    const std::size_t node = i == 0 ? 0 : node_ends_[i - 1], link = i == 0 ? 0 : link_ends_[i - 1];
    return {std::span(nodes_).subspan(node, node_ends_[i] - node),
            std::span(links_).subspan(link, link_ends_[i] - link)};
}

void Genomes::append(GenomeView genome) {
    nodes_.insert(nodes_.end(), genome.nodes.begin(), genome.nodes.end());
    links_.insert(links_.end(), genome.links.begin(), genome.links.end());
    node_ends_.push_back(nodes_.size());
    link_ends_.push_back(links_.size());
}

void Genomes::append(const Genomes& others) {
    const std::size_t nodes = nodes_.size(), links = links_.size();
    nodes_.insert(nodes_.end(), others.nodes_.begin(), others.nodes_.end());
    links_.insert(links_.end(), others.links_.begin(), others.links_.end());
    for (std::size_t i = 0; i < others.size(); ++i) {
        node_ends_.push_back(nodes + others.node_ends_[i]);
        link_ends_.push_back(links + others.link_ends_[i]);
    }
}

void Genomes::clear() {
    node_ends_.clear();
    link_ends_.clear();
    nodes_.clear();
    links_.clear();
}

void Genomes::reserve(std::size_t genomes, std::size_t nodes, std::size_t links) {
    node_ends_.reserve(genomes);
    link_ends_.reserve(genomes);
    nodes_.reserve(nodes);
    links_.reserve(links);
}

std::string Genomes::to_bytes() const {
    std::string out;
    out.reserve(4 + 8 * size() + std::span(nodes_).size_bytes() + std::span(links_).size_bytes());
    put(out, static_cast<std::uint32_t>(size()));
    for (std::size_t i = 0; i < size(); ++i) {
        put(out, static_cast<std::uint32_t>((*this)[i].nodes.size()));
        put(out, static_cast<std::uint32_t>((*this)[i].links.size()));
    }
    out.append(reinterpret_cast<const char*>(nodes_.data()), std::span(nodes_).size_bytes());
    out.append(reinterpret_cast<const char*>(links_.data()), std::span(links_).size_bytes());
    return out;
}

Genomes Genomes::from_bytes(std::string_view bytes) {
    std::uint32_t n = 0;
    take(bytes, &n, 1);
    if (bytes.size() / 8 < n) {
        throw std::invalid_argument("genomes are cut short");
    }
    Genomes out;
    std::size_t nodes = 0, links = 0;
    for (std::uint32_t i = 0; i < n; ++i) {
        std::uint32_t sizes[2];
        take(bytes, sizes, 2);
        out.node_ends_.push_back(nodes += sizes[0]);
        out.link_ends_.push_back(links += sizes[1]);
    }
    if (bytes.size() != nodes * sizeof(Node) + links * sizeof(Link)) {
        throw std::invalid_argument("genomes are cut short, or something follows them");
    }
    out.nodes_.resize(nodes);
    out.links_.resize(links);
    take(bytes, out.nodes_.data(), nodes);
    take(bytes, out.links_.data(), links);
    for (Node& node : out.nodes_) {
        node.unused = 0;
    }
    for (Link& link : out.links_) {
        link.enabled = link.enabled != 0;
    }
    return out;
}

void Topology::check() const {
    constexpr std::int32_t most = 1 << 20;
    require(inputs >= 1 && inputs <= most, "inputs",
            "be in 1.." + std::to_string(most) + "; got " + std::to_string(inputs));
    require(outputs >= 1 && outputs <= most, "outputs",
            "be in 1.." + std::to_string(most) + "; got " + std::to_string(outputs));
    require(std::int64_t{sources()} * outputs <= std::numeric_limits<std::int32_t>::max() / 2, "inputs",
            "give at most 2^30 connections to the outputs");
    check_choice(activations, std::size(activation_names), "activations");
    check_choice(aggregations, std::size(aggregation_names), "aggregations");
}

void Topology::check(GenomeView genome, std::size_t number) const {
    const auto refuse = [&](const std::string& what) {
        throw std::invalid_argument("genome " + std::to_string(number) +
                                    " is none of this topology: " + what);
    };
    std::int32_t last = sources() - 1;
    std::int32_t found_outputs = 0;
    for (const Node& node : genome.nodes) {
        const std::string name = "node " + std::to_string(node.id);
        if (node.id <= last) {
            refuse(name + " follows node " + std::to_string(last) + "; ids must increase behind the inputs");
        }
        last = node.id;
        found_outputs += node.id < first_hidden();
        if (!holds(activations, node.activation)) {
            refuse(name + " has an activation that is not among the topology's");
        }
        if (!holds(aggregations, node.aggregation)) {
            refuse(name + " has an aggregation that is not among the topology's");
        }
    }
    if (found_outputs != outputs) {
        refuse("it has " + std::to_string(found_outputs) + " of " + std::to_string(outputs) + " outputs");
    }
    std::set<std::pair<std::int32_t, std::int32_t>> ends;
    last = -1;
    for (const Link& link : genome.links) {
        const std::string name = "connection " + std::to_string(link.innovation);
        if (link.innovation <= last) {
            refuse(name + " follows connection " + std::to_string(last) + "; numbers must increase from 0");
        }
        last = link.innovation;
        if (!std::isfinite(link.weight)) {
            refuse(name + " has a weight that is not finite");
        }
        if (link.source < 0 ||
            (link.source >= sources() && genome.find(link.source) == genome.nodes.size())) {
            refuse(name + " comes from node " + std::to_string(link.source) + ", which is not there");
        }
        if (genome.find(link.target) == genome.nodes.size()) {
            refuse(name + " goes to node " + std::to_string(link.target) +
                   ", which is no output or hidden node");
        }
        const bool direct = link.source < sources() && link.target < first_hidden();
        const std::int32_t own =
            direct ? (link.target - sources()) * sources() + link.source : first_innovation();
        if (direct ? link.innovation != own : link.innovation < own) {
            refuse(name + " has the number of another connection");
        }
        if (!ends.emplace(link.source, link.target).second) {
            refuse(name + " joins two nodes that are joined already");
        }
    }
    if (!recurrent && Graph(*this, genome).cyclic()) {
        refuse("it has a cycle, and recurrent is False");
    }
}

void Topology::start(Stream& stream, double connections, double range, Genome& out) const {
    out.nodes.clear();
    out.links.clear();
    for (std::int32_t id = sources(); id < first_hidden(); ++id) {
        out.nodes.push_back({id, draw_activation(stream), draw_aggregation(stream)});
    }
    const auto certain =
        connections < 1
            ? static_cast<std::int32_t>(stream.below(static_cast<std::uint32_t>(first_innovation())))
            : 0;
    for (std::int32_t i = 0; i < first_innovation(); ++i) {
        if (connections >= 1 || i == certain || stream.bernoulli(connections)) {
            out.links.push_back({symmetric(stream, range), i, i % sources(), sources() + i / sources()});
        }
    }
}

std::uint8_t Topology::draw_activation(Stream& stream) const {
    return activations.size() == 1
               ? activations[0]
               : activations[stream.below(static_cast<std::uint32_t>(activations.size()))];
}

std::uint8_t Topology::draw_aggregation(Stream& stream) const {
    return aggregations.size() == 1
               ? aggregations[0]
               : aggregations[stream.below(static_cast<std::uint32_t>(aggregations.size()))];
}

}  // namespace nasx::neat
