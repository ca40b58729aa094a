#include "nasx/mixed_op/batch_norm.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "nasx/mixed_op/blocks.hpp"

namespace nasx::mixed_op {
template <class T>
void batch_statistics(std::size_t rows, std::size_t channels, const T* x, double epsilon, T* means,
                      T* variances, T* scales) {
    check_rows(rows);
    if (channels == 0) {
        return;
    }
    const Blocks blocks(rows, channels);
    std::vector<double> sums(blocks.count * channels), squares(blocks.count * channels);
    std::vector<T> centres(blocks.count * channels);
    blocks.run([&](std::size_t block) {
        const T* const from = x + blocks.begin(block);
        const std::size_t here = blocks.rows_of(block), n = here * channels;
        double* const sum = sums.data() + block * channels;
        T* const centre = centres.data() + block * channels;
        std::vector<T> added(blocks.period);
        norm_loops<T>().add(from, blocks.period, n, added.data());
        blocks.fold(added, sum);
        for (std::size_t c = 0; c < channels; ++c) {
            centre[c] = static_cast<T>(sum[c] / static_cast<double>(here));
        }
        std::fill(added.begin(), added.end(), T{0});
        norm_loops<T>().add_squares(from, blocks.repeated(centre).data(), blocks.period, n, added.data());
        blocks.fold(added, squares.data() + block * channels);
    });
    const auto all = static_cast<double>(rows);
    for (std::size_t c = 0; c < channels; ++c) {
        double sum = 0, square = 0;
        for (std::size_t block = 0; block < blocks.count; ++block) {
            sum += sums[block * channels + c];
        }
        const double mean = sum / all;
        // Squares about a block's centre become squares about the mean.
        for (std::size_t block = 0; block < blocks.count; ++block) {
            const std::size_t i = block * channels + c;
            const auto here = static_cast<double>(blocks.rows_of(block));
            const auto centre = static_cast<double>(centres[i]);
            const double distance = centre - mean;
            square += squares[i] + distance * (2 * (sums[i] - here * centre) + here * distance);
        }
        const double variance = (square < 0 ? 0 : square) / all;  // rounding alone is below zero; NaN stays
        means[c] = static_cast<T>(mean);
        variances[c] = static_cast<T>(variance);
        scales[c] = static_cast<T>(1 / std::sqrt(variance + epsilon));
    }
}

template <class T>
void batch_norm(std::size_t rows, std::size_t channels, const T* x, double epsilon, T* out, T* means,
                T* variances, T* scales) {
    batch_statistics(rows, channels, x, epsilon, means, variances, scales);
    if (channels == 0) {
        return;
    }
    const Blocks blocks(rows, channels);
    const std::vector<T> all_means = blocks.repeated(means), all_scales = blocks.repeated(scales);
    blocks.run([&](std::size_t block) {
        const std::size_t begin = blocks.begin(block);
        norm_loops<T>().normalize(x + begin, all_means.data(), all_scales.data(), blocks.period,
                                  blocks.rows_of(block) * channels, out + begin);
    });
}

template <class T>
void batch_norm_backward(std::size_t rows, std::size_t channels, const T* grad, const T* x, const T* means,
                         const T* scales, T* grad_x) {
    check_rows(rows);
    if (channels == 0) {
        return;
    }
    const Blocks blocks(rows, channels);
    const std::vector<T> all_means = blocks.repeated(means), all_scales = blocks.repeated(scales);
    std::vector<double> sums(blocks.count * channels), products(blocks.count * channels);
    blocks.run([&](std::size_t block) {
        const std::size_t begin = blocks.begin(block);
        std::vector<T> added(blocks.period), multiplied(blocks.period);
        norm_loops<T>().add_products(grad + begin, x + begin, all_means.data(), blocks.period,
                                     blocks.rows_of(block) * channels, added.data(), multiplied.data());
        blocks.fold(added, sums.data() + block * channels);
        blocks.fold(multiplied, products.data() + block * channels);
    });
    std::vector<T> shifts(channels), slopes(channels);
    for (std::size_t c = 0; c < channels; ++c) {
        double sum = 0, product = 0;
        for (std::size_t block = 0; block < blocks.count; ++block) {
            sum += sums[block * channels + c];
            product += products[block * channels + c];
        }
        const auto scale = static_cast<double>(scales[c]), all = static_cast<double>(rows);
        shifts[c] = static_cast<T>(sum / all);
        slopes[c] = static_cast<T>(scale * scale * product / all);
    }
    const std::vector<T> all_shifts = blocks.repeated(shifts.data());
    const std::vector<T> all_slopes = blocks.repeated(slopes.data());
    blocks.run([&](std::size_t block) {
        const std::size_t begin = blocks.begin(block);
        norm_loops<T>().pass_back(grad + begin, x + begin, all_means.data(), all_shifts.data(),
                                  all_slopes.data(), all_scales.data(), blocks.period,
                                  blocks.rows_of(block) * channels, grad_x + begin);
    });
}

template void batch_statistics(std::size_t, std::size_t, const float*, double, float*, float*, float*);
template void batch_statistics(std::size_t, std::size_t, const double*, double, double*, double*, double*);
template void batch_norm(std::size_t, std::size_t, const float*, double, float*, float*, float*, float*);
template void batch_norm(std::size_t, std::size_t, const double*, double, double*, double*, double*, double*);
template void batch_norm_backward(std::size_t, std::size_t, const float*, const float*, const float*,
                                  const float*, float*);
template void batch_norm_backward(std::size_t, std::size_t, const double*, const double*, const double*,
                                  const double*, double*);

}  // namespace nasx::mixed_op
