#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

#include "helpers.hpp"
#include "nasx/order.hpp"

using namespace nasx;

TEST_CASE("ordered_bits keeps the order of numbers") {
    const double inf = std::numeric_limits<double>::infinity();
    const std::vector<double> ascending{-inf, -1e300, -1.0, -5e-324, 0.0, 5e-324, 1.0, 1e300, inf};
    for (std::size_t i = 1; i < ascending.size(); ++i) {
        CHECK(ordered_bits(ascending[i - 1]) < ordered_bits(ascending[i]));
    }
    CHECK(ordered_bits(-0.0) == ordered_bits(0.0));
}

TEST_CASE("sort_keyed is a stable sort at every size") {
    for (const std::size_t n : {0, 1, 2, 599, 600, 601, 5000}) {
        for (const std::uint32_t levels : {0u, 1u, 5u}) {
            const auto losses = test::random_losses(n, 1, n + levels, levels);
            const auto sorted = sorted_column(losses.view(), 0);
            auto expected = sorted;
            std::sort(expected.begin(), expected.end(),
                      [](const Keyed& a, const Keyed& b) { return a.row < b.row; });
            std::stable_sort(expected.begin(), expected.end(),
                             [](const Keyed& a, const Keyed& b) { return a.key < b.key; });
            CHECK(
                std::equal(sorted.begin(), sorted.end(), expected.begin(), expected.end(),
                           [](const Keyed& a, const Keyed& b) { return a.key == b.key && a.row == b.row; }));
        }
    }
}

TEST_CASE("lexicographic_order merges equal rows and keeps the order of coordinates") {
    const std::vector<double> values{2, 5, 1, 7, 2, 5, 1, -0.0, 1, 0.0};
    const LexicographicOrder order = lexicographic_order({values.data(), 5, 2});
    CHECK(order.unique == 3);
    CHECK(order.group == std::vector<std::uint32_t>{2, 1, 2, 0, 0});
    CHECK(order.distinct == std::vector<std::uint32_t>{3});
    CHECK(order.row(0)[0] == 0);
    CHECK(order.row(1)[0] == 2);
    CHECK(order.row(2)[0] == 1);
}
