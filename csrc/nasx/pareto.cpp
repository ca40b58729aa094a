#include "nasx/pareto.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "nasx/bit_dominance.hpp"
#include "nasx/order.hpp"
#include "nasx/staircase.hpp"

namespace nasx {
namespace {

void check_violations(std::span<const double> violations, std::size_t n) {
    if (violations.size() != n) {
        throw std::invalid_argument("violations must have one value for each row of losses (" +
                                    std::to_string(n) + "); got " + std::to_string(violations.size()));
    }
    for (std::size_t i = 0; i < n; ++i) {
        if (std::isnan(violations[i])) {
            throw std::invalid_argument("violations holds NaN in row " + std::to_string(i) +
                                        "; use inf for a row that could not be measured");
        }
    }
}

// Ranks by value; `first_rank` is the smallest one's. Returns the rank after the largest.
template <class Set>
std::int32_t rank_sorted(const std::vector<Keyed>& sorted, std::int32_t first_rank, Set&& set) {
    std::int32_t next = first_rank;
    for (std::size_t i = 0; i < sorted.size(); ++i) {
        next += i == 0 || sorted[i].key != sorted[i - 1].key;
        set(sorted[i].row, next - 1);
    }
    return next;
}

struct Point2 {
    std::uint64_t x, y;
    std::uint32_t row;
};

std::vector<Point2> sorted_points(Matrix<const double> losses) {
    const std::vector<Keyed> first = sorted_column(losses, 0);
    std::vector<Point2> points(first.size());
    bool ties = false;
    for (std::size_t i = 0; i < first.size(); ++i) {
        points[i] = {first[i].key, ordered_bits(losses(first[i].row, 1)), first[i].row};
        ties = ties || (i > 0 && points[i].x == points[i - 1].x);
    }
    if (ties) {
        auto begin = points.begin();
        while (begin != points.end()) {
            const auto end =
                std::find_if(begin, points.end(), [&](const Point2& p) { return p.x != begin->x; });
            std::sort(begin, end, [](const Point2& a, const Point2& b) { return a.y < b.y; });
            begin = end;
        }
    }
    return points;
}

// Each front is known by its last point, the lowest in y so far, and those points ascend with the fronts.
std::size_t rank_two(Matrix<const double> losses, std::span<std::int32_t> ranks) {
    std::vector<std::uint64_t> last;
    const Point2* previous = nullptr;
    std::size_t front_index = 0;
    for (const std::vector<Point2> points = sorted_points(losses); const Point2& point : points) {
        if (previous == nullptr || previous->x != point.x || previous->y != point.y) {
            front_index =
                static_cast<std::size_t>(std::upper_bound(last.begin(), last.end(), point.y) - last.begin());
            if (front_index == last.size()) {
                last.push_back(point.y);
            } else {
                last[front_index] = point.y;
            }
        }
        ranks[point.row] = static_cast<std::int32_t>(front_index);
        previous = &point;
    }
    return last.size();
}

std::vector<std::int32_t> staircase_ranks(const LexicographicOrder& order) {
    std::vector<std::int32_t> ranks(order.unique);
    std::vector<Staircase> fronts;
    for (std::size_t i = 0; i < order.unique; ++i) {
        const std::uint32_t y = order.row(i)[0], z = order.row(i)[1];
        std::size_t low = 0, high = fronts.size();
        while (low < high) {
            const std::size_t middle = (low + high) / 2;
            if (fronts[middle].covers(y, z)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if (low == fronts.size()) {
            fronts.emplace_back();
        }
        fronts[low].insert(y, z);
        ranks[i] = static_cast<std::int32_t>(low);
    }
    return ranks;
}

std::size_t rank_feasible(Matrix<const double> losses, std::span<std::int32_t> ranks) {
    if (losses.rows == 0) {
        return 0;
    }
    if (losses.cols == 1) {
        const auto set = [&](std::uint32_t row, std::int32_t r) { ranks[row] = r; };
        return static_cast<std::size_t>(rank_sorted(sorted_column(losses, 0), 0, set));
    }
    if (losses.cols == 2) {
        return rank_two(losses, ranks);
    }
    const LexicographicOrder order = lexicographic_order(losses);
    const std::vector<std::int32_t> unique = losses.cols == 3 ? staircase_ranks(order) : bit_ranks(order);
    for (std::size_t i = 0; i < losses.rows; ++i) {
        ranks[i] = unique[order.group[i]];
    }
    return static_cast<std::size_t>(*std::max_element(unique.begin(), unique.end())) + 1;
}

void front_two(Matrix<const double> losses, std::span<bool> mask) {
    const std::vector<Point2> points = sorted_points(losses);
    const Point2* best = nullptr;
    for (const Point2& point : points) {
        const bool same = best != nullptr && best->x == point.x && best->y == point.y;
        mask[point.row] = best == nullptr || same || point.y < best->y;
        best = mask[point.row] ? &point : best;
    }
}

std::vector<bool> staircase_front(const LexicographicOrder& order) {
    std::vector<bool> mask(order.unique);
    Staircase stairs;
    for (std::size_t i = 0; i < order.unique; ++i) {
        const std::uint32_t y = order.row(i)[0], z = order.row(i)[1];
        mask[i] = !stairs.covers(y, z);
        if (mask[i]) {
            stairs.insert(y, z);
        }
    }
    return mask;
}

}  // namespace

void check_losses(Matrix<const double> losses) {
    if (losses.cols == 0) {
        throw std::invalid_argument("losses must have at least one column (objective); got none");
    }
    if (losses.rows > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
        throw std::invalid_argument("losses must have fewer than 2^31 rows; got " +
                                    std::to_string(losses.rows));
    }
    const std::span<const double> all = losses.span();
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (std::isnan(all[i])) {
            throw std::invalid_argument("losses holds NaN in row " + std::to_string(i / losses.cols) +
                                        ", objective " + std::to_string(i % losses.cols) +
                                        "; use inf for an evaluation that failed");
        }
    }
}

std::size_t rank(Matrix<const double> losses, Violations violations, std::span<std::int32_t> ranks) {
    check_losses(losses);
    if (violations) {
        check_violations(*violations, losses.rows);
    }
    const auto feasible = [&](std::size_t i) { return (*violations)[i] <= 0; };
    std::vector<std::uint32_t> rows;
    std::vector<Keyed> infeasible;
    for (std::size_t i = 0; violations && i < losses.rows; ++i) {
        if (feasible(i)) {
            rows.push_back(static_cast<std::uint32_t>(i));
        } else {
            infeasible.push_back({ordered_bits((*violations)[i]), static_cast<std::uint32_t>(i)});
        }
    }
    if (infeasible.empty()) {
        return rank_feasible(losses, ranks);
    }
    std::vector<double> kept(rows.size() * losses.cols);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        std::copy_n(losses.row(rows[i]), losses.cols, kept.data() + i * losses.cols);
    }
    std::vector<std::int32_t> kept_ranks(rows.size());
    const std::size_t fronts = rank_feasible({kept.data(), rows.size(), losses.cols}, kept_ranks);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        ranks[rows[i]] = kept_ranks[i];
    }
    sort_keyed(infeasible);
    const auto set = [&](std::uint32_t row, std::int32_t r) { ranks[row] = r; };
    return static_cast<std::size_t>(rank_sorted(infeasible, static_cast<std::int32_t>(fronts), set));
}

void front(Matrix<const double> losses, std::span<bool> mask) {
    check_losses(losses);
    if (losses.rows == 0) {
        return;
    }
    if (losses.cols == 1) {
        const double* const end = losses.data + losses.rows;
        const double best = *std::min_element(losses.data, end);
        std::transform(losses.data, end, mask.begin(), [&](double x) { return x == best; });
        return;
    }
    if (losses.cols == 2) {
        front_two(losses, mask);
        return;
    }
    const LexicographicOrder order = lexicographic_order(losses);
    const std::vector<bool> unique = losses.cols == 3 ? staircase_front(order) : bit_front(order);
    for (std::size_t i = 0; i < losses.rows; ++i) {
        mask[i] = unique[order.group[i]];
    }
}

}  // namespace nasx
