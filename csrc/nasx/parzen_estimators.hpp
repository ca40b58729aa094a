// The two kinds of Parzen estimator of a part of a history; parzen.hpp is the way in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "nasx/array.hpp"
#include "nasx/population.hpp"
#include "nasx/rng.hpp"

namespace nasx {

// The decisions with what estimators need to know of them. Plain are those without order, conditions and very
// many choices: in a joint estimator their kernels differ only by how many of them match.
struct ParzenSpace {
    static constexpr std::size_t most_plain = 32767;  // matches are counted in 16 bits

    std::vector<std::int32_t> cardinalities;
    std::vector<char> ordered;
    Decisions decisions;
    std::vector<std::size_t> offsets;  // (d + 1,) into what is counted for each choice
    std::vector<std::size_t> plain_decisions, other_decisions;

    ParzenSpace(std::span<const std::int32_t> cardinalities, Matrix<const std::int32_t> conditions,
                std::span<const bool> ordered);
    ParzenSpace(const ParzenSpace&) = delete;  // decisions refers to cardinalities

    std::size_t size() const { return cardinalities.size(); }
    std::size_t place(std::size_t j, std::int32_t choice) const {
        return offsets[j] + static_cast<std::size_t>(choice);
    }
};

// What is known of one part: at each choice the number of rows and the sum of their ranks, a row's rank being
// the number of older rows of the part in which the decision was active.
struct ParzenTally {
    std::vector<std::int64_t> counts, ranks;
    std::vector<std::int64_t> active;  // (d,)

    explicit ParzenTally(const ParzenSpace& space)
        : counts(space.offsets.back()), ranks(space.offsets.back()), active(space.size()) {}

    void add_youngest(const ParzenSpace& space, const std::int32_t* row) {
        for (std::size_t j = 0; j < space.size(); ++j) {
            if (row[j] >= 0) {
                ++counts[space.place(j, row[j])];
                ranks[space.place(j, row[j])] += active[j]++;
            }
        }
    }
};

// The rows of a history by decision, for joint estimators; what is plain in 16 bits.
struct ParzenColumns {
    std::vector<std::vector<std::uint16_t>> plain;
    std::vector<std::vector<std::int32_t>> others;

    explicit ParzenColumns(const ParzenSpace& space)
        : plain(space.plain_decisions.size()), others(space.other_decisions.size()) {}

    void add(const ParzenSpace& space, const std::int32_t* row) {
        for (std::size_t k = 0; k < plain.size(); ++k) {
            plain[k].push_back(static_cast<std::uint16_t>(row[space.plain_decisions[k]]));
        }
        for (std::size_t k = 0; k < others.size(); ++k) {
            others[k].push_back(row[space.other_decisions[k]]);
        }
    }
};

// A view of the good or the bad part; what it refers to must outlive the estimators made from it.
struct ParzenPart {
    const ParzenSpace& space;
    Genotypes rows;  // of both parts
    const ParzenColumns& columns;
    const std::vector<char>& good_flags;
    const std::vector<std::int64_t>& good;
    const ParzenTally& tally;
    bool is_good;
    bool equal_weights;
};

class ParzenEstimator {
  public:
    virtual ~ParzenEstimator() = default;
    virtual void draw(Stream& stream, std::int32_t* row) = 0;
    virtual double log_density(const std::int32_t* row) = 0;
};

// Each decision has a mixture of its own; the density of a row is the product over its active decisions.
std::unique_ptr<ParzenEstimator> product_estimator(const ParzenPart& part);

// Each row of the part is one kernel over all decisions.
std::unique_ptr<ParzenEstimator> joint_estimator(const ParzenPart& part);

}  // namespace nasx
