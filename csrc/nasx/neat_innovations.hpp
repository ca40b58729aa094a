// Who invented what: numbers for new connections and ids for new nodes.
//
// The same structural mutation of the same generation gets the same numbers, whichever genomes it happens in,
// so that genes of one origin can be matched in every crossover. A later generation's gets new ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "nasx/neat_genome.hpp"

namespace nasx::neat {

class Innovations {
  public:
    explicit Innovations(const Topology& topology);

    struct Split {
        std::int32_t node, in, out;
    };

    // What a node on this connection is called: its id and its two connections. O(1).
    Split split(const Link& link);

    // The number of a new connection. O(1).
    std::int32_t connect(std::int32_t source, std::int32_t target);

    // Forgets the inventions, not the numbers.
    void next_generation();

    // Takes over the numbers of a genome that was made elsewhere. Throws std::invalid_argument when one of
    // them joins other nodes here; nothing is taken over then. O(genes).
    void adopt(GenomeView genome, std::size_t number);

    std::int32_t nodes() const { return next_node_; }
    std::int32_t connections() const { return static_cast<std::int32_t>(ends_.size()); }

  private:
    std::int32_t invent(std::int32_t source, std::int32_t target);

    std::int32_t next_node_, first_hidden_;
    // By number; -1 where it belongs to a genome that was not seen.
    std::vector<std::pair<std::int32_t, std::int32_t>> ends_;
    std::unordered_map<std::uint64_t, std::int32_t> connected_;
    std::unordered_map<std::int32_t, Split> split_;
};

}  // namespace nasx::neat
