#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "helpers.hpp"
#include "nasx/mixed_op/batch_norm.hpp"
#include "nasx/mixed_op/channel_parts.hpp"
#include "nasx/mixed_op/depthwise.hpp"
#include "nasx/mixed_op/normalized_sum.hpp"
#include "nasx/mixed_op/pointwise.hpp"
#include "nasx/mixed_op/pooling.hpp"
#include "nasx/mixed_op/weighted_sum.hpp"
#include "nasx/parallel.hpp"
#include "nasx/rng.hpp"

using namespace nasx;
using mixed_op::DepthwiseShape;
using mixed_op::PointwiseShape;
using mixed_op::PoolingShape;

namespace {

// Numbers in [-1, 1), or whole ones in [-levels, levels) when that is not 0 (many ties).
template <class T>
std::vector<T> random_numbers(std::size_t n, std::uint64_t seed, std::uint32_t levels = 0) {
    std::vector<T> out(n);
    Stream stream(seed, Purpose::sample, 0, 0);
    for (T& x : out) {
        x = levels == 0 ? static_cast<T>(2 * stream.uniform() - 1)
                        : static_cast<T>(stream.below(2 * levels)) - static_cast<T>(levels);
    }
    return out;
}

template <class T>
std::vector<const T*> addresses(const std::vector<std::vector<T>>& arrays) {
    std::vector<const T*> out;
    for (const auto& array : arrays) {
        out.push_back(array.data());
    }
    return out;
}

template <class T>
bool near(T a, double b, double scale) {
    return std::abs(static_cast<double>(a) - b) <= 64 * std::numeric_limits<T>::epsilon() * scale;
}

// NaN is the same as NaN.
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](T x, T y) {
        return std::bit_cast<Bits>(x) == std::bit_cast<Bits>(y) || (std::isnan(x) && std::isnan(y));
    });
}

// Calls function(output, input, place) for every number of every window, in order.
template <class Function>
void for_members(const PoolingShape& s, Function function) {
    const auto inside = [](std::size_t middle, std::size_t k, std::size_t size) {
        return middle + k >= 1 && middle + k - 1 < size;
    };
    std::size_t output = 0;
    for (std::size_t n = 0; n < s.images; ++n) {
        for (std::size_t i = 0; i < s.out_height(); ++i) {
            for (std::size_t j = 0; j < s.out_width(); ++j) {
                for (std::size_t c = 0; c < s.channels; ++c, ++output) {
                    for (std::size_t place = 0; place < 9; ++place) {
                        const std::size_t y = i * s.stride, x = j * s.stride;
                        if (inside(y, place / 3, s.height) && inside(x, place % 3, s.width)) {
                            const std::size_t row = n * s.height + y + place / 3 - 1;
                            const std::size_t pixel = row * s.width + x + place % 3 - 1;
                            function(output, pixel * s.channels + c, place);
                        }
                    }
                }
            }
        }
    }
}

template <class T>
struct Pooled {
    std::vector<T> out;
    std::vector<std::int8_t> places;
};

template <class T>
Pooled<T> max_by_definition(const PoolingShape& s, const std::vector<T>& x, std::size_t outputs) {
    Pooled<T> pooled{std::vector<T>(outputs), std::vector<std::int8_t>(outputs, -1)};
    for_members(s, [&](std::size_t o, std::size_t i, std::size_t place) {
        if (pooled.places[o] < 0 || x[i] > pooled.out[o] || std::isnan(x[i])) {
            pooled.out[o] = x[i];
            pooled.places[o] = static_cast<std::int8_t>(place);
        }
    });
    return pooled;
}

template <class T>
void check_pooling(const PoolingShape& s, std::vector<T> x) {
    const std::size_t outputs = s.images * s.out_height() * s.out_width() * s.channels;
    const auto grad = random_numbers<T>(outputs, 5);

    const auto expected = max_by_definition(s, x, outputs);
    Pooled<T> found{std::vector<T>(outputs), std::vector<std::int8_t>(outputs)};
    mixed_op::max_pool_3x3(s, x.data(), found.out.data(), found.places.data());
    CHECK(same_bits(found.out, expected.out));
    CHECK(found.places == expected.places);
    std::vector<T> passed(x.size()), grad_x(x.size(), T{7});
    for_members(s, [&](std::size_t o, std::size_t i, std::size_t place) {
        passed[i] += static_cast<std::size_t>(expected.places[o]) == place ? grad[o] : T{0};
    });
    mixed_op::max_pool_3x3_backward(s, grad.data(), found.places.data(), grad_x.data());
    CHECK(same_bits(grad_x, passed));

    std::vector<double> sums(outputs), counts(outputs), shares(x.size());
    for_members(s, [&](std::size_t o, std::size_t i, std::size_t) {
        sums[o] += static_cast<double>(x[i]);
        counts[o] += 1;
    });
    mixed_op::avg_pool_3x3(s, x.data(), found.out.data());
    bool right = true;
    for (std::size_t o = 0; o < outputs; ++o) {
        right = right && (std::isnan(sums[o]) ? std::isnan(found.out[o])
                                              : near(found.out[o], sums[o] / counts[o], 4.0));
    }
    CHECK(right);
    for_members(s, [&](std::size_t o, std::size_t i, std::size_t) {
        shares[i] += static_cast<double>(grad[o]) / counts[o];
    });
    mixed_op::avg_pool_3x3_backward(s, grad.data(), grad_x.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
        right = right && near(grad_x[i], shares[i], 1.0);
    }
    CHECK(right);
}

