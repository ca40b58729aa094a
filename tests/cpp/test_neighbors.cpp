#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <set>
#include <vector>

#include "helpers.hpp"
#include "nasx/neighbors.hpp"

using namespace nasx;

namespace {

using Row = std::vector<std::int32_t>;

// Decision 1 needs choice 1 or 2 of decision 0; decision 3 needs choice 0 of 0 and choice 1 of 2.
const Row cardinalities{3, 2, 2, 4, 1};
const Row rules{3, 2, 1, 1, 0, 2, 1, 0, 1, 3, 0, 0};

Decisions conditional() {
    return {cardinalities, {rules.data(), 4, 3}};
}

std::vector<Row> neighbors(const Decisions& space, const Row& genotype, std::span<const bool> adjacent = {},
                           NeighborOrder order = NeighborOrder::by_decision, const StreamKey& key = {}) {
    const Neighborhood neighborhood(space, genotype, adjacent);
    const std::size_t d = genotype.size();
    Row values(neighborhood.size() * d);
    neighborhood.write(order, key, {values.data(), neighborhood.size(), d});
    std::vector<Row> rows;
    for (std::size_t i = 0; i < neighborhood.size(); ++i) {
        rows.emplace_back(values.begin() + static_cast<std::ptrdiff_t>(i * d),
                          values.begin() + static_cast<std::ptrdiff_t>((i + 1) * d));
    }
    return rows;
}

}  // namespace

TEST_CASE("neighbours differ in one decision, in the order of decisions and choices") {
    const Row two{3, 1, 2};
    CHECK(neighbors({two, {}}, {1, 0, 1}) == std::vector<Row>{{0, 0, 1}, {2, 0, 1}, {1, 0, 0}});
    CHECK(neighbors({Row{1, 1}, {}}, {0, 0}).empty());
}

TEST_CASE("a decision that is activated is drawn, one that is left behind is inactive") {
    const Decisions space = conditional();
    std::set<Row> completions;
    for (std::uint64_t item = 0; item < 64; ++item) {
        const auto rows = neighbors(space, {0, -1, 1, 3, 0}, {}, NeighborOrder::by_decision, {1, 0, item});
        REQUIRE(rows.size() == 2 + 1 + 3);
        for (const Row& row : rows) {
            REQUIRE(first_malformed(space, {row.data(), 1, 5}) == 5);
        }
        REQUIRE(rows[0][0] == 1);
        REQUIRE(rows[0][3] == -1);
        REQUIRE(rows[2] == Row{0, -1, 0, -1, 0});
        REQUIRE(rows[5] == Row{0, -1, 1, 2, 0});
        completions.insert(rows[0]);
    }
    CHECK(completions.size() == 2);
}

TEST_CASE("adjacent decisions move one step, and not past the end") {
    const Row ten{10, 10};
    const bool adjacent[] = {true, false};
    CHECK(neighbors({ten, {}}, {4, 0}, adjacent).size() == 2 + 9);
    const auto rows = neighbors({ten, {}}, {9, 0}, adjacent);
    CHECK(rows.size() == 1 + 9);
    CHECK(rows.front() == Row{8, 0});
}

TEST_CASE("fewer neighbours are a prefix of all, in either order") {
    const Decisions space = conditional();
    const Row genotype{0, -1, 1, 3, 0};
    const Neighborhood neighborhood(space, genotype, {});
    for (const NeighborOrder order : {NeighborOrder::by_decision, NeighborOrder::shuffled}) {
        const auto all = neighbors(space, genotype, {}, order, {5, 1, 9});
        for (std::size_t n = 0; n <= all.size(); ++n) {
            Row values(n * 5);
            neighborhood.write(order, {5, 1, 9}, {values.data(), n, 5});
            for (std::size_t i = 0; i < n; ++i) {
                REQUIRE(std::equal(all[i].begin(), all[i].end(), values.data() + 5 * i));
            }
        }
    }
}

TEST_CASE("the shuffled order holds all neighbours, and each is as often in a place") {
    const Row cards{3, 2, 4};
    const Decisions space(cards, {});
    const Row genotype{1, 0, 3};
    const auto plain = neighbors(space, genotype);
    std::vector<int> first(6), last(6);
    const int rounds = 6000;
    for (int round = 0; round < rounds; ++round) {
        const auto rows = neighbors(space, genotype, {}, NeighborOrder::shuffled,
                                    {3, 7, static_cast<std::uint64_t>(round)});
        REQUIRE(std::is_permutation(plain.begin(), plain.end(), rows.begin(), rows.end()));
        const auto place = [&](const Row& row) {
            return static_cast<std::size_t>(std::find(plain.begin(), plain.end(), row) - plain.begin());
        };
        ++first[place(rows.front())];
        ++last[place(rows.back())];
    }
    for (std::size_t i = 0; i < 6; ++i) {
        CHECK(std::abs(first[i] - rounds / 6) < 150);  // five standard deviations
        CHECK(std::abs(last[i] - rounds / 6) < 150);
    }
}

TEST_CASE("bad genotypes are refused by decision") {
    const Decisions space = conditional();
    const auto refusal = [&](const Row& row) { return test::refusal([&] { neighbors(space, row); }); };
    CHECK(test::has(refusal({0, -1, 1}), "genotype must have one column"));
    CHECK(test::has(refusal({3, -1, 1, 3, 0}), "decision 0: the choice must be in [0, 3); got 3"));
    CHECK(test::has(refusal({0, 1, 1, 3, 0}), "decision 1 is inactive and must be -1; got 1"));
    const bool few[] = {true};
    CHECK(test::has(test::refusal([&] { neighbors(space, {0, -1, 1, 3, 0}, few); }), "adjacent"));
    const std::vector<std::int32_t> many{std::numeric_limits<std::int32_t>::max()};
    CHECK(test::has(test::refusal([&] { neighbors(Decisions(many, {}), {0}); }), "must sum to at most"));
}
