// From told losses to rewards that learners can use: one number, of a known scale, larger for what is better.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "nasx/array.hpp"
#include "nasx/pareto.hpp"

namespace nasx {

struct RewardSettings {
    std::span<const double> weights;  // (m,) of the objectives, not negative
    double momentum = 0.9;            // of the baseline
    std::optional<double> exponent;   // of violations, not positive; without it, infeasible rows lose
};

// Numbers that a state of m objectives takes; all 0 at the beginning.
std::size_t reward_state_size(std::size_t m);

// Takes rows in turn; the same for all at once as for one after another. O(n m).
//
// Each loss is standardised by the running mean and deviation of those taken so far, this row among them; the
// reward is minus their weighted sum. The baseline is the reward of an exponential moving average of what was
// taken, corrected for its bias towards 0, this row among them too; it is formed from losses and
// standardised like the row, so that reward - baseline does not depend on the running mean.
//
// A row with a positive violation v has the worst losses of the rows without, if there were any, and its
// reward is less by 1 + v over the mean of the positive violations so far. With an exponent w instead its
// losses are multiplied by (1 + v)^-w where they are positive, and by (1 + v)^w where they are negative: for
// one limit, 1 + v is what was measured over the limit, and a positive reward is multiplied by its power as
// in M. Tan et al., "MnasNet", CVPR 2019.
//
// A row with an infinite violation failed: its reward is 1 below the lowest that a row so bad could have, and
// it enters neither mean, deviation nor baseline. An infinite loss counts as the worst or the best so far.
//
// Throws std::invalid_argument for shapes that do not fit, for NaN, and for settings out of range.
void observe_rewards(std::span<double> state, Matrix<const double> losses, std::span<const double> violations,
                     const RewardSettings& settings, std::span<double> rewards, std::span<double> baselines);

}  // namespace nasx