// Calls function(output, input, weight) for every product, in the order in which they are added up.
template <class Function>
void for_products(const DepthwiseShape& s, Function function) {
    std::size_t output = 0;
    for (std::size_t n = 0; n < s.images; ++n) {
        for (std::size_t i = 0; i < s.out_height(); ++i) {
            for (std::size_t j = 0; j < s.out_width(); ++j) {
                for (std::size_t c = 0; c < s.channels; ++c, ++output) {
                    for (std::size_t place = 0; place < s.kernel * s.kernel; ++place) {
                        const std::size_t y = i * s.stride + place / s.kernel * s.dilation;
                        const std::size_t x = j * s.stride + place % s.kernel * s.dilation;
                        const std::size_t edge = s.padding();
                        if (y >= edge && y - edge < s.height && x >= edge && x - edge < s.width) {
                            const std::size_t pixel = (n * s.height + y - edge) * s.width + x - edge;
                            function(output, pixel * s.channels + c, c * s.kernel * s.kernel + place);
                        }
                    }
                }
            }
        }
    }
}

template <class T>
void check_depthwise(const DepthwiseShape& s) {
    const std::size_t n = s.images * s.height * s.width * s.channels;
    const std::size_t outputs = s.images * s.out_height() * s.out_width() * s.channels;
    const std::size_t weights_size = s.channels * s.kernel * s.kernel;
    auto x = random_numbers<T>(n, 1);
    x[n / 2] = std::numeric_limits<T>::quiet_NaN();  // passes, and so does its gradient
    if (n > 2) {
        x[n - 1] = 0;
    }
    const auto weights = random_numbers<T>(weights_size, 2), grad = random_numbers<T>(outputs, 3);
    const auto rectified = [&](std::size_t i) { return x[i] <= 0 ? 0.0 : static_cast<double>(x[i]); };
    std::vector<double> out(outputs), grad_x(n), grad_weights(weights_size);
    for_products(s, [&](std::size_t o, std::size_t i, std::size_t w) {
        out[o] += static_cast<double>(weights[w]) * rectified(i);
        grad_x[i] += x[i] <= 0 ? 0.0 : static_cast<double>(grad[o]) * static_cast<double>(weights[w]);
        grad_weights[w] += static_cast<double>(grad[o]) * rectified(i);
    });
    const auto agrees = [](const std::vector<T>& found, const std::vector<double>& expected, double scale) {
        return std::equal(found.begin(), found.end(), expected.begin(), expected.end(),
                          [&](T a, double b) { return std::isnan(b) ? std::isnan(a) : near(a, b, scale); });
    };
    std::vector<T> found(outputs, T{7}), found_x(n, T{7}), found_weights(weights_size, T{7});
    mixed_op::relu_depthwise(s, x.data(), weights.data(), found.data());
    CHECK(agrees(found, out, 4.0));
    mixed_op::relu_depthwise_backward(s, grad.data(), x.data(), weights.data(), found_x.data(),
                                      found_weights.data());
    CHECK(agrees(found_x, grad_x, 4.0));
    CHECK(agrees(found_weights, grad_weights, std::sqrt(static_cast<double>(outputs) + 1)));

    // One without the other is the same.
    std::vector<T> alone_x(n, T{7}), alone_weights(weights_size, T{7});
    T* const unwanted = nullptr;
    mixed_op::relu_depthwise_backward(s, grad.data(), x.data(), weights.data(), alone_x.data(), unwanted);
    mixed_op::relu_depthwise_backward(s, grad.data(), x.data(), weights.data(), unwanted,
                                      alone_weights.data());
    CHECK(same_bits(alone_x, found_x));
    CHECK(same_bits(alone_weights, found_weights));
}

