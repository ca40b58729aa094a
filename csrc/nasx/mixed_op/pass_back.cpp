#include "nasx/mixed_op/pass_back.hpp"

#include "nasx/mixed_op/blocks.hpp"

namespace nasx::mixed_op {

template <class T>
PassBack<T>::PassBack(std::size_t rows, std::size_t channels, const T* means, const T* scales, T weight,
                      const double* sums, const double* products)
    : channels_(channels), normalized_(true), means_(repeated(means, channels)) {
    Aligned<T> shifts(channels), slopes(channels), factors(channels);
    const auto all = static_cast<double>(rows);
    for (std::size_t c = 0; c < channels; ++c) {
        const auto scale = static_cast<double>(scales[c]);
        shifts[c] = static_cast<T>(sums[c] / all);
        slopes[c] = static_cast<T>(scale * scale * products[c] / all);
        factors[c] = scales[c] * weight;
    }
    shifts_ = repeated(shifts.data(), channels);
    slopes_ = repeated(slopes.data(), channels);
    factors_ = repeated(factors.data(), channels);
}

template <class T>
PassBack<T>::PassBack(std::size_t channels, T weight)
    : channels_(channels),
      normalized_(false),
      means_(period_of(channels)),
      factors_(period_of(channels), weight) {}

template <class T>
void PassBack<T>::operator()(const T* grad, const T* x, std::size_t pixels, T* out) const {
    const std::size_t period = factors_.size(), n = pixels * channels_;
    if (normalized_) {
        norm_loops<T>().pass_back(grad, x, means_.data(), shifts_.data(), slopes_.data(), factors_.data(),
                                  period, n, out);
    } else {
        norm_loops<T>().normalize(grad, means_.data(), factors_.data(), period, n, out);
    }
}

template class PassBack<float>;
template class PassBack<double>;

}  // namespace nasx::mixed_op
