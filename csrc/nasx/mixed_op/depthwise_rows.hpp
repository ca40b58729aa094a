// What the depthwise convolution and its gradients share: how rows and weights lie while they are worked on.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "nasx/mixed_op/blocks.hpp"
#include "nasx/mixed_op/depthwise.hpp"
#include "nasx/mixed_op/rows.hpp"
#include "nasx/simd/depthwise.hpp"
#include "nasx/simd/level.hpp"

namespace nasx::mixed_op::depthwise {

using simd::KernelRow;
using simd::Taps;

inline constexpr std::size_t widest_kernel = 5;

template <class T>
const simd::DepthwiseLoops<T>& loops() {
    return simd::loops_of<T>(NASX_AT_WIDE_LEVEL(depthwise));
}

// Throws std::invalid_argument for a kernel, stride or dilation that there are no loops for.
void check(const DepthwiseShape& shape);

// How rows lie while they are worked on: the columns that are equal modulo the stride side by side, zeros
// before and after them, of as many columns as kernels reach. A tap then reads, for all outputs of a row,
// pixels side by side.
class Layout {
  public:
    // `reach` is that of this kernel, or a longer one of another that reads the same rows.
    Layout(const DepthwiseShape& shape, std::size_t reach)
        : shape_(shape), reach_(reach), segment_((shape.out_width() + 2 * reach_) * shape.channels) {}
    explicit Layout(const DepthwiseShape& shape) : Layout(shape, reach_of(shape)) {}

    static std::size_t reach_of(const DepthwiseShape& shape) {
        return (shape.padding() + shape.stride - 1) / shape.stride;
    }

    // Numbers of a row of images, and of a row of gradients, which has no columns to part.
    std::size_t image_size() const { return shape_.stride * segment_; }
    std::size_t grad_size() const { return segment_; }
    // Columns that are `phase` modulo the stride.
    std::size_t columns(std::size_t phase) const {
        return (shape_.width + shape_.stride - 1 - phase) / shape_.stride;
    }
    // Where they begin in a row.
    std::size_t begin(std::size_t phase) const { return phase * segment_ + reach_ * shape_.channels; }
    // Where the pixel that weight `k` is multiplied by for output 0 is.
    std::size_t tap(std::size_t k) const {
        const std::size_t column = k * shape_.dilation + reach_ * shape_.stride - shape_.padding();
        return column % shape_.stride * segment_ + column / shape_.stride * shape_.channels;
    }
    // Rows that a kernel reaches over, for one output row or for several.
    std::size_t rows() const { return (shape_.kernel - 1) * shape_.dilation + 1; }
    std::size_t rows_for(std::size_t out_rows) const { return rows() + (out_rows - 1) * shape_.stride; }
    // Output rows that are worked on at once where this saves something: few enough for the first cache.
    static constexpr std::size_t most_rows_at_once = 8;
    std::size_t rows_at_once() const {
        const std::size_t numbers = std::max<std::size_t>(1, shape_.out_width() * shape_.channels);
        return std::clamp<std::size_t>(2048 / numbers, 1, most_rows_at_once);
    }

  private:
    DepthwiseShape shape_;
    std::size_t reach_, segment_;
};

// The weights of a row of a kernel that outputs need, in the order in which they are used.
struct Used {
    Taps taps;
    std::array<std::size_t, widest_kernel> columns;

