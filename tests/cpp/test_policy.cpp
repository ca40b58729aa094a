#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "helpers.hpp"
#include "nasx/policy.hpp"

using namespace nasx;

namespace {

// Five decisions; c is active if b is 0 or 2, d if c is 4 as well.
struct Problem {
    std::vector<std::int32_t> cardinalities{4, 3, 5, 2, 1};
    std::vector<std::int32_t> conditions{2, 1, 0, 2, 1, 2, 3, 2, 4};
    Decisions decisions{cardinalities, {conditions.data(), 3, 3}};
    std::size_t choices = 15, d = 5;

    std::vector<double> numbers(std::size_t n, std::uint64_t seed) const {
        auto out = test::random_losses(n, 1, seed).values;
        for (double& x : out) {
            x = 2 * x - 1;
        }
        return out;
    }
};

struct Drawn {
    std::vector<std::int32_t> rows;
    std::vector<double> log_probs;
    std::size_t n;

    Drawn(const Problem& problem, std::span<const double> logits, std::size_t n_)
        : rows(n_ * problem.d), log_probs(n_ * problem.d), n(n_) {
        sample_policy(problem.decisions, logits, {3, 0, 0}, {rows.data(), n, problem.d},
                      {log_probs.data(), n, problem.d});
    }

    Genotypes view() const { return {rows.data(), n, rows.size() / n}; }
    Matrix<const double> logs() const { return {log_probs.data(), n, rows.size() / n}; }
};

// By central differences.
std::vector<double> slopes(std::vector<double> at,
                           const std::function<double(const std::vector<double>&)>& f) {
    std::vector<double> out;
    for (double& x : at) {
        const double before = x, h = 1e-6;
        x = before + h;
        const double above = f(at);
        x = before - h;
        out.push_back((above - f(at)) / (2 * h));
        x = before;
    }
    return out;
}

double entropy_of(const Problem& problem, const std::vector<double>& logits, std::size_t j) {
    std::size_t begin = 0;
    for (std::size_t k = 0; k < j; ++k) {
        begin += problem.decisions.choices(k);
    }
    double total = 0, mean = 0;
    for (std::size_t k = begin; k < begin + problem.decisions.choices(j); ++k) {
        total += std::exp(logits[k]);
        mean += logits[k] * std::exp(logits[k]);
    }
    return std::log(total) - mean / total;
}

void check_close(std::span<const double> found, std::span<const double> expected, double tolerance) {
    REQUIRE(found.size() == expected.size());
    for (std::size_t k = 0; k < found.size(); ++k) {
        CHECK(std::abs(found[k] - expected[k]) <= tolerance);
    }
}

}  // namespace

