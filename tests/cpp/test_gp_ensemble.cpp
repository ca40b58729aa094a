#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "helpers.hpp"
#include "nasx/gp_ensemble.hpp"
#include "nasx/population.hpp"

using namespace nasx;
using nasx::test::has;
using nasx::test::random_losses;
using nasx::test::refusal;

namespace {

// Wrong pairs, one by one.
std::int64_t wrong_pairs(const double* values, const std::vector<double>& targets, bool held_out) {
    std::int64_t wrong = 0;
    for (std::size_t j = 0; j < targets.size(); ++j) {
        for (std::size_t k = 0; k < targets.size(); ++k) {
            const double other = held_out ? targets[k] : values[k];
            wrong += j != k && (values[j] < other) != (targets[j] < targets[k]);
        }
    }
    return wrong;
}

GaussianProcess process(std::size_t n, std::uint64_t seed) {
    const std::vector<std::int32_t> cardinalities{4, 3, 5};
    const bool ordered[] = {false, true, false};
    GaussianProcess made(cardinalities, ordered, Smoothness::matern52);
    std::vector<std::int32_t> rows(n * 3);
    sample(Decisions(cardinalities, {}), {seed, 0, 0}, {rows.data(), n, 3});
    const auto y = random_losses(n, 1, seed);
    made.condition({rows.data(), n, 3}, y.view());
    return made;
}

}  // namespace

TEST_CASE("ranking losses are the wrong pairs, ties or none") {
    for (const std::size_t n : {1u, 2u, 9u, 64u, 65u}) {
        for (const std::uint32_t levels : {0u, 3u}) {
            const auto values = random_losses(7, n, 1, levels), targets = random_losses(n, 1, 2, levels);
            for (const bool held_out : {false, true}) {
                std::vector<std::int64_t> losses(7);
                ranking_losses(values.view(), targets.values, held_out, losses);
                for (std::size_t draw = 0; draw < 7; ++draw) {
                    CHECK(losses[draw] == wrong_pairs(values.view().row(draw), targets.values, held_out));
                }
            }
        }
    }
}

TEST_CASE("an ensemble adds weighted means, and variances by the squares of the weights") {
    const GaussianProcess a = process(12, 1), b = process(20, 2);
    const bool all[] = {true, true, true};
    const GpEnsemble both({{&a, 0.25, {}}, {&b, 0.75, all}});
    const std::vector<std::int32_t> rows{0, 1, 2, 3, 2, 4, 1, 0, 0};
    std::vector<double> means(3), variances(3), m(3), v(3), expected(3), square(3);
    both.predict({rows.data(), 3, 3}, {means.data(), 3, 1}, variances);
    for (const auto& [one, weight] : {std::pair{&a, 0.25}, std::pair{&b, 0.75}}) {
        one->predict({rows.data(), 3, 3}, {m.data(), 3, 1}, v);
        for (std::size_t i = 0; i < 3; ++i) {
            expected[i] += weight * m[i];
            square[i] += weight * weight * v[i];
        }
    }
    for (std::size_t i = 0; i < 3; ++i) {
        CHECK(std::fabs(means[i] - expected[i]) < 1e-12);
        CHECK(std::fabs(variances[i] - square[i]) < 1e-12);
    }
}

TEST_CASE("what does not fit an ensemble is named") {
    const GaussianProcess a = process(5, 1);
    const bool two[] = {true, true};
    CHECK(has(refusal([&] { GpEnsemble(std::vector<GpExpert>{}); }), "processes is empty"));
    CHECK(has(refusal([&] { GpEnsemble({{&a, -1.0, {}}}); }), "weights must be finite and at least 0"));
    CHECK(has(refusal([&] { GpEnsemble({{&a, 1.0, two}}); }), "shared must have 3 columns"));
    std::vector<double> small(2);
    CHECK(has(refusal([&] { leave_one_out(a, small, small); }), "the process has targets for 5"));
}
