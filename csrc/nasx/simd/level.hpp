// Which of the levels' tables of hot loops this process uses.
#pragma once

#include <type_traits>

#include "nasx/cpu.hpp"

// The table nasx::simd::baseline_NAME, or avx2_NAME if the CPU has that; O(1). The second is for loops that
// gain by wider registers still, and have a table avx512_NAME.
#ifdef NASX_HAS_AVX2
#define NASX_AT_LEVEL(name)                                                      \
    (::nasx::simd_level() >= ::nasx::SimdLevel::avx2 ? ::nasx::simd::avx2_##name \
                                                     : ::nasx::simd::baseline_##name)
#define NASX_AT_WIDE_LEVEL(name) \
    (::nasx::simd_level() >= ::nasx::SimdLevel::avx512 ? ::nasx::simd::avx512_##name : NASX_AT_LEVEL(name))
#else
#define NASX_AT_LEVEL(name) (::nasx::simd::baseline_##name)
#define NASX_AT_WIDE_LEVEL(name) NASX_AT_LEVEL(name)
#endif

namespace nasx::simd {

// The loops of a table for one type of numbers. O(1).
template <class T, class Kernels>
const auto& loops_of(const Kernels& kernels) {
    if constexpr (std::is_same_v<T, float>) {
        return kernels.singles;
    } else {
        return kernels.doubles;
    }
}

}  // namespace nasx::simd
