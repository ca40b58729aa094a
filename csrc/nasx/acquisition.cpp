#include "nasx/acquisition.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

namespace nasx {
namespace {

constexpr double log_sqrt_two_pi = 0.91893853320467274;
constexpr double infinity = std::numeric_limits<double>::infinity();

}  // namespace

double log_expected_excess(double z) {
    if (z > -25) {
        const double density = std::exp(-0.5 * z * z - log_sqrt_two_pi);
        return std::log(density + z * 0.5 * std::erfc(-z * 0.70710678118654752440));
    }
    // phi(z) / z^2 times an asymptotic series: 1 - 3 / z^2 + 15 / z^4 - 105 / z^6 and so on
    const double t = 1 / (z * z);
    const double series = -3 * t * (1 - 5 * t * (1 - 7 * t * (1 - 9 * t * (1 - 11 * t))));
    return -0.5 * z * z - log_sqrt_two_pi - 2 * std::log(-z) + std::log1p(series);
}

double log_expected_improvement(double mean, double deviation, double best) {
    return std::log(deviation) + log_expected_excess((best - mean) / deviation);
}

double log_difference(double a, double b) {
    if (b == -infinity) {
        return a;
    }
    const double gap = b - a;  // at most 0
    return a + (gap > -0.6931471805599453 ? std::log(-std::expm1(gap)) : std::log1p(-std::exp(gap)));
}

ExpectedArea::ExpectedArea(Matrix<const double> points, std::span<const double> reference) {
    std::vector<std::array<double, 2>> inside;
    for (std::size_t i = 0; i < points.rows; ++i) {
        if (points(i, 0) < reference[0] && points(i, 1) < reference[1]) {
            inside.push_back({points(i, 0), points(i, 1)});
        }
    }
    std::sort(inside.begin(), inside.end());
    double free_below = reference[1];
    for (const auto& [x, y] : inside) {
        if (y < free_below) {
            first_.push_back(x);
            second_.push_back(free_below);
            free_below = y;
        }
    }
    first_.push_back(reference[0]);
    second_.push_back(free_below);
}

double ExpectedArea::log_value(const double* means, double deviation) const {
    double total = -infinity, largest = -infinity, before = -infinity;
    std::vector<double> terms;
    terms.reserve(first_.size());
    for (std::size_t i = 0; i < first_.size(); ++i) {
        const double up_to = log_expected_improvement(means[0], deviation, first_[i]);
        terms.push_back(log_difference(up_to, std::min(before, up_to)) +
                        log_expected_improvement(means[1], deviation, second_[i]));
        largest = std::max(largest, terms.back());
        before = up_to;
    }
    total = 0;
    for (const double term : terms) {
        total += std::exp(term - largest);
    }
    return largest == -infinity ? largest : largest + std::log(total);
}

double Acquisition::value(const double* means, double variance) const {
    const double deviation = std::sqrt(variance);
    switch (kind) {
        case AcquisitionKind::ucb:
            return deviations * deviation - means[0];
        case AcquisitionKind::log_ehvi:
            return area->log_value(means, deviation);
        default:
            return log_expected_improvement(means[0], deviation, best);
    }
}

}  // namespace nasx
