// The hot loops of weighted sums, compiled once per CPU level like those of kernels.hpp and by its rules.
//
// Every level does the same operations on each number, in the same order and without fused ones, so that the
// results are the same bits.
#pragma once

#include <stddef.h>

namespace nasx::simd {

// Arrays need no alignment.
template <class T>
struct WeightedSumLoops {
    // out[i] = weights[0] * terms[0][i] + weights[1] * terms[1][i] + ..., from left to right, for i in
    // [begin, end). count >= 1.
    void (*sum)(const T* const* terms, const T* weights, size_t count, size_t begin, size_t end, T* out);

    // out[i] += term[i] for i < n.
    void (*add)(const T* term, size_t n, T* out);

    // scaled (n) = weight * grad (n). It is written past the caches if `past`: it must then begin at a
    // multiple of 32 bytes.
    void (*scale)(const T* grad, T weight, T* scaled, size_t n, bool past);

    // The inner product of grad (n) and term (n): products are added up as T in runs of 512, at most 16 in a
    // row, and what comes of that as double.
    double (*dot)(const T* grad, const T* term, size_t n);

    // Both, in one pass.
    double (*scale_and_dot)(const T* grad, const T* term, T weight, T* scaled, size_t n, bool past);
};

struct WeightedSumKernels {
    WeightedSumLoops<float> singles;
    WeightedSumLoops<double> doubles;
};

extern const WeightedSumKernels baseline_weighted_sum;
#ifdef NASX_HAS_AVX2
extern const WeightedSumKernels avx2_weighted_sum;
#endif

}  // namespace nasx::simd
