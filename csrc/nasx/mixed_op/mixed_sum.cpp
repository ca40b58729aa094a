#include "nasx/mixed_op/mixed_sum.hpp"

#include <algorithm>
#include <deque>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "nasx/mixed_op/batch_norm.hpp"
#include "nasx/mixed_op/depthwise_passes.hpp"
#include "nasx/mixed_op/mixed_stages.hpp"
#include "nasx/mixed_op/normalized_sum.hpp"
#include "nasx/mixed_op/pass_back.hpp"
#include "nasx/mixed_op/pooling.hpp"
#include "nasx/mixed_op/rooms.hpp"
#include "nasx/mixed_op/statistics.hpp"

namespace nasx::mixed_op {
namespace {

void check_length(std::size_t length, std::size_t wanted, const char* argument) {
    if (length != wanted) {
        throw std::invalid_argument(std::string(argument) + " must have " + std::to_string(wanted) +
                                    " entries; got " + std::to_string(length));
    }
}

template <class T>
DepthwiseShape shape_of(const MixedShape& shape, const MixedTerm<T>& term, std::size_t stage) {
    const Stage<T>& sizes = term.stages[stage];
    if (stage == 0) {
        return {shape.images, shape.height, shape.width,   shape.channels,
                sizes.kernel, shape.stride, sizes.dilation};
    }
    return {shape.images,  shape.out_height(), shape.out_width(), shape.channels, sizes.kernel, 1,
            sizes.dilation};
}

// Each term is in a sum, and in one only if it is not the same for others.
template <class T>
void check_sums(std::span<const MixedTerm<T>> terms, std::span<const WeightedTerms<T>> sums) {
    std::vector<std::size_t> found(terms.size());
    for (const WeightedTerms<T>& sum : sums) {
        if (sum.terms.empty()) {
            throw std::invalid_argument("sums must have at least one term each; got none");
        }
        check_length(sum.weights.size(), sum.terms.size(), "weights");
        const auto early = std::adjacent_find(sum.terms.begin(), sum.terms.end(), std::greater_equal<>());
        if (early != sum.terms.end()) {
            throw std::invalid_argument("sums must name terms in ascending order; got " +
                                        std::to_string(early[0]) + " before " + std::to_string(early[1]));
        }
        for (const std::size_t term : sum.terms) {
            if (term >= terms.size()) {
                throw std::invalid_argument("sums must name terms below " + std::to_string(terms.size()) +
                                            "; got " + std::to_string(term));
            }
            ++found[term];
        }
    }
    for (std::size_t k = 0; k < terms.size(); ++k) {
        const bool own = terms[k].chain == Chain::given || terms[k].chain == Chain::convolutions;
        if (found[k] == 0 || (own && found[k] > 1)) {
            throw std::invalid_argument(
                "sums must have each term, and one that no other shares once; got term " + std::to_string(k) +
                " in " + std::to_string(found[k]));
        }
    }
}

template <class T>
void check(const MixedShape& shape, std::span<const MixedTerm<T>> terms,
           std::span<const WeightedTerms<T>> sums) {
    if (shape.channels % 8 != 0 || shape.channels == 0) {
        throw std::invalid_argument("channels must be a multiple of 8; got " +
                                    std::to_string(shape.channels));
    }
    if (shape.stride != 1 && shape.stride != 2) {
        throw std::invalid_argument("stride must be 1 or 2; got " + std::to_string(shape.stride));
    }
    check_rows(shape.out_pixels());
    if (terms.empty()) {
        throw std::invalid_argument("terms must hold at least one chain; got none");
    }
    for (const MixedTerm<T>& term : terms) {
        if (term.chain == Chain::identity && shape.stride != 1) {
            throw std::invalid_argument("stride must be 1 where a term is the input; got " +
                                        std::to_string(shape.stride));
        }
        if ((term.chain == Chain::convolutions) == term.stages.empty()) {
            throw std::invalid_argument("stages must be there for convolutions, and only for these; got " +
                                        std::to_string(term.stages.size()));
        }
        for (std::size_t stage = 0; stage < term.stages.size(); ++stage) {
            if (term.stages[stage].kernel != 1) {
                depthwise::check(shape_of(shape, term, stage));
            }
        }
    }
    check_sums(terms, sums);
}

// What a term's chain ends with, before it is normalised.
template <class T>
const T* end_of(const MixedTerm<T>& term, const T* x) {
    switch (term.chain) {
        case Chain::identity:
            return x;
        case Chain::convolutions:
            return term.stages.back().out;
        default:
            return term.out;
    }
}

template <class T>
StageInput<T> input_of(const MixedTerm<T>& term, std::size_t stage, const T* x) {
    if (stage == 0) {
        return {x, {}};
    }
    const Stage<T>& before = term.stages[stage - 1];
    return {before.out, {before.statistics.means, before.statistics.scales}};
}

template <class T>
std::size_t most_stages(std::span<const MixedTerm<T>> terms) {
    std::size_t most = 0;
    for (const MixedTerm<T>& term : terms) {
        most = std::max(most, term.stages.size());
    }
    return most;
}

bool is_pooling(Chain chain) {
    return chain == Chain::max_pool || chain == Chain::avg_pool;
}

// Images, numbers and pooling of one image: what a thread works on at once.
struct OneImage {
    PoolingShape pooling;
    std::size_t in, out;  // numbers of the input and of the sum
    std::size_t at_once;  // images that make up a piece
    std::size_t images;

