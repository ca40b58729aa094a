#include "nasx/policy.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "nasx/simd/activation.hpp"
#include "nasx/simd/level.hpp"

namespace nasx {
namespace {

void check_length(std::size_t length, std::size_t wanted, const char* argument) {
    if (length != wanted) {
        throw std::invalid_argument(std::string(argument) + " must have " + std::to_string(wanted) +
                                    " numbers; got " + std::to_string(length));
    }
}

void check_shape(std::size_t rows, std::size_t cols, Genotypes like, const char* argument) {
    if (rows != like.rows || cols != like.cols) {
        throw std::invalid_argument(std::string(argument) + " must have shape (" + std::to_string(like.rows) +
                                    ", " + std::to_string(like.cols) + "); got (" + std::to_string(rows) +
                                    ", " + std::to_string(cols) + ")");
    }
}

void check_finite(std::span<const double> values, const char* argument) {
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (!std::isfinite(values[i])) {
            throw std::invalid_argument(std::string(argument) + " must be finite; got " +
                                        std::to_string(values[i]) + " at " + std::to_string(i));
        }
    }
}

// So far as a double counts them one by one.
void check_steps(std::int64_t steps) {
    if (steps < 0 || steps >= std::int64_t{1} << 53) {
        throw std::invalid_argument("steps must be at least 0 and below 2^53; got " + std::to_string(steps));
    }
}

// Where the choices of each decision begin, and where those of the last end.
std::vector<std::size_t> starts_of(const Decisions& decisions) {
    std::vector<std::size_t> starts(decisions.size() + 1, 0);
    for (std::size_t j = 0; j < decisions.size(); ++j) {
        starts[j + 1] = starts[j] + decisions.choices(j);
    }
    return starts;
}

constexpr std::size_t lanes = simd::ActivationKernels::lanes;

const simd::ActivationKernels& kernels() {
    return NASX_AT_LEVEL(activation_kernels);
}

// Softmax of each decision, with logarithms and entropies where they are wanted.
struct Distribution {
    Distribution(const Decisions& decisions, std::span<const double> logits)
        : starts(starts_of(decisions)),
          weights((logits.size() + lanes - 1) / lanes * lanes),
          totals(decisions.size()) {
        check_length(logits.size(), starts.back(), "logits");
        check_finite(logits, "logits");
        largest.reserve(decisions.size());
        for (std::size_t j = 0; j < decisions.size(); ++j) {
            double most = logits[starts[j]];
            for (std::size_t k = starts[j]; k < starts[j + 1]; ++k) {
                most = std::max(most, logits[k]);
            }
            largest.push_back(most);
            for (std::size_t k = starts[j]; k < starts[j + 1]; ++k) {
                weights[k] = logits[k] - most;
            }
        }
        kernels().exponential(weights.data(), weights.size());
        for (std::size_t j = 0; j < decisions.size(); ++j) {
            for (std::size_t k = starts[j]; k < starts[j + 1]; ++k) {
                totals[j] += weights[k];
            }
        }
    }

    void take_logarithms(std::span<const double> logits) {
        log_probs.resize(logits.size());
        for (std::size_t j = 0; j + 1 < starts.size(); ++j) {
            const double shift = largest[j] + std::log(totals[j]);
            for (std::size_t k = starts[j]; k < starts[j + 1]; ++k) {
                log_probs[k] = logits[k] - shift;
            }
        }
    }

    double probability(std::size_t j, std::size_t k) const { return weights[k] / totals[j]; }

