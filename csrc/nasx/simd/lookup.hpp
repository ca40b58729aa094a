// The hot loop of latency tables, compiled once per CPU level like those of kernels.hpp and by its rules.
//
// Every level adds up the same numbers of a row in the same order, so that the sums are the same bits.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace nasx::simd {

// What LatencyTable holds.
struct Lookup {
    size_t decisions;
    const int32_t* counts;  // of the choices of each decision
    // entries[entry_starts[j] + k] is what choice k of decision j adds; before choice 0 there is a zero, and
    // `padding` more numbers can be read after the last.
    const double* entries;
    const size_t* entry_starts;
    // pairs[pair_starts[j] + k * (counts[j + 1] + 1) + l] is what choice k of decision j and choice l of the
    // next add, and 0 where k or l is -1. Null where there are none.
    const double* pairs;
    const size_t* pair_starts;
    double intercept;

    static constexpr size_t padding = 16;
};

struct LookupKernels {
    // `room` for at least this many choices of each decision.
    static constexpr size_t rows_at_once = 64;

    // out (n) = the sums of n rows of choices: the intercept, the entries, the pairs, in this order. Stops at
    // a choice that is not in [-1, count); gives how many rows are done, n if all are.
    size_t (*sum)(const Lookup& table, const int32_t* genotypes, size_t n, int32_t* room, double* out);
};

extern const LookupKernels baseline_lookup;
#ifdef NASX_HAS_AVX2
extern const LookupKernels avx2_lookup;
#endif

}  // namespace nasx::simd
