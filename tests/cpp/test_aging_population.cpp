#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "helpers.hpp"
#include "nasx/aging_population.hpp"

using namespace nasx;

namespace {

const std::vector<std::int32_t> cardinalities{1000, 3};

Genotypes view(const std::vector<std::int32_t>& rows) {
    return {rows.data(), rows.size() / 2, 2};
}

// Rows (i, 0) for i from first on, with the loss i.
void enter(AgingPopulation& population, std::int32_t first, std::int32_t n) {
    std::vector<std::int32_t> rows;
    std::vector<double> losses;
    for (std::int32_t i = first; i < first + n; ++i) {
        rows.insert(rows.end(), {i % 1000, 0});
        losses.push_back(i);
    }
    const std::vector<double> none(losses.size(), 0.0);
    population.enter(view(rows), {losses.data(), losses.size(), 1}, none);
}

}  // namespace

TEST_CASE("the oldest leave, however many enter at once, and for as long as it goes on") {
    for (const std::int32_t batch : {1, 3, 7, 500}) {
        AgingPopulation population(cardinalities, {}, {.population_size = 5});
        for (std::int32_t told = 0; told < 4000;) {
            enter(population, told, batch);
            told += batch;
            const std::int32_t living = std::min(told, 5);
            REQUIRE(population.size() == static_cast<std::size_t>(living));
            for (std::int32_t k = 0; k < living; ++k) {
                const auto at = static_cast<std::size_t>(k);
                REQUIRE(population.genotypes()(at, 0) == (told - living + k) % 1000);
                REQUIRE(population.keys()[at] == told - living + k);
            }
        }
    }
}

TEST_CASE("children differ in one decision from the best of many contestants") {
    AgingPopulation population(cardinalities, {}, {.population_size = 4, .sample_size = 64});
    enter(population, 10, 6);
    std::vector<std::int32_t> children(400), one(2);
    population.make(7, {children.data(), 200, 2});
    for (std::size_t i = 0; i < 200; ++i) {
        REQUIRE((children[2 * i] == 12) + (children[2 * i + 1] == 0) == 1);
        population.make(7 + i, {one.data(), 1, 2});
        REQUIRE(std::equal(one.begin(), one.end(), children.data() + 2 * i));
    }
}

TEST_CASE("what was told before is left out, failures lose, and violations come before losses") {
    AgingPopulation population(cardinalities, {}, {.population_size = 4});
    GenotypeSet seen(2);
    const std::vector<std::int32_t> rows{1, 0, 2, 0, 1, 0, 3, 1};
    const std::vector<double> losses{5, 1, 0, 2}, over{0, 0, 0, 3};
    const bool failed[]{false, true, false, false};
    REQUIRE(population.tell(view(rows), {losses.data(), 4, 1}, over, failed, &seen));
    REQUIRE(population.size() == 3);
    CHECK(population.losses()(0, 0) == 5);
    CHECK(population.losses()(1, 0) == std::numeric_limits<double>::infinity());
    const std::vector<double> keys(population.keys().begin(), population.keys().end());
    CHECK(keys == std::vector<double>{0, 2, 1});
    CHECK(seen.marked() == 3);
    REQUIRE(population.tell(view(rows), {losses.data(), 4, 1}, {}, {}, &seen));
    CHECK(population.size() == 3);
    REQUIRE(population.tell(view(rows), {losses.data(), 4, 1}, {}, {}, nullptr));
    CHECK(population.losses()(2, 0) == 0);
    CHECK(population.keys()[2] == 0);
}

TEST_CASE("what does not fit changes nothing") {
    AgingPopulation population(cardinalities, {}, {.population_size = 4});
    GenotypeSet seen(2);
    const std::vector<std::int32_t> rows{1, 0}, wrong{1, 3}, inactive{1, -1};
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const std::vector<double> one{1.0}, none{0.0}, unknown{nan};
    CHECK_FALSE(population.tell(view(wrong), {one.data(), 1, 1}, {}, {}, &seen));
    CHECK_FALSE(population.tell(view(inactive), {one.data(), 1, 1}, {}, {}, &seen));
    CHECK(
        test::has(test::refusal([&] { population.tell(view(rows), {one.data(), 1, 1}, unknown, {}, &seen); }),
                  "violations must not be NaN"));
    CHECK(test::has(test::refusal([&] { population.enter(view(wrong), {one.data(), 1, 1}, none); }),
                    "genotypes"));
    CHECK(test::has(test::refusal([&] { population.enter(view(rows), {unknown.data(), 1, 1}, none); }),
                    "losses must not be NaN"));
    CHECK(test::has(test::refusal([&] { population.enter(view(rows), {one.data(), 1, 1}, {}); }),
                    "violations must have one value"));
    CHECK(test::has(test::refusal([&] { population.enter(view(rows), {one.data(), 0, 1}, none); }),
                    "losses must have shape (1, 1)"));
    CHECK(population.size() == 0);
    CHECK(seen.size() == 0);
    std::vector<std::int32_t> child(2);
    CHECK(test::has(test::refusal([&] { population.make(0, {child.data(), 1, 2}); }), "empty"));
    CHECK(test::has(test::refusal([&] { AgingPopulation(cardinalities, {}, {.population_size = 0}); }),
                    "population_size"));
    CHECK(test::has(test::refusal([&] { AgingPopulation(cardinalities, {}, {.sample_size = 0}); }),
                    "size must be at least 1"));
}
