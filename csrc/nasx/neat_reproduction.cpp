#include "nasx/neat_reproduction.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

namespace nasx::neat {

void Reproduction::check() const {
    const std::pair<const char*, double> shares[] = {{"survival", survival},
                                                     {"mutation_only", mutation_only},
                                                     {"interspecies_mating", interspecies},
                                                     {"averaging_crossover", crossover.average},
                                                     {"keep_disabled", crossover.keep_disabled}};
    for (const auto& [name, value] : shares) {
        if (!(value >= 0 && value <= 1)) {
            throw std::invalid_argument(std::string(name) + " must be in 0..1; got " + std::to_string(value));
        }
    }
    mutation.check();
}

void apportion(std::span<const double> shares, std::size_t total, std::span<std::size_t> counts) {
    const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
    const std::size_t s = shares.size();
    // Sums of huge shares may overflow.
    const bool equal = !(sum > 0) || !std::isfinite(sum);
    std::vector<double> remainders(s);
    std::size_t given = 0;
    for (std::size_t i = 0; i < s; ++i) {
        const double exact =
            static_cast<double>(total) * (equal ? 1.0 / static_cast<double>(s) : shares[i] / sum);
        counts[i] = std::min(static_cast<std::size_t>(exact), total - given);
        remainders[i] = exact - static_cast<double>(counts[i]);
        given += counts[i];
    }
    std::vector<std::size_t> order(s);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return remainders[a] > remainders[b]; });
    for (std::size_t i = 0; given < total; i = (i + 1) % s) {
        ++counts[order[i]];
        ++given;
    }
}

Nursery::Nursery(const Topology& topology, const Reproduction& how, const Genomes& parents,
                 std::span<const std::uint32_t> places, std::span<const Species> species,
                 std::span<const std::uint32_t> breeders, std::span<const Slot> slots)
    : topology_(topology),
      how_(how),
      parents_(parents),
      places_(places),
      species_(species),
      breeders_(breeders),
      slots_(slots) {}

std::size_t Nursery::survivors(const Species& species) const {
    const double share = std::ceil(how_.survival * static_cast<double>(species.members.size()));
    return std::max<std::size_t>(1, static_cast<std::size_t>(share));
}

std::uint32_t Nursery::draw_parent(const Species& species, Stream& stream) const {
    return species.members[stream.below(static_cast<std::uint32_t>(survivors(species)))];
}

Growth Nursery::make(std::uint64_t seed, std::uint32_t generation, std::uint64_t i, Genome& child) const {
    const Slot& slot = slots_[i % slots_.size()];
    const Species& own = species_[breeders_[slot.breeder]];
    if (slot.champion && i < slots_.size()) {
        child.assign(parents_[own.members.front()]);
        return {};
    }
    Stream stream(seed, Purpose::neat_child, generation, i);
    std::uint32_t mother = draw_parent(own, stream), father = mother;
    if (!stream.bernoulli(how_.mutation_only)) {
        if (breeders_.size() > 1 && stream.bernoulli(how_.interspecies)) {
            const std::uint32_t drawn = stream.below(static_cast<std::uint32_t>(breeders_.size() - 1));
            father = draw_parent(species_[breeders_[drawn + (drawn >= slot.breeder)]], stream);
        } else if (const std::size_t choices = survivors(own); choices > 1) {
            // Any other than the mother.
            father = own.members[stream.below(static_cast<std::uint32_t>(choices - 1))];
            father = father == mother ? own.members[choices - 1] : father;
        }
    }
    if (father == mother) {
        child.assign(parents_[mother]);
    } else {
        const GenomeView a = parents_[mother], b = parents_[father];
        // Of equal ones, the smaller network counts as fitter, and of equally large ones the mother.
        const auto worth = [](std::uint32_t at, GenomeView genome) {
            return std::pair(at, genome.links.size());
        };
        const bool second = worth(places_[father], b) < worth(places_[mother], a);
        cross(second ? b : a, second ? a : b, how_.crossover, stream, child);
    }
    return mutate(topology_, how_.mutation, stream, child);
}

}  // namespace nasx::neat
