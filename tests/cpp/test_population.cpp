#include <doctest/doctest.h>

#include <limits>
#include <set>

#include "helpers.hpp"
#include "nasx/population.hpp"

using namespace nasx;

namespace {

// Decision 1 needs choice 1 or 2 of decision 0; decision 3 needs choice 0 of 0 and choice 1 of 2.
const std::vector<std::int32_t> cardinalities{3, 2, 2, 4, 1};
const std::vector<std::int32_t> rules{3, 2, 1, 1, 0, 2, 1, 0, 1, 3, 0, 0};

Decisions conditional() {
    return {cardinalities, {rules.data(), 4, 3}};
}

bool canonical(const std::int32_t* row) {
    const bool one = row[0] == 1 || row[0] == 2, three = row[0] == 0 && row[2] == 1;
    return (row[1] >= 0) == one && (row[3] >= 0) == three && row[0] >= 0 && row[2] >= 0 && row[4] == 0;
}

struct Rows {
    std::vector<std::int32_t> values;
    std::size_t n, d;

    explicit Rows(std::size_t rows, std::size_t cols = 5) : values(rows * cols, -7), n(rows), d(cols) {}
    MutableGenotypes view() { return {values.data(), n, d}; }
    Genotypes view() const { return {values.data(), n, d}; }
};

}  // namespace

TEST_CASE("samples are canonical, in range and independent of how they are cut") {
    const Decisions space = conditional();
    Rows all(3000), part(1000);
    sample(space, {9, 4, 0}, all.view());
    sample(space, {9, 4, 2000}, part.view());
    CHECK(std::equal(part.values.begin(), part.values.end(), all.values.begin() + 2000 * 5));
    space.check(all.view(), "rows");
    std::set<std::vector<std::int32_t>> seen;
    for (std::size_t i = 0; i < all.n; ++i) {
        REQUIRE(canonical(all.view().row(i)));
        seen.emplace(all.view().row(i), all.view().row(i) + 5);
    }
    CHECK(seen.size() == 2 * 2 * 2 + 1 + 4);
}

TEST_CASE("repair touches only what it must") {
    const Decisions space = conditional();
    Rows in(2), out(2);
    in.values = {0, 1, 1, -1, 0, 2, 1, 0, 3, -1};
    repair(space, in.view(), {1, 0, 0}, out.view());
    CHECK(canonical(out.view().row(0)));
    CHECK(out.values[0] == 0);
    CHECK(out.values[1] == -1);
    CHECK(out.values[2] == 1);
    CHECK(std::vector<std::int32_t>(out.values.begin() + 5, out.values.end()) ==
          std::vector<std::int32_t>{2, 1, 0, -1, 0});
}

TEST_CASE("the first malformed entry is found, and none in what repair returns") {
    const Decisions space = conditional();
    Rows rows(40);
    sample(space, {2, 0, 0}, rows.view());
    CHECK(first_malformed(space, rows.view()) == rows.values.size());
    CHECK(first_malformed(space, {nullptr, 0, 5}) == 0);
    for (const std::int32_t wrong : {-2, -1, 1}) {
        // Decision 4 has one choice and is always active.
        rows.view()(7, 4) = wrong;
        CHECK(first_malformed(space, rows.view()) == 7 * 5 + 4);
        rows.view()(7, 4) = 0;
    }
    rows.values = {0, 0, 0, -1, 0};
    CHECK(first_malformed(space, {rows.values.data(), 1, 5}) == 1);  // inactive, but not -1
}

TEST_CASE("malformed entries are found wherever they are among short rows and long ones") {
    constexpr std::int32_t most = std::numeric_limits<std::int32_t>::max();
    for (const std::size_t d : {1, 2, 3, 6, 31, 32, 33, 63, 64, 65, 130}) {
        std::vector<std::int32_t> counts(d);
        for (std::size_t j = 0; j < d; ++j) {
            counts[j] = j % 5 == 4 ? most : static_cast<std::int32_t>(j % 5) + 1;
        }
        const Decisions space(counts, {});
        for (const std::size_t n : {1, 2, 9, 10, 11, 21, 64, 65}) {
            std::vector<std::int32_t> values(n * d);
            sample(space, {4, 0, 0}, {values.data(), n, d});
            const Genotypes rows{values.data(), n, d};
            REQUIRE(first_malformed(space, rows) == n * d);
            CHECK_NOTHROW(space.check(rows, "x"));
            for (const std::size_t place : {std::size_t{0}, n * d / 2, n * d - 1}) {
                const std::int32_t right = values[place], count = counts[place % d];
                for (const std::int32_t wrong : {-1, -2, -most - 1, -most, count, most}) {
                    values[place] = wrong;
                    CHECK(first_malformed(space, rows) == place);
                    CHECK(test::refusal([&] { space.check(rows, "x"); }).empty() == (wrong == -1));
                }
                values[place] = count - 1;
                CHECK(first_malformed(space, rows) == n * d);
                values[place] = right;
            }
        }
    }
}

