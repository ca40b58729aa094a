#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "helpers.hpp"
#include "nasx/mixed_op/batch_norm.hpp"
#include "nasx/mixed_op/depthwise.hpp"
#include "nasx/mixed_op/mixed_sum.hpp"
#include "nasx/mixed_op/normalized_sum.hpp"
#include "nasx/mixed_op/pointwise.hpp"
#include "nasx/mixed_op/pooling.hpp"
#include "nasx/parallel.hpp"
#include "nasx/rng.hpp"

using namespace nasx;
using mixed_op::Chain;
using mixed_op::MixedShape;

namespace {

constexpr double epsilon = 1e-3;

template <class T>
std::vector<T> random_numbers(std::size_t n, std::uint64_t seed) {
    std::vector<T> out(n);
    Stream stream(seed, Purpose::sample, 0, 0);
    for (T& x : out) {
        x = static_cast<T>(2 * stream.uniform() - 1);
    }
    return out;
}

// A term with all that it needs.
template <class T>
struct Owned {
    Chain chain;
    bool normalized;
    std::vector<std::array<std::size_t, 2>> stages;  // kernel and dilation
    std::vector<std::vector<T>> depthwise, pointwise, outs, grad_depthwise, grad_pointwise;
    std::vector<std::vector<T>> statistics;  // of the stages, or of the term
    std::vector<T> out, given, between;
    std::vector<std::int8_t> places;

    Owned(const MixedShape& shape, Chain kind, bool norm, std::vector<std::array<std::size_t, 2>> sizes,
          std::uint64_t seed)
        : chain(kind), normalized(norm), stages(std::move(sizes)) {
        const std::size_t c = shape.channels, m = shape.out_pixels() * c;
        for (std::size_t s = 0; s < stages.size(); ++s) {
            const std::size_t k = stages[s][0];
            depthwise.push_back(random_numbers<T>(c * k * k, seed + 10 * s));
            pointwise.push_back(random_numbers<T>(c * c, seed + 10 * s + 1));
            outs.emplace_back(m, T{7});
            grad_depthwise.emplace_back(c * k * k, T{7});
            grad_pointwise.emplace_back(c * c, T{7});
        }
        statistics.assign(std::max<std::size_t>(1, stages.size()), std::vector<T>(3 * c, T{7}));
        out = chain == Chain::given ? random_numbers<T>(m, seed + 5) : std::vector<T>(m, T{7});
        given.assign(m, T{7});
        between.assign(m, T{7});
        places.assign(m, 7);
    }

