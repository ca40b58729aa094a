// The passes of a depthwise convolution over rows of images: its outputs, and its gradients.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "nasx/mixed_op/depthwise.hpp"
#include "nasx/mixed_op/depthwise_rows.hpp"
#include "nasx/mixed_op/rows.hpp"

namespace nasx::mixed_op::depthwise {

// Outputs, row after row.
template <class T>
class Outputs {
  public:
    Outputs(const DepthwiseShape& shape, const Layout& layout, const T* weights)
        : shape_(shape),
          layout_(layout),
          used_(used_forward(shape)),
          factors_(side_by_side(shape, used_, weights)),
          first_(layout_.tap(used_.columns[0])),
          second_(used_.taps.second == 0 ? first_ : layout_.tap(used_.columns[used_.taps.first])) {}

    // A row of outputs of an image.
    void operator()(RectifiedRows<T>& images, std::size_t image, std::size_t out_row, T* out) const {
        const std::size_t period = period_of(shape_.channels), n = shape_.out_width() * shape_.channels;
        std::array<KernelRow<T>, widest_kernel> rows;
        std::size_t count = 0;
        for (std::size_t k = 0; k < shape_.kernel; ++k) {
            std::size_t h;
            if (row_of_kernel(shape_, out_row, k, h)) {
                const T* const row = images(image, h);
                rows[count++] = {row + first_, row + second_, factors_.data() + k * used_.count() * period};
            }
        }
        loops<T>().convolve(used_.taps, rows.data(), count, shape_.channels, period, n, nullptr, false, out);
    }

  private:
    DepthwiseShape shape_;
    Layout layout_;
    Used used_;
    Aligned<T> factors_;
    std::size_t first_, second_;
};

// What a thread keeps for images' gradients: padded rows of the outputs' gradients, and a row of sums.
template <class T>
struct GradientRows {
    LastRows<T> padded;
    Aligned<T> sums;

    // For kernels that reach over at most so many rows.
    GradientRows(const DepthwiseShape& shape, const Layout& layout, std::size_t rows)
        : padded(layout.grad_size(), rows),
          sums(shape.stride == 1 ? 0 : shape.out_width() * shape.channels) {}
};

// Images' gradients, row after row.
template <class T>
class ImagesGradient {
  public:
    // Adds to what is in grad_x if `add`.
    ImagesGradient(const DepthwiseShape& shape, const Layout& layout, const T* weights, bool add, T* grad_x)
        : shape_(shape), layout_(layout), add_(add), grad_x_(grad_x) {
        for (std::size_t phase = 0; phase < shape.stride; ++phase) {
            phases_.push_back(used_by(phase));
            weights_.push_back(side_by_side(shape, phases_.back().used, weights));
        }
    }

    // Row h of an image, which was rectified to `positive`, and whose outputs have the gradient `grad`.
    void operator()(GradientRows<T>& kept, const T* positive, const T* grad, std::size_t image,
                    std::size_t h) const {
        const std::size_t period = period_of(shape_.channels);
        const std::size_t numbers = shape_.out_width() * shape_.channels;
        std::array<const T*, widest_kernel> met{};
        for (std::size_t k = 0; k < shape_.kernel; ++k) {
            std::size_t row;
            if (!meets(shape_, h, k, added(), row) || row < added() || row - added() >= shape_.out_height()) {
                continue;
            }
            row -= added();
            const std::size_t out_row = image * shape_.out_height() + row;
            T* const slot = kept.padded.slot(row);
            if (kept.padded.lacks(row, out_row)) {
                std::copy_n(grad + row * numbers, numbers, slot + layout_.begin(0));
            }
            met[k] = slot;
        }
        T* const out = grad_x_ + (image * shape_.height + h) * shape_.width * shape_.channels;
        for (std::size_t phase = 0; phase < std::min(shape_.stride, shape_.width); ++phase) {
            const auto& [used, first] = phases_[phase];
            std::array<KernelRow<T>, widest_kernel> rows;
            std::size_t count = 0;
            for (std::size_t k = 0; k < shape_.kernel; ++k) {
                if (met[k] != nullptr && used.count() != 0) {
                    rows[count++] = {met[k] + first, nullptr,
                                     weights_[phase].data() + k * used.count() * period};
                }
            }
            const std::size_t columns = layout_.columns(phase);
            const bool spread = shape_.stride > 1;
            loops<T>().convolve(used.taps, rows.data(), count, shape_.channels, period,
                                columns * shape_.channels, positive + layout_.begin(phase), add_ && !spread,
                                spread ? kept.sums.data() : out);
            if (spread) {
                loops<T>().spread(kept.sums.data(), columns, shape_.channels, shape_.stride, add_,
                                  out + phase * shape_.channels);
            }
        }
    }

  private:
    // Weights that columns which are `phase` modulo the stride are multiplied by, and where in a row of
    // gradients the first of them meets the first column.
    struct Phase {
        Used used;
        std::size_t first;
    };

    // Enough that no output's number is negative.
    std::size_t added() const { return shape_.padding(); }

