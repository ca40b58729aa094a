// The neighbourhood of a genotype: what a local search looks at next.
//
// A neighbour differs in the choice of one active decision. What follows from that change is repaired: a
// decision that becomes inactive is -1, one that becomes active is drawn at random, all others keep their
// choice. So an active decision with c choices gives c - 1 neighbours, and all neighbours differ. Every
// completion of the newly active decisions would be exponentially many instead.
//
// Source: C. White, S. Nolen, Y. Savani, "Exploring the loss landscape in neural architecture search", UAI
// 2021, for spaces without conditions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "nasx/population.hpp"
#include "nasx/rng.hpp"

namespace nasx {

enum class NeighborOrder { by_decision, shuffled };

class Neighborhood {
  public:
    // adjacent (d,): where true, only the next smaller and the next larger choice of a decision are
    // neighbours; empty: all others are, everywhere. `decisions` and `genotype` must outlive this object.
    // O(d + k) for k neighbours, and O(c) for c conditions. Throws std::invalid_argument, naming argument and
    // decision, for another number of decisions, for a genotype that is not canonical, and for more choices
    // than Decisions::most_choices.
    Neighborhood(const Decisions& decisions, std::span<const std::int32_t> genotype,
                 std::span<const bool> adjacent);

    std::size_t size() const { return changes_.size(); }

    // Writes the first out.rows <= size() neighbours, by decision and then by choice, or in random order. One
    // stream, the key's first, serves the whole neighbourhood, and fewer rows are a prefix of more. O(d) a
    // row, and O(c).
    void write(NeighborOrder order, const StreamKey& key, MutableGenotypes out) const;

  private:
    struct Change {
        std::uint32_t decision;
        std::int32_t choice;
    };

    const Decisions& decisions_;
    std::span<const std::int32_t> genotype_;
    std::vector<Change> changes_;
};

}  // namespace nasx
