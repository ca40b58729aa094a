#include "nasx/mixed_op/depthwise.hpp"

#include <array>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

#include "nasx/mixed_op/depthwise_rows.hpp"
#include "nasx/mixed_op/rows.hpp"

namespace nasx::mixed_op {

void depthwise::check(const DepthwiseShape& shape) {
    if (shape.kernel != 3 && shape.kernel != 5) {
        throw std::invalid_argument("kernel must be 3 or 5; got " + std::to_string(shape.kernel));
    }
    if (shape.stride != 1 && shape.stride != 2) {
        throw std::invalid_argument("stride must be 1 or 2; got " + std::to_string(shape.stride));
    }
    if (shape.dilation != 1 && shape.dilation != 2) {
        throw std::invalid_argument("dilation must be 1 or 2; got " + std::to_string(shape.dilation));
    }
}

using namespace depthwise;

template <class T>
void relu_depthwise(const DepthwiseShape& shape, const T* x, const T* weights, T* out) {
    check(shape);
    const Layout layout(shape);
    const std::size_t period = period_of(shape.channels), numbers = shape.out_width() * shape.channels;
    const Used used = used_forward(shape);
    const std::vector<T> factors = side_by_side(shape, used, weights);
    const std::size_t first = layout.tap(used.columns[0]);
    const std::size_t second = used.taps.second == 0 ? first : layout.tap(used.columns[used.taps.first]);
    for_rows(
        shape.images, shape.out_height(), numbers,
        [&] { return LastRows<T>(layout.image_size(), layout.rows()); },
        [&](LastRows<T>& kept, std::size_t image, std::size_t out_row, std::size_t number) {
            std::array<KernelRow<T>, widest_kernel> rows;
            std::size_t count = 0;
            for_kernel_rows(shape, out_row, [&](std::size_t k, std::size_t h) {
                const T* const row = rectified(shape, layout, x, image, h, kept);
                rows[count++] = {row + first, row + second, factors.data() + k * used.count() * period};
            });
            loops<T>().convolve(used.taps, rows.data(), count, shape.channels, period, numbers, nullptr,
                                out + number * numbers);
        });
}

template void relu_depthwise(const DepthwiseShape&, const float*, const float*, float*);
template void relu_depthwise(const DepthwiseShape&, const double*, const double*, double*);

}  // namespace nasx::mixed_op
