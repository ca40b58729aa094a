#include "nasx/lstm.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "nasx/parallel.hpp"
#include "nasx/simd/level.hpp"
#include "nasx/simd/lstm.hpp"

namespace nasx {
namespace {

void require(bool holds, const char* argument, const char* expected) {
    if (!holds) {
        throw std::invalid_argument(std::string(argument) + " must " + expected);
    }
}

const simd::LstmKernels& kernels() {
    return NASX_AT_LEVEL(lstm_kernels);
}

bool all_finite(std::span<const float> values) {
    return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

float dot(const float* a, const float* b, std::size_t n) {
    constexpr std::size_t lanes = 8;
    float sums[lanes] = {};
    std::size_t k = 0;
    for (; k + lanes <= n; k += lanes) {
        for (std::size_t l = 0; l < lanes; ++l) {
            sums[l] += a[k + l] * b[k + l];
        }
    }
    for (; k < n; ++k) {
        sums[k % lanes] += a[k] * b[k];
    }
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

// Rows whose weights are read once for all of them.
constexpr std::size_t together = 16;

// States of the cell of some rows, and room for their gates.
class Cells {
  public:
    explicit Cells(const LstmPolicy& policy)
        : policy_(policy),
          h_(policy.start.size()),
          hidden_(together * h_),
          memory_(together * h_),
          gates_(together * 4 * h_) {}

    void reset() {
        std::fill(hidden_.begin(), hidden_.end(), 0.0f);
        std::fill(memory_.begin(), memory_.end(), 0.0f);
    }

    const float* hidden(std::size_t row) const { return hidden_.data() + row * h_; }

    // A step of the rows that have an input; null stands for none.
    void step(std::span<const float* const> inputs) {
        const float *read[together], *state[together];
        std::size_t rows[together], n = 0;
        for (std::size_t row = 0; row < inputs.size(); ++row) {
            if (inputs[row] != nullptr) {
                read[n] = inputs[row];
                state[n] = hidden(row);
                std::copy(policy_.bias.begin(), policy_.bias.end(), gates(n));
                rows[n++] = row;
            }
        }
        const simd::LstmKernels& loops = kernels();
        loops.add_product(read, n, h_, policy_.from_input.data, 4 * h_, gates_.data());
        loops.add_product(state, n, h_, policy_.from_hidden.data, 4 * h_, gates_.data());
        require(all_finite({gates_.data(), n * 4 * h_}), "weights",
                "be smaller: their products are not finite");
        for (std::size_t k = 0; k < n; ++k) {
            loops.step(gates(k), memory_.data() + rows[k] * h_, hidden_.data() + rows[k] * h_, h_);
        }
    }

  private:
    float* gates(std::size_t k) { return gates_.data() + k * 4 * h_; }

    const LstmPolicy& policy_;
    std::size_t h_;
    std::vector<float> hidden_, memory_, gates_;
};

// Draws a choice from logits, and gives its log-probability.
struct Drawn {
    std::size_t choice;
    double log_prob;
};

Drawn draw(std::span<const double> logits, Stream& stream) {
    const double most = *std::max_element(logits.begin(), logits.end());
    double total = 0;
    for (const double logit : logits) {
        total += std::exp(logit - most);
    }
    require(std::isfinite(total), "heads", "be smaller: logits are not finite");
    double left = stream.uniform() * total;
    std::size_t c = 0;
    while (c + 1 < logits.size() && left >= std::exp(logits[c] - most)) {
        left -= std::exp(logits[c++] - most);
    }
    return {c, logits[c] - most - std::log(total)};
}

// Rows begin..end, at most `together`.
void sample_some(const Decisions& decisions, const LstmPolicy& policy, const StreamKey& key,
                 std::size_t begin, std::size_t end, Cells& cells, MutableGenotypes out,
                 Matrix<double> log_probs) {
    const std::size_t h = policy.start.size(), n = end - begin;
    const float *last[together], *inputs[together];  // read next by each row, and by those that take part
    std::fill_n(last, n, policy.start.data());
    std::vector<Stream> streams;
    for (std::size_t i = begin; i < end; ++i) {
        streams.emplace_back(key, Purpose::policy, i);
    }
    std::vector<double> logits;
    cells.reset();
    std::size_t first = 0;  // choice of the decision
    for (std::size_t j = 0; j < out.cols; ++j) {
        const std::size_t choices = decisions.choices(j);
        for (std::size_t r = 0; r < n; ++r) {
            std::int32_t* const row = out.row(begin + r);
            row[j] = -1;
            log_probs(begin + r, j) = 0;
            inputs[r] = decisions.active(j, row) ? last[r] : nullptr;
        }
        cells.step({inputs, n});
        logits.resize(choices);
        for (std::size_t r = 0; r < n; ++r) {
            if (inputs[r] == nullptr) {
                continue;
            }
            for (std::size_t c = 0; c < choices; ++c) {
                const float logit =
                    dot(cells.hidden(r), policy.heads.row(first + c), h) + policy.head_bias[first + c];
                const float scaled = logit / policy.temperature;
                logits[c] = policy.bound > 0 ? policy.bound * std::tanh(scaled) : scaled;
            }
            const auto [choice, log_prob] = draw(logits, streams[r]);
            out(begin + r, j) = static_cast<std::int32_t>(choice);
            log_probs(begin + r, j) = log_prob;
            last[r] = policy.embeddings.row(first + choice);
        }
        first += choices;
    }
}

}  // namespace

void LstmPolicy::check(const Decisions& decisions) const {
    std::size_t choices = 0;
    for (std::size_t j = 0; j < decisions.size(); ++j) {
        choices += decisions.choices(j);
    }
    const std::size_t h = start.size();
    const auto fits = [](Matrix<const float> x, std::size_t rows, std::size_t cols) {
        return x.rows == rows && x.cols == cols;
    };
    require(h > 0, "start", "have at least one number");
    require(fits(embeddings, choices, h), "embeddings", "have one row of h for each choice");
    require(fits(from_input, h, 4 * h), "from_input", "have shape (h, 4 h)");
    require(fits(from_hidden, h, 4 * h), "from_hidden", "have shape (h, 4 h)");
    require(bias.size() == 4 * h, "bias", "have 4 h numbers");
    require(fits(heads, choices, h), "heads", "have one row of h for each choice");
    require(head_bias.size() == choices, "head_bias", "have one number for each choice");
    require(temperature > 0 && std::isfinite(temperature), "temperature", "be positive");
    require(bound >= 0 && std::isfinite(bound), "bound", "not be negative");
    for (const auto values :
         {start, embeddings.span(), from_input.span(), from_hidden.span(), bias, heads.span(), head_bias}) {
        require(all_finite(values), "weights", "be finite");
    }
}

void sample_lstm(const Decisions& decisions, const LstmPolicy& policy, const StreamKey& key,
                 MutableGenotypes out, Matrix<double> log_probs) {
    policy.check(decisions);
    decisions.check_width(out, "out");
    require(log_probs.rows == out.rows && log_probs.cols == out.cols, "log_probs", "have the shape of out");
    parallel_for(0, out.rows, 1, [&](std::size_t begin, std::size_t end) {
        Cells cells(policy);
        for (std::size_t first = begin; first < end; first += together) {
            sample_some(decisions, policy, key, first, std::min(first + together, end), cells, out,
                        log_probs);
        }
    });
}

}  // namespace nasx
