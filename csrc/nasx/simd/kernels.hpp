// The hot loops, compiled once per CPU level and reached through a table of function pointers.
//
// The files that define them include no STL and keep everything else in anonymous namespaces: an inline
// function shared with other files might be linked in its AVX2 form and crash on older CPUs.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace nasx::simd {

// Some points of a set of at most 512.
struct alignas(64) Bits {
    static constexpr size_t size = 512;
    static constexpr size_t words = size / 64;

    uint64_t word[words];
};

// A chunk of at most 512 points, indexed by what later points ask: which of them are at most a given
// coordinate?
struct Chunk {
    size_t width;            // objectives
    const Bits* prefixes;    // (width, sets): the first t points in the objective's order
    size_t sets;             // more than the points of the chunk
    const uint16_t* counts;  // (width, stride): points whose coordinate is at most c
    size_t stride;
    const int32_t* ranks;  // of the point behind each bit
};

struct Kernels {
    // Ranks the chunk's own `count` points, bit i being point i, and earlier points alone can dominate later
    // ones. `ranks` holds lower bounds and then the result; `closed` is room for `count` sets.
    void (*rank_inside)(const Chunk& chunk, const uint32_t* coordinates, int32_t* ranks, size_t count,
                        Bits* closed);

    // For points outside the chunk, whose bits come in descending order of rank: if a point of the chunk is
    // at most q in every objective, raises ranks[q] above the highest rank among such points. q in [begin,
    // end).
    void (*raise_ranks)(const Chunk& chunk, const uint32_t* coordinates, int32_t* ranks, size_t begin,
                        size_t end);
};

extern const Kernels baseline_kernels;
#ifdef NASX_HAS_AVX2
extern const Kernels avx2_kernels;
#endif

}  // namespace nasx::simd
