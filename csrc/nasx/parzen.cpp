#include "nasx/parzen.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>

#include "nasx/parzen_estimators.hpp"

namespace nasx {

ParzenSpace::ParzenSpace(std::span<const std::int32_t> cardinalities_in,
                         Matrix<const std::int32_t> conditions, std::span<const bool> ordered_in)
    : cardinalities(cardinalities_in.begin(), cardinalities_in.end()),
      ordered(ordered_in.begin(), ordered_in.end()),
      decisions(cardinalities, conditions),
      offsets(cardinalities.size() + 1, 0) {
    decisions.all_choices();
    if (ordered.size() != cardinalities.size()) {
        throw std::invalid_argument("ordered must have one value for each of the " +
                                    std::to_string(cardinalities.size()) + " cardinalities; got " +
                                    std::to_string(ordered.size()));
    }
    std::vector<char> conditional(cardinalities.size(), 0);
    for (std::size_t i = 0; i < conditions.rows; ++i) {
        conditional[static_cast<std::size_t>(conditions(i, 0))] = 1;
    }
    for (std::size_t j = 0; j < cardinalities.size(); ++j) {
        offsets[j + 1] = offsets[j] + decisions.choices(j);
        const bool plain = ordered[j] == 0 && conditional[j] == 0 && cardinalities[j] <= 65535 &&
                           plain_decisions.size() < most_plain;
        (plain ? plain_decisions : other_decisions).push_back(j);
    }
}

ParzenHistory::ParzenHistory(std::span<const std::int32_t> cardinalities,
                             Matrix<const std::int32_t> conditions, std::span<const bool> ordered,
                             ParzenSettings settings)
    : space_(std::make_shared<const ParzenSpace>(cardinalities, conditions, ordered)),
      settings_(settings),
      columns_(*space_),
      good_tally_(*space_),
      bad_tally_(*space_) {}

void ParzenHistory::append(Genotypes rows) {
    space_->decisions.check(rows, "rows");
    for (std::size_t i = 0; i < rows.rows; ++i) {
        rows_.insert(rows_.end(), rows.row(i), rows.row(i) + rows.cols);
        good_flags_.push_back(0);
        bad_tally_.add_youngest(*space_, rows.row(i));
        if (settings_.joint) {
            columns_.add(*space_, rows.row(i));
        }
    }
}

void ParzenHistory::set_good(std::span<const std::int64_t> indices) {
    for (std::size_t k = 0; k < indices.size(); ++k) {
        const bool fits = indices[k] >= 0 && static_cast<std::size_t>(indices[k]) < size();
        if (!fits || (k > 0 && indices[k] <= indices[k - 1])) {
            throw std::invalid_argument("indices must increase and be in 0.." + std::to_string(size()) +
                                        " - 1; got " + std::to_string(indices[k]) + " at " +
                                        std::to_string(k));
        }
    }
    std::vector<std::int64_t> left, entered;  // the bad part
    std::set_difference(indices.begin(), indices.end(), good_.begin(), good_.end(), std::back_inserter(left));
    std::set_difference(good_.begin(), good_.end(), indices.begin(), indices.end(),
                        std::back_inserter(entered));
    std::size_t younger = 0;
    for (const auto* const changed : {&left, &entered}) {
        for (const std::int64_t i : *changed) {
            younger += size() - static_cast<std::size_t>(i);
        }
    }
    good_.assign(indices.begin(), indices.end());
    if (younger <= size() || settings_.joint) {
        for (const std::int64_t i : left) {
            move_bad(static_cast<std::size_t>(i), false);
        }
        for (const std::int64_t i : entered) {
            move_bad(static_cast<std::size_t>(i), true);
        }
    } else {  // counting anew is less work
        std::fill(good_flags_.begin(), good_flags_.end(), 0);
        for (const std::int64_t i : good_) {
            good_flags_[static_cast<std::size_t>(i)] = 1;
        }
        bad_tally_ = ParzenTally(*space_);
        for (std::size_t i = 0; i < size(); ++i) {
            if (good_flags_[i] == 0) {
                bad_tally_.add_youngest(*space_, row(i));
            }
        }
    }
    good_tally_ = ParzenTally(*space_);
    for (const std::int64_t i : good_) {
        good_tally_.add_youngest(*space_, row(static_cast<std::size_t>(i)));
    }
}

void ParzenHistory::move_bad(std::size_t i, bool enters) {
    const std::size_t d = width();
    const std::int64_t change = enters ? 1 : -1;
    good_flags_[i] = enters ? 0 : 1;
    std::vector<std::int64_t> younger(d, 0);
    if (!settings_.joint) {  // where weights go with counts, ranks are not used
        for (std::size_t k = i + 1; k < size(); ++k) {
            for (std::size_t j = 0; good_flags_[k] == 0 && j < d; ++j) {
                if (row(k)[j] >= 0 && row(i)[j] >= 0) {
                    ++younger[j];
                    bad_tally_.ranks[space_->place(j, row(k)[j])] += change;
                }
            }
        }
    }
    for (std::size_t j = 0; j < d; ++j) {
        if (row(i)[j] >= 0) {
            const std::int64_t others = bad_tally_.active[j] - (enters ? 0 : 1);
            bad_tally_.counts[space_->place(j, row(i)[j])] += change;
            bad_tally_.ranks[space_->place(j, row(i)[j])] += change * (others - younger[j]);
            bad_tally_.active[j] += change;
        }
    }
}

ParzenPart ParzenHistory::part(bool good) const {
    return {*space_, {rows_.data(), size(), width()}, columns_, good_flags_,
            good_,   good ? good_tally_ : bad_tally_, good,     good && settings_.equal_good};
}

std::unique_ptr<ParzenEstimator> ParzenHistory::estimator(bool good) const {
    return settings_.joint ? joint_estimator(part(good)) : product_estimator(part(good));
}

void ParzenHistory::propose(const StreamKey& key, MutableGenotypes out, std::span<double> scores) const {
    const auto good = estimator(true), bad = estimator(false);
    Stream stream(key, Purpose::parzen, 0);
    std::vector<std::int32_t> drawn(out.rows * out.cols);
    const MutableGenotypes rows{drawn.data(), out.rows, out.cols};
    space_->decisions.check_width(out, "out");
    std::vector<double> found(out.rows);
    for (std::size_t i = 0; i < out.rows; ++i) {
        good->draw(stream, rows.row(i));
        const double ratio = good->log_density(rows.row(i)) - bad->log_density(rows.row(i));
        found[i] = std::nearbyint(ratio * 0x1p30) * 0x1p-30;
    }
    std::vector<std::size_t> order(out.rows);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return found[a] > found[b]; });
    for (std::size_t i = 0; i < out.rows; ++i) {
        std::copy_n(rows.row(order[i]), out.cols, out.row(i));
        scores[i] = found[order[i]];
    }
}

void ParzenHistory::log_densities(Genotypes rows, Matrix<double> out) const {
    space_->decisions.check(rows, "rows");
    for (const bool good : {true, false}) {
        const auto density = estimator(good);
        for (std::size_t i = 0; i < rows.rows; ++i) {
            out(i, good ? 0 : 1) = density->log_density(rows.row(i));
        }
    }
}

}  // namespace nasx
