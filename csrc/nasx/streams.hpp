// Streams of random numbers for many rows: their first numbers are made together, in a fraction of the time
// that each stream takes for its own.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "nasx/rng.hpp"

namespace nasx {

// Writes the first two or four blocks of Stream(key, purpose, i) for the n rows from `begin` on, row after
// row. There must be room for three rows more. The same numbers at every CPU level.
template <std::size_t blocks>
    requires(blocks == 2 || blocks == 4)
void begin_streams(const StreamKey& key, Purpose purpose, std::size_t begin, std::size_t n,
                   std::uint32_t* words);

// Calls row(i, stream) for the rows from `begin` to `end`, in order, each with its own
// Stream(key, purpose, i). `blocks` of four numbers are made in advance, 2 or 4: about as many as rows draw.
template <std::size_t blocks, class Row>
void for_streams(const StreamKey& key, Purpose purpose, std::size_t begin, std::size_t end, Row&& row) {
    constexpr std::size_t together = 16, width = 4 * blocks;
    std::uint32_t words[(together + 3) * width];
    for (std::size_t i = begin; i < end; i += together) {
        const std::size_t n = std::min(together, end - i);
        begin_streams<blocks>(key, purpose, i, n, words);
        for (std::size_t k = 0; k < n; ++k) {
            Stream stream(key, purpose, i + k, words + k * width, blocks);
            row(i + k, stream);
        }
    }
}

}  // namespace nasx
