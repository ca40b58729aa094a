#include "nasx/gp_likelihood.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "nasx/parallel.hpp"

namespace nasx {
namespace {

using simd::tile_columns;

constexpr double log_two_pi = 1.8378770664093453;

// So many rows of tiles make it worth to wake a thread.
std::size_t tile_rows_grain(std::size_t order, std::size_t features) {
    return 600'000 / (tile_columns * order * (features + 10) / 4 + 1) + 1;
}

}  // namespace

GpPriors default_priors(const GpFeatures& features) {
    const std::size_t d = features.width();
    const double compared_length = std::log(0.5 * static_cast<double>(d));
    const double ordered_length = 0.5 * std::log(static_cast<double>(d));
    GpPriors priors;
    for (std::size_t j = 0; j < d; ++j) {
        priors.centre.push_back(features.ordered(j) ? ordered_length : compared_length);
        priors.deviation.push_back(1.0);
    }
    priors.centre.insert(priors.centre.end(), {0.0, std::log(0.01)});
    priors.deviation.insert(priors.deviation.end(), {1.0, 1.5});
    return priors;
}

void parameter_bounds(std::size_t width, std::vector<double>& lower, std::vector<double>& upper) {
    lower.assign(width, std::log(1e-2));
    upper.assign(width, std::log(1e5));
    lower.insert(lower.end(), {std::log(1e-3), std::log(1e-6)});
    upper.insert(upper.end(), {std::log(1e3), std::log(1e2)});
}

void fill_covariance(const GpFeatures& features, const GpRows& rows, const simd::Correlation& correlation,
                     Square out) {
    const auto correlate = gaussian_kernels().correlate;
    const std::size_t n = rows.size(), order = rows.order();
    parallel_for(0, order / tile_columns, tile_rows_grain(order, features.count()),
                 [&](std::size_t begin, std::size_t end) {
                     for (std::size_t t = begin; t < end; ++t) {
                         double* const at = out.row(t * tile_columns);
                         for (std::size_t u = 0; u <= t; ++u) {
                             correlate(correlation, rows.row(features, t * tile_columns), tile_columns,
                                       rows.tile(features, u), at + u * tile_columns, out.stride);
                         }
                     }
                 });
    for (std::size_t i = n; i < order; ++i) {
        for (std::size_t j = 0; j < order; ++j) {
            out(i, j) = i == j ? 1 : 0;
        }
        for (std::size_t j = order - tile_columns; j < n; ++j) {
            out(j, i) = 0;
        }
    }
}

GpLikelihood::GpLikelihood(const GpFeatures& features, const GpRows& rows, Matrix<const double> targets,
                           const GpPriors& priors)
    : features_(features), rows_(rows), targets_(targets), priors_(priors), lengths_(features.width()) {
    covariance_.resize(rows.order() * rows.order());
    factor_.resize(covariance_.size());
    weights_.resize(targets.cols * rows.order());
}

double GpLikelihood::value(std::span<const double> parameters) {
    const std::size_t d = features_.width(), n = rows_.size(), order = rows_.order();
    parameters_.assign(parameters.begin(), parameters.end());
    std::transform(parameters.begin(), parameters.begin() + static_cast<std::ptrdiff_t>(d), lengths_.begin(),
                   [](double p) { return std::exp(p); });
    correlation_ = features_.correlation(lengths_, std::exp(parameters[d]), rates_, rows_.all_active());
    noise_ = std::exp(parameters[d + 1]);
    nasx::fill_covariance(features_, rows_, correlation_, {covariance_.data(), order, order});
    for (std::size_t i = 0; i < order; ++i) {
        std::copy_n(&covariance_[i * order], padded(i + 1), &factor_[i * order]);
        factor_[i * order + i] += i < n ? noise_ : 0;
    }
    if (!factor(factor_view())) {
        return std::numeric_limits<double>::infinity();
    }
    double log_diagonal = 0;
    for (std::size_t i = 0; i < n; ++i) {
        log_diagonal += std::log(factor_[i * order + i]);
    }
    fit_ = 0;
    for (std::size_t k = 0; k < targets_.cols; ++k) {
        const std::span<double> weights{weights_.data() + k * order, order};
        std::fill(weights.begin(), weights.end(), 0.0);
        for (std::size_t i = 0; i < n; ++i) {
            weights[i] = targets_(i, k);
        }
        solve_lower(factor_view(), weights);
        solve_upper(factor_view(), weights);
        for (std::size_t i = 0; i < n; ++i) {
            fit_ += weights[i] * targets_(i, k);
        }
    }
    const auto columns = static_cast<double>(targets_.cols);
    log_likelihood_ = -0.5 * fit_ - columns * (log_diagonal + 0.5 * static_cast<double>(n) * log_two_pi);
    double penalty = 0;
    for (std::size_t p = 0; p < parameters.size(); ++p) {
        const double z = (parameters[p] - priors_.centre[p]) / priors_.deviation[p];
        penalty += 0.5 * z * z;
    }
    return penalty - log_likelihood_;
}

void GpLikelihood::gradient(std::span<double> out) {
    const std::size_t d = features_.width(), n = rows_.size(), order = rows_.order();
    const auto columns = static_cast<double>(targets_.cols);
    inverse_factor_.resize(order * order);
    inverse_.resize(order * order);
    const Square inverse{inverse_.data(), order, order};
    inverse_factor({inverse_factor_.data(), order, order});
    gram({inverse_factor_.data(), order, order}, inverse);
    double trace = 0;  // of (weights weights^T - K^-1), summed over the columns of targets
    for (std::size_t i = 0; i < n; ++i) {
        trace -= columns * inverse(i, i);
        for (std::size_t k = 0; k < targets_.cols; ++k) {
            trace += weights_[k * order + i] * weights_[k * order + i];
        }
    }
    // One sum for each row of tiles, added up in order: the same for every number of threads.
    const std::size_t tiles = order / tile_columns;
    std::vector<double> sums(tiles * 4 * d, 0.0);
    parallel_for(
        0, tiles, tile_rows_grain(order, features_.count()), [&](std::size_t begin, std::size_t end) {
            for (std::size_t t = begin; t < end; ++t) {
                const std::size_t first = t * tile_columns, last = first + tile_columns;
                for (std::size_t i = first; i < last; ++i) {
                    double* const row = inverse.row(i);
                    const double* const covariance = &covariance_[i * order];
                    for (std::size_t j = 0; j < last; ++j) {
                        row[j] *= -columns;
                    }
                    for (std::size_t k = 0; k < targets_.cols; ++k) {
                        const double* const weights = &weights_[k * order];
                        gaussian_kernels().add_scaled(weights[i], weights, row, last);
                    }
                    for (std::size_t j = 0; j < last; ++j) {
                        row[j] *= covariance[j];
                    }
                    // Tiles below the diagonal stand for those above it too; all are doubled in the end.
                    for (std::size_t j = first; j < last; ++j) {
                        row[j] *= 0.5;
                    }
                }
                for (std::size_t u = 0; u <= t; ++u) {
                    gaussian_kernels().add_slopes(
                        correlation_, rows_.row(features_, first), tile_columns, rows_.tile(features_, u),
                        inverse.row(first) + u * tile_columns, order, sums.data() + t * 4 * d);
                }
            }
        });
    for (std::size_t k = 0; k < 4 * d; ++k) {
        for (std::size_t t = 1; t < tiles; ++t) {
            sums[k] += sums[t * 4 * d + k];
        }
        sums[k] *= 2;
    }
    features_.slopes(lengths_, {sums.data(), 4 * d}, out.first(d));
    out[d] = fit_ - columns * static_cast<double>(n) - noise_ * trace;
    out[d + 1] = noise_ * trace;
    for (std::size_t p = 0; p < out.size(); ++p) {
        const double deviation = priors_.deviation[p];
        out[p] = -0.5 * out[p] + (parameters_[p] - priors_.centre[p]) / (deviation * deviation);
    }
}

}  // namespace nasx
