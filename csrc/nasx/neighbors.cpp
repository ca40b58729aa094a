#include "nasx/neighbors.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace nasx {
namespace {

void check_canonical(const Decisions& decisions, std::span<const std::int32_t> genotype) {
    const Genotypes row{genotype.data(), 1, genotype.size()};
    decisions.check_width(row, "genotype");
    const std::size_t j = first_malformed(decisions, row);
    if (j < decisions.size()) {
        throw std::invalid_argument(
            "genotype: decision " + std::to_string(j) +
            (decisions.active(j, genotype.data())
                 ? ": the choice must be in [0, " + std::to_string(decisions.cardinality(j)) + ")"
                 : " is inactive and must be -1") +
            "; got " + std::to_string(genotype[j]));
    }
}

}  // namespace

Neighborhood::Neighborhood(const Decisions& decisions, std::span<const std::int32_t> genotype,
                           std::span<const bool> adjacent)
    : decisions_(decisions), genotype_(genotype) {
    check_canonical(decisions, genotype);
    decisions.all_choices();
    if (!adjacent.empty() && adjacent.size() != decisions.size()) {
        throw std::invalid_argument("adjacent must have one value for each of the " +
                                    std::to_string(decisions.size()) + " decisions; got " +
                                    std::to_string(adjacent.size()));
    }
    for (std::size_t j = 0; j < genotype.size(); ++j) {
        const std::int32_t mine = genotype[j], choices = decisions.cardinality(j);
        if (mine < 0) {
            continue;
        }
        const bool near = !adjacent.empty() && adjacent[j];
        const std::int32_t begin = near ? std::max(mine - 1, 0) : 0;
        const std::int32_t end = near ? std::min(mine + 2, choices) : choices;
        for (std::int32_t choice = begin; choice < end; ++choice) {
            if (choice != mine) {
                changes_.push_back({static_cast<std::uint32_t>(j), choice});
            }
        }
    }
}

void Neighborhood::write(NeighborOrder order, const StreamKey& key, MutableGenotypes out) const {
    const bool shuffled = order == NeighborOrder::shuffled;
    std::vector<Change> left = shuffled ? changes_ : std::vector<Change>{};
    Stream stream(key, Purpose::neighbors, 0);
    for (std::size_t i = 0; i < out.rows; ++i) {
        if (shuffled) {
            std::swap(left[i], left[i + stream.below(static_cast<std::uint32_t>(left.size() - i))]);
        }
        const Change change = shuffled ? left[i] : changes_[i];
        std::copy_n(genotype_.data(), genotype_.size(), out.row(i));
        out(i, change.decision) = change.choice;
        repair_row(decisions_, stream, out.row(i));
    }
}

}  // namespace nasx