    explicit OneImage(const MixedShape& shape)
        : pooling{1, shape.height, shape.width, shape.channels, shape.stride},
          in(shape.height * shape.width * shape.channels),
          out(shape.out_height() * shape.out_width() * shape.channels),
          at_once(rows_at_once(out)),
          images(shape.images) {}

    // Asks for what an output row has to do with, in images of inputs and of outputs.
    template <class U>
    void ask_for_inputs(U* x, std::size_t image, std::size_t out_row) const {
        const RowsAhead<U> rows{x, images * pooling.height, in / pooling.height};
        rows.ask_of_image(image, pooling.height, pooling.stride, out_row);
    }
    template <class U>
    void ask_for_outputs(U* x, std::size_t image, std::size_t out_row) const {
        const RowsAhead<U> rows{x, images * pooling.out_height(), out / pooling.out_height()};
        rows.ask_of_image(image, pooling.out_height(), 1, out_row);
    }
};

// A pooling, image by image.
template <class T>
class Pooled : public Work<ForwardRoom<T>> {
  public:
    Pooled(const MixedShape& shape, const T* x, const MixedTerm<T>& term, bool statistics_too)
        : image_(shape),
          x_(x),
          term_(term),
          statistics_too_(statistics_too && term.normalized),
          statistics_(shape.images, image_.out / shape.channels, shape.channels) {}

    void run(ForwardRoom<T>& room, std::size_t image,
             const typename Work<ForwardRoom<T>>::Ahead& ahead) override {
        for (std::size_t row = 0; row < ahead.rows; ++row) {
            ahead.in_next(row);
        }
        T* const out = term_.out + image * image_.out;
        if (term_.chain == Chain::max_pool) {
            max_pool_3x3(image_.pooling, x_ + image * image_.in, out, term_.places + image * image_.out);
        } else {
            avg_pool_3x3(image_.pooling, x_ + image * image_.in, out);
        }
        if (statistics_too_) {
            statistics_.set(image, out, room.statistics);
        }
    }
    void ask_for_row(std::size_t image, std::size_t row) const override {
        image_.ask_for_inputs(x_, image, row);
        image_.ask_for_outputs(term_.out, image, row);
        if (term_.chain == Chain::max_pool) {
            image_.ask_for_outputs(term_.places, image, row);
        }
    }

    void finish(double epsilon) const {
        if (statistics_too_) {
            statistics_.finish(epsilon, term_.statistics);
        }
    }

