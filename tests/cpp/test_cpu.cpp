#include <doctest/doctest.h>

#include "helpers.hpp"
#include "nasx/cpu.hpp"

using namespace nasx;

TEST_CASE("the fastest level is taken unless one is named") {
    const auto levels = available_simd_levels();
    CHECK(levels.front() == SimdLevel::baseline);
    CHECK(choose_simd_level("") == levels.back());
    for (const SimdLevel level : levels) {
        CHECK(choose_simd_level(name(level)) == level);
    }
}

TEST_CASE("an unknown level is refused with the valid ones") {
    const std::string message = test::refusal([] { choose_simd_level("avx1024"); });
    CHECK(test::has(message, "NASX_SIMD"));
    CHECK(test::has(message, "baseline"));
    CHECK(test::has(message, "avx1024"));
}
