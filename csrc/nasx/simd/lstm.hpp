// The hot loops of an LSTM cell, compiled once per CPU level like those of kernels.hpp and by its rules.
//
// Every level does the same operations on each number, in the same order and without fused ones, so that the
// results are the same bits; nor do they depend on how many rows are taken at once.
#pragma once

#include <stddef.h>

namespace nasx::simd {

// Arrays need no alignment.
struct LstmKernels {
    // out (n, columns) += the product of n rows of `inputs` numbers, wherever they lie, and the matrix
    // (inputs, columns), added up input after input.
    void (*add_product)(const float* const* rows, size_t n, size_t inputs, const float* matrix,
                        size_t columns, float* out);

    // One step of h units: gates (4 h) in the order input, forget, cell, output, before their functions.
    // Relative errors of the functions are below 1e-6.
    void (*step)(const float* gates, float* memory, float* hidden, size_t h);
};

extern const LstmKernels baseline_lstm_kernels;
#ifdef NASX_HAS_AVX2
extern const LstmKernels avx2_lstm_kernels;
#endif

}  // namespace nasx::simd