template <class T>
void check_pointwise(const PointwiseShape& s) {
    const std::size_t n = s.pixels * s.in_channels, outputs = s.pixels * s.out_channels;
    const std::size_t weights_size = s.in_channels * s.out_channels;
    const auto x = random_numbers<T>(n, 1), weights = random_numbers<T>(weights_size, 2);
    const auto grad = random_numbers<T>(outputs, 3);
    std::vector<double> out(outputs), grad_x(n), grad_weights(weights_size);
    for (std::size_t p = 0; p < s.pixels; ++p) {
        for (std::size_t o = 0; o < s.out_channels; ++o) {
            for (std::size_t c = 0; c < s.in_channels; ++c) {
                const auto value = static_cast<double>(x[p * s.in_channels + c]);
                const auto weight = static_cast<double>(weights[o * s.in_channels + c]);
                const auto passed = static_cast<double>(grad[p * s.out_channels + o]);
                out[p * s.out_channels + o] += weight * value;
                grad_x[p * s.in_channels + c] += weight * passed;
                grad_weights[o * s.in_channels + c] += passed * value;
            }
        }
    }
    const auto agrees = [](const std::vector<T>& found, const std::vector<double>& expected, double scale) {
        return std::equal(found.begin(), found.end(), expected.begin(), expected.end(),
                          [&](T a, double b) { return near(a, b, scale); });
    };
    std::vector<T> found(outputs, T{7}), found_x(n, T{7}), found_weights(weights_size, T{7});
    mixed_op::pointwise(s, x.data(), weights.data(), found.data());
    CHECK(agrees(found, out, 4.0));
    mixed_op::pointwise_backward(s, grad.data(), x.data(), weights.data(), found_x.data(),
                                 found_weights.data());
    CHECK(agrees(found_x, grad_x, 4.0));
    CHECK(agrees(found_weights, grad_weights, std::sqrt(static_cast<double>(s.pixels) + 1)));

    // One without the other is the same.
    std::vector<T> alone_x(n, T{7}), alone_weights(weights_size, T{7});
    T* const unwanted = nullptr;
    mixed_op::pointwise_backward(s, grad.data(), x.data(), weights.data(), alone_x.data(), unwanted);
    mixed_op::pointwise_backward(s, grad.data(), x.data(), weights.data(), unwanted, alone_weights.data());
    CHECK(same_bits(alone_x, found_x));
    CHECK(same_bits(alone_weights, found_weights));
}

}  // namespace

TEST_CASE_TEMPLATE("weighted sums and their gradients are those of the definition", T, float, double) {
    for (const std::size_t threads : {1, 3}) {
        set_num_threads(threads);
        for (const std::size_t count : {1, 2, 8}) {
            for (const std::size_t n : {0, 1, 7, 31, 32, 33, 511, 513, 2048, 5000, 40000}) {
                CAPTURE(count);
                CAPTURE(n);
                std::vector<std::vector<T>> terms;
                for (std::size_t k = 0; k < count; ++k) {
                    terms.push_back(random_numbers<T>(n, 10 + k));
                }
                const auto arrays = addresses(terms);
                const auto weights = random_numbers<T>(count, 1), grad = random_numbers<T>(n, 2);
                std::vector<T> out(n), expected(n);
                for (std::size_t k = 0; k < count; ++k) {
                    for (std::size_t i = 0; i < n; ++i) {
                        expected[i] =
                            k == 0 ? weights[k] * terms[k][i] : expected[i] + weights[k] * terms[k][i];
                    }
                }
                mixed_op::weighted_sum<T>(arrays, weights, n, out.data());
                CHECK(same_bits(out, expected));

                std::vector<std::vector<T>> scaled(count, std::vector<T>(n, T{7}));
                std::vector<T*> places;
                for (auto& array : scaled) {
                    places.push_back(array.data());
                }
                places.back() = nullptr;  // not wanted
                std::vector<T> products(count);
                mixed_op::weighted_sum_backward<T>(grad.data(), arrays, weights, n, places, products);
                for (std::size_t k = 0; k < count; ++k) {
                    double product = 0;
                    bool right = true;
                    for (std::size_t i = 0; i < n; ++i) {
                        product += static_cast<double>(grad[i]) * static_cast<double>(terms[k][i]);
                        right = right && scaled[k][i] == (k + 1 == count ? T{7} : weights[k] * grad[i]);
                    }
                    CHECK(right);
                    CHECK(near(products[k], product, std::sqrt(static_cast<double>(n) + 1)));
                }

                // One without the other is the same.
                std::vector<T> alone(count);
                mixed_op::weighted_sum_backward<T>(grad.data(), arrays, weights, n, {}, alone);
                CHECK(same_bits(alone, products));
                const std::vector<const T*> unread(count);
                std::vector<std::vector<T>> again(count, std::vector<T>(n, T{7}));
                for (std::size_t k = 0; k + 1 < count; ++k) {
                    places[k] = again[k].data();
                }
                mixed_op::weighted_sum_backward<T>(grad.data(), unread, weights, n, places, {});
                CHECK(again == scaled);
            }
        }
    }
}