    mixed_op::MixedTerm<T> term(std::size_t c) {
        const auto row = [&](std::size_t s) {
            T* const first = statistics[s].data();
            return mixed_op::ChannelStatistics<T>{first, first + c, first + 2 * c};
        };
        mixed_op::MixedTerm<T> found{chain, normalized, {}, out.data(), places.data(), row(0)};
        for (std::size_t s = 0; s < stages.size(); ++s) {
            found.stages.push_back({stages[s][0], stages[s][1], depthwise[s].data(), pointwise[s].data(),
                                    outs[s].data(), row(s)});
        }
        return found;
    }
    mixed_op::MixedTermGradients<T> gradients() {
        mixed_op::MixedTermGradients<T> found{{}, {}, given.data(), between.data()};
        for (std::size_t s = 0; s < stages.size(); ++s) {
            found.depthwise.push_back(grad_depthwise[s].data());
            found.pointwise.push_back(grad_pointwise[s].data());
        }
        return found;
    }
};

template <class T>
struct Answers {
    std::vector<std::vector<T>> found;
    void add(const std::vector<T>& numbers) { found.push_back(numbers); }
};

template <class T>
std::vector<Owned<T>> all_kinds(const MixedShape& shape) {
    std::vector<Owned<T>> terms;
    terms.emplace_back(shape, Chain::given, true, std::vector<std::array<std::size_t, 2>>{}, 100);
    terms.emplace_back(shape, Chain::max_pool, true, std::vector<std::array<std::size_t, 2>>{}, 200);
    terms.emplace_back(shape, Chain::avg_pool, false, std::vector<std::array<std::size_t, 2>>{}, 300);
    if (shape.stride == 1) {
        terms.emplace_back(shape, Chain::identity, false, std::vector<std::array<std::size_t, 2>>{}, 400);
    }
    terms.emplace_back(shape, Chain::convolutions, true,
                       std::vector<std::array<std::size_t, 2>>{{3, 1}, {5, 2}, {3, 2}}, 500);
    terms.emplace_back(shape, Chain::convolutions, true, std::vector<std::array<std::size_t, 2>>{{5, 1}},
                       600);
    return terms;
}

// The one sum of all terms.
template <class T>
std::vector<mixed_op::WeightedTerms<T>> all_of(const std::vector<mixed_op::MixedTerm<T>>& terms,
                                               const std::vector<T>& weights) {
    mixed_op::WeightedTerms<T> sum{{}, weights};
    for (std::size_t k = 0; k < terms.size(); ++k) {
        sum.terms.push_back(k);
    }
    return {sum};
}

template <class T>
void mixed_sum(const MixedShape& shape, const std::vector<T>& x,
               const std::vector<mixed_op::MixedTerm<T>>& terms, const std::vector<T>& weights, bool kept,
               std::vector<T>& out) {
    const std::vector<T*> outs{out.data()};
    mixed_op::mixed_sums<T>(shape, x.data(), terms, all_of(terms, weights), epsilon, kept, outs);
}

template <class T>
void mixed_sum_backward(const MixedShape& shape, const std::vector<T>& grad, const std::vector<T>& x,
                        const std::vector<mixed_op::MixedTerm<T>>& terms, const std::vector<T>& weights,
                        bool kept, const std::vector<mixed_op::MixedTermGradients<T>>& gradients, T* grad_x,
                        std::vector<T>& grad_weights) {
    const std::vector<const T*> grads{grad.data()};
    const std::vector<T*> of_weights{grad_weights.data()};
    mixed_op::mixed_sums_backward<T>(shape, grads, x.data(), terms, all_of(terms, weights), kept, gradients,
                                     grad_x, of_weights);
}

template <class T>
Answers<T> as_one(const MixedShape& shape, bool kept) {
    auto owned = all_kinds<T>(shape);
    const std::size_t n = shape.images * shape.height * shape.width * shape.channels;
    const std::size_t m = shape.out_pixels() * shape.channels;
    const auto x = random_numbers<T>(n, 1), grad = random_numbers<T>(m, 2);
    const auto weights = random_numbers<T>(owned.size(), 3);
    std::vector<mixed_op::MixedTerm<T>> terms;
    std::vector<mixed_op::MixedTermGradients<T>> gradients;
    for (auto& one : owned) {
        terms.push_back(one.term(shape.channels));
        gradients.push_back(one.gradients());
    }
    std::vector<T> out(m, T{7}), grad_x(n, T{7}), grad_weights(owned.size(), T{7});
    mixed_sum(shape, x, terms, weights, kept, out);
    mixed_sum_backward(shape, grad, x, terms, weights, kept, gradients, grad_x.data(), grad_weights);
    Answers<T> answers;
    answers.add(out);
    answers.add(grad_x);
    answers.add(grad_weights);
    for (const auto& one : owned) {
        if (one.chain == Chain::given) {
            answers.add(one.given);
        }
        for (std::size_t s = 0; s < one.stages.size(); ++s) {
            answers.add(one.grad_depthwise[s]);
            answers.add(one.grad_pointwise[s]);
        }
    }
    return answers;
}

// The same by the kernels one after another.
template <class T>
Answers<T> one_by_one(const MixedShape& shape) {
    auto owned = all_kinds<T>(shape);
    const std::size_t c = shape.channels, pixels = shape.out_pixels(), m = pixels * c;
    const std::size_t n = shape.images * shape.height * shape.width * c, count = owned.size();
    const auto x = random_numbers<T>(n, 1), grad = random_numbers<T>(m, 2);
    const auto weights = random_numbers<T>(count, 3);
    const mixed_op::PoolingShape pooled{shape.images, shape.height, shape.width, c, shape.stride};
    const mixed_op::PointwiseShape product{pixels, c, c};
    const auto stage_shape = [&](const Owned<T>& one, std::size_t s) {
        return s == 0 ? mixed_op::DepthwiseShape{shape.images,     shape.height, shape.width,     c,
                                                 one.stages[s][0], shape.stride, one.stages[s][1]}
                      : mixed_op::DepthwiseShape{
                            shape.images,    shape.out_height(), shape.out_width(), c, one.stages[s][0], 1,
                            one.stages[s][1]};
    };
    std::vector<std::vector<std::vector<T>>> inputs(count), convolved(count);
    std::vector<const T*> ends;
    std::vector<std::uint8_t> normalized;
    for (std::size_t k = 0; k < count; ++k) {
        Owned<T>& one = owned[k];
        if (one.chain == Chain::max_pool) {
            mixed_op::max_pool_3x3(pooled, x.data(), one.out.data(), one.places.data());
        } else if (one.chain == Chain::avg_pool) {
            mixed_op::avg_pool_3x3(pooled, x.data(), one.out.data());
        }
        for (std::size_t s = 0; s < one.stages.size(); ++s) {
            std::vector<T> input = x;
            if (s > 0) {
                T* const row = one.statistics[s - 1].data();
                input.assign(m, T{7});
                mixed_op::batch_norm<T>(pixels, c, one.outs[s - 1].data(), epsilon, input.data(), row,
                                        row + c, row + 2 * c);
            }
            std::vector<T> between(m);
            mixed_op::relu_depthwise<T>(stage_shape(one, s), input.data(), one.depthwise[s].data(),
                                        between.data());
            mixed_op::pointwise<T>(product, between.data(), one.pointwise[s].data(), one.outs[s].data());
            inputs[k].push_back(input);
            convolved[k].push_back(between);
        }
        ends.push_back(one.chain == Chain::identity ? x.data()
                       : one.stages.empty()         ? one.out.data()
                                                    : one.outs.back().data());
        normalized.push_back(one.normalized ? 1 : 0);
    }
    std::vector<T> out(m), means(count * c), variances(count * c), scales(count * c), grad_weights(count);
    mixed_op::normalized_sum<T>(pixels, c, ends, normalized, weights, epsilon, out.data(), means.data(),
                                variances.data(), scales.data());
    std::vector<std::vector<T>> of_ends(count, std::vector<T>(m));
    std::vector<T*> to;
    for (auto& numbers : of_ends) {
        to.push_back(numbers.data());
    }
    mixed_op::normalized_sum_backward<T>(pixels, c, grad.data(), ends, normalized, weights, means.data(),
                                         scales.data(), to, grad_weights.data());
    std::vector<T> grad_x(n), more(n);
    Answers<T> of_terms;
    for (std::size_t k = 0; k < count; ++k) {
        Owned<T>& one = owned[k];
        std::vector<T> passed = of_ends[k];
        if (one.chain == Chain::given) {
            of_terms.add(passed);
            continue;
        }
        if (one.chain == Chain::max_pool) {
            mixed_op::max_pool_3x3_backward(pooled, passed.data(), one.places.data(), more.data());
        } else if (one.chain == Chain::avg_pool) {
            mixed_op::avg_pool_3x3_backward(pooled, passed.data(), more.data());
        } else if (one.chain == Chain::identity) {
            more = passed;
        }
        for (std::size_t s = one.stages.size(); s-- > 0;) {
            std::vector<T> of_convolved(m), of_input(inputs[k][s].size());
            mixed_op::pointwise_backward<T>(product, passed.data(), convolved[k][s].data(),
                                            one.pointwise[s].data(), of_convolved.data(),
                                            one.grad_pointwise[s].data());
            mixed_op::relu_depthwise_backward<T>(stage_shape(one, s), of_convolved.data(),
                                                 inputs[k][s].data(), one.depthwise[s].data(),
                                                 of_input.data(), one.grad_depthwise[s].data());
            if (s > 0) {
                T* const row = one.statistics[s - 1].data();
                passed.assign(m, T{0});
                mixed_op::batch_norm_backward<T>(pixels, c, of_input.data(), one.outs[s - 1].data(), row,
                                                 row + 2 * c, passed.data());
            } else {
                more = of_input;
            }
        }
        for (std::size_t s = 0; s < one.stages.size(); ++s) {
            of_terms.add(one.grad_depthwise[s]);
            of_terms.add(one.grad_pointwise[s]);
        }
        for (std::size_t i = 0; i < n; ++i) {
            grad_x[i] += more[i];
        }
    }
    Answers<T> answers;
    answers.add(out);
    answers.add(grad_x);
    answers.add(grad_weights);
    for (const auto& numbers : of_terms.found) {
        answers.add(numbers);
    }
    return answers;
}

// Within rounding of the largest number.
template <class T>
bool near(const std::vector<T>& a, const std::vector<T>& b) {
    double most = 1e-6;
    for (const T number : b) {
        most = std::max(most, static_cast<double>(std::abs(number)));
    }
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [&](T one, T other) {
               return std::abs(static_cast<double>(one - other)) <=
                      2000 * static_cast<double>(std::numeric_limits<T>::epsilon()) * most;
           });
}

}  // namespace

