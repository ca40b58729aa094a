#include "nasx/mixed_op/normalized_sum.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "nasx/mixed_op/batch_norm.hpp"
#include "nasx/mixed_op/blocks.hpp"

namespace nasx::mixed_op {
namespace {

void check_length(std::size_t length, std::size_t terms, const char* argument) {
    if (length != terms) {
        throw std::invalid_argument(std::string(argument) + " must have one entry for each of the " +
                                    std::to_string(terms) + " terms; got " + std::to_string(length));
    }
}

void check(std::size_t rows, std::size_t terms, std::size_t normalized, std::size_t weights) {
    check_rows(rows);
    if (terms == 0) {
        throw std::invalid_argument("terms must hold at least one array; got none");
    }
    check_length(normalized, terms, "normalized");
    check_length(weights, terms, "weights");
}

// numbers (channels) times `factor`.
template <class T>
Aligned<T> times(const T* numbers, std::size_t channels, T factor) {
    Aligned<T> out(numbers, numbers + channels);
    for (T& number : out) {
        number *= factor;
    }
    return out;
}

}  // namespace

template <class T>
void normalized_sum(std::size_t rows, std::size_t channels, std::span<const T* const> terms,
                    std::span<const std::uint8_t> normalized, std::span<const T> weights, double epsilon,
                    T* out, T* means, T* variances, T* scales) {
    check(rows, terms.size(), normalized.size(), weights.size());
    if (channels == 0) {
        return;
    }
    for (std::size_t k = 0; k < terms.size(); ++k) {
        const std::size_t at = k * channels;
        if (normalized[k] != 0) {
            batch_statistics(rows, channels, terms[k], epsilon, means + at, variances + at, scales + at);
        } else {
            leave(channels, means + at, variances + at, scales + at);
        }
    }
    const NormalizedTerms<T> sum{terms, normalized, weights, means, scales};
    const std::uint8_t anew = 0;
    add_terms<T>(rows, channels, {&sum, 1}, {&anew, 1}, {&out, 1});
}

template <class T>
void leave(std::size_t channels, T* means, T* variances, T* scales) {
    std::fill_n(means, channels, T{0});
    std::fill_n(variances, channels, T{1});
    std::fill_n(scales, channels, T{1});
}

template <class T>
void add_terms(std::size_t rows, std::size_t channels, std::span<const NormalizedTerms<T>> sums,
               std::span<const std::uint8_t> add, std::span<T* const> outs) {
    const Blocks blocks(rows, channels);
    std::vector<std::vector<Aligned<T>>> shifts(sums.size()), factors(sums.size());
    for (std::size_t s = 0; s < sums.size(); ++s) {
        for (std::size_t k = 0; k < sums[s].terms.size(); ++k) {
            const std::size_t at = k * channels;
            shifts[s].push_back(repeated(sums[s].means + at, channels));
            factors[s].push_back(
                repeated(times(sums[s].scales + at, channels, sums[s].weights[k]).data(), channels));
        }
    }
    blocks.run([&](std::size_t block) {
        for (std::size_t s = 0; s < sums.size(); ++s) {
            blocks.run_pieces(block, 128, [&](std::size_t at, std::size_t n) {
                for (std::size_t k = 0; k < sums[s].terms.size(); ++k) {
                    const bool begins = k == 0 && add[s] == 0;
                    const auto loop = begins ? norm_loops<T>().normalize : norm_loops<T>().add_normalized;
                    loop(sums[s].terms[k] + at, shifts[s][k].data(), factors[s][k].data(), blocks.period, n,
                         outs[s] + at);
                }
            });
        }
    });
}

namespace {

// For each block of rows the sums of a gradient, and of its products with each term.
template <class T>
class Products {
  public:
    Products(const Blocks& blocks, std::size_t channels, const T* grad, const NormalizedTerms<T>& sum)
        : blocks_(blocks),
          channels_(channels),
          grad_(grad),
          sum_(sum),
          sums_(blocks.count * channels),
          products_(sums_.size() * sum.terms.size()) {
        for (std::size_t k = 0; k < sum.terms.size(); ++k) {
            centres_.push_back(repeated(sum.means + k * channels, channels));
        }
    }

    // Calls ask(k) before term k is read.
    template <class Ask>
    void run(std::size_t block, Ask ask) {
        const std::size_t count = sum_.terms.size(), begin = blocks_.begin(block), n = numbers_of(block);
        Aligned<T> added(blocks_.period), multiplied(blocks_.period);
        for (std::size_t k = 0; k < count; ++k) {
            ask(k);
            std::fill(added.begin(), added.end(), T{0});
            std::fill(multiplied.begin(), multiplied.end(), T{0});
            norm_loops<T>().add_products(grad_ + begin, sum_.terms[k] + begin, centres_[k].data(),
                                         blocks_.period, n, added.data(), multiplied.data());
            fold(multiplied, channels_, products_.data() + (block * count + k) * channels_);
        }
        fold(added, channels_, sums_.data() + block * channels_);
    }

    std::size_t terms() const { return sum_.terms.size(); }
    // Asks for what is read with term k, and before it.
    void ask_for_term(std::size_t block, std::size_t k) const {
        ask_for(sum_.terms[k] + blocks_.begin(block), numbers_of(block));
        if (k == 0) {
            ask_for(grad_ + blocks_.begin(block), numbers_of(block));
        }
    }

