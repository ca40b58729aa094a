// Steps of evolutionary methods, each in one call.
//
// Sources: K. Deb, A. Pratap, S. Agarwal, T. Meyarivan, "A fast and elitist multiobjective genetic algorithm:
// NSGA-II", IEEE TEC 6 (2002). E. Real, A. Aggarwal, Y. Huang, Q. V. Le, "Regularized evolution for image
// classifier architecture search", AAAI 2019.
#pragma once

#include <cstdint>
#include <span>

#include "nasx/array.hpp"
#include "nasx/pareto.hpp"
#include "nasx/population.hpp"
#include "nasx/rng.hpp"

namespace nasx {

// Writes the indices of the survivors, as many as `rows` holds (at most n), with their ranks and crowding
// distances among all n. Whole fronts come first; the front that does not fit is cut by crowding distance,
// measured on all of it. Ordered by rank, then by falling distance, then at random by row. O(n log n) beside
// rank(). Throws std::invalid_argument as rank() does, and when `rows` is longer than n.
void nsga2_select(Matrix<const double> losses, Violations violations, std::uint64_t seed,
                  std::uint32_t generation, std::span<std::int32_t> rows, std::span<std::int32_t> ranks,
                  std::span<double> crowding);

// Writes children, each from its own stream: two tournaments with different winners where there is more than
// one parent, crossover, mutation, repair. O(n (d + size)). Throws std::invalid_argument as tournament(),
// crossover() and mutate() do, and unless each parent is a contestant.
void offspring(const Decisions& decisions, Genotypes parents, const Contestants& contestants,
               std::size_t size, const Crossover& how, std::span<const double> rates, const StreamKey& key,
               MutableGenotypes out);

// Writes children of one parent, each from its own stream: a tournament, and the winner changed as by
// mutate_one(). O(n (d + size)). Throws std::invalid_argument as offspring() does.
void mutants(const Decisions& decisions, Genotypes parents, const Contestants& contestants, std::size_t size,
             const StreamKey& key, MutableGenotypes out);

}  // namespace nasx
