#include "nasx/neat.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "nasx/neat_fitness.hpp"
#include "nasx/parallel.hpp"
#include "nasx/pareto.hpp"

namespace nasx::neat {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
// So many children in a row that are known already, and there seems to be nothing new.
constexpr std::size_t patience = 1024;

void require(bool holds, const char* name, const char* expected, double value) {
    if (!holds) {
        throw std::invalid_argument(std::string(name) + " must be " + expected + "; got " +
                                    std::to_string(value));
    }
}

}  // namespace

void Settings::check() const {
    require(population_size >= 2, "population_size", "at least 2", static_cast<double>(population_size));
    require(initial_connections > 0 && initial_connections <= 1, "initial_connections",
            "above 0 and at most 1", initial_connections);
    require(threshold > 0 && std::isfinite(threshold), "compatibility_threshold", "positive", threshold);
    require(threshold_step > 0 && std::isfinite(threshold_step), "threshold_step", "positive",
            threshold_step);
    for (const auto& [name, value] : {std::pair("excess_coefficient", compatibility.excess),
                                      {"disjoint_coefficient", compatibility.disjoint},
                                      {"weight_coefficient", compatibility.weight}}) {
        require(value >= 0 && std::isfinite(value), name, "at least 0", value);
    }
    reproduction.check();
}

void Neat::Results::append(GenomeView genome, std::uint64_t hash, std::span<const double> loss,
                           double violation) {
    genomes.append(genome);
    hashes.push_back(hash);
    losses.insert(losses.end(), loss.begin(), loss.end());
    violations.push_back(violation);
}

Neat::Neat(const Topology& topology, const Settings& settings, std::size_t objectives, std::uint64_t seed)
    : topology_((topology.check(), topology)),
      settings_((settings.check(), settings)),
      objectives_(objectives),
      seed_(seed),
      innovations_(topology),
      threshold_(settings.threshold),
      best_violation_(infinity) {
    constexpr std::size_t most_objectives = 65536;
    if (objectives == 0 || objectives > most_objectives) {
        throw std::invalid_argument("objectives must be at least 1 and at most " +
                                    std::to_string(most_objectives) + "; got " + std::to_string(objectives));
    }
    best_losses_.assign(objectives, infinity);
    make(settings_.population_size);
}

void Neat::make(std::size_t n) {
    children_.resize(std::max(children_.size(), n));
    growths_.resize(children_.size());
    const Nursery nursery(topology_, settings_.reproduction, parents_.genomes, places_, species_, breeders_,
                          slots_);
    parallel_for(0, n, 256, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            if (generation_ > 0) {
                growths_[i] = nursery.make(seed_, generation_, made_ + i, children_[i]);
                continue;
            }
            Stream stream(seed_, Purpose::neat_start, 0, made_ + i);
            topology_.start(stream, settings_.initial_connections, settings_.reproduction.mutation.range,
                            children_[i]);
            growths_[i] = {};
        }
    });
    const std::uint64_t first = made_;
    made_ += n;
    for (std::size_t i = 0; i < n; ++i) {
        if (growths_[i].any()) {
            grow(growths_[i], innovations_, children_[i]);
        } else if (!settings_.repeats && generation_ > 0) {
            const GenomeView child = children_[i].view();
            const auto parent = parent_of_.find(child.hash());
            if (parent != parent_of_.end()) {
                if (first + i >= settings_.population_size) {
                    continue;  // the generation's places are taken: what is out counts, whenever it is told
                }
                const std::span<const double> losses = parents_.losses;
                told_.append(child, parent->first, losses.subspan(parent->second * objectives_, objectives_),
                             parents_.violations[parent->second]);
                continue;
            }
        }
        queue_.append(children_[i].view());
    }
}

Genomes Neat::propose(std::size_t n) {
    Genomes found;
    if (asked_ == 0 && n >= queue_.size()) {
        found.reserve(queue_.size(), queue_.nodes().size(), queue_.links().size());
    }
    for (std::size_t refused = 0; found.size() < n && refused < patience;) {
        if (asked_ == queue_.size()) {
            queue_.clear();
            asked_ = 0;
            make(1);
            if (queue_.size() == 0) {
                ++refused;
                continue;
            }
        }
        const GenomeView child = queue_[asked_++];
        const std::uint64_t hash = child.hash();
        if (!settings_.repeats && !known_.insert(hash).second) {
            ++refused;
            continue;
        }
        refused = 0;
        ++out_[hash];
        ++out_count_;
        found.append(child);
    }
    return found;
}

void Neat::withdraw(const Genomes& genomes) {
    for (std::size_t i = 0; i < genomes.size(); ++i) {
        const auto found = out_.find(genomes[i].hash());
        if (found != out_.end()) {
            --out_count_;
            if (--found->second == 0) {
                out_.erase(found);
            }
        }
    }
}

void Neat::tell(const Genomes& genomes, Matrix<const double> losses, std::span<const double> violations) {
    if (losses.rows != genomes.size() || losses.cols != objectives_ || violations.size() != genomes.size()) {
        throw std::invalid_argument("losses and violations must have one row for each of the " +
                                    std::to_string(genomes.size()) + " genomes, and losses " +
                                    std::to_string(objectives_) + " columns");
    }
    // Before anything is taken: what is refused changes nothing.
    check_losses(losses);
    for (std::size_t i = 0; i < violations.size(); ++i) {
        if (std::isnan(violations[i])) {
            throw std::invalid_argument("violations holds NaN in row " + std::to_string(i));
        }
    }
    std::vector<std::uint64_t> hashes(genomes.size());
    for (std::size_t i = 0; i < genomes.size(); ++i) {
        hashes[i] = genomes[i].hash();
        if (!out_.contains(hashes[i]) && !known_.contains(hashes[i])) {
            topology_.check(genomes[i], i);
            innovations_.adopt(genomes[i], i);
        }
    }
    for (std::size_t i = 0; i < genomes.size(); ++i) {
        if (const auto found = out_.find(hashes[i]); found != out_.end()) {
            --out_count_;
            if (--found->second == 0) {
                out_.erase(found);
            }
        } else if (!settings_.repeats && !known_.insert(hashes[i]).second) {
            continue;  // told before
        }
        told_.append(genomes[i], hashes[i], {losses.row(i), objectives_}, violations[i]);
        if (told_.size() >= settings_.population_size) {
            close();
        }
    }
}

