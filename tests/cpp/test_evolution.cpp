#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "helpers.hpp"
#include "nasx/evolution.hpp"

using namespace nasx;

TEST_CASE("survivors are whole fronts, then the least crowded of the next") {
    const auto losses = test::random_losses(200, 2, 1);
    std::vector<std::int32_t> all_ranks(200);
    rank(losses.view(), std::nullopt, all_ranks);
    std::vector<double> all_crowding(200);
    crowding_distance(losses.view(), all_ranks, all_crowding);
    for (const std::size_t n : {0, 1, 50, 199, 200}) {
        std::vector<std::int32_t> rows(n), ranks(n);
        std::vector<double> crowding(n);
        nsga2_select(losses.view(), std::nullopt, 3, 0, rows, ranks, crowding);
        std::set<std::int32_t> kept(rows.begin(), rows.end());
        REQUIRE(kept.size() == n);
        for (std::size_t i = 0; i < n; ++i) {
            const auto row = static_cast<std::size_t>(rows[i]);
            REQUIRE(ranks[i] == all_ranks[row]);
            REQUIRE(crowding[i] == all_crowding[row]);
            if (i > 0) {
                REQUIRE((ranks[i - 1] < ranks[i] ||
                         (ranks[i - 1] == ranks[i] && crowding[i - 1] >= crowding[i])));
            }
        }
        for (std::size_t i = 0; n > 0 && i < 200; ++i) {
            if (!kept.contains(static_cast<std::int32_t>(i))) {
                REQUIRE((all_ranks[i] > ranks.back() ||
                         (all_ranks[i] == ranks.back() && all_crowding[i] <= crowding.back())));
            }
        }
    }
}

TEST_CASE("equal rows survive by lot") {
    const test::Losses same{std::vector<double>(40, 1.0), 20, 2};
    std::vector<std::int32_t> rows(5), again(5), other(5), ranks(5);
    std::vector<double> crowding(5);
    nsga2_select(same.view(), std::nullopt, 1, 0, rows, ranks, crowding);
    nsga2_select(same.view(), std::nullopt, 1, 0, again, ranks, crowding);
    nsga2_select(same.view(), std::nullopt, 1, 1, other, ranks, crowding);
    CHECK(rows == again);
    CHECK(rows != other);
}

TEST_CASE("children do not depend on how many are made at once, and have two parents") {
    // Each parent is marked by its own choice everywhere; ten decisions make a child of one parent unlikely.
    const std::vector<std::int32_t> cardinalities(10, 8);
    const Decisions space(cardinalities, {});
    std::vector<std::int32_t> parents;
    for (std::int32_t p = 0; p < 8; ++p) {
        parents.insert(parents.end(), 10, p);
    }
    const std::vector<double> ranks(8, 0.0), crowding(8, 1.0), still(10, 0.0);
    const Genotypes view{parents.data(), 8, 10};
    std::vector<std::int32_t> all(400 * 10), one(10);
    const Offspring maker(space, view, {ranks, crowding}, 2, {}, still, 7, 2);
    maker.make(0, {all.data(), 400, 10});
    int pure = 0;
    for (std::size_t i = 0; i < 400; ++i) {
        maker.make(i, {one.data(), 1, 10});
        REQUIRE(std::equal(one.begin(), one.end(), all.begin() + static_cast<std::ptrdiff_t>(i) * 10));
        const std::set<std::int32_t> sources(one.begin(), one.end());
        REQUIRE(sources.size() <= 2);
        pure += sources.size() == 1;
    }
    CHECK(pure < 10);
}

