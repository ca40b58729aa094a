// How likely targets are under a Gaussian process, as a function of its hyperparameters.
//
// The covariance of two rows is output_scale times their correlation, and noise more on the diagonal. With
// several columns of targets, each is a draw of its own from the same process. Parameters are logarithms: of
// the d lengths, the output scale, and the noise.
//
// Source: C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine Learning", MIT Press 2006,
// sections 5.4.1 and 2.2.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "nasx/array.hpp"
#include "nasx/cholesky.hpp"
#include "nasx/gp_features.hpp"
#include "nasx/lbfgs.hpp"

namespace nasx {

// Log-normal: the logarithm of each parameter is normal around `centre`, independent of the others.
struct GpPriors {
    std::vector<double> centre, deviation;  // (d + 2,); an infinite deviation is no prior
};

// Lengths such that random genotypes are moderately correlated in spaces of any width, a scale around 1 for
// standardised targets, little noise. C. Hvarfner, E. O. Hellsten, L. Nardi, "Vanilla Bayesian optimization
// performs great in high dimensions", ICML 2024, for lengths that grow with the square root of the width;
// Hamming distances, which are sums, take the width itself.
GpPriors default_priors(const GpFeatures& features);

// Between which bounds parameters are looked for; the lower one of the noise keeps matrices regular.
void parameter_bounds(std::size_t width, std::vector<double>& lower, std::vector<double>& upper);

// Minus the logarithm of likelihood times priors. For n rows, m columns and f features a value takes n^3 / 3
// + n^2 (f + m) operations, a gradient 2 n^3 / 3 + n^2 (f + m) more; memory is 4 n^2 numbers.
class GpLikelihood final : public SmoothFunction {
  public:
    // Everything must outlive this object. targets (n, m).
    GpLikelihood(const GpFeatures& features, const GpRows& rows, Matrix<const double> targets,
                 const GpPriors& priors);

    double value(std::span<const double> parameters) override;
    void gradient(std::span<double> out) override;

    // Without priors, at the place of the last value.
    double log_likelihood() const { return log_likelihood_; }

    // Writes the inverse of the factor of the covariance at the place of the last value.
    void inverse_factor(Square out) const { invert_factor(factor_view(), out); }

  private:
    Square factor_view() const { return {factor_.data(), rows_.order(), rows_.order()}; }

    const GpFeatures& features_;
    const GpRows& rows_;
    Matrix<const double> targets_;
    const GpPriors& priors_;
    std::vector<double> lengths_, rates_, parameters_;
    simd::Correlation correlation_{};
    double noise_ = 0, log_likelihood_ = 0, fit_ = 0;  // fit: sum of targets times weights
    std::vector<double> weights_;                      // (m, order)
    mutable std::vector<double> factor_;
    std::vector<double> covariance_, inverse_, inverse_factor_;
};

// Fills a symmetric covariance from its tiles at or below the diagonal: rows by rows of the same process, the
// identity in the filling, `noise` added to the diagonal.
void fill_covariance(const GpFeatures& features, const GpRows& rows, const simd::Correlation& correlation,
                     Square out);

}  // namespace nasx
