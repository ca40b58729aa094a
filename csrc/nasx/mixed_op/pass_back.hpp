// The gradient of what a batch normalisation, or a factor, is applied to, made where it is needed.
#pragma once

#include <cstddef>

#include "nasx/mixed_op/rows.hpp"

namespace nasx::mixed_op {

// For images (rows, channels); T is float or double. Room: O(channels).
template <class T>
class PassBack {
  public:
    // Of normalised numbers: those of x, normalised by means and scales (channels), go on with a weight.
    // `sums` and `products` (channels) are those of the gradient, and of its products with x - mean, over all
    // `rows`.
    PassBack(std::size_t rows, std::size_t channels, const T* means, const T* scales, T weight,
             const double* sums, const double* products);
    // Of numbers that go on with a weight as they are.
    PassBack(std::size_t channels, T weight);

    // out (pixels, channels) = the gradient with respect to as many numbers of x, from that with respect to
    // what they became. x is not read where nothing is normalised. O(pixels * channels).
    void operator()(const T* grad, const T* x, std::size_t pixels, T* out) const;

  private:
    std::size_t channels_;
    bool normalized_;
    Aligned<T> means_, shifts_, slopes_, factors_;  // repeated: whole vectors of them
};

}  // namespace nasx::mixed_op
