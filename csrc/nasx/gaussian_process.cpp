#include "nasx/gaussian_process.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <stdexcept>
#include <string>

#include "nasx/parallel.hpp"

namespace nasx {
namespace {

using simd::tile_columns;
using simd::tile_rows;

// Where slice s of the packed inverse factor begins: slice s holds 4 (s + 1) steps of 4 numbers.
std::size_t slice_start(std::size_t s) {
    return tile_rows * tile_rows * s * (s + 1) / 2;
}

// Rows in proportion, the last among them.
std::vector<std::int32_t> thinned(Genotypes rows, std::size_t wanted, Matrix<const double> targets,
                                  std::vector<double>& kept_targets) {
    std::vector<std::int32_t> kept;
    for (std::size_t k = 1; k <= wanted; ++k) {
        const std::size_t i = k * rows.rows / wanted - 1;
        kept.insert(kept.end(), rows.row(i), rows.row(i) + rows.cols);
        kept_targets.insert(kept_targets.end(), targets.row(i), targets.row(i) + targets.cols);
    }
    return kept;
}

GpPriors priors_of(const GpFeatures& features, bool wanted) {
    GpPriors priors = default_priors(features);
    if (!wanted) {
        std::fill(priors.deviation.begin(), priors.deviation.end(), std::numeric_limits<double>::infinity());
    }
    return priors;
}

// Where the first climb begins: the centre of the priors, but for shorter lengths of ordered decisions. From
// long ones, which hardly tell rows apart, a climb often ends where everything is noise.
GpPriors starting_lengths(const GpFeatures& features) {
    GpPriors from = default_priors(features);
    for (std::size_t j = 0; j < features.width(); ++j) {
        from.centre[j] -= features.ordered(j) ? 1.5 : 0;
    }
    return from;
}

Minimum climb_from_starts(const GpFeatures& features, Genotypes rows, Matrix<const double> targets,
                          const GpPriors& priors, const GpPriors& centres, const GpFitSettings& settings,
                          const std::deque<Curvature>& known = {}) {
    GpRows data;
    data.append(features, rows);
    GpLikelihood likelihood(features, data, targets, priors);
    std::vector<double> lower, upper;
    parameter_bounds(features.width(), lower, upper);
    LbfgsSettings climbing;
    climbing.iterations = settings.iterations;
    climbing.decrease = settings.tolerance / 10;
    climbing.gradient = settings.tolerance;
    Minimum best;
    for (std::size_t start = 0; start < settings.starts; ++start) {
        std::vector<double> x = centres.centre;
        // The centre, then longer lengths, shorter ones, much longer ones and so on.
        const double shift = (start % 2 == 1 ? 1.0 : -1.0) * static_cast<double>((start + 1) / 2) * 1.5;
        for (std::size_t j = 0; j < features.width(); ++j) {
            x[j] += shift;
        }
        Minimum found = minimise(likelihood, x, lower, upper, climbing, known);
        if (start == 0 || found.value < best.value) {
            best = std::move(found);
        }
    }
    return best;
}

}  // namespace

GaussianProcess::GaussianProcess(std::span<const std::int32_t> cardinalities, std::span<const bool> ordered,
                                 Smoothness smoothness)
    : features_(cardinalities, ordered, smoothness), lengths_(cardinalities.size()) {
    set_parameters(default_priors(features_).centre);
}

void GaussianProcess::check_parameters(std::span<const double> parameters) const {
    if (parameters.size() != width() + 2) {
        throw std::invalid_argument("parameters must have " + std::to_string(width() + 2) +
                                    " numbers: one for each decision, the output scale and the noise; got " +
                                    std::to_string(parameters.size()));
    }
    for (const double p : parameters) {
        if (!(std::fabs(p) < 100)) {
            throw std::invalid_argument(
                "parameters must be logarithms of lengths, output scale and noise, between -100 and 100; "
                "got " +
                std::to_string(p));
        }
    }
}

void GaussianProcess::set_parameters(std::span<const double> parameters) {
    check_parameters(parameters);
    const std::vector<double> copy(parameters.begin(), parameters.end());
    truncate(0);
    parameters_ = copy;
    for (std::size_t j = 0; j < width(); ++j) {
        lengths_[j] = std::exp(parameters_[j]);
    }
}

void GaussianProcess::check_targets(Matrix<const double> targets, std::size_t rows) const {
    constexpr std::size_t most_columns = 65536;  // also of a matrix without rows
    if (targets.rows != rows || targets.cols == 0 || targets.cols > most_columns) {
        throw std::invalid_argument("targets must have " + std::to_string(rows) +
                                    " rows and at least one column, at most " + std::to_string(most_columns) +
                                    "; got " + std::to_string(targets.rows) + " x " +
                                    std::to_string(targets.cols));
    }
    for (const double y : targets.span()) {
        if (!std::isfinite(y)) {
            throw std::invalid_argument("targets must be finite; got " + std::to_string(y));
        }
    }
}

void GaussianProcess::fit(Genotypes rows, Matrix<const double> targets, const GpFitSettings& settings) {
    features_.check(rows, "rows");
    check_targets(targets, rows.rows);
    if (rows.rows == 0) {
        throw std::invalid_argument("rows is empty; a fit needs at least one row");
    }
    if (settings.starts == 0) {
        throw std::invalid_argument("starts must be at least 1; got 0");
    }
    GpPriors from = starting_lengths(features_);
    const GpPriors priors = priors_of(features_, settings.priors);
    // The starts climb among few rows; the best goes on among three times as many, and so on. Not with
    // ordered decisions: few rows explain by noise what more explain by short lengths, and these are another
    // summit.
    std::vector<std::size_t> sizes{rows.rows};
    while (!features_.any_ordered() && sizes.back() > settings.start_rows && settings.start_rows > 0) {
        sizes.push_back((sizes.back() + 2) / 3);
    }
    GpFitSettings climbing = settings;
    Minimum best;
    for (std::size_t step = sizes.size(); step-- > 0;) {
        const std::size_t size = sizes[step];
        std::vector<double> some_targets;
        const auto some = thinned(rows, size, targets, some_targets);
        best =
            climb_from_starts(features_, {some.data(), size, width()},
                              {some_targets.data(), size, targets.cols}, priors, from, climbing, best.memory);
        from.centre = best.x;
        climbing.starts = 1;
        // The likelihood of more rows bends so much more.
        const double times = step > 0 ? static_cast<double>(sizes[step - 1]) / static_cast<double>(size) : 1;
        for (Curvature& change : best.memory) {
            change.product *= times;
            for (double& number : change.slope) {
                number *= times;
            }
        }
    }
    set_parameters(best.x);
    take(rows, targets);
}

double GaussianProcess::objective(Genotypes rows, Matrix<const double> targets,
                                  std::span<const double> parameters, bool priors,
                                  std::span<double> gradient) const {
    features_.check(rows, "rows");
    check_targets(targets, rows.rows);
    check_parameters(parameters);
    if (rows.rows == 0) {
        throw std::invalid_argument("rows is empty; there is nothing to be likely");
    }
    GpRows data;
    data.append(features_, rows);
    const GpPriors wanted = priors_of(features_, priors);
    GpLikelihood likelihood(features_, data, targets, wanted);
    const double value = likelihood.value(parameters);
    likelihood.gradient(gradient);
    return value;
}

void GaussianProcess::condition(Genotypes rows, Matrix<const double> targets) {
    features_.check(rows, "rows");
    check_targets(targets, rows.rows);
    take(rows, targets);
}

void GaussianProcess::take(Genotypes rows, Matrix<const double> targets) {
    truncate(0);
    reserve(rows.rows);
    rows_.append(features_, rows);
    genotypes_.assign(rows.data, rows.data + rows.rows * rows.cols);
    const std::size_t order = rows_.order();
    std::vector<double> covariance(order * order), lower;
    std::vector<double> rates;
    fill_covariance(features_, rows_, correlation(rates), {covariance.data(), order, order});
    for (int attempt = 0;; ++attempt) {
        lower = covariance;
        for (std::size_t i = 0; i < size(); ++i) {
            lower[i * order + i] += std::exp(parameters_[width() + 1]);
        }
        if (factor({lower.data(), order, order})) {
            break;
        }
        if (attempt == 20) {
            throw std::invalid_argument(
                "rows: the covariance is not positive definite with any noise; set other parameters");
        }
        parameters_[width() + 1] += std::numbers::ln10;
    }
    invert_factor({lower.data(), order, order}, {inverse_.data(), order, capacity_});
    pack_from(0);
    set_targets(targets);
}

void GaussianProcess::reserve(std::size_t rows) {
    if (rows <= capacity_) {
        return;
    }
    const std::size_t wanted = padded(std::max(rows, capacity_ + capacity_ / 2));
    std::vector<double> larger(wanted * wanted, 0.0);
    for (std::size_t i = 0; i < size(); ++i) {
        std::copy_n(inverse_row(i), i + 1, larger.data() + i * wanted);
    }
    inverse_ = std::move(larger);
    capacity_ = wanted;
}

void GaussianProcess::pack_from(std::size_t first) {
    const std::size_t slices = rows_.order() / tile_rows;
    packed_.resize(slice_start(slices));
    for (std::size_t s = first / tile_rows; s < slices; ++s) {
        double* to = packed_.data() + slice_start(s);
        for (std::size_t k = 0; k < tile_rows * (s + 1); ++k) {
            for (std::size_t r = 0; r < tile_rows; ++r) {
                const std::size_t i = s * tile_rows + r;
                *to++ = i < size() && k <= i ? inverse_row(i)[k] : 0;
            }
        }
    }
}

void GaussianProcess::append(Genotypes rows) {
    features_.check(rows, "rows");
    const std::size_t before = size();
    reserve(before + rows.rows);
    std::vector<double> rates, covariances, solved;
    std::vector<double> two_rows(2 * features_.count());  // so many the kernel takes; the second is nobody's
    const simd::Correlation how = correlation(rates);
    const auto& kernels = gaussian_kernels();
    for (std::size_t r = 0; r < rows.rows; ++r) {
        const std::size_t n = size();
        features_.write(rows.row(r), two_rows.data(), 1);
        covariances.resize(rows_.order());
        for (std::size_t first = 0; first < n; first += tile_columns) {
            double block[2 * tile_columns];
            kernels.correlate(how, two_rows.data(), 2, rows_.tile(features_, first / tile_columns), block,
                              tile_columns);
            std::copy_n(block, tile_columns, &covariances[first]);
        }
        solved.resize(n);
        double* const mine = inverse_row(n);
        std::fill_n(mine, capacity_, 0.0);
        // Both products in one pass: what this takes is reading the triangle.
        for (std::size_t i = 0; i < n; ++i) {
            solved[i] = kernels.dot(inverse_row(i), covariances.data(), i + 1);
            kernels.add_scaled(solved[i], inverse_row(i), mine, i + 1);
        }
        const double noise = std::exp(parameters_[width() + 1]);
        // Of a row that is known already, rounding may leave less than the noise.
        const double left = std::max(how.scale + noise - kernels.dot(solved.data(), solved.data(), n), noise);
        const double scale = 1 / std::sqrt(left);
        for (std::size_t i = 0; i < n; ++i) {
            mine[i] *= -scale;
        }
        mine[n] = scale;
        rows_.append(features_, {rows.row(r), 1, rows.cols});
        genotypes_.insert(genotypes_.end(), rows.row(r), rows.row(r) + rows.cols);
    }
    weights_.resize(rows_.order() * outputs_, 0.0);
    pack_from(before);
}

void GaussianProcess::truncate(std::size_t size) {
    if (size > this->size()) {
        throw std::invalid_argument("size must be at most " + std::to_string(this->size()) + "; got " +
                                    std::to_string(size));
    }
    const std::size_t k = targets_.size() / outputs_;
    rows_.truncate(features_, size);
    genotypes_.resize(size * width());
    weights_.resize(rows_.order() * outputs_);
    pack_from(size);
    if (k > size) {
        const std::vector<double> kept(targets_.begin(),
                                       targets_.begin() + static_cast<std::ptrdiff_t>(size * outputs_));
        set_targets({kept.data(), size, outputs_});
    }
}

void GaussianProcess::drop(std::size_t i) {
    if (i >= size()) {
        throw std::invalid_argument("i must be below " + std::to_string(size()) + "; got " +
                                    std::to_string(i));
    }
    const std::size_t n = size();
    // Rotations of neighbouring rows push column i into the last row, which then goes with it.
    for (std::size_t r = i; r + 1 < n; ++r) {
        double* const upper = inverse_row(r);
        double* const below = inverse_row(r + 1);
        // The first upper[i] is on the diagonal and the others are lengths: s and the new diagonal are
        // positive.
        const double length = std::hypot(upper[i], below[i]);
        const double c = below[i] / length, s = upper[i] / length;
        upper[r + 1] = 0;
        for (std::size_t k = 0; k <= r + 1; ++k) {
            const double a = upper[k], b = below[k];
            upper[k] = s * b - c * a;
            below[k] = s * a + c * b;
        }
        for (std::size_t k = i; k <= r; ++k) {
            upper[k] = upper[k + 1];
        }
        upper[r + 1] = 0;
    }
    rows_.drop(features_, i);
    const auto at = static_cast<std::ptrdiff_t>(i * width());
    genotypes_.erase(genotypes_.begin() + at, genotypes_.begin() + at + static_cast<std::ptrdiff_t>(width()));
    pack_from(i);
    std::vector<double> kept = targets_;
    if (i < kept.size() / outputs_) {
        const auto first = kept.begin() + static_cast<std::ptrdiff_t>(i * outputs_);
        kept.erase(first, first + static_cast<std::ptrdiff_t>(outputs_));
    }
    set_targets({kept.data(), kept.size() / outputs_, outputs_});
}

void GaussianProcess::set_targets(Matrix<const double> targets) {
    if (targets.rows > size()) {
        throw std::invalid_argument("targets must have at most " + std::to_string(size()) + " rows; got " +
                                    std::to_string(targets.rows));
    }
    check_targets(targets, targets.rows);
    // Where targets go on from those before, so do the sums over rows.
    const bool more = targets.cols == outputs_ && targets.rows * outputs_ >= targets_.size() &&
                      std::equal(targets_.begin(), targets_.end(), targets.data);
    const std::size_t first = more ? targets_.size() / outputs_ : 0;
    outputs_ = targets.cols;
    targets_.assign(targets.data, targets.data + targets.rows * targets.cols);
    weights_.resize(first * outputs_);
    weights_.resize(rows_.order() * outputs_, 0.0);
    const auto& kernels = gaussian_kernels();
    const std::size_t n = targets.rows;
    std::vector<double> y(n), sums(n);
    for (std::size_t k = 0; k < outputs_; ++k) {
        for (std::size_t i = 0; i < n; ++i) {
            y[i] = targets(i, k);
            sums[i] = weights_[i * outputs_ + k];
        }
        for (std::size_t i = first; i < n; ++i) {
            kernels.add_scaled(kernels.dot(inverse_row(i), y.data(), i + 1), inverse_row(i), sums.data(),
                               i + 1);
        }
        for (std::size_t i = 0; i < n; ++i) {
            weights_[i * outputs_ + k] = sums[i];
        }
    }
}

double GaussianProcess::log_likelihood() const {
    if (targets_.size() != size() * outputs_) {
        throw std::invalid_argument("targets must be set for all " + std::to_string(size()) + " rows; got " +
                                    std::to_string(targets_.size() / outputs_));
    }
    double total = 0;
    const auto n = static_cast<double>(size());
    for (std::size_t i = 0; i < size(); ++i) {
        total += static_cast<double>(outputs_) * std::log(inverse_row(i)[i]);
    }
    for (std::size_t at = 0; at < targets_.size(); ++at) {
        total -= 0.5 * targets_[at] * weights_[at];
    }
    return total - 0.5 * static_cast<double>(outputs_) * n * std::log(2 * std::numbers::pi);
}

simd::Correlation GaussianProcess::correlation(std::vector<double>& rates) const {
    return features_.correlation(lengths_, std::exp(parameters_[width()]), rates);
}

void GaussianProcess::cross(const simd::Correlation& how, const double* columns, double* out) const {
    gaussian_kernels().correlate(how, rows_.row(features_, 0), rows_.order(), columns, out, tile_columns);
}

void GaussianProcess::predict(Genotypes rows, Matrix<double> means, std::span<double> variances) const {
    features_.check(rows, "rows");
    std::vector<double> rates;
    const simd::Correlation how = correlation(rates);
    const auto& kernels = gaussian_kernels();
    const std::size_t n = size(), order = rows_.order(), f = features_.count();
    const std::size_t work = tile_columns * (n * n / 8 + n * (f + 12) / 2);
    const std::size_t tiles = padded(rows.rows) / tile_columns;
    parallel_for(0, tiles, 100'000 / (work + 1) + 1, [&](std::size_t begin, std::size_t end) {
        std::vector<double> columns(f * tile_columns, 0.0), block(order * tile_columns);
        for (std::size_t t = begin; t < end; ++t) {
            const std::size_t first = t * tile_columns;
            const std::size_t count = std::min(tile_columns, rows.rows - first);
            for (std::size_t c = 0; c < count; ++c) {
                features_.write(rows.row(first + c), columns.data() + c, tile_columns);
            }
            cross(how, columns.data(), block.data());
            for (std::size_t k = 0; k < means.cols; ++k) {
                double sums[tile_columns] = {};
                for (std::size_t i = 0; i < n; ++i) {
                    kernels.add_scaled(weights_[i * outputs_ + k], block.data() + i * tile_columns, sums,
                                       tile_columns);
                }
                for (std::size_t c = 0; c < count; ++c) {
                    means(first + c, k) = sums[c];
                }
            }
            if (!variances.empty()) {
                double sums[tile_columns] = {};
                for (std::size_t s = 0; s < order / tile_rows; ++s) {
                    kernels.add_squares(tile_rows * (s + 1), packed_.data() + slice_start(s), block.data(),
                                        sums);
                }
                for (std::size_t c = 0; c < count; ++c) {
                    variances[first + c] = std::max(how.scale - sums[c], 1e-12 * how.scale);
                }
            }
        }
    });
}

