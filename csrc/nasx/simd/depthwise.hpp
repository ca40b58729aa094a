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

// How the weights of one row of a kernel meet pixels: `first` of them (1, 2, 3 or 5) meet pixels that are
// `apart` (1 or 2) columns from each other, and `second` more (at most 2) others that are side by side.
struct Taps {
    size_t first;
    size_t apart;
    size_t second;
};

// One row of a kernel: its weights (first + second, period), and the numbers that the first of either kind is
// multiplied by.
template <class T>
struct KernelRow {
    const T* first;
    const T* second;
    const T* weights;
};

// Arrays need no alignment, but what begins at a multiple of 32 bytes is read faster.
template <class T>
struct DepthwiseLoops {
    // out (pixels, channels) = max(x, 0) of every step-th pixel of x.
    void (*rectify)(const T* x, size_t pixels, size_t channels, size_t step, T* out);

    // out (n) = the sum of the products of numbers and weights of `count` rows, row after row and weight
    // after weight; weights are repeated after `period` numbers. It is zero where numbers of x (n) are <= 0,
    // if x is not null, and added to what is in out if `add`.
    void (*convolve)(const Taps& taps, const KernelRow<T>* rows, size_t count, size_t channels, size_t period,
                     size_t n, const T* x, bool add, T* out);

    // Every step-th pixel of out = one of numbers (pixels, channels), or that is added to it if `add`.
    void (*spread)(const T* numbers, size_t pixels, size_t channels, size_t step, bool add, T* out);

    // sums[t * period + i % period] += grads[r][i] * xs[r][t * apart * channels + i] for i < n, t < `count`,
    // which is 1, 2, 3 or 5, and r < rows: even and odd periods of a row are first added up by themselves.
    void (*multiply)(const T* const* grads, const T* const* xs, size_t rows, size_t count, size_t apart,
                     size_t channels, size_t period, size_t n, T* sums);
};

struct DepthwiseKernels {
    DepthwiseLoops<float> singles;
    DepthwiseLoops<double> doubles;
};

extern const DepthwiseKernels baseline_depthwise;
#ifdef NASX_HAS_AVX2
extern const DepthwiseKernels avx2_depthwise;
extern const DepthwiseKernels avx512_depthwise;
#endif

}  // namespace nasx::simd
