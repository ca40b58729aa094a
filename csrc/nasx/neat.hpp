// NEAT: a population of networks whose structure and weights evolve, in species that protect what is new.
//
// Source: K. O. Stanley, R. Miikkulainen, "Evolving neural networks through augmenting topologies",
// Evolutionary Computation 10 (2002).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "nasx/array.hpp"
#include "nasx/neat_genome.hpp"
#include "nasx/neat_innovations.hpp"
#include "nasx/neat_reproduction.hpp"
#include "nasx/neat_species.hpp"

namespace nasx::neat {

struct Settings {
    std::size_t population_size = 150;
    double initial_connections = 1.0;
    Compatibility compatibility;
    double threshold = 3.0;
    std::size_t target_species = 0;     // 0: the threshold stays; else it is adjusted towards so many species
    double threshold_step = 0.3;        // in each generation
    std::size_t stagnation = 15;        // a species without improvement for more generations has no children
    std::size_t protected_species = 0;  // so many of the best species have some all the same
    std::size_t population_stagnation =
        20;  // if nothing improves for more, only the two best species have any
    Reproduction reproduction;
    bool repeats = false;

    // Throws std::invalid_argument for what is out of range.
    void check() const;
};

// Asked for genomes, told their losses, it goes from generation to generation.
//
// A generation is complete when `population_size` genomes have been told, whichever. The first are random,
// those of each later one are bred from the one before, by number. Proposing never waits: while results are
// still out, more children than the generation needs are bred, and their results count in the next one.
//
// Without `repeats` no genome is proposed twice. A child that equals one of the generation before, as copies
// of champions do, enters its generation at once with the known result; a surplus one is dropped.
//
// Everything is a function of the seed and the order of calls, at any number of threads. One thread at a time
// may use an object.
class Neat {
  public:
    // Throws std::invalid_argument as Topology::check() and Settings::check() do, or without objectives.
    Neat(const Topology& topology, const Settings& settings, std::size_t objectives, std::uint64_t seed);

    // Gives the next n children; fewer when hundreds in a row were known already. O(genes) for each.
    Genomes propose(std::size_t n);

    // These were proposed and will not be evaluated.
    void withdraw(const Genomes& genomes);

    // Takes losses (n, objectives) and violations (n,), infinite where an evaluation failed. Genomes that
    // were not proposed are checked first: throws std::invalid_argument for one of another topology or
    // search, and then nothing is told. A complete generation is sorted into species and bred from: O(n s
    // genes) for s species.
    void tell(const Genomes& genomes, Matrix<const double> losses, std::span<const double> violations);

    // How many proposals will come out the same, whatever is told before they are made; at least 1.
    std::size_t ahead() const;

    const Topology& topology() const { return topology_; }
    const Settings& settings() const { return settings_; }
    std::size_t objectives() const { return objectives_; }
    std::uint32_t generation() const { return generation_; }
    double threshold() const { return threshold_; }
    std::span<const Species> species() const { return species_; }

    // The generation that is bred from; empty before the first is complete.
    const Genomes& parents() const { return parents_.genomes; }
    const Innovations& innovations() const { return innovations_; }

  private:
    // Genomes with results.
    struct Results {
        Genomes genomes;
        std::vector<double> losses, violations;
        std::vector<std::uint64_t> hashes;

        std::size_t size() const { return hashes.size(); }
        void append(GenomeView genome, std::uint64_t hash, std::span<const double> loss, double violation);
    };

    // The best of a species or of all: its violation, then each loss by itself.
    bool improves(std::size_t member, double& violation, std::vector<double>& losses) const;

    void make(std::size_t n);
    void close();
    void judge();
    void plan();
    void choose_representatives();

    Topology topology_;
    Settings settings_;
    std::size_t objectives_;
    std::uint64_t seed_;

    std::uint32_t generation_ = 0;
    std::uint64_t made_ = 0;  // children of this generation
    Innovations innovations_;
    double threshold_;
    std::int64_t next_species_ = 0;

    // The generation before, and who of it has children.
    Results parents_;
    std::vector<std::uint32_t> places_;
    std::vector<double> fitness_;
    std::vector<Species> species_;
    std::vector<std::uint32_t> breeders_;  // places in species_
    std::vector<Slot> slots_;
    std::unordered_map<std::uint64_t, std::uint32_t> parent_of_;  // by hash
    double best_violation_;
    std::vector<double> best_losses_;
    std::uint32_t improved_ = 0;

    // This one: made and not asked for yet, told, and asked but not told.
    Genomes queue_;
    std::size_t asked_ = 0;  // of the queue
    Results told_;
    std::unordered_map<std::uint64_t, std::uint32_t> out_;  // how often, by hash
    std::size_t out_count_ = 0;
    std::unordered_set<std::uint64_t> known_;

    std::vector<Genome> children_;  // room that is used again
    std::vector<Growth> growths_;
};

}  // namespace nasx::neat