TEST_CASE_TEMPLATE("gradients that are written past the caches are the same", T, float, double) {
    const std::size_t n = (std::size_t{14} << 20) / sizeof(T) + 37;  // more than the least in one array
    const auto grad = random_numbers<T>(n, 1), term = random_numbers<T>(n, 2);
    const std::vector<const T*> arrays{term.data()};
    const std::vector<T> weights{T(0.3)};
    std::vector<T> scaled(n + 32 / sizeof(T)), expected(n);
    std::transform(grad.begin(), grad.end(), expected.begin(), [&](T g) { return weights[0] * g; });
    for (const std::size_t threads : {1, 2}) {
        set_num_threads(threads);
        for (std::size_t from = 0; from < 32 / sizeof(T); ++from) {  // one of these is a multiple of 32 bytes
            CAPTURE(from);
            const std::vector<T*> places{scaled.data() + from};
            std::vector<T> products(1), alone(1);
            mixed_op::weighted_sum_backward<T>(grad.data(), arrays, weights, n, places, products);
            CHECK(std::equal(expected.begin(), expected.end(), places[0]));
            mixed_op::weighted_sum_backward<T>(grad.data(), arrays, weights, n, {}, alone);
            CHECK(same_bits(alone, products));
            std::fill(scaled.begin(), scaled.end(), T{7});
            mixed_op::weighted_sum_backward<T>(grad.data(), arrays, weights, n, places, {});
            CHECK(std::equal(expected.begin(), expected.end(), places[0]));
        }
    }
}

TEST_CASE("the number of threads changes no bit of an inner product") {
    const std::size_t n = 300'001;
    const std::vector<std::vector<float>> terms{random_numbers<float>(n, 1), random_numbers<float>(n, 2)};
    const auto arrays = addresses(terms);
    const auto weights = random_numbers<float>(2, 3), grad = random_numbers<float>(n, 4);
    std::vector<std::vector<float>> found;
    for (const std::size_t threads : {1, 2, 5}) {
        set_num_threads(threads);
        found.emplace_back(2);
        mixed_op::weighted_sum_backward<float>(grad.data(), arrays, weights, n, {}, found.back());
    }
    CHECK(same_bits(found[0], found[1]));
    CHECK(same_bits(found[0], found[2]));
}

TEST_CASE("weighted sums refuse what does not fit") {
    const std::vector<float> x(3), weights{1, 2};
    const std::vector<const float*> arrays{x.data(), x.data()};
    std::vector<float> out(3), products(3);
    const std::span<const float> factors(weights);
    CHECK(test::has(test::refusal([&] { mixed_op::weighted_sum<float>({}, {}, 3, out.data()); }), "terms"));
    CHECK(test::has(
        test::refusal([&] { mixed_op::weighted_sum<float>(arrays, factors.first(1), 3, out.data()); }),
        "weights must have one entry for each of the 2 terms; got 1"));
    CHECK(test::has(test::refusal([&] {
                        mixed_op::weighted_sum_backward<float>(x.data(), arrays, factors, 3, {}, products);
                    }),
                    "grad_weights must have one entry for each of the 2 terms; got 3"));
    const std::vector<float*> places{out.data()};
    CHECK(test::has(test::refusal([&] {
                        mixed_op::weighted_sum_backward<float>(x.data(), arrays, factors, 3, places, {});
                    }),
                    "grad_terms must have one entry for each of the 2 terms; got 1"));
}

TEST_CASE_TEMPLATE("pooling and its gradients are those of the definition", T, float, double) {
    for (const std::size_t threads : {1, 3}) {
        set_num_threads(threads);
        for (const std::size_t stride : {1, 2}) {
            for (const std::size_t height : {1, 2, 3, 4, 7}) {
                for (const std::size_t width : {1, 2, 3, 5, 8}) {
                    for (const std::size_t channels : {1, 3, 8, 17}) {
                        CAPTURE(stride);
                        CAPTURE(height);
                        CAPTURE(width);
                        CAPTURE(channels);
                        const PoolingShape shape{2, height, width, channels, stride};
                        const std::size_t n = 2 * height * width * channels;
                        check_pooling(shape, random_numbers<T>(n, 1));
                        check_pooling(shape, random_numbers<T>(n, 2, 2));
                    }
                }
            }
            // So many rows that threads share them.
            check_pooling(PoolingShape{3, 33, 31, 16, stride}, random_numbers<T>(3 * 33 * 31 * 16, 3, 3));
            check_pooling(PoolingShape{40, 9, 8, 24, stride}, random_numbers<T>(40 * 9 * 8 * 24, 4));
        }
    }
}