std::size_t Neat::ahead() const {
    const std::size_t taken = told_.size() + out_count_;
    return taken < settings_.population_size ? settings_.population_size - taken : 1;
}

void Neat::close() {
    parents_ = std::exchange(told_, {});
    ++generation_;
    speciate(parents_.genomes, settings_.compatibility, threshold_, generation_, next_species_, species_);
    if (settings_.target_species > 0 && species_.size() != settings_.target_species) {
        const double step =
            species_.size() > settings_.target_species ? settings_.threshold_step : -settings_.threshold_step;
        threshold_ = std::max(threshold_ + step, settings_.threshold_step);
    }
    const std::size_t n = parents_.size();
    places_.resize(n);
    fitness_.resize(n);
    rate({parents_.losses.data(), n, objectives_}, parents_.violations, places_, fitness_);
    for (Species& one : species_) {
        std::sort(one.members.begin(), one.members.end(), [&](std::uint32_t a, std::uint32_t b) {
            return places_[a] != places_[b] ? places_[a] < places_[b] : a < b;
        });
    }
    judge();
    plan();
    choose_representatives();
    parent_of_.clear();
    if (!settings_.repeats) {
        for (std::uint32_t i = 0; i < n; ++i) {
            parent_of_.emplace(parents_.hashes[i], i);
        }
    }
    innovations_.next_generation();
    queue_.clear();
    asked_ = 0;
    made_ = 0;
    make(settings_.population_size);
}

bool Neat::improves(std::size_t member, double& violation, std::vector<double>& losses) const {
    const double* const own = parents_.losses.data() + member * objectives_;
    const double over = parents_.violations[member];
    if (over < violation) {
        violation = over;
        losses.assign(own, own + objectives_);
        return true;
    }
    bool better = false;
    if (over == violation && violation <= 0) {
        for (std::size_t j = 0; j < objectives_; ++j) {
            if (own[j] < losses[j]) {
                losses[j] = own[j];
                better = true;
            }
        }
    }
    return better;
}

void Neat::judge() {
    for (Species& one : species_) {
        for (const std::uint32_t member : one.members) {
            if (improves(member, one.violation, one.losses)) {
                one.improved = generation_;
            }
            if (improves(member, best_violation_, best_losses_)) {
                improved_ = generation_;
            }
        }
    }
}

void Neat::plan() {
    std::vector<std::uint32_t> by_best(species_.size());
    for (std::uint32_t s = 0; s < by_best.size(); ++s) {
        by_best[s] = s;
    }
    std::stable_sort(by_best.begin(), by_best.end(), [&](std::uint32_t a, std::uint32_t b) {
        return places_[species_[a].members.front()] < places_[species_[b].members.front()];
    });
    std::vector<bool> eligible(species_.size(), false);
    if (generation_ - improved_ > settings_.population_stagnation) {
        for (std::size_t i = 0; i < std::min<std::size_t>(2, by_best.size()); ++i) {
            eligible[by_best[i]] = true;
            species_[by_best[i]].improved = generation_;
        }
        improved_ = generation_;
    } else {
        for (std::size_t i = 0; i < by_best.size(); ++i) {
            const bool stagnant = generation_ - species_[by_best[i]].improved > settings_.stagnation;
            eligible[by_best[i]] = i < settings_.protected_species || !stagnant;
        }
        if (std::find(eligible.begin(), eligible.end(), true) == eligible.end()) {
            eligible.assign(species_.size(), true);
        }
    }
    breeders_.clear();
    std::vector<double> shares;
    for (std::uint32_t s = 0; s < species_.size(); ++s) {
        if (eligible[s]) {
            double sum = 0;
            for (const std::uint32_t member : species_[s].members) {
                sum += fitness_[member];
            }
            breeders_.push_back(s);
            shares.push_back(sum / static_cast<double>(species_[s].members.size()));
        }
    }
    std::vector<std::size_t> counts(shares.size());
    apportion(shares, settings_.population_size, counts);
    std::size_t kept = 0;
    slots_.clear();
    for (std::size_t b = 0; b < counts.size(); ++b) {
        if (counts[b] == 0) {
            continue;
        }
        const bool copied = species_[breeders_[b]].members.size() >= settings_.reproduction.champion_from;
        for (std::size_t i = 0; i < counts[b]; ++i) {
            slots_.push_back({static_cast<std::uint32_t>(kept), copied && i == 0});
        }
        breeders_[kept++] = breeders_[b];
    }
    breeders_.resize(kept);
}

void Neat::choose_representatives() {
    for (Species& one : species_) {
        Stream stream(seed_, Purpose::neat_representative, generation_, static_cast<std::uint64_t>(one.id));
        const std::uint32_t drawn = stream.below(static_cast<std::uint32_t>(one.members.size()));
        one.representative.assign(parents_.genomes[one.members[drawn]]);
    }
}

}  // namespace nasx::neat
