// The passes of a pointwise convolution over blocks of pixels.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "nasx/mixed_op/pointwise.hpp"
#include "nasx/mixed_op/rows.hpp"
#include "nasx/parallel.hpp"
#include "nasx/simd/level.hpp"
#include "nasx/simd/pointwise.hpp"

namespace nasx::mixed_op::pointwise_passes {

template <class T>
const simd::PointwiseLoops<T>& loops() {
    return simd::loops_of<T>(NASX_AT_LEVEL(pointwise));
}

// Pixels that are worked on at once: what is read twice stays in the first cache. Six are multiplied at once.
inline std::size_t pixels_at_once(const PointwiseShape& shape) {
    constexpr std::size_t numbers = 4096;
    return std::max<std::size_t>(8, numbers / (shape.in_channels + shape.out_channels) / 6) * 6;
}

// Calls function(first, count) for blocks of the pixels [begin, end).
template <class Function>
void for_blocks(const PointwiseShape& shape, std::size_t begin, std::size_t end, Function function) {
    const std::size_t at_once = pixels_at_once(shape);
    for (std::size_t first = begin; first < end; first += at_once) {
        function(first, std::min(at_once, end - first));
    }
}

// Weights (out_channels, in_channels) with rows and columns exchanged.
template <class T>
Aligned<T> turned(const PointwiseShape& shape, const T* weights) {
    const std::size_t in = shape.in_channels, outs = shape.out_channels;
    Aligned<T> out(in * outs);
    for (std::size_t o = 0; o < outs; ++o) {
        for (std::size_t c = 0; c < in; ++c) {
            out[c * outs + o] = weights[o * in + c];
        }
    }
    return out;
}

// grad_weights (out_channels, in_channels) = the sums of parts.
template <class T>
void finish(const Aligned<T>& sums, std::size_t numbers, T* grad_weights) {
    const std::vector<double> all = add_parts(sums, numbers);
    std::transform(all.begin(), all.end(), grad_weights, [](double sum) { return static_cast<T>(sum); });
}

}  // namespace nasx::mixed_op::pointwise_passes
