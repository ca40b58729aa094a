#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <memory>

#include "helpers.hpp"
#include "nasx/parallel.hpp"
#include "nasx/pareto.hpp"

using namespace nasx;

namespace {

const double inf = std::numeric_limits<double>::infinity();

std::vector<std::int32_t> ranks_of(const test::Losses& losses, Violations violations = std::nullopt) {
    std::vector<std::int32_t> ranks(losses.rows);
    rank(losses.view(), violations, ranks);
    return ranks;
}

std::vector<bool> front_of(const test::Losses& losses) {
    const auto mask = std::make_unique<bool[]>(losses.rows + 1);
    front(losses.view(), {mask.get(), losses.rows});
    return std::vector<bool>(mask.get(), mask.get() + losses.rows);
}

void compare(const test::Losses& losses) {
    const auto expected = test::ranks_by_definition(losses.view());
    CHECK(ranks_of(losses) == expected);
    std::vector<bool> first;
    for (const std::int32_t r : expected) {
        first.push_back(r == 0);
    }
    CHECK(front_of(losses) == first);
}

}  // namespace

TEST_CASE("a matrix without rows may have any number of columns") {
    const Matrix<const double> wide{nullptr, 0, std::size_t{1} << 50};
    CHECK(rank(wide, {}, {}) == 0);
    front(wide, {});
    crowding_distance(wide, {}, {});
}

TEST_CASE("ranks and front agree with their definition") {
    for (std::size_t m = 1; m <= 7; ++m) {
        for (const std::size_t n : {0, 1, 2, 3, 7, 8, 9, 16, 33, 65, 150}) {
            for (const std::uint32_t levels : {0u, 2u, 5u}) {
                CAPTURE(m);
                CAPTURE(n);
                CAPTURE(levels);
                compare(test::random_losses(n, m, n * m + levels, levels));
            }
        }
    }
}

TEST_CASE("several chunks agree too, on one thread and on two") {
    for (const std::size_t m : {4, 5}) {
        for (const std::size_t n : {511, 512, 513, 1100}) {
            const auto losses = test::random_losses(n, m, n, n == 1100 ? 6 : 0);
            compare(losses);
        }
        const auto large = test::random_losses(12000, m, 5);
        set_num_threads(1);
        const auto serial = ranks_of(large);
        set_num_threads(2);
        CHECK(ranks_of(large) == serial);
        const auto first = front_of(large);
        for (std::size_t i = 0; i < large.rows; ++i) {
            REQUIRE(first[i] == (serial[i] == 0));
        }
    }
}

TEST_CASE("a chain has as many fronts as points, an antichain one") {
    for (const std::size_t m : {2, 3, 4, 6}) {
        test::Losses chain{{}, 1500, m}, flat{{}, 1500, m};
        for (std::size_t i = 0; i < 1500; ++i) {
            for (std::size_t j = 0; j < m; ++j) {
                chain.values.push_back(static_cast<double>(1499 - i));
                flat.values.push_back(j == 0 ? static_cast<double>(i) : static_cast<double>(1499 - i));
            }
        }
        const auto ranks = ranks_of(chain);
        for (std::size_t i = 0; i < 1500; ++i) {
            REQUIRE(ranks[i] == static_cast<std::int32_t>(1499 - i));
        }
        CHECK(ranks_of(flat) == std::vector<std::int32_t>(1500, 0));
    }
}

TEST_CASE("infinities and signed zeros are ordinary numbers") {
    compare({{inf, 1, inf, inf, -inf, 3, 2, -inf, 0.0, -0.0, -0.0, 0.0}, 6, 2});
    compare({{inf, 1, 1, 1, inf, inf, inf, inf, inf, inf, inf, inf, -inf, inf, 0, 2}, 4, 4});
}

TEST_CASE("infeasible rows come last, by violation") {
    const test::Losses losses{{3, 3, 0, 0, 1, 1, 2, 2, 5, 5, 0, 0}, 6, 2};
    const std::vector<double> violations{-1, 2, 0, 0.5, inf, 2};
    CHECK(ranks_of(losses, violations) == std::vector<std::int32_t>{1, 3, 0, 2, 4, 3});
    const std::vector<double> all{1, 1, 1, 1, 0.5, 1};
    CHECK(ranks_of(losses, all) == std::vector<std::int32_t>{1, 1, 1, 1, 0, 1});
}

TEST_CASE("crowding distances of a front by hand") {
    const test::Losses losses{{0, 10, 2, 6, 4, 5, 10, 0, 7, 7, 7, 8}, 6, 2};
    const std::vector<std::int32_t> ranks{0, 0, 0, 0, 1, 1};
    std::vector<double> distances(6);
    crowding_distance(losses.view(), ranks, distances);
    CHECK(std::isinf(distances[0]));
    CHECK(distances[1] == doctest::Approx(4.0 / 10 + 5.0 / 10));
    CHECK(distances[2] == doctest::Approx(8.0 / 10 + 6.0 / 10));
    CHECK(std::isinf(distances[3]));
    CHECK(std::isinf(distances[4]));
    CHECK(std::isinf(distances[5]));
}

TEST_CASE("crowding distances are never NaN") {
    const double huge = std::numeric_limits<double>::max();
    const test::Losses losses{{inf, 1, inf, 1, -inf, 1, -inf, 1, 0, 1, huge, 1, -huge, 1, inf, 1}, 8, 2};
    const std::vector<std::int32_t> ranks(8, 2000000000);
    std::vector<double> distances(8);
    crowding_distance(losses.view(), ranks, distances);
    for (const double d : distances) {
        CHECK_FALSE(std::isnan(d));
    }
    CHECK(distances[1] == 0);  // between equal infinities
    CHECK(distances[4] == doctest::Approx(1));
}

TEST_CASE("bad input is refused by name") {
    const test::Losses bad{{0, 1, 2, std::nan("")}, 2, 2}, none{{}, 2, 0}, good{{0, 1, 2, 3}, 2, 2};
    CHECK(test::has(test::refusal([&] { ranks_of(bad); }), "losses holds NaN in row 1, objective 1"));
    CHECK(test::has(test::refusal([&] { front_of(bad); }), "losses holds NaN"));
    CHECK(test::has(test::refusal([&] { ranks_of(none); }), "column"));
    const std::vector<double> nan{0, std::nan("")}, three{0, 0, 0};
    CHECK(test::has(test::refusal([&] { ranks_of(good, nan); }), "violations holds NaN in row 1"));
    CHECK(test::has(test::refusal([&] { ranks_of(good, three); }), "violations"));
    std::vector<double> out(2);
    const std::vector<std::int32_t> negative{0, -1};
    CHECK(test::has(test::refusal([&] { crowding_distance(good.view(), negative, out); }), "ranks"));
}
