#include <cmath>
#include <stdexcept>
#include <string>

#include "nasx/budget.hpp"

namespace nasx {
namespace {

constexpr int most_attempts = 10'000;

// For each decision and number of cells, in how many ways the decisions from it on stay within these cells.
class Counts {
  public:
    Counts(const Sums& costs, double limit, std::size_t resolution)
        : cardinalities_(costs.cardinalities), width_(resolution + 1) {
        const std::size_t d = costs.size();
        for (const double share : costs.shares(0, limit)) {
            // Down, but for what may be a whole number of cells and its rounding: as the shares of what is
            // within the limit add up to at most 1, their cells are at most resolution (1 + 2e-9), rounded
            // down.
            const double cells = share * (1 + 2e-9) * static_cast<double>(resolution);
            cells_.push_back(share > 1 ? width_ : static_cast<std::size_t>(cells));
        }
        counts_.assign((d + 1) * width_, 0);
        std::fill(row(d), row(d) + width_, 1.0);
        std::size_t at = cells_.size();
        for (std::size_t j = d; j-- > 0;) {
            double* const here = row(j);
            const double* const next = row(j + 1);
            at -= static_cast<std::size_t>(cardinalities_[j]);
            for (std::size_t k = at; k < at + static_cast<std::size_t>(cardinalities_[j]); ++k) {
                for (std::size_t c = cells_[k]; c < width_; ++c) {
                    here[c] += next[c - cells_[k]];
                }
            }
            // Only ratios within a row matter. There are so few architectures that this happens once.
            if (here[resolution] > 0x1p1000) {
                for (std::size_t c = 0; c < width_; ++c) {
                    here[c] *= 0x1p-1000;
                }
            }
        }
    }

    void draw(Stream& stream, std::int32_t* out) const {
        std::size_t left = width_ - 1, at = 0;
        for (std::size_t j = 0; j < cardinalities_.size(); ++j) {
            const double* const next = row(j + 1);
            double place = stream.uniform() * row(j)[left];
            std::int32_t chosen = 0;
            std::size_t cells = 0;
            for (std::int32_t k = 0; k < cardinalities_[j]; ++k) {
                const std::size_t needed = cells_[at + static_cast<std::size_t>(k)];
                if (needed > left || next[left - needed] <= 0) {
                    continue;
                }
                chosen = k;  // the last that is possible, where rounding leaves a rest
                cells = needed;
                place -= next[left - needed];
                if (place < 0) {
                    break;
                }
            }
            out[j] = chosen;
            left -= cells;
            at += static_cast<std::size_t>(cardinalities_[j]);
        }
    }

  private:
    double* row(std::size_t j) { return counts_.data() + j * width_; }
    const double* row(std::size_t j) const { return counts_.data() + j * width_; }

    std::span<const std::int32_t> cardinalities_;
    std::size_t width_;
    std::vector<std::size_t> cells_;
    std::vector<double> counts_;  // (d + 1, width)
};

}  // namespace

void sample_under(const Sums& costs, double limit, std::size_t resolution, const StreamKey& key,
                  MutableGenotypes out) {
    costs.check("costs");
    if (costs.entries.rows != 1) {
        throw std::invalid_argument("costs must have one row; got " + std::to_string(costs.entries.rows));
    }
    if (out.cols != costs.size()) {
        throw std::invalid_argument("out must have a column for each of the " + std::to_string(costs.size()) +
                                    " decisions; got " + std::to_string(out.cols));
    }
    double bits = 0;
    for (const std::int32_t count : costs.cardinalities) {
        bits += std::log2(count);
    }
    if (bits > 1900) {
        throw std::invalid_argument("cardinalities must have a product of at most 2^1900; got 2^" +
                                    std::to_string(bits));
    }
    BudgetSettings{.resolution = resolution}.check(costs.size() + 1);
    const Counts counts(costs, limit, resolution);
    for_rows(out.rows, out.cols * 8, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            Stream stream(key, Purpose::within, i);
            int attempts = 0;
            do {
                if (++attempts > most_attempts) {
                    throw std::invalid_argument(
                        "resolution is too coarse: rounded down to " + std::to_string(resolution) +
                        " cells, hardly any architecture that seems to be within the limit is; raise it");
                }
                counts.draw(stream, out.row(i));
            } while (costs.sum(0, out.row(i)) > limit);
        }
    });
}

}  // namespace nasx
