#include "nasx/mixed_op/weighted_sum.hpp"

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "nasx/mixed_op/blocks.hpp"
#include "nasx/parallel.hpp"

namespace nasx::mixed_op {
namespace {

// The gradient's numbers of a block stay in the first cache while all terms pass.
constexpr std::size_t block = 2048;
// So many bytes of gradients no cache holds until they are read: they are written past it.
constexpr std::size_t past_caches = std::size_t{12} << 20;
// Pieces for threads: large beside what it costs to hand one out.
constexpr std::size_t blocks_at_once = 8;

void check_length(std::size_t length, std::size_t terms, const char* argument) {
    if (length != terms) {
        throw std::invalid_argument(std::string(argument) + " must have one entry for each of the " +
                                    std::to_string(terms) + " terms; got " + std::to_string(length));
    }
}

void check(std::size_t terms, std::size_t weights) {
    if (terms == 0) {
        throw std::invalid_argument("terms must hold at least one array; got none");
    }
    check_length(weights, terms, "weights");
}

}  // namespace

template <class T>
void weighted_sum(std::span<const T* const> terms, std::span<const T> weights, std::size_t n, T* out) {
    check(terms.size(), weights.size());
    // All terms are read side by side: of that, hardware asks for memory by itself.
    parallel_for(0, n, block * blocks_at_once, [&](std::size_t begin, std::size_t end) {
        sum_loops<T>().sum(terms.data(), weights.data(), terms.size(), begin, end, out);
    });
}

template <class T>
void weighted_sum_backward(const T* grad, std::span<const T* const> terms, std::span<const T> weights,
                           std::size_t n, std::span<T* const> grad_terms, std::span<T> grad_weights) {
    const std::size_t count = terms.size();
    check(count, weights.size());
    if (!grad_terms.empty()) {
        check_length(grad_terms.size(), count, "grad_terms");
    }
    if (!grad_weights.empty()) {
        check_length(grad_weights.size(), count, "grad_weights");
    }
    const std::size_t blocks = n / block + (n % block != 0);
    const bool large = grad_terms.size() * n * sizeof(T) > past_caches;
    std::vector<double> products(grad_weights.empty() ? 0 : blocks * count);
    parallel_for(0, blocks, blocks_at_once, [&](std::size_t first, std::size_t last) {
        for (std::size_t b = first; b < last; ++b) {
            const std::size_t begin = b * block, size = std::min(block, n - begin);
            for (std::size_t k = 0; k < count; ++k) {
                T* const scaled =
                    grad_terms.empty() || grad_terms[k] == nullptr ? nullptr : grad_terms[k] + begin;
                const std::size_t next = std::min(block, n - begin - size);  // numbers of the block after it
                const bool past = large && reinterpret_cast<std::uintptr_t>(scaled) % 32 == 0;
                if (scaled != nullptr && !past) {
                    ask_for_room(scaled + size, next);
                }
                if (products.empty()) {
                    if (scaled != nullptr) {
                        sum_loops<T>().scale(grad + begin, weights[k], scaled, size, past);
                    }
                } else {
                    const T* const term = terms[k] + begin;
                    ask_for(term + size, next);
                    products[b * count + k] = scaled == nullptr
                                                  ? sum_loops<T>().dot(grad + begin, term, size)
                                                  : sum_loops<T>().scale_and_dot(
                                                        grad + begin, term, weights[k], scaled, size, past);
                }
            }
        }
    });
    for (std::size_t k = 0; k < grad_weights.size(); ++k) {
        double sum = 0;
        for (std::size_t b = 0; b < blocks; ++b) {
            sum += products[b * count + k];
        }
        grad_weights[k] = static_cast<T>(sum);
    }
}

template void weighted_sum(std::span<const float* const>, std::span<const float>, std::size_t, float*);
template void weighted_sum(std::span<const double* const>, std::span<const double>, std::size_t, double*);
template void weighted_sum_backward(const float*, std::span<const float* const>, std::span<const float>,
                                    std::size_t, std::span<float* const>, std::span<float>);
template void weighted_sum_backward(const double*, std::span<const double* const>, std::span<const double>,
                                    std::size_t, std::span<double* const>, std::span<double>);

}  // namespace nasx::mixed_op
