// Genomes as networks that compute: compiled once, then run on many inputs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "nasx/array.hpp"
#include "nasx/neat_genome.hpp"

namespace nasx::neat {

// Many networks of one topology. A node's value is its activation of the sum (mean, maximum, product) of its
// enabled connections' weights times the values of their sources, in the order of innovation numbers; 0 is
// aggregated without any. Disabled connections are as good as absent. Nodes that no output depends on are
// left out, so values are of as many nodes as matter: the state of a recurrent network.
//
// Results are the same bits at any number of threads and every CPU level.
class Networks {
  public:
    // Genomes must have passed Topology::check. O(genes log genes).
    Networks(const Topology& topology, const Genomes& genomes);

    std::size_t size() const { return node_ends_.size(); }
    std::size_t inputs() const { return inputs_; }
    std::size_t outputs() const { return outputs_; }
    bool recurrent() const { return recurrent_; }

    // The most nodes that matter in any of them.
    std::size_t width() const { return width_; }

    // Feed-forward networks. `x` is rows x inputs, the same for all, and `out` networks x rows x outputs.
    // Throws std::invalid_argument for recurrent ones and for shapes that do not fit. O(rows genes).
    void evaluate(Matrix<const double> x, std::span<double> out) const;

    // The same with inputs of their own: `x` is networks x rows x inputs.
    void evaluate_each(std::span<const double> x, std::size_t rows, std::span<double> out) const;

    // One step of recurrent networks, each in `copies` of its own: every node reads what the nodes were
    // before and what the inputs are now. `x` is networks x copies x inputs, the states networks x copies x
    // width() (0 at first), `out` networks x copies x outputs, of the new state.
    void step(std::span<const double> x, std::size_t copies, std::span<const double> state,
              std::span<double> next, std::span<double> out) const;

  private:
    struct Unit {
        std::uint32_t end;  // of its edges
        std::uint8_t activation, aggregation;
    };
    struct Edge {
        double weight;
        std::uint32_t source;  // an input, the bias, or inputs + 1 + unit
    };
    // One network's parts.
    struct Part {
        std::span<const Unit> units;
        std::uint32_t first_edge;
        std::span<const std::uint32_t> outputs;
    };

    Part part(std::size_t network) const;
    void compile(const Topology& topology, GenomeView genome);
    void evaluate_part(std::size_t network, const double* columns, std::size_t stride, std::size_t rows,
                       std::span<double> room, double* out) const;
    void aggregate(const Unit& unit, std::uint32_t first_edge, const double* const* values, double* out,
                   std::size_t rows) const;

    std::size_t inputs_, outputs_, width_ = 0;
    bool recurrent_;
    std::vector<std::size_t> node_ends_;
    std::vector<std::uint32_t> first_edges_;
    std::vector<Unit> units_;  // feed-forward: in the order of computation
    std::vector<Edge> edges_;
    std::vector<std::uint32_t> output_units_;  // networks x outputs
};

// f(x) for each of them, as networks do it. `x` must have a multiple of 4 numbers.
void activate(Activation kind, std::span<double> x);

}  // namespace nasx::neat
