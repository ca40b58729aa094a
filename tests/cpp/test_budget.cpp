#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "helpers.hpp"
#include "nasx/budget.hpp"

using namespace nasx;

namespace {

// Decisions with random or whole numbers, few enough to look at all architectures.
struct Space {
    std::vector<std::int32_t> cardinalities;
    std::vector<double> scores, costs, intercepts;
    double base = 0.25;

    Space(std::uint64_t seed, std::size_t m, bool whole, std::size_t most = 6) : intercepts(m, 1) {
        Stream stream(seed, Purpose::sample, 0, 0);
        cardinalities.resize(1 + stream.below(static_cast<std::uint32_t>(most)));
        std::size_t choices = 0;
        for (std::int32_t& count : cardinalities) {
            count = 1 + static_cast<std::int32_t>(stream.below(6));
            choices += static_cast<std::size_t>(count);
        }
        scores.resize(choices);
        costs.resize(m * choices);
        for (double& x : scores) {
            x = whole ? stream.below(8) : stream.uniform() - 0.5;
        }
        for (double& x : costs) {
            x = whole ? stream.below(8) - 2.0 : stream.uniform() - 0.2;
        }
    }

    Sums score() const { return {cardinalities, {scores.data(), 1, scores.size()}, {&base, 1}}; }
    Sums cost() const {
        return {cardinalities, {costs.data(), intercepts.size(), scores.size()}, intercepts};
    }

    std::vector<std::vector<std::int32_t>> all() const {
        std::vector<std::vector<std::int32_t>> rows{{}};
        for (const std::int32_t count : cardinalities) {
            std::vector<std::vector<std::int32_t>> longer;
            for (const auto& row : rows) {
                for (std::int32_t k = 0; k < count; ++k) {
                    longer.push_back(row);
                    longer.back().push_back(k);
                }
            }
            rows = std::move(longer);
        }
        return rows;
    }
};

}  // namespace

TEST_CASE("the best within limits is that of all architectures") {
    std::size_t infeasible = 0;
    for (std::uint64_t seed = 0; seed < 600; ++seed) {
        const std::size_t m = 1 + seed % 3;
        const bool whole = seed % 2 == 0;
        const Space space(seed, m, whole);
        const Sums score = space.score(), cost = space.cost();
        const auto rows = space.all();
        Stream stream(seed, Purpose::sample, 0, 1);
        std::vector<double> limits;
        for (std::size_t i = 0; i < m; ++i) {  // often the very cost of an architecture
            const auto& row = rows[stream.below(static_cast<std::uint32_t>(rows.size()))];
            limits.push_back(cost.sum(i, row.data()));
        }
        double best = -std::numeric_limits<double>::infinity();
        for (const auto& row : rows) {
            bool within = true;
            for (std::size_t i = 0; i < m; ++i) {
                within = within && cost.sum(i, row.data()) <= limits[i];
            }
            best = within ? std::max(best, score.sum(0, row.data())) : best;
        }
        const BudgetSettings settings{.resolution = seed % 5 == 0 ? std::size_t{10} : std::size_t{10'000}};
        if (best == -std::numeric_limits<double>::infinity()) {
            ++infeasible;
            CHECK(test::has(test::refusal([&] { best_under(score, cost, limits, settings); }),
                            "no architecture meets all of them"));
            continue;
        }
        const Best found = best_under(score, cost, limits, settings);
        CHECK(found.score == doctest::Approx(best).epsilon(1e-11));
        CHECK(found.score == score.sum(0, found.genotype.data()));
        CHECK(found.bound == found.score);
        for (std::size_t i = 0; i < m; ++i) {
            CHECK(found.costs[i] == cost.sum(i, found.genotype.data()));
            CHECK(found.costs[i] <= limits[i]);
        }
    }
    CHECK(infeasible > 10);
}

TEST_CASE("a search that is stopped says what is proven") {
    std::size_t open = 0;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        const Space space(seed, 3, false, 7);
        const Sums score = space.score(), cost = space.cost();
        const auto rows = space.all();
        std::vector<double> limits;
        for (std::size_t i = 0; i < 3; ++i) {
            limits.push_back(cost.sum(i, rows[rows.size() / 2].data()));
        }
        const Best exact = best_under(score, cost, limits, {});
        Best found;
        const std::string refusal =
            test::refusal([&] { found = best_under(score, cost, limits, {.resolution = 1, .nodes = 1}); });
        if (!refusal.empty()) {
            CHECK(test::has(refusal, "was found in 1 nodes"));
            continue;
        }
        CHECK(found.score <= exact.score);
        CHECK(found.bound >= exact.score - 1e-11);
        open += found.bound > found.score;
    }
    CHECK(open > 0);
}

TEST_CASE("large spaces: no worse than costs rounded up allow, and the bound holds") {
    const std::size_t d = 40, k = 9;
    const std::vector<std::int32_t> cardinalities(d, static_cast<std::int32_t>(k));
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
        const auto costs = test::random_losses(1, d * k, seed),
                   scores = test::random_losses(1, d * k, seed + 9);
        const double base = 0, limit = 10;
        const Sums cost{cardinalities, costs.view(), {&base, 1}};
        const Sums score{cardinalities, scores.view(), {&base, 1}};
        const Best found = best_under(score, cost, {&limit, 1}, {});
        // The plain dynamic program, on costs rounded up to 1000 cells of the limit and down to them.
        for (const bool up : {true, false}) {
            std::vector<double> best(1001, 0.0), next(1001);
            for (std::size_t j = 0; j < d; ++j) {
                std::fill(next.begin(), next.end(), -1e9);
                for (std::size_t a = j * k; a < (j + 1) * k; ++a) {
                    const double cells = costs.values[a] * 100;
                    const auto needed = static_cast<std::size_t>(up ? std::ceil(cells) : std::floor(cells));
                    for (std::size_t c = needed; c <= 1000; ++c) {
                        next[c] = std::max(next[c], best[c - needed] + scores.values[a]);
                    }
                }
                best.swap(next);
            }
            CHECK((up ? found.score >= best[1000] - 1e-9 : found.score <= best[1000] + 1e-9));
        }
        CHECK(found.bound == found.score);
        CHECK(found.costs[0] <= limit);
    }
}