void GaussianProcess::prior_covariance(Genotypes rows, Matrix<double> out) const {
    features_.check(rows, "rows");
    std::vector<double> rates;
    GpRows data;
    data.append(features_, rows);
    const std::size_t order = data.order();
    std::vector<double> covariance(order * order);
    fill_covariance(features_, data, correlation(rates), {covariance.data(), order, order});
    // Small squares, so that what is read across stays in the cache.
    constexpr std::size_t side = 3 * tile_columns;
    parallel_for(0, (rows.rows + side - 1) / side, 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin * side; i < std::min(end * side, rows.rows); ++i) {
            std::copy_n(covariance.data() + i * order, i + 1, out.row(i));
        }
        for (std::size_t first = begin * side; first < std::min(end * side, rows.rows); first += side) {
            for (std::size_t below = first; below < rows.rows; below += side) {
                for (std::size_t i = first; i < std::min(first + side, rows.rows); ++i) {
                    for (std::size_t j = std::max(below, i + 1); j < std::min(below + side, rows.rows); ++j) {
                        out(i, j) = covariance[j * order + i];
                    }
                }
            }
        }
    });
}

void GaussianProcess::sample(Genotypes rows, const StreamKey& key, Matrix<double> out) const {
    features_.check(rows, "rows");
    std::vector<double> rates;
    const simd::Correlation how = correlation(rates);
    GpRows wanted;
    wanted.append(features_, rows);
    const std::size_t k = rows.rows, order = wanted.order(), n = rows_.order();
    std::vector<double> means(k), covariance(order * order), lower;
    predict(rows, {means.data(), k, 1}, {});
    fill_covariance(features_, wanted, how, {covariance.data(), order, order});
    // minus V^T V, where V = W times the covariances with the known rows
    std::vector<double> block(n * tile_columns), solved(n * order, 0.0);
    const auto& kernels = gaussian_kernels();
    for (std::size_t t = 0; t < order / tile_columns; ++t) {
        cross(how, wanted.tile(features_, t), block.data());
        for (std::size_t s = 0; s < n / tile_rows; ++s) {
            kernels.add_product(tile_rows * (s + 1), packed_.data() + slice_start(s), block.data(), 1,
                                solved.data() + s * tile_rows * order + t * tile_columns, order);
        }
    }
    std::vector<double> by_rows(n * order), by_columns(n * order);
    pack(solved.data(), 1, order, order, n, tile_rows, by_rows.data());
    pack(solved.data(), 1, order, order, n, tile_columns, by_columns.data());
    update({.rows = order, .columns = order, .steps = n, .factor = -1, .lower = true}, by_rows.data(),
           by_columns.data(), covariance.data(), order);
    // Rows that fill the last tile stand alone again.
    for (std::size_t i = k; i < order; ++i) {
        std::fill_n(covariance.data() + i * order, order, 0.0);
        covariance[i * order + i] = 1;
    }
    double jitter = 1e-9 * how.scale;
    do {
        lower = covariance;
        for (std::size_t i = 0; i < order; ++i) {
            lower[i * order + i] += jitter;
        }
        jitter *= 10;
    } while (!factor({lower.data(), order, order}));
    std::vector<double> normals(k);
    for (std::size_t draw = 0; draw < out.rows; ++draw) {
        Stream stream(key, Purpose::posterior, draw);
        for (double& normal : normals) {
            const double radius = std::sqrt(-2 * std::log(1 - stream.uniform()));
            normal = radius * std::cos(2 * std::numbers::pi * stream.uniform());
        }
        for (std::size_t i = 0; i < k; ++i) {
            out(draw, i) = means[i] + kernels.dot(lower.data() + i * order, normals.data(), i + 1);
        }
    }
}

