#include "nasx/cpu.hpp"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace nasx {

std::string_view name(SimdLevel level) {
    switch (level) {
        case SimdLevel::avx512:
            return "avx512";
        case SimdLevel::avx2:
            return "avx2";
        default:
            return "baseline";
    }
}

std::vector<SimdLevel> available_simd_levels() {
    std::vector<SimdLevel> levels{SimdLevel::baseline};
#ifdef NASX_HAS_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        levels.push_back(SimdLevel::avx2);
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw")) {
            levels.push_back(SimdLevel::avx512);
        }
    }
#endif
    return levels;
}

SimdLevel choose_simd_level(std::string_view wanted) {
    const auto levels = available_simd_levels();
    if (wanted.empty()) {
        return levels.back();
    }
    const auto found =
        std::find_if(levels.begin(), levels.end(), [&](SimdLevel l) { return name(l) == wanted; });
    if (found == levels.end()) {
        std::string message = "NASX_SIMD must name a level that this CPU runs (";
        for (const SimdLevel level : levels) {
            message.append(level == levels.front() ? "" : ", ").append(name(level));
        }
        throw std::invalid_argument(message + "); got '" + std::string(wanted) +
                                    "'; unset it to take the fastest");
    }
    return *found;
}

SimdLevel simd_level() {
    static const SimdLevel level = [] {
        const char* wanted = std::getenv("NASX_SIMD");
        return choose_simd_level(wanted == nullptr ? "" : wanted);
    }();
    return level;
}

}  // namespace nasx
