#include "nasx/budget.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace nasx {
namespace {

// Without streams: their locales are shared by all C++ libraries of a process, and another one's copy of the
// runtime can leave them unusable.
std::string text(double x) {
    std::array<char, 32> out;
    const auto end = std::to_chars(out.data(), out.data() + out.size(), x, std::chars_format::general, 10);
    return {out.data(), end.ptr};
}

}  // namespace

void Sums::check(const char* argument) const {
    const Decisions decisions(cardinalities, {});
    const std::size_t choices = decisions.all_choices();
    const std::string name(argument);
    if (entries.cols != choices || entries.rows != intercepts.size()) {
        throw std::invalid_argument(name + " must have " + std::to_string(choices) +
                                    " columns, one for each choice, and a row for each of " +
                                    std::to_string(intercepts.size()) + " intercepts; got " +
                                    std::to_string(entries.rows) + " x " + std::to_string(entries.cols));
    }
    for (std::size_t i = 0; i < entries.rows; ++i) {
        double largest = std::abs(intercepts[i]);
        const double* next = entries.row(i);
        for (std::size_t j = 0; j < size(); ++j) {
            double here = 0;
            for (std::int32_t k = 0; k < cardinalities[j]; ++k, ++next) {
                if (!std::isfinite(*next)) {
                    throw std::invalid_argument(name + " must be finite; row " + std::to_string(i) +
                                                ", decision " + std::to_string(j) + ", choice " +
                                                std::to_string(k) + " is " + std::to_string(*next));
                }
                here = std::max(here, std::abs(*next));
            }
            largest += here;
        }
        if (!(largest < std::numeric_limits<double>::max() / 8)) {
            throw std::invalid_argument(name + ": row " + std::to_string(i) +
                                        " has sums beyond what a double holds, or an intercept that is not "
                                        "finite");
        }
    }
}

double Sums::sum(std::size_t i, const std::int32_t* row) const {
    double total = intercepts[i];
    const double* next = entries.row(i);
    for (std::size_t j = 0; j < size(); ++j) {
        total += next[row[j]];
        next += cardinalities[j];
    }
    return total;
}

std::vector<double> Sums::shares(std::size_t i, double limit) const {
    if (!std::isfinite(limit)) {
        throw std::invalid_argument("limits must be finite; number " + std::to_string(i) + " is " +
                                    std::to_string(limit));
    }
    limit = std::min(limit, std::numeric_limits<double>::max() / 8);  // sums are below that
    const double* const first = entries.row(i);
    std::vector<double> above(entries.cols);
    double least = intercepts[i], magnitude = std::abs(intercepts[i]) + std::abs(limit);
    for (std::size_t j = 0, at = 0; j < size(); ++j) {
        const auto count = static_cast<std::size_t>(cardinalities[j]);
        const auto [low, high] = std::minmax_element(first + at, first + at + count);
        least += *low;
        magnitude += std::max(std::abs(*low), std::abs(*high));
        for (const std::size_t end = at + count; at < end; ++at) {
            above[at] = first[at] - *low;
        }
    }
    if (least > limit) {
        throw std::invalid_argument("limits: no architecture has sum " + std::to_string(i) + " of at most " +
                                    text(limit) + "; the least reachable is " + text(least));
    }
    // A little more than there is, so that no rounding excludes what is within the limit.
    const double room = limit - least + 1e-12 * magnitude;
    for (double& x : above) {
        x = x > room ? 2 : (x > 0 ? x / room : 0);
    }
    return above;
}

void BudgetSettings::check(std::size_t rows) const {
    if (resolution < 1 || rows >= most_numbers || resolution >= most_numbers ||
        (rows > 0 && resolution + rows > most_numbers / rows)) {
        throw std::invalid_argument("resolution must be at least 1, and its tables of " +
                                    std::to_string(rows) + " rows must have at most " +
                                    std::to_string(most_numbers) + " numbers; got " +
                                    std::to_string(resolution));
    }
}

}  // namespace nasx