std::vector<double> GaussianProcess::inverse_factor() const {
    std::vector<double> out;
    for (std::size_t i = 0; i < size(); ++i) {
        out.insert(out.end(), inverse_row(i), inverse_row(i) + i + 1);
    }
    return out;
}

void GaussianProcess::restore(Genotypes rows, Matrix<const double> targets,
                              std::span<const double> inverse_factor) {
    features_.check(rows, "rows");
    check_targets(targets, targets.rows);
    if (targets.rows > rows.rows || inverse_factor.size() != rows.rows * (rows.rows + 1) / 2) {
        throw std::invalid_argument(
            "inverse_factor must have " + std::to_string(rows.rows * (rows.rows + 1) / 2) + " numbers for " +
            std::to_string(rows.rows) + " rows; got " + std::to_string(inverse_factor.size()));
    }
    truncate(0);
    reserve(rows.rows);
    rows_.append(features_, rows);
    genotypes_.assign(rows.data, rows.data + rows.rows * rows.cols);
    const double* from = inverse_factor.data();
    for (std::size_t i = 0; i < rows.rows; ++i, from += i) {
        std::fill_n(inverse_row(i), capacity_, 0.0);
        std::copy_n(from, i + 1, inverse_row(i));
    }
    pack_from(0);
    set_targets(targets);
}

}  // namespace nasx
