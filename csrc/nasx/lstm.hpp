// Sampling from an autoregressive policy: an LSTM cell that reads the previous choice and gives the next
// decision's logits.
//
// Small networks are slow in frameworks made for large tensors: a choice takes one matrix-vector product of
// some ten thousand numbers, and calling that costs more than doing it.
//
// Sources: B. Zoph, Q. V. Le, "Neural architecture search with reinforcement learning", ICLR 2017. H. Pham,
// M. Guan, B. Zoph, Q. Le, J. Dean, "Efficient neural architecture search via parameter sharing", ICML 2018.
#pragma once

#include <span>

#include "nasx/array.hpp"
#include "nasx/population.hpp"
#include "nasx/rng.hpp"

namespace nasx {

// Weights of h hidden units for C choices in all; matrices are row-major with one row for each input. Gates
// stand in the order input, forget, cell, output, as in torch.
struct LstmPolicy {
    std::span<const float> start;      // (h,) read before the first decision
    Matrix<const float> embeddings;    // (C, h) read after a choice
    Matrix<const float> from_input;    // (h, 4 h)
    Matrix<const float> from_hidden;   // (h, 4 h)
    std::span<const float> bias;       // (4 h,)
    Matrix<const float> heads;         // (C, h)
    std::span<const float> head_bias;  // (C,)
    float temperature = 1;             // logits are divided by it,
    float bound = 0;                   // then become bound * tanh(logits), unless it is 0

    // Throws std::invalid_argument unless the shapes fit, the temperature is positive, the bound is not
    // negative and all numbers are finite. sample_lstm throws too where sums of products are not.
    void check(const Decisions& decisions) const;
};

// Writes rows drawn decision by decision, and beside them the log-probability of each choice, 0 where the
// decision is inactive: there the cell makes no step. Row i draws from the stream of item first + i.
// O(n d h^2). Relative errors of a cell's functions are below 1e-6. Throws as LstmPolicy::check, and for
// shapes that do not fit.
void sample_lstm(const Decisions& decisions, const LstmPolicy& policy, const StreamKey& key,
                 MutableGenotypes out, Matrix<double> log_probs);

}  // namespace nasx