TEST_CASE_TEMPLATE("NaN and infinity pass through pooling", T, float, double) {
    for (const std::size_t stride : {1, 2}) {
        const PoolingShape shape{2, 6, 7, 9, stride};
        auto x = random_numbers<T>(2 * 6 * 7 * 9, 1, 2);
        for (std::size_t i = 0; i < x.size(); i += 5) {
            x[i] = std::numeric_limits<T>::quiet_NaN();
        }
        check_pooling(shape, x);
        check_pooling(shape, std::vector<T>(x.size(), std::numeric_limits<T>::quiet_NaN()));
        const std::size_t outputs = 2 * shape.out_height() * shape.out_width() * 9;
        const std::vector<T> lowest(x.size(), -std::numeric_limits<T>::infinity());
        const auto expected = max_by_definition(shape, lowest, outputs);
        Pooled<T> found{std::vector<T>(outputs), std::vector<std::int8_t>(outputs)};
        mixed_op::max_pool_3x3(shape, lowest.data(), found.out.data(), found.places.data());
        CHECK(same_bits(found.out, expected.out));
        CHECK(found.places == expected.places);
        // One alone, wherever it is.
        const PoolingShape small{1, 6, 5, 17, stride};
        for (std::size_t i = 0; i < 6 * 5 * 17; ++i) {
            auto numbers = random_numbers<T>(6 * 5 * 17, 3, 2);
            numbers[i] = std::numeric_limits<T>::quiet_NaN();
            check_pooling(small, numbers);
        }
    }
}

TEST_CASE("gradients of means do not overflow where none of their parts does") {
    const PoolingShape shape{1, 6, 6, 8, 1};
    const std::vector<float> grad(6 * 6 * 8, 2e38f);
    std::vector<float> grad_x(grad.size());
    mixed_op::avg_pool_3x3_backward(shape, grad.data(), grad_x.data());
    CHECK(std::all_of(grad_x.begin(), grad_x.end(), [](float value) { return std::isfinite(value); }));
}

TEST_CASE("pooling of nothing does nothing, and other strides are refused") {
    for (const PoolingShape& shape : {PoolingShape{0, 3, 3, 3, 1}, PoolingShape{1, 0, 3, 3, 2},
                                      PoolingShape{1, 3, 0, 3, 2}, PoolingShape{1, 3, 3, 0, 1}}) {
        float none = 7;
        std::int8_t place = 7;
        mixed_op::max_pool_3x3(shape, &none, &none, &place);
        mixed_op::max_pool_3x3_backward(shape, &none, &place, &none);
        mixed_op::avg_pool_3x3(shape, &none, &none);
        mixed_op::avg_pool_3x3_backward(shape, &none, &none);
        CHECK(none == 7);
        CHECK(place == 7);
    }
    float x = 0;
    std::int8_t place = 0;
    const PoolingShape shape{1, 1, 1, 1, 3}, still{1, 1, 1, 1, 0};
    const std::string message = "stride must be 1 or 2; got 3";
    CHECK(test::refusal([&] { mixed_op::max_pool_3x3(shape, &x, &x, &place); }) == message);
    CHECK(test::refusal([&] { mixed_op::max_pool_3x3_backward(shape, &x, &place, &x); }) == message);
    CHECK(test::refusal([&] { mixed_op::avg_pool_3x3(shape, &x, &x); }) == message);
    CHECK(test::refusal([&] { mixed_op::avg_pool_3x3_backward(shape, &x, &x); }) == message);
    CHECK(test::has(test::refusal([&] { mixed_op::avg_pool_3x3(still, &x, &x); }), "got 0"));
}

TEST_CASE_TEMPLATE("depthwise convolutions and their gradients are those of the definition", T, float,
                   double) {
    for (const std::size_t threads : {1, 3}) {
        set_num_threads(threads);
        for (const std::size_t kernel : {3, 5}) {
            for (const std::size_t stride : {1, 2}) {
                for (const std::size_t dilation : {1, 2}) {
                    CAPTURE(kernel);
                    CAPTURE(stride);
                    CAPTURE(dilation);
                    for (const std::size_t height : {1, 2, 5}) {
                        for (const std::size_t width : {1, 2, 3, 8, 13}) {
                            for (const std::size_t channels : {1, 3, 4, 8, 17}) {
                                CAPTURE(height);
                                CAPTURE(width);
                                CAPTURE(channels);
                                check_depthwise<T>({2, height, width, channels, kernel, stride, dilation});
                            }
                        }
                    }
                    // So many rows that threads share them.
                    check_depthwise<T>({5, 17, 19, 20, kernel, stride, dilation});
                    check_depthwise<T>({40, 9, 8, 24, kernel, stride, dilation});
                }
            }
        }
    }
}

TEST_CASE_TEMPLATE("pointwise convolutions and their gradients are those of the definition", T, float,
                   double) {
    for (const std::size_t threads : {1, 3}) {
        set_num_threads(threads);
        for (const std::size_t pixels : {0, 1, 5, 6, 13, 700, 9000}) {
            for (const auto& [in, outs] : {std::pair<std::size_t, std::size_t>{8, 8}, {16, 24}, {40, 16}}) {
                CAPTURE(pixels);
                CAPTURE(in);
                CAPTURE(outs);
                check_pointwise<T>({pixels, in, outs});
            }
        }
    }
}

