#include "nasx/mixed_op/depthwise.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "nasx/cpu.hpp"
#include "nasx/mixed_op/rows.hpp"
#include "nasx/parallel.hpp"
#include "nasx/simd/depthwise.hpp"

namespace nasx::mixed_op {
namespace {

using simd::Tap;

constexpr std::size_t widest_kernel = 5;
// Parts of the batch whose sums for the weights' gradient are kept apart: they do not depend on the threads.
constexpr std::size_t most_parts = 32;

template <class T>
const simd::DepthwiseLoops<T>& loops() {
    const simd::DepthwiseKernels* kernels = &simd::baseline_depthwise;
#ifdef NASX_HAS_AVX2
    if (simd_level() == SimdLevel::avx2) {
        kernels = &simd::avx2_depthwise;
    }
#endif
    if constexpr (std::is_same_v<T, float>) {
        return kernels->singles;
    } else {
        return kernels->doubles;
    }
}

void check(const DepthwiseShape& shape) {
    if (shape.kernel != 3 && shape.kernel != 5) {
        throw std::invalid_argument("kernel must be 3 or 5; got " + std::to_string(shape.kernel));
    }
    if (shape.stride != 1 && shape.stride != 2) {
        throw std::invalid_argument("stride must be 1 or 2; got " + std::to_string(shape.stride));
    }
    if (shape.dilation != 1 && shape.dilation != 2) {
        throw std::invalid_argument("dilation must be 1 or 2; got " + std::to_string(shape.dilation));
    }
}

// How rows lie while they are worked on: the columns that are equal modulo the stride side by side, zeros
// before and after them. A tap then reads, for all outputs of a row, pixels side by side.
class Layout {
  public:
    explicit Layout(const DepthwiseShape& shape)
        : shape_(shape),
          reach_((shape.padding() + shape.stride - 1) / shape.stride),
          segment_((shape.out_width() + 2 * reach_) * shape.channels) {}

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
    // Rows that a kernel reaches over.
    std::size_t rows() const { return (shape_.kernel - 1) * shape_.dilation + 1; }

