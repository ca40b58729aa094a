#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include "helpers.hpp"
#include "nasx/latency_table.hpp"
#include "nasx/rng.hpp"

using namespace nasx;

namespace {

void check_sums(const std::vector<std::int32_t>& cardinalities) {
    const std::size_t d = cardinalities.size();
    Stream stream(1, Purpose::sample, 0, 0);
    std::vector<double> entries, pairs;
    for (std::size_t j = 0; j < d; ++j) {
        const auto here = static_cast<std::size_t>(cardinalities[j]);
        entries.resize(entries.size() + here);
        pairs.resize(pairs.size() + (j > 0 ? here * static_cast<std::size_t>(cardinalities[j - 1]) : 0));
    }
    for (auto* values : {&entries, &pairs}) {
        for (double& value : *values) {
            value = stream.uniform() - 0.25;
        }
    }
    for (const bool paired : {false, true}) {
        const LatencyTable table(cardinalities, entries,
                                 paired ? std::span<const double>(pairs) : std::span<const double>{}, 0.125);
        for (const std::size_t n : {0, 1, 7, 8, 9, 64, 65, 130, 5000}) {
            std::vector<std::int32_t> rows(n * d);
            for (std::size_t i = 0; i < rows.size(); ++i) {
                const auto count = static_cast<std::uint32_t>(cardinalities[i % d]);
                rows[i] = static_cast<std::int32_t>(stream.below(count + 1)) - 1;
            }
            std::vector<double> expected(n, 0.125);
            for (std::size_t i = 0; i < n; ++i) {
                const std::int32_t* const row = rows.data() + i * d;
                std::size_t start = 0;
                for (std::size_t j = 0; j < d; ++j) {
                    expected[i] += row[j] < 0 ? 0 : entries[start + static_cast<std::size_t>(row[j])];
                    start += static_cast<std::size_t>(cardinalities[j]);
                }
                start = 0;
                for (std::size_t j = 0; paired && j + 1 < d; ++j) {
                    const auto width = static_cast<std::size_t>(cardinalities[j + 1]);
                    if (row[j] >= 0 && row[j + 1] >= 0) {
                        expected[i] += pairs[start + static_cast<std::size_t>(row[j]) * width +
                                             static_cast<std::size_t>(row[j + 1])];
                    }
                    start += static_cast<std::size_t>(cardinalities[j]) * width;
                }
            }
            for (const std::size_t threads : {1, 2}) {
                set_num_threads(threads);
                std::vector<double> found(n);
                table.sum({rows.data(), n, d}, found);
                REQUIRE(found == expected);
            }
        }
    }
}

}  // namespace

TEST_CASE("a row's sum is that of a plain loop, to the bit, whatever the number of rows and threads") {
    check_sums({2});
    check_sums({8, 20, 9});
    check_sums({3, 1, 4, 2, 5});
    check_sums({7, 8, 9, 15, 16, 17, 40});
}

TEST_CASE("bad tables and rows are refused by name") {
    const std::vector<std::int32_t> cardinalities{2, 3};
    const std::vector<double> entries(5, 1.0), pairs(6, 1.0), short_ones(4, 1.0);
    const auto refusal = [&](auto... arguments) {
        return test::refusal([&] { LatencyTable(cardinalities, arguments...); });
    };
    using Span = std::span<const double>;
    CHECK(test::has(refusal(Span(short_ones), Span{}, 0.0), "entries must have 5 values"));
    CHECK(test::has(refusal(Span(entries), Span(short_ones), 0.0), "pairs must have 6 values"));
    CHECK(test::has(refusal(Span(entries), Span{}, std::numeric_limits<double>::infinity()),
                    "intercept must be finite"));
    std::vector<double> holed(entries);
    holed[3] = std::numeric_limits<double>::quiet_NaN();
    CHECK(test::has(refusal(Span(holed), Span{}, 0.0), "entries must be finite; value 3"));
    const LatencyTable table(cardinalities, entries, pairs, 0);
    const std::int32_t rows[]{0, 2, 1, 3};
    double sums[2];
    CHECK(test::has(test::refusal([&] { table.sum({rows, 2, 2}, sums); }), "row 1, decision 1"));
    CHECK(test::has(test::refusal([&] { table.sum({rows, 1, 3}, sums); }), "one column for each of the 2"));
    std::vector<std::int32_t> many(2000, 0);
    std::vector<double> out(1000);
    many[1401] = -2;
    CHECK(test::has(test::refusal([&] { table.sum({many.data(), 1000, 2}, out); }), "row 700, decision 1"));
}