TEST_CASE("mutation at rate one changes every decision that can, at rate zero none") {
    const Decisions space({cardinalities.data(), 5}, {});
    Rows in(500), out(500);
    sample(space, {3, 0, 0}, in.view());
    mutate(space, in.view(), std::vector<double>(5, 1.0), {4, 0, 0}, out.view());
    for (std::size_t i = 0; i < in.n; ++i) {
        for (std::size_t j = 0; j < 5; ++j) {
            REQUIRE((in.view()(i, j) != out.view()(i, j)) == (cardinalities[j] > 1));
        }
    }
    mutate(space, in.view(), std::vector<double>(5, 0.0), {4, 0, 0}, out.view());
    CHECK(out.values == in.values);
}

TEST_CASE("a k-point child changes parents as often as there are cuts") {
    const std::vector<std::int32_t> binary(12, 2);
    const Decisions space(binary, {});
    Rows zeros(300, 12), ones(300, 12), children(300, 12);
    std::fill(zeros.values.begin(), zeros.values.end(), 0);
    std::fill(ones.values.begin(), ones.values.end(), 1);
    for (const std::size_t points : {1, 3, 11, 40}) {
        crossover(space, zeros.view(), ones.view(), {CrossoverKind::k_point, points, 1}, {5, 0, 0},
                  children.view());
        for (std::size_t i = 0; i < children.n; ++i) {
            std::size_t changes = 0;
            for (std::size_t j = 1; j < 12; ++j) {
                changes += children.view()(i, j) != children.view()(i, j - 1);
            }
            REQUIRE(changes == std::min<std::size_t>(points, 11));
            REQUIRE(children.view()(i, 0) == 0);
        }
    }
    crossover(space, zeros.view(), ones.view(), {CrossoverKind::uniform, 2, 0}, {5, 0, 0}, children.view());
    CHECK(children.values == zeros.values);
}

TEST_CASE("mutation of one decision changes one that is active and has a choice") {
    const Decisions space = conditional();
    Rows in(2000), out(2000), part(300);
    sample(space, {3, 0, 0}, in.view());
    mutate_one(space, in.view(), {4, 2, 0}, out.view());
    for (std::size_t i = 0; i < in.n; ++i) {
        REQUIRE(canonical(out.view().row(i)));
        // What follows from the change of 0 or 2 differs too; their own change is the only one.
        const int changes = (in.view()(i, 0) != out.view()(i, 0)) + (in.view()(i, 2) != out.view()(i, 2));
        REQUIRE(changes <= 1);
        if (changes == 0) {
            REQUIRE((in.view()(i, 1) != out.view()(i, 1)) + (in.view()(i, 3) != out.view()(i, 3)) == 1);
        }
    }
    mutate_one(space, {in.view().row(1700), 300, 5}, {4, 2, 1700}, part.view());
    CHECK(std::equal(part.values.begin(), part.values.end(), out.values.begin() + 1700 * 5));

    const std::vector<std::int32_t> single(5, 1);
    std::fill(in.values.begin(), in.values.end(), 0);
    mutate_one({single, {}}, in.view(), {}, out.view());
    CHECK(out.values == in.values);
}

