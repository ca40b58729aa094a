// Policies with free logits: one for each choice of each decision, and what learns them.
//
// All vectors with "one number for each choice" hold the choices of decision 0, then those of decision 1, and
// so on. A row is a genotype; where it holds -1 the decision is inactive and adds nothing to a
// log-probability, an entropy or a gradient. Losses are sums over the active decisions of a row and means
// over rows.
//
// All functions throw std::invalid_argument, naming the argument, for shapes, choices or numbers that do not
// fit, logits that are not finite among them. Numbers come from streams, so draws do not depend on threads;
// they do depend on how the platform's library rounds exp and log.
//
// Sources: R. J. Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement
// learning", Machine Learning 8 (1992). B. Zoph, Q. V. Le, "Neural architecture search with reinforcement
// learning", ICLR 2017. J. Schulman, P. Moritz, S. Levine, M. Jordan, P. Abbeel, "High-dimensional continuous
// control using generalized advantage estimation", ICLR 2016. J. Schulman, F. Wolski, P. Dhariwal, A.
// Radford, O. Klimov, "Proximal policy optimization algorithms", arXiv 2017. D. P. Kingma, J. Ba, "Adam",
// ICLR 2015.
#pragma once

#include <cstdint>
#include <span>

#include "nasx/array.hpp"
#include "nasx/population.hpp"
#include "nasx/rng.hpp"

namespace nasx {

// Writes rows drawn decision by decision, and beside them the log-probability of each choice (0 where the
// decision is inactive) unless `log_probs` has no rows. O(n d c) for c choices a decision.
void sample_policy(const Decisions& decisions, std::span<const double> logits, const StreamKey& key,
                   MutableGenotypes out, Matrix<double> log_probs);

// Writes the log-probability of each choice of given rows, 0 where the decision is inactive. O(C + n d) for C
// choices in all.
void policy_log_probs(const Decisions& decisions, std::span<const double> logits, Genotypes rows,
                      Matrix<double> log_probs);

// Parameters, what Adam remembers about them, and how many steps it has made.
struct AdamState {
    std::span<double> parameters, first, second;
    std::int64_t steps = 0;
};

// One step of Adam with decays 0.9 and 0.999 and epsilon 1e-8, without weight decay. O(parameters).
void adam_step(const AdamState& state, std::span<const double> gradient, double learning_rate);

// Writes the gradient, for descent, of minus (advantage times log-probability plus entropy_weight times
// entropy). advantages (n,). O(C + n d).
void policy_gradient(const Decisions& decisions, std::span<const double> logits, Genotypes rows,
                     std::span<const double> advantages, double entropy_weight, std::span<double> gradient);

// policy_gradient and then adam_step.
void reinforce_step(const Decisions& decisions, const AdamState& logits, Genotypes rows,
                    std::span<const double> advantages, double entropy_weight, double learning_rate);

struct PpoSettings {
    double learning_rate = 0.01, clip = 0.2, entropy_weight = 0, value_weight = 0.5, lambda = 1;
    double max_norm = 0;   // of a gradient; 0 clips none
    double target_kl = 0;  // stop when a minibatch is 1.5 times so far from the behaviour; 0 never stops
    std::size_t epochs = 1, minibatch = 1;
};

// What was done with a policy that has changed since: rows, the log-probability of each choice when it was
// drawn, and a reward for each row, due at its end.
struct Behaviour {
    Genotypes rows;
    Matrix<const double> log_probs;
    std::span<const double> rewards;
};

struct PpoReport {
    std::size_t steps = 0;  // of Adam
    double kl = 0;          // of the last minibatch, from the behaviour, a mean over its decisions
    double clipped = 0;     // share of the decisions of all minibatches whose gradient was clipped away
};

// The critic that goes with free logits knows what was chosen before: the value at a decision is a constant
// plus a number for each earlier choice. `critic` holds the constant, then one number for each choice.

// Writes the value at each active decision, before its choice; 0 at the others. O(n d).
void critic_values(const Decisions& decisions, std::span<const double> critic, Genotypes rows,
                   Matrix<double> values);

// Writes generalised advantages of one reward at the end of each row and no discount; 0 where a decision is
// inactive. lambda 1 gives reward - value, 0 the difference of the next value and this one. O(n d).
void generalized_advantages(Genotypes rows, Matrix<const double> values, std::span<const double> rewards,
                            double lambda, Matrix<double> advantages);

// Writes the gradient, for descent, of the clipped surrogate, entropy and squared error of the critic, for
// `parameters` that are the logits and then the critic; `advantages` and `targets` (n, d) stay fixed. Returns
// kl and clipped. O(C + n d).
PpoReport ppo_gradient(const Decisions& decisions, std::span<const double> parameters,
                       const Behaviour& behaviour, Matrix<const double> advantages,
                       Matrix<const double> targets, const PpoSettings& settings, std::span<double> gradient);

// Advantages and targets by the critic as it is, then epochs of Adam over minibatches in random order. Rows
// are shuffled by the streams of (seed, generation, epoch). O(epochs (n d + C n / minibatch)).
PpoReport ppo_update(const Decisions& decisions, const AdamState& state, const Behaviour& behaviour,
                     const PpoSettings& settings, std::uint64_t seed, std::uint32_t generation);

}  // namespace nasx
