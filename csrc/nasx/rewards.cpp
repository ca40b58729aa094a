#include "nasx/rewards.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

namespace nasx {
namespace {

// So far as squares and sums of them are finite.
constexpr double largest_loss = 1e150;

struct Objective {
    double mean, squares, worst, best, average;
};

struct State {
    double count;            // rows in the running statistics
    double loss_weight;      // of the moving averages of losses
    double penalty_average;  // of the penalties
    double penalty_weight;
    double violations;  // rows with a positive one, their mean and the largest
    double violation_mean;
    double violation_most;
};

constexpr std::size_t head_size = sizeof(State) / sizeof(double);
constexpr std::size_t objective_size = sizeof(Objective) / sizeof(double);

// The message is made only when it is needed.
template <class Message>
void require(bool holds, Message&& message) {
    if (!holds) {
        throw std::invalid_argument(message());
    }
}

}  // namespace

std::size_t reward_state_size(std::size_t m) {
    return head_size + objective_size * m;
}

void observe_rewards(std::span<double> state, Matrix<const double> losses, std::span<const double> violations,
                     const RewardSettings& settings, std::span<double> rewards, std::span<double> baselines) {
    const std::size_t n = losses.rows, m = losses.cols;
    require(m > 0, [&] { return std::string("losses must have at least one column"); });
    require(state.size() == reward_state_size(m), [&] {
        return "state must have " + std::to_string(reward_state_size(m)) + " numbers; got " +
               std::to_string(state.size());
    });
    require(violations.size() == n && rewards.size() == n && baselines.size() == n, [&] {
        return "violations must have one number for each of the " + std::to_string(n) + " rows; got " +
               std::to_string(violations.size());
    });
    require(settings.weights.size() == m, [&] {
        return "weights must have one number for each of the " + std::to_string(m) + " objectives; got " +
               std::to_string(settings.weights.size());
    });
    for (const double w : settings.weights) {
        require(w >= 0 && std::isfinite(w),
                [&] { return "weights must not be negative; got " + std::to_string(w); });
    }
    require(settings.momentum >= 0 && settings.momentum < 1,
            [&] { return "momentum must be in [0, 1); got " + std::to_string(settings.momentum); });
    require(!settings.exponent || (*settings.exponent <= 0 && std::isfinite(*settings.exponent)), [&] {
        return "exponent must not be positive; got " + std::to_string(settings.exponent.value_or(0));
    });
    for (std::size_t i = 0; i < n; ++i) {
        require(violations[i] >= 0, [&] {
            return "violations must be at least 0; got " + std::to_string(violations[i]) + " in row " +
                   std::to_string(i);
        });
        for (std::size_t k = 0; k < m; ++k) {
            require(!std::isnan(losses(i, k)),
                    [&] { return "losses holds NaN in row " + std::to_string(i); });
        }
    }

    State head{state[0], state[1], state[2], state[3], state[4], state[5], state[6]};
    std::vector<Objective> objectives(m);
    for (std::size_t k = 0; k < m; ++k) {
        const double* const from = state.data() + head_size + objective_size * k;
        objectives[k] = {from[0], from[1], from[2], from[3], from[4]};
    }
    std::vector<double> row(m);
    const double fresh = 1 - settings.momentum;
    for (std::size_t i = 0; i < n; ++i) {
        const double over = violations[i];
        const bool failed = std::isinf(over);
        const bool feasible = over == 0 || (settings.exponent && !failed);
        for (std::size_t k = 0; k < m && feasible; ++k) {
            double loss = losses(i, k);
            if (std::isinf(loss)) {
                loss = loss > 0 ? objectives[k].worst : objectives[k].best;
            }
            if (over > 0) {
                loss *= std::pow(1 + over, loss > 0 ? -*settings.exponent : *settings.exponent);
            }
            row[k] = std::clamp(loss, -largest_loss, largest_loss);
        }
        double penalty = 0;
        if (feasible) {
            head.count += 1;
            for (std::size_t k = 0; k < m; ++k) {
                Objective& o = objectives[k];
                const double before = row[k] - o.mean;
                o.mean += before / head.count;
                o.squares += before * (row[k] - o.mean);
                o.worst = head.count == 1 ? row[k] : std::max(o.worst, row[k]);
                o.best = head.count == 1 ? row[k] : std::min(o.best, row[k]);
            }
        } else {
            for (std::size_t k = 0; k < m; ++k) {
                row[k] = objectives[k].worst;
            }
            if (failed) {
                penalty = head.violations > 0 ? 2 + head.violation_most / head.violation_mean : 1;
            } else {
                head.violations += 1;
                head.violation_mean += (over - head.violation_mean) / head.violations;
                head.violation_most = std::max(head.violation_most, over);
                penalty = 1 + over / head.violation_mean;
            }
        }
        if (!failed) {
            head.penalty_average = settings.momentum * head.penalty_average + fresh * penalty;
            head.penalty_weight = settings.momentum * head.penalty_weight + fresh;
            if (head.count > 0) {
                head.loss_weight = settings.momentum * head.loss_weight + fresh;
                for (std::size_t k = 0; k < m; ++k) {
                    objectives[k].average = settings.momentum * objectives[k].average + fresh * row[k];
                }
            }
        }
        double reward = -penalty;
        double baseline = head.penalty_weight > 0 ? -head.penalty_average / head.penalty_weight : 0;
        for (std::size_t k = 0; k < m && head.count > 0; ++k) {
            const Objective& o = objectives[k];
            const double deviation = std::sqrt(o.squares / head.count);
            const double scale = settings.weights[k] / (deviation > 0 ? deviation : 1);
            reward -= scale * (row[k] - o.mean);
            baseline -= scale * (o.average / head.loss_weight - o.mean);
        }
        rewards[i] = reward;
        baselines[i] = baseline;
    }

    const double scalars[] = {head.count,      head.loss_weight,    head.penalty_average, head.penalty_weight,
                              head.violations, head.violation_mean, head.violation_most};
    std::copy(std::begin(scalars), std::end(scalars), state.begin());
    for (std::size_t k = 0; k < m; ++k) {
        const Objective& o = objectives[k];
        const double numbers[] = {o.mean, o.squares, o.worst, o.best, o.average};
        std::copy(std::begin(numbers), std::end(numbers),
                  state.begin() + static_cast<std::ptrdiff_t>(head_size + objective_size * k));
    }
}

}  // namespace nasx