  private:
    OneImage image_;
    const T* x_;
    MixedTerm<T> term_;
    bool statistics_too_;
    ImageStatistics<T> statistics_;
};

// Sizes of the stages of this number, of all chains.
template <class T>
Sizes sizes_of(const MixedShape& shape, std::span<const MixedTerm<T>> terms, std::size_t stage) {
    Sizes sizes{{shape.images, shape.height, shape.width, shape.channels, 1, shape.stride, 1}};
    for (const MixedTerm<T>& term : terms) {
        if (stage < term.stages.size()) {
            sizes.include(shape_of(shape, term, stage));
        }
    }
    return sizes;
}

// What chains give, and their statistics if they are wanted.
template <class T>
void run_chains(const MixedShape& shape, const T* x, std::span<const MixedTerm<T>> terms, bool statistics_too,
                double epsilon) {
    for (const MixedTerm<T>& term : terms) {
        const auto& [means, variances, scales] = term.statistics;
        if (statistics_too && !term.normalized) {
            leave(shape.channels, means, variances, scales);
        } else if (statistics_too && (term.chain == Chain::given || term.chain == Chain::identity)) {
            batch_statistics(shape.out_pixels(), shape.channels, end_of(term, x), epsilon, means, variances,
                             scales);
        }
    }
    const OneImage one(shape);
    for (std::size_t s = 0; s == 0 || s < most_stages(terms); ++s) {
        const Sizes sizes = sizes_of(shape, terms, s);
        std::deque<ForwardStage<T>> stages;
        std::deque<Pooled<T>> pooled;
        std::vector<Work<ForwardRoom<T>>*> works;
        for (const MixedTerm<T>& term : terms) {
            if (s < term.stages.size()) {
                works.push_back(&stages.emplace_back(shape_of(shape, term, s), sizes, input_of(term, s, x),
                                                     term.stages[s], statistics_too));
            } else if (s == 0 && is_pooling(term.chain)) {
                works.push_back(&pooled.emplace_back(shape, x, term, statistics_too));
            }
        }
        Rooms<ForwardRoom<T>> rooms;
        parallel_for(0, shape.images, one.at_once, [&](std::size_t first, std::size_t last) {
            const auto lease = rooms.take(sizes);
            for (std::size_t image = first; image < last; ++image) {
                run_all(works, *lease, image, last, shape.out_height(), sizes.in_row());
            }
        });
        for (const ForwardStage<T>& stage : stages) {
            stage.finish(epsilon);
        }
        for (const Pooled<T>& pooling : pooled) {
            pooling.finish(epsilon);
        }
    }
}

// The sums that have terms of numbers in [first, last), and these, as add_terms and pass_to_terms read them.
template <class T>
struct Gathered {
    std::vector<std::size_t> sums;
    std::vector<NormalizedTerms<T>> terms;
    std::vector<std::vector<std::size_t>> places;  // among all terms of each sum

    Gathered(const MixedShape& shape, std::span<const MixedTerm<T>> all, const T* x,
             std::span<const WeightedTerms<T>> weighted, std::size_t first, std::size_t last) {
        for (std::size_t s = 0; s < weighted.size(); ++s) {
            std::vector<std::size_t> found;
            Own& own = own_.emplace_back();
            for (std::size_t place = 0; place < weighted[s].terms.size(); ++place) {
                const std::size_t number = weighted[s].terms[place];
                if (number >= first && number < last) {
                    found.push_back(place);
                    own.add(all[number], x, weighted[s].weights[place], shape.channels);
                }
            }
            if (!found.empty()) {
                sums.push_back(s);
                places.push_back(found);
                terms.push_back({own.ends, own.normalized, own.weights, own.means.data(), own.scales.data()});
            }
        }
    }

  private:
    struct Own {
        std::vector<const T*> ends;
        std::vector<std::uint8_t> normalized;
        std::vector<T> weights;
        Aligned<T> means, scales;

        void add(const MixedTerm<T>& term, const T* x, T weight, std::size_t channels) {
            const ChannelStatistics<T>& statistics =
                term.chain == Chain::convolutions ? term.stages.back().statistics : term.statistics;
            ends.push_back(end_of(term, x));
            normalized.push_back(term.normalized ? 1 : 0);
            weights.push_back(weight);
            means.insert(means.end(), statistics.means, statistics.means + channels);
            scales.insert(scales.end(), statistics.scales, statistics.scales + channels);
        }
    };
    std::deque<Own> own_;  // what `terms` point to
};

// How the gradient of a sum goes on to a term in it.
template <class T>
struct FromSum {
    const T* grad;
    PassBack<T> passed;
};

// Writes, or adds to grad_x, what a term without stages says of an image.
template <class T>
class Simple : public Work<BackwardRoom<T>> {
  public:
    Simple(const MixedShape& shape, const T* x, const MixedTerm<T>& term, const std::vector<FromSum<T>>& from,
           bool add, T* grad_x)
        : image_(shape), end_(end_of(term, x)), term_(term), from_(from), add_(add), grad_x_(grad_x) {}

