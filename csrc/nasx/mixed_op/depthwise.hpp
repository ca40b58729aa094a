// ReLU and a depthwise convolution in one, and their gradients.
//
// Images lie with their channels last: (images, height, width, channels), contiguous. Each channel has its
// own square kernel, and they lie as in PyTorch: (channels, kernel, kernel). The padding, dilation * (kernel
// / 2) zeros on every side, keeps height and width at stride 1. T is float or double. Neither the CPU level
// nor the number of threads changes a bit of the results. ReLU is as in PyTorch: NaN passes, also its
// gradient.
//
// Arrays are given by pointers to as many numbers as the shape says, and those that are written overlap no
// others. Time: O(images * height * width * channels * kernel^2) in arithmetic; every image is read once in
// the forward pass, and twice with its gradient in the backward pass. Room: for each thread as many padded
// rows as a kernel reaches over, at most 9; for the weights' gradient at most 32 times as many numbers as
// weights, or eight times that where the channels are no multiple of 8.
//
// All functions throw std::invalid_argument when the kernel is neither 3 nor 5, or the stride or the dilation
// neither 1 nor 2. Sizes may be zero.
//
// F. Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017, describes such
// convolutions; H. Liu, K. Simonyan and Y. Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, puts
// the ReLU before them.
#pragma once

#include <cstddef>

namespace nasx::mixed_op {

struct DepthwiseShape {
    std::size_t images;
    std::size_t height;
    std::size_t width;
    std::size_t channels;
    std::size_t kernel;
    std::size_t stride;
    std::size_t dilation;

    std::size_t padding() const { return dilation * (kernel / 2); }
    // size / stride, rounded up.
    std::size_t out_height() const { return height / stride + height % stride; }
    std::size_t out_width() const { return width / stride + width % stride; }
};

// out (images, out_height, out_width, channels) = the convolution of max(x, 0). Products are added up row
// after row of the kernel.
template <class T>
void relu_depthwise(const DepthwiseShape& shape, const T* x, const T* weights, T* out);

// Gradients of a loss whose gradient with respect to `out` is `grad`: grad_x, of the images' shape, and
// grad_weights (channels, kernel, kernel). Either may be null: it is not wanted. The weights' are added up as
// T over rows, then over at most 32 parts of the batch as double.
template <class T>
void relu_depthwise_backward(const DepthwiseShape& shape, const T* grad, const T* x, const T* weights,
                             T* grad_x, T* grad_weights);

}  // namespace nasx::mixed_op
