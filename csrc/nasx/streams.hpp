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

// Calls row(i, words) for the rows from `begin` to `end`, in order, each with the first `blocks` of four
// numbers of its own Stream(key, purpose, i).
template <std::size_t blocks, class Row>
void for_words(const StreamKey& key, Purpose purpose, std::size_t begin, std::size_t end, Row&& row) {
    constexpr std::size_t together = 32, width = 4 * blocks;
    std::uint32_t words[(together + 3) * width];
    for (std::size_t i = begin; i < end; i += together) {
        const std::size_t n = std::min(together, end - i);
        begin_streams<blocks>(key, purpose, i, n, words);
        for (std::size_t k = 0; k < n; ++k) {
            row(i + k, words + k * width);
        }
    }
}

// Calls row(i, stream) for the rows from `begin` to `end`, in order, each with its own
// Stream(key, purpose, i). `blocks` of four numbers are made in advance, 2 or 4: about as many as rows draw.
template <std::size_t blocks, class Row>
void for_streams(const StreamKey& key, Purpose purpose, std::size_t begin, std::size_t end, Row&& row) {
    for_words<blocks>(key, purpose, begin, end, [&](std::size_t i, const std::uint32_t* words) {
        Stream stream(key, purpose, i, words, blocks);
        row(i, stream);
    });
}

// The first numbers of a stream without its ways out, which cost more than the numbers: what below() gives is
// what the stream's gives, unless one of them had to be drawn again.
class StreamStart {
  public:
    explicit StreamStart(const std::uint32_t* words) : next_(words) {}

    std::uint32_t below(std::uint32_t bound) {
        const std::uint64_t product = std::uint64_t{*next_++} * bound;
        redrawn_ |= static_cast<std::uint32_t>(product) < bound;
        return static_cast<std::uint32_t>(product >> 32);
    }

    // Whether below() may have been wrong: once in 2^32 / bound numbers.
    bool redrawn() const { return redrawn_; }

  private:
    const std::uint32_t* next_;
    bool redrawn_ = false;
};

// The same as for_streams for rows that draw at most 4 `blocks` numbers, all by below(): row(i, start) comes
// with a StreamStart, and the few for which that does not suffice once more with a Stream.
template <std::size_t blocks, class Row>
void for_short_streams(const StreamKey& key, Purpose purpose, std::size_t begin, std::size_t end, Row&& row) {
    for_words<blocks>(key, purpose, begin, end, [&](std::size_t i, const std::uint32_t* words) {
        StreamStart start(words);
        row(i, start);
        if (start.redrawn()) {
            Stream stream(key, purpose, i, words, blocks);
            row(i, stream);
        }
    });
}

}  // namespace nasx
