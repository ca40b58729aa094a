#include "nasx/mixed_op/pointwise.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "nasx/mixed_op/rows.hpp"
#include "nasx/parallel.hpp"
#include "nasx/simd/level.hpp"
#include "nasx/simd/pointwise.hpp"

namespace nasx::mixed_op {
namespace {

// Parts of the pixels whose sums for the weights' gradient are kept apart: they do not depend on the threads.
constexpr std::size_t most_parts = 32;
// Numbers of pixels that are worked on at once: what is read twice stays in the first cache.
constexpr std::size_t block_numbers = 2048;

template <class T>
const simd::PointwiseLoops<T>& loops() {
    return simd::loops_of<T>(NASX_AT_LEVEL(pointwise));
}

void check(std::size_t channels, const char* name) {
    if (channels % 8 != 0) {
        throw std::invalid_argument(std::string(name) + " must be a multiple of 8; got " +
                                    std::to_string(channels));
    }
}

void check(const PointwiseShape& shape) {
    check(shape.in_channels, "in_channels");
    check(shape.out_channels, "out_channels");
}

// Calls function(first, count) for blocks of the pixels [begin, end). Six are multiplied at once.
template <class Function>
void for_blocks(const PointwiseShape& shape, std::size_t begin, std::size_t end, Function function) {
    const std::size_t size = shape.in_channels + shape.out_channels;
    const std::size_t at_once = std::max<std::size_t>(1, block_numbers / size / 6) * 6;
    for (std::size_t first = begin; first < end; first += at_once) {
        function(first, std::min(at_once, end - first));
    }
}

}  // namespace

template <class T>
void pointwise(const PointwiseShape& shape, const T* x, const T* weights, T* out) {
    check(shape);
    const auto [pixels, in, outs] = shape;
    if (outs == 0 || pixels == 0) {
        return;
    }
    std::vector<T> turned(in * outs);
    for (std::size_t o = 0; o < outs; ++o) {
        for (std::size_t c = 0; c < in; ++c) {
            turned[c * outs + o] = weights[o * in + c];
        }
    }
    parallel_for(0, pixels, rows_at_once(outs), [&](std::size_t begin, std::size_t end) {
        for_blocks(shape, begin, end, [&](std::size_t first, std::size_t count) {
            loops<T>().product(x + first * shape.in_channels, turned.data(), count, shape.in_channels,
                               shape.out_channels, out + first * shape.out_channels);
        });
    });
}

// Both gradients of a block of pixels are computed together, while it is in the cache.
template <class T>
void pointwise_backward(const PointwiseShape& shape, const T* grad, const T* x, const T* weights, T* grad_x,
                        T* grad_weights) {
    check(shape);
    const auto [pixels, in, outs] = shape;
    const std::size_t numbers = in * outs;
    if (in == 0) {
        return;
    }
    const std::size_t in_part = std::max(rows_at_once(in), (pixels + most_parts - 1) / most_parts);
    const std::size_t parts = (pixels + in_part - 1) / in_part;
    std::vector<T> sums(grad_weights == nullptr ? 0 : parts * numbers);
    parallel_for(0, parts, 1, [&](std::size_t first_part, std::size_t last_part) {
        for (std::size_t part = first_part; part < last_part; ++part) {
            const std::size_t end = std::min(shape.pixels, (part + 1) * in_part);
            for_blocks(shape, part * in_part, end, [&](std::size_t first, std::size_t count) {
                const T* const passed = grad + first * shape.out_channels;
                if (grad_weights != nullptr) {
                    loops<T>().outer(passed, x + first * shape.in_channels, count, shape.out_channels,
                                     shape.in_channels, sums.data() + part * numbers);
                }
                if (grad_x != nullptr) {
                    loops<T>().product(passed, weights, count, shape.out_channels, shape.in_channels,
                                       grad_x + first * shape.in_channels);
                }
            });
        }
    });
    for (std::size_t i = 0; grad_weights != nullptr && i < numbers; ++i) {
        double sum = 0;
        for (std::size_t part = 0; part < parts; ++part) {
            sum += static_cast<double>(sums[part * numbers + i]);
        }
        grad_weights[i] = static_cast<T>(sum);
    }
}

template void pointwise(const PointwiseShape&, const float*, const float*, float*);
template void pointwise(const PointwiseShape&, const double*, const double*, double*);
template void pointwise_backward(const PointwiseShape&, const float*, const float*, const float*, float*,
                                 float*);
template void pointwise_backward(const PointwiseShape&, const double*, const double*, const double*, double*,
                                 double*);

}  // namespace nasx::mixed_op
