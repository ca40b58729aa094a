#include "nasx/cholesky.hpp"

#include <algorithm>
#include <memory>

#include "nasx/parallel.hpp"
#include "nasx/simd/level.hpp"

namespace nasx {
namespace {

using simd::tile_columns;
using simd::tile_rows;

// Up to this order one kernel does.
constexpr std::size_t smallest = 24;
// Threads are not worth their while for fewer products.
constexpr std::size_t products_per_piece = 2'000'000;

// A block fills the first cache and a panel the second; small matrices have small blocks.
std::size_t block_of(std::size_t order) {
    return order > 240 ? 96 : smallest;
}

void clear(double* at, std::size_t rows, std::size_t columns, std::size_t stride) {
    for (std::size_t i = 0; i < rows; ++i) {
        std::fill_n(at + i * stride, columns, 0.0);
    }
}

// Room for numbers that are written before they are read.
std::unique_ptr<double[]> room(std::size_t numbers) {
    return std::make_unique_for_overwrite<double[]>(numbers);
}

}  // namespace

const simd::GaussianKernels& gaussian_kernels() {
    return NASX_AT_LEVEL(gaussian);
}

void pack(const double* from, std::size_t line_stride, std::size_t step_stride, std::size_t lines,
          std::size_t k, std::size_t width, double* out) {
    const std::size_t pieces = lines / width;
    const std::size_t grain = products_per_piece / 16 / (width * k + 1) + 1;
    parallel_for(0, pieces, grain, [&](std::size_t begin, std::size_t end) {
        for (std::size_t piece = begin; piece < end; ++piece) {
            gaussian_kernels().pack(from + piece * width * line_stride, line_stride, step_stride, k, width,
                                    out + piece * width * k);
        }
    });
}

void update(const Update& how, const double* a, const double* b, double* c, std::size_t stride) {
    const auto& kernels = gaussian_kernels();
    constexpr std::size_t together = 4 * tile_columns;  // rows for which a tile of b stays in the first cache
    const std::size_t groups = (how.rows + together - 1) / together;
    const std::size_t grain = products_per_piece / (together * how.columns * how.steps + 1) + 1;
    parallel_for(0, groups, grain, [&](std::size_t begin, std::size_t end) {
        for (std::size_t group = begin; group < end; ++group) {
            // Of a lower triangle the long rows come first, so that threads end together.
            const std::size_t first = (how.lower ? groups - 1 - group : group) * together;
            const std::size_t last = std::min(first + together, how.rows);
            const std::size_t columns = how.lower ? std::min(how.columns, last) : how.columns;
            for (std::size_t j = 0; j < columns; j += tile_columns) {
                const std::size_t steps_b = how.b_lower ? std::min(how.steps, j + tile_columns) : how.steps;
                for (std::size_t i = how.lower ? std::max(first, j) : first; i < last; i += tile_rows) {
                    const std::size_t steps = how.a_lower ? std::min(steps_b, i + tile_rows) : steps_b;
                    kernels.add_product(steps, a + i * how.steps, b + j * how.steps, how.factor,
                                        c + i * stride + j, stride);
                }
            }
        }
    });
}

bool factor(Square a) {
    if (a.order <= smallest) {
        return a.order == 0 || gaussian_kernels().factor(a.data, a.stride, a.order);
    }
    const std::size_t block = block_of(a.order);
    const auto inverse = room(block * block), packed_inverse = room(block * block);
    const auto by_rows = room(a.order * block), by_columns = room(a.order * block);
    for (std::size_t k = 0; k < a.order; k += block) {
        const std::size_t b = std::min(block, a.order - k), next = k + b, rest = a.order - next;
        if (!factor(a.part(k, b))) {
            return false;
        }
        if (rest == 0) {
            break;
        }
        // The panel below is multiplied by the inverse instead of solved: products are what runs fast.
        invert_factor(a.part(k, b), {inverse.get(), b, b});
        pack(inverse.get(), b, 1, b, b, tile_columns, packed_inverse.get());
        double* const panel = a.row(next) + k;
        pack(panel, a.stride, 1, rest, b, tile_rows, by_rows.get());
        clear(panel, rest, b, a.stride);
        update({.rows = rest, .columns = b, .steps = b, .b_lower = true}, by_rows.get(), packed_inverse.get(),
               panel, a.stride);
        pack(panel, a.stride, 1, rest, b, tile_rows, by_rows.get());
        pack(panel, a.stride, 1, rest, b, tile_columns, by_columns.get());
        update({.rows = rest, .columns = rest, .steps = b, .factor = -1, .lower = true}, by_rows.get(),
               by_columns.get(), a.row(next) + next, a.stride);
    }
    return true;
}

void invert_factor(Square l, Square inverse) {
    if (l.order == 0) {
        return;
    }
    if (l.order <= smallest) {
        gaussian_kernels().invert(l.data, l.stride, l.order, inverse.data, inverse.stride);
        return;
    }
    const std::size_t block = block_of(l.order);
    const auto corner = room(block * block), packed_corner = room(block * block);
    const auto by_rows = room(l.order * block), by_columns = room(l.order * block);
    clear(inverse.data, l.order, l.order, inverse.stride);
    for (std::size_t k = 0; k < l.order; k += block) {
        const std::size_t b = std::min(block, l.order - k), next = k + b, rest = l.order - next;
        const Square mine{corner.get(), b, b};
        invert_factor(l.part(k, b), mine);
        double* const rows = inverse.row(k);  // of what was subtracted so far
        if (k > 0) {
            pack(mine.data, b, 1, b, b, tile_rows, packed_corner.get());
            pack(rows, 1, inverse.stride, k, b, tile_columns, by_columns.get());
            clear(rows, b, k, inverse.stride);
            update({.rows = b, .columns = k, .steps = b, .a_lower = true}, packed_corner.get(),
                   by_columns.get(), rows, inverse.stride);
        }
        for (std::size_t i = 0; i < b; ++i) {
            std::copy_n(mine.row(i), b, rows + i * inverse.stride + k);
        }
        if (rest > 0) {
            pack(l.row(next) + k, l.stride, 1, rest, b, tile_rows, by_rows.get());
            pack(rows, 1, inverse.stride, next, b, tile_columns, by_columns.get());
            update({.rows = rest, .columns = next, .steps = b, .factor = -1}, by_rows.get(), by_columns.get(),
                   inverse.row(next), inverse.stride);
        }
    }
}

void gram(Square w, Square out) {
    const std::size_t block = block_of(w.order);
    const auto by_rows = room(w.order * block), by_columns = room(w.order * block);
    for (std::size_t i = 0; i < out.order; ++i) {
        std::fill_n(out.row(i), padded(i + 1), 0.0);
    }
    for (std::size_t k = 0; k < w.order; k += block) {
        const std::size_t b = std::min(block, w.order - k), next = k + b;
        pack(w.row(k), 1, w.stride, next, b, tile_rows, by_rows.get());
        pack(w.row(k), 1, w.stride, next, b, tile_columns, by_columns.get());
        update({.rows = next, .columns = next, .steps = b, .lower = true}, by_rows.get(), by_columns.get(),
               out.data, out.stride);
    }
}

void solve_lower(Square l, std::span<double> x) {
    const auto dot = gaussian_kernels().dot;
    for (std::size_t i = 0; i < l.order; ++i) {
        x[i] = (x[i] - dot(l.row(i), x.data(), i)) / l(i, i);
    }
}

void solve_upper(Square l, std::span<double> x) {
    const auto add_scaled = gaussian_kernels().add_scaled;
    for (std::size_t i = l.order; i-- > 0;) {
        x[i] /= l(i, i);
        add_scaled(-x[i], l.row(i), x.data(), i);
    }
}

}  // namespace nasx