    std::vector<std::size_t> starts;
    std::vector<double> weights;  // by choice, and some more that fill a vector
    std::vector<double> totals, largest, log_probs;
};

// Adds `count` times the gradient of minus the entropy of each decision, weighted.
void add_entropy(const Distribution& policy, std::span<const double> counts, double weight,
                 std::span<double> gradient) {
    for (std::size_t j = 0; j < counts.size(); ++j) {
        double entropy = 0;
        for (std::size_t k = policy.starts[j]; k < policy.starts[j + 1]; ++k) {
            entropy -= policy.probability(j, k) * policy.log_probs[k];
        }
        for (std::size_t k = policy.starts[j]; k < policy.starts[j + 1]; ++k) {
            gradient[k] += weight * counts[j] * policy.probability(j, k) * (policy.log_probs[k] + entropy);
        }
    }
}

// Adds the gradient of minus the sum of weights times log-probabilities: `chosen` has been filled with minus
// the weights by choice, `sums` holds the weights by decision.
void add_softmax(const Distribution& policy, std::span<const double> sums, std::span<double> gradient) {
    for (std::size_t j = 0; j < sums.size(); ++j) {
        const double factor = sums[j] / policy.totals[j];
        for (std::size_t k = policy.starts[j]; k < policy.starts[j + 1]; ++k) {
            gradient[k] += factor * policy.weights[k];
        }
    }
}

void check_settings(const PpoSettings& settings) {
    const auto at_least = [](double value, double least, const char* name) {
        if (!(value >= least) || !std::isfinite(value)) {
            throw std::invalid_argument(std::string(name) + " must be a number of at least " +
                                        std::to_string(least) + "; got " + std::to_string(value));
        }
    };
    at_least(settings.learning_rate, 0, "learning_rate");
    at_least(settings.clip, 0, "clip");
    at_least(settings.entropy_weight, 0, "entropy_weight");
    at_least(settings.value_weight, 0, "value_weight");
    at_least(settings.max_norm, 0, "max_norm");
    at_least(settings.target_kl, 0, "target_kl");
    at_least(static_cast<double>(settings.epochs), 1, "epochs");
    at_least(static_cast<double>(settings.minibatch), 1, "minibatch");
}

std::size_t chosen(std::span<const std::size_t> starts, std::size_t j, std::int32_t choice) {
    return starts[j] + static_cast<std::size_t>(choice);
}

}  // namespace

void sample_policy(const Decisions& decisions, std::span<const double> logits, const StreamKey& key,
                   MutableGenotypes out, Matrix<double> log_probs) {
    decisions.check_width(out, "out");
    if (log_probs.rows > 0) {
        check_shape(log_probs.rows, log_probs.cols, out, "log_probs");
    }
    Distribution policy(decisions, logits);
    if (log_probs.rows > 0) {
        policy.take_logarithms(logits);
    }
    std::vector<double> below(logits.size());  // weights of a decision's choices up to this one
    for (std::size_t j = 0; j < out.cols; ++j) {
        const auto at = [&](std::size_t k) { return static_cast<std::ptrdiff_t>(policy.starts[k]); };
        std::partial_sum(policy.weights.begin() + at(j), policy.weights.begin() + at(j + 1),
                         below.begin() + at(j));
    }
    for_rows(out.rows, out.cols, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            Stream stream(key, Purpose::policy, i);
            std::int32_t* const row = out.row(i);
            for (std::size_t j = 0; j < out.cols; ++j) {
                row[j] = -1;
                if (decisions.active(j, row)) {
                    // Counting is quicker than stopping: where to stop cannot be foreseen.
                    const double lot = stream.uniform() * policy.totals[j];
                    std::int32_t choice = 0;
                    for (std::size_t k = policy.starts[j]; k + 1 < policy.starts[j + 1]; ++k) {
                        choice += lot >= below[k];
                    }
                    row[j] = choice;
                }
                if (log_probs.rows > 0) {
                    log_probs(i, j) = row[j] < 0 ? 0.0 : policy.log_probs[chosen(policy.starts, j, row[j])];
                }
            }
        }
    });
}

void policy_log_probs(const Decisions& decisions, std::span<const double> logits, Genotypes rows,
                      Matrix<double> log_probs) {
    decisions.check(rows, "rows");
    check_shape(log_probs.rows, log_probs.cols, rows, "log_probs");
    Distribution policy(decisions, logits);
    policy.take_logarithms(logits);
    for (std::size_t i = 0; i < rows.rows; ++i) {
        for (std::size_t j = 0; j < rows.cols; ++j) {
            log_probs(i, j) = rows(i, j) < 0 ? 0.0 : policy.log_probs[chosen(policy.starts, j, rows(i, j))];
        }
    }
}

void adam_step(const AdamState& state, std::span<const double> gradient, double learning_rate) {
    constexpr double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
    check_length(gradient.size(), state.parameters.size(), "gradient");
    check_length(state.first.size(), state.parameters.size(), "first");
    check_length(state.second.size(), state.parameters.size(), "second");
    check_steps(state.steps);
    const auto t = static_cast<double>(state.steps + 1);
    const double step = learning_rate / (1 - std::pow(beta1, t));
    const double scale = 1 / std::sqrt(1 - std::pow(beta2, t));
    for (std::size_t k = 0; k < gradient.size(); ++k) {
        state.first[k] += (1 - beta1) * (gradient[k] - state.first[k]);
        state.second[k] = beta2 * state.second[k] + (1 - beta2) * gradient[k] * gradient[k];
        state.parameters[k] -= step * state.first[k] / (std::sqrt(state.second[k]) * scale + epsilon);
    }
}

