// Gaussian processes over genotypes: fitted, extended by a row, shortened by one, and asked for means and
// variances.
//
// What is kept is W, the inverse of the Cholesky factor of the covariance: a prediction is then a product, a
// new row of W follows from a product, and a row that goes is rotated out.
//
// Source: C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine Learning", MIT Press 2006,
// chapter 2. P. E. Gill, G. H. Golub, W. Murray, M. A. Saunders, "Methods for modifying matrix
// factorizations", Mathematics of Computation 28 (1974), for rotations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "nasx/array.hpp"
#include "nasx/gp_features.hpp"
#include "nasx/gp_likelihood.hpp"
#include "nasx/rng.hpp"

namespace nasx {

struct GpFitSettings {
    bool priors = true;            // those of default_priors; else none
    std::size_t starts = 3;        // from which the likelihood is climbed, at least 1
    std::size_t start_rows = 256;  // of more rows, at most so many decide which start is the best; 0: all do
    std::size_t iterations = 100;
    double tolerance = 1e-2;  // in the logarithm of the likelihood, about
};

// All functions throw std::invalid_argument, naming the argument, for what does not fit. n is the number of
// rows, d of decisions, m of columns of targets. One thread at a time may use a process; its loops use
// several, and no result depends on how many.
class GaussianProcess {
  public:
    // As for GpFeatures. Parameters are the centres of the default priors until they are fitted or set.
    GaussianProcess(std::span<const std::int32_t> cardinalities, std::span<const bool> ordered,
                    Smoothness smoothness);

    std::size_t width() const { return features_.width(); }
    std::size_t size() const { return rows_.size(); }
    std::size_t outputs() const { return outputs_; }
    const GpFeatures& features() const { return features_; }

    // Logarithms of the d lengths, the output scale and the noise.
    std::span<const double> parameters() const { return parameters_; }
    void set_parameters(std::span<const double> parameters);

    // Finds the parameters that make targets (n, m) most likely, and takes rows and targets. Starts at the
    // centres of the priors, but with shorter lengths of ordered decisions, then with longer and with shorter
    // ones. Without ordered decisions, of more than start_rows rows a third, evenly chosen, is fitted first,
    // and of too many still a third of them: what is found there, and how the likelihood bends, is where more
    // rows begin. n^3 operations for each of some 10 to 20 steps, otherwise of 10 to 50 for each start.
    // Leaves everything as it was if it throws.
    void fit(Genotypes rows, Matrix<const double> targets, const GpFitSettings& settings);

    // What fit makes smallest, at given parameters, minus the logarithm of likelihood times priors; writes
    // its gradient (d + 2,).
    double objective(Genotypes rows, Matrix<const double> targets, std::span<const double> parameters,
                     bool priors, std::span<double> gradient) const;

    // Takes rows, and forgets those before, with the parameters as they are; n^3 operations. Noise is raised
    // tenfold until the covariance is positive definite.
    void condition(Genotypes rows, Matrix<const double> targets);

    // Adds rows, O(n^2) each. Until targets are set anew, they take variance away and leave the means: as if
    // each had its mean for target.
    void append(Genotypes rows);

    // Forgets all rows but the first `size`, at no cost, or one row, O(n^2). Their targets go too.
    void truncate(std::size_t size);
    void drop(std::size_t i);

    // Sets the targets (k, m) of the first k rows. O(k^2 m), but O(k m) for each that follows
    // unchanged ones.
    void set_targets(Matrix<const double> targets);

    // The logarithm of the likelihood of the targets, if all rows have some.
    double log_likelihood() const;

    // Writes the means (k, m) of given rows, and their variances (k,), without noise, if there is room. n^2 +
    // n (d + m) operations each.
    void predict(Genotypes rows, Matrix<double> means, std::span<double> variances) const;

    // Writes the covariances (k, k) of given rows before anything is known, without noise. O(k^2 d).
    void prior_covariance(Genotypes rows, Matrix<double> out) const;

    // Draws of the first output over given rows jointly, one in each row of out (draws, k); draw i is of item
    // first + i. n^2 k + n k^2 + k^3 operations.
    void sample(Genotypes rows, const StreamKey& key, Matrix<double> out) const;

    // The rows, in order.
    Genotypes genotypes() const { return {genotypes_.data(), size(), width()}; }
    Matrix<const double> targets() const { return {targets_.data(), targets_.size() / outputs_, outputs_}; }

    // W, row after row without what is above the diagonal, to be kept and to be put back. Restoring takes
    // rows, targets and W as they come.
    std::vector<double> inverse_factor() const;
    void restore(Genotypes rows, Matrix<const double> targets, std::span<const double> inverse_factor);

  private:
    void check_parameters(std::span<const double> parameters) const;
    void check_targets(Matrix<const double> targets, std::size_t rows) const;
    void take(Genotypes rows, Matrix<const double> targets);
    void reserve(std::size_t rows);
    double* inverse_row(std::size_t i) { return inverse_.data() + i * capacity_; }
    const double* inverse_row(std::size_t i) const { return inverse_.data() + i * capacity_; }
    // Copies rows of W from `first` on into slices of 4.
    void pack_from(std::size_t first);
    simd::Correlation correlation(std::vector<double>& rates) const;
    // Writes the covariances with 12 rows, given as features side by side: (order, 12).
    void cross(const simd::Correlation& how, const double* columns, double* out) const;

    GpFeatures features_;
    std::vector<double> parameters_, lengths_;
    std::size_t outputs_ = 1, capacity_ = 0;
    GpRows rows_;
    std::vector<std::int32_t> genotypes_;
    std::vector<double> targets_, weights_;  // (k, m); (order, m)
    std::vector<double> inverse_, packed_;   // (capacity, capacity); slices of 4 rows, each as long as needed
};

}  // namespace nasx
