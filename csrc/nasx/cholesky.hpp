// Cholesky factors, their inverses and what is made of them, in blocks and without a BLAS.
//
// Matrices are symmetric or lower triangular, in rows, of an order that is a multiple of 12, the width of a
// tile; a smaller one is filled up with the identity. Of a lower triangle the tiles on the diagonal are whole
// squares. All results are the same for every number of threads.
//
// Source: F. G. Van Zee, R. A. van de Geijn, "BLIS: a framework for rapidly instantiating BLAS
// functionality", ACM Transactions on Mathematical Software 41 (2015), for packing.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "nasx/simd/gaussian.hpp"

namespace nasx {

// The kernels of the level in use.
const simd::GaussianKernels& gaussian_kernels();

// The next multiple of the width of a tile.
constexpr std::size_t padded(std::size_t n) {
    return (n + simd::tile_columns - 1) / simd::tile_columns * simd::tile_columns;
}

// A square part of a matrix that somebody else owns.
struct Square {
    double* data = nullptr;
    std::size_t order = 0;
    std::size_t stride = 0;

    double* row(std::size_t i) const { return data + i * stride; }
    double& operator()(std::size_t i, std::size_t j) const { return data[i * stride + j]; }
    Square part(std::size_t first, std::size_t n) const { return {row(first) + first, n, stride}; }
};

// Puts the lower factor L of L L^T in the place of the lower triangle. Numbers above the tiles of the
// diagonal are not touched. Returns false, with `a` spoilt, if a pivot is not positive. n^3 / 3 operations.
bool factor(Square a);

// Writes the inverse of the lower factor, with zeros above its diagonal. n^3 / 3 operations.
void invert_factor(Square l, Square inverse);

// Writes the lower triangle of w^T w for a lower triangular w. n^3 / 3 operations.
void gram(Square w, Square out);

// x = L^-1 x and x = L^-T x. n^2 operations each.
void solve_lower(Square l, std::span<double> x);
void solve_upper(Square l, std::span<double> x);

// Packs `lines` lines, a multiple of `width`, of k numbers each: of so many lines the first numbers, the
// second ones, and so on. Line and step are so many numbers apart.
void pack(const double* from, std::size_t line_stride, std::size_t step_stride, std::size_t lines,
          std::size_t k, std::size_t width, double* out);

// Which products of packed lines `update` adds, and how many steps matter.
struct Update {
    std::size_t rows, columns, steps;
    double factor = 1;
    bool lower = false;    // only tiles that touch the lower triangle
    bool a_lower = false;  // row i of a is zero after step i
    bool b_lower = false;  // row j of b is zero after step j
};

// c += factor * a b^T, of packed a (rows by 4) and b (columns by 12).
void update(const Update& how, const double* a, const double* b, double* c, std::size_t stride);

}  // namespace nasx