void policy_gradient(const Decisions& decisions, std::span<const double> logits, Genotypes rows,
                     std::span<const double> advantages, double entropy_weight, std::span<double> gradient) {
    decisions.check(rows, "rows");
    check_length(advantages.size(), rows.rows, "advantages");
    check_finite(advantages, "advantages");
    check_length(gradient.size(), logits.size(), "gradient");
    Distribution policy(decisions, logits);
    const double share = 1 / static_cast<double>(std::max<std::size_t>(rows.rows, 1));
    std::vector<double> sums(rows.cols), counts(rows.cols);
    std::fill(gradient.begin(), gradient.end(), 0.0);
    for (std::size_t i = 0; i < rows.rows; ++i) {
        for (std::size_t j = 0; j < rows.cols; ++j) {
            if (rows(i, j) >= 0) {
                gradient[chosen(policy.starts, j, rows(i, j))] -= share * advantages[i];
                sums[j] += share * advantages[i];
                counts[j] += share;
            }
        }
    }
    add_softmax(policy, sums, gradient);
    if (entropy_weight != 0) {
        policy.take_logarithms(logits);
        add_entropy(policy, counts, entropy_weight, gradient);
    }
}

void reinforce_step(const Decisions& decisions, const AdamState& logits, Genotypes rows,
                    std::span<const double> advantages, double entropy_weight, double learning_rate) {
    std::vector<double> gradient(logits.parameters.size());
    policy_gradient(decisions, logits.parameters, rows, advantages, entropy_weight, gradient);
    adam_step(logits, gradient, learning_rate);
}

void critic_values(const Decisions& decisions, std::span<const double> critic, Genotypes rows,
                   Matrix<double> values) {
    decisions.check(rows, "rows");
    check_shape(values.rows, values.cols, rows, "values");
    const auto starts = starts_of(decisions);
    check_length(critic.size(), starts.back() + 1, "critic");
    for (std::size_t i = 0; i < rows.rows; ++i) {
        double value = critic[0];
        for (std::size_t j = 0; j < rows.cols; ++j) {
            values(i, j) = rows(i, j) < 0 ? 0.0 : value;
            value += rows(i, j) < 0 ? 0.0 : critic[1 + chosen(starts, j, rows(i, j))];
        }
    }
}

void generalized_advantages(Genotypes rows, Matrix<const double> values, std::span<const double> rewards,
                            double lambda, Matrix<double> advantages) {
    check_shape(values.rows, values.cols, rows, "values");
    check_shape(advantages.rows, advantages.cols, rows, "advantages");
    check_length(rewards.size(), rows.rows, "rewards");
    check_finite(rewards, "rewards");
    if (!(lambda >= 0 && lambda <= 1)) {
        throw std::invalid_argument("lambda must be in [0, 1]; got " + std::to_string(lambda));
    }
    for (std::size_t i = 0; i < rows.rows; ++i) {
        // Before the last decision the reward is what comes next; earlier, the value at the next one.
        double next = rewards[i], later = 0;
        for (std::size_t j = rows.cols; j-- > 0;) {
            advantages(i, j) = 0;
            if (rows(i, j) >= 0) {
                later = advantages(i, j) = next - values(i, j) + lambda * later;
                next = values(i, j);
            }
        }
    }
}