    std::vector<PassBack<T>> finish(T* grad_weights) const {
        const std::size_t count = sum_.terms.size();
        std::vector<PassBack<T>> found;
        std::vector<double> sum(channels_), product(channels_);
        for (std::size_t k = 0; k < count; ++k) {
            const T* const scales = sum_.scales + k * channels_;
            double of_weight = 0;
            for (std::size_t c = 0; c < channels_; ++c) {
                sum[c] = product[c] = 0;
                for (std::size_t block = 0; block < blocks_.count; ++block) {
                    sum[c] += sums_[block * channels_ + c];
                    product[c] += products_[(block * count + k) * channels_ + c];
                }
                of_weight += static_cast<double>(scales[c]) * product[c];
            }
            grad_weights[k] = static_cast<T>(of_weight);
            if (sum_.normalized[k] != 0) {
                found.emplace_back(blocks_.rows, channels_, sum_.means + k * channels_, scales,
                                   sum_.weights[k], sum.data(), product.data());
            } else {
                found.emplace_back(channels_, sum_.weights[k]);
            }
        }
        return found;
    }

  private:
    std::size_t numbers_of(std::size_t block) const { return blocks_.rows_of(block) * channels_; }

    Blocks blocks_;
    std::size_t channels_;
    const T* grad_;
    NormalizedTerms<T> sum_;
    std::vector<Aligned<T>> centres_;
    std::vector<double> sums_, products_;
};

}  // namespace

template <class T>
std::vector<std::vector<PassBack<T>>> pass_to_terms(std::size_t rows, std::size_t channels,
                                                    std::span<const T* const> grads,
                                                    std::span<const NormalizedTerms<T>> sums,
                                                    std::span<T* const> grad_weights) {
    const Blocks blocks(rows, channels);
    std::vector<Products<T>> products;
    for (std::size_t s = 0; s < sums.size(); ++s) {
        products.emplace_back(blocks, channels, grads[s], sums[s]);
    }
    blocks.run([&](std::size_t block) {
        for (std::size_t s = 0; s < products.size(); ++s) {
            products[s].run(block, [&](std::size_t k) {
                if (k + 1 < products[s].terms()) {
                    products[s].ask_for_term(block, k + 1);
                } else if (s + 1 < products.size()) {
                    products[s + 1].ask_for_term(block, 0);
                } else if (block + 1 < blocks.count) {
                    products[0].ask_for_term(block + 1, 0);
                }
            });
        }
    });
    std::vector<std::vector<PassBack<T>>> found;
    for (std::size_t s = 0; s < sums.size(); ++s) {
        found.push_back(products[s].finish(grad_weights[s]));
    }
    return found;
}

template <class T>
void normalized_sum_backward(std::size_t rows, std::size_t channels, const T* grad,
                             std::span<const T* const> terms, std::span<const std::uint8_t> normalized,
                             std::span<const T> weights, const T* means, const T* scales,
                             std::span<T* const> grad_terms, T* grad_weights) {
    const std::size_t count = terms.size();
    check(rows, count, normalized.size(), weights.size());
    check_length(grad_terms.size(), count, "grad_terms");
    if (channels == 0) {
        std::fill_n(grad_weights, count, T{0});
        return;
    }
    const NormalizedTerms<T> sum{terms, normalized, weights, means, scales};
    const auto to_terms = pass_to_terms<T>(rows, channels, {&grad, 1}, {&sum, 1}, {&grad_weights, 1}).front();
    const Blocks blocks(rows, channels);
    blocks.run([&](std::size_t block) {
        const std::size_t begin = blocks.begin(block);
        for (std::size_t k = 0; k < count; ++k) {
            if (grad_terms[k] != nullptr) {
                to_terms[k](grad + begin, terms[k] + begin, blocks.rows_of(block), grad_terms[k] + begin);
            }
        }
    });
}

#define NASX_PARTS_OF_SUMS(T)                                                                     \
    template void leave(std::size_t, T*, T*, T*);                                                 \
    template void add_terms(std::size_t, std::size_t, std::span<const NormalizedTerms<T>>,        \
                            std::span<const std::uint8_t>, std::span<T* const>);                  \
    template std::vector<std::vector<PassBack<T>>> pass_to_terms(                                 \
        std::size_t, std::size_t, std::span<const T* const>, std::span<const NormalizedTerms<T>>, \
        std::span<T* const>);
NASX_PARTS_OF_SUMS(float)
NASX_PARTS_OF_SUMS(double)
#undef NASX_PARTS_OF_SUMS

template void normalized_sum(std::size_t, std::size_t, std::span<const float* const>,
                             std::span<const std::uint8_t>, std::span<const float>, double, float*, float*,
                             float*, float*);
template void normalized_sum(std::size_t, std::size_t, std::span<const double* const>,
                             std::span<const std::uint8_t>, std::span<const double>, double, double*, double*,
                             double*, double*);
template void normalized_sum_backward(std::size_t, std::size_t, const float*, std::span<const float* const>,
                                      std::span<const std::uint8_t>, std::span<const float>, const float*,
                                      const float*, std::span<float* const>, float*);
template void normalized_sum_backward(std::size_t, std::size_t, const double*, std::span<const double* const>,
                                      std::span<const std::uint8_t>, std::span<const double>, const double*,
                                      const double*, std::span<double* const>, double*);

}  // namespace nasx::mixed_op
