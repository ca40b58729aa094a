// Batch normalisation as in training, without scale and shift, and its gradient.
//
// Images lie with their channels last, so that they are `rows` pixels of `channels` numbers each, contiguous.
// T is float or double. Neither the CPU level nor the number of threads changes a bit of the results.
//
// Arrays are given by pointers, and those that are written overlap no others. Time: O(rows * channels); the
// images are read twice in either direction. Room: a few numbers per channel for each block of about 16
// thousand numbers.
//
// S. Ioffe, C. Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
// Covariate Shift", ICML 2015.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace nasx::mixed_op {

// means (channels) and variances (channels) = those of each channel over all rows, the second divided by
// `rows` and not by one less; scales (channels) = 1 / sqrt(variance + epsilon). Within a block of rows, means
// and squared differences from them are added up as T in two passes; blocks are put together as double.
//
// Throws std::invalid_argument when there are no rows.
template <class T>
void batch_statistics(std::size_t rows, std::size_t channels, const T* x, double epsilon, T* means,
                      T* variances, T* scales);

// out (rows, channels) = (x - mean) * scale, with these statistics, which are written too. Throws as above.
template <class T>
void batch_norm(std::size_t rows, std::size_t channels, const T* x, double epsilon, T* out, T* means,
                T* variances, T* scales);

// grad_x (rows, channels) = the gradient of a loss whose gradient with respect to `out` is `grad`:
//
//     scale * (grad - mean of grad - normalised x * mean of (grad * normalised x))
//
// Throws as above.
template <class T>
void batch_norm_backward(std::size_t rows, std::size_t channels, const T* grad, const T* x, const T* means,
                         const T* scales, T* grad_x);

// Running statistics (channels) of a layer, and of how many batches they are.
template <class T>
struct RunningStatistics {
    T* means;
    T* variances;
    std::int64_t* batches;
    // How much of a batch's statistics they take; none: as much as the batch is of all batches.
    std::optional<double> share;
};

// Lets running statistics follow the means and variances (channels) of a batch in which each channel had
// `count` numbers: running = running + share * (found - running), where variances are divided by count - 1.
// O(channels).
//
// Throws std::invalid_argument when count is less than 2.
template <class T>
void follow_statistics(std::size_t channels, std::size_t count, const T* means, const T* variances,
                       const RunningStatistics<T>& running);

}  // namespace nasx::mixed_op
