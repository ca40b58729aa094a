#include "nasx/evolution.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "nasx/streams.hpp"

namespace nasx {
namespace {

void check_parents(const Decisions& decisions, Genotypes parents, const Contestants& contestants,
                   std::size_t size) {
    decisions.check(parents, "parents");
    if (contestants.keys.size() != parents.rows) {
        throw std::invalid_argument("keys must have one value for each of the " +
                                    std::to_string(parents.rows) + " parents; got " +
                                    std::to_string(contestants.keys.size()));
    }
    contestants.check(size, 1);
}

}  // namespace

void nsga2_select(Matrix<const double> losses, Violations violations, std::uint64_t seed,
                  std::uint32_t generation, std::span<std::int32_t> rows, std::span<std::int32_t> ranks,
                  std::span<double> crowding) {
    const std::size_t n = losses.rows, wanted = rows.size();
    if (wanted > n) {
        throw std::invalid_argument("n must be at most the " + std::to_string(n) + " rows of losses; got " +
                                    std::to_string(wanted));
    }
    std::vector<std::int32_t> all_ranks(n);
    const std::size_t fronts = rank(losses, violations, all_ranks);
    if (wanted == 0) {
        return;
    }
    std::vector<std::size_t> sizes(fronts, 0);
    for (const std::int32_t r : all_ranks) {
        ++sizes[static_cast<std::size_t>(r)];
    }
    std::int32_t last = 0;
    for (std::size_t kept = sizes[0]; kept < wanted; ++last) {
        kept += sizes[static_cast<std::size_t>(last) + 1];
    }

    std::vector<std::int32_t> candidates, candidate_ranks;
    std::vector<double> candidate_losses;
    for (std::size_t i = 0; i < n; ++i) {
        if (all_ranks[i] <= last) {
            candidates.push_back(static_cast<std::int32_t>(i));
            candidate_ranks.push_back(all_ranks[i]);
            candidate_losses.insert(candidate_losses.end(), losses.row(i), losses.row(i) + losses.cols);
        }
    }
    std::vector<double> distances(candidates.size());
    crowding_distance({candidate_losses.data(), candidates.size(), losses.cols}, candidate_ranks, distances);

    struct Survivor {
        std::int32_t rank, row;
        double crowding;
        std::uint64_t lot;
    };
    std::vector<Survivor> survivors(candidates.size());
    for (std::size_t i = 0; i < survivors.size(); ++i) {
        survivors[i] = {candidate_ranks[i], candidates[i], distances[i], 0};
    }
    std::sort(survivors.begin(), survivors.end(), [](const Survivor& a, const Survivor& b) {
        return a.rank != b.rank ? a.rank < b.rank : a.crowding > b.crowding;
    });
    // Only those that tie draw lots.
    for (auto begin = survivors.begin(), end = begin; begin != survivors.end(); begin = end) {
        end = std::find_if(begin + 1, survivors.end(), [&](const Survivor& other) {
            return other.rank != begin->rank || other.crowding != begin->crowding;
        });
        if (end - begin > 1) {
            std::for_each(begin, end, [&](Survivor& one) {
                Stream stream(seed, Purpose::select, generation, static_cast<std::uint64_t>(one.row));
                one.lot = stream.next_u64();
            });
            std::sort(begin, end, [](const Survivor& a, const Survivor& b) {
                return a.lot != b.lot ? a.lot < b.lot : a.row < b.row;
            });
        }
    }
    for (std::size_t i = 0; i < wanted; ++i) {
        rows[i] = survivors[i].row;
        ranks[i] = survivors[i].rank;
        crowding[i] = survivors[i].crowding;
    }
}

Offspring::Offspring(Decisions decisions, Genotypes parents, const Contestants& contestants, std::size_t size,
                     const Crossover& how, std::span<const double> rates, std::uint64_t seed,
                     std::uint32_t generation)
    : decisions_(std::move(decisions)),
      parents_(parents),
      contestants_(contestants),
      size_(size),
      how_(how),
      rates_(rates, decisions_),
      seed_(seed),
      generation_(generation) {
    check_parents(decisions_, parents, contestants, size);
    how.check();
}

void Offspring::make(std::uint64_t first, MutableGenotypes out) const {
    for_rows(out.rows, out.cols, [&](std::size_t begin, std::size_t end) {
        const StreamKey key{seed_, generation_, first};
        for_streams<4>(key, Purpose::offspring, begin, end, [&](std::size_t i, Stream& stream) {
            const std::uint32_t mother = contestants_.winner(size_, stream);
            const std::uint32_t father =
                parents_.rows > 1 ? contestants_.winner_beside(mother, size_, stream) : mother;
            crossover_row(decisions_, parents_.row(mother), parents_.row(father), how_, stream, out.row(i));
            mutate_row(decisions_, rates_, stream, out.row(i));
        });
    });
}

void make_mutants(const Decisions& decisions, Genotypes parents, bool all_free,
                  const Contestants& contestants, std::size_t size, const StreamKey& key,
                  MutableGenotypes out) {
    const std::size_t d = out.cols;
    const auto make = [&](std::size_t i, auto& stream) {
        const std::int32_t* const parent = parents.row(contestants.winner(size, stream));
        std::int32_t* const row = out.row(i);
        const std::size_t at = stream.below(static_cast<std::uint32_t>(d));
        std::copy_n(parent, d, row);
        row[at] = other_choice(decisions, at, parent[at], stream);
    };
    const std::size_t numbers = size + 2;  // two for the mutation
    for_rows(out.rows, out.cols + size, [&](std::size_t begin, std::size_t end) {
        if (!all_free) {
            for_streams<4>(key, Purpose::mutants, begin, end, [&](std::size_t i, Stream& stream) {
                const std::uint32_t parent = contestants.winner(size, stream);
                mutate_one_row(decisions, stream, parents.row(parent), out.row(i));
            });
        } else if (numbers <= 8) {
            for_short_streams<2>(key, Purpose::mutants, begin, end, make);
        } else if (numbers <= 16) {
            for_short_streams<4>(key, Purpose::mutants, begin, end, make);
        } else {
            for_streams<4>(key, Purpose::mutants, begin, end, make);
        }
    });
}

Mutants::Mutants(Decisions decisions, Genotypes parents, const Contestants& contestants, std::size_t size,
                 std::uint64_t seed, std::uint32_t generation)
    : decisions_(std::move(decisions)),
      parents_(parents),
      contestants_(contestants),
      size_(size),
      seed_(seed),
      generation_(generation) {
    check_parents(decisions_, parents, contestants, size);
    all_free_ =
        decisions_.free() && std::ranges::none_of(parents.span(), [](std::int32_t x) { return x < 0; });
}

void Mutants::make(std::uint64_t first, MutableGenotypes out) const {
    make_mutants(decisions_, parents_, all_free_, contestants_, size_, {seed_, generation_, first}, out);
}

}  // namespace nasx