    void run(BackwardRoom<T>& room, std::size_t image,
             const typename Work<BackwardRoom<T>>::Ahead& ahead) override {
        for (std::size_t row = 0; row < ahead.rows; ++row) {
            ahead.in_next(row);
        }
        const std::size_t at = image * image_.out;
        T* const out = grad_x_ + image * image_.in;
        T* const to = add_ ? room.starts.data() : out;
        T* const passed = is_pooling(term_.chain) ? room.ends.data() : to;
        for (const FromSum<T>& from : from_) {
            T* const one = &from == from_.data() ? passed : room.more.data();
            from.passed(from.grad + at, end_ + at, image_.out / image_.pooling.channels, one);
            if (one != passed) {
                sum_loops<T>().add(one, image_.out, passed);
            }
        }
        if (term_.chain == Chain::max_pool) {
            max_pool_3x3_backward(image_.pooling, passed, term_.places + at, to);
        } else if (term_.chain == Chain::avg_pool) {
            avg_pool_3x3_backward(image_.pooling, passed, to);
        }
        if (add_) {
            sum_loops<T>().add(to, image_.in, out);
        }
    }
    void ask_for_row(std::size_t image, std::size_t row) const override {
        for (const FromSum<T>& from : from_) {
            image_.ask_for_outputs(from.grad, image, row);
        }
        image_.ask_for_outputs(end_, image, row);
        if (term_.chain == Chain::max_pool) {
            image_.ask_for_outputs<const std::int8_t>(term_.places, image, row);
        }
        image_.ask_for_inputs(grad_x_, image, row);
    }

  private:
    OneImage image_;
    const T* end_;
    MixedTerm<T> term_;
    std::vector<FromSum<T>> from_;
    bool add_;
    T* grad_x_;
};

// Calls function(first, last) for the images of at most 32 parts of the batch, whose sums for the weights'
// gradients are kept apart: they do not depend on the threads.
struct Parts {
    std::size_t images, in_part, count;

    explicit Parts(const MixedShape& shape)
        : images(shape.images),
          in_part(std::max(OneImage(shape).at_once, (images + 31) / 32)),
          count((images + in_part - 1) / in_part) {}

