#include "nasx/neat_fitness.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <tuple>

#include "nasx/pareto.hpp"

namespace nasx::neat {
namespace {

// What a genome is ordered by, smaller first.
struct Key {
    double violation, primary, secondary;

    auto operator<=>(const Key&) const = default;
};

void place(const std::vector<Key>& keys, std::span<std::uint32_t> places) {
    std::vector<std::uint32_t> order(keys.size());
    std::iota(order.begin(), order.end(), 0u);
    std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
        const auto compared = keys[a] <=> keys[b];
        return compared != 0 ? compared < 0 : a < b;
    });
    for (std::uint32_t i = 0; i < order.size(); ++i) {
        const bool same = i > 0 && keys[order[i]] == keys[order[i - 1]];
        places[order[i]] = same ? places[order[i - 1]] : i;
    }
}

}  // namespace

void rate(Matrix<const double> losses, std::span<const double> violations, std::span<std::uint32_t> places,
          std::span<double> fitness) {
    const std::size_t n = losses.rows;
    constexpr double infinity = std::numeric_limits<double>::infinity();
    std::vector<Key> keys(n);
    std::vector<std::int32_t> ranks;
    std::vector<double> crowding;
    if (losses.cols > 1) {
        ranks.resize(n);
        crowding.resize(n);
        rank(losses, violations, ranks);
        crowding_distance(losses, ranks, crowding);
    }
    // Of the feasible ones; of the others without them.
    double worst = -infinity, largest = -infinity;
    bool feasible = false;
    for (std::size_t i = 0; i < n; ++i) {
        keys[i].violation = violations[i];
        keys[i].primary = losses.cols > 1 ? ranks[i] : losses(i, 0);
        keys[i].secondary = losses.cols > 1 ? -crowding[i] : 0.0;
        if (violations[i] <= 0 && std::isfinite(keys[i].primary)) {
            feasible = true;
            worst = std::max(worst, keys[i].primary);
        } else if (std::isfinite(violations[i])) {
            largest = std::max(largest, violations[i]);
        }
    }
    place(keys, places);
    for (std::size_t i = 0; i < n; ++i) {
        fitness[i] = 0;
        if (!feasible) {
            fitness[i] = std::isfinite(violations[i]) ? largest - violations[i] : 0.0;
        } else if (violations[i] <= 0 && std::isfinite(keys[i].primary)) {
            if (losses.cols > 1) {
                const double apart = crowding[i];
                fitness[i] = worst - keys[i].primary + (std::isinf(apart) ? 1.0 : apart / (1.0 + apart));
            } else {
                fitness[i] = std::max(worst, 0.0) - keys[i].primary;
            }
        }
    }
}

}  // namespace nasx::neat
