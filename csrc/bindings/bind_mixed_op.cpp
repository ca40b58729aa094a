// Kernels on tensors: arguments are addresses of contiguous memory, which nasx/nn/kernels has checked and
// keeps alive. What is wrong with them cannot be found out here, save that an address is missing.
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "arguments.hpp"
#include "nasx/mixed_op/batch_norm.hpp"
#include "nasx/mixed_op/channel_parts.hpp"
#include "nasx/mixed_op/depthwise.hpp"
#include "nasx/mixed_op/mixed_sum.hpp"
#include "nasx/mixed_op/normalized_sum.hpp"
#include "nasx/mixed_op/pointwise.hpp"
#include "nasx/mixed_op/pooling.hpp"
#include "nasx/mixed_op/weighted_sum.hpp"
#include "nasx/parallel.hpp"

namespace nasx::bindings {
namespace {

using Address = std::uintptr_t;

// These are called between kernels of torch, on whose threads they run, and none of them touches Python.
struct Released {
    py::gil_scoped_release release;
    BorrowedTeam team;
};

template <class T>
T* maybe_pointer(Address address) {
    return reinterpret_cast<T*>(address);
}

template <class T>
T* pointer(Address address, const char* name) {
    if (address == 0) {
        throw py::value_error(std::string(name) + " must be the address of a tensor's memory; got 0");
    }
    return maybe_pointer<T>(address);
}

template <class T>
std::vector<const T*> pointers(const std::vector<Address>& addresses, const char* name) {
    std::vector<const T*> found;
    for (const Address address : addresses) {
        found.push_back(pointer<const T>(address, name));
    }
    return found;
}

template <class T>
std::span<const T> numbers(Address address, std::size_t count, const char* name) {
    return {pointer<const T>(address, name), count};
}

template <class T>
void bind_weighted_sum(const std::vector<Address>& terms, Address weights, py::ssize_t n, Address out) {
    const auto arrays = pointers<T>(terms, "terms");
    const auto factors = numbers<T>(weights, arrays.size(), "weights");
    const auto size = count(n, "n");
    T* const to = pointer<T>(out, "out");
    const Released released;
    mixed_op::weighted_sum<T>(arrays, factors, size, to);
}

// A zero among grad_terms, or as grad_weights, says that this gradient is not wanted.
template <class T>
void bind_weighted_sum_backward(Address grad, const std::vector<Address>& terms, Address weights,
                                py::ssize_t n, const std::vector<Address>& grad_terms, Address grad_weights) {
    const T* const from = pointer<const T>(grad, "grad");
    std::vector<const T*> arrays;
    if (grad_weights != 0) {
        arrays = pointers<T>(terms, "terms");
    } else {
        arrays.resize(terms.size());  // never read
    }
    const auto factors = numbers<T>(weights, arrays.size(), "weights");
    const auto size = count(n, "n");
    std::vector<T*> scaled;
    for (const Address address : grad_terms) {
        scaled.push_back(maybe_pointer<T>(address));
    }
    const std::span<T> products(maybe_pointer<T>(grad_weights), grad_weights == 0 ? 0 : arrays.size());
    const Released released;
    mixed_op::weighted_sum_backward<T>(from, arrays, factors, size, scaled, products);
}

mixed_op::PoolingShape pooling_shape(py::ssize_t images, py::ssize_t height, py::ssize_t width,
                                     py::ssize_t channels, py::ssize_t stride) {
    return {count(images, "images"), count(height, "height"), count(width, "width"),
            count(channels, "channels"), count(stride, "stride")};
}

template <class T>
void bind_max_pool(py::ssize_t images, py::ssize_t height, py::ssize_t width, py::ssize_t channels,
                   py::ssize_t stride, Address x, Address out, Address places) {
    const auto shape = pooling_shape(images, height, width, channels, stride);
    const T* const from = pointer<const T>(x, "x");
    T* const to = pointer<T>(out, "out");
    auto* const where = pointer<std::int8_t>(places, "places");
    const Released released;
    mixed_op::max_pool_3x3<T>(shape, from, to, where);
}

template <class T>
void bind_max_pool_backward(py::ssize_t images, py::ssize_t height, py::ssize_t width, py::ssize_t channels,
                            py::ssize_t stride, Address grad, Address places, Address grad_x) {
    const auto shape = pooling_shape(images, height, width, channels, stride);
    const T* const from = pointer<const T>(grad, "grad");
    const auto* const where = pointer<const std::int8_t>(places, "places");
    T* const to = pointer<T>(grad_x, "grad_x");
    const Released released;
    mixed_op::max_pool_3x3_backward<T>(shape, from, where, to);
}

template <class T>
void bind_avg_pool(py::ssize_t images, py::ssize_t height, py::ssize_t width, py::ssize_t channels,
                   py::ssize_t stride, Address x, Address out) {
    const auto shape = pooling_shape(images, height, width, channels, stride);
    const T* const from = pointer<const T>(x, "x");
    T* const to = pointer<T>(out, "out");
    const Released released;
    mixed_op::avg_pool_3x3<T>(shape, from, to);
}

template <class T>
void bind_avg_pool_backward(py::ssize_t images, py::ssize_t height, py::ssize_t width, py::ssize_t channels,
                            py::ssize_t stride, Address grad, Address grad_x) {
    const auto shape = pooling_shape(images, height, width, channels, stride);
    const T* const from = pointer<const T>(grad, "grad");
    T* const to = pointer<T>(grad_x, "grad_x");
    const Released released;
    mixed_op::avg_pool_3x3_backward<T>(shape, from, to);
}

mixed_op::DepthwiseShape depthwise_shape(py::ssize_t images, py::ssize_t height, py::ssize_t width,
                                         py::ssize_t channels, py::ssize_t kernel, py::ssize_t stride,
                                         py::ssize_t dilation) {
    return {count(images, "images"),     count(height, "height"), count(width, "width"),
            count(channels, "channels"), count(kernel, "kernel"), count(stride, "stride"),
            count(dilation, "dilation")};
}

template <class T>
void bind_relu_depthwise(py::ssize_t images, py::ssize_t height, py::ssize_t width, py::ssize_t channels,
                         py::ssize_t kernel, py::ssize_t stride, py::ssize_t dilation, Address x,
                         Address weights, Address out) {
    const auto shape = depthwise_shape(images, height, width, channels, kernel, stride, dilation);
    const T* const from = pointer<const T>(x, "x");
    const T* const factors = pointer<const T>(weights, "weights");
    T* const to = pointer<T>(out, "out");
    const Released released;
    mixed_op::relu_depthwise<T>(shape, from, factors, to);
}

// A zero as grad_x or grad_weights says that this gradient is not wanted.
template <class T>
void bind_relu_depthwise_backward(py::ssize_t images, py::ssize_t height, py::ssize_t width,
                                  py::ssize_t channels, py::ssize_t kernel, py::ssize_t stride,
                                  py::ssize_t dilation, Address grad, Address x, Address weights,
                                  Address grad_x, Address grad_weights) {
    const auto shape = depthwise_shape(images, height, width, channels, kernel, stride, dilation);
    const T* const passed = pointer<const T>(grad, "grad");
    const T* const from = pointer<const T>(x, "x");
    const T* const factors = pointer<const T>(weights, "weights");
    T* const of_x = maybe_pointer<T>(grad_x);
    T* const of_weights = maybe_pointer<T>(grad_weights);
    const Released released;
    mixed_op::relu_depthwise_backward<T>(shape, passed, from, factors, of_x, of_weights);
}

template <class T>
void bind_pointwise(py::ssize_t pixels, py::ssize_t in_channels, py::ssize_t out_channels, Address x,
                    Address weights, Address out) {
    const mixed_op::PointwiseShape shape{count(pixels, "pixels"), count(in_channels, "in_channels"),
                                         count(out_channels, "out_channels")};
    const T* const from = pointer<const T>(x, "x");
    const T* const factors = pointer<const T>(weights, "weights");
    T* const to = pointer<T>(out, "out");
    const Released released;
    mixed_op::pointwise<T>(shape, from, factors, to);
}

// A zero as grad_x or grad_weights says that this gradient is not wanted.
template <class T>
void bind_pointwise_backward(py::ssize_t pixels, py::ssize_t in_channels, py::ssize_t out_channels,
                             Address grad, Address x, Address weights, Address grad_x, Address grad_weights) {
    const mixed_op::PointwiseShape shape{count(pixels, "pixels"), count(in_channels, "in_channels"),
                                         count(out_channels, "out_channels")};
    const T* const passed = pointer<const T>(grad, "grad");
    const T* const from = pointer<const T>(x, "x");
    const T* const factors = pointer<const T>(weights, "weights");
    T* const of_x = maybe_pointer<T>(grad_x);
    T* const of_weights = maybe_pointer<T>(grad_weights);
    const Released released;
    mixed_op::pointwise_backward<T>(shape, passed, from, factors, of_x, of_weights);
}

template <class T>
void bind_batch_norm(py::ssize_t rows, py::ssize_t channels, Address x, double epsilon, Address out,
                     Address means, Address variances, Address scales) {
    const auto pixels = count(rows, "rows"), width = count(channels, "channels");
    const T* const from = pointer<const T>(x, "x");
    T* const to = pointer<T>(out, "out");
    T* const centres = pointer<T>(means, "means");
    T* const spreads = pointer<T>(variances, "variances");
    T* const factors = pointer<T>(scales, "scales");
    const Released released;
    mixed_op::batch_norm<T>(pixels, width, from, epsilon, to, centres, spreads, factors);
}

template <class T>
void bind_batch_norm_backward(py::ssize_t rows, py::ssize_t channels, Address grad, Address x, Address means,
                              Address scales, Address grad_x) {
    const auto pixels = count(rows, "rows"), width = count(channels, "channels");
    const T* const passed = pointer<const T>(grad, "grad");
    const T* const from = pointer<const T>(x, "x");
    const T* const centres = pointer<const T>(means, "means");
    const T* const factors = pointer<const T>(scales, "scales");
    T* const to = pointer<T>(grad_x, "grad_x");
    const Released released;
    mixed_op::batch_norm_backward<T>(pixels, width, passed, from, centres, factors, to);
}

// Of a layer: the addresses of the means and variances that it follows, of its running ones and of the number
// of its batches, and its share.
using Following = std::tuple<Address, Address, Address, Address, Address, std::optional<double>>;

template <class T>
void bind_follow_statistics(py::ssize_t channels, py::ssize_t numbers_of_channel,
                            const std::vector<Following>& layers) {
    const auto width = count(channels, "channels"), of_each = count(numbers_of_channel, "count");
    for (const auto& [means, variances, running_means, running_variances, batches, share] : layers) {
        mixed_op::follow_statistics<T>(
            width, of_each, pointer<const T>(means, "means"), pointer<const T>(variances, "variances"),
            {pointer<T>(running_means, "running means"), pointer<T>(running_variances, "running variances"),
             pointer<std::int64_t>(batches, "batches"), share});
    }
}

std::vector<std::uint8_t> flags(const std::vector<bool>& values) {
    return {values.begin(), values.end()};
}

template <class T>
void bind_normalized_sum(py::ssize_t rows, py::ssize_t channels, const std::vector<Address>& terms,
                         const std::vector<bool>& normalized, Address weights, double epsilon, Address out,
                         Address means, Address variances, Address scales) {
    const auto pixels = count(rows, "rows"), width = count(channels, "channels");
    const auto arrays = pointers<T>(terms, "terms");
    const auto which = flags(normalized);
    const auto factors = numbers<T>(weights, arrays.size(), "weights");
    T* const to = pointer<T>(out, "out");
    T* const centres = pointer<T>(means, "means");
    T* const spreads = pointer<T>(variances, "variances");
    T* const steps = pointer<T>(scales, "scales");
    const Released released;
    mixed_op::normalized_sum<T>(pixels, width, arrays, which, factors, epsilon, to, centres, spreads, steps);
}

// A zero among grad_terms says that this gradient is not wanted.
template <class T>
void bind_normalized_sum_backward(py::ssize_t rows, py::ssize_t channels, Address grad,
                                  const std::vector<Address>& terms, const std::vector<bool>& normalized,
                                  Address weights, Address means, Address scales,
                                  const std::vector<Address>& grad_terms, Address grad_weights) {
    const auto pixels = count(rows, "rows"), width = count(channels, "channels");
    const T* const passed = pointer<const T>(grad, "grad");
    const auto arrays = pointers<T>(terms, "terms");
    const auto which = flags(normalized);
    const auto factors = numbers<T>(weights, arrays.size(), "weights");
    const T* const centres = pointer<const T>(means, "means");
    const T* const steps = pointer<const T>(scales, "scales");
    std::vector<T*> of_terms;
    for (const Address address : grad_terms) {
        of_terms.push_back(maybe_pointer<T>(address));
    }
    T* const of_weights = pointer<T>(grad_weights, "grad_weights");
    const Released released;
    mixed_op::normalized_sum_backward<T>(pixels, width, passed, arrays, which, factors, centres, steps,
                                         of_terms, of_weights);
}

// A stage: kernel, dilation, and the addresses of both weights and of both rooms.
using StageGiven = std::tuple<py::ssize_t, py::ssize_t, Address, Address, Address>;
// A term: its chain by number, whether it is normalised, its stages, and the addresses of its own rooms.
using TermGiven = std::tuple<int, bool, std::vector<StageGiven>, Address, Address>;
// Its gradients' addresses: of depthwise weights, of pointwise weights, of what was given, and of the room
// between its stages.
using GradientsGiven = std::tuple<std::vector<Address>, std::vector<Address>, Address, Address>;
// A sum: its terms by number, and the addresses of its weights and of what it gives.
using SumGiven = std::tuple<std::vector<std::size_t>, Address, Address>;
// The same with the address of its gradient, and then of its weights' gradient.
using SumGradientGiven = std::tuple<std::vector<std::size_t>, Address, Address, Address>;

mixed_op::MixedShape mixed_shape(const std::array<py::ssize_t, 5>& sizes) {
    return {count(sizes[0], "images"), count(sizes[1], "height"), count(sizes[2], "width"),
            count(sizes[3], "channels"), count(sizes[4], "stride")};
}

// `statistics` is the address of (rows, 3, channels) numbers: a row for each term, then one for each stage
// that is not the last of its chain.
template <class T>
std::vector<mixed_op::MixedTerm<T>> mixed_terms(const std::vector<TermGiven>& terms, std::size_t channels,
                                                Address statistics) {
    constexpr int last_chain = static_cast<int>(mixed_op::Chain::convolutions);
    T* const numbers_of_all = pointer<T>(statistics, "statistics");
    const auto row = [&](std::size_t number) {
        T* const first = numbers_of_all + number * 3 * channels;
        return mixed_op::ChannelStatistics<T>{first, first + channels, first + 2 * channels};
    };
    std::size_t inner = terms.size();
    std::vector<mixed_op::MixedTerm<T>> found;
    for (const auto& [chain, normalized, stages, out, places] : terms) {
        if (chain < 0 || chain > last_chain) {
            throw py::value_error("chains must be numbers from 0 to " + std::to_string(last_chain) +
                                  "; got " + std::to_string(chain));
        }
        const auto kind = static_cast<mixed_op::Chain>(chain);
        const bool made = kind == mixed_op::Chain::identity || kind == mixed_op::Chain::convolutions;
        mixed_op::MixedTerm<T> term{
            kind,
            normalized,
            {},
            made ? nullptr : pointer<T>(out, "a term's room"),
            kind == mixed_op::Chain::max_pool ? pointer<std::int8_t>(places, "the room of places") : nullptr,
            row(found.size())};
        for (std::size_t s = 0; s < stages.size(); ++s) {
            const auto& [kernel, dilation, depthwise, pointwise, to] = stages[s];
            term.stages.push_back({count(kernel, "kernel"), count(dilation, "dilation"),
                                   pointer<const T>(depthwise, "depthwise weights"),
                                   pointer<const T>(pointwise, "pointwise weights"),
                                   pointer<T>(to, "a stage's room"),
                                   row(s + 1 == stages.size() ? found.size() : inner++)});
        }
        found.push_back(std::move(term));
    }
    return found;
}

template <class T>
void bind_mixed_sums(const std::array<py::ssize_t, 5>& sizes, Address x, const std::vector<TermGiven>& terms,
                     const std::vector<SumGiven>& sums, Address statistics, double epsilon, bool kept) {
    const auto shape = mixed_shape(sizes);
    const auto chains = mixed_terms<T>(terms, shape.channels, statistics);
    const T* const from = pointer<const T>(x, "x");
    std::vector<mixed_op::WeightedTerms<T>> weighted;
    std::vector<T*> to;
    for (const auto& [of_sum, weights, out] : sums) {
        weighted.push_back({of_sum, numbers<T>(weights, of_sum.size(), "weights")});
        to.push_back(pointer<T>(out, "out"));
    }
    const Released released;
    mixed_op::mixed_sums<T>(shape, from, chains, weighted, epsilon, kept, to);
}

// A zero among gradients, or as grad_x, says that this gradient is not wanted.
template <class T>
void bind_mixed_sums_backward(const std::array<py::ssize_t, 5>& sizes, Address x,
                              const std::vector<TermGiven>& terms, const std::vector<SumGradientGiven>& sums,
                              Address statistics, bool kept, const std::vector<GradientsGiven>& gradients,
                              Address grad_x) {
    const auto shape = mixed_shape(sizes);
    const auto chains = mixed_terms<T>(terms, shape.channels, statistics);
    const T* const from = pointer<const T>(x, "x");
    std::vector<mixed_op::WeightedTerms<T>> weighted;
    std::vector<const T*> passed;
    std::vector<T*> of_weights;
    for (const auto& [of_sum, weights, grad, grad_weights] : sums) {
        weighted.push_back({of_sum, numbers<T>(weights, of_sum.size(), "weights")});
        passed.push_back(pointer<const T>(grad, "grad"));
        of_weights.push_back(pointer<T>(grad_weights, "grad_weights"));
    }
    std::vector<mixed_op::MixedTermGradients<T>> found;
    for (const auto& [depthwise, pointwise, given, between] : gradients) {
        mixed_op::MixedTermGradients<T> of_term{{}, {}, maybe_pointer<T>(given), maybe_pointer<T>(between)};
        for (const Address address : depthwise) {
            of_term.depthwise.push_back(maybe_pointer<T>(address));
        }
        for (const Address address : pointwise) {
            of_term.pointwise.push_back(maybe_pointer<T>(address));
        }
        if (depthwise.size() > 1) {
            pointer<T>(between, "the room between stages");
        }
        found.push_back(std::move(of_term));
    }
    T* const of_x = maybe_pointer<T>(grad_x);
    const Released released;
    mixed_op::mixed_sums_backward<T>(shape, passed, from, chains, weighted, kept, found, of_x, of_weights);
}

template <class T>
void bind_take_channels(py::ssize_t pixels, py::ssize_t channels, py::ssize_t width, Address x,
                        Address part) {
    const auto rows = count(pixels, "pixels"), all = count(channels, "channels"), few = count(width, "width");
    const T* const from = pointer<const T>(x, "x");
    T* const to = pointer<T>(part, "part");
    const Released released;
    mixed_op::take_channels<T>(rows, all, few, from, to);
}

template <class T>
void bind_join_channels(py::ssize_t pixels, py::ssize_t width, py::ssize_t rest_width, Address part,
                        Address rest, Address out) {
    const auto rows = count(pixels, "pixels"), few = count(width, "width");
    const auto others = count(rest_width, "rest_width");
    const T* const first = pointer<const T>(part, "part");
    const T* const second = pointer<const T>(rest, "rest");
    T* const to = pointer<T>(out, "out");
    const Released released;
    mixed_op::join_channels<T>(rows, few, others, first, second, to);
}

template <class T>
void bind_shuffle_channels(py::ssize_t pixels, py::ssize_t width, py::ssize_t portion, Address part,
                           Address rest, py::ssize_t step, Address out) {
    const auto rows = count(pixels, "pixels"), few = count(width, "width");
    const auto parts = count(portion, "portion"), apart = count(step, "step");
    const T* const first = pointer<const T>(part, "part");
    const T* const others = pointer<const T>(rest, "rest");
    T* const to = pointer<T>(out, "out");
    const Released released;
    mixed_op::shuffle_channels<T>(rows, few, parts, first, others, apart, to);
}

template <class T>
void bind_unshuffle_channels(py::ssize_t pixels, py::ssize_t width, py::ssize_t portion, Address shuffled,
                             Address part, Address rest) {
    const auto rows = count(pixels, "pixels"), few = count(width, "width");
    const auto parts = count(portion, "portion");
    const T* const from = pointer<const T>(shuffled, "shuffled");
    T* const first = pointer<T>(part, "part");
    T* const others = pointer<T>(rest, "rest");
    const Released released;
    mixed_op::unshuffle_channels<T>(rows, few, parts, from, first, others);
}

// `type` ends the names: a function does not see what the memory holds.
template <class T>
void register_for(py::module_& module, const std::string& type) {
    const auto name = [&](const char* stem) { return std::string(stem) + "_" + type; };
    module.def(name("weighted_sum").c_str(), &bind_weighted_sum<T>, py::arg("terms"), py::arg("weights"),
               py::arg("n"), py::arg("out"));
    module.def(name("weighted_sum_backward").c_str(), &bind_weighted_sum_backward<T>, py::arg("grad"),
               py::arg("terms"), py::arg("weights"), py::arg("n"), py::arg("grad_terms"),
               py::arg("grad_weights"));
    module.def(name("max_pool_3x3").c_str(), &bind_max_pool<T>, py::arg("images"), py::arg("height"),
               py::arg("width"), py::arg("channels"), py::arg("stride"), py::arg("x"), py::arg("out"),
               py::arg("places"));
    module.def(name("max_pool_3x3_backward").c_str(), &bind_max_pool_backward<T>, py::arg("images"),
               py::arg("height"), py::arg("width"), py::arg("channels"), py::arg("stride"), py::arg("grad"),
               py::arg("places"), py::arg("grad_x"));
    module.def(name("avg_pool_3x3").c_str(), &bind_avg_pool<T>, py::arg("images"), py::arg("height"),
               py::arg("width"), py::arg("channels"), py::arg("stride"), py::arg("x"), py::arg("out"));
    module.def(name("avg_pool_3x3_backward").c_str(), &bind_avg_pool_backward<T>, py::arg("images"),
               py::arg("height"), py::arg("width"), py::arg("channels"), py::arg("stride"), py::arg("grad"),
               py::arg("grad_x"));
    module.def(name("relu_depthwise").c_str(), &bind_relu_depthwise<T>, py::arg("images"), py::arg("height"),
               py::arg("width"), py::arg("channels"), py::arg("kernel"), py::arg("stride"),
               py::arg("dilation"), py::arg("x"), py::arg("weights"), py::arg("out"));
    module.def(name("relu_depthwise_backward").c_str(), &bind_relu_depthwise_backward<T>, py::arg("images"),
               py::arg("height"), py::arg("width"), py::arg("channels"), py::arg("kernel"), py::arg("stride"),
               py::arg("dilation"), py::arg("grad"), py::arg("x"), py::arg("weights"), py::arg("grad_x"),
               py::arg("grad_weights"));
    module.def(name("pointwise").c_str(), &bind_pointwise<T>, py::arg("pixels"), py::arg("in_channels"),
               py::arg("out_channels"), py::arg("x"), py::arg("weights"), py::arg("out"));
    module.def(name("pointwise_backward").c_str(), &bind_pointwise_backward<T>, py::arg("pixels"),
               py::arg("in_channels"), py::arg("out_channels"), py::arg("grad"), py::arg("x"),
               py::arg("weights"), py::arg("grad_x"), py::arg("grad_weights"));
    module.def(name("batch_norm").c_str(), &bind_batch_norm<T>, py::arg("rows"), py::arg("channels"),
               py::arg("x"), py::arg("epsilon"), py::arg("out"), py::arg("means"), py::arg("variances"),
               py::arg("scales"));
    module.def(name("batch_norm_backward").c_str(), &bind_batch_norm_backward<T>, py::arg("rows"),
               py::arg("channels"), py::arg("grad"), py::arg("x"), py::arg("means"), py::arg("scales"),
               py::arg("grad_x"));
    module.def(name("follow_statistics").c_str(), &bind_follow_statistics<T>, py::arg("channels"),
               py::arg("count"), py::arg("layers"));
    module.def(name("normalized_sum").c_str(), &bind_normalized_sum<T>, py::arg("rows"), py::arg("channels"),
               py::arg("terms"), py::arg("normalized"), py::arg("weights"), py::arg("epsilon"),
               py::arg("out"), py::arg("means"), py::arg("variances"), py::arg("scales"));
    module.def(name("normalized_sum_backward").c_str(), &bind_normalized_sum_backward<T>, py::arg("rows"),
               py::arg("channels"), py::arg("grad"), py::arg("terms"), py::arg("normalized"),
               py::arg("weights"), py::arg("means"), py::arg("scales"), py::arg("grad_terms"),
               py::arg("grad_weights"));
    module.def(name("mixed_sums").c_str(), &bind_mixed_sums<T>, py::arg("sizes"), py::arg("x"),
               py::arg("terms"), py::arg("sums"), py::arg("statistics"), py::arg("epsilon"), py::arg("kept"));
    module.def(name("mixed_sums_backward").c_str(), &bind_mixed_sums_backward<T>, py::arg("sizes"),
               py::arg("x"), py::arg("terms"), py::arg("sums"), py::arg("statistics"), py::arg("kept"),
               py::arg("gradients"), py::arg("grad_x"));
    module.def(name("take_channels").c_str(), &bind_take_channels<T>, py::arg("pixels"), py::arg("channels"),
               py::arg("width"), py::arg("x"), py::arg("part"));
    module.def(name("join_channels").c_str(), &bind_join_channels<T>, py::arg("pixels"), py::arg("width"),
               py::arg("rest_width"), py::arg("part"), py::arg("rest"), py::arg("out"));
    module.def(name("shuffle_channels").c_str(), &bind_shuffle_channels<T>, py::arg("pixels"),
               py::arg("width"), py::arg("portion"), py::arg("part"), py::arg("rest"), py::arg("step"),
               py::arg("out"));
    module.def(name("unshuffle_channels").c_str(), &bind_unshuffle_channels<T>, py::arg("pixels"),
               py::arg("width"), py::arg("portion"), py::arg("shuffled"), py::arg("part"), py::arg("rest"));
}

}  // namespace

void register_mixed_op(py::module_ module) {
    module.def(
        "set_team", [](Address function) { set_team(reinterpret_cast<TeamFunction>(function)); },
        py::arg("function"),
        "The address of GOMP_parallel, on whose threads these functions run from now on; 0: on the core's "
        "own.");
    register_for<float>(module, "float32");
    register_for<double>(module, "float64");
}

}  // namespace nasx::bindings
