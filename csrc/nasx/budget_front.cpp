#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <unordered_map>

#include "nasx/budget.hpp"
#include "nasx/pareto.hpp"

namespace nasx {
namespace {

using Values = std::array<double, 3>;  // the third is 0 where there are two sums

// A sum over the first decisions, and where it came from.
struct Point {
    Values costs;
    std::uint32_t parent;  // among the points of the decisions before the last
    std::int32_t choice;   // at the last
};

bool before(const Point& a, const Point& b) {
    return a.costs < b.costs;
}

using Points = std::vector<Point>;

// Two lists that ascend in the first sum and descend in the second become one. O(a + b).
void merge(const Points& a, const Points& b, Points& out) {
    out.clear();
    double lowest = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0, k = 0; i < a.size() || k < b.size();) {
        const bool from_b = i == a.size() || (k < b.size() && before(b[k], a[i]));
        const Point& point = from_b ? b[k++] : a[i++];
        if (point.costs[1] < lowest) {
            out.push_back(point);
            lowest = point.costs[1];
        }
    }
}

// What no other point covers, one of each, in ascending order. O(n log n).
Points filtered(Points points) {
    std::stable_sort(points.begin(), points.end(), before);
    points.erase(std::unique(points.begin(), points.end(),
                             [](const Point& a, const Point& b) { return a.costs == b.costs; }),
                 points.end());
    std::vector<double> losses;
    losses.reserve(3 * points.size());
    for (const Point& point : points) {
        losses.insert(losses.end(), point.costs.begin(), point.costs.end());
    }
    const auto mask = std::make_unique<bool[]>(points.size());
    front({losses.data(), points.size(), 3}, {mask.get(), points.size()});
    std::size_t kept = 0;
    for (std::size_t i = 0; i < points.size(); ++i) {
        if (mask[i]) {
            points[kept++] = points[i];
        }
    }
    points.resize(kept);
    return points;
}

// Every point with every choice, without those that another covers.
Points extended(const Points& points, const std::vector<Values>& choices, std::size_t m) {
    Points all, shifted, merged;
    for (std::size_t k = 0; k < choices.size(); ++k) {
        shifted.clear();
        for (std::size_t i = 0; i < points.size(); ++i) {
            Point point{points[i].costs, static_cast<std::uint32_t>(i), static_cast<std::int32_t>(k)};
            for (std::size_t o = 0; o < m; ++o) {
                point.costs[o] += choices[k][o];
            }
            shifted.push_back(point);
        }
        if (m == 2) {
            merge(all, shifted, merged);
            std::swap(all, merged);
        } else {
            all.insert(all.end(), shifted.begin(), shifted.end());
        }
    }
    return m == 2 ? all : filtered(std::move(all));
}

// The box of a grid that a point is in.
struct Grid {
    Values low, width;
    double boxes;  // along each sum; at most 2^20

    // In widths from the lower side of the box with the number `box`.
    double place(const Values& costs, std::size_t o, double& box) const {
        const double x = width[o] > 0 ? (costs[o] - low[o]) / width[o] : 0;
        box = std::min(std::floor(x), boxes - 1);
        return x - box;
    }

    std::uint64_t key(const Values& costs) const {
        std::uint64_t made = 0;
        double box = 0;
        for (std::size_t o = 0; o < 3; ++o) {
            place(costs, o, box);
            made = (made << 21) | static_cast<std::uint64_t>(box);
        }
        return made;
    }

