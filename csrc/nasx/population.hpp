// Operations on whole populations of genotypes.
//
// A genotype is a row of int32: the choice taken at each decision, -1 where the decision is inactive. Row i
// of a call draws its random numbers from the stream of item first + i, so rows do not depend on how many are
// made at once, nor on threads.
//
// All functions throw std::invalid_argument, naming the argument, the row and the decision, for choices
// outside
// [-1, cardinality) and for shapes, rates or probabilities that do not fit. All are O(n d), and O(n c) for c
// conditions. Outputs must not overlap inputs unless they are the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "nasx/array.hpp"
#include "nasx/parallel.hpp"
#include "nasx/rng.hpp"

namespace nasx {

using Genotypes = Matrix<const std::int32_t>;
using MutableGenotypes = Matrix<std::int32_t>;

// The decisions of a space: how many choices each has, and when it is active.
class Decisions {
  public:
    // cardinalities (d,), d and each at least 1, must outlive this object. conditions (c, 3): rows of
    // (decision, parent, choice) with parent < decision, in any order. A decision with conditions is active
    // when, for each of its parents, the parent's choice is among those listed.
    Decisions(std::span<const std::int32_t> cardinalities, Matrix<const std::int32_t> conditions);

    std::size_t size() const { return cardinalities_.size(); }
    std::span<const std::int32_t> cardinalities() const { return cardinalities_; }
    std::int32_t cardinality(std::size_t j) const { return cardinalities_[j]; }
    std::uint32_t choices(std::size_t j) const { return static_cast<std::uint32_t>(cardinalities_[j]); }

    bool conditional() const { return !groups_.empty(); }

    // Whether each decision has several choices in every architecture.
    bool free() const { return free_; }

    // The sum of the cardinalities, for what needs memory for each choice. Throws when it is above `most`.
    std::size_t all_choices(std::size_t most = most_choices) const;
    static constexpr std::size_t most_choices = std::size_t{1} << 26;

    // Whether decision j is active, given the choices of the earlier ones.
    bool active(std::size_t j, const std::int32_t* row) const {
        if (groups_.empty()) {
            return true;
        }
        for (std::size_t g = group_starts_[j]; g < group_starts_[j + 1]; ++g) {
            if (!listed(groups_[g], row[groups_[g].parent])) {
                return false;
            }
        }
        return true;
    }

    // Throws unless there are d columns.
    void check_width(Genotypes genotypes, const char* argument) const;

    // Throws unless each row has d choices in [-1, cardinality).
    void check(Genotypes genotypes, const char* argument) const;

  private:
    struct Group {
        std::size_t parent, begin, end;  // of allowed_
    };

    bool listed(const Group& group, std::int32_t choice) const {
        for (std::size_t i = group.begin; i < group.end; ++i) {
            if (allowed_[i] == choice) {
                return true;
            }
        }
        return false;
    }

    std::span<const std::int32_t> cardinalities_;
    bool free_ = true;
    std::vector<std::size_t> group_starts_;  // (d + 1,) when there are conditions
    std::vector<Group> groups_;
    std::vector<std::int32_t> allowed_;
};

// The place, row * d + decision, of the first entry that no genotype has there: a choice out of range, -1
// where the decision is active, or anything else where it is not. The number of entries if there is none.
std::size_t first_malformed(const Decisions& decisions, Genotypes genotypes);

enum class CrossoverKind { uniform, k_point };

struct Crossover {
    CrossoverKind kind = CrossoverKind::uniform;
    std::size_t points = 2;  // cuts of k_point; at most d - 1 are made
    double probability = 1;  // else the child is the first parent

    void check() const;
};

// How often each decision mutates, made ready to skip the many that do not: the gaps between candidates are
// drawn at the largest rate, and a candidate of a smaller rate is kept with the ratio of the two. So a row
// costs about two random numbers for each mutation instead of one for each decision.
class MutationRates {
  public:
    // Throws unless there is one rate in [0, 1] for each decision. O(d).
    MutationRates(std::span<const double> rates, const Decisions& decisions);

    // The next decision to mutate, at or after `from`; the number of decisions if there is none.
    std::size_t next(std::size_t from, Stream& stream) const;

  private:
    // How many of the first `most` of gap_below_ are at most u.
    std::size_t gap(double u, std::size_t most) const;

