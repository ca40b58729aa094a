// The hot loops of depthwise convolutions, compiled once per CPU level like those of kernels.hpp and by its
// rules.
//
// A row is pixels side by side, each of `channels` numbers. Weights are repeated until they fill whole
// vectors: `period` numbers, a multiple of the channels and of 8, so that pixels narrower than a vector share
// one. Every level does the same operations on each number, in the same order and without fused ones, so that
// the results are the same bits.
#pragma once

#include <stddef.h>

namespace nasx::simd {

// One weight of a kernel, for all channels: `weights` (period), and the numbers that it is multiplied by.
template <class T>
struct Tap {
    const T* numbers;
    const T* weights;
};

// Arrays need no alignment.
template <class T>
struct DepthwiseLoops {
    // out (pixels, channels) = max(x, 0) of every step-th pixel of x.
    void (*rectify)(const T* x, size_t pixels, size_t channels, size_t step, T* out);

    // out[i] = the sum over `count` taps of numbers[i] * weights[i % period], from the first on, for i < n.
    void (*convolve)(const Tap<T>* taps, size_t count, size_t period, size_t n, T* out);

    // Every step-th pixel of grad_x = that of grad (pixels, channels) where that of x is not <= 0, else zero.
    void (*pass_back)(const T* x, const T* grad, size_t pixels, size_t channels, size_t step, T* grad_x);

    // sums[t * period + i % period] += grad[i] * rows[t][i] for i < n and t < `count`, which is 3 or 5: even
    // and odd periods are first added up by themselves.
    void (*multiply)(const T* grad, const T* const* rows, size_t count, size_t period, size_t n, T* sums);
};

struct DepthwiseKernels {
    DepthwiseLoops<float> singles;
    DepthwiseLoops<double> doubles;
};

extern const DepthwiseKernels baseline_depthwise;
#ifdef NASX_HAS_AVX2
extern const DepthwiseKernels avx2_depthwise;
#endif

}  // namespace nasx::simd
