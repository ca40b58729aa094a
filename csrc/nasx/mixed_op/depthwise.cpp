#include "nasx/mixed_op/depthwise.hpp"

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

#include "nasx/mixed_op/depthwise_passes.hpp"

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
    const Outputs<T> outputs(shape, layout, weights);
    const std::size_t numbers = shape.out_width() * shape.channels;
    const RowsAhead<const T> next{x, shape.images * shape.height, shape.width * shape.channels};
    const RowsAhead<T> next_out{out, shape.images * shape.out_height(), numbers};
    for_rows(
        shape.images, shape.out_height(), numbers,
        [&] {
            RectifiedRows<T> images(shape, layout, layout.rows());
            images.read(x, {});
            return images;
        },
        [&](RectifiedRows<T>& images, std::size_t image, std::size_t out_row, std::size_t number) {
            const std::size_t row = image * shape.height + out_row * shape.stride + shape.padding();
            next.ask_ahead(row, shape.stride);
            next_out.ask_ahead(number, 1);
            outputs(images, image, out_row, out + number * numbers);
        });
}

// Both gradients of a part of the batch are computed together, while its rows are in the cache.
template <class T>
void relu_depthwise_backward(const DepthwiseShape& shape, const T* grad, const T* x, const T* weights,
                             T* grad_x, T* grad_weights) {
    check(shape);
    // Parts whose sums for the weights' gradient are kept apart: they do not depend on the threads.
    constexpr std::size_t most_parts = 32;
    const std::size_t numbers = shape.out_width() * shape.channels, rows = shape.images * shape.out_height();
    if (numbers == 0 || rows == 0) {
        if (grad_weights != nullptr) {
            std::fill_n(grad_weights, shape.channels * shape.kernel * shape.kernel, T{0});
        }
        return;
    }
    const Layout layout(shape);
    const Gradients<T> gradients(shape, layout, weights, false, grad_x);
    const RowsAhead<const T> next{x, shape.images * shape.height, shape.width * shape.channels};
    const RowsAhead<const T> next_grad{grad, rows, numbers};
    const RowsAhead<T> next_grad_x{grad_x, next.count, next.numbers};
    const std::size_t reach = layout.rows_at_once() + shape.padding() / shape.stride;
    const std::size_t in_part = std::max(rows_at_once(numbers), (rows + most_parts - 1) / most_parts);
    const std::size_t parts = (rows + in_part - 1) / in_part;
    Aligned<T> sums(grad_weights == nullptr ? 0 : parts * gradients.sum_size());
    parallel_for(0, parts, 1, [&](std::size_t first, std::size_t last) {
        GradientRows<T> kept(shape, layout, layout.rows());
        RectifiedRows<T> images(shape, layout, layout.rows_for(layout.rows_at_once()));
        images.read(x, {});
        std::size_t end;
        for (std::size_t i = first * in_part; i < std::min(rows, last * in_part); i = end) {
            // The rest of an image or of a part.
            const std::size_t image = i / shape.out_height(), part = i / in_part;
            const std::size_t before = image * shape.out_height();
            end = std::min({before + shape.out_height(), (part + 1) * in_part, rows});
            gradients(kept, images, grad + before * numbers, image, i - before, end - before,
                      sums.empty() ? nullptr : sums.data() + part * gradients.sum_size(), [&](std::size_t h) {
                          const std::size_t row = image * shape.height + h;
                          next.ask_ahead(row + reach * shape.stride, 1);
                          next_grad_x.ask_ahead(row, 1);
                          if (h % shape.stride == 0) {
                              next_grad.ask_ahead(before + h / shape.stride + reach, 1);
                          }
                      });
        }
    });
    if (grad_weights != nullptr) {
        gradients.finish(sums, grad_weights);
    }
}

template void relu_depthwise(const DepthwiseShape&, const float*, const float*, float*);
template void relu_depthwise(const DepthwiseShape&, const double*, const double*, double*);
template void relu_depthwise_backward(const DepthwiseShape&, const float*, const float*, const float*, float*,
                                      float*);
template void relu_depthwise_backward(const DepthwiseShape&, const double*, const double*, const double*,
                                      double*, double*);

}  // namespace nasx::mixed_op