    std::span<const double> rates_;
    double largest_ = 0;
    std::vector<double> gap_below_;  // at k, the probability of a gap of at most k
};

// Each active decision uniform over its choices, in order.
void sample(const Decisions& decisions, const StreamKey& key, MutableGenotypes out);

// Inactive decisions become -1; active ones that are -1 are drawn; the others stay.
void repair(const Decisions& decisions, Genotypes genotypes, const StreamKey& key, MutableGenotypes out);

// Each decision that is not -1 and has several choices takes, with probability rates[j], one of the others;
// then the row is repaired.
void mutate(const Decisions& decisions, Genotypes genotypes, std::span<const double> rates,
            const StreamKey& key, MutableGenotypes out);

// Row i of a with row i of b: each decision from either by a fair coin, or from a and b in turn between cuts
// that are uniform without repetition; then the row is repaired.
void crossover(const Decisions& decisions, Genotypes a, Genotypes b, const Crossover& how,
               const StreamKey& key, MutableGenotypes out);

// One decision, uniform among those that are not -1 and have several choices, takes one of its others; then
// the row is repaired. A row without such a decision is only repaired.
void mutate_one(const Decisions& decisions, Genotypes genotypes, const StreamKey& key, MutableGenotypes out);

// What takes part in tournaments: the smaller key (a loss, or a rank) wins, then the larger crowding distance
// where there is one, then the first drawn.
struct Contestants {
    static constexpr std::size_t largest_size = std::size_t{1} << 20;  // of a tournament

    std::span<const double> keys;
    std::optional<std::span<const double>> crowding;

    std::uint32_t count() const { return static_cast<std::uint32_t>(keys.size()); }

    // Winner among `size` (>= 1) drawn with replacement. Nothing is checked.
    template <class AnyStream>
    std::uint32_t winner(std::size_t size, AnyStream& stream) const {
        return best_of(size, [&] { return stream.below(count()); });
    }

    // The same among all but one; there must be at least two.
    std::uint32_t winner_beside(std::uint32_t absent, std::size_t size, Stream& stream) const {
        return best_of(size, [&] {
            const std::uint32_t drawn = stream.below(count() - 1);
            return drawn + (drawn >= absent);
        });
    }

    // Throws unless n tournaments of `size` can be held: `size` is from 1 to largest_size, there is a
    // contestant (or n is 0), each has a crowding distance if any has, and nothing is NaN.
    void check(std::size_t size, std::size_t n) const;

  private:
    template <class Draw>
    std::uint32_t best_of(std::size_t size, Draw&& draw) const {
        // By arithmetic: no CPU foresees who wins.
        const auto choose = [](bool first, std::uint32_t a, std::uint32_t b) {
            return b ^ ((a ^ b) & (0u - std::uint32_t{first}));
        };
        std::uint32_t best = draw();
        if (crowding) {
            const std::span<const double> distances = *crowding;
            for (std::size_t k = 1; k < size; ++k) {
                const std::uint32_t other = draw();
                const bool tied = keys[other] == keys[best];
                const bool wins = (keys[other] < keys[best]) | (tied & (distances[other] > distances[best]));
                best = choose(wins, other, best);
            }
            return best;
        }
        double least = keys[best];
        for (std::size_t k = 1; k < size; ++k) {
            const std::uint32_t other = draw();
            const double key = keys[other];
            best = choose(key < least, other, best);
            least = key < least ? key : least;
        }
        return best;
    }
};

// Indices of the winners of tournaments between `size` contestants drawn with replacement.
void tournament(const Contestants& contestants, std::size_t size, const StreamKey& key,
                std::span<std::int32_t> winners);

// One of the choices of decision j, which has several, but not `choice`.
template <class AnyStream>
std::int32_t other_choice(const Decisions& decisions, std::size_t j, std::int32_t choice, AnyStream& stream) {
    const auto other = static_cast<std::int32_t>(stream.below(decisions.choices(j) - 1));
    return other + (other >= choice);
}

// The same for one row, drawn from a stream that the caller has. Nothing is checked. A parent and its row
// must not overlap.
void repair_row(const Decisions& decisions, Stream& stream, std::int32_t* row);
void mutate_row(const Decisions& decisions, const MutationRates& rates, Stream& stream, std::int32_t* row);
void mutate_one_row(const Decisions& decisions, Stream& stream, const std::int32_t* parent,
                    std::int32_t* row);
void crossover_row(const Decisions& decisions, const std::int32_t* a, const std::int32_t* b,
                   const Crossover& how, Stream& stream, std::int32_t* child);

// Writes for each row its value in a table of all genotypes without conditions, one axis a decision, the last
// axis next to each other. Throws for a row with an inactive decision too.
void look_up(Genotypes genotypes, std::span<const std::int32_t> cardinalities, std::span<const double> table,
             std::span<double> out);

// Calls function(begin, end) for ranges of n rows of d decisions, on several threads where it pays.
template <class Function>
void for_rows(std::size_t n, std::size_t d, Function&& function) {
    constexpr std::size_t decisions_per_piece = 8192;
    parallel_for(0, n, decisions_per_piece / (d + 1) + 1, function);
}

}  // namespace nasx
