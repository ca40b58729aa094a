// Mixed operations in one: chains of kernels on one input, each normalised, and weighted sums of them, with
// all gradients. Several operations that read one input share what they have in common.
//
// A chain is the input itself, a pooling over 3x3 windows, or stages of which each is a ReLU, a depthwise
// convolution, a pointwise one and a batch normalisation; a pooling, too, may be normalised. Terms that were
// computed elsewhere go into the same sum. Results are those of the kernels of depthwise.hpp, pointwise.hpp,
// pooling.hpp, batch_norm.hpp and normalized_sum.hpp one after another, but for the rounding of statistics,
// which are added up over other blocks. What is normalised is never in memory, nor what a depthwise
// convolution gives: it is made anew by who reads it, and its gradient as well. Statistics alone make the
// batch wait: between two of them each image goes through all chains while it is in the cache, and what
// chains say of the input is added up there.
//
// Images lie with their channels last, contiguous, and have a multiple of 8 channels, as many after each
// stage as before. T is float or double. Neither the CPU level nor the number of threads changes a bit of
// the results.
//
// Arrays are given by pointers, and those that are written overlap no others, but that chains may share their
// room where nothing is kept. With n numbers in the input and m in a sum, C channels and k^2 weights in a
// depthwise kernel: O((k^2 + C) * m) for each stage and O(n + m) for each other term and sum that it is in.
// Room: for each thread an image of the input and two of a sum, and padded rows for each chain; backward
// also sums for the weights' gradients of at most 32 parts of the batch.
//
// H. Liu, K. Simonyan and Y. Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, has such sums.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace nasx::mixed_op {

// Of the input; all chains end with images of height / stride and width / stride, rounded up.
struct MixedShape {
    std::size_t images;
    std::size_t height;
    std::size_t width;
    std::size_t channels;
    std::size_t stride;

    std::size_t out_height() const { return height / stride + height % stride; }
    std::size_t out_width() const { return width / stride + width % stride; }
    std::size_t out_pixels() const { return images * out_height() * out_width(); }
};

enum class Chain : std::uint8_t { given, identity, max_pool, avg_pool, convolutions };

// Means, variances and 1 / sqrt(variance + epsilon) of channels, each (channels).
template <class T>
struct ChannelStatistics {
    T* means;
    T* variances;
    T* scales;
};

// ReLU, a depthwise convolution of 1x1, 3x3 or 5x5, which has the mixed operation's stride in the first stage
// of a chain and stride 1 in others, a pointwise one, and the statistics of what comes out.
template <class T>
struct Stage {
    std::size_t kernel;
    std::size_t dilation;
    const T* depthwise;  // (channels, kernel, kernel)
    const T* pointwise;  // (channels, channels)
    T* out;              // room for what comes out (out_pixels, channels)
    ChannelStatistics<T> statistics;
};

template <class T>
struct MixedTerm {
    Chain chain;
    bool normalized;               // always, after stages
    std::vector<Stage<T>> stages;  // for convolutions, at least one
    T* out;                        // room for a pooling (out_pixels, channels), or what was given
    std::int8_t* places;           // room for those of max_pool_3x3 (out_pixels, channels)
    ChannelStatistics<T> statistics;
};

// The gradients of a term: of its stages' weights, or of what was given. Any may be null: it is not wanted.
// Chains of several stages need room for the gradient between them.
template <class T>
struct MixedTermGradients {
    std::vector<T*> depthwise, pointwise;  // one for each stage
    T* given;
    T* between;  // (out_pixels, channels)
};

// Some of the terms, by their numbers, which ascend, and a weight for each. What has weights of its own,
// stages, or was given is in one sum; poolings and the input may be in several.
template <class T>
struct WeightedTerms {
    std::vector<std::size_t> terms;
    std::span<const T> weights;
};

// outs[s] (out_pixels, channels) = the weighted sum over the terms of sums[s] of what their chains make of x
// (images, height, width, channels), normalised. Statistics are written. If `kept`, the rooms are left as
// mixed_sums_backward reads them; else chains may share theirs, stage by stage.
//
// Throws std::invalid_argument when there are no terms, a sum without one or whose numbers do not ascend, not
// one weight for each, a term that is in no sum or in more than it may be, channels that are no multiple of
// 8, no pixels, a stride of the identity that is not 1, an empty list of stages, or sizes that the kernels
// refuse.
template <class T>
void mixed_sums(const MixedShape& shape, const T* x, std::span<const MixedTerm<T>> terms,
                std::span<const WeightedTerms<T>> sums, double epsilon, bool kept, std::span<T* const> outs);

// Gradients of a loss whose gradients with respect to `outs` are `grads`: those of each term, of x if grad_x
// is not null, and of the weights of each sum. If not `kept`, chains are computed again in their rooms, with
// the statistics that are there, one after another.
//
// Throws as above, and when there is not one entry for each term and each stage.
template <class T>
void mixed_sums_backward(const MixedShape& shape, std::span<const T* const> grads, const T* x,
                         std::span<const MixedTerm<T>> terms, std::span<const WeightedTerms<T>> sums,
                         bool kept, std::span<const MixedTermGradients<T>> gradients, T* grad_x,
                         std::span<T* const> grad_weights);

}  // namespace nasx::mixed_op