TEST_CASE_TEMPLATE("mixed sums are chains of kernels and then a normalised sum", T, float, double) {
    for (const std::size_t stride : {1, 2}) {
        for (const MixedShape& shape : {MixedShape{2, 1, 1, 8, stride}, MixedShape{1, 5, 7, 16, stride},
                                        MixedShape{3, 8, 8, 24, stride}, MixedShape{70, 4, 3, 8, stride},
                                        MixedShape{2, 40, 37, 16, stride}}) {
            CAPTURE(stride);
            CAPTURE(shape.height);
            CAPTURE(shape.channels);
            const Answers<T> expected = one_by_one<T>(shape);
            std::vector<Answers<T>> all;
            for (const std::size_t threads : {1, 3}) {
                set_num_threads(threads);
                for (const bool kept : {true, false}) {
                    all.push_back(as_one<T>(shape, kept));
                }
            }
            for (std::size_t i = 0; i < expected.found.size(); ++i) {
                CAPTURE(i);
                CHECK(near(all[0].found[i], expected.found[i]));
                for (const Answers<T>& other : all) {  // neither threads nor recomputation change a bit
                    CHECK(other.found[i] == all[0].found[i]);
                }
            }
        }
    }
}

TEST_CASE("gradients that are not wanted are left out, and an input that nobody reads has none") {
    const MixedShape shape{2, 3, 3, 8, 1};
    Owned<float> one(shape, Chain::convolutions, true, {{3, 1}, {3, 1}}, 1);
    Owned<float> given(shape, Chain::given, false, {}, 2);
    const std::size_t n = 2 * 3 * 3 * 8;
    const auto x = random_numbers<float>(n, 3), grad = random_numbers<float>(n, 4);
    const std::vector<float> weights{1.0F}, untouched(n, 7.0F);
    std::vector<float> out(n), grad_x(n, 7.0F), grad_weights(1);
    std::vector<mixed_op::MixedTerm<float>> terms{one.term(8)};
    std::vector<mixed_op::MixedTermGradients<float>> none{
        {{nullptr, nullptr}, {nullptr, nullptr}, nullptr, one.between.data()}};
    mixed_sum(shape, x, terms, weights, true, out);
    mixed_sum_backward<float>(shape, grad, x, terms, weights, true, none, nullptr, grad_weights);
    CHECK(one.grad_depthwise[0] == std::vector<float>(9 * 8, 7.0F));
    CHECK(one.grad_pointwise[1] == std::vector<float>(64, 7.0F));
    terms = {given.term(8)};
    none = {{{}, {}, nullptr, nullptr}};
    mixed_sum(shape, x, terms, weights, true, out);
    CHECK(out == given.out);
    mixed_sum_backward(shape, grad, x, terms, weights, true, none, grad_x.data(), grad_weights);
    CHECK(grad_x == std::vector<float>(n));
    CHECK(given.given == untouched);
}

