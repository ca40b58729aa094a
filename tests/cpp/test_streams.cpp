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
