// Genotypes as the kernels of Gaussian processes compare them.
//
// The correlation of two genotypes is a product over the decisions. For one without an order it is
// exp(-[a != b] / length), so that the product over all of them is the exponential of minus one weighted
// Hamming distance. For an ordered one it is Matern 5/2 or the squared exponential of the distance of ranks,
// which go from 0 to 1. Inactive is a value of its own, equal only to itself; among ranks it lies beside the
// middle, at distance 1, in a direction of its own, so that every kernel stays positive semidefinite.
//
// Source: C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine Learning", MIT Press 2006,
// chapter 4.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "nasx/cholesky.hpp"
#include "nasx/population.hpp"
#include "nasx/simd/gaussian.hpp"

namespace nasx {

enum class Smoothness { matern52, rbf };

class GpFeatures {
  public:
    // cardinalities (d,) of at least 1 and ordered (d,) are copied. Throws std::invalid_argument if they do
    // not fit.
    GpFeatures(std::span<const std::int32_t> cardinalities, std::span<const bool> ordered,
               Smoothness smoothness);

    std::size_t width() const { return cardinalities_.size(); }
    std::size_t count() const { return compared_.size() + 2 * ordered_.size(); }
    std::span<const std::int32_t> cardinalities() const { return cardinalities_; }
    bool ordered(std::size_t j) const { return is_ordered_[j] != 0; }
    bool any_ordered() const { return !ordered_.empty(); }

    // Throws std::invalid_argument unless rows have d choices of at least -1, and those of ordered decisions
    // below their cardinality.
    void check(Genotypes rows, const char* argument) const;

    // Writes the features of a row, `stride` numbers apart.
    void write(const std::int32_t* row, double* out, std::size_t stride) const;

    // Whether no ordered decision of a row is inactive.
    bool all_active(const std::int32_t* row) const;

    // The correlation with these lengths (d,), whose factors and rates are kept in `rates`; of rows that are
    // all active, if the caller knows that.
    simd::Correlation correlation(std::span<const double> lengths, double scale, std::vector<double>& rates,
                                  bool all_active = false) const;

    // Writes slopes by the logarithm of each length (d,), from sums that were added up by the kernels.
    void slopes(std::span<const double> lengths, std::span<const double> sums, std::span<double> out) const;

  private:
    std::vector<std::int32_t> cardinalities_;
    std::vector<char> is_ordered_;
    std::vector<std::size_t> compared_, ordered_;  // which decisions
    Smoothness smoothness_;
};

// Features of some rows, one after another and in tiles of 12. Rows that fill the last tile are zero.
class GpRows {
  public:
    std::size_t size() const { return size_; }
    std::size_t order() const { return padded(size_); }

    // Whether no ordered decision was inactive in any row that came.
    bool all_active() const { return all_active_; }

    // O(features) each.
    void append(const GpFeatures& features, Genotypes rows);
    void truncate(const GpFeatures& features, std::size_t size);
    void drop(const GpFeatures& features, std::size_t i);

    const double* row(const GpFeatures& features, std::size_t i) const {
        return rows_.data() + i * features.count();
    }
    const double* tile(const GpFeatures& features, std::size_t t) const {
        return tiles_.data() + t * simd::tile_columns * features.count();
    }

  private:
    std::size_t size_ = 0;
    bool all_active_ = true;
    std::vector<double> rows_, tiles_;
};

}  // namespace nasx
