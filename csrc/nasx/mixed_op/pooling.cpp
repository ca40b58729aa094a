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

// Of images, or of what a pooling makes of them.
template <class T>
struct Rows {
    T* x;
    std::size_t images, rows, numbers;  // rows of an image, and numbers of a row

    T* of(std::size_t image, std::size_t row) const { return x + (image * rows + row) * numbers; }
    // Where a band may write a row: there, or past the image's end to a spare one.
    T* of(std::size_t image, std::size_t row, T* spare) const { return row < rows ? of(image, row) : spare; }
    // Asks for `count` rows from this one on, as far as there are any.
    void ask(std::size_t image, std::size_t row, std::size_t count) const {
        RowsAhead<T>{x, images * rows, numbers}.ask(image * rows + row, count);
    }
    std::size_t bands() const { return (rows + pooling_band - 1) / pooling_band; }
};
template <class T>
Rows<T> rows_in(const PoolingShape& shape, T* x) {
    return {x, shape.images, shape.height, shape.width * shape.channels};
}
template <class T>
Rows<T> rows_out(const PoolingShape& shape, T* out) {
    return {out, shape.images, shape.out_height(), shape.out_width() * shape.channels};
}

// Calls function(kept, image, row) for the first row of every band; begin() makes what a thread keeps.
template <class T, class Begin, class Function>
void for_bands(const Rows<T>& rows, Begin begin, Function function) {
    if (rows.numbers == 0) {
        return;
    }
    const std::size_t bands = rows.bands();
    parallel_for(0, rows.images * bands, rows_at_once(pooling_band * rows.numbers),
                 [&](std::size_t first, std::size_t last) {
                     auto kept = begin();
                     for (std::size_t i = first; i < last; ++i) {
                         function(kept, i / bands, i % bands * pooling_band);
                     }
                 });
}

// Which row of the input is the number-th of those that a band of outputs reaches, or would be: less one.
std::size_t reached(const PoolingShape& shape, std::size_t out_row, std::size_t number) {
    return out_row * shape.stride + number;
}

// Which row of the output is the number-th of those that reach a band of inputs, or would be: less one.
std::size_t reaching(const PoolingShape& shape, std::size_t row, std::size_t number) {
    return row / shape.stride + number + shape.stride - 1;
}

// Rows of the windows of an output row; 1 if there is none.
std::size_t height_of(const PoolingShape& shape, std::size_t out_row) {
    const std::size_t middle = out_row * shape.stride;
    return middle < shape.height ? std::min(middle + 2, shape.height) - (middle == 0 ? 0 : middle - 1) : 1;
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
    const std::size_t reach = simd::pooling_inputs(shape.stride);
    const auto begin = [&] { return Spare{Aligned<T>(to.numbers), Aligned<std::int8_t>(to.numbers)}; };
    for_bands(to, begin, [&](Spare& spare, std::size_t image, std::size_t out_row) {
        from.ask(image, reached(shape, out_row + pooling_band, 1), pooling_band * shape.stride);
        const T* rows[most_inputs];
        int numbers[most_inputs];
        for (std::size_t r = 0; r < reach; ++r) {
            const std::size_t after = std::clamp<std::size_t>(reached(shape, out_row, r), 1, shape.height);
            rows[r] = from.of(image, after - 1);
            numbers[r] = static_cast<int>(after) - static_cast<int>(out_row * shape.stride);
        }
        T* outputs[pooling_band];
        std::int8_t* of_outputs[pooling_band];
        for (std::size_t o = 0; o < pooling_band; ++o) {
            outputs[o] = to.of(image, out_row + o, spare.row.data());
            of_outputs[o] = where.of(image, out_row + o, spare.places.data());
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
    const std::size_t reach = simd::pooling_outputs(shape.stride);
    const auto begin = [&] { return Spare{Aligned<T>(to.numbers), Aligned<std::int8_t>(from.numbers, -1)}; };
    for_bands(to, begin, [&](Spare& spare, std::size_t image, std::size_t row) {
        from.ask(image, reaching(shape, row + pooling_band, 1), pooling_band / shape.stride);
        where.ask(image, reaching(shape, row + pooling_band, 1), pooling_band / shape.stride);
        to.ask(image, row + pooling_band, pooling_band);
        const T* rows[most_outputs];
        const std::int8_t* of_rows[most_outputs];
        for (std::size_t q = 0; q < reach; ++q) {
            const std::size_t after = reaching(shape, row, q);
            const bool there = after > 0 && after <= from.rows;
            rows[q] = there ? from.of(image, after - 1) : grad;
            of_rows[q] = there ? where.of(image, after - 1) : spare.nowhere.data();
        }
        T* found[pooling_band];
        for (std::size_t r = 0; r < pooling_band; ++r) {
            found[r] = to.of(image, row + r, spare.row.data());
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
    const std::size_t reach = simd::pooling_inputs(shape.stride);
    const auto begin = [&] { return Spare{Aligned<T>(to.numbers), Aligned<T>(from.numbers)}; };
    for_bands(to, begin, [&](Spare& spare, std::size_t image, std::size_t out_row) {
        from.ask(image, reached(shape, out_row + pooling_band, 1), pooling_band * shape.stride);
        const T* rows[most_inputs];
        for (std::size_t r = 0; r < reach; ++r) {
            const std::size_t after = reached(shape, out_row, r);
            rows[r] = after > 0 && after <= from.rows ? from.of(image, after - 1) : spare.zeros.data();
        }
        T* outputs[pooling_band];
        std::size_t heights[pooling_band];
        for (std::size_t o = 0; o < pooling_band; ++o) {
            outputs[o] = to.of(image, out_row + o, spare.row.data());
            heights[o] = height_of(shape, out_row + o);
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
    const std::size_t reach = simd::pooling_outputs(shape.stride);
    const auto begin = [&] { return Spare{Aligned<T>(to.numbers), Aligned<T>(from.numbers)}; };
    for_bands(to, begin, [&](Spare& spare, std::size_t image, std::size_t row) {
        from.ask(image, reaching(shape, row + pooling_band, 1), pooling_band / shape.stride);
        to.ask(image, row + pooling_band, pooling_band);
        const T* rows[most_outputs];
        std::size_t heights[most_outputs];
        for (std::size_t q = 0; q < reach; ++q) {
            const std::size_t after = reaching(shape, row, q);
            const bool there = after > 0 && after <= from.rows;
            rows[q] = there ? from.of(image, after - 1) : spare.zeros.data();
            heights[q] = there ? height_of(shape, after - 1) : 1;
        }
        T* found[pooling_band];
        for (std::size_t r = 0; r < pooling_band; ++r) {
            found[r] = to.of(image, row + r, spare.row.data());
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
