// Weighted sums of K arrays, as mixed operations take them of their candidates' outputs, and their gradients.
//
// Arrays are whole tensors of n numbers each. In which order a tensor's numbers lie in memory does not
// matter, as long as it is the same for all. T is float or double. Neither the CPU level nor the number of
// threads changes a bit of the results. NaN and infinity pass as in any sum.
#pragma once

#include <cstddef>
#include <span>

namespace nasx::mixed_op {

// out[i] = weights[0] * terms[0][i] + weights[1] * terms[1][i] + ..., from left to right. `out` is an array
// of its own. O(K n), every number read and written once.
//
// Throws std::invalid_argument when there are no terms, or not one weight for each.
template <class T>
void weighted_sum(std::span<const T* const> terms, std::span<const T> weights, std::size_t n, T* out);

// Gradients of a loss whose gradient with respect to the sum is `grad` (n), in one pass over the terms:
//
//     grad_terms[k][i] = weights[k] * grad[i]
//     grad_weights[k]  = the inner product of grad and terms[k]
//
// Inner products are added up as double over blocks of fixed size. What is not wanted is not computed:
// pointers in grad_terms may be null, and either span may be empty; without grad_weights no term is read. The
// arrays that are written are arrays of their own. O(K n) time; a double for each term and 2048 numbers.
//
// Throws std::invalid_argument as above, or when a span that is not empty has another length than `terms`.
template <class T>
void weighted_sum_backward(const T* grad, std::span<const T* const> terms, std::span<const T> weights,
                           std::size_t n, std::span<T* const> grad_terms, std::span<T> grad_weights);

}  // namespace nasx::mixed_op
