#include "nasx/neat_networks.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "nasx/parallel.hpp"
#include "nasx/simd/activation.hpp"
#include "nasx/simd/level.hpp"

namespace nasx::neat {
namespace {

// Rows that go through a network together: the values of a hundred nodes fit into the second cache.
constexpr std::size_t block = 128;
constexpr std::size_t lanes = simd::ActivationKernels::lanes;
constexpr std::uint32_t unused = std::numeric_limits<std::uint32_t>::max();

const simd::ActivationKernels& kernels() {
    return NASX_AT_LEVEL(activation_kernels);
}

std::size_t padded(std::size_t rows) {
    return (rows + lanes - 1) / lanes * lanes;
}

void require(bool holds, const char* name, const std::string& expected, std::size_t found) {
    if (!holds) {
        throw std::invalid_argument(std::string(name) + " must have " + expected + " numbers; got " +
                                    std::to_string(found));
    }
}

}  // namespace

Networks::Networks(const Topology& topology, const Genomes& genomes)
    : inputs_(static_cast<std::size_t>(topology.inputs)),
      outputs_(static_cast<std::size_t>(topology.outputs)),
      recurrent_(topology.recurrent) {
    node_ends_.reserve(genomes.size());
    first_edges_.reserve(genomes.size());
    units_.reserve(genomes.nodes().size());
    edges_.reserve(genomes.links().size());
    output_units_.reserve(genomes.size() * outputs_);
    for (std::size_t i = 0; i < genomes.size(); ++i) {
        compile(topology, genomes[i]);
    }
}

void Networks::compile(const Topology& topology, GenomeView genome) {
    const std::size_t n = genome.nodes.size(), sources = static_cast<std::size_t>(topology.sources());
    // Edges by target, in the order of genes. A node is a place among the genes.
    struct In {
        std::uint32_t source;  // sources + place for a node
        double weight;
    };
    std::vector<std::uint32_t> starts(n + 1, 0);
    std::vector<std::uint32_t> targets(genome.links.size(), unused);
    for (std::size_t i = 0; i < targets.size(); ++i) {
        if (genome.links[i].enabled != 0) {
            targets[i] = static_cast<std::uint32_t>(genome.find(genome.links[i].target));
            ++starts[targets[i] + 1];
        }
    }
    for (std::size_t v = 0; v < n; ++v) {
        starts[v + 1] += starts[v];
    }
    std::vector<In> in(starts[n]);
    std::vector<std::uint32_t> next(starts.begin(), starts.end() - 1);
    for (std::size_t i = 0; i < targets.size(); ++i) {
        if (targets[i] != unused) {
            const Link& link = genome.links[i];
            const auto source = link.source < topology.sources()
                                    ? static_cast<std::uint32_t>(link.source)
                                    : static_cast<std::uint32_t>(sources + genome.find(link.source));
            in[next[targets[i]]++] = {source, link.weight};
        }
    }
    // Backwards from the outputs, each node behind its sources: what nothing depends on is not reached.
    std::vector<std::uint32_t> order, stack;
    std::vector<std::uint8_t> seen(n, 0);
    next.assign(starts.begin(), starts.end() - 1);
    for (std::uint32_t output = 0; output < outputs_; ++output) {
        if (seen[output] == 0) {
            stack.push_back(output);
            seen[output] = 1;
        }
        while (!stack.empty()) {
            const std::uint32_t v = stack.back();
            if (next[v] == starts[v + 1]) {
                order.push_back(v);
                stack.pop_back();
                continue;
            }
            const std::uint32_t source = in[next[v]++].source;
            if (source >= sources && seen[source - sources] == 0) {
                seen[source - sources] = 1;
                stack.push_back(source - static_cast<std::uint32_t>(sources));
            }
        }
    }
    std::vector<std::uint32_t> unit(n, unused);
    for (std::uint32_t u = 0; u < order.size(); ++u) {
        unit[order[u]] = u;
    }
    first_edges_.push_back(static_cast<std::uint32_t>(edges_.size()));
    for (const std::uint32_t v : order) {
        for (std::uint32_t e = starts[v]; e < starts[v + 1]; ++e) {
            const std::uint32_t source = in[e].source;
            // The bias is numbered behind the inputs whether there is one or not.
            edges_.push_back({in[e].weight, source < sources ? source
                                                             : static_cast<std::uint32_t>(
                                                                   inputs_ + 1 + unit[source - sources])});
        }
        units_.push_back({static_cast<std::uint32_t>(edges_.size()), genome.nodes[v].activation,
                          genome.nodes[v].aggregation});
    }
    node_ends_.push_back(units_.size());
    output_units_.insert(output_units_.end(), unit.begin(),
                         unit.begin() + static_cast<std::ptrdiff_t>(outputs_));
    width_ = std::max(width_, order.size());
}

Networks::Part Networks::part(std::size_t network) const {
    const std::size_t begin = network == 0 ? 0 : node_ends_[network - 1];
    return {std::span(units_).subspan(begin, node_ends_[network] - begin), first_edges_[network],
            std::span(output_units_).subspan(network * outputs_, outputs_)};
}

// `values[s]` are `rows` numbers of source s, a multiple of the lanes.
void Networks::aggregate(const Unit& unit, std::uint32_t first_edge, const double* const* values, double* out,
                         std::size_t rows) const {
    const auto& run = kernels();
    if (first_edge == unit.end) {
        std::fill_n(out, rows, 0.0);
    } else {
        run.scale(values[edges_[first_edge].source], edges_[first_edge].weight, out, rows);
        for (std::uint32_t e = first_edge + 1; e < unit.end; ++e) {
            run.combine[unit.aggregation](values[edges_[e].source], edges_[e].weight, out, rows);
        }
        if (unit.aggregation == static_cast<std::uint8_t>(Aggregation::mean)) {
            run.scale(out, 1.0 / (unit.end - first_edge), out, rows);
        }
    }
    run.activate[unit.activation](out, rows);
}

void Networks::evaluate_part(std::size_t network, const double* columns, std::size_t stride, std::size_t rows,
                             std::span<double> room, double* out) const {
    const Part own = part(network);
    std::vector<const double*> values(inputs_ + 1 + own.units.size());
    double* const ones = room.data();
    std::fill_n(ones, block, 1.0);
    for (std::size_t begin = 0; begin < rows; begin += block) {
        const std::size_t count = std::min(block, rows - begin);
        for (std::size_t j = 0; j < inputs_; ++j) {
            values[j] = columns + j * stride + begin;
        }
        values[inputs_] = ones;
        std::uint32_t edge = own.first_edge;
        for (std::size_t u = 0; u < own.units.size(); ++u) {
            double* const value = room.data() + (1 + u) * block;
            aggregate(own.units[u], edge, values.data(), value, padded(count));
            values[inputs_ + 1 + u] = value;
            edge = own.units[u].end;
        }
        for (std::size_t k = 0; k < outputs_; ++k) {
            const double* const value = values[inputs_ + 1 + own.outputs[k]];
            for (std::size_t i = 0; i < count; ++i) {
                out[(begin + i) * outputs_ + k] = value[i];
            }
        }
    }
}

namespace {

// Row-major to columns that are `stride` apart; what fills them up is 0.
void transpose(const double* x, std::size_t rows, std::size_t cols, std::size_t stride, double* columns) {
    for (std::size_t j = 0; j < cols; ++j) {
        for (std::size_t i = 0; i < rows; ++i) {
            columns[j * stride + i] = x[i * cols + j];
        }
        std::fill(columns + j * stride + rows, columns + (j + 1) * stride, 0.0);
    }
}

}  // namespace

void Networks::evaluate(Matrix<const double> x, std::span<double> out) const {
    if (recurrent_) {
        throw std::invalid_argument("recurrent networks have a state: use step");
    }
    require(x.cols == inputs_, "x", "rows of " + std::to_string(inputs_), x.cols);
    require(out.size() == size() * x.rows * outputs_, "out", std::to_string(size() * x.rows * outputs_),
            out.size());
    const std::size_t stride = padded(x.rows);
    std::vector<double> columns(stride * inputs_);
    transpose(x.data, x.rows, inputs_, stride, columns.data());
    parallel_for(0, size(), 1 + 8192 / (1 + x.rows), [&](std::size_t begin, std::size_t end) {
        std::vector<double> room((1 + width_) * block);
        for (std::size_t i = begin; i < end; ++i) {
            evaluate_part(i, columns.data(), stride, x.rows, room, out.data() + i * x.rows * outputs_);
        }
    });
}

void Networks::evaluate_each(std::span<const double> x, std::size_t rows, std::span<double> out) const {
    if (recurrent_) {
        throw std::invalid_argument("recurrent networks have a state: use step");
    }
    require(x.size() == size() * rows * inputs_, "x", std::to_string(size() * rows * inputs_), x.size());
    require(out.size() == size() * rows * outputs_, "out", std::to_string(size() * rows * outputs_),
            out.size());
    const std::size_t stride = padded(rows);
    parallel_for(0, size(), 1 + 4096 / (1 + rows), [&](std::size_t begin, std::size_t end) {
        std::vector<double> room((1 + width_) * block), columns(stride * inputs_);
        for (std::size_t i = begin; i < end; ++i) {
            transpose(x.data() + i * rows * inputs_, rows, inputs_, stride, columns.data());
            evaluate_part(i, columns.data(), stride, rows, room, out.data() + i * rows * outputs_);
        }
    });
}

void Networks::step(std::span<const double> x, std::size_t copies, std::span<const double> state,
                    std::span<double> next, std::span<double> out) const {
    require(x.size() == size() * copies * inputs_, "x", std::to_string(size() * copies * inputs_), x.size());
    require(state.size() == size() * copies * width_, "state", std::to_string(size() * copies * width_),
            state.size());
    require(next.size() == state.size(), "next", std::to_string(state.size()), next.size());
    require(out.size() == size() * copies * outputs_, "out", std::to_string(size() * copies * outputs_),
            out.size());
    const std::size_t stride = padded(copies);
    parallel_for(0, size(), 1 + 2048 / (1 + copies), [&](std::size_t begin, std::size_t end) {
        // Columns: the inputs, ones, the state before, and the new one.
        const std::size_t before = inputs_ + 1;
        std::vector<double> room((before + 2 * width_) * stride);
        std::vector<const double*> values(before + width_);
        for (std::size_t s = 0; s < values.size(); ++s) {
            values[s] = room.data() + s * stride;
        }
        std::fill_n(room.data() + inputs_ * stride, stride, 1.0);
        double* const after = room.data() + (before + width_) * stride;
        for (std::size_t i = begin; i < end; ++i) {
            const Part own = part(i);
            transpose(x.data() + i * copies * inputs_, copies, inputs_, stride, room.data());
            transpose(state.data() + i * copies * width_, copies, width_, stride,
                      room.data() + before * stride);
            std::uint32_t edge = own.first_edge;
            for (std::size_t u = 0; u < own.units.size(); ++u) {
                aggregate(own.units[u], edge, values.data(), after + u * stride, stride);
                edge = own.units[u].end;
            }
            for (std::size_t c = 0; c < copies; ++c) {
                double* const row = next.data() + (i * copies + c) * width_;
                for (std::size_t u = 0; u < width_; ++u) {
                    row[u] = u < own.units.size() ? after[u * stride + c] : 0.0;
                }
                for (std::size_t k = 0; k < outputs_; ++k) {
                    out[(i * copies + c) * outputs_ + k] = row[own.outputs[k]];
                }
            }
        }
    });
}

void activate(Activation kind, std::span<double> x) {
    require(x.size() % lanes == 0, "x", "a multiple of " + std::to_string(lanes), x.size());
    kernels().activate[static_cast<std::size_t>(kind)](x.data(), x.size());
}

}  // namespace nasx::neat