TEST_CASE("mutants differ from the best contestant in one decision, however many are made at once") {
    const std::vector<std::int32_t> cardinalities(10, 9);
    const Decisions space(cardinalities, {});
    std::vector<std::int32_t> parents;
    std::vector<double> keys;
    for (std::int32_t p = 0; p < 8; ++p) {
        parents.insert(parents.end(), 10, p);
        keys.push_back(p == 5 ? -1.0 : p);
    }
    const Genotypes view{parents.data(), 8, 10};
    std::vector<std::int32_t> all(400 * 10), one(10);
    const Mutants maker(space, view, {keys, {}}, 100, 7, 2);
    maker.make(0, {all.data(), 400, 10});
    for (std::size_t i = 0; i < 400; ++i) {
        const auto row = all.begin() + static_cast<std::ptrdiff_t>(i) * 10;
        REQUIRE(std::count(row, row + 10, 5) == 9);
        maker.make(i, {one.data(), 1, 10});
        REQUIRE(std::equal(one.begin(), one.end(), row));
    }
}

TEST_CASE("bad input is refused by name") {
    const auto losses = test::random_losses(3, 2, 1);
    std::vector<std::int32_t> rows(4), ranks(4);
    std::vector<double> crowding(4);
    CHECK(test::has(
        test::refusal([&] { nsga2_select(losses.view(), std::nullopt, 0, 0, rows, ranks, crowding); }),
        "at most the 3 rows"));
    const std::vector<std::int32_t> cardinalities{2};
    const Decisions space(cardinalities, {});
    const std::vector<double> rates{0.5};
    CHECK(test::has(test::refusal([&] { Offspring(space, {nullptr, 0, 1}, {}, 2, {}, rates, 0, 0); }),
                    "keys is empty"));
    CHECK(test::has(test::refusal([&] { Mutants(space, {nullptr, 0, 1}, {}, 2, 0, 0); }), "keys is empty"));
    const std::int32_t parent[]{1};
    CHECK(test::has(test::refusal([&] { Mutants(space, {parent, 1, 1}, {}, 2, 0, 0); }),
                    "keys must have one value for each of the 1 parents; got 0"));
}

TEST_CASE("only new rows are kept, in order, until there are enough or patience is at an end") {
    // Rows are counted from 0 and are new unless they are multiples of three.
    for (const std::size_t wanted : {0, 1, 2, 5, 40}) {
        GenotypeSet seen(1);
        for (std::int32_t i = 0; i < 90; i += 3) {
            bool is_new = false;
            seen.insert({&i, 1, 1}, {&is_new, 1});
        }
        const auto count = [](std::uint64_t first, MutableGenotypes out) {
            for (std::size_t i = 0; i < out.rows; ++i) {
                *out.row(i) = static_cast<std::int32_t>(first + i);
            }
        };
        const Proposed found = propose_new(seen, wanted, 0, 0, 10, count);
        REQUIRE(found.rows.size() == wanted);
        std::int32_t expected = 0;
        for (const std::int32_t row : found.rows) {
            expected += expected % 3 == 2 ? 2 : 1;
            REQUIRE(row == expected);
        }
        REQUIRE(found.count == (wanted == 0 ? 0u : static_cast<std::uint64_t>(expected) + 1));
        REQUIRE(found.rejected == 0);
    }
    GenotypeSet seen(1);
    const auto always_five = [](std::uint64_t, MutableGenotypes out) { std::fill_n(out.data, out.rows, 5); };
    const Proposed first = propose_new(seen, 4, 0, 3, 10, always_five);
    CHECK(first.rows == std::vector<std::int32_t>{5});
    CHECK(first.rejected == 10);
    CHECK(first.count == 11);
    const Proposed none = propose_new(seen, 4, 11, 10, 10, always_five);
    CHECK(none.rows.empty());
    CHECK(none.count == 0);
    // As many as there are, however many are wanted.
    GenotypeSet small(1);
    const auto below_nine = [](std::uint64_t from, MutableGenotypes out) {
        for (std::size_t i = 0; i < out.rows; ++i) {
            *out.row(i) = static_cast<std::int32_t>((from + i) % 9);
        }
    };
    const Proposed all = propose_new(small, std::numeric_limits<std::size_t>::max(), 0, 0, 100, below_nine);
    CHECK(all.rows.size() == 9);
    CHECK(all.count == 109);
}
