// Which of the levels' tables of hot loops this process uses.
#pragma once

#include <type_traits>

#include "nasx/cpu.hpp"

// The table nasx::simd::baseline_NAME, or that of a higher level if the CPU has it. O(1).
#ifdef NASX_HAS_AVX2
#define NASX_AT_LEVEL(name)                                                      \
    (::nasx::simd_level() == ::nasx::SimdLevel::avx2 ? ::nasx::simd::avx2_##name \
                                                     : ::nasx::simd::baseline_##name)
#else
#define NASX_AT_LEVEL(name) (::nasx::simd::baseline_##name)
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
