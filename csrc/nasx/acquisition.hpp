// What an evaluation promises: functions of a posterior mean and variance, larger is better. Losses, so
// smaller targets are better.
//
// Sources: S. Ament, S. Daulton, D. Eriksson, M. Balandat, E. Bakshy, "Unexpected improvements to expected
// improvement for Bayesian optimization", NeurIPS 2023, for logarithms. N. Srinivas, A. Krause, S. Kakade, M.
// Seeger, "Gaussian process optimization in the bandit setting", ICML 2010. M. Emmerich, K. Yang, A. Deutz,
// H. Wang, C. Fonseca, "A multicriteria generalization of Bayesian global optimization", Springer 2016, for
// two objectives in strips.
#pragma once

#include <span>
#include <vector>

#include "nasx/array.hpp"

namespace nasx {

// log(phi(z) + z Phi(z)), the logarithm of the expectation of max(0, z + X) for a standard normal X. Finite
// and accurate to 11 digits for all finite z.
double log_expected_excess(double z);

// The logarithm of the expected improvement over `best` of a normal with this mean and deviation.
double log_expected_improvement(double mean, double deviation, double best);

// log(exp(a) - exp(b)) for a >= b.
double log_difference(double a, double b);

// A front of two losses and the area that a new point is expected to add to what it dominates.
class ExpectedArea {
  public:
    // points (k, 2), in any order, dominated ones among them; those not below the reference in both losses do
    // not count. O(k log k).
    ExpectedArea(Matrix<const double> points, std::span<const double> reference);

    // The logarithm of the expected addition by independent normals. O(k).
    double log_value(const double* means, double deviation) const;

  private:
    // Strip i lies between first[i - 1] and first[i], and is free below second[i].
    std::vector<double> first_, second_;
};

enum class AcquisitionKind { log_ei, ucb, log_ehvi };

// One of the three, and what it needs.
struct Acquisition {
    AcquisitionKind kind = AcquisitionKind::log_ei;
    double best = 0;                     // of log_ei
    double deviations = 2;               // of ucb: minus the mean and so many deviations
    const ExpectedArea* area = nullptr;  // of log_ehvi

    // means: one, or two for log_ehvi.
    double value(const double* means, double variance) const;
};

}  // namespace nasx
