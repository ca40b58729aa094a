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

// What is done image by image, before and after others that are done on the same image, in such a room.
template <class Room>
class Work {
  public:
    // Asks for memory that is read or written, a little before it is: while rows are worked on, for rows that
    // come later, first of this work and then of the one that is next. Each row counts as one of the sum.
    struct Ahead {
        const Work* work;
        std::size_t image;
        const Work* next;  // null: nothing
        std::size_t next_image;
        std::size_t rows, distance;  // at most `rows`

        void in_this(std::size_t row) const {
            if (row + distance < rows) {
                work->ask_for_row(image, row + distance);
            }
        }
        void in_next(std::size_t row) const {
            if (row + distance >= rows && next != nullptr) {
                next->ask_for_row(next_image, row + distance - rows);
            }
        }
    };

    virtual ~Work() = default;

    virtual void run(Room& room, std::size_t image, const Ahead& ahead) = 0;
    // Asks for all that a row of an image takes.
    virtual void ask_for_row(std::size_t image, std::size_t row) const = 0;
};

// All works on an image, one after another; images before `last` follow. The sum has so many rows, of so many
// numbers.
template <class Room>
void run_all(const std::vector<Work<Room>*>& works, Room& room, std::size_t image, std::size_t last,
             std::size_t rows, std::size_t in_row) {
    // Numbers of an array that are on their way: what works read and write together stays in the second
    // cache.
    constexpr std::size_t numbers_ahead = 2048;
    const std::size_t distance = std::clamp<std::size_t>(numbers_ahead / in_row, 1, rows);
    for (std::size_t i = 0; i < works.size(); ++i) {
        const bool more = i + 1 < works.size();
        const std::size_t next_image = more ? image : image + 1;
        const Work<Room>* const next = next_image < last ? works[more ? i + 1 : 0] : nullptr;
        works[i]->run(room, image, {works[i], image, next, next_image, rows, distance});
    }
}

// The depthwise convolution of a stage. What it gives is never kept: it is made anew for its gradients.
template <class T>
class StageRows {
  public:
    StageRows(const DepthwiseShape& shape, const Sizes& sizes, const StageInput<T>& input,
              const Stage<T>& stage)
        : shape_(shape),
          at_once_(sizes.rows_at_once()),
          input_(input),
          outputs_(shape, {shape, sizes.reach}, stage.depthwise),
          inputs_{input.x, shape.images * shape.height, shape.width * shape.channels} {}

    // Calls function(first, count) for blocks of an image's output pixels, one after another: what the
    // convolution gives of so many of them, from the first on, is in room.convolved. Before each row it calls
    // before(row).
    template <class Before, class Function>
    void run(StageRoom<T>& room, std::size_t image, Before before, Function function) const {
        const std::size_t width = shape_.out_width(), height = shape_.out_height();
        room.images.read(input_.x, input_.normal);
        for (std::size_t begin = 0; begin < height; begin += at_once_) {
            const std::size_t end = std::min(begin + at_once_, height);
            for (std::size_t row = begin; row < end; ++row) {
                before(row);
                outputs_(room.images, image, row,
                         room.convolved.data() + (row - begin) * width * shape_.channels);
            }
            function(begin * width, (end - begin) * width);
        }
    }

    void ask_for_row(std::size_t image, std::size_t row) const {
        inputs_.ask_of_image(image, shape_.height, shape_.stride, row);
    }

  private:
    DepthwiseShape shape_;
    std::size_t at_once_;
    StageInput<T> input_;
    depthwise::Outputs<T> outputs_;
    RowsAhead<const T> inputs_;
};

// What a thread works in, forward.
template <class T>
struct ForwardRoom {
    StageRoom<T> stage;
    typename ImageStatistics<T>::Room statistics;

    explicit ForwardRoom(const Sizes& sizes)
        : stage(sizes), statistics(Statistics<T>(0, sizes.shape.channels).room()) {}
};

template <class T>
class ForwardStage : public Work<ForwardRoom<T>> {
  public:
    ForwardStage(const DepthwiseShape& shape, const Sizes& sizes, const StageInput<T>& input,
                 const Stage<T>& stage, bool statistics_too)
        : shape_(shape),
          stage_(stage),
          statistics_too_(statistics_too),
          rows_(shape, sizes, input, stage),
          outputs_{stage.out, shape.images * shape.out_height(), sizes.in_row()},
          matrix_(pointwise_passes::turned({pixels(), shape.channels, shape.channels}, stage.pointwise)),
          statistics_(shape.images, pixels(), shape.channels) {}

    void run(ForwardRoom<T>& room, std::size_t image,
             const typename Work<ForwardRoom<T>>::Ahead& ahead) override {
        const std::size_t channels = shape_.channels;
        T* const out = stage_.out + image * pixels() * channels;
        rows_.run(
            room.stage, image,
            [&](std::size_t row) {
                ahead.in_this(row);
                ahead.in_next(row);
            },
            [&](std::size_t first, std::size_t count) {
                pointwise_passes::loops<T>().product(room.stage.convolved.data(), matrix_.data(), count,
                                                     channels, channels, out + first * channels);
            });
        if (statistics_too_) {
            statistics_.set(image, out, room.statistics);
        }
    }
    void ask_for_row(std::size_t image, std::size_t row) const override {
        rows_.ask_for_row(image, row);
        outputs_.ask_of_image(image, shape_.out_height(), 1, row);
    }