TEST_CASE("a front is that of all architectures, or within epsilon of it") {
    std::size_t thinned = 0;
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        const std::size_t m = 2 + seed % 2;
        const Space space(seed, m, seed % 4 < 2);
        const Sums cost = space.cost();
        std::vector<std::vector<double>> all;
        for (const auto& row : space.all()) {
            all.emplace_back();
            for (std::size_t i = 0; i < m; ++i) {
                all.back().push_back(cost.sum(i, row.data()));
            }
        }
        for (const std::size_t cap : {1000000, 7, 1}) {
            const SumsFront found = pareto_of_sums(cost, cap);
            REQUIRE(found.size >= 1);
            for (std::size_t f = 0; f < found.size; ++f) {
                for (std::size_t i = 0; i < m; ++i) {
                    const std::int32_t* const row = found.genotypes.data() + f * cost.size();
                    REQUIRE(found.costs[f * m + i] == cost.sum(i, row));
                }
            }
            bool covered = true;
            for (const auto& costs : all) {
                bool here = false;
                for (std::size_t f = 0; f < found.size && !here; ++f) {
                    here = true;
                    for (std::size_t i = 0; i < m; ++i) {
                        here = here && found.costs[f * m + i] <= costs[i] + found.epsilon[i] * (1 + 1e-12);
                    }
                }
                covered = covered && here;
            }
            CHECK(covered);
            if (cap == 1000000) {
                CHECK(*std::max_element(found.epsilon.begin(), found.epsilon.end()) == 0);
                std::size_t points = 0;
                std::sort(all.begin(), all.end());
                all.erase(std::unique(all.begin(), all.end()), all.end());
                for (const auto& a : all) {
                    points += std::none_of(all.begin(), all.end(), [&](const auto& b) {
                        return test::dominates(b.data(), a.data(), m);
                    });
                }
                CHECK(points == found.size);
            } else {
                CHECK(found.size <= cap);
                thinned += found.epsilon[0] > 0;
            }
        }
    }
    CHECK(thinned > 50);
}

