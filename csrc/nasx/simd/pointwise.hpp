// The hot loops of pointwise convolutions, compiled once per CPU level like those of kernels.hpp and by its
// rules.
//
// Pixels lie one after another, each of a number of channels that is a multiple of 8. Every level does the
// same operations on each number, in the same order and without fused ones, so that the results are the same
// bits.
#pragma once

#include <stddef.h>

namespace nasx::simd {

// Arrays need no alignment.
template <class T>
struct PointwiseLoops {
    // out (pixels, columns) = the product of x (pixels, rows) and the matrix (rows, columns), added up row
    // after row.
    void (*product)(const T* x, const T* matrix, size_t pixels, size_t rows, size_t columns, T* out);

    // sums (rows, columns) += the sum over pixels of grad[row] * x[column], which are first added up by
    // themselves.
    void (*outer)(const T* grad, const T* x, size_t pixels, size_t rows, size_t columns, T* sums);
};

struct PointwiseKernels {
    PointwiseLoops<float> singles;
    PointwiseLoops<double> doubles;
};

extern const PointwiseKernels baseline_pointwise;
#ifdef NASX_HAS_AVX2
extern const PointwiseKernels avx2_pointwise;
#endif

}  // namespace nasx::simd
