// Who has how many children, and how a child is made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "nasx/neat_crossover.hpp"
#include "nasx/neat_genome.hpp"
#include "nasx/neat_mutation.hpp"
#include "nasx/neat_species.hpp"

namespace nasx::neat {

struct Reproduction {
    double survival = 0.2;          // share of a species, the best, that may have children; one in any case
    double mutation_only = 0.25;    // probability that a child has one parent
    double interspecies = 0.001;    // that the other parent is of another species
    std::size_t champion_from = 6;  // species of so many keep their best as it is
    Crossover crossover;
    Mutation mutation;

    void check() const;
};

// Writes how many of `total` children each species has, in proportion to its share; rounded so that they sum
// up to `total`, the largest remainders first, earlier species before later ones. Equal shares for all when
// none is positive. O(s log s).
void apportion(std::span<const double> shares, std::size_t total, std::span<std::size_t> counts);

// A place of the next generation.
struct Slot {
    std::uint32_t breeder = 0;
    bool champion = false;  // a copy of the species' best
};

// What the children of one generation are made from; views must outlive it.
class Nursery {
  public:
    // Members of each species must be in the order of `places`, the best first. `breeders` are the species
    // that have children, by their places; slots, one at least, name them by their places among the breeders.
    Nursery(const Topology& topology, const Reproduction& how, const Genomes& parents,
            std::span<const std::uint32_t> places, std::span<const Species> species,
            std::span<const std::uint32_t> breeders, std::span<const Slot> slots);

    // Child number i takes slot i; beyond the slots they are gone through again, without the champions.
    // Writes the child but for what is to grow. A function of (seed, generation, i) and the parents.
    // O(genes).
    Growth make(std::uint64_t seed, std::uint32_t generation, std::uint64_t i, Genome& child) const;

  private:
    std::uint32_t draw_parent(const Species& species, Stream& stream) const;
    std::size_t survivors(const Species& species) const;

    const Topology& topology_;
    const Reproduction& how_;
    const Genomes& parents_;
    std::span<const std::uint32_t> places_;
    std::span<const Species> species_;
    std::span<const std::uint32_t> breeders_;
    std::span<const Slot> slots_;
};

}  // namespace nasx::neat
