#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>

#include "helpers.hpp"
#include "nasx/parzen.hpp"
#include "nasx/parzen_kernels.hpp"

using namespace nasx;

namespace {

struct Problem {
    std::vector<std::int32_t> cardinalities{4, 3, 5, 2, 70'000};
    std::vector<std::int32_t> conditions{2, 1, 0, 2, 1, 2, 3, 2, 4};  // c if b in {0, 2}, d if c == 4
    std::vector<char> ordered{0, 0, 1, 0, 0};

    ParzenHistory history(bool joint) const {
        return {cardinalities,
                {conditions.data(), 3, 3},
                {reinterpret_cast<const bool*>(ordered.data()), ordered.size()},
                {joint, false}};
    }

    std::vector<std::int32_t> rows(std::size_t n, std::uint64_t seed) const {
        const Decisions decisions(cardinalities, {conditions.data(), 3, 3});
        std::vector<std::int32_t> out(n * 5);
        sample(decisions, {seed, 0, 0}, {out.data(), n, 5});
        return out;
    }
};

std::vector<double> densities(const ParzenHistory& history, const std::vector<std::int32_t>& x) {
    std::vector<double> out(x.size() / 5 * 2);
    history.log_densities({x.data(), x.size() / 5, 5}, {out.data(), x.size() / 5, 2});
    return out;
}

}  // namespace

TEST_CASE("weights by age are flat for the last 25 and a line before them") {
    CHECK(AgeWeights(0).sloped() == 0);
    CHECK(AgeWeights(25).sloped() == 0);
    CHECK(AgeWeights(26)(0) == 1.0 / 26);
    CHECK(AgeWeights(26)(1) == 1);
    const AgeWeights age(101);
    CHECK(age(0) == 1.0 / 101);
    CHECK(age(75) == doctest::Approx(1));
    CHECK(age(38) - age(37) == doctest::Approx((1 - 1.0 / 101) / 75));
    CHECK(age(100) == 1);
}

TEST_CASE("kernels are distributions, and draws follow them") {
    const std::vector<std::int64_t> counts{0, 3, 0, 1, 0, 0, 2, 0};
    const OrderedKernels ordered(counts);
    const CategoricalKernels categorical(8, 6);
    CHECK(std::vector(ordered.observed().begin(), ordered.observed().end()) ==
          std::vector<std::int32_t>{1, 3, 6});
    for (std::size_t place = 0; place < 4; ++place) {  // the last is the prior
        std::array<double, 8> mass{}, other{};
        std::array<int, 8> drawn{}, drawn_other{};
        const std::int32_t observed = place < 3 ? ordered.observed()[place] : -1;
        for (std::int32_t x = 0; x < 8; ++x) {
            const auto i = static_cast<std::size_t>(x);
            mass[i] = place < 3 ? ordered.mass(x, place) : ordered.prior_mass(x);
            other[i] = place < 3 ? categorical.mass(x, observed) : categorical.prior_mass();
        }
        CHECK(std::accumulate(mass.begin(), mass.end(), 0.0) == doctest::Approx(1));
        CHECK(std::accumulate(other.begin(), other.end(), 0.0) == doctest::Approx(1));
        Stream stream(1, Purpose::parzen, 0, place);
        constexpr int n = 20'000;
        for (int k = 0; k < n; ++k) {
            ++drawn[static_cast<std::size_t>(ordered.draw(observed, stream))];
            ++drawn_other[static_cast<std::size_t>(categorical.draw(observed, stream))];
        }
        for (std::size_t i = 0; i < 8; ++i) {
            CHECK(std::abs(drawn[i] - n * mass[i]) < 5 * std::sqrt(n * mass[i]) + 1);
            CHECK(std::abs(drawn_other[i] - n * other[i]) < 5 * std::sqrt(n * other[i]) + 1);
        }
    }
}

TEST_CASE("a history does not remember how it came about") {
    const Problem problem;
    const auto rows = problem.rows(300, 1), x = problem.rows(20, 2);
    for (const bool joint : {false, true}) {
        ParzenHistory grown = problem.history(joint);
        std::vector<std::int64_t> good;
        for (std::size_t n = 1; n <= 300; ++n) {
            grown.append({rows.data() + (n - 1) * 5, 1, 5});
            // Old ones come back into the bad part now and then, young ones leave it.
            good.push_back(static_cast<std::int64_t>(n - 1));
            if (good.size() > 12) {
                good.erase(good.begin() + static_cast<std::ptrdiff_t>(n % 13));
            }
            grown.set_good(good);
        }
        ParzenHistory fresh = problem.history(joint);
        fresh.append({rows.data(), 300, 5});
        fresh.set_good(good);
        CHECK(densities(grown, x) == densities(fresh, x));
        CHECK(grown.good() == good);

        const ParzenHistory copy = grown;
        grown.set_good({});
        CHECK(densities(copy, x) == densities(fresh, x));
    }
}

TEST_CASE("proposals are well-formed, ordered by their ratio, and named by their stream") {
    const Problem problem;
    const auto rows = problem.rows(90, 1);
    const std::vector<std::int64_t> good{2, 3, 50, 88};
    for (const bool joint : {false, true}) {
        ParzenHistory history = problem.history(joint);
        history.append({rows.data(), 90, 5});
        history.set_good(good);
        std::vector<std::int32_t> out(64 * 5), again(64 * 5);
        std::vector<double> scores(64), scores_again(64);
        history.propose({7, 0, 3}, {out.data(), 64, 5}, scores);
        history.propose({7, 0, 3}, {again.data(), 64, 5}, scores_again);
        CHECK(out == again);
        CHECK(scores == scores_again);
        CHECK(std::is_sorted(scores.rbegin(), scores.rend()));
        const Decisions decisions(problem.cardinalities, {problem.conditions.data(), 3, 3});
        CHECK(first_malformed(decisions, {out.data(), 64, 5}) == 64 * 5);
        const auto expected = densities(history, out);
        for (std::size_t i = 0; i < 64; ++i) {
            CHECK(scores[i] == doctest::Approx(expected[2 * i] - expected[2 * i + 1]));
        }
        history.propose({7, 1, 3}, {again.data(), 64, 5}, scores_again);
        CHECK(out != again);
    }
}

TEST_CASE("what does not fit is refused") {
    const Problem problem;
    ParzenHistory history = problem.history(true);
    const auto rows = problem.rows(3, 1);
    history.append({rows.data(), 3, 5});
    const auto refused = [&](std::vector<std::int64_t> indices) {
        return test::refusal([&] { history.set_good(indices); });
    };
    CHECK(test::has(refused({1, 1}), "indices must increase"));
    CHECK(test::has(refused({0, 3}), "got 3 at 1"));
    CHECK(test::has(refused({-1}), "got -1"));
    CHECK(test::has(test::refusal([&] { history.append({rows.data(), 5, 3}); }), "rows must have"));
    CHECK(test::has(test::refusal([&] { ParzenHistory({}, {}, {}, {}); }), "cardinalities is empty"));
    const std::vector<std::int32_t> many(3, std::numeric_limits<std::int32_t>::max());
    const bool ordered[] = {false, false, false};
    CHECK(test::has(test::refusal([&] { ParzenHistory(many, {}, ordered, {}); }), "must sum to at most"));
}

// Matches of plain decisions are counted in 16 bits.
TEST_CASE("a joint estimator takes more decisions than 16 bits count") {
    constexpr std::size_t d = 70000;
    const std::vector<std::int32_t> cardinalities(d, 2);
    const std::unique_ptr<bool[]> ordered(new bool[d]());
    ParzenHistory history(cardinalities, {}, {ordered.get(), d}, {});
    std::vector<std::int32_t> row(d, 1);
    history.append({row.data(), 1, d});
    const std::vector<std::int64_t> good{0};
    history.set_good(good);
    std::vector<double> out(2);
    history.log_densities({row.data(), 1, d}, {out.data(), 1, 2});
    // One good row with kernels of 3/4 and 1/4, beside it the uniform prior; none is bad.
    CHECK(out[0] == doctest::Approx(d * std::log(0.75) - std::log(2)));
    CHECK(out[1] == doctest::Approx(d * std::log(0.5)));
}