    template <class Function>
    void run(Function function) const {
        parallel_for(0, count, 1, [&](std::size_t first_part, std::size_t last_part) {
            function(first_part * in_part, std::min(images, last_part * in_part));
        });
    }
};

// The gradients of terms, whose sums are those of `from`, and what they say of the input, written to grad_x
// or added to what is there if `add`. Returns whether they, or others before them, said anything.
template <class T>
bool chains_backward(const MixedShape& shape, const T* x, std::span<const MixedTerm<T>> terms,
                     std::span<const std::vector<FromSum<T>>> from,
                     std::span<const MixedTermGradients<T>> gradients, bool add, T* grad_x) {
    const OneImage one(shape);
    const Parts parts(shape);
    std::vector<PassBack<T>> passed;  // to the stage that is next
    for (const std::vector<FromSum<T>>& sums : from) {
        passed.push_back(sums.front().passed);
    }
    for (std::size_t s = std::max<std::size_t>(1, most_stages(terms)); s-- > 0;) {
        const Sizes sizes = sizes_of(shape, terms, s);
        std::deque<BackwardStage<T>> stages;
        std::vector<std::size_t> owners;
        std::deque<Simple<T>> simple;
        std::vector<Work<BackwardRoom<T>>*> works;  // terms are added as they come, kept or not
        for (std::size_t k = 0; k < terms.size(); ++k) {
            const MixedTerm<T>& term = terms[k];
            if (s < term.stages.size()) {
                const bool is_last = s + 1 == term.stages.size();
                const T* const grad = is_last ? from[k].front().grad : gradients[k].between;
                works.push_back(&stages.emplace_back(
                    shape_of(shape, term, s), sizes, input_of(term, s, x), term.stages[s], grad, passed[k],
                    s == 0 && add, s == 0 ? grad_x : gradients[k].between, gradients[k].depthwise[s],
                    gradients[k].pointwise[s], parts.count, parts.in_part));
                owners.push_back(k);
                add |= s == 0;
            } else if (s == 0 && grad_x != nullptr && term.chain != Chain::given && term.stages.empty()) {
                works.push_back(&simple.emplace_back(shape, x, term, from[k], add, grad_x));
                add = true;
            }
        }
        Rooms<BackwardRoom<T>> rooms;
        parts.run([&](std::size_t first, std::size_t last) {
            const auto lease = rooms.take(sizes, simple.empty() ? 0 : one.out, simple.empty() ? 0 : one.in);
            for (std::size_t image = first; image < last; ++image) {
                run_all(works, *lease, image, last, shape.out_height(), sizes.in_row());
                for (std::size_t k = 0; s == 0 && k < terms.size(); ++k) {
                    if (terms[k].chain == Chain::given && gradients[k].given != nullptr) {
                        const std::size_t at = image * one.out;
                        const auto& [grad, to_term] = from[k].front();
                        to_term(grad + at, terms[k].out + at, one.out / shape.channels,
                                gradients[k].given + at);
                    }
                }
            }
        });
        parallel_for(0, stages.size(), 1, [&](std::size_t first, std::size_t last) {
            for (std::size_t i = first; i < last; ++i) {
                stages[i].finish();
                if (s > 0) {
                    passed[owners[i]] = stages[i].to_input();
                }
            }
        });
    }
    return add;
}

}  // namespace

template <class T>
void mixed_sums(const MixedShape& shape, const T* x, std::span<const MixedTerm<T>> terms,
                std::span<const WeightedTerms<T>> sums, double epsilon, bool kept, std::span<T* const> outs) {
    check(shape, terms, sums);
    check_length(outs.size(), sums.size(), "outs");
    std::vector<std::uint8_t> begun(sums.size());
    const std::size_t at_once = kept ? terms.size() : 1;
    for (std::size_t k = 0; k < terms.size(); k += at_once) {
        run_chains(shape, x, terms.subspan(k, at_once), true, epsilon);
        const Gathered<T> gathered(shape, terms, x, sums, k, k + at_once);
        std::vector<T*> to;
        std::vector<std::uint8_t> add;
        for (const std::size_t s : gathered.sums) {
            to.push_back(outs[s]);
            add.push_back(std::exchange(begun[s], 1));
        }
        add_terms<T>(shape.out_pixels(), shape.channels, gathered.terms, add, to);
    }
}

template <class T>
void mixed_sums_backward(const MixedShape& shape, std::span<const T* const> grads, const T* x,
                         std::span<const MixedTerm<T>> terms, std::span<const WeightedTerms<T>> sums,
                         bool kept, std::span<const MixedTermGradients<T>> gradients, T* grad_x,
                         std::span<T* const> grad_weights) {
    check(shape, terms, sums);
    check_length(grads.size(), sums.size(), "grads");
    check_length(grad_weights.size(), sums.size(), "grad_weights");
    check_length(gradients.size(), terms.size(), "gradients");
    for (std::size_t k = 0; k < terms.size(); ++k) {
        check_length(gradients[k].depthwise.size(), terms[k].stages.size(), "gradients of depthwise weights");
        check_length(gradients[k].pointwise.size(), terms[k].stages.size(), "gradients of pointwise weights");
    }
    std::vector<std::vector<FromSum<T>>> from(terms.size());
    const auto pass = [&](std::size_t first, std::size_t last) {
        const Gathered<T> gathered(shape, terms, x, sums, first, last);
        const std::size_t count = gathered.sums.size();
        std::vector<const T*> of_sums;
        std::vector<std::vector<T>> of_weights;
        std::vector<T*> to;
        for (std::size_t i = 0; i < count; ++i) {
            of_sums.push_back(grads[gathered.sums[i]]);
            of_weights.emplace_back(gathered.places[i].size());
            to.push_back(of_weights.back().data());
        }
        const auto passed = pass_to_terms<T>(shape.out_pixels(), shape.channels, of_sums, gathered.terms, to);
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t s = gathered.sums[i];
            for (std::size_t k = 0; k < gathered.places[i].size(); ++k) {
                const std::size_t place = gathered.places[i][k];
                grad_weights[s][place] = of_weights[i][k];
                from[sums[s].terms[place]].push_back({grads[s], passed[i][k]});
            }
        }
    };
    const std::size_t at_once = kept ? terms.size() : 1;
    bool said = false;
    for (std::size_t k = 0; k < terms.size(); k += at_once) {
        if (!kept) {
            run_chains(shape, x, terms.subspan(k, 1), false, 0);
        }
        pass(k, k + at_once);
        said = chains_backward<T>(shape, x, terms.subspan(k, at_once), std::span(from).subspan(k, at_once),
                                  gradients.subspan(k, at_once), said, grad_x);
    }
    if (grad_x != nullptr && !said) {
        std::fill_n(grad_x, shape.images * shape.height * shape.width * shape.channels, T{0});
    }
}

#define NASX_MIXED_SUMS(T)                                                                              \
    template void mixed_sums(const MixedShape&, const T*, std::span<const MixedTerm<T>>,                \
                             std::span<const WeightedTerms<T>>, double, bool, std::span<T* const>);     \
    template void mixed_sums_backward(const MixedShape&, std::span<const T* const>, const T*,           \
                                      std::span<const MixedTerm<T>>, std::span<const WeightedTerms<T>>, \
                                      bool, std::span<const MixedTermGradients<T>>, T*,                 \
                                      std::span<T* const>);
NASX_MIXED_SUMS(float)
NASX_MIXED_SUMS(double)
#undef NASX_MIXED_SUMS

}  // namespace nasx::mixed_op
