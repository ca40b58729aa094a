// The graph of a genome: who feeds whom. Disabled connections count, for they may be enabled again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "nasx/neat_genome.hpp"

namespace nasx::neat {

// Vertices: the sources (inputs and bias) by id, then the genome's nodes in the order of their genes.
class Graph {
  public:
    // O(genes log genes).
    Graph(const Topology& topology, GenomeView genome);

    std::size_t size() const { return starts_.size() - 1; }
    std::size_t sources() const { return sources_; }

    // O(genes).
    bool cyclic() const;

    bool joined(std::size_t source, std::size_t target) const;

    // Whether there is a way from one vertex to another, or they are the same. One search along the edges
    // from `from`, O(genes) at worst; vertices without readers end it at once.
    bool reaches(std::size_t from, std::size_t to);

  private:
    std::size_t sources_;
    std::vector<std::uint32_t> starts_, targets_;  // the readers of vertex v: targets_[starts_[v]..]
    std::vector<std::uint32_t> stack_, visited_;
    std::uint32_t visit_ = 0;
};

}  // namespace nasx::neat
