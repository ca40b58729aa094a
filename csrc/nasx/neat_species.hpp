// How different genomes are, and the species that they fall into.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "nasx/neat_genome.hpp"

namespace nasx::neat {

// The compatibility distance c1 E / N + c2 D / N + c3 W. Genes are matched by innovation number: E excess and
// D disjoint ones, N genes of the larger genome (1 if both have fewer than `small`), W the mean difference of
// the weights of matching genes (0 without any).
struct Compatibility {
    double excess = 1.0, disjoint = 1.0, weight = 0.4;
    std::size_t small = 20;

    // O(genes of both). Symmetric; 0 for a genome and itself.
    double distance(GenomeView a, GenomeView b) const;
};

struct Species {
    std::int64_t id = 0;
    Genome representative;
    std::vector<std::uint32_t> members;  // places in the population
    std::uint32_t created = 0;           // generation
    // The best so far: violation, then each loss by itself; and the generation it was found in.
    double violation = std::numeric_limits<double>::infinity();
    std::vector<double> losses;
    std::uint32_t improved = 0;
};

// Puts each genome into the first species whose representative is nearer than the threshold, or founds one.
// Species that get no member are dropped. New ones get ids from `next_id` on. O(n s genes) for s species, the
// old ones in parallel.
void speciate(const Genomes& population, const Compatibility& compatibility, double threshold,
              std::uint32_t generation, std::int64_t& next_id, std::vector<Species>& species);

}  // namespace nasx::neat
