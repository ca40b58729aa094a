// One stage of a chain, image by image: a ReLU, both convolutions and their statistics, and their gradients.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "nasx/mixed_op/depthwise_passes.hpp"
#include "nasx/mixed_op/mixed_sum.hpp"
#include "nasx/mixed_op/pass_back.hpp"
#include "nasx/mixed_op/pointwise_passes.hpp"
#include "nasx/mixed_op/statistics.hpp"

namespace nasx::mixed_op {

// What a stage reads: images, and how they are normalised on the way.
template <class T>
struct StageInput {
    const T* x;
    depthwise::Normal<T> normal;
};

// The statistics of images as they are made, each in blocks of pixels that do not depend on the threads.
template <class T>
class ImageStatistics {
  public:
    ImageStatistics(std::size_t images, std::size_t pixels, std::size_t channels)
        : pixels_(pixels),
          channels_(channels),
          in_block_(rows_at_once(channels)),
          blocks_((pixels + in_block_ - 1) / in_block_),
          statistics_(images * blocks_, channels) {}

    using Room = typename Statistics<T>::Room;
    Room room() const { return statistics_.room(); }

    // x (pixels, channels) is that image.
    void set(std::size_t image, const T* x, Room& room) {
        for (std::size_t block = 0; block < blocks_; ++block) {
            const std::size_t begin = block * in_block_;
            statistics_.set(image * blocks_ + block, x + begin * channels_,
                            std::min(in_block_, pixels_ - begin), room);
        }
    }
    void finish(double epsilon, const ChannelStatistics<T>& to) const {
        statistics_.finish(epsilon, to.means, to.variances, to.scales);
    }

  private:
    std::size_t pixels_, channels_, in_block_, blocks_;
    Statistics<T> statistics_;
};

template <class T>
class ForwardStage {
  public:
    ForwardStage(const DepthwiseShape& shape, const StageInput<T>& input, const Stage<T>& stage)
        : pixels_(shape.out_height() * shape.out_width()),
          height_(shape.out_height()),
          product_{pixels_, shape.channels, shape.channels},
          stage_(stage),
          outputs_(shape, input.x, input.normal, stage.depthwise, stage.convolved),
          matrix_(pointwise_passes::turned(product_, stage.pointwise)),
          statistics_(shape.images, pixels_, shape.channels) {}

    // What a thread keeps.
    struct Kept {
        explicit Kept(const ForwardStage& stage)
            : images(stage.outputs_.begin()), room(stage.statistics_.room()) {}
        depthwise::RectifiedRows<T> images;
        typename ImageStatistics<T>::Room room;
    };

    void operator()(Kept& kept, std::size_t image, bool statistics_too) {
        const std::size_t channels = product_.in_channels, begin = image * pixels_ * channels;
        const std::size_t in_row = pixels_ / height_ * channels;
        for (std::size_t row = 0; row < height_; ++row) {
            ask_for_room(stage_.out + begin + row * in_row, in_row);
            ask_for_room(stage_.convolved + begin + std::min(row + 2, height_ - 1) * in_row, in_row);
            outputs_(kept.images, image, row);
        }
        pointwise_passes::for_blocks(product_, 0, pixels_, [&](std::size_t first, std::size_t count) {
            const std::size_t at = begin + first * channels;
            pointwise_passes::loops<T>().product(stage_.convolved + at, matrix_.data(), count, channels,
                                                 channels, stage_.out + at);
        });
        if (statistics_too) {
            statistics_.set(image, stage_.out + begin, kept.room);
        }
    }

    void finish(double epsilon) const { statistics_.finish(epsilon, stage_.statistics); }

  private:
    std::size_t pixels_, height_;
    PointwiseShape product_;
    Stage<T> stage_;
    depthwise::Outputs<T> outputs_;
    Aligned<T> matrix_;
    ImageStatistics<T> statistics_;
};

// The gradient `grad` of what a stage gives, normalised, goes on to its output as `passed` says.
template <class T>
class BackwardStage {
  public:
    // Writes the gradient of the input as it is read, after its normalisation, to `found`, or adds to what is
    // there; null: it is not wanted, nor are the weights' gradients where these are null. Sums are kept apart
    // for each of so many parts of the batch.
    BackwardStage(const DepthwiseShape& shape, const StageInput<T>& input, const Stage<T>& stage,
                  const T* grad, const PassBack<T>& passed, bool add, T* found, T* grad_depthwise,
                  T* grad_pointwise, std::size_t parts)
        : shape_(shape),
          pixels_(shape.out_height() * shape.out_width()),
          product_{pixels_, shape.channels, shape.channels},
          input_(input),
          stage_(stage),
          grad_(grad),
          passed_(passed),
          add_(add),
          found_(found),
          grad_depthwise_(grad_depthwise),
          grad_pointwise_(grad_pointwise),
          parts_(parts),
          rows_at_once_(depthwise::Layout(shape).rows_at_once()),
          gradients_(shape, input.x, input.normal, stage.depthwise, add, found),
          depthwise_sums_(grad_depthwise == nullptr ? 0 : parts * gradients_.sum_size()),
          pointwise_sums_(grad_pointwise == nullptr ? 0 : parts * shape.channels * shape.channels),
          sums_(is_normalized() ? parts * shape.channels : 0),
          products_(sums_.size()) {}

