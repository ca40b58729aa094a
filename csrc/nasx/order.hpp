// Sorting numbers as bits: what every Pareto kernel starts with.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "nasx/array.hpp"

namespace nasx {

struct Keyed {
    std::uint64_t key;
    std::uint32_t row;
};

// Unsigned integers in the order of the numbers (-inf first, +inf last; both zeros equal). Not for NaN.
inline std::uint64_t ordered_bits(double value) {
    const auto bits = std::bit_cast<std::uint64_t>(value + 0.0);
    return bits ^ ((bits >> 63) != 0 ? ~std::uint64_t{0} : std::uint64_t{1} << 63);
}

// Sorts by key; equal keys by row. O(n): a radix sort by digits of 11 bits (std::sort when n is small).
// The rows must come in ascending order.
void sort_keyed(std::vector<Keyed>& items);

// The column's values with their rows, sorted. O(n).
std::vector<Keyed> sorted_column(Matrix<const double> values, std::size_t column);

// Rows as small integers, sorted lexicographically, equal rows merged: all that dominance needs to know.
struct LexicographicOrder {
    std::size_t width = 0;                   // objectives after the first, which the order itself carries
    std::vector<std::uint32_t> coordinates;  // (unique, width): 0 is the objective's smallest value
    std::vector<std::uint32_t> distinct;     // (width,): number of different values
    std::vector<std::uint32_t> group;        // (n,): place of each input row in the sorted unique rows
    std::size_t unique = 0;

    const std::uint32_t* row(std::size_t i) const { return coordinates.data() + i * width; }
};

// O(m n), plus O(m k log k) for each k rows that agree in the first objective. cols >= 1.
LexicographicOrder lexicographic_order(Matrix<const double> values);

}  // namespace nasx