TEST_CASE("sums that share a pooling or the input are those of each alone") {
    const MixedShape shape{3, 5, 4, 8, 1};
    const std::size_t n = 3 * 5 * 4 * 8;
    const auto x = random_numbers<float>(n, 1);
    const std::vector<std::vector<float>> grads{random_numbers<float>(n, 2), random_numbers<float>(n, 3)};
    const std::vector<std::vector<float>> weights{random_numbers<float>(4, 4), random_numbers<float>(4, 5)};
    const auto owned = [&](std::size_t sum) {
        std::vector<Owned<float>> found;
        found.emplace_back(shape, Chain::max_pool, true, std::vector<std::array<std::size_t, 2>>{}, 10);
        found.emplace_back(shape, Chain::avg_pool, false, std::vector<std::array<std::size_t, 2>>{}, 20);
        found.emplace_back(shape, Chain::identity, false, std::vector<std::array<std::size_t, 2>>{}, 30);
        found.emplace_back(shape, Chain::convolutions, true, std::vector<std::array<std::size_t, 2>>{{3, 1}},
                           40 + sum);
        return found;
    };
    std::vector<std::vector<float>> outs, of_weights, of_depthwise;
    std::vector<float> of_x(n);
    for (std::size_t s = 0; s < 2; ++s) {
        auto one = owned(s);
        std::vector<mixed_op::MixedTerm<float>> terms;
        std::vector<mixed_op::MixedTermGradients<float>> gradients;
        for (auto& term : one) {
            terms.push_back(term.term(8));
            gradients.push_back(term.gradients());
        }
        std::vector<float> out(n), grad_x(n), grad_weights(4);
        mixed_sum(shape, x, terms, weights[s], true, out);
        mixed_sum_backward(shape, grads[s], x, terms, weights[s], true, gradients, grad_x.data(),
                           grad_weights);
        for (std::size_t i = 0; i < n; ++i) {
            of_x[i] += grad_x[i];
        }
        outs.push_back(out);
        of_weights.push_back(grad_weights);
        of_depthwise.push_back(one[3].grad_depthwise[0]);
    }
    for (const bool kept : {true, false}) {
        auto all = owned(0);
        all.push_back(owned(1)[3]);
        std::vector<mixed_op::MixedTerm<float>> terms;
        std::vector<mixed_op::MixedTermGradients<float>> gradients;
        for (auto& term : all) {
            terms.push_back(term.term(8));
            gradients.push_back(term.gradients());
        }
        const std::vector<mixed_op::WeightedTerms<float>> sums{{{0, 1, 2, 3}, weights[0]},
                                                               {{0, 1, 2, 4}, weights[1]}};
        std::vector<float> first(n), second(n), grad_x(n), of_first(4), of_second(4);
        const std::vector<float*> to{first.data(), second.data()}, into{of_first.data(), of_second.data()};
        const std::vector<const float*> from{grads[0].data(), grads[1].data()};
        mixed_op::mixed_sums<float>(shape, x.data(), terms, sums, epsilon, kept, to);
        mixed_op::mixed_sums_backward<float>(shape, from, x.data(), terms, sums, kept, gradients,
                                             grad_x.data(), into);
        CHECK(first == outs[0]);
        CHECK(second == outs[1]);
        CHECK(of_first == of_weights[0]);
        CHECK(of_second == of_weights[1]);
        CHECK(all[3].grad_depthwise[0] == of_depthwise[0]);
        CHECK(all[4].grad_depthwise[0] == of_depthwise[1]);
        CHECK(near(grad_x, of_x));
    }
}

