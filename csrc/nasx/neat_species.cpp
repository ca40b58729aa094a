#include "nasx/neat_species.hpp"

#include <algorithm>
#include <cmath>

#include "nasx/parallel.hpp"

namespace nasx::neat {

double Compatibility::distance(GenomeView a, GenomeView b) const {
    std::size_t i = 0, j = 0, matching = 0, apart = 0;
    double difference = 0;
    while (i < a.links.size() && j < b.links.size()) {
        const std::int32_t left = a.links[i].innovation, right = b.links[j].innovation;
        if (left == right) {
            difference += std::abs(a.links[i].weight - b.links[j].weight);
            ++matching;
        } else {
            ++apart;
        }
        i += left <= right;
        j += right <= left;
    }
    const std::size_t beyond = (a.links.size() - i) + (b.links.size() - j);
    const std::size_t larger = std::max(a.links.size(), b.links.size());
    const double n = larger < small || larger == 0 ? 1.0 : static_cast<double>(larger);
    const double mean = matching == 0 ? 0.0 : difference / static_cast<double>(matching);
    return excess * static_cast<double>(beyond) / n + disjoint * static_cast<double>(apart) / n +
           weight * mean;
}

void speciate(const Genomes& population, const Compatibility& compatibility, double threshold,
              std::uint32_t generation, std::int64_t& next_id, std::vector<Species>& species) {
    const std::size_t old = species.size(), n = population.size();
    std::vector<std::size_t> found(n, old);
    parallel_for(0, n, 256, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            const GenomeView genome = population[i];
            for (std::size_t s = 0; s < old && found[i] == old; ++s) {
                if (compatibility.distance(genome, species[s].representative.view()) < threshold) {
                    found[i] = s;
                }
            }
        }
    });
    for (Species& one : species) {
        one.members.clear();
    }
    for (std::size_t i = 0; i < n; ++i) {
        std::size_t s = found[i];
        while (s >= old && s < species.size() &&
               !(compatibility.distance(population[i], species[s].representative.view()) < threshold)) {
            ++s;
        }
        if (s == species.size()) {
            Species& founded = species.emplace_back();
            founded.id = next_id++;
            founded.representative.assign(population[i]);
            founded.created = founded.improved = generation;
        }
        species[s].members.push_back(static_cast<std::uint32_t>(i));
    }
    std::erase_if(species, [](const Species& one) { return one.members.empty(); });
}

}  // namespace nasx::neat
