#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "nasx/order.hpp"
#include "nasx/pareto.hpp"

namespace nasx {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// Labels below n, for counting.
std::vector<std::int32_t> compact_labels(std::span<const std::int32_t> ranks) {
    std::vector<std::int32_t> labels(ranks.begin(), ranks.end());
    for (std::size_t i = 0; i < labels.size(); ++i) {
        if (labels[i] < 0) {
            throw std::invalid_argument("ranks must not be negative; got " + std::to_string(labels[i]) +
                                        " in row " + std::to_string(i));
        }
    }
    const auto largest = std::max_element(labels.begin(), labels.end());
    if (largest != labels.end() && static_cast<std::size_t>(*largest) >= labels.size()) {
        std::vector<std::int32_t> known(labels);
        std::sort(known.begin(), known.end());
        known.erase(std::unique(known.begin(), known.end()), known.end());
        for (std::int32_t& label : labels) {
            label = static_cast<std::int32_t>(std::lower_bound(known.begin(), known.end(), label) -
                                              known.begin());
        }
    }
    return labels;
}

struct Entry {
    double value;
    std::uint32_t row;
};

// Adds one objective's share to the rows of one front, which come sorted; at least three.
void add_gaps(std::span<const Entry> sorted, std::span<double> distances) {
    const double lowest = sorted.front().value, highest = sorted.back().value;
    if (lowest == highest) {
        return;
    }
    distances[sorted.front().row] = infinity;
    distances[sorted.back().row] = infinity;
    // Almost always the ends are finite; otherwise look inwards.
    const auto finite = [](const Entry& e) { return std::isfinite(e.value); };
    const auto first = std::find_if(sorted.begin(), sorted.end(), finite);
    const auto last = std::find_if(sorted.rbegin(), sorted.rend(), finite);
    const double low = first == sorted.end() ? 0 : first->value,
                 high = first == sorted.end() ? 0 : last->value;
    const double scale = std::isinf(high - low) ? 0.5 : 1;
    const double range = high * scale - low * scale;
    for (std::size_t i = 1; i + 1 < sorted.size(); ++i) {
        const double before = sorted[i - 1].value, after = sorted[i + 1].value;
        if (before != after) {
            const double gap = after * scale - before * scale;
            distances[sorted[i].row] += std::isinf(gap) ? infinity : gap / range;
        }
    }
}

}  // namespace

void crowding_distance(Matrix<const double> losses, std::span<const std::int32_t> ranks,
                       std::span<double> distances) {
    check_losses(losses);
    const std::size_t n = losses.rows;
    if (ranks.size() != n) {
        throw std::invalid_argument("ranks must have one value for each row of losses (" + std::to_string(n) +
                                    "); got " + std::to_string(ranks.size()));
    }
    if (n == 0) {
        return;  // whatever the number of columns
    }
    const std::vector<std::int32_t> labels = compact_labels(ranks);
    std::vector<std::size_t> starts(n + 1, 0);
    for (const std::int32_t label : labels) {
        ++starts[static_cast<std::size_t>(label) + 1];
    }
    for (std::size_t f = 0; f < n; ++f) {
        starts[f + 1] += starts[f];
    }
    for (std::size_t i = 0; i < n; ++i) {
        const auto f = static_cast<std::size_t>(labels[i]);
        distances[i] = starts[f + 1] - starts[f] < 3 ? infinity : 0;
    }
    std::vector<Entry> grouped(n);
    std::vector<std::size_t> next;
    for (std::size_t j = 0; j < losses.cols; ++j) {
        next.assign(starts.begin(), starts.end() - 1);
        for (const Keyed& item : sorted_column(losses, j)) {
            grouped[next[static_cast<std::size_t>(labels[item.row])]++] = {losses(item.row, j), item.row};
        }
        for (std::size_t f = 0; f < n; ++f) {
            if (starts[f + 1] - starts[f] >= 3) {
                add_gaps(std::span(grouped).subspan(starts[f], starts[f + 1] - starts[f]), distances);
            }
        }
    }
}

}  // namespace nasx
