// Search under limits where scores and costs are sums over decisions: the best architecture within limits,
// the Pareto front of several costs over a whole space, and uniform samples below a limit. None of them looks
// at all architectures.
//
// Every decision is active and free: conditions and constraints of a space are not known here. Sums are those
// of nasx::LatencyTable, to the bit: the intercept, then the entries in the order of the decisions. Whether
// an architecture is within a limit is decided on these sums alone.
//
// All functions throw std::invalid_argument, naming the argument, when lengths do not fit, a number is not
// finite, or sums would overflow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "nasx/array.hpp"
#include "nasx/population.hpp"
#include "nasx/rng.hpp"

namespace nasx {

// m sums over the same decisions.
struct Sums {
    std::span<const std::int32_t> cardinalities;  // (d,), at least 1
    Matrix<const double> entries;                 // (m, choices): decision after decision, each choice
    std::span<const double> intercepts;           // (m,)

    std::size_t size() const { return cardinalities.size(); }

    // Throws unless shapes fit, all is finite, and no sum can overflow.
    void check(const char* argument) const;

    // Sum i of a row of choices.
    double sum(std::size_t i, const std::int32_t* row) const;

    // For each choice, what it costs in sum i above its decision's least, as a share of what the limit leaves
    // above the sum of all least: shares of an architecture within the limit add up to at most 1, but for
    // rounding. Choices that are over the limit alone have 2. Throws std::invalid_argument with the least sum
    // there is when that is over the limit.
    std::vector<double> shares(std::size_t i, double limit) const;
};

struct BudgetSettings {
    static constexpr std::size_t most_numbers = std::size_t{1} << 27;  // in tables, 8 bytes each

    std::size_t resolution = 10'000;  // cells that what a limit leaves is cut into
    std::uint64_t nodes = 2'000'000;  // branches of a search, then what is proven so far is returned

    // Throws unless tables of `rows` times the resolution fit in memory.
    void check(std::size_t rows) const;
};

struct Best {
    std::vector<std::int32_t> genotype;  // (d,)
    double score;
    std::vector<double> costs;  // (m,)
    double bound;               // no architecture within the limits has more; the score when it is the best
    std::uint64_t nodes;        // that were looked at
};

// Maximises a sum of scores (one row) within a limit on each of 1 to 8 sums of costs: the multiple-choice
// knapsack problem, with several knapsacks.
//
// 1. Choices that another of the decision beats in everything are dropped. A Lagrangian relaxation, whose
//    multipliers a subgradient method finds, gives a bound and, repaired, a first answer; choices that its
//    bound excludes are dropped (M. L. Fisher, "The Lagrangian relaxation method for solving integer
//    programming problems", Management Science 27, 1981).
// 2. Dynamic programming over what is left, costs rounded up to cells, O(choices x resolution) (D. Pisinger,
//    "A minimal algorithm for the multiple-choice knapsack problem", EJOR 83, 1995). Several limits are added
//    up to one by their multipliers for it, in several mixtures (F. Glover, "Surrogate constraints",
//    Operations Research 16, 1968). Its tables bound whatever is left of the decisions.
// 3. Branch and bound with these bounds, on costs that are not rounded. It ends with the optimum, up to
//    rounding of its sum (10^-12 of it), or at settings.nodes with the best that was found and a bound. With
//    one limit that is never worse than the best of what is d cells or more below the limit, whatever the
//    number of nodes.
//
// Throws std::invalid_argument also when nothing is within the limits, or was found within settings.nodes.
Best best_under(const Sums& scores, const Sums& costs, std::span<const double> limits,
                const BudgetSettings& settings);

struct SumsFront {
    std::vector<std::int32_t> genotypes;  // (f, d)
    std::vector<double> costs;            // (f, m), ascending
    std::vector<double> epsilon;          // (m,): 0 when the front is exact
    std::size_t size = 0;                 // f
};

// The Pareto front of two or three sums over all architectures, one genotype for each point; smaller is
// better.
//
// Fronts of the first decisions are extended by one decision at a time, which loses nothing (H. Nemhauser,
// Z. Ullmann, "Discrete dynamic programming and capital allocation", Management Science 15, 1969): two sums
// by merging sorted lists, O(f) a choice; three by nasx::front, O(f log f). A front that grows beyond `cap`
// points is thinned to one point in each box of a grid. Then each architecture has a point on the front that
// is at most epsilon[i] worse in each sum i: the errors made, measured and added up over the decisions.
SumsFront pareto_of_sums(const Sums& costs, std::size_t cap);

// Writes rows that are uniform among the architectures with the (one) sum within the limit, with repetition.
//
// Counts, for each number of cells and each decision, the ways to go on, on costs rounded down; draws a row
// decision by decision; and draws rows again that are over the limit, which only rounding can cause: nothing
// within the limit is left out, and nothing is favoured by more than the rounding of counts, 10^-14.
// O(choices x resolution + n choices). (M. Dyer, "Approximate counting by dynamic programming", STOC 2003.)
// Throws std::invalid_argument also when nothing is within the limit, the resolution is so coarse that less
// than one draw in about a thousand is, or there are more than 2^1900 architectures.
void sample_under(const Sums& costs, double limit, std::size_t resolution, const StreamKey& key,
                  MutableGenotypes out);

}  // namespace nasx
