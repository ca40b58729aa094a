#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "nasx/budget.hpp"

namespace nasx {
namespace {

constexpr std::size_t most_limits = 8;
constexpr std::size_t most_mixtures = 4;
constexpr double tilt = 1.5;
constexpr double infinity = std::numeric_limits<double>::infinity();

using PerLimit = std::array<double, most_limits>;
using PerMixture = std::array<double, most_mixtures>;

struct Item {
    double score = 0;
    PerLimit cost{};      // shares of the limits
    PerMixture weight{};  // shares of the mixtures of limits
    std::int32_t choice = 0;
};

using Items = std::vector<Item>;

// The best sums of scores of the first p decisions with at most c cells of a mixture, for all p and c.
struct Table {
    std::size_t width = 0;
    double cells = 0;                  // that a weight of 1 has
    std::vector<double> values;        // (decisions + 1, width)
    std::vector<double> least;         // (decisions,): the weight that every choice has
    std::vector<double> least_before;  // (decisions + 1,): its sums

    const double* row(std::size_t p) const { return values.data() + p * width; }
    double* row(std::size_t p) { return values.data() + p * width; }

    std::size_t cells_of(std::size_t p, double weight) const {
        return static_cast<std::size_t>(std::ceil((weight - least[p]) * cells * (1 - 1e-12)));
    }

    // A bound for the first p decisions when so much weight is left: each rounds up by less than a cell.
    double bound(std::size_t p, double left) const {
        const double room = (left - least_before[p]) * cells + static_cast<double>(p) + 1e-3;
        if (room < 0) {
            return -infinity;
        }
        return row(p)[room < static_cast<double>(width) ? static_cast<std::size_t>(room) : width - 1];
    }
};

class Search {
  public:
    Search(const Sums& scores, const Sums& costs, std::span<const double> limits,
           const BudgetSettings& settings);
    Best run();

  private:
    void drop_dominated(const Sums& scores, const Sums& costs);
    void relax();
    std::vector<std::size_t> repaired(std::vector<std::size_t> taken) const;
    void reduce(const PerLimit& prices, double bound);
    void split();
    void tabulate();
    void fill(Table& table, std::size_t t);
    void read_answers();
    void offer(const std::vector<std::size_t>& taken);
    void offer_active(const std::vector<std::size_t>& taken);
    void descend(std::size_t p, double score, const PerLimit& left, const PerMixture& weights);

    double value(const Item& item, const PerLimit& prices) const {
        double v = item.score;
        for (std::size_t i = 0; i < m_; ++i) {
            v -= prices[i] * item.cost[i];
        }
        return v;
    }

    const Sums& scores_;
    const Sums& costs_;
    std::span<const double> limits_;
    const BudgetSettings& settings_;
    std::size_t m_, mixtures_ = 1;
    std::vector<Items> items_;  // of each decision

    PerLimit prices_{};
    double relaxed_ = infinity;  // the Lagrangian bound
    double tolerance_ = 0;
    double score_ = -infinity;
    std::vector<std::int32_t> best_;

