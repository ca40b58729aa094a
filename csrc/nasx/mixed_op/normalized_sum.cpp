#include "nasx/mixed_op/normalized_sum.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "nasx/mixed_op/batch_norm.hpp"
#include "nasx/mixed_op/blocks.hpp"

namespace nasx::mixed_op {
namespace {

void check_length(std::size_t length, std::size_t terms, const char* argument) {
    if (length != terms) {
        throw std::invalid_argument(std::string(argument) + " must have one entry for each of the " +
                                    std::to_string(terms) + " terms; got " + std::to_string(length));
    }
}

void check(std::size_t rows, std::size_t terms, std::size_t normalized, std::size_t weights) {
    check_rows(rows);
    if (terms == 0) {
        throw std::invalid_argument("terms must hold at least one array; got none");
    }
    check_length(normalized, terms, "normalized");
    check_length(weights, terms, "weights");
}

// numbers (channels) times `factor`.
template <class T>
std::vector<T> times(const T* numbers, std::size_t channels, T factor) {
    std::vector<T> out(numbers, numbers + channels);
    for (T& number : out) {
        number *= factor;
    }
    return out;
}

}  // namespace

template <class T>
void normalized_sum(std::size_t rows, std::size_t channels, std::span<const T* const> terms,
                    std::span<const std::uint8_t> normalized, std::span<const T> weights, double epsilon,
                    T* out, T* means, T* variances, T* scales) {
    check(rows, terms.size(), normalized.size(), weights.size());
    if (channels == 0) {
        return;
    }
    const Blocks blocks(rows, channels);
    std::vector<std::vector<T>> shifts, factors;
    for (std::size_t k = 0; k < terms.size(); ++k) {
        const std::size_t at = k * channels;
        if (normalized[k] != 0) {
            batch_statistics(rows, channels, terms[k], epsilon, means + at, variances + at, scales + at);
        } else {
            std::fill_n(means + at, channels, T{0});
            std::fill_n(variances + at, channels, T{1});
            std::fill_n(scales + at, channels, T{1});
        }
        shifts.push_back(blocks.repeated(means + at));
        factors.push_back(blocks.repeated(times(scales + at, channels, weights[k]).data()));
    }
    blocks.run([&](std::size_t block) {
        const std::size_t begin = blocks.begin(block), n = blocks.rows_of(block) * channels;
        for (std::size_t k = 0; k < terms.size(); ++k) {
            const auto loop = k == 0 ? norm_loops<T>().normalize : norm_loops<T>().add_normalized;
            loop(terms[k] + begin, shifts[k].data(), factors[k].data(), blocks.period, n, out + begin);
        }
    });
}

template <class T>
void normalized_sum_backward(std::size_t rows, std::size_t channels, const T* grad,
                             std::span<const T* const> terms, std::span<const std::uint8_t> normalized,
                             std::span<const T> weights, const T* means, const T* scales,
                             std::span<T* const> grad_terms, T* grad_weights) {
    const std::size_t count = terms.size();
    check(rows, count, normalized.size(), weights.size());
    check_length(grad_terms.size(), count, "grad_terms");
    if (channels == 0) {
        std::fill_n(grad_weights, count, T{0});
        return;
    }
    const Blocks blocks(rows, channels);
    std::vector<std::vector<T>> centres;
    for (std::size_t k = 0; k < count; ++k) {
        centres.push_back(blocks.repeated(means + k * channels));
    }
    // For each block the sums of grad, and of its products with each term.
    std::vector<double> sums(blocks.count * channels), products(blocks.count * count * channels);
    blocks.run([&](std::size_t block) {
        const std::size_t begin = blocks.begin(block), n = blocks.rows_of(block) * channels;
        std::vector<T> added(blocks.period), multiplied(blocks.period);
        for (std::size_t k = 0; k < count; ++k) {
            std::fill(added.begin(), added.end(), T{0});
            std::fill(multiplied.begin(), multiplied.end(), T{0});
            norm_loops<T>().add_products(grad + begin, terms[k] + begin, centres[k].data(), blocks.period, n,
                                         added.data(), multiplied.data());
            blocks.fold(multiplied, products.data() + (block * count + k) * channels);
        }
        blocks.fold(added, sums.data() + block * channels);
    });
    std::vector<std::vector<T>> shifts(count), slopes(count), factors(count);
    const auto all = static_cast<double>(rows);
    for (std::size_t k = 0; k < count; ++k) {
        std::vector<T> shift(channels), slope(channels);
        double of_weight = 0;
        for (std::size_t c = 0; c < channels; ++c) {
            double sum = 0, product = 0;
            for (std::size_t block = 0; block < blocks.count; ++block) {
                sum += sums[block * channels + c];
                product += products[(block * count + k) * channels + c];
            }
            const auto scale = static_cast<double>(scales[k * channels + c]);
            of_weight += scale * product;
            shift[c] = static_cast<T>(sum / all);
            slope[c] = static_cast<T>(scale * scale * product / all);
        }
        grad_weights[k] = static_cast<T>(of_weight);
        shifts[k] = blocks.repeated(shift.data());
        slopes[k] = blocks.repeated(slope.data());
        factors[k] = blocks.repeated(times(scales + k * channels, channels, weights[k]).data());
    }
    const std::vector<T> nothing(blocks.period);
    blocks.run([&](std::size_t block) {
        const std::size_t begin = blocks.begin(block), n = blocks.rows_of(block) * channels;
        for (std::size_t k = 0; k < count; ++k) {
            if (grad_terms[k] == nullptr) {
                continue;
            }
            if (normalized[k] != 0) {
                norm_loops<T>().pass_back(grad + begin, terms[k] + begin, centres[k].data(), shifts[k].data(),
                                          slopes[k].data(), factors[k].data(), blocks.period, n,
                                          grad_terms[k] + begin);
            } else {
                norm_loops<T>().normalize(grad + begin, nothing.data(), factors[k].data(), blocks.period, n,
                                          grad_terms[k] + begin);
            }
        }
    });
}

template void normalized_sum(std::size_t, std::size_t, std::span<const float* const>,
                             std::span<const std::uint8_t>, std::span<const float>, double, float*, float*,
                             float*, float*);
template void normalized_sum(std::size_t, std::size_t, std::span<const double* const>,
                             std::span<const std::uint8_t>, std::span<const double>, double, double*, double*,
                             double*, double*);
template void normalized_sum_backward(std::size_t, std::size_t, const float*, std::span<const float* const>,
                                      std::span<const std::uint8_t>, std::span<const float>, const float*,
                                      const float*, std::span<float* const>, float*);
template void normalized_sum_backward(std::size_t, std::size_t, const double*, std::span<const double* const>,
                                      std::span<const std::uint8_t>, std::span<const double>, const double*,
                                      const double*, std::span<double* const>, double*);

}  // namespace nasx::mixed_op
