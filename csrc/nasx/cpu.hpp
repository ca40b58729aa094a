// Which instruction set the kernels use: asked of the CPU once, or forced by the environment.
#pragma once

#include <string_view>
#include <vector>

namespace nasx {

// A level includes those before it.
enum class SimdLevel { baseline, avx2, avx512 };

std::string_view name(SimdLevel level);

// The levels that this build holds and this CPU runs, slowest first.
std::vector<SimdLevel> available_simd_levels();

// The level called `wanted`, or the fastest available when it is empty.
// Throws std::invalid_argument, listing the valid names, for a name that is unknown or not available here.
SimdLevel choose_simd_level(std::string_view wanted);

// choose_simd_level(NASX_SIMD), decided at the first call for the life of the process.
SimdLevel simd_level();

}  // namespace nasx
