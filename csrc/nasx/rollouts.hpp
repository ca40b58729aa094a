// What a policy drew and what became of it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "nasx/genotype_set.hpp"
#include "nasx/population.hpp"
#include "nasx/rewards.hpp"

namespace nasx {

// A batch to learn from: rows as they were drawn, the log-probabilities of their choices at that time,
// rewards and the baselines that were theirs.
struct Batch {
    std::vector<std::int32_t> rows;
    std::vector<double> log_probs, rewards, baselines;
};

// Brings rows that were drawn and results together. A row is known by its canonical form, which may differ
// from what was drawn. One that has a result is a rollout as soon as it is drawn; any other waits for the
// result. Drawn again while it waits, it is skipped; with repeats it waits once more, for a result of its
// own, and results are not kept. Results of rows that nobody drew are kept, but are no rollouts.
//
// Rewards are as observe_rewards() gives them, in the order in which rollouts are complete. Everything takes
// O(d + m) for each row, amortised. Throws std::invalid_argument for shapes that do not fit, and as
// observe_rewards(). One thread at a time may use an object.
class Rollouts {
  public:
    Rollouts(std::size_t d, std::size_t m, std::size_t batch_size, bool repeats,
             std::span<const double> weights, double momentum, std::optional<double> exponent);

    // Takes rows in order until a batch is complete; returns how many.
    std::size_t draw(Genotypes rows, Genotypes canonical, Matrix<const double> log_probs);

    // Takes results, infinite violations of those that failed.
    void tell(Genotypes canonical, Matrix<const double> losses, std::span<const double> violations);

    // Keeps results of rows that will not be told, also with repeats.
    void keep(Genotypes canonical, Matrix<const double> losses, std::span<const double> violations);

    // Writes which rows have no result and wait for none.
    void is_new(Genotypes canonical, std::span<bool> out) const;

    bool ready() const { return rewards_.size() >= batch_size_; }

    // Removes the oldest rollouts, one batch. Throws std::invalid_argument unless it is ready().
    Batch take();

    std::size_t width() const { return places_.width(); }
    std::size_t batch_size() const { return batch_size_; }

  private:
    static constexpr std::int64_t none = -1;

    // What is known of a canonical row: where its result is, and the queue of its waiting rollouts.
    struct Place {
        std::int64_t result = none, first = none, last = none;
    };

    void check(Genotypes canonical, Matrix<const double> losses, std::span<const double> violations) const;
    std::vector<std::int64_t> places_of(Genotypes canonical);
    void store(std::int64_t place, const double* losses, double violation);
    void wait(std::int64_t place, const std::int32_t* row, const double* log_probs);
    void complete(const std::int32_t* row, const double* log_probs, const double* losses, double violation);

    std::size_t m_, batch_size_;
    bool repeats_;
    std::vector<double> weights_;
    double momentum_;
    std::optional<double> exponent_;

    GenotypeSet places_;
    std::vector<Place> known_;     // by place
    std::vector<double> results_;  // m losses and a violation each

    // Rollouts that wait, in slots that are used again: row, log-probabilities, the next of the same place.
    std::vector<std::int32_t> waiting_rows_;
    std::vector<double> waiting_log_probs_;
    std::vector<std::int64_t> next_, free_;

    std::vector<double> reward_state_;
    std::vector<std::int32_t> rows_;  // complete, the oldest first
    std::vector<double> log_probs_, rewards_, baselines_;
};

}  // namespace nasx