TEST_CASE("mixed sums refuse what does not fit") {
    std::vector<float> room(4096);
    const auto refused_sums = [&](const MixedShape& shape,
                                  const std::vector<mixed_op::MixedTerm<float>>& terms,
                                  const std::vector<mixed_op::WeightedTerms<float>>& sums) {
        const std::vector<float*> outs(sums.size(), room.data());
        return test::refusal(
            [&] { mixed_op::mixed_sums<float>(shape, room.data(), terms, sums, epsilon, true, outs); });
    };
    const auto refused = [&](const MixedShape& shape, const std::vector<mixed_op::MixedTerm<float>>& terms,
                             std::size_t weights) {
        auto sums = all_of(terms, room);
        sums[0].weights = sums[0].weights.first(weights);
        return refused_sums(shape, terms, sums);
    };
    const MixedShape shape{1, 2, 2, 8, 1}, halving{1, 2, 2, 8, 2};
    float* const at = room.data();
    const mixed_op::ChannelStatistics<float> row{at, at, at};
    const mixed_op::MixedTerm<float> same{Chain::identity, false, {}, nullptr, nullptr, row};
    const mixed_op::MixedTerm<float> empty{Chain::convolutions, true, {}, nullptr, nullptr, row};
    const mixed_op::MixedTerm<float> wide{
        Chain::convolutions, true, {{7, 1, at, at, at, row}}, nullptr, nullptr, row};
    CHECK(test::has(refused({1, 2, 2, 12, 1}, {same}, 1), "channels must be a multiple of 8; got 12"));
    CHECK(test::has(refused({1, 2, 2, 0, 1}, {same}, 1), "channels must be a multiple of 8; got 0"));
    CHECK(test::has(refused({1, 2, 2, 8, 3}, {same}, 1), "stride must be 1 or 2; got 3"));
    CHECK(test::has(refused({0, 2, 2, 8, 1}, {same}, 1), "rows must not be 0"));
    CHECK(test::has(refused(shape, {}, 0), "terms must hold at least one chain"));
    CHECK(test::has(refused(shape, {same}, 2), "weights must have 1 entries; got 2"));
    CHECK(test::has(refused(halving, {same}, 1), "stride must be 1 where a term is the input; got 2"));
    CHECK(test::has(refused(shape, {empty}, 1), "stages must be there"));
    CHECK(test::has(refused(shape, {wide}, 1), "kernel must be 3 or 5; got 7"));
    const mixed_op::MixedTerm<float> given{Chain::given, true, {}, at, nullptr, row};
    const auto weights = std::span<const float>(room).first(1);
    CHECK(test::has(refused_sums(shape, {same}, {{{}, {}}}), "sums must have at least one term each"));
    CHECK(test::has(refused_sums(shape, {same}, {{{1}, weights}}), "sums must name terms below 1; got 1"));
    const auto two = std::span<const float>(room).first(2);
    CHECK(
        test::has(refused_sums(shape, {same, same}, {{{1, 0}, two}}), "in ascending order; got 1 before 0"));
    CHECK(test::has(refused_sums(shape, {same, same}, {{{0, 0}, two}}), "in ascending order"));
    CHECK(test::has(refused_sums(shape, {same, same}, {{{0}, weights}}), "got term 1 in 0"));
    CHECK(test::has(refused_sums(shape, {given}, {{{0}, weights}, {{0}, weights}}), "got term 0 in 2"));
}
