#include "nasx/mixed_op/pooling.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "nasx/mixed_op/rows.hpp"
#include "nasx/simd/level.hpp"
#include "nasx/simd/pooling.hpp"

namespace nasx::mixed_op {
namespace {

using simd::PoolingRow;
using simd::Word;

template <class T>
const simd::PoolingLoops<T>& loops() {
    return simd::loops_of<T>(NASX_AT_WIDE_LEVEL(pooling));
}

// Rows [begin, end) of an image.
struct Rows {
    std::size_t begin, end;

    std::size_t count() const { return end - begin; }
};

// Those that the windows of an output row reach.
Rows rows_of_windows(const PoolingShape& shape, std::size_t out_row) {
    const std::size_t middle = out_row * shape.stride;
    return {middle == 0 ? 0 : middle - 1, std::min(middle + 2, shape.height)};
}

// Those output rows whose windows reach a row.
Rows windows_of_row(const PoolingShape& shape, std::size_t row) {
    return {row == 0 ? 0 : (row + shape.stride - 2) / shape.stride,
            std::min((row + 1) / shape.stride + 1, shape.out_height())};
}

PoolingRow row_of(const PoolingShape& shape) {
    return {shape.width, shape.channels, shape.stride, shape.out_width()};
}

// Rows of images, and of outputs.
template <class T>
RowsAhead<T> rows_in(const PoolingShape& shape, T* x) {
    return {x, shape.images * shape.height, shape.width * shape.channels};
}
template <class T>
RowsAhead<T> rows_out(const PoolingShape& shape, T* out) {
    return {out, shape.images * shape.out_height(), shape.out_width() * shape.channels};
}

void check(const PoolingShape& shape) {
    if (shape.stride != 1 && shape.stride != 2) {
        throw std::invalid_argument("stride must be 1 or 2; got " + std::to_string(shape.stride));
    }
}

}  // namespace

template <class T>
void max_pool_3x3(const PoolingShape& shape, const T* x, T* out, std::int8_t* places) {
    check(shape);
    struct Kept {
        LastRows<T> largest;
        LastRows<Word<T>> columns;
    };
    const PoolingRow row = row_of(shape);
    const std::size_t from = shape.width * shape.channels, to = row.out_width * shape.channels;
    const auto begin = [&] { return Kept{LastRows<T>(to, 3), LastRows<Word<T>>(to, 3)}; };
    for_rows(shape.images, shape.out_height(), to, begin,
             [&](Kept& kept, std::size_t image, std::size_t out_row, std::size_t number) {
                 const Rows window = rows_of_windows(shape, out_row);
                 const T* rows[3];
                 const Word<T>* columns[3];
                 for (std::size_t h = window.begin; h < window.end; ++h) {
                     const std::size_t in_row = image * shape.height + h;
                     if (kept.largest.lacks(h, in_row)) {
                         loops<T>().max_in_row(row, x + in_row * from, kept.largest.slot(h),
                                               kept.columns.slot(h));
                     }
                     rows[h - window.begin] = kept.largest.slot(h);
                     columns[h - window.begin] = kept.columns.slot(h);
                 }
                 loops<T>().max_over_rows(rows, columns, window.count(), out_row == 0 ? 1 : 0, to,
                                          out + number * to, places + number * to);
             });
}

template <class T>
void max_pool_3x3_backward(const PoolingShape& shape, const T* grad, const std::int8_t* places, T* grad_x) {
    check(shape);
    struct Nothing {};
    const PoolingRow row = row_of(shape);
    const std::size_t from = row.out_width * shape.channels, to = shape.width * shape.channels;
    const auto next = rows_out(shape, grad);
    const auto next_places = rows_out(shape, places);
    const auto next_x = rows_in(shape, grad_x);
    for_rows(
        shape.images, shape.height, to, [] { return Nothing{}; },
        [&](Nothing, std::size_t image, std::size_t h, std::size_t number) {
            if (h % shape.stride == 0) {
                const std::size_t out_row = image * shape.out_height() + h / shape.stride + 1;
                next.ask_ahead(out_row, 1);
                next_places.ask_ahead(out_row, 1);
            }
            next_x.ask_ahead(number, 1);
            const Rows windows = windows_of_row(shape, h);
            const T* rows[3];
            const std::int8_t* row_places[3];
            int kernel_rows[3];
            for (std::size_t o = windows.begin; o < windows.end; ++o) {
                const std::size_t offset = (image * shape.out_height() + o) * from;
                rows[o - windows.begin] = grad + offset;
                row_places[o - windows.begin] = places + offset;
                kernel_rows[o - windows.begin] = static_cast<int>(h + 1 - shape.stride * o);
            }
            loops<T>().max_backward(row, rows, row_places, kernel_rows, windows.count(),
                                    grad_x + number * to);
        });
}

template <class T>
void avg_pool_3x3(const PoolingShape& shape, const T* x, T* out) {
    check(shape);
    const PoolingRow row = row_of(shape);
    const std::size_t from = shape.width * shape.channels, to = row.out_width * shape.channels;
    const auto next = rows_in(shape, x);
    for_rows(
        shape.images, shape.out_height(), to, [&] { return LastRows<T>(to, 3); },
        [&](LastRows<T>& sums, std::size_t image, std::size_t out_row, std::size_t number) {
            next.ask_ahead(image * shape.height + out_row * shape.stride + 1, shape.stride);
            const Rows window = rows_of_windows(shape, out_row);
            const T* rows[3];
            for (std::size_t h = window.begin; h < window.end; ++h) {
                const std::size_t in_row = image * shape.height + h;
                if (sums.lacks(h, in_row)) {
                    loops<T>().sum_in_row(row, x + in_row * from, sums.slot(h));
                }
                rows[h - window.begin] = sums.slot(h);
            }
            loops<T>().mean_over_rows(row, rows, window.count(), out + number * to);
        });
}

template <class T>
void avg_pool_3x3_backward(const PoolingShape& shape, const T* grad, T* grad_x) {
    check(shape);
    struct Kept {
        LastRows<T> spread;
        Aligned<T> shares;
    };
    const PoolingRow row = row_of(shape);
    const std::size_t from = row.out_width * shape.channels, to = shape.width * shape.channels;
    const auto begin = [&] { return Kept{LastRows<T>(to, 3), Aligned<T>(from)}; };
    const auto next = rows_out(shape, grad);
    const auto next_x = rows_in(shape, grad_x);
    for_rows(shape.images, shape.height, to, begin,
             [&](Kept& kept, std::size_t image, std::size_t h, std::size_t number) {
                 if (h % shape.stride == 0) {
                     next.ask_ahead(image * shape.out_height() + h / shape.stride + 1, 1);
                 }
                 next_x.ask_ahead(number, 1);
                 const Rows windows = windows_of_row(shape, h);
                 const T* rows[3];
                 for (std::size_t o = windows.begin; o < windows.end; ++o) {
                     const std::size_t out_row = image * shape.out_height() + o;
                     if (kept.spread.lacks(o, out_row)) {
                         loops<T>().spread_in_row(row, grad + out_row * from,
                                                  rows_of_windows(shape, o).count(), kept.shares.data(),
                                                  kept.spread.slot(o));
                     }
                     rows[o - windows.begin] = kept.spread.slot(o);
                 }
                 loops<T>().sum_over_rows(rows, windows.count(), to, grad_x + number * to);
             });
}

template void max_pool_3x3(const PoolingShape&, const float*, float*, std::int8_t*);
template void max_pool_3x3(const PoolingShape&, const double*, double*, std::int8_t*);
template void max_pool_3x3_backward(const PoolingShape&, const float*, const std::int8_t*, float*);
template void max_pool_3x3_backward(const PoolingShape&, const double*, const std::int8_t*, double*);
template void avg_pool_3x3(const PoolingShape&, const float*, float*);
template void avg_pool_3x3(const PoolingShape&, const double*, double*);
template void avg_pool_3x3_backward(const PoolingShape&, const float*, float*);
template void avg_pool_3x3_backward(const PoolingShape&, const double*, double*);

}  // namespace nasx::mixed_op