TEST_CASE("pointwise convolutions of no channels are zeros, and odd numbers of channels are refused") {
    const std::vector<float> x(8, 1.0F);
    std::vector<float> out(8, 7.0F);
    mixed_op::pointwise(PointwiseShape{1, 0, 8}, x.data(), x.data(), out.data());
    CHECK(same_bits(out, std::vector<float>(8)));
    CHECK(test::refusal([&] {
              mixed_op::pointwise(PointwiseShape{1, 7, 8}, x.data(), x.data(), out.data());
          }) == "in_channels must be a multiple of 8; got 7");
    CHECK(test::refusal([&] {
              mixed_op::pointwise_backward(PointwiseShape{1, 8, 1}, x.data(), x.data(), x.data(), out.data(),
                                           out.data());
          }) == "out_channels must be a multiple of 8; got 1");
}

TEST_CASE("the number of threads changes no bit of the weights' gradient") {
    const DepthwiseShape shape{9, 31, 30, 12, 5, 1, 1};
    const std::size_t n = 9 * 31 * 30 * 12, weights_size = 12 * 25;
    const auto x = random_numbers<float>(n, 1), grad = random_numbers<float>(n, 2);
    const auto weights = random_numbers<float>(weights_size, 3);
    std::vector<std::vector<float>> found;
    for (const std::size_t threads : {1, 2, 5}) {
        set_num_threads(threads);
        found.emplace_back(weights_size);
        mixed_op::relu_depthwise_backward<float>(shape, grad.data(), x.data(), weights.data(), nullptr,
                                                 found.back().data());
    }
    CHECK(same_bits(found[0], found[1]));
    CHECK(same_bits(found[0], found[2]));
}

TEST_CASE("depthwise convolutions of nothing do nothing, and other kernels are refused") {
    for (const DepthwiseShape& shape :
         {DepthwiseShape{0, 3, 3, 3, 3, 1, 1}, DepthwiseShape{1, 0, 3, 3, 5, 2, 1},
          DepthwiseShape{1, 3, 0, 3, 3, 2, 2}, DepthwiseShape{1, 3, 3, 0, 5, 1, 2}}) {
        float none = 7;
        const std::vector<float> weights(shape.channels * shape.kernel * shape.kernel);
        std::vector<float> grad_weights(weights.size(), 7);
        mixed_op::relu_depthwise(shape, &none, weights.data(), &none);
        mixed_op::relu_depthwise_backward(shape, &none, &none, weights.data(), &none, grad_weights.data());
        CHECK(none == 7);
        CHECK(std::count(grad_weights.begin(), grad_weights.end(), 0.0f) ==
              static_cast<std::ptrdiff_t>(weights.size()));
    }
    const auto refused = [](std::size_t kernel, std::size_t stride, std::size_t dilation) {
        const DepthwiseShape shape{1, 1, 1, 1, kernel, stride, dilation};
        const std::vector<float> x(50);
        std::vector<float> out(50);
        const std::string message =
            test::refusal([&] { mixed_op::relu_depthwise(shape, x.data(), x.data(), out.data()); });
        CHECK(test::refusal([&] {
                  mixed_op::relu_depthwise_backward(shape, x.data(), x.data(), x.data(), out.data(),
                                                    out.data());
              }) == message);
        return message;
    };
    CHECK(refused(4, 1, 1) == "kernel must be 3 or 5; got 4");
    CHECK(refused(3, 3, 1) == "stride must be 1 or 2; got 3");
    CHECK(refused(3, 1, 0) == "dilation must be 1 or 2; got 0");
}

TEST_CASE_TEMPLATE("channels are split, shuffled, and put back in order", T, float, double) {
    for (const std::size_t portion : {1, 2, 3, 4, 8}) {
        for (const std::size_t width : {0, 1, 3, 16}) {
            for (const std::size_t pixels : {0, 1, 5, 4000}) {
                const std::size_t channels = portion * width, others = channels - width;
                const auto x = random_numbers<T>(pixels * channels, 1);
                std::vector<T> part(pixels * width), out(x.size()), rest(pixels * others), joined(x.size());
                mixed_op::take_channels(pixels, channels, width, x.data(), part.data());
                const T* const passing = x.empty() ? x.data() : x.data() + width;
                mixed_op::shuffle_channels(pixels, width, portion, part.data(), passing, channels,
                                           out.data());
                for (std::size_t i = 0; i < x.size(); ++i) {
                    const std::size_t place = i % channels, pixel = i / channels;
                    REQUIRE(out[i] == x[pixel * channels + place % portion * width + place / portion]);
                }
                std::ranges::fill(part, T{9});
                mixed_op::unshuffle_channels(pixels, width, portion, out.data(), part.data(), rest.data());
                mixed_op::join_channels(pixels, width, others, part.data(), rest.data(), joined.data());
                REQUIRE(same_bits(joined, x));
            }
        }
    }
}