TEST_CASE("draws are genotypes whose choices are as frequent as the logits say") {
    const Problem problem;
    const auto logits = problem.numbers(problem.choices, 1);
    const Drawn drawn(problem, logits, 20'000);
    problem.decisions.check(drawn.view(), "rows");
    std::vector<double> log_probs(drawn.log_probs.size());
    policy_log_probs(problem.decisions, logits, drawn.view(), {log_probs.data(), drawn.n, problem.d});
    CHECK(log_probs == drawn.log_probs);
    double counts[3] = {}, probabilities[3] = {};
    for (std::size_t i = 0; i < drawn.n; ++i) {
        const auto row = drawn.view().row(i);
        CHECK((row[2] >= 0) == (row[1] != 1));
        CHECK((row[3] >= 0) == (row[2] == 4));
        CHECK(row[4] == 0);
        CHECK(((row[2] >= 0) || drawn.logs()(i, 2) == 0));
        counts[row[1]] += 1;
        probabilities[row[1]] = std::exp(drawn.logs()(i, 1));
    }
    CHECK(probabilities[0] + probabilities[1] + probabilities[2] == doctest::Approx(1));
    for (std::size_t c = 0; c < 3; ++c) {
        const double n = static_cast<double>(drawn.n), p = probabilities[c];
        CHECK(std::abs(counts[c] - n * p) < 4 * std::sqrt(n * p * (1 - p)));
    }
}

TEST_CASE("the policy gradient is the slope of the loss") {
    const Problem problem;
    const auto logits = problem.numbers(problem.choices, 1);
    const Drawn drawn(problem, logits, 17);
    const auto advantages = problem.numbers(drawn.n, 2);
    const auto loss = [&](const std::vector<double>& at) {
        std::vector<double> logs(drawn.rows.size());
        policy_log_probs(problem.decisions, at, drawn.view(), {logs.data(), drawn.n, problem.d});
        double total = 0;
        for (std::size_t i = 0; i < drawn.n; ++i) {
            for (std::size_t j = 0; j < problem.d; ++j) {
                if (drawn.view()(i, j) >= 0) {
                    total -= advantages[i] * logs[i * problem.d + j] + 0.3 * entropy_of(problem, at, j);
                }
            }
        }
        return total / static_cast<double>(drawn.n);
    };
    std::vector<double> gradient(problem.choices);
    policy_gradient(problem.decisions, logits, drawn.view(), advantages, 0.3, gradient);
    check_close(gradient, slopes(logits, loss), 1e-8);
}

TEST_CASE("the gradient of PPO is the slope of its loss, clip and critic among it") {
    const Problem problem;
    const auto parameters = problem.numbers(2 * problem.choices + 1, 1);
    // Drawn by another policy: ratios are far from 1, and many are clipped.
    const Drawn drawn(problem, problem.numbers(problem.choices, 5), 29);
    const auto gains = problem.numbers(drawn.rows.size(), 2), goals = problem.numbers(drawn.rows.size(), 3);
    const PpoSettings settings{.clip = 0.2, .entropy_weight = 0.1, .value_weight = 0.7};
    const auto loss = [&](const std::vector<double>& at) {
        std::vector<double> logs(drawn.rows.size()), values(drawn.rows.size());
        const std::vector<double> logits(at.begin(), at.begin() + 15);
        policy_log_probs(problem.decisions, logits, drawn.view(), {logs.data(), drawn.n, problem.d});
        critic_values(problem.decisions, std::span(at).subspan(15), drawn.view(),
                      {values.data(), drawn.n, problem.d});
        double total = 0;
        for (std::size_t k = 0; k < drawn.rows.size(); ++k) {
            if (drawn.rows[k] >= 0) {
                const double ratio = std::exp(logs[k] - drawn.log_probs[k]);
                const double near = std::min(std::max(ratio, 0.8), 1.2), error = values[k] - goals[k];
                total -= std::min(ratio * gains[k], near * gains[k]);
                total -= 0.1 * entropy_of(problem, logits, k % problem.d);
                total += 0.7 * error * error / 2;
            }
        }
        return total / static_cast<double>(drawn.n);
    };
    std::vector<double> gradient(parameters.size());
    const auto report = ppo_gradient(problem.decisions, parameters, {drawn.view(), drawn.logs(), {}},
                                     {gains.data(), drawn.n, problem.d}, {goals.data(), drawn.n, problem.d},
                                     settings, gradient);
    check_close(gradient, slopes(parameters, loss), 1e-8);
    CHECK(report.clipped > 0.1);
    CHECK(report.kl > 0.01);
}

TEST_CASE("one epoch over the whole batch starts at ratios of 1, several leave them and stop in time") {
    const Problem problem;
    const auto begin = problem.numbers(2 * problem.choices + 1, 1);
    const Drawn drawn(problem, std::span(begin).first(problem.choices), 10);
    const auto rewards = problem.numbers(drawn.n, 2);
    const auto update = [&](const PpoSettings& settings) {
        std::vector<double> parameters = begin, first(begin.size()), second(begin.size());
        return ppo_update(problem.decisions, {parameters, first, second},
                          {drawn.view(), drawn.logs(), rewards}, settings, 0, 0);
    };
    PpoSettings settings{.learning_rate = 0.1, .epochs = 1, .minibatch = 10};
    CHECK(update(settings).steps == 1);
    CHECK(update(settings).kl == doctest::Approx(0));
    CHECK(update(settings).clipped == 0);
    settings.epochs = 20;
    CHECK(update(settings).steps == 20);
    CHECK(update(settings).clipped > 0);
    settings.minibatch = 4;  // the last has 2
    CHECK(update(settings).steps == 60);
    settings.target_kl = 0.01;
    CHECK(update(settings).steps < 60);
    CHECK(update(settings).kl > 0.015);
}

TEST_CASE("advantages are differences of values, summed up by lambda") {
    const std::vector<std::int32_t> rows{1, -1, 0, 2};
    const std::vector<double> values{0.5, 0, 0.25, 1}, rewards{2};
    std::vector<double> out(4);
    const auto advantages = [&](double lambda) {
        generalized_advantages({rows.data(), 1, 4}, {values.data(), 1, 4}, rewards, lambda,
                               {out.data(), 1, 4});
        return out;
    };
    CHECK(advantages(1) == std::vector<double>{1.5, 0, 1.75, 1});
    CHECK(advantages(0) == std::vector<double>{-0.25, 0, 0.75, 1});
    CHECK(advantages(0.5) == std::vector<double>{0.375, 0, 1.25, 1});
    CHECK(test::has(test::refusal([&] { advantages(1.5); }), "lambda"));
}

TEST_CASE("the first step of Adam is as long as the learning rate") {
    std::vector<double> parameters{1, 2, 3}, first(3), second(3);
    const std::vector<double> gradient{-7, 1e-3, 0};
    adam_step({parameters, first, second}, gradient, 0.25);
    check_close(parameters, std::vector<double>{1.25, 1.75, 3}, 1e-5);
    CHECK(test::has(
        test::refusal([&] { adam_step({parameters, first, second}, std::span(gradient).first(2), 0.25); }),
        "gradient must have 3 numbers"));
    for (const std::int64_t steps : {std::int64_t{-1}, std::numeric_limits<std::int64_t>::max()}) {
        const auto step = [&] { adam_step({parameters, first, second, steps}, gradient, 0.25); };
        CHECK(test::has(test::refusal(step), "steps must be at least 0 and below 2^53"));
    }
}

TEST_CASE("policies refuse what does not fit") {
    const Problem problem;
    auto logits = problem.numbers(problem.choices, 1);
    const Drawn drawn(problem, logits, 3);
    std::vector<double> advantages(3), gradient(problem.choices), few(2);
    const auto step = [&] {
        return test::refusal(
            [&] { policy_gradient(problem.decisions, logits, drawn.view(), advantages, 0, gradient); });
    };
    CHECK(step().empty());
    advantages[1] = std::numeric_limits<double>::infinity();
    CHECK(test::has(step(), "advantages must be finite"));
    advantages.pop_back();
    CHECK(test::has(step(), "advantages must have 3 numbers; got 2"));
    advantages = {0, 0, 0};
    logits[4] = std::numeric_limits<double>::quiet_NaN();
    CHECK(test::has(step(), "logits must be finite"));
    CHECK(test::has(test::refusal([&] {
                        ppo_update(problem.decisions, {few, few, few},
                                   {drawn.view(), drawn.logs(), advantages}, {}, 0, 0);
                    }),
                    "parameters must have 31 numbers"));
    CHECK(test::has(test::refusal([&] {
                        ppo_update(problem.decisions, {few, few, few},
                                   {drawn.view(), drawn.logs(), advantages}, {.clip = -1}, 0, 0);
                    }),
                    "clip must be"));
    // A matrix without columns may have any number of rows.
    std::vector<double> parameters(2 * problem.choices + 1);
    const Behaviour endless{{nullptr, std::size_t{1} << 50, 0}, {nullptr, std::size_t{1} << 50, 0}, {}};
    CHECK(test::has(test::refusal([&] {
                        ppo_update(problem.decisions, {parameters, parameters, parameters}, endless, {}, 0,
                                   0);
                    }),
                    "rows must have one column"));
    // One minibatch of everything, however large.
    const PpoSettings whole{.minibatch = std::numeric_limits<std::size_t>::max()};
    std::vector<double> first(parameters.size()), second(parameters.size());
    CHECK(ppo_update(problem.decisions, {parameters, first, second}, {drawn.view(), drawn.logs(), advantages},
                     whole, 0, 0)
              .steps == 1);
}
