// The genotypes that an acquisition function prefers: from random ones and the neighbours of given ones, the
// best are climbed from, neighbour by neighbour.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "nasx/acquisition.hpp"
#include "nasx/gaussian_process.hpp"
#include "nasx/gp_ensemble.hpp"
#include "nasx/population.hpp"
#include "nasx/rng.hpp"

namespace nasx {

struct GpSearchSettings {
    std::size_t random = 1000;
    std::size_t neighbors = 200;  // of a start with more, so many are drawn
    std::size_t climbs = 8;       // how many of the best candidates are climbed from, in wide spaces fewer
    std::size_t most = 6000;      // no sweep over the decisions begins with more candidates
    bool repeats = false;         // whether rows of the process are candidates
};

struct GpCandidates {
    std::vector<std::int32_t> rows;  // (k, d), best first; of equals the first found
    std::vector<double> values;      // (k,)
};

// Gives up to `wanted` candidates by a process, or by several together. All that is drawn comes from one
// stream. `starts` are genotypes whose neighbours are looked at first. Throws std::invalid_argument if the
// process has another number of outputs than the acquisition wants, or other decisions.
GpCandidates search_acquisition(const GpEnsemble& model, const Decisions& decisions,
                                const Acquisition& acquisition, Genotypes starts, const StreamKey& key,
                                const GpSearchSettings& settings, std::size_t wanted);

// Candidates as search_acquisition looks at first, random ones and neighbours of the starts, each once: (k,
// d).
std::vector<std::int32_t> first_candidates(const GaussianProcess& process, const Decisions& decisions,
                                           Genotypes starts, const StreamKey& key,
                                           const GpSearchSettings& settings);

}  // namespace nasx
