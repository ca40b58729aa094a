// Non-dominated ranks for any number of objectives, by sets of bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "nasx/order.hpp"

namespace nasx {

// Ranks of unique rows in lexicographic order, 0 the first front.
//
// Rows are taken in chunks of 512. For each objective and each t a table holds the set of the t smallest
// points of the chunk, so the chunk's dominators of any later row are the intersection of one such set per
// objective; its bits are arranged by rank, so the first one found decides.
//
// O(m n^2 / 512) operations on 512 bits, O(m n) memory. The later rows are shared among threads.
std::vector<std::int32_t> bit_ranks(const LexicographicOrder& order);

// Which rows have rank 0, without the other ranks: dominated rows are dropped after each chunk.
std::vector<bool> bit_front(const LexicographicOrder& order);

}  // namespace nasx
