// A history of genotypes with a good and a bad part, a Parzen estimator of each, and proposals where the good
// one is large against the bad one: the heart of TPE.
//
// Source: J. Bergstra, R. Bardenet, Y. Bengio, B. Kegl, "Algorithms for hyper-parameter optimization",
// NeurIPS 2011.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "nasx/array.hpp"
#include "nasx/parzen_estimators.hpp"
#include "nasx/population.hpp"
#include "nasx/rng.hpp"

namespace nasx {

struct ParzenSettings {
    // One mixture of products, where each row is one kernel over all decisions; else a product of mixtures,
    // where each decision has an estimator of its own from the rows in which it was active.
    bool joint = true;
    // All good rows weigh the same; else, as the bad ones always do, by their age.
    bool equal_good = false;
};

// One thread at a time may use a history. All functions throw std::invalid_argument, naming the argument, for
// what does not fit.
//
// Rows are ordered by age. Weights, kernels and priors are those of parzen_kernels.hpp; the prior kernel
// weighs 1. In a joint estimator, a row's kernel is the prior's at decisions that were inactive in the row.
class ParzenHistory {
  public:
    // cardinalities (d,) and conditions (c, 3) as for Decisions, copied; ordered (d,): which decisions have
    // choices in an order. At most Decisions::most_choices choices in all.
    ParzenHistory(std::span<const std::int32_t> cardinalities, Matrix<const std::int32_t> conditions,
                  std::span<const bool> ordered, ParzenSettings settings);

    std::size_t size() const { return good_flags_.size(); }
    std::size_t width() const { return space_->size(); }

    // Adds rows, the youngest last, to the bad part. O(d) each.
    void append(Genotypes rows);

    // Says which rows are the good ones, by increasing index; all others are bad. O(g d) for g good ones, and
    // unless joint O(d) for each row that is younger than one that changed sides, at most O(n d).
    void set_good(std::span<const std::int64_t> indices);

    // Draws out.rows candidates from the good estimator by one stream, and writes them with log good - log
    // bad in steps of 2^-30, so that rounding decides nothing; the largest first, of equals the first drawn.
    // For n rows, k candidates and c choices: joint O(k n d), else O(k d + c) and no more with n; with
    // ordered decisions, and O(c) more for each candidate.
    void propose(const StreamKey& key, MutableGenotypes out, std::span<double> scores) const;

    // Writes log good and log bad into the two columns of out (n, 2).
    void log_densities(Genotypes rows, Matrix<double> out) const;

    // Copies, in the order of age.
    std::vector<std::int32_t> rows() const { return rows_; }
    std::vector<std::int64_t> good() const { return good_; }

  private:
    const std::int32_t* row(std::size_t i) const { return rows_.data() + i * width(); }
    // Takes row i out of the bad part, or into it.
    void move_bad(std::size_t i, bool enters);
    ParzenPart part(bool good) const;
    std::unique_ptr<ParzenEstimator> estimator(bool good) const;

    std::shared_ptr<const ParzenSpace> space_;
    ParzenSettings settings_;
    std::vector<std::int32_t> rows_;
    ParzenColumns columns_;  // empty unless joint
    std::vector<char> good_flags_;
    std::vector<std::int64_t> good_;
    ParzenTally good_tally_, bad_tally_;
};

}  // namespace nasx