  private:
    DepthwiseShape shape_;
    std::size_t reach_, segment_;
};

// Weights (kernel * kernel, period): those of one place in the kernel side by side, repeated.
template <class T>
std::vector<T> side_by_side(const DepthwiseShape& shape, const T* weights) {
    const std::size_t period = period_of(shape.channels), places = shape.kernel * shape.kernel;
    std::vector<T> out(places * period);
    for (std::size_t place = 0; place < places; ++place) {
        for (std::size_t i = 0; i < period; ++i) {
            out[place * period + i] = weights[i % shape.channels * places + place];
        }
    }
    return out;
}

// Row h of an image, rectified.
template <class T>
const T* rectified(const DepthwiseShape& shape, const Layout& layout, const T* x, std::size_t image,
                   std::size_t h, LastRows<T>& rows) {
    T* const slot = rows.slot(h);
    const std::size_t number = image * shape.height + h;
    if (rows.lacks(h, number)) {
        for (std::size_t phase = 0; phase < std::min(shape.stride, shape.width); ++phase) {
            loops<T>().rectify(x + (number * shape.width + phase) * shape.channels, layout.columns(phase),
                               shape.channels, shape.stride, slot + layout.begin(phase));
        }
    }
    return slot;
}

// Calls function(k, row) for the rows of an image that the rows of a kernel meet for an output row.
template <class Function>
void for_kernel_rows(const DepthwiseShape& shape, std::size_t out_row, Function function) {
    for (std::size_t k = 0; k < shape.kernel; ++k) {
        const std::size_t row = out_row * shape.stride + k * shape.dilation;  // in the padded image
        if (row >= shape.padding() && row - shape.padding() < shape.height) {
            function(k, row - shape.padding());
        }
    }
}

// The output that weight k, of one direction, has to do with input i: whether there is one, and its number
// plus `added`, which keeps it from being negative.
bool meets(const DepthwiseShape& shape, std::size_t i, std::size_t k, std::size_t added,
           std::size_t& output) {
    const std::size_t distance = i + shape.padding() + added * shape.stride - k * shape.dilation;
    output = distance / shape.stride;
    return distance % shape.stride == 0;
}

template <class T>
void images_gradient(const DepthwiseShape& shape, const T* grad, const T* x, const T* weights, T* grad_x) {
    struct Kept {
        LastRows<T> rows;
        std::vector<T> sums;
    };
    const Layout layout(shape);
    const std::size_t period = period_of(shape.channels), numbers = shape.width * shape.channels;
    const std::size_t from = shape.out_width() * shape.channels;
    const std::vector<T> factors = side_by_side(shape, weights);
    const auto begin = [&] {
        return Kept{LastRows<T>(layout.grad_size(), layout.rows()), std::vector<T>(from)};
    };
    // Enough that no output's number is negative.
    const std::size_t added = shape.padding();
    for_rows(
        shape.images, shape.height, numbers, begin,
        [&](Kept& kept, std::size_t image, std::size_t h, std::size_t number) {
            std::array<const T*, widest_kernel> rows{};
            for (std::size_t k = 0; k < shape.kernel; ++k) {
                std::size_t row;
                if (!meets(shape, h, k, added, row) || row < added || row - added >= shape.out_height()) {
                    continue;
                }
                row -= added;
                const std::size_t out_row = image * shape.out_height() + row;
                T* const slot = kept.rows.slot(row);
                if (kept.rows.lacks(row, out_row)) {
                    std::copy_n(grad + out_row * from, from, slot + layout.begin(0));
                }
                rows[k] = slot;
            }
            for (std::size_t phase = 0; phase < std::min(shape.stride, shape.width); ++phase) {
                std::array<Tap<T>, widest_kernel * widest_kernel> taps;
                std::size_t count = 0;
                for (std::size_t k = 0; k < shape.kernel; ++k) {
                    for (std::size_t m = 0; rows[k] != nullptr && m < shape.kernel; ++m) {
                        std::size_t column;
                        if (meets(shape, phase, m, added, column)) {
                            const std::size_t first =
                                layout.begin(0) + column * shape.channels - added * shape.channels;
                            taps[count++] = {rows[k] + first,
                                             factors.data() + (k * shape.kernel + m) * period};
                        }
                    }
                }
                const std::size_t columns = layout.columns(phase);
                const std::size_t to = (number * shape.width + phase) * shape.channels;
                loops<T>().convolve(taps.data(), count, period, columns * shape.channels, kept.sums.data());
                loops<T>().pass_back(x + to, kept.sums.data(), columns, shape.channels, shape.stride,
                                     grad_x + to);
            }
        });
}

template <class T>
void weights_gradient(const DepthwiseShape& shape, const T* grad, const T* x, T* grad_weights) {
    const Layout layout(shape);
    const std::size_t period = period_of(shape.channels), places = shape.kernel * shape.kernel;
    const std::size_t numbers = shape.out_width() * shape.channels, rows = shape.images * shape.out_height();
    if (numbers == 0 || rows == 0) {
        std::fill_n(grad_weights, shape.channels * places, T{0});
        return;
    }
    const std::size_t in_part = std::max(rows_at_once(numbers), (rows + most_parts - 1) / most_parts);
    const std::size_t parts = (rows + in_part - 1) / in_part;
    std::vector<T> sums(parts * places * period);
    parallel_for(0, parts, 1, [&](std::size_t first, std::size_t last) {
        LastRows<T> kept(layout.image_size(), layout.rows());
        for (std::size_t part = first; part < last; ++part) {
            T* const to = sums.data() + part * places * period;
            for (std::size_t i = part * in_part; i < std::min(rows, (part + 1) * in_part); ++i) {
                for_kernel_rows(shape, i % shape.out_height(), [&](std::size_t k, std::size_t h) {
                    const T* const row = rectified(shape, layout, x, i / shape.out_height(), h, kept);
                    std::array<const T*, widest_kernel> met{};
                    for (std::size_t m = 0; m < shape.kernel; ++m) {
                        met[m] = row + layout.tap(m);
                    }
                    loops<T>().multiply(grad + i * numbers, met.data(), shape.kernel, period, numbers,
                                        to + k * shape.kernel * period);
                });
            }
        }
    });
    for (std::size_t channel = 0; channel < shape.channels; ++channel) {
        for (std::size_t place = 0; place < places; ++place) {
            double sum = 0;
            for (std::size_t part = 0; part < parts; ++part) {
                for (std::size_t i = channel; i < period; i += shape.channels) {
                    sum += static_cast<double>(sums[(part * places + place) * period + i]);
                }
            }
            grad_weights[channel * places + place] = static_cast<T>(sum);
        }
    }
}

}  // namespace

template <class T>
void relu_depthwise(const DepthwiseShape& shape, const T* x, const T* weights, T* out) {
    check(shape);
    const Layout layout(shape);
    const std::size_t period = period_of(shape.channels), numbers = shape.out_width() * shape.channels;
    const std::vector<T> factors = side_by_side(shape, weights);
    for_rows(
        shape.images, shape.out_height(), numbers,
        [&] { return LastRows<T>(layout.image_size(), layout.rows()); },
        [&](LastRows<T>& rows, std::size_t image, std::size_t out_row, std::size_t number) {
            std::array<Tap<T>, widest_kernel * widest_kernel> taps;
            std::size_t count = 0;
            for_kernel_rows(shape, out_row, [&](std::size_t k, std::size_t h) {
                const T* const row = rectified(shape, layout, x, image, h, rows);
                for (std::size_t m = 0; m < shape.kernel; ++m) {
                    taps[count++] = {row + layout.tap(m), factors.data() + (k * shape.kernel + m) * period};
                }
            });
            loops<T>().convolve(taps.data(), count, period, numbers, out + number * numbers);
        });
}

template <class T>
void relu_depthwise_backward(const DepthwiseShape& shape, const T* grad, const T* x, const T* weights,
                             T* grad_x, T* grad_weights) {
    check(shape);
    if (grad_x != nullptr) {
        images_gradient(shape, grad, x, weights, grad_x);
    }
    if (grad_weights != nullptr) {
        weights_gradient(shape, grad, x, grad_weights);
    }
}

template void relu_depthwise(const DepthwiseShape&, const float*, const float*, float*);
template void relu_depthwise(const DepthwiseShape&, const double*, const double*, double*);
template void relu_depthwise_backward(const DepthwiseShape&, const float*, const float*, const float*, float*,
                                      float*);
template void relu_depthwise_backward(const DepthwiseShape&, const double*, const double*, const double*,
                                      double*, double*);

}  // namespace nasx::mixed_op
