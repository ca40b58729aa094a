#include "nasx/gp_ensemble.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>

#include "nasx/parallel.hpp"

namespace nasx {
namespace {

// Pairs among n.
std::int64_t pairs(std::size_t n) {
    const auto m = static_cast<std::int64_t>(n);
    return m * (m - 1) / 2;
}

// Pairs of equal numbers in a sorted list.
std::int64_t tied_pairs(const std::vector<double>& sorted) {
    std::int64_t total = 0;
    for (std::size_t begin = 0; begin < sorted.size();) {
        std::size_t end = begin + 1;
        while (end < sorted.size() && sorted[end] == sorted[begin]) {
            ++end;
        }
        total += pairs(end - begin);
        begin = end;
    }
    return total;
}

// Sorts, and counts the pairs of which the second was the smaller; equal ones do not count.
std::int64_t sort_and_count(std::vector<double>& values, std::vector<double>& room) {
    std::int64_t inversions = 0;
    const std::size_t n = values.size();
    room.resize(n);
    for (std::size_t width = 1; width < n; width *= 2) {
        for (std::size_t begin = 0; begin < n; begin += 2 * width) {
            const std::size_t middle = std::min(begin + width, n), end = std::min(begin + 2 * width, n);
            std::size_t left = begin, right = middle;
            for (std::size_t to = begin; to < end; ++to) {
                if (right == end || (left < middle && values[left] <= values[right])) {
                    room[to] = values[left++];
                } else {
                    room[to] = values[right++];
                    inversions += static_cast<std::int64_t>(middle - left);
                }
            }
        }
        values.swap(room);
    }
    return inversions;
}

void check_finite(std::span<const double> numbers, const char* name) {
    for (const double number : numbers) {
        if (!std::isfinite(number)) {
            throw std::invalid_argument(std::string(name) + " must be finite; got " + std::to_string(number));
        }
    }
}

}  // namespace

GpEnsemble::GpEnsemble(std::vector<GpExpert> experts) : experts_(std::move(experts)) {
    if (experts_.empty()) {
        throw std::invalid_argument("processes is empty; there must be at least one");
    }
    for (const GpExpert& expert : experts_) {
        if (expert.process->width() != first().width() || expert.process->outputs() != first().outputs()) {
            throw std::invalid_argument("processes must have as many decisions and outputs as the first, " +
                                        std::to_string(first().width()) + " and " +
                                        std::to_string(first().outputs()) + "; got " +
                                        std::to_string(expert.process->width()) + " and " +
                                        std::to_string(expert.process->outputs()));
        }
        if (!(expert.weight >= 0) || !std::isfinite(expert.weight)) {
            throw std::invalid_argument("weights must be finite and at least 0; got " +
                                        std::to_string(expert.weight));
        }
        if (!expert.shared.empty() && expert.shared.size() != first().width()) {
            throw std::invalid_argument("shared must have " + std::to_string(first().width()) +
                                        " columns, one for each decision; got " +
                                        std::to_string(expert.shared.size()));
        }
    }
}

void GpEnsemble::predict(Genotypes rows, Matrix<double> means, std::span<double> variances) const {
    if (experts_.size() == 1 && experts_[0].weight == 1 && experts_[0].shared.empty()) {
        first().predict(rows, means, variances);
        return;
    }
    if (rows.cols != first().width()) {
        throw std::invalid_argument("rows must have one column for each of the " +
                                    std::to_string(first().width()) + " decisions; got " +
                                    std::to_string(rows.cols));
    }
    std::fill(means.data, means.data + means.rows * means.cols, 0.0);
    std::fill(variances.begin(), variances.end(), 0.0);
    std::vector<double> said(means.rows * means.cols), unsure(variances.size());
    std::vector<std::int32_t> masked;
    for (const GpExpert& expert : experts_) {
        if (expert.weight == 0) {
            continue;
        }
        Genotypes known = rows;
        if (std::find(expert.shared.begin(), expert.shared.end(), false) != expert.shared.end()) {
            masked.assign(rows.data, rows.data + rows.rows * rows.cols);
            for (std::size_t at = 0; at < masked.size(); ++at) {
                masked[at] = expert.shared[at % rows.cols] ? masked[at] : -1;
            }
            known = {masked.data(), rows.rows, rows.cols};
        }
        expert.process->predict(known, {said.data(), means.rows, means.cols}, unsure);
        for (std::size_t at = 0; at < said.size(); ++at) {
            means.data[at] += expert.weight * said[at];
        }
        for (std::size_t i = 0; i < unsure.size(); ++i) {
            variances[i] += expert.weight * expert.weight * unsure[i];
        }
    }
}

void leave_one_out(const GaussianProcess& process, std::span<double> means, std::span<double> variances) {
    const Matrix<const double> targets = process.targets();
    const std::size_t n = targets.rows, m = process.outputs();
    if (means.size() != n || variances.size() != n) {
        throw std::invalid_argument("there is room for " + std::to_string(means.size()) +
                                    " rows; the process has targets for " + std::to_string(n));
    }
    // Rows that follow those with targets change nothing above themselves in W, the inverse of the factor:
    // what is needed is the diagonal of the inverse covariance, W^T W, and that times the targets.
    const std::vector<double> inverse = process.inverse_factor();
    std::vector<double> weights(n, 0.0), diagonal(n, 0.0);
    const double* row = inverse.data();
    for (std::size_t i = 0; i < n; row += ++i) {
        double sum = 0;
        for (std::size_t k = 0; k <= i; ++k) {
            sum += row[k] * targets.data[k * m];
        }
        for (std::size_t k = 0; k <= i; ++k) {
            weights[k] += row[k] * sum;
            diagonal[k] += row[k] * row[k];
        }
    }
    const double noise = std::exp(process.parameters()[process.width() + 1]);
    const double scale = std::exp(process.parameters()[process.width()]);
    for (std::size_t i = 0; i < n; ++i) {
        means[i] = targets.data[i * m] - weights[i] / diagonal[i];
        variances[i] = std::max(1 / diagonal[i] - noise, 1e-12 * scale);
    }
}

void ranking_losses(Matrix<const double> values, std::span<const double> targets, bool held_out,
                    std::span<std::int64_t> losses) {
    const std::size_t n = targets.size();
    if (values.cols != n || losses.size() != values.rows) {
        throw std::invalid_argument("values must have " + std::to_string(n) +
                                    " columns, one for each target; got " + std::to_string(values.cols));
    }
    check_finite(values.span(), "values");
    check_finite(targets, "targets");
    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return targets[a] != targets[b] ? targets[a] < targets[b] : a < b;
    });
    std::vector<double> sorted(n);
    for (std::size_t i = 0; i < n; ++i) {
        sorted[i] = targets[order[i]];
    }
    const std::int64_t ties = tied_pairs(sorted);
    parallel_for(0, values.rows, 200'000 / (32 * n + 1) + 1, [&](std::size_t begin, std::size_t end) {
        std::vector<double> by_target(n), room;
        for (std::size_t draw = begin; draw < end; ++draw) {
            const double* const value = values.row(draw);
            if (held_out) {
                // Disagreement is on the targets from the smaller of prediction and truth on, the larger left
                // out: those from the smaller one itself, for it is not smaller than itself.
                std::int64_t total = 0;
                for (std::size_t j = 0; j < n; ++j) {
                    const auto said = std::upper_bound(sorted.begin(), sorted.end(), value[j]);
                    const auto is = std::upper_bound(sorted.begin(), sorted.end(), targets[j]);
                    const auto apart = said - is;
                    // Its own target is no pair; it is one of those if the prediction is the smaller.
                    total += apart < 0 ? -apart - 1 : apart;
                }
                losses[draw] = total;
                continue;
            }
            for (std::size_t i = 0; i < n; ++i) {
                by_target[i] = value[order[i]];
            }
            // Of each group of equal targets in increasing order, so that none of its pairs is turned.
            for (std::size_t first = 0; first < n;) {
                std::size_t last = first + 1;
                while (last < n && sorted[last] == sorted[first]) {
                    ++last;
                }
                std::sort(by_target.begin() + static_cast<std::ptrdiff_t>(first),
                          by_target.begin() + static_cast<std::ptrdiff_t>(last));
                first = last;
            }
            std::int64_t both = 0;  // equal in targets and in values
            for (std::size_t first = 0; first < n;) {
                std::size_t last = first + 1;
                while (last < n && sorted[last] == sorted[first] && by_target[last] == by_target[first]) {
                    ++last;
                }
                both += pairs(last - first);
                first = last;
            }
            // A turned pair is wrong in both orders, one that is equal on one side alone in one of them.
            const std::int64_t turned = sort_and_count(by_target, room);
            losses[draw] = 2 * turned + tied_pairs(by_target) + ties - 2 * both;
        }
    });
}

}  // namespace nasx
