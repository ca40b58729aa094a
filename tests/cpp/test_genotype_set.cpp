#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <memory>

#include "helpers.hpp"
#include "nasx/genotype_set.hpp"

using namespace nasx;

TEST_CASE("a set of genotypes agrees with a map") {
    for (const std::size_t d : {1, 2, 3, 7}) {
        GenotypeSet set(d);
        std::map<std::vector<std::int32_t>, std::int64_t> known;
        Stream stream(d, Purpose::sample, 0, 0);
        for (int round = 0; round < 20; ++round) {
            const std::size_t n = 100;
            std::vector<std::int32_t> rows(n * d);
            for (std::int32_t& x : rows) {
                x = static_cast<std::int32_t>(stream.below(d == 1 ? 900 : 9)) - 1;
            }
            const auto is_new = std::make_unique<bool[]>(n), found = std::make_unique<bool[]>(n);
            std::vector<std::int64_t> places(n);
            const Matrix<const std::int32_t> view{rows.data(), n, d};
            set.contains(view, {found.get(), n});
            for (std::size_t i = 0; i < n; ++i) {
                REQUIRE(found[i] == known.contains({view.row(i), view.row(i) + d}));
            }
            set.insert(view, {is_new.get(), n});
            set.find(view, places);
            for (std::size_t i = 0; i < n; ++i) {
                const auto [at, fresh] = known.try_emplace({view.row(i), view.row(i) + d},
                                                           static_cast<std::int64_t>(known.size()));
                REQUIRE(is_new[i] == fresh);
                REQUIRE(places[i] == at->second);
            }
        }
        CHECK(set.size() == known.size());
        const auto rows = set.rows();
        for (const auto& [row, place] : known) {
            REQUIRE(
                std::equal(row.begin(), row.end(), rows.begin() + place * static_cast<std::ptrdiff_t>(d)));
        }
    }
}

TEST_CASE("a row is marked once, and in the set from then on") {
    GenotypeSet set(1);
    const std::int32_t rows[]{3, 4, 3, 5};
    bool first[4];
    set.insert({rows, 2, 1}, first);
    set.mark({rows + 1, 3, 1}, first);
    CHECK(first[0]);
    CHECK(first[1]);
    CHECK(first[2]);
    set.mark({rows, 4, 1}, first);
    CHECK(std::count(first, first + 4, true) == 0);
    set.insert({rows, 4, 1}, first);
    CHECK(std::count(first, first + 4, true) == 0);
    CHECK(set.marked() == 3);
    CHECK(set.size() == 3);
    for (std::int32_t i = 100; i < 200; ++i) {  // marks outlive growth
        set.insert({&i, 1, 1}, first);
    }
    bool marks[103];
    set.marks(marks);
    CHECK(std::count(marks, marks + 3, true) == 3);
    CHECK(std::count(marks, marks + 103, true) == 3);
}

TEST_CASE("rows of another width are refused") {
    GenotypeSet set(2);
    const std::int32_t row[]{1, 2, 3};
    bool is_new = false;
    CHECK(test::has(test::refusal([&] { set.insert({row, 1, 3}, {&is_new, 1}); }), "2 columns"));
    CHECK(test::has(test::refusal([] { GenotypeSet(0); }), "at least 1"));
}

TEST_CASE("distinct rows keep the order in which they come") {
    const std::int32_t rows[]{3, 1, 0, 0, 3, 1, 2, 2, 0, 0};
    std::vector<std::int64_t> places(5);
    CHECK(unique({rows, 5, 2}, places) == std::vector<std::int64_t>{0, 1, 3});
    CHECK(places == std::vector<std::int64_t>{0, 1, 0, 2, 1});
    CHECK(unique({rows, 0, 2}, {}).empty());
    CHECK(test::has(test::refusal([&] { unique({rows, 5, 0}, places); }), "at least one column"));
}

TEST_CASE("equal rows have equal hashes, and others of equal words do not") {
    const std::int32_t rows[]{1, -1, 0, 1, -1, 0, -1, 1, 0, 0, 1, -1};
    std::vector<std::uint64_t> hashes(4), narrow(1);
    hash_rows({rows, 4, 3}, hashes);
    CHECK(hashes[0] == hashes[1]);
    CHECK(hashes[0] != hashes[2]);
    CHECK(hashes[0] != hashes[3]);
    hash_rows({rows, 1, 2}, narrow);
    CHECK(narrow[0] != hashes[0]);
}
