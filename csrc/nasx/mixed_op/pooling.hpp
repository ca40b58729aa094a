// Max and average pooling over windows of 3x3 pixels, padding 1, stride 1 or 2, and their gradients.
//
// Images lie with their channels last: (images, height, width, channels), contiguous. What is beyond the
// border is in no window: it is never the largest, and an average is over the pixels that are there. T is
// float or double. Neither the CPU level nor the number of threads changes a bit of the results, but for the
// sign of NaN in sums.
//
// Arrays are given by pointers to as many numbers as the shape says, and those that are written overlap no
// others. Time: O(images * height * width * channels); what is read twice is in a cache by then. Room: for
// each thread up to two rows of an image.
//
// All functions throw std::invalid_argument when the stride is neither 1 nor 2. Sizes may be zero.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nasx::mixed_op {

// Of the images that are pooled.
struct PoolingShape {
    std::size_t images;
    std::size_t height;
    std::size_t width;
    std::size_t channels;
    std::size_t stride;

    // Windows in a column and in a row: size / stride, rounded up.
    std::size_t out_height() const { return height / stride + height % stride; }
    std::size_t out_width() const { return width / stride + width % stride; }
};

// out (images, out_height, out_width, channels) = the largest number of each window, and `places`, of the
// same shape, which it is: 3 * row + column in its window. Of equal numbers it is the first in this order. A
// window with NaN gives NaN, and the place of the last one, as in PyTorch.
template <class T>
void max_pool_3x3(const PoolingShape& shape, const T* x, T* out, std::int8_t* places);

// grad_x (images, height, width, channels) = the gradient of a loss whose gradient with respect to `out` is
// `grad`: each output's goes to its place. Sums are taken in the order of the outputs.
template <class T>
void max_pool_3x3_backward(const PoolingShape& shape, const T* grad, const std::int8_t* places, T* grad_x);

// out (images, out_height, out_width, channels) = the mean of each window.
template <class T>
void avg_pool_3x3(const PoolingShape& shape, const T* x, T* out);

// grad_x (images, height, width, channels) = the gradient of a loss whose gradient with respect to `out` is
// `grad`: each output's goes in equal shares to the pixels of its window.
template <class T>
void avg_pool_3x3_backward(const PoolingShape& shape, const T* grad, T* grad_x);

}  // namespace nasx::mixed_op