    std::vector<std::size_t> active_;  // decisions with several items, in the order of the tables
    double fixed_score_ = 0;
    PerLimit fixed_left_{};
    PerMixture fixed_weight_{};
    std::vector<Table> tables_;
    std::vector<PerLimit> least_before_;  // of the first p active decisions
    std::vector<double> relaxed_before_;  // their Lagrangian values
    std::vector<std::int32_t> row_;
    struct Branch {
        double bound;
        const Item* item;
    };
    std::vector<std::vector<Branch>> branches_;
    std::uint64_t nodes_ = 0;
    bool stopped_ = false;
    double open_ = -infinity;  // the largest bound that was left when the search was stopped
};

Search::Search(const Sums& scores, const Sums& costs, std::span<const double> limits,
               const BudgetSettings& settings)
    : scores_(scores), costs_(costs), limits_(limits), settings_(settings), m_(limits.size()) {
    const std::size_t d = costs.size();
    items_.resize(d);
    row_.resize(d);
    std::vector<std::vector<double>> shares;
    for (std::size_t i = 0; i < m_; ++i) {
        shares.push_back(costs.shares(i, limits[i]));
    }
    double magnitude = std::abs(scores.intercepts[0]);
    for (std::size_t j = 0, at = 0; j < d; ++j) {
        double largest = 0;
        for (std::int32_t k = 0; k < costs.cardinalities[j]; ++k, ++at) {
            Item item;
            item.score = scores.entries(0, at);
            item.choice = k;
            bool fits = true;
            for (std::size_t i = 0; i < m_; ++i) {
                item.cost[i] = shares[i][at];
                fits = fits && item.cost[i] <= 1;
            }
            largest = std::max(largest, std::abs(item.score));
            if (fits) {
                items_[j].push_back(item);
            }
        }
        magnitude += largest;
    }
    tolerance_ = 1e-12 * magnitude;
    drop_dominated(scores, costs);
}

void Search::drop_dominated(const Sums& scores, const Sums& costs) {
    std::size_t start = 0;
    for (std::size_t j = 0; j < items_.size(); ++j) {
        const auto number = [&](std::size_t i, const Item& item) {  // as it was given, not as a share
            return costs.entries(i, start + static_cast<std::size_t>(item.choice));
        };
        Items kept;
        // The best scores first, so that what beats an item is before it.
        std::stable_sort(items_[j].begin(), items_[j].end(),
                         [](const Item& a, const Item& b) { return a.score > b.score; });
        for (auto group = items_[j].begin(); group != items_[j].end();) {
            const auto end = std::find_if(group, items_[j].end(),
                                          [&](const Item& item) { return item.score < group->score; });
            for (auto it = group; it != end; ++it) {
                const auto beaten_by = [&](const Item& other) {
                    bool smaller = other.score > it->score || other.choice < it->choice;
                    for (std::size_t i = 0; i < m_; ++i) {
                        if (number(i, other) > number(i, *it)) {
                            return false;
                        }
                        smaller = smaller || number(i, other) < number(i, *it);
                    }
                    return smaller;
                };
                if (!std::any_of(kept.begin(), kept.end(), beaten_by) &&
                    !std::any_of(group, end, beaten_by)) {
                    kept.push_back(*it);
                }
            }
            group = end;
        }
        items_[j] = std::move(kept);
        start += static_cast<std::size_t>(scores.cardinalities[j]);
    }
}

void Search::offer(const std::vector<std::size_t>& taken) {
    for (std::size_t j = 0; j < items_.size(); ++j) {
        row_[j] = items_[j][taken[j]].choice;
    }
    const double score = scores_.sum(0, row_.data());
    if (score <= score_) {
        return;
    }
    for (std::size_t i = 0; i < m_; ++i) {
        if (costs_.sum(i, row_.data()) > limits_[i]) {
            return;
        }
    }
    score_ = score;
    best_ = row_;
}

// What `taken` becomes when choices are changed, where that costs the least, until the limits are met, and
// then for better ones while they fit. What comes may still be over a limit.
std::vector<std::size_t> Search::repaired(std::vector<std::size_t> taken) const {
    PerLimit left;
    left.fill(1);
    for (std::size_t j = 0; j < items_.size(); ++j) {
        for (std::size_t i = 0; i < m_; ++i) {
            left[i] -= items_[j][taken[j]].cost[i];
        }
    }
    for (std::size_t steps = 0; steps < 4 * items_.size() + 16; ++steps) {
        double over = 0;
        for (std::size_t i = 0; i < m_; ++i) {
            over += std::max(0.0, -left[i]);
        }
        const bool upgrades = over <= 0;
        double best = -infinity;
        std::size_t at = 0, to = 0;
        for (std::size_t j = 0; j < items_.size(); ++j) {
            const Item& now = items_[j][taken[j]];
            for (std::size_t k = 0; k < items_[j].size(); ++k) {
                const Item& then = items_[j][k];
                const double gain = then.score - now.score;
                if (k == taken[j] || (upgrades && gain <= std::max(best, 0.0))) {
                    continue;
                }
                double still = 0;
                for (std::size_t i = 0; i < m_; ++i) {
                    still += std::max(0.0, then.cost[i] - now.cost[i] - left[i]);
                }
                double merit = gain;
                if (upgrades) {
                    if (still > 0) {
                        continue;
                    }
                } else {
                    if (still >= over) {
                        continue;
                    }
                    // By what is lost beside the worth of what is saved, for each share of the limits won
                    // back.
                    merit = (value(then, prices_) - value(now, prices_)) / (over - still);
                }
                if (merit > best) {
                    best = merit;
                    at = j;
                    to = k;
                }
            }
        }
        if (best == -infinity) {
            break;
        }
        for (std::size_t i = 0; i < m_; ++i) {
            left[i] += items_[at][taken[at]].cost[i] - items_[at][to].cost[i];
        }
        taken[at] = to;
    }
    return taken;
}

// Finds multipliers with a small bound, and answers on the way.
void Search::relax() {
    constexpr int rounds = 200;
    std::vector<std::size_t> taken(items_.size());
    PerLimit prices{};
    double step = 1;
    int idle = 0;
    for (int round = 0; round < rounds; ++round) {
        double bound = scores_.intercepts[0];
        PerLimit slope{};
        for (std::size_t i = 0; i < m_; ++i) {
            bound += prices[i];
            slope[i] = -1;
        }
        for (std::size_t j = 0; j < items_.size(); ++j) {
            double largest = -infinity;
            for (std::size_t k = 0; k < items_[j].size(); ++k) {
                const double v = value(items_[j][k], prices);
                if (v > largest) {
                    largest = v;
                    taken[j] = k;
                }
            }
            bound += largest;
            for (std::size_t i = 0; i < m_; ++i) {
                slope[i] += items_[j][taken[j]].cost[i];
            }
        }
        if (bound < relaxed_) {
            relaxed_ = bound;
            prices_ = prices;
            idle = 0;
        } else if (++idle % 8 == 0) {
            step /= 2;
        }
        if (idle == 0 || round % 8 == 0) {
            offer(repaired(taken));
        }
        double norm = 0;
        for (std::size_t i = 0; i < m_; ++i) {
            norm += prices[i] > 0 || slope[i] > 0 ? slope[i] * slope[i] : 0;
        }
        const double gap = score_ > -infinity ? bound - score_ : std::abs(bound) + 1;
        if (norm <= 0 || relaxed_ - score_ <= tolerance_ || step < 1e-4) {
            break;
        }
        for (std::size_t i = 0; i < m_; ++i) {
            prices[i] = std::max(0.0, prices[i] + step * gap / norm * slope[i]);
            if (!(prices[i] < std::numeric_limits<double>::max() * 1e-9)) {
                return;  // scores of 10^300
            }
        }
    }
}

// Drops items that no better answer can hold.
void Search::reduce(const PerLimit& prices, double bound) {
    for (Items& items : items_) {
        double largest = -infinity;
        for (const Item& item : items) {
            largest = std::max(largest, value(item, prices));
        }
        std::erase_if(items, [&](const Item& item) {
            return bound - (largest - value(item, prices)) <= score_ + tolerance_;
        });
    }
}

void Search::split() {
    // The sums of limits: by their multipliers, and with one limit at a time counting for more.
    PerLimit mixtures[most_mixtures];
    mixtures_ = m_ == 1 ? 1 : 1 + std::min(m_, most_mixtures - 1);
    for (std::size_t t = 0; t < mixtures_; ++t) {
        double sum = 0;
        for (std::size_t i = 0; i < m_; ++i) {
            mixtures[t][i] = prices_[i] * (t == i + 1 ? tilt : 1.0);
            sum += mixtures[t][i];
        }
        for (std::size_t i = 0; i < m_; ++i) {
            mixtures[t][i] = sum > 0 ? mixtures[t][i] / sum : 1 / static_cast<double>(m_);
        }
    }
    fixed_score_ = scores_.intercepts[0];
    fixed_left_.fill(1);
    fixed_weight_.fill(1);
    for (std::size_t j = 0; j < items_.size(); ++j) {
        for (Item& item : items_[j]) {
            for (std::size_t t = 0; t < mixtures_; ++t) {
                for (std::size_t i = 0; i < m_; ++i) {
                    item.weight[t] += mixtures[t][i] * item.cost[i];
                }
            }
        }
        if (items_[j].size() > 1) {
            active_.push_back(j);
            continue;
        }
        const Item& only = items_[j][0];
        row_[j] = only.choice;
        fixed_score_ += only.score;
        for (std::size_t i = 0; i < m_; ++i) {
            fixed_left_[i] -= only.cost[i];
        }
        for (std::size_t t = 0; t < mixtures_; ++t) {
            fixed_weight_[t] -= only.weight[t];
        }
    }
    // The last are branched on first: those with few items.
    std::stable_sort(active_.begin(), active_.end(),
                     [&](std::size_t a, std::size_t b) { return items_[a].size() > items_[b].size(); });
}

void Search::tabulate() {
    const std::size_t a = active_.size();
    least_before_.assign(a + 1, {});
    relaxed_before_.assign(a + 1, 0);
    branches_.resize(a + 1);
    for (std::size_t p = 0; p < a; ++p) {
        PerLimit least;
        least.fill(infinity);
        double largest = -infinity;
        for (const Item& item : items_[active_[p]]) {
            for (std::size_t i = 0; i < m_; ++i) {
                least[i] = std::min(least[i], item.cost[i]);
            }
            largest = std::max(largest, value(item, prices_));
        }
        for (std::size_t i = 0; i < m_; ++i) {
            least_before_[p + 1][i] = least_before_[p][i] + least[i];
        }
        relaxed_before_[p + 1] = relaxed_before_[p] + largest;
    }
    tables_.resize(mixtures_);
    for (std::size_t t = 0; t < mixtures_; ++t) {
        fill(tables_[t], t);
    }
}

void Search::fill(Table& table, std::size_t t) {
    const std::size_t a = active_.size();
    table.least.resize(a);
    table.least_before.assign(a + 1, 0);
    for (std::size_t p = 0; p < a; ++p) {
        table.least[p] = infinity;
        for (const Item& item : items_[active_[p]]) {
            table.least[p] = std::min(table.least[p], item.weight[t]);
        }
        table.least_before[p + 1] = table.least_before[p] + table.least[p];
    }
    const double room = std::max(fixed_weight_[t] - table.least_before[a], 1e-6);
    table.cells = static_cast<double>(settings_.resolution) / room;
    table.width = settings_.resolution + a + 1;
    table.values.assign((a + 1) * table.width, 0);
    std::vector<std::pair<std::size_t, double>> steps;
    for (std::size_t p = 0; p < a; ++p) {
        steps.clear();
        for (const Item& item : items_[active_[p]]) {
            steps.emplace_back(table.cells_of(p, item.weight[t]), item.score);
        }
        std::sort(steps.begin(), steps.end());
        const double* const before = table.row(p);
        double* const after = table.row(p + 1);
        double highest = -infinity;
        for (const auto& [cells, score] : steps) {
            if (cells >= table.width || score <= highest) {
                continue;  // another is better for no more
            }
            const std::size_t n = table.width - cells;
            double* const to = after + cells;
            if (highest == -infinity) {
                for (std::size_t c = 0; c < n; ++c) {
                    to[c] = before[c] + score;
                }
            } else {
                for (std::size_t c = 0; c < n; ++c) {
                    const double value = before[c] + score;
                    to[c] = value > to[c] ? value : to[c];
                }
            }
            highest = score;
        }
    }
}

// Offers the answers that tables hold for about as much as there is.
void Search::read_answers() {
    const std::size_t a = active_.size();
    std::vector<std::size_t> taken(a);
    for (std::size_t t = 0; t < mixtures_; ++t) {
        const Table& table = tables_[t];
        double last = infinity;
        std::size_t tried = 0;
        for (std::size_t cell = table.width; cell-- > 0 && tried < 2 * a + 16;) {
            if (table.row(a)[cell] >= last) {
                continue;
            }
            last = table.row(a)[cell];
            if (fixed_score_ + last <= score_ + tolerance_) {
                break;
            }
            ++tried;
            std::size_t c = cell;
            for (std::size_t p = a; p-- > 0;) {
                const Items& items = items_[active_[p]];
                for (std::size_t k = 0; k < items.size(); ++k) {
                    const std::size_t cells = table.cells_of(p, items[k].weight[t]);
                    if (cells <= c && table.row(p)[c - cells] + items[k].score == table.row(p + 1)[c]) {
                        taken[p] = k;
                        c -= cells;
                        break;
                    }
                }
            }
            offer_active(taken);
        }
    }
}

void Search::offer_active(const std::vector<std::size_t>& taken) {
    std::vector<std::size_t> all(items_.size(), 0);
    for (std::size_t p = 0; p < active_.size(); ++p) {
        all[active_[p]] = taken[p];
    }
    offer(m_ > 1 ? repaired(std::move(all)) : all);
}

void Search::descend(std::size_t p, double score, const PerLimit& left, const PerMixture& weights) {
    if (p == 0) {
        const double exact = scores_.sum(0, row_.data());
        for (std::size_t i = 0; i < m_; ++i) {
            if (costs_.sum(i, row_.data()) > limits_[i]) {
                return;
            }
        }
        if (exact > score_) {
            score_ = exact;
            best_ = row_;
        }
        return;
    }
    ++nodes_;
    const std::size_t before = p - 1;
    double priced = 0;
    for (std::size_t i = 0; i < m_; ++i) {
        priced += prices_[i] * left[i];
    }
    std::vector<Branch>& branches = branches_[p];
    branches.clear();
    for (const Item& item : items_[active_[before]]) {
        bool fits = true;
        for (std::size_t i = 0; i < m_; ++i) {
            fits = fits && left[i] - item.cost[i] - least_before_[before][i] >= -1e-12;
        }
        if (!fits) {
            continue;
        }
        double bound = score + relaxed_before_[before] + priced + value(item, prices_);
        for (std::size_t t = 0; t < mixtures_ && bound > score_ + tolerance_; ++t) {
            bound =
                std::min(bound, score + item.score + tables_[t].bound(before, weights[t] - item.weight[t]));
        }
        if (bound > score_ + tolerance_) {
            branches.push_back({bound, &item});
        }
    }
    std::stable_sort(branches.begin(), branches.end(),
                     [](const Branch& a, const Branch& b) { return a.bound > b.bound; });
    for (const Branch& branch : branches) {
        if (branch.bound <= score_ + tolerance_) {
            return;
        }
        if (stopped_ || nodes_ >= settings_.nodes) {
            stopped_ = true;
            open_ = std::max(open_, branch.bound);
            return;
        }
        PerLimit then_left = left;
        PerMixture then_weights = weights;
        for (std::size_t i = 0; i < m_; ++i) {
            then_left[i] -= branch.item->cost[i];
        }
        for (std::size_t t = 0; t < mixtures_; ++t) {
            then_weights[t] -= branch.item->weight[t];
        }
        row_[active_[before]] = branch.item->choice;
        descend(before, score + branch.item->score, then_left, then_weights);
    }
}

Best Search::run() {
    const bool possible =
        std::none_of(items_.begin(), items_.end(), [](const Items& x) { return x.empty(); });
    if (possible) {
        relax();
    }
    if (possible && relaxed_ > score_ + tolerance_) {
        reduce(prices_, relaxed_);
        split();
        settings_.check((active_.size() + 1) * mixtures_);
        tabulate();
        read_answers();
        // Rows are written as the search goes; decisions that are settled stay as they are.
        for (std::size_t j = 0; j < items_.size(); ++j) {
            row_[j] = items_[j][0].choice;
        }
        descend(active_.size(), fixed_score_, fixed_left_, fixed_weight_);
    }
    if (best_.empty()) {
        throw std::invalid_argument(
            stopped_ ? "limits: no architecture that meets all of them was found in " +
                           std::to_string(settings_.nodes) + " nodes; loosen them or raise nodes"
                     : std::string("limits: each can be met, but no architecture meets all of them"));
    }
    Best best{best_, score_, {}, stopped_ ? std::max(score_, std::min(open_, relaxed_)) : score_, nodes_};
    for (std::size_t i = 0; i < m_; ++i) {
        best.costs.push_back(costs_.sum(i, best_.data()));
    }
    return best;
}

}  // namespace

Best best_under(const Sums& scores, const Sums& costs, std::span<const double> limits,
                const BudgetSettings& settings) {
    scores.check("scores");
    costs.check("costs");
    if (scores.entries.rows != 1) {
        throw std::invalid_argument("scores must have one row; got " + std::to_string(scores.entries.rows));
    }
    if (!std::equal(scores.cardinalities.begin(), scores.cardinalities.end(), costs.cardinalities.begin(),
                    costs.cardinalities.end())) {
        throw std::invalid_argument("scores and costs must be of the same decisions");
    }
    if (limits.empty() || limits.size() > most_limits || limits.size() != costs.entries.rows) {
        throw std::invalid_argument("limits must be 1 to " + std::to_string(most_limits) +
                                    ", one for each of the " + std::to_string(costs.entries.rows) +
                                    " rows of costs; got " + std::to_string(limits.size()));
    }
    settings.check(0);
    return Search(scores, costs, limits, settings).run();
}

}  // namespace nasx
