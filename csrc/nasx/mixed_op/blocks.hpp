// What kernels on pixels with statistics for each channel share: blocks of pixels, and hot loops.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <vector>

#include "nasx/mixed_op/rows.hpp"
#include "nasx/parallel.hpp"
#include "nasx/simd/batch_norm.hpp"
#include "nasx/simd/level.hpp"
#include "nasx/simd/weighted_sum.hpp"

namespace nasx::mixed_op {

template <class T>
const simd::BatchNormLoops<T>& norm_loops() {
    return simd::loops_of<T>(NASX_AT_WIDE_LEVEL(batch_norm));
}

template <class T>
const simd::WeightedSumLoops<T>& sum_loops() {
    return simd::loops_of<T>(NASX_AT_LEVEL(weighted_sum));
}

// Numbers (channels) as often as a period has them.
template <class T>
Aligned<T> repeated(const T* numbers, std::size_t channels) {
    Aligned<T> out(period_of(channels));
    for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = numbers[i % channels];
    }
    return out;
}

// sums (channels), as double, of numbers (period) that belong to the same.
template <class T>
void fold(const Aligned<T>& numbers, std::size_t channels, double* sums) {
    std::fill_n(sums, channels, 0.0);
    for (std::size_t begin = 0; begin < numbers.size(); begin += channels) {
        for (std::size_t c = 0; c < channels; ++c) {
            sums[c] += static_cast<double>(numbers[begin + c]);
        }
    }
}

// Blocks of whole rows, which are pixels. They depend on sizes alone, so that sums do.
struct Blocks {
    // Numbers of a block: what is read twice stays in the first cache.
    static constexpr std::size_t size = 4096;

    std::size_t rows, channels, period, in_block, count;

    Blocks(std::size_t rows_, std::size_t channels_)
        : rows(rows_),
          channels(channels_),
          period(period_of(channels_)),
          in_block(std::max<std::size_t>(1, size / period) * (period / channels)),
          count((rows + in_block - 1) / in_block) {}

    std::size_t begin(std::size_t block) const { return block * in_block * channels; }
    std::size_t rows_of(std::size_t block) const { return std::min(in_block, rows - block * in_block); }

    // Calls function(at, n) for about so many numbers of a block at a time. Arrays that are read side by side
    // move on together: hardware then asks for their memory by itself.
    template <class Function>
    void run_pieces(std::size_t block, std::size_t numbers, Function function) const {
        const std::size_t at_once = std::max<std::size_t>(1, numbers / period) * period;
        const std::size_t end = begin(block) + rows_of(block) * channels;
        for (std::size_t at = begin(block); at < end; at += at_once) {
            function(at, std::min(at_once, end - at));
        }
    }

    // Calls function(block) for all of them.
    template <class Function>
    void run(Function function) const {
        parallel_for(0, count, numbers_at_once / size, [&](std::size_t first, std::size_t last) {
            for (std::size_t block = first; block < last; ++block) {
                function(block);
            }
        });
    }
};

inline void check_rows(std::size_t rows) {
    if (rows == 0) {
        throw std::invalid_argument("rows must not be 0: there is no mean of nothing; got 0");
    }
}

}  // namespace nasx::mixed_op
