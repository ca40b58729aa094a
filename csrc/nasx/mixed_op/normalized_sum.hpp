// A weighted sum of K batch-normalised arrays in one, as mixed operations take it of their candidates'
// outputs, and its gradients: what is normalised is never in memory.
//
// Arrays are (rows, channels) as in batch_norm.hpp, with its blocks and its promises about bits; some of them
// may go into the sum as they are. O(K * rows * channels): forward every term is read twice and the sum
// written once; backward every term is read twice, and its gradient written once. Room: K * channels doubles
// for each block of about 4096 numbers.
//
// Both functions throw std::invalid_argument when there are no rows or no terms, or spans that do not hold
// one entry for each term.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "nasx/mixed_op/pass_back.hpp"

namespace nasx::mixed_op {

// out (rows, channels) = the sum over k of weights[k] * (terms[k] - means[k]) * scales[k], from the first on.
// Where normalized[k] is not 0, means, variances and scales, each (terms, channels), are set to those of
// batch_statistics; elsewhere to 0, 1 and 1.
template <class T>
void normalized_sum(std::size_t rows, std::size_t channels, std::span<const T* const> terms,
                    std::span<const std::uint8_t> normalized, std::span<const T> weights, double epsilon,
                    T* out, T* means, T* variances, T* scales);

// Gradients of a loss whose gradient with respect to `out` is `grad`: of the terms, where grad_terms[k] is
// not null, and of the weights, grad_weights (terms).
template <class T>
void normalized_sum_backward(std::size_t rows, std::size_t channels, const T* grad,
                             std::span<const T* const> terms, std::span<const std::uint8_t> normalized,
                             std::span<const T> weights, const T* means, const T* scales,
                             std::span<T* const> grad_terms, T* grad_weights);

// The parts of these two, for those who have the terms' statistics already or make gradients where they need
// them. Nothing is checked; rows, channels and terms are not 0.

// means, variances and scales (channels) = 0, 1 and 1: those of a term that is not normalised. O(channels).
template <class T>
void leave(std::size_t channels, T* means, T* variances, T* scales);

// A sum of terms (rows, channels) each, with weights, and their means and scales (terms, channels).
template <class T>
struct NormalizedTerms {
    std::span<const T* const> terms;
    std::span<const std::uint8_t> normalized;
    std::span<const T> weights;
    const T* means;
    const T* scales;
};

// outs[s] = the sum above of sums[s], or what is in it and then the terms, if add[s]. What several sums read
// is read once. O(rows * channels) for each term of each sum.
template <class T>
void add_terms(std::size_t rows, std::size_t channels, std::span<const NormalizedTerms<T>> sums,
               std::span<const std::uint8_t> add, std::span<T* const> outs);

// For each sum how its gradient grads[s] goes on to each of its terms; grad_weights[s] (terms) are written.
// O(rows * channels) for each term of each sum.
template <class T>
std::vector<std::vector<PassBack<T>>> pass_to_terms(std::size_t rows, std::size_t channels,
                                                    std::span<const T* const> grads,
                                                    std::span<const NormalizedTerms<T>> sums,
                                                    std::span<T* const> grad_weights);

}  // namespace nasx::mixed_op
