#include "nasx/gp_features.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace nasx {

using simd::tile_columns;

GpFeatures::GpFeatures(std::span<const std::int32_t> cardinalities, std::span<const bool> ordered,
                       Smoothness smoothness)
    : cardinalities_(cardinalities.begin(), cardinalities.end()),
      is_ordered_(ordered.begin(), ordered.end()),
      smoothness_(smoothness) {
    if (cardinalities.empty()) {
        throw std::invalid_argument("cardinalities is empty; a space needs at least one decision");
    }
    if (ordered.size() != cardinalities.size()) {
        throw std::invalid_argument("ordered must have one value for each of the " +
                                    std::to_string(cardinalities.size()) + " cardinalities; got " +
                                    std::to_string(ordered.size()));
    }
    for (std::size_t j = 0; j < width(); ++j) {
        if (cardinalities[j] < 1) {
            throw std::invalid_argument("cardinalities must be at least 1; got " +
                                        std::to_string(cardinalities[j]) + " for decision " +
                                        std::to_string(j));
        }
        (ordered[j] ? ordered_ : compared_).push_back(j);
    }
}

void GpFeatures::check(Genotypes rows, const char* argument) const {
    if (rows.cols != width()) {
        throw std::invalid_argument(std::string(argument) + " must have one column for each of the " +
                                    std::to_string(width()) + " decisions; got " + std::to_string(rows.cols));
    }
    for (std::size_t i = 0; i < rows.rows; ++i) {
        for (std::size_t j = 0; j < width(); ++j) {
            const std::int32_t choice = rows(i, j);
            if (choice < -1 || (ordered(j) && choice >= cardinalities_[j])) {
                throw std::invalid_argument(
                    std::string(argument) + " row " + std::to_string(i) + ", decision " + std::to_string(j) +
                    ": choices must be at least -1" +
                    (ordered(j) ? " and below " + std::to_string(cardinalities_[j]) : std::string()) +
                    "; got " + std::to_string(choice));
            }
        }
    }
}

void GpFeatures::write(const std::int32_t* row, double* out, std::size_t stride) const {
    for (const std::size_t j : compared_) {
        *out = row[j];
        out += stride;
    }
    for (const std::size_t j : ordered_) {
        const bool active = row[j] >= 0;
        out[0] = !active ? 0.5 : cardinalities_[j] > 1 ? row[j] / (cardinalities_[j] - 1.0) : 0;
        out[stride] = active ? 0 : 1;
        out += 2 * stride;
    }
}

bool GpFeatures::all_active(const std::int32_t* row) const {
    return std::ranges::all_of(ordered_, [&](std::size_t j) { return row[j] >= 0; });
}

simd::Correlation GpFeatures::correlation(std::span<const double> lengths, double scale,
                                          std::vector<double>& rates, bool all_active) const {
    rates.clear();
    for (const std::size_t j : compared_) {
        rates.push_back(std::exp(-1 / lengths[j]));
    }
    const bool matern = smoothness_ == Smoothness::matern52;
    for (const std::size_t j : ordered_) {
        rates.push_back((matern ? std::sqrt(5.0) : std::sqrt(0.5)) / lengths[j]);
    }
    return {compared_.size(),
            ordered_.size(),
            matern,
            all_active,
            rates.data(),
            rates.data() + compared_.size(),
            scale};
}

void GpFeatures::slopes(std::span<const double> lengths, std::span<const double> sums,
                        std::span<double> out) const {
    std::size_t at = 0;
    const auto next = [&] {
        at += 4;
        return (sums[at - 4] + sums[at - 2]) + (sums[at - 3] + sums[at - 1]);
    };
    for (const std::size_t j : compared_) {
        out[j] = next() / lengths[j];
    }
    for (const std::size_t j : ordered_) {
        out[j] = next();
    }
}

void GpRows::append(const GpFeatures& features, Genotypes rows) {
    const std::size_t f = features.count(), size = size_ + rows.rows;
    rows_.resize(padded(size) * f, 0.0);
    tiles_.resize(padded(size) * f, 0.0);
    for (std::size_t i = 0; i < rows.rows; ++i, ++size_) {
        all_active_ = all_active_ && features.all_active(rows.row(i));
        features.write(rows.row(i), rows_.data() + size_ * f, 1);
        features.write(rows.row(i),
                       tiles_.data() + size_ / tile_columns * tile_columns * f + size_ % tile_columns,
                       tile_columns);
    }
}

void GpRows::truncate(const GpFeatures& features, std::size_t size) {
    const std::size_t f = features.count();
    size_ = size;
    rows_.resize(padded(size) * f);
    tiles_.resize(padded(size) * f);
    std::fill(rows_.begin() + static_cast<std::ptrdiff_t>(size * f), rows_.end(), 0.0);
    for (std::size_t i = size; i < padded(size); ++i) {
        double* const at = tiles_.data() + i / tile_columns * tile_columns * f + i % tile_columns;
        for (std::size_t k = 0; k < f; ++k) {
            at[k * tile_columns] = 0;
        }
    }
}

void GpRows::drop(const GpFeatures& features, std::size_t i) {
    const std::size_t f = features.count();
    rows_.erase(rows_.begin() + static_cast<std::ptrdiff_t>(i * f),
                rows_.begin() + static_cast<std::ptrdiff_t>((i + 1) * f));
    --size_;
    rows_.resize(padded(size_) * f, 0.0);
    tiles_.assign(padded(size_) * f, 0.0);
    for (std::size_t r = 0; r < size_; ++r) {
        double* const at = tiles_.data() + r / tile_columns * tile_columns * f + r % tile_columns;
        for (std::size_t k = 0; k < f; ++k) {
            at[k * tile_columns] = rows_[r * f + k];
        }
    }
}

}  // namespace nasx
