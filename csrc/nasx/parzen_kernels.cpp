#include "nasx/parzen_kernels.hpp"

#include <algorithm>
#include <cmath>

namespace nasx {
namespace {

double normal_below(double z) {
    return 0.5 * std::erfc(-z * 0.70710678118654752440);
}

// Between low and high, also far out on either side.
double normal_between(double low, double high) {
    return low > 0 ? normal_below(-low) - normal_below(-high) : normal_below(high) - normal_below(low);
}

}  // namespace

AgeWeights::AgeWeights(std::size_t n) {
    if (n > flat) {
        sloped_ = n - flat;
        first_ = 1.0 / static_cast<double>(n);
        slope_ = sloped_ > 1 ? (1 - first_) / static_cast<double>(sloped_ - 1) : 0;
    }
}

std::int32_t CategoricalKernels::draw(std::int32_t observed, Stream& stream) const {
    if (observed < 0) {
        return static_cast<std::int32_t>(stream.below(choices_));
    }
    const double at = stream.uniform() * (1 + choices_ * smoothing_);
    if (at < 1) {
        return observed;
    }
    const auto choice = static_cast<std::int32_t>((at - 1) / smoothing_);
    return std::min(choice, static_cast<std::int32_t>(choices_) - 1);
}

OrderedKernels::OrderedKernels(std::span<const std::int64_t> counts)
    : choices_(static_cast<std::int32_t>(counts.size())) {
    std::int64_t n = 0;
    for (std::int32_t v = 0; v < choices_; ++v) {
        const std::int64_t count = counts[static_cast<std::size_t>(v)];
        if (count > 0) {
            n += count;
            observed_.push_back(v);
            kernels_.push_back({count, {}, {}, {}});
        }
    }
    const double c = choices_;
    const double least = c / std::min(100.0, static_cast<double>(n) + 2);
    for (std::size_t i = 0; i < kernels_.size(); ++i) {
        Kernel& kernel = kernels_[i];
        const double v = observed_[i];
        // Distances to the neighbours; none where there is no neighbour.
        const double left = i > 0 ? v - observed_[i - 1] : 0;
        const double right = i + 1 < kernels_.size() ? observed_[i + 1] - v : 0;
        const auto around = [&](double width) { return normal(v, std::clamp(width, least, c)); };
        if (n == 1) {
            kernel.first = around(std::max(v + 0.5, c - 0.5 - v));
        } else if (kernel.count == 1) {
            kernel.first = around(std::max(left, right));
        } else {
            kernel.first = around(left);
            kernel.last = around(right);
            kernel.between = around(0);
        }
    }
    prior_ = normal((c - 1) / 2, c);
}

OrderedKernels::Normal OrderedKernels::normal(double centre, double width) const {
    const double low = (-0.5 - centre) / width, high = (choices_ - 0.5 - centre) / width;
    return {centre, width, normal_below(low), normal_between(low, high)};
}

double OrderedKernels::mass(const Normal& normal, std::int32_t x) const {
    return normal_between((x - 0.5 - normal.centre) / normal.width,
                          (x + 0.5 - normal.centre) / normal.width) /
           normal.within;
}

double OrderedKernels::mass(std::int32_t x, std::size_t place) const {
    const Kernel& kernel = kernels_[place];
    if (kernel.count == 1) {
        return mass(kernel.first, x);
    }
    const auto n = static_cast<double>(kernel.count);
    return (mass(kernel.first, x) + mass(kernel.last, x) + (n - 2) * mass(kernel.between, x)) / n;
}

double OrderedKernels::prior_mass(std::int32_t x) const {
    return mass(prior_, x);
}

std::int32_t OrderedKernels::draw(const Normal& normal, Stream& stream) const {
    const double target = normal.below + stream.uniform() * normal.within;
    std::int32_t low = 0, high = choices_ - 1;
    while (low < high) {
        const std::int32_t middle = low + (high - low) / 2;
        if (normal_below((middle + 0.5 - normal.centre) / normal.width) < target) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

std::int32_t OrderedKernels::draw(std::int32_t observed, Stream& stream) const {
    if (observed < 0) {
        return draw(prior_, stream);
    }
    const auto place = std::lower_bound(observed_.begin(), observed_.end(), observed) - observed_.begin();
    const Kernel& kernel = kernels_[static_cast<std::size_t>(place)];
    const std::uint32_t of_equal =
        kernel.count == 1 ? 0 : stream.below(static_cast<std::uint32_t>(kernel.count));
    return draw(of_equal == 0 ? kernel.first : of_equal == 1 ? kernel.last : kernel.between, stream);
}

}  // namespace nasx
