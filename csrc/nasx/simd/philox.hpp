// The first blocks of many streams of random numbers, made side by side; by the rules of kernels.hpp.
//
// Only where vectors help: elsewhere streams.cpp makes them one by one, the same numbers.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace nasx::simd {

// The names of n streams: Stream(seed, purpose, generation, item) for items first, first + 1, ...
struct StreamNames {
    uint64_t seed;
    uint32_t purpose, generation;
    uint64_t first;
    size_t n;
};

struct PhiloxKernels {
    // out = two blocks of four words for each stream, stream after stream, and room for three streams more.
    void (*two_blocks)(const StreamNames& names, uint32_t* out);
    // The same with four blocks.
    void (*four_blocks)(const StreamNames& names, uint32_t* out);
};

#ifdef NASX_HAS_AVX2
extern const PhiloxKernels avx2_philox;
#endif

}  // namespace nasx::simd
