// The hot loops of batch normalisation, compiled once per CPU level like those of kernels.hpp and by its
// rules.
//
// Numbers lie pixel after pixel, `period` of them with statistics of their own: a multiple of the channels
// and of 8, so that pixels narrower than a vector share one. Statistics are repeated as often. Every level
// does the same operations on each number, in the same order and without fused ones, so that the results are
// the same bits.
#pragma once

#include <stddef.h>

namespace nasx::simd {

// Arrays need no alignment.
template <class T>
struct BatchNormLoops {
    // sums[i % period] += x[i] for i < n. Here and below every fourth period is first added up by itself.
    void (*add)(const T* x, size_t period, size_t n, T* sums);

    // sums[i % period] += (x[i] - means[i % period])^2.
    void (*add_squares)(const T* x, const T* means, size_t period, size_t n, T* sums);

    // sums[i % period] += grad[i] and products[i % period] += grad[i] * (x[i] - means[i % period]).
    void (*add_products)(const T* grad, const T* x, const T* means, size_t period, size_t n, T* sums,
                         T* products);

    // out[i] = (x[i] - means[i % period]) * scales[i % period].
    void (*normalize)(const T* x, const T* means, const T* scales, size_t period, size_t n, T* out);

    // The same added to what is in `out`.
    void (*add_normalized)(const T* x, const T* means, const T* scales, size_t period, size_t n, T* out);

    // grad_x[i] = (grad[i] - shifts[i % period] - (x[i] - means[i % period]) * slopes[i % period]) *
    // scales[i % period].
    void (*pass_back)(const T* grad, const T* x, const T* means, const T* shifts, const T* slopes,
                      const T* scales, size_t period, size_t n, T* grad_x);
};

struct BatchNormKernels {
    BatchNormLoops<float> singles;
    BatchNormLoops<double> doubles;
};

extern const BatchNormKernels baseline_batch_norm;
#ifdef NASX_HAS_AVX2
extern const BatchNormKernels avx2_batch_norm;
extern const BatchNormKernels avx512_batch_norm;
#endif

}  // namespace nasx::simd
