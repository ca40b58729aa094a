// Costs that are sums over the decisions of a genotype, and over its pairs of neighbouring decisions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nasx/population.hpp"

namespace nasx {

// An intercept, an entry for each choice of each decision, and, if wanted, one for each pair of choices of
// decisions j and j + 1. Decisions that are -1 add nothing, nor do their pairs.
class LatencyTable {
  public:
    // cardinalities (d,), at least 1. entries: for decision after decision, one for each choice. pairs:
    // empty, or for each two neighbours their matrix, row by row; a row for each choice of the earlier
    // decision. Throws std::invalid_argument when lengths do not fit or a number is not finite.
    LatencyTable(std::span<const std::int32_t> cardinalities, std::span<const double> entries,
                 std::span<const double> pairs, double intercept);

    // Writes the sum of each row, added up in the order of the decisions, entries before pairs: the same bits
    // on every platform, CPU level and number of threads. O(n d). Throws std::invalid_argument when a row is
    // no row of choices.
    void sum(Genotypes genotypes, std::span<double> out) const;

    std::size_t size() const { return cardinalities_.size(); }

  private:
    std::vector<std::int32_t> cardinalities_;
    // As simd::Lookup wants them: with a zero in front of each decision's entries, and in front of each
    // matrix's rows and columns, where -1 leads.
    std::vector<double> entries_, pairs_;
    std::vector<std::size_t> entry_starts_, pair_starts_;  // of choice 0, of the pair of choices 0 and 0
    double intercept_;
};

}  // namespace nasx
