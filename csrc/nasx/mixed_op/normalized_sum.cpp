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
Aligned<T> times(const T* numbers, std::size_t channels, T factor) {
    Aligned<T> out(numbers, numbers + channels);
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
    for (std::size_t k = 0; k < terms.size(); ++k) {
        const std::size_t at = k * channels;
        if (normalized[k] != 0) {
            batch_statistics(rows, channels, terms[k], epsilon, means + at, variances + at, scales + at);
        } else {
            leave(channels, means + at, variances + at, scales + at);
        }
    }
    add_terms(rows, channels, terms, weights, means, scales, false, out);
}

template <class T>
void leave(std::size_t channels, T* means, T* variances, T* scales) {
    std::fill_n(means, channels, T{0});
    std::fill_n(variances, channels, T{1});
    std::fill_n(scales, channels, T{1});
}

template <class T>
void add_terms(std::size_t rows, std::size_t channels, std::span<const T* const> terms,
               std::span<const T> weights, const T* means, const T* scales, bool add, T* out) {
    const Blocks blocks(rows, channels);
    std::vector<Aligned<T>> shifts, factors;
    for (std::size_t k = 0; k < terms.size(); ++k) {
        const std::size_t at = k * channels;
        shifts.push_back(repeated(means + at, channels));
        factors.push_back(repeated(times(scales + at, channels, weights[k]).data(), channels));
    }
    // All terms move on together, a little of each at a time: of that, hardware asks for memory by itself.
    const std::size_t at_once = std::max<std::size_t>(1, 128 / blocks.period) * blocks.period;
    blocks.run([&](std::size_t block) {
        const std::size_t end = blocks.begin(block) + blocks.rows_of(block) * channels;
        for (std::size_t at = blocks.begin(block); at < end; at += at_once) {
            const std::size_t n = std::min(at_once, end - at);
            for (std::size_t k = 0; k < terms.size(); ++k) {
                const auto loop = k == 0 && !add ? norm_loops<T>().normalize : norm_loops<T>().add_normalized;
                loop(terms[k] + at, shifts[k].data(), factors[k].data(), blocks.period, n, out + at);
            }
        }
    });
}

template <class T>
std::vector<PassBack<T>> pass_to_terms(std::size_t rows, std::size_t channels, const T* grad,
                                       std::span<const T* const> terms,
                                       std::span<const std::uint8_t> normalized, std::span<const T> weights,
                                       const T* means, const T* scales, T* grad_weights) {
    const std::size_t count = terms.size();
    const Blocks blocks(rows, channels);
    std::vector<Aligned<T>> centres;
    for (std::size_t k = 0; k < count; ++k) {
        centres.push_back(repeated(means + k * channels, channels));
    }
    // For each block the sums of grad, and of its products with each term.
    std::vector<double> sums(blocks.count * channels), products(blocks.count * count * channels);
    blocks.run([&](std::size_t block) {
        const std::size_t begin = blocks.begin(block), n = blocks.rows_of(block) * channels;
        Aligned<T> added(blocks.period), multiplied(blocks.period);
        for (std::size_t k = 0; k < count; ++k) {
            blocks.ask_for_next(terms, block, k);
            if (k + 1 == count && block + 1 < blocks.count) {
                ask_for(grad + begin + n, blocks.rows_of(block + 1) * channels);
            }
            std::fill(added.begin(), added.end(), T{0});
            std::fill(multiplied.begin(), multiplied.end(), T{0});
            norm_loops<T>().add_products(grad + begin, terms[k] + begin, centres[k].data(), blocks.period, n,
                                         added.data(), multiplied.data());
            fold(multiplied, channels, products.data() + (block * count + k) * channels);
        }
        fold(added, channels, sums.data() + block * channels);
    });
    std::vector<PassBack<T>> found;
    std::vector<double> sum(channels), product(channels);
    for (std::size_t k = 0; k < count; ++k) {
        double of_weight = 0;
        for (std::size_t c = 0; c < channels; ++c) {
            sum[c] = product[c] = 0;
            for (std::size_t block = 0; block < blocks.count; ++block) {
                sum[c] += sums[block * channels + c];
                product[c] += products[(block * count + k) * channels + c];
            }
            of_weight += static_cast<double>(scales[k * channels + c]) * product[c];
        }
        grad_weights[k] = static_cast<T>(of_weight);
        if (normalized[k] != 0) {
            found.emplace_back(rows, channels, means + k * channels, scales + k * channels, weights[k],
                               sum.data(), product.data());
        } else {
            found.emplace_back(channels, weights[k]);
        }
    }
    return found;
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
    const auto to_terms =
        pass_to_terms(rows, channels, grad, terms, normalized, weights, means, scales, grad_weights);
    const Blocks blocks(rows, channels);
    blocks.run([&](std::size_t block) {
        const std::size_t begin = blocks.begin(block);
        for (std::size_t k = 0; k < count; ++k) {
            if (grad_terms[k] != nullptr) {
                to_terms[k](grad + begin, terms[k] + begin, blocks.rows_of(block), grad_terms[k] + begin);
            }
        }
    });
}

#define NASX_PARTS_OF_SUMS(T)                                                                         \
    template void leave(std::size_t, T*, T*, T*);                                                     \
    template void add_terms(std::size_t, std::size_t, std::span<const T* const>, std::span<const T>,  \
                            const T*, const T*, bool, T*);                                            \
    template std::vector<PassBack<T>> pass_to_terms(                                                  \
        std::size_t, std::size_t, const T*, std::span<const T* const>, std::span<const std::uint8_t>, \
        std::span<const T>, const T*, const T*, T*);
NASX_PARTS_OF_SUMS(float)
NASX_PARTS_OF_SUMS(double)
#undef NASX_PARTS_OF_SUMS

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
