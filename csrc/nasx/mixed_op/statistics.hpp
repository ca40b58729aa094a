// Means and variances of channels, put together from those of blocks of pixels.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "nasx/mixed_op/blocks.hpp"

namespace nasx::mixed_op {

// Blocks may come in any order and on any thread: what they say is kept apart and added up in order.
template <class T>
class Statistics {
  public:
    Statistics(std::size_t blocks, std::size_t channels)
        : channels_(channels),
          period_(period_of(channels)),
          pixels_(blocks),
          sums_(blocks * channels),
          squares_(blocks * channels),
          centres_(blocks * channels) {}

    // What a thread works with.
    struct Room {
        Aligned<T> added, centre;
    };
    Room room() const { return {Aligned<T>(period_), Aligned<T>(period_)}; }

    // A block is these pixels (pixels, channels). Means, and squared differences from them, are added up as T
    // in two passes. O(pixels * channels).
    void set(std::size_t block, const T* x, std::size_t pixels, Room& room) {
        double* const sum = sums_.data() + block * channels_;
        T* const centre = centres_.data() + block * channels_;
        const std::size_t n = pixels * channels_;
        pixels_[block] = pixels;
        std::fill(room.added.begin(), room.added.end(), T{0});
        norm_loops<T>().add(x, period_, n, room.added.data());
        fold(room.added, channels_, sum);
        const double share = 1 / static_cast<double>(pixels);
        for (std::size_t c = 0; c < channels_; ++c) {
            centre[c] = static_cast<T>(sum[c] * share);
        }
        for (std::size_t begin = 0; begin < period_; begin += channels_) {
            std::copy_n(centre, channels_, room.centre.data() + begin);
        }
        std::fill(room.added.begin(), room.added.end(), T{0});
        norm_loops<T>().add_squares(x, room.centre.data(), period_, n, room.added.data());
        fold(room.added, channels_, squares_.data() + block * channels_);
    }

    // Those of all pixels, each (channels); scales = 1 / sqrt(variance + epsilon). O(blocks * channels).
    void finish(double epsilon, T* means, T* variances, T* scales) const {
        double all = 0;
        for (const std::size_t here : pixels_) {
            all += static_cast<double>(here);
        }
        for (std::size_t c = 0; c < channels_; ++c) {
            double sum = 0, square = 0;
            for (std::size_t block = 0; block < pixels_.size(); ++block) {
                sum += sums_[block * channels_ + c];
            }
            const double mean = sum / all;
            // Squares about a block's centre become squares about the mean.
            for (std::size_t block = 0; block < pixels_.size(); ++block) {
                const std::size_t i = block * channels_ + c;
                const auto here = static_cast<double>(pixels_[block]);
                const auto centre = static_cast<double>(centres_[i]);
                const double distance = centre - mean;
                square += squares_[i] + distance * (2 * (sums_[i] - here * centre) + here * distance);
            }
            // Rounding alone is below zero; NaN stays.
            const double variance = (square < 0 ? 0 : square) / all;
            means[c] = static_cast<T>(mean);
            variances[c] = static_cast<T>(variance);
            scales[c] = static_cast<T>(1 / std::sqrt(variance + epsilon));
        }
    }

  private:
    std::size_t channels_, period_;
    std::vector<std::size_t> pixels_;
    std::vector<double> sums_, squares_;
    Aligned<T> centres_;
};

}  // namespace nasx::mixed_op
