// One stage of a chain, image by image: a ReLU, both convolutions and their statistics, and their gradients.
#pragma once

#include <algorithm>
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

// What stages that are worked on side by side have in common: sizes of images, and room for the widest
// kernel.
struct Sizes {
    DepthwiseShape shape{};  // but for the kernel
    std::size_t reach = 0, rows = 0;

    void include(const DepthwiseShape& stage) {
        shape = stage;
        reach = std::max(reach, depthwise::Layout::reach_of(stage));
        rows = std::max(rows, depthwise::Layout(stage).rows());
    }

    // How rows lie in that room; taps are another matter, of each kernel.
    depthwise::Layout layout() const { return {shape, reach}; }
    std::size_t in_row() const { return shape.out_width() * shape.channels; }

    // Output rows that go through both convolutions while they are in the cache. Where a few less are whole
    // tiles of six pixels, these are taken.
    std::size_t rows_at_once() const {
        const std::size_t most = depthwise::Layout(shape).rows_at_once();
        for (std::size_t found = most; found > most / 2; --found) {
            if (found * shape.out_width() % 6 == 0) {
                return found;
            }
        }
        return most;
    }
};

// What a thread works in, one stage after another.
template <class T>
struct StageRoom {
    depthwise::RectifiedRows<T> images;
    Aligned<T> convolved;

    explicit StageRoom(const Sizes& sizes)
        : images(sizes.shape, sizes.layout(),
                 std::max(sizes.rows + sizes.rows_at_once() * sizes.shape.stride,
                          at_hand / sizes.layout().image_size())),
          convolved(sizes.rows_at_once() * sizes.in_row()) {}

  private:
    // Numbers of rectified rows that are read again, by another stage or for gradients: in the second cache.
    static constexpr std::size_t at_hand = 32768;
};

// The depthwise convolution of a stage. What it gives is never kept: it is made anew for its gradients.
template <class T>
class StageRows {
  public:
    StageRows(const DepthwiseShape& shape, const Sizes& sizes, const StageInput<T>& input,
              const Stage<T>& stage)
        : width_(shape.out_width()),
          height_(shape.out_height()),
          channels_(shape.channels),
          at_once_(sizes.rows_at_once()),
          input_(input),
          outputs_(shape, {shape, sizes.reach}, stage.depthwise) {}

    // Calls function(first, count) for blocks of an image's output pixels, one after another: what the
    // convolution gives of so many of them, from the first on, is in room.convolved.
    template <class Function>
    void run(StageRoom<T>& room, std::size_t image, Function function) const {
        room.images.read(input_.x, input_.normal);
        for (std::size_t begin = 0; begin < height_; begin += at_once_) {
            const std::size_t end = std::min(begin + at_once_, height_);
            for (std::size_t row = begin; row < end; ++row) {
                outputs_(room.images, image, row, room.convolved.data() + (row - begin) * width_ * channels_);
            }
            function(begin * width_, (end - begin) * width_);
        }
    }

  private:
    std::size_t width_, height_, channels_, at_once_;
    StageInput<T> input_;
    depthwise::Outputs<T> outputs_;
};

template <class T>
class ForwardStage {
  public:
    ForwardStage(const DepthwiseShape& shape, const Sizes& sizes, const StageInput<T>& input,
                 const Stage<T>& stage)
        : channels_(shape.channels),
          numbers_(shape.out_height() * sizes.in_row()),
          at_once_(sizes.rows_at_once() * sizes.in_row()),
          stage_(stage),
          rows_(shape, sizes, input, stage),
          matrix_(pointwise_passes::turned({numbers_ / channels_, channels_, channels_}, stage.pointwise)),
          statistics_(shape.images, numbers_ / channels_, channels_) {}

    void operator()(StageRoom<T>& room, typename ImageStatistics<T>::Room& of_statistics, std::size_t image,
                    bool statistics_too) {
        T* const out = stage_.out + image * numbers_;
        ask_for_room(out, std::min(at_once_, numbers_));
        rows_.run(room, image, [&](std::size_t first, std::size_t count) {
            const std::size_t end = (first + count) * channels_;
            ask_for_room(out + end, std::min(at_once_, numbers_ - end));
            pointwise_passes::loops<T>().product(room.convolved.data(), matrix_.data(), count, channels_,
                                                 channels_, out + first * channels_);
        });
        if (statistics_too) {
            statistics_.set(image, out, of_statistics);
        }
    }

    void finish(double epsilon) const { statistics_.finish(epsilon, stage_.statistics); }

  private:
    std::size_t channels_, numbers_, at_once_;  // numbers of an image
    Stage<T> stage_;
    StageRows<T> rows_;
    Aligned<T> matrix_;
    ImageStatistics<T> statistics_;
};

// What a thread works in backward.
template <class T>
struct BackwardStageRoom {
    StageRoom<T> stage;
    Aligned<T> passed, of_convolved;
    depthwise::GradientRows<T> gradients;
    Aligned<T> added, multiplied;