PpoReport ppo_gradient(const Decisions& decisions, std::span<const double> parameters,
                       const Behaviour& behaviour, Matrix<const double> advantages,
                       Matrix<const double> targets, const PpoSettings& settings,
                       std::span<double> gradient) {
    const Genotypes rows = behaviour.rows;
    const std::size_t choices = starts_of(decisions).back(), d = rows.cols;
    check_length(parameters.size(), 2 * choices + 1, "parameters");
    check_length(gradient.size(), parameters.size(), "gradient");
    check_shape(behaviour.log_probs.rows, behaviour.log_probs.cols, rows, "log_probs");
    check_shape(advantages.rows, advantages.cols, rows, "advantages");
    check_shape(targets.rows, targets.cols, rows, "targets");
    check_settings(settings);
    decisions.check_width(rows, "rows");
    const auto logits = parameters.first(choices), critic = parameters.subspan(choices);
    Distribution policy(decisions, logits);
    policy.take_logarithms(logits);
    std::vector<double> values_memory(rows.rows * d), sums(d), counts(d);
    const Matrix<double> values{values_memory.data(), rows.rows, d};
    critic_values(decisions, critic, rows, values);

    std::fill(gradient.begin(), gradient.end(), 0.0);
    const double share = 1 / static_cast<double>(std::max<std::size_t>(rows.rows, 1));
    PpoReport report;
    double active = 0;
    for (std::size_t i = 0; i < rows.rows; ++i) {
        double errors = 0;  // of the values after decision j
        for (std::size_t j = d; j-- > 0;) {
            if (rows(i, j) < 0) {
                continue;
            }
            const std::size_t k = chosen(policy.starts, j, rows(i, j));
            const double log_ratio = policy.log_probs[k] - behaviour.log_probs(i, j);
            const double ratio = std::exp(log_ratio), advantage = advantages(i, j);
            const bool clipped =
                advantage > 0 ? ratio > 1 + settings.clip : advantage < 0 && ratio < 1 - settings.clip;
            if (!clipped) {
                gradient[k] -= share * ratio * advantage;
                sums[j] += share * ratio * advantage;
            }
            counts[j] += share;
            report.clipped += clipped;
            report.kl += ratio - 1 - log_ratio;
            active += 1;
            gradient[choices + 1 + k] += share * settings.value_weight * errors;
            errors += values(i, j) - targets(i, j);
        }
        gradient[choices] += share * settings.value_weight * errors;
    }
    report.kl /= std::max(active, 1.0);
    report.clipped /= std::max(active, 1.0);
    add_softmax(policy, sums, gradient.first(choices));
    add_entropy(policy, counts, settings.entropy_weight, gradient.first(choices));
    return report;
}

PpoReport ppo_update(const Decisions& decisions, const AdamState& state, const Behaviour& behaviour,
                     const PpoSettings& settings, std::uint64_t seed, std::uint32_t generation) {
    check_settings(settings);
    const std::size_t n = behaviour.rows.rows, d = decisions.size();
    const std::size_t choices = starts_of(decisions).back();
    check_length(state.parameters.size(), 2 * choices + 1, "parameters");
    decisions.check_width(behaviour.rows, "rows");
    std::vector<double> values(n * d), advantages(n * d), targets(n * d);
    critic_values(decisions, state.parameters.subspan(choices), behaviour.rows, {values.data(), n, d});
    generalized_advantages(behaviour.rows, {values.data(), n, d}, behaviour.rewards, settings.lambda,
                           {advantages.data(), n, d});
    for (std::size_t k = 0; k < n * d; ++k) {
        targets[k] = advantages[k] + values[k];
    }
    check_shape(behaviour.log_probs.rows, behaviour.log_probs.cols, behaviour.rows, "log_probs");

    PpoReport report;
    AdamState adam = state;
    double minibatches = 0;
    std::vector<std::size_t> order(n);
    std::vector<double> gradient(state.parameters.size());
    for (std::size_t epoch = 0; epoch < settings.epochs; ++epoch) {
        std::iota(order.begin(), order.end(), std::size_t{0});
        Stream stream(seed, Purpose::minibatch, generation, epoch);
        for (std::size_t i = n; i > 1; --i) {
            std::swap(order[i - 1], order[stream.below(static_cast<std::uint32_t>(i))]);
        }
        for (std::size_t begin = 0, size = 0; begin < n; begin += size) {
            size = std::min(settings.minibatch, n - begin);
            std::vector<std::int32_t> rows;
            std::vector<double> drawn_at, gains, goals, rewards;
            for (std::size_t i = begin; i < begin + size; ++i) {
                const auto copy = [&](auto& to, const auto* from) { to.insert(to.end(), from, from + d); };
                copy(rows, behaviour.rows.row(order[i]));
                copy(drawn_at, behaviour.log_probs.row(order[i]));
                copy(gains, advantages.data() + order[i] * d);
                copy(goals, targets.data() + order[i] * d);
            }
            const PpoReport part = ppo_gradient(
                decisions, state.parameters, {{rows.data(), size, d}, {drawn_at.data(), size, d}, rewards},
                {gains.data(), size, d}, {goals.data(), size, d}, settings, gradient);
            report.kl = part.kl;
            report.clipped += (part.clipped - report.clipped) / ++minibatches;
            if (settings.target_kl > 0 && part.kl > 1.5 * settings.target_kl) {
                return report;
            }
            if (settings.max_norm > 0) {
                const double norm =
                    std::sqrt(std::inner_product(gradient.begin(), gradient.end(), gradient.begin(), 0.0));
                const double factor = std::min(1.0, settings.max_norm / (norm + 1e-6));
                for (double& g : gradient) {
                    g *= factor;
                }
            }
            adam_step(adam, gradient, settings.learning_rate);
            ++adam.steps;
            ++report.steps;
        }
    }
    return report;
}

}  // namespace nasx