    // How far a point is from the best corner of its box.
    double distance(const Values& costs) const {
        double largest = 0, box = 0;
        for (std::size_t o = 0; o < 3; ++o) {
            largest = std::max(largest, place(costs, o, box));
        }
        return largest;
    }
};

// Leaves one point in each box of the finest of some grids with which at most `cap` are left, and adds to
// epsilon how much worse than a dropped point the one that is left can be.
Points thinned(const Points& points, std::size_t cap, Values& epsilon) {
    Values low = points[0].costs, high = points[0].costs;
    for (const Point& point : points) {
        for (std::size_t o = 0; o < 3; ++o) {
            low[o] = std::min(low[o], point.costs[o]);
            high[o] = std::max(high[o], point.costs[o]);
        }
    }
    const auto grid = [&](double boxes) {
        Grid made{low, {}, boxes};
        for (std::size_t o = 0; o < 3; ++o) {
            made.width[o] = (high[o] - low[o]) / boxes;
        }
        return made;
    };
    std::unordered_map<std::uint64_t, std::size_t> leaders;  // box -> the place of what is left of it
    const auto fits = [&](double boxes) {
        const Grid made = grid(boxes);
        leaders.clear();
        for (const Point& point : points) {
            if (leaders.try_emplace(made.key(point.costs), 0).second && leaders.size() > cap) {
                return false;
            }
        }
        return true;
    };
    double coarse = 1, fine = 2;
    while (fine < 0x1p20 && fits(fine)) {
        coarse = fine;
        fine *= 2;
    }
    for (int step = 0; step < 6; ++step) {
        const double middle = std::floor((coarse + fine) / 2);
        (fits(middle) ? coarse : fine) = middle;
    }
    const Grid made = grid(coarse);
    leaders.clear();
    for (std::size_t i = 0; i < points.size(); ++i) {
        const auto [found, fresh] = leaders.try_emplace(made.key(points[i].costs), i);
        if (!fresh && made.distance(points[i].costs) < made.distance(points[found->second].costs)) {
            found->second = i;
        }
    }
    Values worst{};
    Points kept;
    for (std::size_t i = 0; i < points.size(); ++i) {
        const std::size_t leader = leaders.at(made.key(points[i].costs));
        for (std::size_t o = 0; o < 3; ++o) {
            worst[o] = std::max(worst[o], points[leader].costs[o] - points[i].costs[o]);
        }
        if (leader == i) {
            kept.push_back(points[i]);
        }
    }
    for (std::size_t o = 0; o < 3; ++o) {
        epsilon[o] += worst[o];
    }
    return kept;
}

}  // namespace

SumsFront pareto_of_sums(const Sums& costs, std::size_t cap) {
    costs.check("costs");
    const std::size_t d = costs.size(), m = costs.entries.rows;
    if (m != 2 && m != 3) {
        throw std::invalid_argument("costs must have two or three rows; got " + std::to_string(m));
    }
    std::size_t widest = 1;
    for (const std::int32_t count : costs.cardinalities) {
        widest = std::max(widest, static_cast<std::size_t>(count));
    }
    // Points are numbered by 32 bits, and all of a decision's are in memory at once.
    constexpr std::size_t most_points = std::size_t{1} << 24;
    if (cap < 1 || cap > most_points / widest || cap > 4 * most_points / d) {
        throw std::invalid_argument("cap must be at least 1 and at most " +
                                    std::to_string(std::min(most_points / widest, 4 * most_points / d)) +
                                    " for these decisions; got " + std::to_string(cap));
    }
    struct Origin {
        std::uint32_t parent;
        std::int32_t choice;
    };
    std::vector<std::vector<Origin>> origins(d);
    Point start{{}, 0, 0};
    std::copy(costs.intercepts.begin(), costs.intercepts.end(), start.costs.begin());
    Points points{start};
    Values epsilon{};
    std::vector<Values> choices;
    for (std::size_t j = 0, at = 0; j < d; ++j) {
        choices.assign(static_cast<std::size_t>(costs.cardinalities[j]), {});
        for (Values& choice : choices) {
            for (std::size_t o = 0; o < m; ++o) {
                choice[o] = costs.entries(o, at);
            }
            ++at;
        }
        points = extended(points, choices, m);
        if (points.size() > cap) {
            points = thinned(points, cap, epsilon);
        }
        for (const Point& point : points) {
            origins[j].push_back({point.parent, point.choice});
        }
    }
    SumsFront found;
    found.size = points.size();
    found.genotypes.resize(points.size() * d);
    for (std::size_t f = 0; f < points.size(); ++f) {
        found.costs.insert(found.costs.end(), points[f].costs.begin(),
                           points[f].costs.begin() + static_cast<std::ptrdiff_t>(m));
        std::size_t place = f;
        for (std::size_t j = d; j-- > 0;) {
            found.genotypes[f * d + j] = origins[j][place].choice;
            place = origins[j][place].parent;
        }
    }
    found.epsilon.assign(epsilon.begin(), epsilon.begin() + static_cast<std::ptrdiff_t>(m));
    return found;
}

}  // namespace nasx
