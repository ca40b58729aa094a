// The hot loops of 3x3 pooling, compiled once per CPU level like those of kernels.hpp and by its rules.
//
// A row is (width, channels) numbers side by side. Four rows are made at once, from one end to the other: a
// window is first taken in each of its rows and then over them, so that the windows of a band share the first
// half of the work, which stays in registers. Every level does the same operations on each number, in the
// same order and without fused ones, so that the results are the same bits, but for the sign of NaN in sums.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace nasx::simd {

// How windows of three columns lie in a row: window j has columns stride * j - 1 to stride * j + 1, of which
// one at either border may be missing.
struct PoolingRow {
    size_t width;
    size_t channels;
    size_t stride;     // 1 or 2
    size_t out_width;  // windows: width / stride, rounded up
};

// Rows that are made at once. Where an image has fewer left, what is written to the others means nothing.
constexpr size_t pooling_band = 4;

// What the windows of a band of outputs reach: rows stride * o to stride * o + 2 are those of output row o.
constexpr size_t pooling_inputs(size_t stride) {
    return stride * (pooling_band - 1) + 3;
}

// Output rows whose windows reach a band of inputs, of which the first is, at stride 2, an even one. They
// begin with the output row above the band at stride 1, and with that of its first row at stride 2.
constexpr size_t pooling_outputs(size_t stride) {
    return stride == 1 ? pooling_band + 2 : pooling_band / 2 + 1;
}

// Arrays need no alignment. Those that are written overlap no others, but that rows which mean nothing may
// all be the same.
template <class T>
struct PoolingLoops {
    // out[o] = for each window the largest number, and places[o] which it is, 3 * row + column: the first of
    // equal ones, the last NaN if there is one. from[r] is row numbers[r] of those that the windows reach;
    // one that is beyond the border is given as its neighbour, with the neighbour's number.
    void (*max_rows)(const PoolingRow& row, const T* const* from, const int* numbers, T* const* out,
                     int8_t* const* places);

    // grad_x[r] = for each input of a band what the outputs have to pass on to it, in their order. An output
    // row that is not there has places of -1, and any gradient.
    void (*max_rows_backward)(const PoolingRow& row, const T* const* grads, const int8_t* const* places,
                              T* const* grad_x);

    // out[o] = means of windows: sums times 1 / n, as T. Of their rows, heights[o] (1 to 3) are there, the
    // others are given as zeros.
    void (*mean_rows)(const PoolingRow& row, const T* const* from, const size_t* heights, T* const* out);

    // grad_x[r] = for each input of a band the sum of the gradients of windows that it is in, each times 1 /
    // n for the n numbers in the window, which has heights[q] rows. An output row that is not there is given
    // as zeros.
    void (*mean_rows_backward)(const PoolingRow& row, const T* const* grads, const size_t* heights,
                               T* const* grad_x);
};

struct PoolingKernels {
    PoolingLoops<float> singles;
    PoolingLoops<double> doubles;
};

extern const PoolingKernels baseline_pooling;
#ifdef NASX_HAS_AVX2
extern const PoolingKernels avx2_pooling;
extern const PoolingKernels avx512_pooling;
#endif

}  // namespace nasx::simd
