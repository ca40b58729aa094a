#include <doctest/doctest.h>

#include <vector>

#include "nasx/streams.hpp"

using namespace nasx;

TEST_CASE("streams that begin together give the numbers that they give alone") {
    // Items on both sides of 2^32, seeds and generations that use all their bits, far beyond what was begun.
    const StreamKey key{0xFEDCBA9876543210u, 0x89ABCDEFu, 0xFFFFFFFFu - 20};
    for (const std::size_t n : {0, 1, 2, 3, 15, 16, 17, 33, 64}) {
        std::size_t rows = 0;
        const auto check = [&](std::size_t i, Stream& stream) {
            Stream alone(key, Purpose::mutants, i);
            for (int k = 0; k < 70; ++k) {
                REQUIRE(stream.next_u32() == alone.next_u32());
            }
            REQUIRE(i == 5 + rows++);
        };
        for_streams<2>(key, Purpose::mutants, 5, 5 + n, check);
        CHECK(rows == n);
        rows = 0;
        for_streams<4>(key, Purpose::mutants, 5, 5 + n, check);
        CHECK(rows == n);
    }
}

TEST_CASE("short streams draw what streams draw, where every other number is drawn again too") {
    const StreamKey key{3, 1, 0xFFFFFFFFu - 9};
    std::size_t again = 0;
    for (const std::uint32_t bound : {1u, 2u, 5u, 0x80000001u, 0xFFFFFFFFu}) {
        for (const std::size_t n : {0, 1, 2, 3, 31, 32, 33, 70}) {
            std::vector<std::vector<std::uint32_t>> drawn(n);
            const auto draw = [&](std::size_t i, auto& stream) {
                again += !drawn[i].empty();
                drawn[i].clear();
                for (int k = 0; k < 8; ++k) {
                    drawn[i].push_back(stream.below(bound));
                }
            };
            const auto check = [&] {
                for (std::size_t i = 0; i < n; ++i) {
                    Stream alone(key, Purpose::mutants, i);
                    REQUIRE(drawn[i].size() == 8);
                    for (const std::uint32_t x : drawn[i]) {
                        REQUIRE(x == alone.below(bound));
                    }
                    drawn[i].clear();
                }
            };
            for_short_streams<2>(key, Purpose::mutants, 0, n, draw);
            check();
            for_short_streams<4>(key, Purpose::mutants, 0, n, draw);
            check();
        }
    }
    CHECK(again > 300);  // nearly all of those with large bounds
}
