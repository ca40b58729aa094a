#include <doctest/doctest.h>

#include <cmath>
#include <deque>
#include <limits>

#include "nasx/lbfgs.hpp"

using namespace nasx;

namespace {

// Rosenbrock's valley in pairs of numbers, without a value beyond 3.
struct Valley final : SmoothFunction {
    std::vector<double> at;
    std::size_t gradients = 0;

    double value(std::span<const double> x) override {
        at.assign(x.begin(), x.end());
        double total = 0;
        for (std::size_t i = 0; i < x.size(); i += 2) {
            if (x[i] > 3) {
                return std::numeric_limits<double>::infinity();
            }
            total += 100 * std::pow(x[i + 1] - x[i] * x[i], 2) + std::pow(1 - x[i], 2);
        }
        return total;
    }
    void gradient(std::span<double> out) override {
        ++gradients;
        for (std::size_t i = 0; i < at.size(); i += 2) {
            const double off = at[i + 1] - at[i] * at[i];
            out[i] = -400 * at[i] * off - 2 * (1 - at[i]);
            out[i + 1] = 200 * off;
        }
    }
};

const LbfgsSettings precise{.iterations = 500, .gradient = 1e-8, .decrease = 0};

}  // namespace

TEST_CASE("a bent valley is followed to its end") {
    Valley valley;
    const std::vector<double> start{-1.2, 1, 2.9, -5}, lower(4, -10.0), upper(4, 10.0);
    const Minimum found = minimise(valley, start, lower, upper, precise);
    for (const double x : found.x) {
        CHECK(x == doctest::Approx(1).epsilon(1e-6));
    }
    CHECK(found.value < 1e-12);
    CHECK(found.evaluations < 200);
    CHECK(valley.gradients <= found.evaluations);
}

TEST_CASE("a minimum at a bound") {
    Valley valley;
    const std::vector<double> start{9, 9}, lower{-1, -1}, upper{0.5, 2};
    const Minimum found = minimise(valley, start, lower, upper, precise);
    CHECK(found.x[0] == 0.5);
    CHECK(found.x[1] == doctest::Approx(0.25).epsilon(1e-6));
}

TEST_CASE("no value at the start") {
    Valley valley;
    const std::vector<double> start{5, 5}, lower(2, -10.0), upper(2, 10.0);
    const Minimum found = minimise(valley, start, lower, upper, precise);
    CHECK(std::isinf(found.value));
    CHECK(found.x == start);
}

TEST_CASE("curvature of a like function shortens the way") {
    const std::vector<double> lower(4, -10.0), upper(4, 10.0);
    Valley valley;
    const Minimum before = minimise(valley, std::vector<double>{-1.2, 1, 2.9, -5}, lower, upper, precise);
    CHECK(before.memory.size() > 2);
    CHECK(before.memory.size() <= precise.memory);
    const std::vector<double> near{0.9, 0.7, 1.1, 1.3};
    const Minimum alone = minimise(valley, near, lower, upper, precise);
    const Minimum told = minimise(valley, near, lower, upper, precise, before.memory);
    CHECK(told.evaluations < alone.evaluations);
    for (const double x : told.x) {
        CHECK(x == doctest::Approx(1).epsilon(1e-6));
    }
    // What is remembered may be of another function altogether: it costs steps, not the minimum.
    std::deque<Curvature> wrong = before.memory;
    for (Curvature& change : wrong) {
        change.product *= 1e6;
    }
    const Minimum misled = minimise(valley, near, lower, upper, precise, wrong);
    for (const double x : misled.x) {
        CHECK(x == doctest::Approx(1).epsilon(1e-6));
    }
}