TEST_CASE(
    "samples are uniform among what is within the limit, all of it, whatever the resolution and threads") {
    std::uint64_t seed = 0;
    while (Space(seed, 1, false).all().size() < 300) {
        ++seed;
    }
    const Space space(seed, 1, false);
    const Sums cost = space.cost();
    const auto rows = space.all();
    std::vector<double> sums;
    for (const auto& row : rows) {
        sums.push_back(cost.sum(0, row.data()));
    }
    std::sort(sums.begin(), sums.end());
    const double limit = sums[59];  // the 60 cheapest
    for (const std::size_t resolution : {20, 10'000}) {
        const std::size_t n = 60'000;
        std::vector<std::int32_t> out(n * cost.size()), again(out);
        set_num_threads(1);
        sample_under(cost, limit, resolution, {.seed = 3}, {out.data(), n, cost.size()});
        set_num_threads(3);
        sample_under(cost, limit, resolution, {.seed = 3}, {again.data(), n, cost.size()});
        CHECK(out == again);
        sample_under(cost, limit, resolution, {.seed = 3, .first = 7}, {again.data(), 5, cost.size()});
        const auto seventh = out.begin() + static_cast<std::ptrdiff_t>(7 * cost.size());
        CHECK(
            std::equal(again.begin(), again.begin() + static_cast<std::ptrdiff_t>(5 * cost.size()), seventh));
        std::map<std::vector<std::int32_t>, double> seen;
        for (std::size_t i = 0; i < n; ++i) {
            const std::int32_t* const row = out.data() + i * cost.size();
            REQUIRE(cost.sum(0, row) <= limit);
            ++seen[{row, row + cost.size()}];
        }
        CHECK(seen.size() == 60);
        double chi = 0;
        for (const auto& [row, times] : seen) {
            chi += (times - 1000) * (times - 1000) / 1000;
        }
        CHECK(chi < 59 + 4 * std::sqrt(2 * 59.0));
    }
}

TEST_CASE("counts of forty decisions of nine, and of six hundred, do not overflow") {
    for (const std::size_t d : {40, 590}) {
        const std::vector<std::int32_t> cardinalities(d, 9);
        std::vector<double> entries;
        for (std::size_t i = 0; i < 9 * d; ++i) {
            entries.push_back(static_cast<double>(i % 9));
        }
        const double base = 0;
        const Sums cost{cardinalities, {entries.data(), 1, 9 * d}, {&base, 1}};
        // Without a limit that matters the mean is 4 a decision; with one of 1 a decision nearly all is used.
        for (const double limit : {9.0 * static_cast<double>(d), static_cast<double>(d)}) {
            std::vector<std::int32_t> out(500 * d);
            sample_under(cost, limit, 9 * d, {.seed = 1}, {out.data(), 500, d});
            double sum = 0;
            for (std::size_t i = 0; i < 500; ++i) {
                sum += cost.sum(0, out.data() + i * d);
            }
            const double mean = sum / 500 / static_cast<double>(d);
            CHECK(mean == doctest::Approx(limit > 8.5 * static_cast<double>(d) ? 4.0 : 1.0).epsilon(0.05));
        }
    }
}

TEST_CASE("what cannot be is refused by name") {
    const Space space(5, 2, false);
    Sums cost = space.cost();
    const Sums score = space.score();
    const auto best = [&](std::vector<double> limits, BudgetSettings settings = {}) {
        return test::refusal([&] { best_under(score, cost, limits, settings); });
    };
    CHECK(test::has(best({9}), "limits must be 1 to 8, one for each of the 2 rows"));
    CHECK(test::has(best({9, std::nan("")}), "limits must be finite; number 1"));
    CHECK(test::has(best({9, -9}), "no architecture has sum 1 of at most -9; the least reachable is"));
    CHECK(test::has(best({9, 9}, {.resolution = 0}), "resolution must be at least 1"));
    CHECK(test::has(best({9, 9}, {.resolution = std::size_t{1} << 40}), "resolution must be at least 1"));
    std::vector<double> holed(space.costs);
    holed[holed.size() - 1] = std::nan("");
    cost.entries.data = holed.data();
    CHECK(test::has(best({9, 9}), "costs must be finite; row 1"));
    CHECK(test::has(test::refusal([&] { pareto_of_sums(cost, 10); }), "costs must be finite"));
    holed[holed.size() - 1] = 1.7e308;
    CHECK(test::has(best({9, 9}), "beyond what a double holds"));
    cost = space.cost();
    CHECK(test::has(test::refusal([&] { pareto_of_sums(cost, 0); }), "cap must be at least 1"));
    CHECK(test::has(test::refusal([&] { pareto_of_sums(score, 10); }), "two or three rows; got 1"));
    std::vector<std::int32_t> out(cost.size());
    const auto sample = [&](const Sums& sums, double limit, std::size_t resolution) {
        return test::refusal([&] { sample_under(sums, limit, resolution, {}, {out.data(), 1, out.size()}); });
    };
    CHECK(test::has(sample(cost, 9, 10), "costs must have one row"));
    CHECK(test::has(sample(score, -99, 10), "the least reachable is"));
    CHECK(test::has(sample(score, 9, 0), "resolution"));
    // Two hundred decisions, each with nothing and a little more than the limit leaves for all: one cell
    // hides the difference between one architecture within the limit and 2^200 over it.
    const std::vector<std::int32_t> pairs(200, 2);
    std::vector<double> entries(400, 0);
    for (std::size_t i = 1; i < 400; i += 2) {
        entries[i] = 0.9;
    }
    out.resize(200);
    const double base = 0;
    const Sums coarse{pairs, {entries.data(), 1, 400}, {&base, 1}};
    CHECK(test::has(sample(coarse, 1, 1), "resolution is too coarse"));
    CHECK(sample(coarse, 1, 100).empty());
}
