#include "nasx/latency_table.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>

namespace nasx {
namespace {

void check_entries(std::span<const double> values, std::size_t wanted, const std::string& name) {
    if (values.size() != wanted) {
        throw std::invalid_argument(name + " must have " + std::to_string(wanted) +
                                    " values for these cardinalities; got " + std::to_string(values.size()));
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (!std::isfinite(values[i])) {
            throw std::invalid_argument(name + " must be finite; value " + std::to_string(i) + " is " +
                                        std::to_string(values[i]));
        }
    }
}

}  // namespace

LatencyTable::LatencyTable(std::span<const std::int32_t> cardinalities, std::span<const double> entries,
                           std::span<const double> pairs, double intercept)
    : cardinalities_(cardinalities.begin(), cardinalities.end()), intercept_(intercept) {
    const Decisions checked(cardinalities_, {});
    if (!std::isfinite(intercept)) {
        throw std::invalid_argument("intercept must be finite; got " + std::to_string(intercept));
    }
    std::size_t choices = 0, both = 0;
    for (std::size_t j = 0; j < size(); ++j) {
        const auto here = static_cast<std::size_t>(cardinalities_[j]);
        choices += here;
        both += j > 0 ? here * static_cast<std::size_t>(cardinalities_[j - 1]) : 0;
    }
    check_entries(entries, choices, "entries");
    if (!pairs.empty()) {
        check_entries(pairs, both, "pairs");
    }
    const double* next = entries.data();
    for (const std::int32_t count : cardinalities_) {
        entries_.push_back(0);
        entry_starts_.push_back(entries_.size());
        entries_.insert(entries_.end(), next, next + count);
        next += count;
    }
    next = pairs.data();
    for (std::size_t j = 0; !pairs.empty() && j + 1 < size(); ++j) {
        const auto width = static_cast<std::size_t>(cardinalities_[j + 1]);
        pairs_.insert(pairs_.end(), width + 1, 0);
        pair_starts_.push_back(pairs_.size() + 1);
        for (std::int32_t row = 0; row < cardinalities_[j]; ++row) {
            pairs_.push_back(0);
            pairs_.insert(pairs_.end(), next, next + width);
            next += width;
        }
    }
}

// Several rows at a time: each row's sum waits for itself, but not for the others'.
template <std::size_t rows>
void LatencyTable::sum_rows(const std::int32_t* genotypes, double* out) const {
    const std::size_t d = size();
    std::array<double, rows> sums;
    sums.fill(intercept_);
    for (std::size_t j = 0; j < d; ++j) {
        const double* const entries = entries_.data() + entry_starts_[j];
        for (std::size_t r = 0; r < rows; ++r) {
            sums[r] += entries[genotypes[r * d + j]];
        }
    }
    for (std::size_t j = 0; j < pair_starts_.size(); ++j) {
        const double* const pairs = pairs_.data() + pair_starts_[j];
        const std::int64_t width = cardinalities_[j + 1] + 1;
        for (std::size_t r = 0; r < rows; ++r) {
            const std::int32_t* const pair = genotypes + r * d + j;
            sums[r] += pairs[pair[0] * width + pair[1]];
        }
    }
    std::copy_n(sums.begin(), rows, out);
}

void LatencyTable::sum(Genotypes genotypes, std::span<double> out) const {
    constexpr std::size_t together = 8, checked_at_once = 128;
    const Decisions decisions(cardinalities_, {});
    decisions.check_width(genotypes, "genotypes");
    for_rows(genotypes.rows, genotypes.cols, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end;) {
            // Rows are checked while they are in the cache anyway, and before they are used as indices.
            const std::size_t until = std::min(end, i + checked_at_once);
            decisions.check({genotypes.row(i), until - i, genotypes.cols}, "genotypes");
            for (; i + together <= until; i += together) {
                sum_rows<together>(genotypes.row(i), &out[i]);
            }
            for (; i < until; ++i) {
                sum_rows<1>(genotypes.row(i), &out[i]);
            }
        }
    });
}

}  // namespace nasx
