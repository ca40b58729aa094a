#include <doctest/doctest.h>

#include <array>
#include <set>

#include "nasx/rng.hpp"

using namespace nasx;

TEST_CASE("philox4x32 gives the published known answers") {
    using Block = std::array<std::uint32_t, 4>;
    const std::uint32_t ones = 0xFFFFFFFFu;
    CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    CHECK(philox4x32({ones, ones, ones, ones}, {ones, ones}) ==
          Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
          Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("every part of a stream's name matters") {
    const auto first = [](Stream stream) { return stream.next_u64(); };
    const std::set<std::uint64_t> different{
        first({1, Purpose::sample, 2, 3}),
        first({2, Purpose::sample, 2, 3}),
        first({1, Purpose::mutate, 2, 3}),
        first({1, Purpose::sample, 3, 3}),
        first({1, Purpose::sample, 2, 4}),
        first({1ull << 32 | 1, Purpose::sample, 2, 3}),
        first({1, Purpose::sample, 2, 1ull << 32 | 3}),
    };
    CHECK(different.size() == 7);
    CHECK(first({1, Purpose::sample, 2, 3}) == first({1, Purpose::sample, 2, 3}));
    CHECK(first({StreamKey{1, 2, 10}, Purpose::sample, 5}) == first({1, Purpose::sample, 2, 15}));
}

TEST_CASE("a stream does not repeat from block to block") {
    Stream stream(7, Purpose::sample, 0, 0);
    std::set<std::uint64_t> seen;
    for (int i = 0; i < 10000; ++i) {
        seen.insert(stream.next_u64());
    }
    CHECK(seen.size() == 10000);
}

TEST_CASE("distributions keep their bounds and their means") {
    Stream stream(11, Purpose::sample, 0, 0);
    const int draws = 60000;
    std::array<int, 7> counts{};
    double sum = 0;
    int heads = 0;
    for (int i = 0; i < draws; ++i) {
        ++counts.at(stream.below(7));
        const double u = stream.uniform();
        CHECK((u >= 0 && u < 1));
        sum += u;
        heads += stream.bernoulli(0.3);
    }
    for (const int c : counts) {
        CHECK(c == doctest::Approx(draws / 7.0).epsilon(0.05));
    }
    CHECK(sum / draws == doctest::Approx(0.5).epsilon(0.01));
    CHECK(heads == doctest::Approx(draws * 0.3).epsilon(0.03));
    for (int i = 0; i < 1000; ++i) {
        CHECK(stream.below(1) == 0);
        CHECK(stream.bernoulli(1));
        CHECK_FALSE(stream.bernoulli(0));
    }
}
