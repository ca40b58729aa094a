// Exponentials, and activations and weighted sums of evolved networks, compiled once per CPU level as the
// other kernels are.
//
// Every level does the same operations on each number, in the same order and without fused ones, so that the
// results are the same bits.
#pragma once

#include <stddef.h>

namespace nasx::simd {

// All counts are multiples of `lanes`; arrays need no alignment.
struct ActivationKernels {
    static constexpr size_t lanes = 4;

    // In place, of arguments clipped to -708..709. Errors: 4e-16 of the result.
    void (*exponential)(double* x, size_t n);

    // out = weight * x; in place too.
    void (*scale)(const double* x, double weight, double* out, size_t n);

    // out = out + weight * x, by aggregation (sum, mean, max, product): the mean is a sum here.
    void (*combine[4])(const double* x, double weight, double* out, size_t n);

    // In place, by nasx::neat::Activation. Errors: exp and what is made of it 4e-16 of the result or 1e-16,
    // sin 1e-15. sin is that of the argument clipped to -2^20..2^20. NaN stays NaN.
    void (*activate[8])(double* x, size_t n);
};

extern const ActivationKernels baseline_activation_kernels;
#ifdef NASX_HAS_AVX2
extern const ActivationKernels avx2_activation_kernels;
#endif

}  // namespace nasx::simd
