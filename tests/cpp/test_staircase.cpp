#include <doctest/doctest.h>

#include <vector>

#include "nasx/rng.hpp"
#include "nasx/staircase.hpp"

using namespace nasx;

namespace {

// Against the list of all points ever inserted.
void compare(std::uint32_t bound, int count, bool descending, std::uint64_t seed) {
    Staircase stairs;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> points;
    Stream stream(seed, Purpose::sample, 0, 0);
    for (int i = 0; i < count; ++i) {
        const std::uint32_t y = stream.below(bound);
        const std::uint32_t z = descending ? bound - y : stream.below(bound);
        bool covered = false;
        for (const auto& [py, pz] : points) {
            covered = covered || (py <= y && pz <= z);
        }
        REQUIRE(stairs.covers(y, z) == covered);
        if (!covered) {
            stairs.insert(y, z);
            points.emplace_back(y, z);
        }
    }
}

}  // namespace

TEST_CASE("a staircase covers what its points cover") {
    compare(5, 50, false, 1);
    compare(100, 2000, false, 2);
    compare(1000000, 2000, false, 3);
}

TEST_CASE("a staircase of many blocks does too") {
    // All points stay on it, so it splits often; then points nearer the origin wipe out blocks.
    compare(1000000, 3000, true, 4);
    Staircase stairs;
    for (std::uint32_t y = 1000; y < 3000; ++y) {
        stairs.insert(y, 10000 - y);
    }
    stairs.insert(1500, 7900);
    CHECK(stairs.covers(2100, 7900));
    CHECK_FALSE(stairs.covers(2099, 7899));
    CHECK(stairs.covers(1499, 8501));
    stairs.insert(0, 0);
    CHECK(stairs.covers(0, 0));
    CHECK(stairs.covers(5000, 3));
}
