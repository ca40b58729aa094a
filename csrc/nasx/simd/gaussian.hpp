// The hot loops of Gaussian processes, compiled once per CPU level like those of kernels.hpp and by its
// rules.
#pragma once

#include <stddef.h>

namespace nasx::simd {

// Matrices are handled in tiles of 4 x 12 numbers. Of a product a b^T, 4 rows of `a` are packed step by step,
// and so are 12 rows of `b`.
constexpr size_t tile_rows = 4;
constexpr size_t tile_columns = 12;

// The correlation of two genotypes, each given as features: a code for each decision that is compared, then
// two coordinates for each that is ordered.
struct Correlation {
    size_t compared;
    size_t ordered;
    bool matern;            // of the ordered ones: Matern 5/2, else the squared exponential
    bool all_active;        // in rows and columns; then the second coordinates are all 0, and are not read
    const double* factors;  // of compared decisions that differ: exp(-1 / length)
    const double* rates;    // of ordered ones: sqrt(5) / length, or 1 / (sqrt(2) length)
    double scale;           // times everything

    size_t features() const { return compared + 2 * ordered; }
};

struct GaussianKernels {
    // c (4 x 12, `stride` numbers from row to row) += factor * a b^T, of k steps.
    void (*add_product)(size_t k, const double* a, const double* b, double factor, double* c, size_t stride);

    // sums (12) += the sums over the columns of (a b^T)^2.
    void (*add_squares)(size_t k, const double* a, const double* b, double* sums);

    // out (count x 12) = scaled correlations of `count` rows of features, an even number, with 12 columns,
    // for each feature side by side.
    void (*correlate)(const Correlation& how, const double* rows, size_t count, const double* columns,
                      double* out, size_t stride);

    // sums (4 for each decision, to be added up) += the sum over a tile of `weights` (count x 12) times the
    // slope of the correlation's logarithm by the logarithm of the decision's length; for compared decisions
    // without the factor 1 / length.
    void (*add_slopes)(const Correlation& how, const double* rows, size_t count, const double* columns,
                       const double* weights, size_t stride, double* sums);

    // Packs `width` lines, 4 or 12, of k numbers each: of all lines the first numbers, the second ones, and
    // so on. Line and step are so many numbers apart.
    void (*pack)(const double* from, size_t line_stride, size_t step_stride, size_t k, size_t width,
                 double* out);

    // Puts the lower factor of the n x n matrix, n being 12 or 24, in the place of its lower triangle; false,
    // with the triangle spoilt, if a pivot is not positive.
    bool (*factor)(double* a, size_t stride, size_t n);

    // Writes the inverse of a lower factor of that size, with zeros above its diagonal.
    void (*invert)(const double* l, size_t stride, size_t n, double* inverse, size_t inverse_stride);

    double (*dot)(const double* a, const double* b, size_t n);

    // y += factor * x.
    void (*add_scaled)(double factor, const double* x, double* y, size_t n);
};

extern const GaussianKernels baseline_gaussian;
#ifdef NASX_HAS_AVX2
extern const GaussianKernels avx2_gaussian;
#endif

}  // namespace nasx::simd