TEST_CASE("no parts, and pixels that overlap, are refused") {
    float x[8] = {};
    CHECK_THROWS_AS(mixed_op::take_channels(1, 2, 3, x, x + 4), std::invalid_argument);
    CHECK_THROWS_AS(mixed_op::shuffle_channels(1, 1, 0, x, x, 1, x + 4), std::invalid_argument);
    CHECK_THROWS_AS(mixed_op::shuffle_channels(1, 2, 4, x, x, 5, x + 4), std::invalid_argument);
    CHECK_THROWS_AS(mixed_op::unshuffle_channels(1, 1, 0, x, x + 4, x + 5), std::invalid_argument);
}

TEST_CASE_TEMPLATE("batch normalisation and its gradient are those of the definition", T, float, double) {
    const double epsilon = 1e-5;
    for (const std::size_t threads : {1, 3}) {
        set_num_threads(threads);
        for (const std::size_t channels : {1, 3, 4, 8, 16, 17}) {
            for (const std::size_t rows : {1, 2, 5, 8, 31, 300, 5000}) {
                for (const double centre : {0.0, 1000.0}) {
                    CAPTURE(channels);
                    CAPTURE(rows);
                    CAPTURE(centre);
                    const std::size_t n = rows * channels;
                    auto x = random_numbers<T>(n, 1);
                    for (T& number : x) {
                        number += static_cast<T>(centre);
                    }
                    const auto grad = random_numbers<T>(n, 2);
                    std::vector<T> out(n, T{7}), grad_x(n, T{7}), means(channels), variances(channels),
                        scales(channels);
                    mixed_op::batch_norm(rows, channels, x.data(), epsilon, out.data(), means.data(),
                                         variances.data(), scales.data());
                    mixed_op::batch_norm_backward(rows, channels, grad.data(), x.data(), means.data(),
                                                  scales.data(), grad_x.data());
                    bool right = true;
                    for (std::size_t c = 0; c < channels; ++c) {
                        double mean = 0, variance = 0, sum = 0, product = 0;
                        for (std::size_t i = c; i < n; i += channels) {
                            mean += static_cast<double>(x[i]) / static_cast<double>(rows);
                        }
                        for (std::size_t i = c; i < n; i += channels) {
                            const double difference = static_cast<double>(x[i]) - mean;
                            variance += difference * difference / static_cast<double>(rows);
                        }
                        const double scale = 1 / std::sqrt(variance + epsilon);
                        for (std::size_t i = c; i < n; i += channels) {
                            const auto g = static_cast<double>(grad[i]) / static_cast<double>(rows);
                            sum += g;
                            product += g * (static_cast<double>(x[i]) - mean) * scale;
                        }
                        // Rounding the mean moves all numbers by as much.
                        const double unit = 1 + centre;
                        right = right && near(means[c], mean, unit) && near(variances[c], variance, 1.0) &&
                                near(scales[c], scale, 4 * scale);
                        for (std::size_t i = c; i < n; i += channels) {
                            const double normal = (static_cast<double>(x[i]) - mean) * scale;
                            const double passed =
                                scale * (static_cast<double>(grad[i]) - sum - normal * product);
                            right = right && near(out[i], normal, unit * scale) &&
                                    near(grad_x[i], passed, 4 * unit * scale * scale);
                        }
                    }
                    CHECK(right);
                }
            }
        }
    }
}

TEST_CASE("the number of threads changes no bit of a batch normalisation") {
    const std::size_t rows = 20'011, channels = 12, n = rows * channels;
    const auto x = random_numbers<float>(n, 1), grad = random_numbers<float>(n, 2);
    std::vector<std::vector<float>> found;
    for (const std::size_t threads : {1, 2, 5}) {
        set_num_threads(threads);
        std::vector<float> out(2 * n), statistics(3 * channels);
        mixed_op::batch_norm(rows, channels, x.data(), 1e-5, out.data(), statistics.data(),
                             statistics.data() + channels, statistics.data() + 2 * channels);
        mixed_op::batch_norm_backward(rows, channels, grad.data(), x.data(), statistics.data(),
                                      statistics.data() + 2 * channels, out.data() + n);
        out.insert(out.end(), statistics.begin(), statistics.end());
        found.push_back(out);
    }
    CHECK(same_bits(found[0], found[1]));
    CHECK(same_bits(found[0], found[2]));
}

