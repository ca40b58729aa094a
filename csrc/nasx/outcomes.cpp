#include "nasx/outcomes.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace nasx {
namespace {

void check_length(std::size_t length, std::size_t rows, const char* argument) {
    if (length != rows) {
        throw std::invalid_argument(std::string(argument) + " must have one value for each of the " +
                                    std::to_string(rows) + " rows of losses; got " + std::to_string(length));
    }
}

// Without a way out the loop is vectorised.
bool has_nan(std::span<const double> values) {
    int found = 0;
    for (const double x : values) {
        found |= x != x;
    }
    return found != 0;
}

}  // namespace

void settle(Matrix<const double> losses, std::optional<std::span<const double>> violations,
            std::optional<std::span<const bool>> failed, Matrix<double> settled_losses,
            std::span<double> settled_violations) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    const std::size_t n = losses.rows, m = losses.cols;
    if (violations) {
        check_length(violations->size(), n, "violations");
    }
    if (failed) {
        check_length(failed->size(), n, "failed");
    }
    if (!violations && !failed && !has_nan(losses.span())) {
        std::ranges::copy(losses.span(), settled_losses.data);
        std::ranges::fill(settled_violations, 0.0);
        return;
    }
    for (std::size_t i = 0; i < n; ++i) {
        const double* const row = losses.row(i);
        double* const out = settled_losses.row(i);
        bool lost = failed && (*failed)[i];
        for (std::size_t k = 0; k < m; ++k) {
            lost |= std::isnan(row[k]);
        }
        if (lost) {
            std::fill_n(out, m, infinity);
            settled_violations[i] = infinity;
            continue;
        }
        const double violation = violations ? (*violations)[i] : 0;
        if (std::isnan(violation)) {
            throw std::invalid_argument("violations must not be NaN; row " + std::to_string(i) +
                                        " is: mark it as failed instead");
        }
        std::copy_n(row, m, out);
        settled_violations[i] = std::max(violation, 0.0);
    }
}

}  // namespace nasx