TEST_CASE("values are looked up in a table with an axis for each decision") {
    const std::vector<std::int32_t> counts{2, 1, 3};
    const std::vector<double> table{0, 1, 2, 3, 4, 5};
    std::vector<std::int32_t> rows;
    std::vector<double> wanted;
    for (std::int32_t i = 0; i < 5000; ++i) {
        rows.insert(rows.end(), {i % 2, 0, i % 3});
        wanted.push_back(3 * (i % 2) + i % 3);
    }
    std::vector<double> out(wanted.size());
    const std::size_t before = get_num_threads();
    for (const std::size_t threads : {1u, 3u}) {
        set_num_threads(threads);
        std::fill(out.begin(), out.end(), -1);
        look_up({rows.data(), out.size(), 3}, counts, table, out);
        CHECK(out == wanted);
    }
    set_num_threads(before);
    const auto refused = [&](std::vector<std::int32_t> row, std::size_t values) {
        return test::refusal([&] {
            look_up({row.data(), 1, row.size()}, counts, std::span(table).first(values),
                    std::span(out).first(1));
        });
    };
    CHECK(test::has(refused({0, 0, 3}, 6), "genotypes: row 0, decision 2"));
    CHECK(test::has(refused({0, -1, 2}, 6), "inactive decision in row 0"));
    CHECK(test::has(refused({0, 0, 0}, 5), "table must have a value for each genotype"));
    CHECK(test::has(refused({0, 0, 0}, 0), "table must have a value for each genotype"));
    CHECK(test::has(refused({0, 0}, 6), "genotypes"));
}

TEST_CASE("tournaments prefer small keys, then large distances") {
    const std::vector<double> keys{1, 0, 0, 2}, crowding{9, 1, 2, 9};
    std::vector<std::int32_t> winners(50);
    tournament({keys, crowding}, 60, {1, 0, 0}, winners);
    CHECK(winners == std::vector<std::int32_t>(50, 2));
    tournament({keys, {}}, 60, {1, 0, 0}, winners);
    CHECK(std::set<std::int32_t>(winners.begin(), winners.end()) == std::set<std::int32_t>{1, 2});
    Stream stream(5, Purpose::tournament, 0, 0);
    for (int i = 0; i < 100; ++i) {
        REQUIRE(Contestants{keys, crowding}.winner_beside(2, 60, stream) == 1);
    }
}

TEST_CASE("bad input is refused by name, row and decision") {
    const Decisions space = conditional();
    Rows in(1), out(1);
    in.values = {0, 0, 0, 4, 0};
    const std::string message = test::refusal([&] { repair(space, in.view(), {}, out.view()); });
    CHECK(test::has(message, "genotypes: row 0, decision 3"));
    CHECK(test::has(message, "[-1, 4)"));
    in.values = {-2, 0, 0, 0, 0};
    CHECK(test::has(test::refusal([&] { repair(space, in.view(), {}, out.view()); }), "decision 0"));
    in.values = {0, 0, 0, 0, 0};
    const std::vector<double> rates{0, 0, 1.5, 0, 0}, few{1};
    CHECK(test::has(test::refusal([&] { mutate(space, in.view(), rates, {}, out.view()); }),
                    "rates: decision 2"));
    CHECK(test::has(test::refusal([&] { mutate(space, in.view(), few, {}, out.view()); }), "rates"));
    CHECK(test::has(test::refusal([&] { Decisions(std::vector<std::int32_t>{2, 0}, {}); }), "cardinalities"));
    for (const std::vector<std::int32_t>& rule :
         {std::vector<std::int32_t>{1, 1, 0}, {0, 1, 0}, {5, 0, 0}, {1, 0, 3}, {1, -1, 0}, {1, 0, -1}}) {
        CHECK(test::has(test::refusal([&] { Decisions(cardinalities, {rule.data(), 1, 3}); }),
                        "conditions: row 0"));
    }
    std::vector<std::int32_t> winners(1);
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const std::vector<double> one{1}, two{1, nan};
    const auto refused = [&](const Contestants& contestants, std::size_t size) {
        return test::refusal([&] { tournament(contestants, size, {}, winners); });
    };
    CHECK(test::has(refused({}, 2), "keys is empty"));
    CHECK(test::has(refused({two, {}}, 2), "keys holds NaN in row 1"));
    CHECK(test::has(refused({one, two}, 2), "crowding must have one value for each of the 1 keys"));
    CHECK(test::has(refused({one, {}}, 0), "size"));
    CHECK(test::has(refused({one, {}}, std::size_t{1} << 40), "size must be at least 1 and at most 1048576"));
    CHECK(test::has(test::refusal([] { Decisions({}, {}); }), "cardinalities is empty"));
    const std::vector<std::int32_t> many(3, std::numeric_limits<std::int32_t>::max());
    CHECK(test::has(test::refusal([&] { Decisions(many, {}).all_choices(); }), "got 6442450941"));
    CHECK(space.all_choices() == 12);
    tournament({}, 2, {}, {});  // none of none
    CHECK(test::has(test::refusal([&] { mutate_one(space, {in.values.data(), 1, 4}, {}, out.view()); }),
                    "one column for each of the 5"));
}
