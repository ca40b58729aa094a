#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "nasx/mixed_op/depthwise.hpp"
#include "nasx/mixed_op/depthwise_rows.hpp"
#include "nasx/mixed_op/rows.hpp"
#include "nasx/parallel.hpp"

namespace nasx::mixed_op {

using namespace depthwise;

namespace {

// Parts of the batch whose sums for the weights' gradient are kept apart: they do not depend on the threads.
constexpr std::size_t most_parts = 32;

// Images' gradients, row after row.
template <class T>
class ImagesGradient {
  public:
    ImagesGradient(const DepthwiseShape& shape, const T* grad, const T* x, const T* weights, T* grad_x)
        : shape_(shape), layout_(shape), grad_(grad), x_(x), grad_x_(grad_x) {
        for (std::size_t phase = 0; phase < shape.stride; ++phase) {
            phases_.push_back(used_by(phase));
            weights_.push_back(side_by_side(shape, phases_.back().used, weights));
        }
    }

    // What a thread keeps.
    struct Kept {
        LastRows<T> rows;
        std::vector<T> sums;
    };
    Kept begin() const {
        return {LastRows<T>(layout_.grad_size(), layout_.rows()),
                std::vector<T>(shape_.out_width() * shape_.channels)};
    }

    // Row h of an image.
    void operator()(Kept& kept, std::size_t image, std::size_t h) const {
        const std::size_t number = image * shape_.height + h, period = period_of(shape_.channels);
        const std::size_t numbers = shape_.out_width() * shape_.channels;
        std::array<const T*, widest_kernel> met{};
        for (std::size_t k = 0; k < shape_.kernel; ++k) {
            std::size_t row;
            if (!meets(shape_, h, k, added(), row) || row < added() || row - added() >= shape_.out_height()) {
                continue;
            }
            row -= added();
            const std::size_t out_row = image * shape_.out_height() + row;
            T* const slot = kept.rows.slot(row);
            if (kept.rows.lacks(row, out_row)) {
                std::copy_n(grad_ + out_row * numbers, numbers, slot + layout_.begin(0));
            }
            met[k] = slot;
        }
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
            const std::size_t to = (number * shape_.width + phase) * shape_.channels;
            const auto convolve = [&](const T* where, T* out) {
                loops<T>().convolve(used.taps, rows.data(), count, shape_.channels, period,
                                    columns * shape_.channels, where, out);
            };
            if (shape_.stride == 1) {
                convolve(x_ + to, grad_x_ + to);
            } else {
                convolve(nullptr, kept.sums.data());
                loops<T>().pass_back(x_ + to, kept.sums.data(), columns, shape_.channels, shape_.stride,
                                     grad_x_ + to);
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
    const T* grad_;
    const T* x_;
    T* grad_x_;
    std::vector<Phase> phases_;
    std::vector<std::vector<T>> weights_;
};

// The weights' gradients, added up over rows of outputs.
template <class T>
class WeightsGradient {
  public:
    WeightsGradient(const DepthwiseShape& shape, const T* grad, const T* x)
        : shape_(shape), layout_(shape), used_(used_forward(shape)), grad_(grad), x_(x) {}

    // Numbers of such a sum: (kernel, kernel in the order of use, period).
    std::size_t size() const { return shape_.kernel * shape_.kernel * period_of(shape_.channels); }

    // What a thread keeps.
    LastRows<T> begin() const { return {layout_.image_size(), layout_.rows()}; }

    // Adds what a row of outputs says to sums (size).
    void operator()(LastRows<T>& kept, std::size_t image, std::size_t out_row, T* sums) const {
        const std::size_t numbers = shape_.out_width() * shape_.channels, period = period_of(shape_.channels);
        const T* const grad = grad_ + (image * shape_.out_height() + out_row) * numbers;
        const auto [first, apart, second] = used_.taps;
        for_kernel_rows(shape_, out_row, [&](std::size_t k, std::size_t h) {
            const T* const row = rectified(shape_, layout_, x_, image, h, kept);
            T* const to = sums + k * shape_.kernel * period;
            loops<T>().multiply(grad, row + layout_.tap(used_.columns[0]), first, apart, shape_.channels,
                                period, numbers, to);
            if (second != 0) {
                loops<T>().multiply(grad, row + layout_.tap(used_.columns[first]), second, 1, shape_.channels,
                                    period, numbers, to + first * period);
            }
        });
    }

    // Adds up such sums of `parts` of the batch.
    void finish(const std::vector<T>& sums, std::size_t parts, T* grad_weights) const {
        const std::size_t period = period_of(shape_.channels), kernel = shape_.kernel;
        for (std::size_t channel = 0; channel < shape_.channels; ++channel) {
            for (std::size_t place = 0; place < kernel * kernel; ++place) {
                double sum = 0;
                for (std::size_t part = 0; part < parts; ++part) {
                    for (std::size_t i = channel; i < period; i += shape_.channels) {
                        sum += static_cast<double>(sums[part * size() + place * period + i]);
                    }
                }
                const std::size_t column = used_.columns[place % kernel];
                grad_weights[channel * kernel * kernel + place / kernel * kernel + column] =
                    static_cast<T>(sum);
            }
        }
    }

  private:
    DepthwiseShape shape_;
    Layout layout_;
    Used used_;
    const T* grad_;
    const T* x_;
};

}  // namespace

// Both gradients of a part of the batch are computed together, while its rows are in the cache.
template <class T>
void relu_depthwise_backward(const DepthwiseShape& shape, const T* grad, const T* x, const T* weights,
                             T* grad_x, T* grad_weights) {
    check(shape);
    const std::size_t numbers = shape.out_width() * shape.channels, rows = shape.images * shape.out_height();
    if (numbers == 0 || rows == 0) {
        if (grad_weights != nullptr) {
            std::fill_n(grad_weights, shape.channels * shape.kernel * shape.kernel, T{0});
        }
        return;
    }
    const ImagesGradient<T> of_images(shape, grad, x, weights, grad_x);
    const WeightsGradient<T> of_weights(shape, grad, x);
    const std::size_t in_part = std::max(rows_at_once(numbers), (rows + most_parts - 1) / most_parts);
    const std::size_t parts = (rows + in_part - 1) / in_part;
    std::vector<T> sums(grad_weights == nullptr ? 0 : parts * of_weights.size());
    parallel_for(0, parts, 1, [&](std::size_t first, std::size_t last) {
        auto gradients = of_images.begin();
        auto images = of_weights.begin();
        std::size_t end;
        for (std::size_t i = first * in_part; i < std::min(rows, last * in_part); i = end) {
            // The rest of an image or of a part.
            const std::size_t image = i / shape.out_height(), part = i / in_part;
            end = std::min({(image + 1) * shape.out_height(), (part + 1) * in_part, rows});
            const std::size_t begin_row = i - image * shape.out_height();
            const std::size_t end_row = end - image * shape.out_height();
            for (std::size_t row = begin_row; grad_weights != nullptr && row < end_row; ++row) {
                of_weights(images, image, row, sums.data() + part * of_weights.size());
            }
            const std::size_t last_row = std::min(end_row * shape.stride, shape.height);
            for (std::size_t h = begin_row * shape.stride; grad_x != nullptr && h < last_row; ++h) {
                of_images(gradients, image, h);
            }
        }
    });
    if (grad_weights != nullptr) {
        of_weights.finish(sums, parts, grad_weights);
    }
}

template void relu_depthwise_backward(const DepthwiseShape&, const float*, const float*, const float*, float*,
                                      float*);
template void relu_depthwise_backward(const DepthwiseShape&, const double*, const double*, const double*,
                                      double*, double*);

}  // namespace nasx::mixed_op
