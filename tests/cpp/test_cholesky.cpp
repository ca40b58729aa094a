#include <doctest/doctest.h>

#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "nasx/cholesky.hpp"
#include "nasx/parallel.hpp"
#include "nasx/rng.hpp"

using namespace nasx;

namespace {

struct Dense {
    std::size_t n;
    std::vector<double> values;

    explicit Dense(std::size_t order) : n(order), values(order * order, 0.0) {}
    double& operator()(std::size_t i, std::size_t j) { return values[i * n + j]; }
    Square view() { return {values.data(), n, n}; }
};

Dense positive_definite(std::size_t n) {
    Stream stream(n, Purpose::sample, 0, 0);
    Dense a(n), product(n);
    for (double& x : a.values) {
        x = stream.uniform() - 0.5;
    }
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j < n; ++j) {
            for (std::size_t k = 0; k < n; ++k) {
                product(i, j) += a(i, k) * a(j, k);
            }
        }
        product(i, i) += 1;
    }
    return product;
}

}  // namespace

TEST_CASE("factor, inverse and gram matrix of orders below and above a block") {
    for (const std::size_t n : {12u, 24u, 36u, 96u, 108u, 252u, 300u}) {
        CAPTURE(n);
        const Dense a = positive_definite(n);
        Dense l = a, w(n), inverse(n);
        CHECK(factor(l.view()));
        invert_factor(l.view(), w.view());
        gram(w.view(), inverse.view());
        double worst = 0, worst_identity = 0;
        for (std::size_t i = 0; i < n; ++i) {
            for (std::size_t j = 0; j <= i; ++j) {
                double sum = 0, identity = 0;
                for (std::size_t k = 0; k <= j; ++k) {
                    sum += l(i, k) * l(j, k);
                }
                for (std::size_t k = 0; k < n; ++k) {
                    identity += a.values[i * n + k] * inverse(std::max(k, j), std::min(k, j));
                }
                worst = std::fmax(worst, std::fabs(sum - a.values[i * n + j]));
                worst_identity = std::fmax(worst_identity, std::fabs(identity - (i == j)));
            }
        }
        CHECK(worst < 1e-11 * static_cast<double>(n));
        CHECK(worst_identity < 1e-9);
        for (std::size_t i = 0; i < n; ++i) {
            for (std::size_t j = i + 1; j < n; ++j) {
                CHECK(w(i, j) == 0);
            }
        }
        std::vector<double> x(n), y(n, 0.0);
        for (std::size_t i = 0; i < n; ++i) {
            x[i] = static_cast<double>(i % 7) - 3;
            for (std::size_t j = 0; j < n; ++j) {
                y[i] += a.values[i * n + j] * (static_cast<double>(j % 7) - 3);
            }
        }
        solve_lower(l.view(), y);
        solve_upper(l.view(), y);
        for (std::size_t i = 0; i < n; ++i) {
            CHECK(y[i] == doctest::Approx(x[i]).epsilon(1e-9));
        }
    }
}

TEST_CASE("packing, factors and inverses of one tile or two, at every level") {
    // That of the level in use is AVX2's, if the machine has it.
    for (const simd::GaussianKernels* const kernels : {&simd::baseline_gaussian, &gaussian_kernels()}) {
        const std::size_t stride = 31;
        Dense numbers(stride);
        std::iota(numbers.values.begin(), numbers.values.end(), 1.0);
        for (const std::size_t width : {simd::tile_rows, simd::tile_columns}) {
            for (const std::size_t k : {0u, 1u, 4u, 7u, 19u}) {
                for (const auto& [line, step] : {std::pair{stride, std::size_t{1}},
                                                 {std::size_t{1}, stride},
                                                 {std::size_t{2}, std::size_t{3}}}) {
                    std::vector<double> packed(width * k + 1, -1.0);
                    kernels->pack(numbers.values.data(), line, step, k, width, packed.data());
                    for (std::size_t at = 0; at < width * k; ++at) {
                        CHECK(packed[at] == numbers.values[at % width * line + at / width * step]);
                    }
                    CHECK(packed.back() == -1);
                }
            }
        }
        for (const std::size_t n : {simd::tile_columns, 2 * simd::tile_columns}) {
            Dense a(stride), inverse(stride);
            const Dense wanted = positive_definite(n);
            for (std::size_t i = 0; i < stride; ++i) {
                for (std::size_t j = 0; j < stride; ++j) {
                    a(i, j) = i < n && j <= i ? wanted.values[i * n + j] : 99;  // nobody looks there
                }
            }
            inverse = a;
            CHECK(kernels->factor(a.values.data(), stride, n));
            kernels->invert(a.values.data(), stride, n, inverse.values.data(), stride);
            for (std::size_t i = 0; i < stride; ++i) {
                for (std::size_t j = 0; j < stride; ++j) {
                    if (i >= n || j >= n) {
                        CHECK(a(i, j) == 99);
                        CHECK(inverse(i, j) == 99);
                    } else if (j > i) {
                        CHECK(a(i, j) == 99);
                        CHECK(inverse(i, j) == 0);
                    } else {
                        double product = 0, identity = 0;
                        for (std::size_t k = 0; k <= j; ++k) {
                            product += a(i, k) * a(j, k);
                        }
                        for (std::size_t k = j; k <= i; ++k) {
                            identity += a(i, k) * inverse(k, j);
                        }
                        CHECK(product == doctest::Approx(wanted.values[i * n + j]).epsilon(1e-12));
                        CHECK(std::fabs(identity - (i == j)) < 1e-12);
                    }
                }
            }
            a(n - 1, n - 1) = std::nan("");
            CHECK_FALSE(kernels->factor(a.values.data(), stride, n));
        }
    }
}

TEST_CASE("nothing has a factor") {
    CHECK(factor({}));
    invert_factor({}, {});
    gram({}, {});
}

TEST_CASE("threads change nothing") {
    const std::size_t n = 492;
    const Dense a = positive_definite(n);
    std::vector<Dense> found;
    const std::size_t before = get_num_threads();
    for (const std::size_t threads : {1u, 3u}) {
        set_num_threads(threads);
        Dense l = a, w(n), inverse(n);
        CHECK(factor(l.view()));
        invert_factor(l.view(), w.view());
        gram(w.view(), inverse.view());
        found.insert(found.end(), {l, w, inverse});
    }
    set_num_threads(before);
    for (std::size_t k = 0; k < 3; ++k) {
        CHECK(found[k].values == found[k + 3].values);
    }
}

TEST_CASE("what is not positive definite is told") {
    for (const std::size_t n : {12u, 108u, 300u}) {
        Dense a = positive_definite(n);
        a(n - 3, n - 3) = -1;
        CHECK_FALSE(factor(a.view()));
        Dense nothing(n);
        CHECK_FALSE(factor(nothing.view()));
    }
}
