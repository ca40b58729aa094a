#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "helpers.hpp"
#include "nasx/rewards.hpp"

using namespace nasx;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

struct Rewards {
    std::vector<double> rewards, baselines;
};

Rewards observe(const std::vector<double>& losses, const std::vector<double>& violations,
                std::optional<double> exponent = std::nullopt, std::size_t m = 1, std::size_t at_once = 100) {
    const std::size_t n = violations.size();
    std::vector<double> state(reward_state_size(m)), weights(m, 1.0 / static_cast<double>(m));
    Rewards out{std::vector<double>(n), std::vector<double>(n)};
    for (std::size_t i = 0; i < n; i += at_once) {
        const std::size_t size = std::min(at_once, n - i);
        observe_rewards(state, {losses.data() + i * m, size, m}, std::span(violations).subspan(i, size),
                        {weights, 0.9, exponent}, std::span(out.rewards).subspan(i, size),
                        std::span(out.baselines).subspan(i, size));
    }
    return out;
}

}  // namespace

TEST_CASE("rewards are standardised losses and the baseline is free of bias") {
    const auto found = observe({4, 2, 6}, {0, 0, 0});
    CHECK(found.rewards[0] == 0);
    CHECK(found.baselines[0] == 0);
    CHECK(found.rewards[1] == doctest::Approx(1));
    // The average is (0.9 * 4 + 2) / 1.9 at a mean of 3 and a deviation of 1.
    CHECK(found.baselines[1] == doctest::Approx(3 - 5.6 / 1.9));
    CHECK(found.rewards[2] == doctest::Approx(-2 / std::sqrt(8.0 / 3)));
}

TEST_CASE("rewards do not depend on how many are taken at once") {
    const auto losses = test::random_losses(30, 2, 3).values;
    std::vector<double> over(30);
    over[4] = 0.5;
    over[9] = infinity;
    over[17] = 2;
    const auto all = observe(losses, over, std::nullopt, 2), one = observe(losses, over, std::nullopt, 2, 1);
    CHECK(all.rewards == one.rewards);
    CHECK(all.baselines == one.baselines);
}

TEST_CASE("rows over a limit lose by how much they are over, and failures to all") {
    const auto [rewards, baselines] = observe({1, 2, 3, -9, -9, -9}, {0, 0, 0, 1, 5, infinity});
    CHECK(rewards[3] < rewards[2]);
    CHECK(rewards[4] < rewards[3]);
    CHECK(rewards[5] < rewards[4]);
    CHECK(baselines[5] == baselines[4]);
    CHECK(observe({7}, {infinity}).rewards[0] == -1);
}

TEST_CASE("with an exponent, what is over the limit is multiplied by its power") {
    const auto soft = observe({-0.5, -0.8, 0.2}, {0, 1, 1}, -0.07);
    const auto same = observe({-0.5, -0.8 * std::pow(2, -0.07), 0.2 * std::pow(2, 0.07)}, {0, 0, 0});
    for (std::size_t i = 0; i < 3; ++i) {
        CHECK(soft.rewards[i] == doctest::Approx(same.rewards[i]));
    }
}

TEST_CASE("absurd losses leave finite rewards") {
    for (const double bad : {infinity, -infinity, 1e308, -1e308}) {
        const auto found = observe({1, 2, bad, bad, 1.5}, {0, 0, 0, 0, 0});
        for (const auto& values : {found.rewards, found.baselines}) {
            for (const double x : values) {
                CHECK(std::isfinite(x));
            }
        }
    }
}

TEST_CASE("rewards refuse what does not fit") {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK(test::has(test::refusal([&] { observe({nan}, {0}); }), "losses holds NaN in row 0"));
    CHECK(test::has(test::refusal([&] { observe({1}, {-1}); }), "violations must be at least 0"));
    CHECK(test::has(test::refusal([&] { observe({1}, {nan}); }), "violations must be at least 0"));
    CHECK(test::has(test::refusal([&] { observe({1}, {0}, 0.07); }), "exponent must not be positive"));
    std::vector<double> state(3);
    CHECK(test::has(test::refusal([&] { observe_rewards(state, {nullptr, 0, 1}, {}, {}, {}, {}); }),
                    "state must have 12 numbers; got 3"));
}
