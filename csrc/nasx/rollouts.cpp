#include "nasx/rollouts.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

namespace nasx {
namespace {

// The message is made only when it is needed.
template <class Message>
void require(bool holds, Message&& message) {
    if (!holds) {
        throw std::invalid_argument(message());
    }
}

std::size_t at(std::int64_t place) {
    return static_cast<std::size_t>(place);
}

// Removes the first n of a vector into another.
template <class T>
std::vector<T> taken(std::vector<T>& from, std::size_t n) {
    const auto end = from.begin() + static_cast<std::ptrdiff_t>(n);
    std::vector<T> out(from.begin(), end);
    from.erase(from.begin(), end);
    return out;
}

}  // namespace

Rollouts::Rollouts(std::size_t d, std::size_t m, std::size_t batch_size, bool repeats,
                   std::span<const double> weights, double momentum, std::optional<double> exponent)
    : m_(m),
      batch_size_(batch_size),
      repeats_(repeats),
      weights_(weights.begin(), weights.end()),
      momentum_(momentum),
      exponent_(exponent),
      places_(d) {
    require(batch_size >= 1, [&] { return std::string("batch_size must be at least 1"); });
    require(m >= 1, [&] { return std::string("objectives must be at least 1"); });
    require(weights.size() == m, [&] {
        return "weights must have one number for each of the " + std::to_string(m) + " objectives; got " +
               std::to_string(weights.size());
    });
    reward_state_.assign(reward_state_size(m), 0.0);
    observe_rewards(reward_state_, {nullptr, 0, m}, {}, {weights_, momentum_, exponent_}, {}, {});  // checks
}

void Rollouts::check(Genotypes canonical, Matrix<const double> losses,
                     std::span<const double> violations) const {
    require(losses.rows == canonical.rows && losses.cols == m_, [&] {
        return "losses must have shape (" + std::to_string(canonical.rows) + ", " + std::to_string(m_) +
               "); got (" + std::to_string(losses.rows) + ", " + std::to_string(losses.cols) + ")";
    });
    require(violations.size() == canonical.rows, [&] {
        return "violations must have one number for each of the " + std::to_string(canonical.rows) +
               " rows; got " + std::to_string(violations.size());
    });
}

std::vector<std::int64_t> Rollouts::places_of(Genotypes canonical) {
    std::vector<std::int64_t> places(canonical.rows);
    places_.place(canonical, places);
    known_.resize(places_.size());
    return places;
}

void Rollouts::store(std::int64_t place, const double* losses, double violation) {
    Place& known = known_[at(place)];
    if (known.result == none) {
        known.result = static_cast<std::int64_t>(results_.size() / (m_ + 1));
        results_.resize(results_.size() + m_ + 1);
    }
    double* const to = results_.data() + at(known.result) * (m_ + 1);
    *std::copy_n(losses, m_, to) = violation;
}

void Rollouts::wait(std::int64_t place, const std::int32_t* row, const double* log_probs) {
    const std::size_t d = width();
    Place& known = known_[at(place)];
    if (free_.empty()) {
        free_.push_back(static_cast<std::int64_t>(next_.size()));
        next_.push_back(none);
        waiting_rows_.resize(next_.size() * d);
        waiting_log_probs_.resize(next_.size() * d);
    }
    const std::int64_t slot = free_.back();
    free_.pop_back();
    next_[at(slot)] = none;
    std::copy_n(row, d, waiting_rows_.data() + at(slot) * d);
    std::copy_n(log_probs, d, waiting_log_probs_.data() + at(slot) * d);
    (known.first == none ? known.first : next_[at(known.last)]) = slot;
    known.last = slot;
}

void Rollouts::complete(const std::int32_t* row, const double* log_probs, const double* losses,
                        double violation) {
    double reward = 0, baseline = 0;
    observe_rewards(reward_state_, {losses, 1, m_}, {&violation, 1}, {weights_, momentum_, exponent_},
                    {&reward, 1}, {&baseline, 1});
    rows_.insert(rows_.end(), row, row + width());
    log_probs_.insert(log_probs_.end(), log_probs, log_probs + width());
    rewards_.push_back(reward);
    baselines_.push_back(baseline);
}

std::size_t Rollouts::draw(Genotypes rows, Genotypes canonical, Matrix<const double> log_probs) {
    require(rows.rows == canonical.rows && rows.cols == canonical.cols && log_probs.rows == rows.rows &&
                log_probs.cols == rows.cols,
            [&] { return std::string("rows, canonical and log_probs must have one shape"); });
    const auto places = places_of(canonical);  // of those that are not taken, too: nothing is known there
    for (std::size_t i = 0; i < rows.rows; ++i) {
        const std::int64_t place = places[i];
        const Place& known = known_[at(place)];
        if (known.result != none) {
            const double* const result = results_.data() + at(known.result) * (m_ + 1);
            complete(rows.row(i), log_probs.row(i), result, result[m_]);
            if (ready()) {
                return i + 1;
            }
        } else if (repeats_ || known.first == none) {
            wait(place, rows.row(i), log_probs.row(i));
        }
    }
    return rows.rows;
}

void Rollouts::tell(Genotypes canonical, Matrix<const double> losses, std::span<const double> violations) {
    check(canonical, losses, violations);
    const auto places = places_of(canonical);
    const std::size_t d = width();
    for (std::size_t i = 0; i < canonical.rows; ++i) {
        if (!repeats_) {
            store(places[i], losses.row(i), violations[i]);
        }
        Place& known = known_[at(places[i])];
        if (known.first != none) {
            const std::int64_t slot = known.first;
            complete(waiting_rows_.data() + at(slot) * d, waiting_log_probs_.data() + at(slot) * d,
                     losses.row(i), violations[i]);
            known.first = next_[at(slot)];
            free_.push_back(slot);
        }
    }
}

void Rollouts::keep(Genotypes canonical, Matrix<const double> losses, std::span<const double> violations) {
    check(canonical, losses, violations);
    const auto places = places_of(canonical);
    for (std::size_t i = 0; i < canonical.rows; ++i) {
        store(places[i], losses.row(i), violations[i]);
    }
}

void Rollouts::is_new(Genotypes canonical, std::span<bool> out) const {
    require(out.size() == canonical.rows,
            [&] { return std::string("out must have one place for each row"); });
    std::vector<std::int64_t> places(canonical.rows);
    places_.find(canonical, places);
    for (std::size_t i = 0; i < canonical.rows; ++i) {
        out[i] =
            places[i] < 0 || (known_[at(places[i])].result == none && known_[at(places[i])].first == none);
    }
}

Batch Rollouts::take() {
    require(ready(), [&] {
        return "rollouts must hold a batch of " + std::to_string(batch_size_) + "; there are " +
               std::to_string(rewards_.size());
    });
    const std::size_t numbers = batch_size_ * width();
    return {taken(rows_, numbers), taken(log_probs_, numbers), taken(rewards_, batch_size_),
            taken(baselines_, batch_size_)};
}

}  // namespace nasx
