#include "nasx/evolution.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace nasx {
namespace {

void check_parents(const Decisions& decisions, Genotypes parents, const Contestants& contestants,
                   std::size_t size, std::size_t children) {
    decisions.check(parents, "parents");
    if (contestants.keys.size() != parents.rows) {
        throw std::invalid_argument("keys must have one value for each of the " +
                                    std::to_string(parents.rows) + " parents; got " +
                                    std::to_string(contestants.keys.size()));
    }
    contestants.check(size, children);
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
        std::int32_t rank;
        double crowding;
        std::uint64_t lot;
        std::int32_t row;
    };
    std::vector<Survivor> survivors(candidates.size());
    for (std::size_t i = 0; i < survivors.size(); ++i) {
        Stream stream(seed, Purpose::select, generation, static_cast<std::uint64_t>(candidates[i]));
        survivors[i] = {candidate_ranks[i], distances[i], stream.next_u64(), candidates[i]};
    }
    std::sort(survivors.begin(), survivors.end(), [](const Survivor& a, const Survivor& b) {
        if (a.rank != b.rank) {
            return a.rank < b.rank;
        }
        if (a.crowding != b.crowding) {
            return a.crowding > b.crowding;
        }
        return a.lot != b.lot ? a.lot < b.lot : a.row < b.row;
    });
    for (std::size_t i = 0; i < wanted; ++i) {
        rows[i] = survivors[i].row;
        ranks[i] = survivors[i].rank;
        crowding[i] = survivors[i].crowding;
    }
}

void offspring(const Decisions& decisions, Genotypes parents, const Contestants& contestants,
               std::size_t size, const Crossover& how, std::span<const double> rates, const StreamKey& key,
               MutableGenotypes out) {
    check_parents(decisions, parents, contestants, size, out.rows);
    how.check();
    const MutationRates ready(rates, decisions);
    for_rows(out.rows, out.cols, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            Stream stream(key, Purpose::offspring, i);
            const std::uint32_t mother = contestants.winner(size, stream);
            const std::uint32_t father =
                parents.rows > 1 ? contestants.winner_beside(mother, size, stream) : mother;
            crossover_row(decisions, parents.row(mother), parents.row(father), how, stream, out.row(i));
            mutate_row(decisions, ready, stream, out.row(i));
        }
    });
}

void mutants(const Decisions& decisions, Genotypes parents, const Contestants& contestants, std::size_t size,
             const StreamKey& key, MutableGenotypes out) {
    check_parents(decisions, parents, contestants, size, out.rows);
    for_rows(out.rows, out.cols + size, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            Stream stream(key, Purpose::mutants, i);
            std::copy_n(parents.row(contestants.winner(size, stream)), out.cols, out.row(i));
            mutate_one_row(decisions, stream, out.row(i));
        }
    });
}

}  // namespace nasx
