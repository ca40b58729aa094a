// Non-dominated sorting and crowding distances. Smaller losses are better.
//
// A row dominates another when it is at most as large in every objective and smaller in one. Equal rows share
// a rank. Infinities are ordinary numbers; NaN is refused.
//
// All functions throw std::invalid_argument, naming the argument, for NaN, for lengths that do not fit and
// for losses without columns. No rows are no error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "nasx/array.hpp"

namespace nasx {

using Violations = std::optional<std::span<const double>>;

// Writes each row's front, 0 the first, and returns the number of fronts.
//
// With violations (n,), rows at most 0 are feasible; the others rank after all of those, in the order of
// their violation, equal violations together (constrained domination of Deb et al. 2002).
//
// One objective: a sort. Two: a sort and a binary search over the fronts' last points, O(n log n) (M. T.
// Jensen, "Reducing the run-time complexity of multiobjective EAs", IEEE TEC 7, 2003). Three: the same with
// one staircase for each front, O(n log^2 n). More: sets of bits, O(m n^2 / 512) operations on 512 bits
// (bit_dominance.hpp). Memory O(m n).
std::size_t rank(Matrix<const double> losses, Violations violations, std::span<std::int32_t> ranks);

// Writes whether no other row dominates the row. O(n log n) up to three objectives (H. T. Kung, F. Luccio,
// F. P. Preparata, "On finding the maxima of a set of vectors", J. ACM 22, 1975), then as rank at worst.
void front(Matrix<const double> losses, std::span<bool> mask);

// Writes each row's crowding distance within its front (Deb et al. 2002).
//
// The sum over objectives of the gap between the row's two neighbours, divided by the front's range over
// finite values. The first and the last row of a front are infinitely far, and so is every row of a front of
// fewer than three. An objective that is constant in a front adds 0. An infinite gap adds infinity; equal
// infinities are 0 apart. Equal values are taken in the order of rows. Ranks may be any non-negative labels
// of the fronts. O(m n). Never NaN.
void crowding_distance(Matrix<const double> losses, std::span<const std::int32_t> ranks,
                       std::span<double> distances);

// Throws when `losses` has no columns, too many rows, or NaN.
void check_losses(Matrix<const double> losses);

}  // namespace nasx
