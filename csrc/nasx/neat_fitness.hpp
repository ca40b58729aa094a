// From losses to the fitness that NEAT shares, and to an order of the population.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nasx/array.hpp"

namespace nasx::neat {

// Writes each genome's place, 0 for the best, equal ones the same; and its fitness, at least 0.
//
// Violations come first, and what failed (infinite) is last. With one objective the fitness is the negated
// loss, which is what the paper maximises; where a feasible loss is positive, it is what the loss is below
// the worst feasible one. With several it counts the fronts behind the genome's own, and within a front grows
// from there to the next with the crowding distance. What is not feasible has fitness 0 beside what is; where
// nothing is, the fitness is by how much the violation is below the worst. O(n log n) beside rank().
void rate(Matrix<const double> losses, std::span<const double> violations, std::span<std::uint32_t> places,
          std::span<double> fitness);

}  // namespace nasx::neat
