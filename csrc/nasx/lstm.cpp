#include "nasx/lstm.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "nasx/parallel.hpp"

namespace nasx {
namespace {

void require(bool holds, const char* argument, const char* expected) {
    if (!holds) {
        throw std::invalid_argument(std::string(argument) + " must " + expected);
    }
}

bool all_finite(std::span<const float> values) {
    return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

// exp without branches, so that loops over it are vectorised: 2^n times a polynomial on |x| <= log(2) / 2.
inline float fast_exp(float x) {
    x = std::min(std::max(x, -87.0f), 87.0f);
    // Adding and taking away 1.5 * 2^23 rounds to the nearest whole number.
    constexpr float rounder = 12582912.0f;
    const float n = (x * 1.44269504f + rounder) - rounder;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * std::bit_cast<float>((static_cast<std::int32_t>(n) + 127) << 23);
}

inline float sigmoid(float x) {
    return 1.0f / (1.0f + fast_exp(-x));
}
inline float hyperbolic(float x) {
    return 2.0f * sigmoid(2.0f * x) - 1.0f;
}

// out += x W, four inputs at a time. The order of the sums is fixed.
void add_product(const float* x, Matrix<const float> weights, float* out) {
    std::size_t k = 0;
    for (; k + 4 <= weights.rows; k += 4) {
        const float a = x[k], b = x[k + 1], c = x[k + 2], d = x[k + 3];
        const float *const wa = weights.row(k), *const wb = weights.row(k + 1);
        const float *const wc = weights.row(k + 2), *const wd = weights.row(k + 3);
        for (std::size_t g = 0; g < weights.cols; ++g) {
            out[g] += (a * wa[g] + b * wb[g]) + (c * wc[g] + d * wd[g]);
        }
    }
    for (; k < weights.rows; ++k) {
        for (std::size_t g = 0; g < weights.cols; ++g) {
            out[g] += x[k] * weights(k, g);
        }
    }
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

// The state of one row, and room for its gates.
class Cell {
  public:
    explicit Cell(const LstmPolicy& policy)
        : policy_(policy), h_(policy.start.size()), hidden_(h_), memory_(h_), gates_(4 * h_) {}

    void reset() {
        std::fill(hidden_.begin(), hidden_.end(), 0.0f);
        std::fill(memory_.begin(), memory_.end(), 0.0f);
    }

    const float* step(const float* input) {
        std::copy(policy_.bias.begin(), policy_.bias.end(), gates_.begin());
        add_product(input, policy_.from_input, gates_.data());
        add_product(hidden_.data(), policy_.from_hidden, gates_.data());
        require(all_finite(gates_), "weights", "be smaller: their products are not finite");
        float* const gates = gates_.data();
        for (std::size_t k = 0; k < 2 * h_; ++k) {
            gates[k] = sigmoid(gates[k]);
        }
        for (std::size_t k = 2 * h_; k < 3 * h_; ++k) {
            gates[k] = hyperbolic(gates[k]);
        }
        for (std::size_t k = 3 * h_; k < 4 * h_; ++k) {
            gates[k] = sigmoid(gates[k]);
        }
        float *const memory = memory_.data(), *const hidden = hidden_.data();
        for (std::size_t k = 0; k < h_; ++k) {
            memory[k] = gates[h_ + k] * memory[k] + gates[k] * gates[2 * h_ + k];
            hidden[k] = gates[3 * h_ + k] * hyperbolic(memory[k]);
        }
        return hidden;
    }

  private:
    const LstmPolicy& policy_;
    std::size_t h_;
    std::vector<float> hidden_, memory_, gates_;
};

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
    const std::size_t h = policy.start.size();
    parallel_for(0, out.rows, 1, [&](std::size_t begin, std::size_t end) {
        Cell cell(policy);
        std::vector<double> logits;
        for (std::size_t i = begin; i < end; ++i) {
            Stream stream(key, Purpose::policy, i);
            cell.reset();
            const float* input = policy.start.data();
            std::size_t first = 0;  // choice of the decision
            for (std::size_t j = 0; j < out.cols; ++j) {
                const std::size_t choices = decisions.choices(j);
                std::int32_t* const row = out.row(i);
                row[j] = -1;
                log_probs(i, j) = 0;
                if (decisions.active(j, row)) {
                    const float* const hidden = cell.step(input);
                    logits.resize(choices);
                    for (std::size_t c = 0; c < choices; ++c) {
                        const float logit =
                            dot(hidden, policy.heads.row(first + c), h) + policy.head_bias[first + c];
                        const float scaled = logit / policy.temperature;
                        logits[c] = policy.bound > 0 ? policy.bound * std::tanh(scaled) : scaled;
                    }
                    const double most = *std::max_element(logits.begin(), logits.end());
                    double total = 0;
                    for (const double logit : logits) {
                        total += std::exp(logit - most);
                    }
                    require(std::isfinite(total), "heads", "be smaller: logits are not finite");
                    double left = stream.uniform() * total;
                    std::size_t c = 0;
                    while (c + 1 < choices && left >= std::exp(logits[c] - most)) {
                        left -= std::exp(logits[c++] - most);
                    }
                    row[j] = static_cast<std::int32_t>(c);
                    log_probs(i, j) = logits[c] - most - std::log(total);
                    input = policy.embeddings.row(first + c);
                }
                first += choices;
            }
        }
    });
}

}  // namespace nasx
