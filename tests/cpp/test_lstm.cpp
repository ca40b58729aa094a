#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "helpers.hpp"
#include "nasx/lstm.hpp"
#include "nasx/parallel.hpp"

using namespace nasx;

namespace {

// Seven hidden units, so that no loop comes out even; the last decision is active if the first is 2.
struct Problem {
    static constexpr std::size_t h = 7, choices = 9, d = 3;
    std::vector<std::int32_t> cardinalities{4, 3, 2}, conditions{2, 0, 2};
    Decisions decisions{cardinalities, {conditions.data(), 1, 3}};
    std::vector<float> start = numbers(h, 1), embeddings = numbers(choices * h, 2),
                       from_input = numbers(4 * h * h, 3), from_hidden = numbers(4 * h * h, 4),
                       bias = numbers(4 * h, 5), heads = numbers(choices * h, 6),
                       head_bias = numbers(choices, 7);
    float temperature = 2, bound = 1.5;

    static std::vector<float> numbers(std::size_t n, std::uint64_t seed) {
        std::vector<float> out;
        for (const double x : test::random_losses(n, 1, seed).values) {
            out.push_back(static_cast<float>(6 * x - 3));
        }
        return out;
    }

    LstmPolicy policy() const {
        return {start,
                {embeddings.data(), choices, h},
                {from_input.data(), h, 4 * h},
                {from_hidden.data(), h, 4 * h},
                bias,
                {heads.data(), choices, h},
                head_bias,
                temperature,
                bound};
    }

    // The log-probability of each choice, by definition and in double precision.
    std::vector<double> log_probs(const std::int32_t* row) const {
        std::vector<double> hidden(h), memory(h), out(d);
        const float* input = start.data();
        std::size_t first = 0;
        for (std::size_t j = 0; j < d; ++j) {
            const auto count = static_cast<std::size_t>(cardinalities[j]);
            if (row[j] >= 0) {
                std::vector<double> gates(bias.begin(), bias.end());
                for (std::size_t k = 0; k < h; ++k) {
                    for (std::size_t g = 0; g < 4 * h; ++g) {
                        gates[g] += input[k] * from_input[k * 4 * h + g];
                        gates[g] += hidden[k] * from_hidden[k * 4 * h + g];
                    }
                }
                const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
                for (std::size_t k = 0; k < h; ++k) {
                    memory[k] =
                        sigmoid(gates[h + k]) * memory[k] + sigmoid(gates[k]) * std::tanh(gates[2 * h + k]);
                    hidden[k] = sigmoid(gates[3 * h + k]) * std::tanh(memory[k]);
                }
                double total = 0, chosen = 0;
                for (std::size_t c = 0; c < count; ++c) {
                    double logit = head_bias[first + c];
                    for (std::size_t k = 0; k < h; ++k) {
                        logit += hidden[k] * heads[(first + c) * h + k];
                    }
                    logit /= temperature;
                    logit = bound > 0 ? bound * std::tanh(logit) : logit;
                    total += std::exp(logit);
                    chosen = c == static_cast<std::size_t>(row[j]) ? logit : chosen;
                }
                out[j] = chosen - std::log(total);
                input = embeddings.data() + (first + static_cast<std::size_t>(row[j])) * h;
            }
            first += count;
        }
        return out;
    }
};

struct Drawn {
    std::vector<std::int32_t> rows;
    std::vector<double> log_probs;

    Drawn(const Problem& problem, std::size_t n, std::uint64_t first = 0)
        : rows(n * Problem::d), log_probs(n * Problem::d) {
        sample_lstm(problem.decisions, problem.policy(), {5, 0, first}, {rows.data(), n, Problem::d},
                    {log_probs.data(), n, Problem::d});
    }
};

}  // namespace

TEST_CASE("draws of an LSTM have the probabilities that its definition gives") {
    for (const float bound : {1.5f, 0.0f}) {
        Problem problem;
        problem.bound = bound;
        const std::size_t n = 5000;
        const Drawn drawn(problem, n);
        problem.decisions.check({drawn.rows.data(), n, Problem::d}, "rows");
        // Means of 1 / p over draws count the genotypes that can be drawn: 2 of 4 x 3 with, 3 x 3 without.
        double reached = 0;
        for (std::size_t i = 0; i < n; ++i) {
            const std::int32_t* const row = drawn.rows.data() + i * Problem::d;
            CHECK((row[2] >= 0) == (row[0] == 2));
            const auto expected = problem.log_probs(row);
            double sum = 0;
            for (std::size_t j = 0; j < Problem::d; ++j) {
                CHECK(std::abs(drawn.log_probs[i * Problem::d + j] - expected[j]) < 1e-4);
                sum += expected[j];
            }
            reached += std::exp(-sum) / static_cast<double>(n);
        }
        if (bound > 0) {  // no choice is rare
            CHECK(reached == doctest::Approx(15).epsilon(0.1));
        }
    }
}

TEST_CASE("draws of an LSTM do not depend on threads or batches") {
    const Problem problem;
    const Drawn all(problem, 40);
    const std::size_t threads = get_num_threads();
    set_num_threads(1);
    const Drawn alone(problem, 40), later(problem, 10, 30);
    set_num_threads(threads);
    CHECK(all.rows == alone.rows);
    CHECK(all.log_probs == alone.log_probs);
    CHECK(std::vector(all.rows.begin() + 30 * 3, all.rows.end()) == later.rows);
}

TEST_CASE("an LSTM refuses weights that do not fit") {
    const auto refused = [](auto&& change) {
        Problem problem;
        change(problem);
        return test::refusal([&] { Drawn(problem, 1); });
    };
    CHECK(refused([](Problem&) {}).empty());
    CHECK(test::has(refused([](Problem& p) { p.bias.pop_back(); }), "bias must have 4 h numbers"));
    CHECK(test::has(refused([](Problem& p) { p.head_bias.pop_back(); }), "head_bias"));
    CHECK(test::has(refused([](Problem& p) { p.temperature = 0; }), "temperature must be positive"));
    CHECK(test::has(refused([](Problem& p) { p.bound = -1; }), "bound must not be negative"));
    CHECK(test::has(refused([](Problem& p) { p.heads[3] = std::numeric_limits<float>::quiet_NaN(); }),
                    "weights must be finite"));
    const auto enlarge = [](std::vector<float>& weights) {
        for (float& weight : weights) {
            weight = std::copysign(std::numeric_limits<float>::max(), weight);
        }
    };
    CHECK(test::has(refused([&](Problem& p) { enlarge(p.from_input); }), "weights must be smaller"));
    CHECK(test::has(refused([&](Problem& p) {
                        p.bound = 0;
                        enlarge(p.heads);
                        enlarge(p.head_bias);
                    }),
                    "heads must be smaller"));
}
