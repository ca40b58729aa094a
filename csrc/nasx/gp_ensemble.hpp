// Several Gaussian processes that speak as one, weighted by how well each ranks what is known of a new task.
//
// Source: M. Feurer, B. Letham, F. Hutter, E. Bakshy, "Practical transfer learning for Bayesian
// optimization", arXiv:1802.02219 (2018).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "nasx/array.hpp"
#include "nasx/gaussian_process.hpp"

namespace nasx {

// A process, what its word counts, and the decisions that it knows (d,); an empty span is all of them.
struct GpExpert {
    const GaussianProcess* process = nullptr;
    double weight = 1;
    std::span<const bool> shared = {};
};

// A weighted sum of independent processes over the same decisions. It borrows them. The first is that of the
// task at hand, whose rows are not proposed again.
class GpEnsemble {
  public:
    // One process alone, exactly as it is.
    GpEnsemble(const GaussianProcess& process) : experts_{GpExpert{&process, 1.0, {}}} {}

    // Throws std::invalid_argument if there is none, if they differ in the numbers of decisions or outputs,
    // or if a weight is negative or not finite.
    explicit GpEnsemble(std::vector<GpExpert> experts);

    const GaussianProcess& first() const { return *experts_.front().process; }

    // Writes means (k, m) and variances (k,): sums of w times the mean and of w^2 times the variance. What a
    // process does not know is inactive for it. Processes without weight are not asked.
    void predict(Genotypes rows, Matrix<double> means, std::span<double> variances) const;

  private:
    std::vector<GpExpert> experts_;
};

// Means and variances (n,), without noise, of the process's first output at each of the n rows that have
// targets, as if that row had never been told; with the parameters as they are. O(n^2).
void leave_one_out(const GaussianProcess& process, std::span<double> means, std::span<double> variances);

// Over all ordered pairs (j, k) of n rows, how often a model and the targets disagree on whether j is smaller
// than k: once where one of them says so and the other does not. Row s of `values` (draws, n) is one draw of
// the model; losses (draws,). A draw's value at j is compared with its value at k; or, `held_out`, with the
// target of k, which is for values that were each predicted from all targets but its own. O(n log n) a draw.
// Throws std::invalid_argument if shapes do not fit, or a number is not finite.
void ranking_losses(Matrix<const double> values, std::span<const double> targets, bool held_out,
                    std::span<std::int64_t> losses);

}  // namespace nasx