    // The last weight meets the first output.
    Phase used_by(std::size_t phase) const {
        Phase found{{{0, shape_.stride == 1 ? shape_.dilation : 1, 0}, {}}, 0};
        for (std::size_t m = shape_.kernel; m-- > 0;) {
            std::size_t column;
            if (meets(shape_, phase, m, added(), column)) {
                if (found.used.count() == 0) {
                    found.first = layout_.begin(0) + column * shape_.channels - added() * shape_.channels;
                }
                found.used.columns[found.used.taps.first++] = m;
            }
        }
        return found;
    }

    DepthwiseShape shape_;
    Layout layout_;
    bool add_;
    T* grad_x_;
    std::vector<Phase> phases_;
    std::vector<Aligned<T>> weights_;
};

// The weights' gradients, added up over rows of outputs.
template <class T>
class WeightsGradient {
  public:
    WeightsGradient(const DepthwiseShape& shape, const Layout& layout)
        : shape_(shape), layout_(layout), used_(used_forward(shape)) {}

    // Numbers of such a sum: (kernel, kernel in the order of use, period).
    std::size_t size() const { return shape_.kernel * shape_.kernel * period_of(shape_.channels); }

    // Adds what output rows [begin, end), at most Layout::most_rows_at_once, say to sums (size); the image's
    // outputs have the gradient `grad`.
    void operator()(RectifiedRows<T>& images, const T* grad, std::size_t image, std::size_t begin,
                    std::size_t end, T* sums) const {
        const std::size_t numbers = shape_.out_width() * shape_.channels, period = period_of(shape_.channels);
        const auto [first, apart, second] = used_.taps;
        for (std::size_t k = 0; k < shape_.kernel; ++k) {
            std::array<const T*, Layout::most_rows_at_once> grads, at_first, at_second;
            std::size_t count = 0;
            for (std::size_t row = begin; row < end; ++row) {
                std::size_t h;
                if (row_of_kernel(shape_, row, k, h)) {
                    const T* const x = images(image, h);
                    grads[count] = grad + row * numbers;
                    at_first[count] = x + layout_.tap(used_.columns[0]);
                    at_second[count++] = second == 0 ? x : x + layout_.tap(used_.columns[first]);
                }
            }
            T* const to = sums + k * shape_.kernel * period;
            loops<T>().multiply(grads.data(), at_first.data(), count, first, apart, shape_.channels, period,
                                numbers, to);
            if (second != 0) {
                loops<T>().multiply(grads.data(), at_second.data(), count, second, 1, shape_.channels, period,
                                    numbers, to + first * period);
            }
        }
    }

    // Adds up such sums of parts of the batch.
    void finish(const Aligned<T>& sums, T* grad_weights) const {
        const std::size_t period = period_of(shape_.channels), places = shape_.kernel * shape_.kernel;
        const std::vector<double> all = add_parts(sums, size());
        for (std::size_t place = 0; place < places; ++place) {
            const std::size_t column = used_.columns[place % shape_.kernel];
            const std::size_t at = place / shape_.kernel * shape_.kernel + column;
            for (std::size_t channel = 0; channel < shape_.channels; ++channel) {
                double sum = 0;
                for (std::size_t i = channel; i < period; i += shape_.channels) {
                    sum += all[place * period + i];
                }
                grad_weights[channel * places + at] = static_cast<T>(sum);
            }
        }
    }

  private:
    DepthwiseShape shape_;
    Layout layout_;
    Used used_;
};

// Both gradients, a few rows after the others, while these are in the cache.
template <class T>
class Gradients {
  public:
    // Writes that of images to grad_x, or adds it to what is there; null: it is not wanted.
    Gradients(const DepthwiseShape& shape, const Layout& layout, const T* weights, bool add, T* grad_x)
        : shape_(shape),
          layout_(layout),
          wanted_(grad_x != nullptr),
          of_images_(shape, layout, weights, add, grad_x),
          of_weights_(shape, layout) {}

    // Numbers of a sum for the weights' gradient.
    std::size_t sum_size() const { return of_weights_.size(); }

    // Output rows [begin, end) of an image, and the rows of the input from which they begin: its outputs have
    // the gradient `grad`. Adds to sums, if these are not null, and calls done(h) after each row h.
    template <class Done>
    void operator()(GradientRows<T>& kept, RectifiedRows<T>& images, const T* grad, std::size_t image,
                    std::size_t begin, std::size_t end, T* sums, Done done) const {
        const std::size_t at_once = layout_.rows_at_once();
        for (std::size_t first = begin; first < end; first += at_once) {
            const std::size_t last = std::min(first + at_once, end);
            if (sums != nullptr) {
                of_weights_(images, grad, image, first, last, sums);
            }
            const std::size_t last_row = std::min(last * shape_.stride, shape_.height);
            for (std::size_t h = first * shape_.stride; wanted_ && h < last_row; ++h) {
                of_images_(kept, images(image, h), grad, image, h);
                done(h);
            }
        }
    }

    void finish(const Aligned<T>& sums, T* grad_weights) const { of_weights_.finish(sums, grad_weights); }

  private:
    DepthwiseShape shape_;
    Layout layout_;
    bool wanted_;
    ImagesGradient<T> of_images_;
    WeightsGradient<T> of_weights_;
};

}  // namespace nasx::mixed_op::depthwise
