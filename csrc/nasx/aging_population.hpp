// The population of regularised evolution: whoever is told enters it, and the oldest leaves.
//
// Source: E. Real, A. Aggarwal, Y. Huang, Q. V. Le, "Regularized evolution for image classifier architecture
// search", AAAI 2019.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "nasx/array.hpp"
#include "nasx/genotype_set.hpp"
#include "nasx/population.hpp"

namespace nasx {

class AgingPopulation {
  public:
    struct Settings {
        std::size_t population_size = 20, sample_size = 5, objectives = 1;
        std::uint64_t seed = 0;
    };

    // cardinalities and conditions as for Decisions; they are copied. Throws std::invalid_argument as that
    // does, and when a setting is out of range.
    AgingPopulation(std::span<const std::int32_t> cardinalities, Matrix<const std::int32_t> conditions,
                    const Settings& settings);
    AgingPopulation(const AgingPopulation&) = delete;
    AgingPopulation& operator=(const AgingPopulation&) = delete;

    // Takes rows in order, each the youngest; of more than the population holds, the last ones. O(n d), and
    // a rank() of the population where there are several objectives or violations, and crowding_distance()
    // where there are several objectives.
    //
    // Throws std::invalid_argument for rows that are no genotypes, for shapes that differ, and for NaN.
    void enter(Genotypes rows, Matrix<const double> losses, std::span<const double> violations);

    // The same for results as they are told, made uniform as by settle(). Those that `seen`, if there is one,
    // has marked already are left out, and all are marked in it. Gives whether all rows are genotypes: if
    // not, or when it throws, nothing has changed.
    bool tell(Genotypes rows, Matrix<const double> losses, std::optional<std::span<const double>> violations,
              std::optional<std::span<const bool>> failed, GenotypeSet* seen);

    // Writes children from number `first` on, as by make_mutants(). Throws std::invalid_argument while nobody
    // has entered.
    void make(std::uint64_t first, MutableGenotypes out) const;

    // What it was made with.
    std::span<const std::int32_t> cardinalities() const { return cardinalities_; }
    Matrix<const std::int32_t> conditions() const { return {conditions_.data(), conditions_.size() / 3, 3}; }
    const Settings& settings() const { return settings_; }

    std::size_t width() const { return cardinalities_.size(); }
    std::size_t objectives() const { return settings_.objectives; }

    // The members, the oldest first: what they are, what was told of them, and what decides tournaments: keys
    // and, where there are several objectives, crowding distances between equal ones. Otherwise nearly all
    // would be on one front and win by chance alone. The views end with the next change.
    std::size_t size() const { return violations_.size() - begin_; }
    Genotypes genotypes() const { return {genotypes_.data() + begin_ * width(), size(), width()}; }
    Matrix<const double> losses() const {
        return {losses_.data() + begin_ * objectives(), size(), objectives()};
    }
    std::span<const double> violations() const { return std::span(violations_).subspan(begin_); }
    std::span<const double> keys() const { return by_loss_ ? losses().span() : std::span(ranks_); }
    std::optional<std::span<const double>> crowding() const {
        return objectives() > 1 ? std::optional(std::span<const double>(crowding_)) : std::nullopt;
    }

  private:
    void append(Genotypes rows, const double* losses, const double* violations);

    std::vector<std::int32_t> cardinalities_, conditions_;
    Decisions decisions_;
    Settings settings_;
    // The members are the rows from begin_ on; the dead before them are removed many at a time.
    std::vector<std::int32_t> genotypes_;
    std::vector<double> losses_, violations_;
    std::size_t begin_ = 0;
    bool by_loss_ = true;
    std::vector<double> ranks_, crowding_;
    // Room for tell().
    std::vector<double> told_losses_, told_violations_;
    std::vector<std::int32_t> told_rows_;
};

}  // namespace nasx
