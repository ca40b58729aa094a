// Crossover of NEAT: genes matched by innovation number.
#pragma once

#include "nasx/neat_genome.hpp"

namespace nasx::neat {

struct Crossover {
    double average = 0.0;         // probability that all weights of matching genes are the parents' mean
    double keep_disabled = 0.75;  // that a gene disabled in either parent is disabled in the child
};

// Writes a child. Matching genes come from either parent at random, all others from the fitter one alone, so
// the child has the fitter's structure, and no cycle unless that has one. O(genes of both).
void cross(GenomeView fitter, GenomeView other, const Crossover& how, Stream& stream, Genome& child);

}  // namespace nasx::neat