    struct Kept {
        explicit Kept(const BackwardStage& stage)
            : block(pointwise_passes::pixels_at_once(stage.product_) * stage.shape_.channels),
              convolved(stage.pixels_ * stage.shape_.channels),
              gradients(stage.gradients_.begin()),
              added(stage.shape_.channels),
              multiplied(stage.shape_.channels) {}
        Aligned<T> block, convolved;
        typename depthwise::Gradients<T>::Kept gradients;
        Aligned<T> added, multiplied;
    };

    // What is read of memory alone for an image: both convolutions' outputs.
    std::array<const T*, 2> read_for(std::size_t image) const {
        const std::size_t at = image * pixels_ * shape_.channels;
        return {stage_.out + at, stage_.convolved + at};
    }

    // `next` is what is read for the image and stage that are next, or null.
    void operator()(Kept& kept, std::size_t part, std::size_t image, const std::array<const T*, 2>& next) {
        const std::size_t channels = shape_.channels, begin = image * pixels_ * channels;
        const std::size_t in_row = shape_.out_width() * channels;
        pointwise_passes::for_blocks(product_, 0, pixels_, [&](std::size_t first, std::size_t count) {
            const std::size_t at = begin + first * channels;
            passed_(grad_ + at, stage_.out + at, count, kept.block.data());
            if (grad_pointwise_ != nullptr) {
                pointwise_passes::loops<T>().outer(kept.block.data(), stage_.convolved + at, count, channels,
                                                   channels,
                                                   pointwise_sums_.data() + part * channels * channels);
            }
            pointwise_passes::loops<T>().product(kept.block.data(), stage_.pointwise, count, channels,
                                                 channels, kept.convolved.data() + first * channels);
        });
        T* const sums =
            grad_depthwise_ == nullptr ? nullptr : depthwise_sums_.data() + part * gradients_.sum_size();
        for (std::size_t row = 0; row < shape_.out_height(); row += rows_at_once_) {
            const std::size_t end = std::min(row + rows_at_once_, shape_.out_height());
            for (const T* const numbers : next) {
                if (numbers != nullptr) {
                    ask_for(numbers + row * in_row, (end - row) * in_row);
                }
            }
            gradients_(kept.gradients, kept.convolved.data(), image, row, end, sums, [&](std::size_t h) {
                if (is_normalized()) {
                    add_up(kept, part, image, h);
                }
            });
        }
    }

    // Whether it writes what it finds, and does not add to it.
    bool writes() const { return !add_; }

    // The weights' gradients.
    void finish() const {
        if (grad_depthwise_ != nullptr) {
            gradients_.finish(depthwise_sums_, parts_, grad_depthwise_);
        }
        if (grad_pointwise_ != nullptr) {
            pointwise_passes::add_parts(pointwise_sums_, parts_, shape_.channels * shape_.channels,
                                        grad_pointwise_);
        }
    }

    // How what was found goes on to the input before its normalisation.
    PassBack<T> to_input() const {
        const std::size_t channels = shape_.channels;
        std::vector<double> sums(channels), products(channels);
        for (std::size_t i = 0; i < sums_.size(); ++i) {
            sums[i % channels] += sums_[i];
            products[i % channels] += products_[i];
        }
        return {shape_.images * shape_.height * shape_.width,
                channels,
                input_.normal.means,
                input_.normal.scales,
                T{1},
                sums.data(),
                products.data()};
    }

  private:
    bool is_normalized() const { return input_.normal.means != nullptr; }

    // The sums that to_input() needs, over what was found in row h of an image.
    void add_up(Kept& kept, std::size_t part, std::size_t image, std::size_t h) {
        const std::size_t channels = shape_.channels, n = shape_.width * channels;
        const std::size_t at = (image * shape_.height + h) * n;
        std::fill(kept.added.begin(), kept.added.end(), T{0});
        std::fill(kept.multiplied.begin(), kept.multiplied.end(), T{0});
        norm_loops<T>().add_products(found_ + at, input_.x + at, input_.normal.means, channels, n,
                                     kept.added.data(), kept.multiplied.data());
        for (std::size_t c = 0; c < channels; ++c) {
            sums_[part * channels + c] += static_cast<double>(kept.added[c]);
            products_[part * channels + c] += static_cast<double>(kept.multiplied[c]);
        }
    }

    DepthwiseShape shape_;
    std::size_t pixels_;
    PointwiseShape product_;
    StageInput<T> input_;
    Stage<T> stage_;
    const T* grad_;
    PassBack<T> passed_;
    bool add_;
    T* found_;
    T* grad_depthwise_;
    T* grad_pointwise_;
    std::size_t parts_, rows_at_once_;
    depthwise::Gradients<T> gradients_;
    Aligned<T> depthwise_sums_, pointwise_sums_;
    std::vector<double> sums_, products_;
};

}  // namespace nasx::mixed_op