    explicit BackwardStageRoom(const Sizes& sizes)
        : stage(sizes),
          passed(stage.convolved.size()),
          of_convolved(sizes.shape.out_height() * sizes.in_row()),
          gradients(sizes.shape, sizes.layout(), sizes.rows),
          added(sizes.shape.channels),
          multiplied(sizes.shape.channels) {}
};

// The gradient `grad` of what a stage gives, normalised, goes on to its output as `passed` says.
template <class T>
class BackwardStage {
  public:
    // Writes the gradient of the input as it is read, after its normalisation, to `found`, or adds to what is
    // there; null: it is not wanted, nor are the weights' gradients where these are null. Sums are kept apart
    // for each of so many parts of the batch.
    BackwardStage(const DepthwiseShape& shape, const Sizes& sizes, const StageInput<T>& input,
                  const Stage<T>& stage, const T* grad, const PassBack<T>& passed, bool add, T* found,
                  T* grad_depthwise, T* grad_pointwise, std::size_t parts)
        : shape_(shape),
          pixels_(shape.out_height() * shape.out_width()),
          input_(input),
          stage_(stage),
          grad_(grad),
          passed_(passed),
          found_(found),
          grad_depthwise_(grad_depthwise),
          grad_pointwise_(grad_pointwise),
          parts_(parts),
          at_once_(sizes.rows_at_once()),
          rows_(shape, sizes, input, stage),
          gradients_(shape, {shape, sizes.reach}, stage.depthwise, add, found),
          depthwise_sums_(grad_depthwise == nullptr ? 0 : parts * gradients_.sum_size()),
          pointwise_sums_(grad_pointwise == nullptr ? 0 : parts * shape.channels * shape.channels),
          sums_(is_normalized() ? parts * shape.channels : 0),
          products_(sums_.size()) {}

    // What is read of memory alone for an image.
    const T* read_for(std::size_t image) const { return stage_.out + image * pixels_ * shape_.channels; }

    // `next` is what is read for the image and stage that are next, or null.
    void operator()(BackwardStageRoom<T>& room, std::size_t part, std::size_t image, const T* next) {
        const std::size_t channels = shape_.channels, begin = image * pixels_ * channels;
        const std::size_t in_row = shape_.out_width() * channels;
        rows_.run(room.stage, image, [&](std::size_t first, std::size_t count) {
            const std::size_t at = begin + first * channels;
            passed_(grad_ + at, stage_.out + at, count, room.passed.data());
            if (grad_pointwise_ != nullptr) {
                pointwise_passes::loops<T>().outer(room.passed.data(), room.stage.convolved.data(), count,
                                                   channels, channels,
                                                   pointwise_sums_.data() + part * channels * channels);
            }
            pointwise_passes::loops<T>().product(room.passed.data(), stage_.pointwise, count, channels,
                                                 channels, room.of_convolved.data() + first * channels);
        });
        T* const sums =
            grad_depthwise_ == nullptr ? nullptr : depthwise_sums_.data() + part * gradients_.sum_size();
        room.gradients.padded.forget();  // these are another stage's
        for (std::size_t row = 0; row < shape_.out_height(); row += at_once_) {
            const std::size_t end = std::min(row + at_once_, shape_.out_height());
            if (next != nullptr) {
                ask_for(next + row * in_row, (end - row) * in_row);
            }
            gradients_(room.gradients, room.stage.images, room.of_convolved.data(), image, row, end, sums,
                       [&](std::size_t h) {
                           if (is_normalized()) {
                               add_up(room, part, image, h);
                           }
                       });
        }
    }

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
    void add_up(BackwardStageRoom<T>& room, std::size_t part, std::size_t image, std::size_t h) {
        const std::size_t channels = shape_.channels, n = shape_.width * channels;
        const std::size_t at = (image * shape_.height + h) * n;
        std::fill(room.added.begin(), room.added.end(), T{0});
        std::fill(room.multiplied.begin(), room.multiplied.end(), T{0});
        norm_loops<T>().add_products(found_ + at, input_.x + at, input_.normal.means, channels, n,
                                     room.added.data(), room.multiplied.data());
        for (std::size_t c = 0; c < channels; ++c) {
            sums_[part * channels + c] += static_cast<double>(room.added[c]);
            products_[part * channels + c] += static_cast<double>(room.multiplied[c]);
        }
    }

    DepthwiseShape shape_;
    std::size_t pixels_;
    StageInput<T> input_;
    Stage<T> stage_;
    const T* grad_;
    PassBack<T> passed_;
    T* found_;
    T* grad_depthwise_;
    T* grad_pointwise_;
    std::size_t parts_, at_once_;
    StageRows<T> rows_;
    depthwise::Gradients<T> gradients_;
    Aligned<T> depthwise_sums_, pointwise_sums_;
    std::vector<double> sums_, products_;
};

}  // namespace nasx::mixed_op
