#include "nasx/mixed_op/pooling.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "nasx/mixed_op/rows.hpp"
#include "nasx/simd/level.hpp"
#include "nasx/simd/pooling.hpp"

namespace nasx::mixed_op {
namespace {

using simd::pooling_band;

template <class T>
const simd::PoolingLoops<T>& loops() {
    return simd::loops_of<T>(NASX_AT_WIDE_LEVEL(pooling));
}

constexpr std::size_t most_inputs = simd::pooling_inputs(2), most_outputs = simd::pooling_outputs(1);

void check(const PoolingShape& shape) {
    if (shape.stride != 1 && shape.stride != 2) {
        throw std::invalid_argument("stride must be 1 or 2; got " + std::to_string(shape.stride));
    }
}

simd::PoolingRow row_of(const PoolingShape& shape) {
    return {shape.width, shape.channels, shape.stride, shape.out_width()};
}

// Of images, or of what a pooling makes of them. Rows are counted from the image's first; there may be none
// of a number.
template <class T>
struct ImageRows {
    T* x;
    std::size_t images, rows, numbers;  // rows of an image, and numbers of a row

    bool has(std::ptrdiff_t row) const { return row >= 0 && static_cast<std::size_t>(row) < rows; }
    T* of(std::size_t image, std::ptrdiff_t row) const {
        return x + (image * rows + static_cast<std::size_t>(row)) * numbers;
    }
    // The row, or `other` if there is none.
    T* of(std::size_t image, std::ptrdiff_t row, T* other) const { return has(row) ? of(image, row) : other; }
    // Asks for `count` rows from this one on, as far as there are any.
    void ask(std::size_t image, std::ptrdiff_t row, std::size_t count) const {
        RowsAhead<T>{x, images * rows, numbers}.ask(image * rows + static_cast<std::size_t>(row), count);
    }
};
template <class T>
ImageRows<T> rows_in(const PoolingShape& shape, T* x) {
    return {x, shape.images, shape.height, shape.width * shape.channels};
}
template <class T>
ImageRows<T> rows_out(const PoolingShape& shape, T* out) {
    return {out, shape.images, shape.out_height(), shape.out_width() * shape.channels};
}

// Calls function(kept, image, row) for the first row of every band; begin() makes what is kept from band to
// band of a piece.
template <class T, class Begin, class Function>
void for_bands(const ImageRows<T>& rows, Begin begin, Function function) {
    if (rows.numbers == 0) {
        return;
    }
    const std::size_t bands = (rows.rows + pooling_band - 1) / pooling_band;
    parallel_for(0, rows.images * bands, rows_at_once(pooling_band * rows.numbers),
                 [&](std::size_t first, std::size_t last) {
                     auto kept = begin();
                     for (std::size_t i = first; i < last; ++i) {
                         function(kept, i / bands, static_cast<std::ptrdiff_t>(i % bands * pooling_band));
                     }
                 });
}

// The first row of the input that the windows of output rows from this one on reach, and the first that those
// of the next band reach beside those of this one.
std::ptrdiff_t first_reached(const PoolingShape& shape, std::ptrdiff_t out_row) {
    return out_row * static_cast<std::ptrdiff_t>(shape.stride) - 1;
}
std::ptrdiff_t next_reached(const PoolingShape& shape, std::ptrdiff_t out_row) {
    return first_reached(shape, out_row) + static_cast<std::ptrdiff_t>(simd::pooling_inputs(shape.stride));
}

// The same of output rows whose windows reach a band of inputs.
std::ptrdiff_t first_reaching(const PoolingShape& shape, std::ptrdiff_t row) {
    return shape.stride == 1 ? row - 1 : row / 2;
}
std::ptrdiff_t next_reaching(const PoolingShape& shape, std::ptrdiff_t row) {
    return first_reaching(shape, row) + static_cast<std::ptrdiff_t>(simd::pooling_outputs(shape.stride));
}

// Rows of the windows of an output row; 1 if there is none.
std::size_t height_of(const PoolingShape& shape, std::ptrdiff_t out_row) {
    const auto height = static_cast<std::ptrdiff_t>(shape.height);
    const std::ptrdiff_t first = first_reached(shape, out_row);
    const std::ptrdiff_t rows = std::min(first + 3, height) - std::max<std::ptrdiff_t>(first, 0);
    return static_cast<std::size_t>(std::max<std::ptrdiff_t>(rows, 1));
}

}  // namespace

template <class T>
void max_pool_3x3(const PoolingShape& shape, const T* x, T* out, std::int8_t* places) {
    check(shape);
    struct Spare {
        Aligned<T> row;
        Aligned<std::int8_t> places;
    };
    const auto from = rows_in(shape, x);
    const auto to = rows_out(shape, out);
    const auto where = rows_out(shape, places);
    const auto reach = static_cast<std::ptrdiff_t>(simd::pooling_inputs(shape.stride));
    const auto last = static_cast<std::ptrdiff_t>(shape.height) - 1;
    const auto begin = [&] { return Spare{Aligned<T>(to.numbers), Aligned<std::int8_t>(to.numbers)}; };
    for_bands(to, begin, [&](Spare& spare, std::size_t image, std::ptrdiff_t out_row) {
        from.ask(image, next_reached(shape, out_row), pooling_band * shape.stride);
        const std::ptrdiff_t first = first_reached(shape, out_row);
        const T* rows[most_inputs];
        int numbers[most_inputs];
        for (std::ptrdiff_t r = 0; r < reach; ++r) {
            const std::ptrdiff_t row = std::clamp<std::ptrdiff_t>(first + r, 0, last);
            rows[r] = from.of(image, row);
            numbers[r] = static_cast<int>(row - first);
        }
        T* outputs[pooling_band];
        std::int8_t* of_outputs[pooling_band];
        for (std::size_t o = 0; o < pooling_band; ++o) {
            const std::ptrdiff_t row = out_row + static_cast<std::ptrdiff_t>(o);
            outputs[o] = to.of(image, row, spare.row.data());
            of_outputs[o] = where.of(image, row, spare.places.data());
        }
        loops<T>().max_rows(row_of(shape), rows, numbers, outputs, of_outputs);
    });
}

template <class T>
void max_pool_3x3_backward(const PoolingShape& shape, const T* grad, const std::int8_t* places, T* grad_x) {
    check(shape);
    struct Spare {
        Aligned<T> row;
        Aligned<std::int8_t> nowhere;
    };
    const auto from = rows_out(shape, grad);
    const auto where = rows_out(shape, places);
    const auto to = rows_in(shape, grad_x);
    const auto reach = static_cast<std::ptrdiff_t>(simd::pooling_outputs(shape.stride));
    const auto begin = [&] { return Spare{Aligned<T>(to.numbers), Aligned<std::int8_t>(from.numbers, -1)}; };
    for_bands(to, begin, [&](Spare& spare, std::size_t image, std::ptrdiff_t row) {
        from.ask(image, next_reaching(shape, row), pooling_band / shape.stride);
        where.ask(image, next_reaching(shape, row), pooling_band / shape.stride);
        to.ask(image, row + static_cast<std::ptrdiff_t>(pooling_band), pooling_band);
        const T* rows[most_outputs];
        const std::int8_t* of_rows[most_outputs];
        for (std::ptrdiff_t q = 0; q < reach; ++q) {
            const std::ptrdiff_t out_row = first_reaching(shape, row) + q;
            rows[q] = from.of(image, out_row, grad);
            of_rows[q] = where.of(image, out_row, spare.nowhere.data());
        }
        T* found[pooling_band];
        for (std::size_t r = 0; r < pooling_band; ++r) {
            found[r] = to.of(image, row + static_cast<std::ptrdiff_t>(r), spare.row.data());
        }
        loops<T>().max_rows_backward(row_of(shape), rows, of_rows, found);
    });
}

template <class T>
void avg_pool_3x3(const PoolingShape& shape, const T* x, T* out) {
    check(shape);
    struct Spare {
        Aligned<T> row, zeros;
    };
    const auto from = rows_in(shape, x);
    const auto to = rows_out(shape, out);
    const auto reach = static_cast<std::ptrdiff_t>(simd::pooling_inputs(shape.stride));
    const auto begin = [&] { return Spare{Aligned<T>(to.numbers), Aligned<T>(from.numbers)}; };
    for_bands(to, begin, [&](Spare& spare, std::size_t image, std::ptrdiff_t out_row) {
        from.ask(image, next_reached(shape, out_row), pooling_band * shape.stride);
        const T* rows[most_inputs];
        for (std::ptrdiff_t r = 0; r < reach; ++r) {
            rows[r] = from.of(image, first_reached(shape, out_row) + r, spare.zeros.data());
        }
        T* outputs[pooling_band];
        std::size_t heights[pooling_band];
        for (std::size_t o = 0; o < pooling_band; ++o) {
            const std::ptrdiff_t row = out_row + static_cast<std::ptrdiff_t>(o);
            outputs[o] = to.of(image, row, spare.row.data());
            heights[o] = height_of(shape, row);
        }
        loops<T>().mean_rows(row_of(shape), rows, heights, outputs);
    });
}

template <class T>
void avg_pool_3x3_backward(const PoolingShape& shape, const T* grad, T* grad_x) {
    check(shape);
    struct Spare {
        Aligned<T> row, zeros;
    };
    const auto from = rows_out(shape, grad);
    const auto to = rows_in(shape, grad_x);
    const auto reach = static_cast<std::ptrdiff_t>(simd::pooling_outputs(shape.stride));
    const auto begin = [&] { return Spare{Aligned<T>(to.numbers), Aligned<T>(from.numbers)}; };
    for_bands(to, begin, [&](Spare& spare, std::size_t image, std::ptrdiff_t row) {
        from.ask(image, next_reaching(shape, row), pooling_band / shape.stride);
        to.ask(image, row + static_cast<std::ptrdiff_t>(pooling_band), pooling_band);
        const T* rows[most_outputs];
        std::size_t heights[most_outputs];
        for (std::ptrdiff_t q = 0; q < reach; ++q) {
            const std::ptrdiff_t out_row = first_reaching(shape, row) + q;
            rows[q] = from.of(image, out_row, spare.zeros.data());
            heights[q] = height_of(shape, out_row);
        }
        T* found[pooling_band];
        for (std::size_t r = 0; r < pooling_band; ++r) {
            found[r] = to.of(image, row + static_cast<std::ptrdiff_t>(r), spare.row.data());
        }
        loops<T>().mean_rows_backward(row_of(shape), rows, heights, found);
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
