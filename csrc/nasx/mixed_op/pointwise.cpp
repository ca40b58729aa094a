#include "nasx/mixed_op/pointwise.hpp"

#include <stdexcept>
#include <string>
#include <vector>

#include "nasx/mixed_op/pointwise_passes.hpp"

namespace nasx::mixed_op {

using namespace pointwise_passes;

namespace {

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

}  // namespace

template <class T>
void pointwise(const PointwiseShape& shape, const T* x, const T* weights, T* out) {
    check(shape);
    const std::size_t in = shape.in_channels, outs = shape.out_channels;
    if (outs == 0 || shape.pixels == 0) {
        return;
    }
    const Aligned<T> matrix = turned(shape, weights);
    parallel_for(0, shape.pixels, rows_at_once(outs), [&](std::size_t begin, std::size_t end) {
        for_blocks(shape, begin, end, [&](std::size_t first, std::size_t count) {
            loops<T>().product(x + first * in, matrix.data(), count, in, outs, out + first * outs);
        });
    });
}

// Both gradients of a block of pixels are computed together, while it is in the cache.
template <class T>
void pointwise_backward(const PointwiseShape& shape, const T* grad, const T* x, const T* weights, T* grad_x,
                        T* grad_weights) {
    check(shape);
    // Parts whose sums for the weights' gradient are kept apart: they do not depend on the threads.
    constexpr std::size_t most_parts = 32;
    const std::size_t pixels = shape.pixels, in = shape.in_channels, outs = shape.out_channels;
    const std::size_t numbers = in * outs;
    if (in == 0) {
        return;
    }
    const std::size_t in_part = std::max(rows_at_once(in), (pixels + most_parts - 1) / most_parts);
    const std::size_t parts = (pixels + in_part - 1) / in_part;
    Aligned<T> sums(grad_weights == nullptr ? 0 : parts * numbers);
    parallel_for(0, parts, 1, [&](std::size_t first_part, std::size_t last_part) {
        for (std::size_t part = first_part; part < last_part; ++part) {
            const std::size_t end = std::min(pixels, (part + 1) * in_part);
            for_blocks(shape, part * in_part, end, [&](std::size_t first, std::size_t count) {
                const T* const passed = grad + first * outs;
                if (grad_weights != nullptr) {
                    loops<T>().outer(passed, x + first * in, count, outs, in, sums.data() + part * numbers);
                }
                if (grad_x != nullptr) {
                    loops<T>().product(passed, weights, count, outs, in, grad_x + first * in);
                }
            });
        }
    });
    if (grad_weights != nullptr) {
        finish(sums, numbers, grad_weights);
    }
}

template void pointwise(const PointwiseShape&, const float*, const float*, float*);
template void pointwise(const PointwiseShape&, const double*, const double*, double*);
template void pointwise_backward(const PointwiseShape&, const float*, const float*, const float*, float*,
                                 float*);
template void pointwise_backward(const PointwiseShape&, const double*, const double*, const double*, double*,
                                 double*);

}  // namespace nasx::mixed_op