    std::size_t count() const { return taps.first + taps.second; }
};

// At stride 2 and dilation 1, every other weight meets columns of the same segment.
inline Used used_forward(const DepthwiseShape& shape) {
    Used used{{0, shape.stride == 1 ? shape.dilation : 1, 0}, {}};
    const std::size_t step = shape.stride > shape.dilation ? 2 : 1;
    for (std::size_t begin = 0; begin < step; ++begin) {
        for (std::size_t m = begin; m < shape.kernel; m += step) {
            used.columns[used.count()] = m;
            ++(begin == 0 ? used.taps.first : used.taps.second);
        }
    }
    return used;
}

// The weights `used` (kernel, used, period): those of one place in the kernel side by side, repeated.
template <class T>
Aligned<T> side_by_side(const DepthwiseShape& shape, const Used& used, const T* weights) {
    const std::size_t period = period_of(shape.channels), places = shape.kernel * shape.kernel;
    Aligned<T> out(shape.kernel * used.count() * period);
    for (std::size_t k = 0; k < shape.kernel; ++k) {
        for (std::size_t u = 0; u < used.count(); ++u) {
            const T* const from = weights + k * shape.kernel + used.columns[u];
            for (std::size_t i = 0; i < period; ++i) {
                out[(k * used.count() + u) * period + i] = from[i % shape.channels * places];
            }
        }
    }
    return out;
}

// What numbers are made of when they are read: (x - mean) * scale, with means and scales for each channel, of
// which there is a multiple of 8. Null means: they are read as they are.
template <class T>
struct Normal {
    const T* means = nullptr;
    const T* scales = nullptr;

    // Row `number` of images, normalised into `room` (width, channels) if it is to be.
    const T* row(const DepthwiseShape& shape, const T* x, std::size_t number, T* room) const {
        const std::size_t n = shape.width * shape.channels;
        if (means == nullptr) {
            return x + number * n;
        }
        norm_loops<T>().normalize(x + number * n, means, scales, shape.channels, n, room);
        return room;
    }
    // Numbers of that room.
    std::size_t room(const DepthwiseShape& shape) const {
        return means == nullptr ? 0 : shape.width * shape.channels;
    }
};

// Images that are read row by row, rectified, of which a thread keeps the last.
template <class T>
class RectifiedRows {
  public:
    // So many are kept, at most all of an image.
    RectifiedRows(const DepthwiseShape& shape, const Layout& layout, std::size_t rows)
        : shape_(shape),
          layout_(layout),
          kept_(layout.image_size(),
                std::clamp<std::size_t>(rows, 1, std::max<std::size_t>(1, shape.height))) {}

    // Which images are read from now on: those that were read before are kept if these are the same.
    void read(const T* x, const Normal<T>& normal) {
        if (x != x_ || normal.means != normal_.means) {
            x_ = x;
            normal_ = normal;
            room_.resize(normal.room(shape_));
            kept_.forget();
        }
    }

    // Row h of an image.
    const T* operator()(std::size_t image, std::size_t h) {
        T* const slot = kept_.slot(h);
        const std::size_t number = image * shape_.height + h;
        if (kept_.lacks(h, number)) {
            const T* const row = normal_.row(shape_, x_, number, room_.data());
            for (std::size_t phase = 0; phase < std::min(shape_.stride, shape_.width); ++phase) {
                loops<T>().rectify(row + phase * shape_.channels, layout_.columns(phase), shape_.channels,
                                   shape_.stride, slot + layout_.begin(phase));
            }
        }
        return slot;
    }

  private:
    DepthwiseShape shape_;
    Layout layout_;
    const T* x_ = nullptr;
    Normal<T> normal_;
    LastRows<T> kept_;
    Aligned<T> room_;
};

// The row of an image that row k of a kernel meets for an output row: whether there is one, and its number.
inline bool row_of_kernel(const DepthwiseShape& shape, std::size_t out_row, std::size_t k, std::size_t& row) {
    row = out_row * shape.stride + k * shape.dilation - shape.padding();  // before the image: a huge number
    return row < shape.height;
}

// The output that weight k, of one direction, has to do with input i: whether there is one, and its number
// plus `added`, which keeps it from being negative.
inline bool meets(const DepthwiseShape& shape, std::size_t i, std::size_t k, std::size_t added,
                  std::size_t& output) {
    const std::size_t distance = i + shape.padding() + added * shape.stride - k * shape.dilation;
    output = distance / shape.stride;
    return distance % shape.stride == 0;
}

}  // namespace nasx::mixed_op::depthwise
