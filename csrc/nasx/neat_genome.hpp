// Genomes of NEAT: networks whose structure evolves, as two sorted arrays of genes.
//
// Node ids: the inputs from 0, the bias if there is one (an input that is always 1), the outputs, then hidden
// nodes in the order of their invention. Innovation numbers: input i to output o is o * sources + i in every
// genome of a topology; later connections follow in the order of their invention.
//
// Source: K. O. Stanley, R. Miikkulainen, "Evolving neural networks through augmenting topologies",
// Evolutionary Computation 10 (2002).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nasx/rng.hpp"

namespace nasx::neat {

// An output or hidden node; inputs have no gene.
struct Node {
    std::int32_t id = 0;
    std::uint8_t activation = 0;  // into activation_names
    std::uint8_t aggregation = 0;
    std::uint16_t unused = 0;  // no byte without a value: genomes are compared and hashed as memory

    bool operator==(const Node&) const = default;
};

struct Link {
    double weight = 0;
    std::int32_t innovation = 0;
    std::int32_t source = 0, target = 0;
    std::int32_t enabled = 1;

    bool operator==(const Link&) const = default;
};

inline constexpr std::string_view activation_names[] = {"steep_sigmoid", "sigmoid", "tanh",     "relu",
                                                        "gauss",         "sin",     "identity", "softplus"};
inline constexpr std::string_view aggregation_names[] = {"sum", "mean", "max", "product"};
enum class Activation : std::uint8_t {
    steep_sigmoid,
    sigmoid,
    tanh,
    relu,
    gauss,
    sin,
    identity,
    softplus,
};
enum class Aggregation : std::uint8_t { sum, mean, max, product };

// Nodes by id, links by innovation number.
struct GenomeView {
    std::span<const Node> nodes;
    std::span<const Link> links;

    // The place of a node among the genes; nodes.size() when there is none. O(log n).
    std::size_t find(std::int32_t id) const;

    std::size_t enabled() const;

    // Of all genes: equal genomes, equal hash, on every platform.
    std::uint64_t hash() const;

    bool operator==(const GenomeView& other) const;
};

struct Genome {
    std::vector<Node> nodes;
    std::vector<Link> links;

    GenomeView view() const { return {nodes, links}; }
    void assign(GenomeView other);
};

// Many genomes, one behind the other.
class Genomes {
  public:
    std::size_t size() const { return node_ends_.size(); }
    GenomeView operator[](std::size_t i) const;
    void append(GenomeView genome);
    void append(const Genomes& others);
    void clear();
    void reserve(std::size_t genomes, std::size_t nodes, std::size_t links);
    bool operator==(const Genomes&) const = default;

    std::span<const Node> nodes() const { return nodes_; }
    std::span<const Link> links() const { return links_; }

    // Little endian: the number of genomes, then nodes and links of each, then all nodes, then all links.
    std::string to_bytes() const;

    // Throws std::invalid_argument for bytes that are no genomes. Genes are not checked: see Topology::check.
    static Genomes from_bytes(std::string_view bytes);

  private:
    std::vector<std::size_t> node_ends_, link_ends_;
    std::vector<Node> nodes_;
    std::vector<Link> links_;
};

// What all genomes of a search share.
struct Topology {
    std::int32_t inputs = 1, outputs = 1;
    bool bias = true, recurrent = false;
    // Those that nodes may have; one at least, none twice.
    std::vector<std::uint8_t> activations{0}, aggregations{0};

    std::int32_t sources() const { return inputs + (bias ? 1 : 0); }
    std::int32_t first_hidden() const { return sources() + outputs; }
    std::int32_t first_innovation() const { return sources() * outputs; }

    // Throws std::invalid_argument for a topology that has no genomes.
    void check() const;

    // Throws std::invalid_argument, naming the genome by its number, when it is none of this topology: genes
    // out of order, missing outputs, connections of nodes that are not there or of the wrong number, weights
    // that are not finite, unknown activations, or a cycle without `recurrent`. O(genes log genes).
    void check(GenomeView genome, std::size_t number) const;

    // A genome without hidden nodes: each input is joined to each output with this probability, one of them
    // in any case, with a weight in -range..range.
    void start(Stream& stream, double connections, double range, Genome& out) const;

    std::uint8_t draw_activation(Stream& stream) const;
    std::uint8_t draw_aggregation(Stream& stream) const;
};

// In -range..range.
inline double symmetric(Stream& stream, double range) {
    return (static_cast<double>(stream.next_u32()) * 0x1.0p-31 - 1.0) * range;
}

}  // namespace nasx::neat
