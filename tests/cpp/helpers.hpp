// What several test files need: random matrices and ranks by definition.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "nasx/array.hpp"
#include "nasx/rng.hpp"

namespace nasx::test {

struct Losses {
    std::vector<double> values;
    std::size_t rows, cols;

    Matrix<const double> view() const { return {values.data(), rows, cols}; }
};

// Numbers in [0, 1), or whole ones below `levels` when that is not 0 (many ties).
inline Losses random_losses(std::size_t rows, std::size_t cols, std::uint64_t seed,
                            std::uint32_t levels = 0) {
    Losses losses{std::vector<double>(rows * cols), rows, cols};
    Stream stream(seed, Purpose::sample, 0, 0);
    for (double& x : losses.values) {
        x = levels == 0 ? stream.uniform() : stream.below(levels);
    }
    return losses;
}

inline bool dominates(const double* a, const double* b, std::size_t m) {
    bool smaller = false;
    for (std::size_t j = 0; j < m; ++j) {
        if (a[j] > b[j]) {
            return false;
        }
        smaller = smaller || a[j] < b[j];
    }
    return smaller;
}

inline std::vector<std::int32_t> ranks_by_definition(Matrix<const double> losses) {
    std::vector<std::int32_t> ranks(losses.rows, -1);
    std::size_t left = losses.rows;
    for (std::int32_t front = 0; left > 0; ++front) {
        std::vector<std::size_t> members;
        for (std::size_t i = 0; i < losses.rows; ++i) {
            bool free = ranks[i] < 0;
            for (std::size_t k = 0; free && k < losses.rows; ++k) {
                free = ranks[k] >= 0 || !dominates(losses.row(k), losses.row(i), losses.cols);
            }
            if (free) {
                members.push_back(i);
            }
        }
        for (const std::size_t i : members) {
            ranks[i] = front;
        }
        left -= members.size();
    }
    return ranks;
}

// The message of the std::invalid_argument that `call` throws; empty when it throws nothing.
template <class Call>
std::string refusal(Call&& call) {
    try {
        call();
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return {};
}

inline bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

}  // namespace nasx::test
