// Steps of evolutionary methods, each in one call.
//
// Sources: K. Deb, A. Pratap, S. Agarwal, T. Meyarivan, "A fast and elitist multiobjective genetic algorithm:
// NSGA-II", IEEE TEC 6 (2002). E. Real, A. Aggarwal, Y. Huang, Q. V. Le, "Regularized evolution for image
// classifier architecture search", AAAI 2019.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "nasx/array.hpp"
#include "nasx/genotype_set.hpp"
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

// Makes children of two parents, numbered: child i has its own stream. Two tournaments with different winners
// where there is more than one parent, crossover, mutation, repair. Views must outlive it.
class Offspring {
  public:
    // Throws std::invalid_argument as tournament(), crossover() and mutate() do, and unless there are
    // parents, each a contestant. O(p d) for p parents.
    Offspring(Decisions decisions, Genotypes parents, const Contestants& contestants, std::size_t size,
              const Crossover& how, std::span<const double> rates, std::uint64_t seed,
              std::uint32_t generation);

    // Writes the children from number `first` on. O(n (d + size)).
    void make(std::uint64_t first, MutableGenotypes out) const;

    std::size_t width() const { return decisions_.size(); }

  private:
    Decisions decisions_;
    Genotypes parents_;
    Contestants contestants_;
    std::size_t size_;
    Crossover how_;
    MutationRates rates_;
    std::uint64_t seed_;
    std::uint32_t generation_;
};

// Writes children of one parent: a tournament of `size`, and the winner changed as by mutate_one(); child i
// draws from the stream of item key.first + i. `all_free` says that any decision of any parent may change.
// Nothing is checked. O(n (d + size)).
void make_mutants(const Decisions& decisions, Genotypes parents, bool all_free,
                  const Contestants& contestants, std::size_t size, const StreamKey& key,
                  MutableGenotypes out);

// Makes children by make_mutants(). Else like Offspring.
class Mutants {
  public:
    Mutants(Decisions decisions, Genotypes parents, const Contestants& contestants, std::size_t size,
            std::uint64_t seed, std::uint32_t generation);

    void make(std::uint64_t first, MutableGenotypes out) const;

    std::size_t width() const { return decisions_.size(); }

  private:
    Decisions decisions_;
    Genotypes parents_;
    bool all_free_;
    Contestants contestants_;
    std::size_t size_;
    std::uint64_t seed_;
    std::uint32_t generation_;
};

// What it took to find new rows.
struct Proposed {
    std::vector<std::int32_t> rows;  // the new ones, in order
    std::uint64_t count = 0;         // how many were made and looked at
    std::uint64_t rejected = 0;      // how many in a row were not new at the end
};

// Makes rows by their numbers, `first` and on, puts them into the set, and keeps those that are new, until
// there are `wanted`, or `patience` in a row were not; `rejected` were not before the first. make(number,
// rows) writes rows with the numbers from there on; it may be asked for more than are looked at in the end.
// O(d) for each row beside making it.
template <class Make>
Proposed propose_new(GenotypeSet& seen, std::size_t wanted, std::uint64_t first, std::uint64_t rejected,
                     std::uint64_t patience, Make&& make) {
    constexpr std::uint64_t least = 4096, most = 65536;
    constexpr std::size_t at_once = 64;
    Proposed found;
    found.rejected = rejected;
    const std::size_t d = seen.width();
    std::vector<std::int32_t> made;
    for (std::size_t kept = 0; kept < wanted && found.rejected < patience;) {
        // About as many as will do, by the share that was new so far.
        const std::uint64_t left = std::min<std::uint64_t>(wanted - kept, most);
        const std::uint64_t missing = std::max(left, left * (1 + found.count) / (1 + kept));
        const auto n = static_cast<std::size_t>(std::min(missing, std::max(least, left)));
        made.resize(n * d);
        make(first + found.count, MutableGenotypes{made.data(), n, d});
        for (std::size_t i = 0; i < n && kept < wanted && found.rejected < patience;) {
            // Patience cannot end before these do.
            bool is_new[at_once];
            const auto few = static_cast<std::size_t>(
                std::min<std::uint64_t>({at_once, n - i, patience - found.rejected}));
            const std::size_t taken =
                seen.insert({made.data() + i * d, few, d}, {is_new, few}, wanted - kept);
            for (std::size_t k = 0; k < taken; ++k) {
                const std::int32_t* const row = made.data() + (i + k) * d;
                if (is_new[k]) {
                    found.rows.insert(found.rows.end(), row, row + d);
                    found.rejected = 0;
                    ++kept;
                } else {
                    ++found.rejected;
                }
            }
            found.count += taken;
            i += taken;
        }
    }
    return found;
}

}  // namespace nasx