TEST_CASE("NaN shows in its channel, no rows are refused and no channels are nothing") {
    std::vector<float> x{1, 2, 3, std::numeric_limits<float>::quiet_NaN(), 5, 6}, out(6), s(6);
    mixed_op::batch_norm(3, 2, x.data(), 1e-5, out.data(), s.data(), s.data() + 2, s.data() + 4);
    CHECK(std::isnan(s[1]));
    CHECK(std::isnan(s[3]));
    CHECK(std::isnan(out[5]));
    CHECK(near(s[0], 3.0, 1.0));
    CHECK(near(out[4], (5.0 - 3.0) / std::sqrt(8.0 / 3.0 + 1e-5), 1.0));
    const std::string message = test::refusal(
        [&] { mixed_op::batch_norm(0, 2, x.data(), 1e-5, out.data(), s.data(), s.data(), s.data()); });
    CHECK(test::has(message, "rows must not be 0"));
    CHECK(test::refusal([&] {
              mixed_op::batch_norm_backward(0, 2, x.data(), x.data(), s.data(), s.data(), out.data());
          }) == message);
    std::vector<float> untouched{7};
    mixed_op::batch_norm(3, 0, x.data(), 1e-5, untouched.data(), untouched.data(), untouched.data(),
                         untouched.data());
    CHECK(untouched[0] == 7);
}

TEST_CASE_TEMPLATE("normalised sums and their gradients are normalisations and then a sum", T, float,
                   double) {
    const double epsilon = 1e-5;
    std::vector<std::vector<T>> first;
    for (const std::size_t threads : {1, 3}) {
        set_num_threads(threads);
        for (const std::size_t channels : {1, 3, 8, 17}) {
            for (const std::size_t rows : {2, 9, 40, 3000}) {
                CAPTURE(channels);
                CAPTURE(rows);
                const std::size_t n = rows * channels, count = 3;
                std::vector<std::vector<T>> terms, found(count, std::vector<T>(n, T{7}));
                for (std::size_t k = 0; k < count; ++k) {
                    terms.push_back(random_numbers<T>(n, k));
                }
                const std::vector<std::uint8_t> normalized{1, 0, 1};
                const auto weights = random_numbers<T>(count, 5), grad = random_numbers<T>(n, 6);
                const auto arrays = addresses(terms);
                std::vector<T> out(n, T{7}), statistics(3 * count * channels), products(count);
                T *means = statistics.data(), *scales = means + 2 * count * channels;
                mixed_op::normalized_sum<T>(rows, channels, arrays, normalized, weights, epsilon, out.data(),
                                            means, means + count * channels, scales);
                std::vector<T*> to;
                for (auto& array : found) {
                    to.push_back(array.data());
                }
                mixed_op::normalized_sum_backward<T>(rows, channels, grad.data(), arrays, normalized, weights,
                                                     means, scales, to, products.data());
                std::vector<double> expected(n);
                const double unit = std::sqrt(static_cast<double>(n) + 1);
                bool right = true;
                for (std::size_t k = 0; k < count; ++k) {
                    std::vector<T> plain = terms[k], m(channels), v(channels), s(channels), passed(n),
                                   scaled(n);
                    std::transform(grad.begin(), grad.end(), scaled.begin(),
                                   [&](T g) { return weights[k] * g; });
                    passed = scaled;
                    if (normalized[k] != 0) {
                        mixed_op::batch_norm(rows, channels, terms[k].data(), epsilon, plain.data(), m.data(),
                                             v.data(), s.data());
                        mixed_op::batch_norm_backward(rows, channels, scaled.data(), terms[k].data(),
                                                      m.data(), s.data(), passed.data());
                        right = right && std::equal(m.begin(), m.end(), means + k * channels);
                    }
                    double product = 0, most = 1;
                    for (const T scale : s) {
                        most = std::max(most, static_cast<double>(scale));
                    }
                    for (std::size_t i = 0; i < n; ++i) {
                        expected[i] += static_cast<double>(weights[k]) * static_cast<double>(plain[i]);
                        product += static_cast<double>(grad[i]) * static_cast<double>(plain[i]);
                        right = right && near(found[k][i], static_cast<double>(passed[i]), 4 * most);
                    }
                    right = right && near(products[k], product, 4 * most * unit);
                }
                for (std::size_t i = 0; i < n; ++i) {
                    right = right && near(out[i], expected[i], 8.0);
                }
                CHECK(right);
                if (channels == 17 && rows == 3000) {
                    first.insert(first.end(), {out, found[0], found[2], statistics, products});
                }
            }
        }
    }
    for (std::size_t i = 0; i < 5; ++i) {  // threads change no bit
        CHECK(same_bits(first[i], first[i + 5]));
    }
    const std::vector<T> x(4);
    std::vector<T> y(20);
    const std::vector<const T*> one{x.data()};
    const std::vector<std::uint8_t> flags{1, 1};
    const auto refused = [&](std::size_t rows, std::size_t terms, std::size_t flagged) {
        return test::refusal([&] {
            mixed_op::normalized_sum<T>(rows, 1, std::span(one).first(terms), std::span(flags).first(flagged),
                                        std::span(x).first(terms), epsilon, y.data(), y.data(), y.data(),
                                        y.data());
        });
    };
    CHECK(test::has(refused(0, 1, 1), "rows must not be 0"));
    CHECK(test::has(refused(1, 0, 0), "terms must hold at least one array"));
    CHECK(test::has(refused(1, 1, 2), "normalized must have one entry for each of the 1 terms; got 2"));
}
