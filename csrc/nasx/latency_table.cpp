#include "nasx/latency_table.hpp"

#include <cmath>
#include <stdexcept>
#include <string>

#include "nasx/simd/level.hpp"
#include "nasx/simd/lookup.hpp"

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

const simd::LookupKernels& kernels() {
    return NASX_AT_LEVEL(lookup);
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
    entries_.resize(entries_.size() + simd::Lookup::padding);
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

void LatencyTable::sum(Genotypes genotypes, std::span<double> out) const {
    const Decisions decisions(cardinalities_, {});
    decisions.check_width(genotypes, "genotypes");
    const simd::Lookup table{size(),
                             cardinalities_.data(),
                             entries_.data(),
                             entry_starts_.data(),
                             pair_starts_.empty() ? nullptr : pairs_.data(),
                             pair_starts_.data(),
                             intercept_};
    for_rows(genotypes.rows, genotypes.cols, [&](std::size_t begin, std::size_t end) {
        std::vector<std::int32_t> room(size() * simd::LookupKernels::rows_at_once);
        const std::size_t n = end - begin;
        if (kernels().sum(table, genotypes.row(begin), n, room.data(), out.data() + begin) < n) {
            decisions.check(genotypes, "genotypes");  // names the first row that is wrong
        }
    });
}

}  // namespace nasx