    void finish(double epsilon) const {
        if (statistics_too_) {
            statistics_.finish(epsilon, stage_.statistics);
        }
    }

  private:
    std::size_t pixels() const { return shape_.out_height() * shape_.out_width(); }

    DepthwiseShape shape_;
    Stage<T> stage_;
    bool statistics_too_;
    StageRows<T> rows_;
    RowsAhead<T> outputs_;
    Aligned<T> matrix_;
    ImageStatistics<T> statistics_;
};

// What a thread works in, backward.
template <class T>
struct BackwardRoom {
    StageRoom<T> stage;
    Aligned<T> passed, of_convolved;
    depthwise::GradientRows<T> gradients;
    Aligned<T> added, multiplied;
    Aligned<T> ends, more, starts;  // two images of outputs, and one of inputs, if there is other work

    BackwardRoom(const Sizes& sizes, std::size_t end, std::size_t start)
        : stage(sizes),
          passed(stage.convolved.size()),
          of_convolved(sizes.shape.out_height() * sizes.in_row()),
          gradients(sizes.shape, sizes.layout(), sizes.rows),
          added(sizes.shape.channels),
          multiplied(sizes.shape.channels),
          ends(end),
          more(end),
          starts(start) {}
};

// The gradient `grad` of what a stage gives, normalised, goes on to its output as `passed` says.
template <class T>
class BackwardStage : public Work<BackwardRoom<T>> {
  public:
    // Writes the gradient of the input as it is read, after its normalisation, to `found`, or adds to what is
    // there; null: it is not wanted, nor are the weights' gradients where these are null. Sums are kept apart
    // for each of so many parts of the batch, of so many images.
    BackwardStage(const DepthwiseShape& shape, const Sizes& sizes, const StageInput<T>& input,
                  const Stage<T>& stage, const T* grad, const PassBack<T>& passed, bool add, T* found,
                  T* grad_depthwise, T* grad_pointwise, std::size_t parts, std::size_t in_part)
        : shape_(shape),
          pixels_(shape.out_height() * shape.out_width()),
          input_(input),
          stage_(stage),
          grad_(grad),
          passed_(passed),
          found_(found),
          grad_depthwise_(grad_depthwise),
          grad_pointwise_(grad_pointwise),
          in_part_(in_part),
          at_once_(sizes.rows_at_once()),
          rows_(shape, sizes, input, stage),
          gradients_(shape, {shape, sizes.reach}, stage.depthwise, add, found),
          grads_{grad, shape.images * shape.out_height(), sizes.in_row()},
          outputs_{stage.out, grads_.count, sizes.in_row()},
          found_rows_{found, shape.images * shape.height, shape.width * shape.channels},
          depthwise_sums_(grad_depthwise == nullptr ? 0 : parts * gradients_.sum_size()),
          pointwise_sums_(grad_pointwise == nullptr ? 0 : parts * shape.channels * shape.channels),
          sums_(is_normalized() ? parts * shape.channels : 0),
          products_(sums_.size()) {}

    void run(BackwardRoom<T>& room, std::size_t image,
             const typename Work<BackwardRoom<T>>::Ahead& ahead) override {
        const std::size_t channels = shape_.channels, begin = image * pixels_ * channels;
        const std::size_t part = image / in_part_;
        rows_.run(
            room.stage, image, [&](std::size_t row) { ahead.in_this(row); },
            [&](std::size_t first, std::size_t count) {
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
            for (std::size_t next = row; next < end; ++next) {
                ahead.in_next(next);
            }
            gradients_(room.gradients, room.stage.images, room.of_convolved.data(), image, row, end, sums,
                       [&](std::size_t h) {
                           if (is_normalized()) {
                               add_up(room, part, image, h);
                           }
                       });
        }
    }
    void ask_for_row(std::size_t image, std::size_t row) const override {
        rows_.ask_for_row(image, row);
        grads_.ask_of_image(image, shape_.out_height(), 1, row);
        outputs_.ask_of_image(image, shape_.out_height(), 1, row);
        if (found_ != nullptr) {
            found_rows_.ask_of_image(image, shape_.height, shape_.stride, row);
        }
    }

    // The weights' gradients.
    void finish() const {
        if (grad_depthwise_ != nullptr) {
            gradients_.finish(depthwise_sums_, grad_depthwise_);
        }
        if (grad_pointwise_ != nullptr) {
            pointwise_passes::finish(pointwise_sums_, shape_.channels * shape_.channels, grad_pointwise_);
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
    void add_up(BackwardRoom<T>& room, std::size_t part, std::size_t image, std::size_t h) {
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
    std::size_t in_part_, at_once_;
    StageRows<T> rows_;
    depthwise::Gradients<T> gradients_;
    RowsAhead<const T> grads_, outputs_;
    RowsAhead<T> found_rows_;
    Aligned<T> depthwise_sums_, pointwise_sums_;
    std::vector<double> sums_, products_;
};

}  // namespace nasx::mixed_op
