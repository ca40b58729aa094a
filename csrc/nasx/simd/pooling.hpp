// The hot loops of 3x3 pooling, compiled once per CPU level like those of kernels.hpp and by its rules.
//
// A row is (width, channels) numbers side by side. A window is first taken in each of its rows and then over
// the rows, so that neighbouring windows share the first half of the work. Every level does the same
// operations on each number, in the same order and without fused ones, so that the results are the same bits.
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

// An integer as wide as T: which of three numbers is meant is kept in it between the two halves of the work.
template <class T>
struct WordOf;
template <>
struct WordOf<float> {
    using type = int32_t;
};
template <>
struct WordOf<double> {
    using type = int64_t;
};
template <class T>
using Word = typename WordOf<T>::type;

// Arrays need no alignment.
template <class T>
struct PoolingLoops {
    // For each window of a row the largest number, and which of its three columns it is in: the first of
    // equal ones, the last NaN if there is one.
    void (*max_in_row)(const PoolingRow& row, const T* x, T* largest, Word<T>* columns);

    // The same over `count` (1 to 3) rows of n such results, of which the first is row `first` of the
    // windows. places[i] = 3 * row + column.
    void (*max_over_rows)(const T* const* rows, const Word<T>* const* columns, size_t count, size_t first,
                          size_t n, T* out, int8_t* places);

    // The gradient of one row of inputs: grad_x[i] = the sum of what the outputs of `count` rows have to pass
    // on to it. In rows[r], with what max_over_rows gave in places[r], it is row kernel_rows[r] of the
    // windows.
    void (*max_backward)(const PoolingRow& row, const T* const* rows, const int8_t* const* places,
                         const int* kernel_rows, size_t count, T* grad_x);

    // For each window of a row the sum of its columns.
    void (*sum_in_row)(const PoolingRow& row, const T* x, T* sums);

    // Means of windows of `count` (1 to 3) rows of such sums: sums times 1 / n, as T.
    void (*mean_over_rows)(const PoolingRow& row, const T* const* rows, size_t count, T* out);

    // For each column the sum of the gradients of windows that it is in, each times 1 / n for the n numbers
    // in the window, which has `count` rows. `shares` is room for a row of outputs.
    void (*spread_in_row)(const PoolingRow& row, const T* grad, size_t count, T* shares, T* spread);

    // out (n) = the sum of `count` (1 to 3) rows.
    void (*sum_over_rows)(const T* const* rows, size_t count, size_t n, T* out);
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
