#include "nasx/aging_population.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "nasx/evolution.hpp"
#include "nasx/outcomes.hpp"
#include "nasx/pareto.hpp"

namespace nasx {
namespace {

// So many may have died before they are removed.
constexpr std::size_t most_dead = 1024;

bool are_genotypes(const Decisions& decisions, Genotypes rows) {
    decisions.check_width(rows, "x");
    return first_malformed(decisions, rows) == rows.rows * rows.cols;
}

void check_losses(Matrix<const double> losses, std::size_t rows, std::size_t objectives) {
    if (losses.rows != rows || losses.cols != objectives) {
        throw std::invalid_argument("losses must have shape (" + std::to_string(rows) + ", " +
                                    std::to_string(objectives) + "); got (" + std::to_string(losses.rows) +
                                    ", " + std::to_string(losses.cols) + ")");
    }
}

void check_numbers(std::span<const double> values, const std::string& name) {
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (std::isnan(values[i])) {
            throw std::invalid_argument(name + " must not be NaN; value " + std::to_string(i) + " is");
        }
    }
}

template <class T>
void remove_rows(std::vector<T>& values, std::size_t rows, std::size_t width) {
    values.erase(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(rows * width));
}

}  // namespace

AgingPopulation::AgingPopulation(std::span<const std::int32_t> cardinalities,
                                 Matrix<const std::int32_t> conditions, const Settings& settings)
    : cardinalities_(cardinalities.begin(), cardinalities.end()),
      conditions_(conditions.span().begin(), conditions.span().end()),
      decisions_(cardinalities_, conditions),
      settings_(settings) {
    if (settings.population_size < 1 || settings.objectives < 1) {
        throw std::invalid_argument("population_size and objectives must be at least 1; got " +
                                    std::to_string(settings.population_size) + " and " +
                                    std::to_string(settings.objectives));
    }
    Contestants{}.check(settings.sample_size, 0);
}

void AgingPopulation::enter(Genotypes rows, Matrix<const double> losses, std::span<const double> violations) {
    if (!are_genotypes(decisions_, rows)) {
        throw std::invalid_argument("x must hold genotypes");
    }
    check_losses(losses, rows.rows, objectives());
    if (violations.size() != rows.rows) {
        throw std::invalid_argument("violations must have one value for each of the " +
                                    std::to_string(rows.rows) + " rows; got " +
                                    std::to_string(violations.size()));
    }
    check_numbers(losses.span(), "losses");
    check_numbers(violations, "violations");
    append(rows, losses.data, violations.data());
}

bool AgingPopulation::tell(Genotypes rows, Matrix<const double> losses,
                           std::optional<std::span<const double>> violations,
                           std::optional<std::span<const bool>> failed, GenotypeSet* seen) {
    const std::size_t n = rows.rows, d = rows.cols, m = objectives();
    check_losses(losses, n, m);
    if (!are_genotypes(decisions_, rows)) {
        return false;
    }
    told_losses_.resize(n * m);
    told_violations_.resize(n);
    settle(losses, violations, failed, {told_losses_.data(), n, m}, told_violations_);
    if (seen == nullptr) {
        append(rows, told_losses_.data(), told_violations_.data());
        return true;
    }
    told_rows_.clear();
    std::size_t kept = 0;
    for (std::size_t i = 0; i < n; ++i) {
        bool is_first = false;
        seen->mark({rows.row(i), 1, d}, {&is_first, 1});
        if (is_first) {
            told_rows_.insert(told_rows_.end(), rows.row(i), rows.row(i) + d);
            std::copy_n(&told_losses_[i * m], m, &told_losses_[kept * m]);
            told_violations_[kept++] = told_violations_[i];
        }
    }
    append({told_rows_.data(), kept, d}, told_losses_.data(), told_violations_.data());
    return true;
}

void AgingPopulation::append(Genotypes rows, const double* losses, const double* violations) {
    const std::size_t m = objectives(), most = settings_.population_size;
    const std::size_t skipped = rows.rows - std::min(rows.rows, most);
    genotypes_.insert(genotypes_.end(), rows.row(skipped), rows.row(rows.rows));
    losses_.insert(losses_.end(), losses + skipped * m, losses + rows.rows * m);
    violations_.insert(violations_.end(), violations + skipped, violations + rows.rows);
    begin_ = std::max(begin_, violations_.size() - std::min(violations_.size(), most));
    if (begin_ > std::max(most, most_dead)) {
        remove_rows(genotypes_, begin_, width());
        remove_rows(losses_, begin_, m);
        remove_rows(violations_, begin_, 1);
        begin_ = 0;
    }
    const std::span<const double> over = this->violations();
    by_loss_ = m == 1 && std::ranges::all_of(over, [](double violation) { return violation == 0; });
    if (!by_loss_) {
        std::vector<std::int32_t> ranks(size());
        rank(this->losses(), over, ranks);
        ranks_.assign(ranks.begin(), ranks.end());
        if (m > 1) {
            crowding_.resize(size());
            crowding_distance(this->losses(), ranks, crowding_);
        }
    }
}

void AgingPopulation::make(std::uint64_t first, MutableGenotypes out) const {
    if (size() == 0 && out.rows > 0) {
        throw std::invalid_argument("the population is empty; enter somebody first");
    }
    make_mutants(decisions_, genotypes(), decisions_.free(), {keys(), crowding()}, settings_.sample_size,
                 {settings_.seed, 0, first}, out);
}

}  // namespace nasx
