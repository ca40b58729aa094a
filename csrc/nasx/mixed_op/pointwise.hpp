// Pointwise (1x1) convolutions of few channels, and their gradients.
//
// Pixels lie one after another, each with its channels: (pixels, channels), contiguous. Weights lie as in
// PyTorch: (out_channels, in_channels). T is float or double. Neither the CPU level nor the number of threads
// changes a bit of the results.
//
// Arrays are given by pointers to as many numbers as the shape says, and those that are written overlap no
// others. Time: O(pixels * in_channels * out_channels); images are read once in either direction, as long as
// both channels together are few enough for the first cache. Room: the weights once more; backward at most 32
// times.
//
// All functions throw std::invalid_argument when a number of channels is no multiple of 8, which vectors
// need. Sizes may be zero.
//
// M. Lin, Q. Chen and S. Yan, "Network In Network", ICLR 2014.
#pragma once

#include <cstddef>

namespace nasx::mixed_op {

struct PointwiseShape {
    std::size_t pixels;
    std::size_t in_channels;
    std::size_t out_channels;
};

// out (pixels, out_channels) = the products of weights and x (pixels, in_channels), added up channel after
// channel.
template <class T>
void pointwise(const PointwiseShape& shape, const T* x, const T* weights, T* out);

// Gradients of a loss whose gradient with respect to `out` is `grad`: grad_x (pixels, in_channels) and
// grad_weights (out_channels, in_channels). Either may be null: it is not wanted. The weights' are added up
// as T over at most 32 parts of the pixels, then as double.
template <class T>
void pointwise_backward(const PointwiseShape& shape, const T* grad, const T* x, const T* weights, T* grad_x,
                        T* grad_weights);

}  // namespace nasx::mixed_op
