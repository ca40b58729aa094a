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

// A stage's images in memory, and how they are worked on: a few output rows at once, through both
// convolutions while they are in the cache. What the depthwise one gives is never kept: it is made anew for
// its gradients.
template <class T>
class StageRows {
  public:
    StageRows(const DepthwiseShape& shape, const StageInput<T>& input, const Stage<T>& stage)
        : shape_(shape), input_(input), at_once_(rows_of_tiles(shape)), outputs_(shape, stage.depthwise) {}

    // What a thread keeps.
    struct Kept {
        depthwise::RectifiedRows<T> images;
        Aligned<T> convolved;
    };
    // With rectified rows of so many numbers, if that is more than is needed in any case.
    Kept begin(std::size_t numbers) const {
        const std::size_t rows = numbers / depthwise::Layout(shape_).image_size() / shape_.stride;
        return {depthwise::RectifiedRows<T>(shape_, input_.x, input_.normal, std::max(at_once_, rows)),
                Aligned<T>(at_once_ * in_row())};
    }

    // Calls function(first, count, convolved) for blocks of an image's output pixels, all of it in order:
    // what the depthwise convolution gives of so many of them from the first on.
    template <class Function>
    void run(Kept& kept, std::size_t image, Function function) const {
        const std::size_t width = shape_.out_width(), height = shape_.out_height();
        for (std::size_t begin = 0; begin < height; begin += at_once_) {
            const std::size_t end = std::min(begin + at_once_, height);
            for (std::size_t row = begin; row < end; ++row) {
                outputs_(kept.images, image, row, kept.convolved.data() + (row - begin) * in_row());
            }
            function(begin * width, (end - begin) * width, kept.convolved.data());
        }
    }

    std::size_t at_once() const { return at_once_; }
    std::size_t in_row() const { return shape_.out_width() * shape_.channels; }

  private:
    // Where a few rows less are whole tiles of six pixels, these are taken.
    static std::size_t rows_of_tiles(const DepthwiseShape& shape) {
        const std::size_t most = depthwise::Layout(shape).rows_at_once();
        for (std::size_t rows = most; rows > most / 2; --rows) {
            if (rows * shape.out_width() % 6 == 0) {
                return rows;
            }
        }
        return most;
    }

    DepthwiseShape shape_;
    StageInput<T> input_;
    std::size_t at_once_;
    depthwise::Outputs<T> outputs_;
};

template <class T>
class ForwardStage {
  public:
    ForwardStage(const DepthwiseShape& shape, const StageInput<T>& input, const Stage<T>& stage)
        : channels_(shape.channels),
          pixels_(shape.out_height() * shape.out_width()),
          stage_(stage),
          rows_(shape, input, stage),
          matrix_(pointwise_passes::turned({pixels_, channels_, channels_}, stage.pointwise)),
          statistics_(shape.images, pixels_, channels_) {}

    // What a thread keeps.
    struct Kept {
        explicit Kept(const ForwardStage& stage)
            : rows(stage.rows_.begin(0)), room(stage.statistics_.room()) {}
        typename StageRows<T>::Kept rows;
        typename ImageStatistics<T>::Room room;
    };

    void operator()(Kept& kept, std::size_t image, bool statistics_too) {
        T* const out = stage_.out + image * pixels_ * channels_;
        const std::size_t at_once = rows_.at_once() * rows_.in_row();
        ask_for_room(out, std::min(at_once, pixels_ * channels_));
        rows_.run(kept.rows, image, [&](std::size_t first, std::size_t count, const T* convolved) {
            const std::size_t at = first * channels_, end = at + count * channels_;
            ask_for_room(out + end, std::min(at_once, pixels_ * channels_ - end));
            pointwise_passes::loops<T>().product(convolved, matrix_.data(), count, channels_, channels_,
                                                 out + at);
        });
        if (statistics_too) {
            statistics_.set(image, out, kept.room);
        }
    }

    void finish(double epsilon) const { statistics_.finish(epsilon, stage_.statistics); }

  private:
    std::size_t channels_, pixels_;
    Stage<T> stage_;
    StageRows<T> rows_;
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
          input_(input),
          stage_(stage),
          grad_(grad),
          passed_(passed),
          add_(add),
          found_(found),
          grad_depthwise_(grad_depthwise),
          grad_pointwise_(grad_pointwise),
          parts_(parts),
          rows_(shape, input, stage),
          gradients_(shape, stage.depthwise, add, found),
          depthwise_sums_(grad_depthwise == nullptr ? 0 : parts * gradients_.sum_size()),
          pointwise_sums_(grad_pointwise == nullptr ? 0 : parts * shape.channels * shape.channels),
          sums_(is_normalized() ? parts * shape.channels : 0),
          products_(sums_.size()) {}

    struct Kept {
        explicit Kept(const BackwardStage& stage)
            : rows(stage.rows_.begin(at_hand)),
              passed(rows.convolved.size()),
              of_convolved(stage.pixels_ * stage.shape_.channels),
              gradients(stage.gradients_.begin()),
              added(stage.shape_.channels),
              multiplied(stage.shape_.channels) {}
        typename StageRows<T>::Kept rows;
        Aligned<T> passed, of_convolved;
        typename depthwise::Gradients<T>::Kept gradients;
        Aligned<T> added, multiplied;
    };

    // What is read of memory alone for an image.
    const T* read_for(std::size_t image) const { return stage_.out + image * pixels_ * shape_.channels; }

    // `next` is what is read for the image and stage that are next, or null.
    void operator()(Kept& kept, std::size_t part, std::size_t image, const T* next) {
        const std::size_t channels = shape_.channels, begin = image * pixels_ * channels;
        rows_.run(kept.rows, image, [&](std::size_t first, std::size_t count, const T* convolved) {
            const std::size_t at = begin + first * channels;
            passed_(grad_ + at, stage_.out + at, count, kept.passed.data());
            if (grad_pointwise_ != nullptr) {
                pointwise_passes::loops<T>().outer(kept.passed.data(), convolved, count, channels, channels,
                                                   pointwise_sums_.data() + part * channels * channels);
            }
            pointwise_passes::loops<T>().product(kept.passed.data(), stage_.pointwise, count, channels,
                                                 channels, kept.of_convolved.data() + first * channels);
        });
        T* const sums =
            grad_depthwise_ == nullptr ? nullptr : depthwise_sums_.data() + part * gradients_.sum_size();
        for (std::size_t row = 0; row < shape_.out_height(); row += rows_.at_once()) {
            const std::size_t end = std::min(row + rows_.at_once(), shape_.out_height());
            if (next != nullptr) {
                ask_for(next + row * rows_.in_row(), (end - row) * rows_.in_row());
            }
            gradients_(kept.gradients, kept.rows.images, kept.of_convolved.data(), image, row, end, sums,
                       [&](std::size_t h) {
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

    // Numbers of rectified rows that are read twice, for which there is room in the second cache.
    static constexpr std::size_t at_hand = 32768;

    DepthwiseShape shape_;
    std::size_t pixels_;
    StageInput<T> input_;
    Stage<T> stage_;
    const T* grad_;
    PassBack<T> passed_;
    bool add_;
    T* found_;
    T* grad_depthwise_;
    T* grad_pointwise_;
    std::size_t parts_;
    StageRows<T> rows_;
    depthwise::Gradients<T> gradients_;
    Aligned<T> depthwise_sums_, pointwise_sums_;
    std::vector<double> sums_, products_;
};

}  // namespace nasx::mixed_op
