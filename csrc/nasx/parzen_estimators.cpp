#include "nasx/parzen_estimators.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "nasx/parzen_kernels.hpp"

namespace nasx {
namespace {

constexpr double not_yet = std::numeric_limits<double>::quiet_NaN();

// The kernels of one decision around its observed choices.
class Kernels {
  public:
    // n is the number of observations that smooth a categorical kernel.
    Kernels(const ParzenPart& part, std::size_t j, std::size_t n)
        : categorical_(part.space.decisions.choices(j), n) {
        if (part.space.ordered[j] != 0) {
            ordered_ = std::make_unique<OrderedKernels>(
                std::span(part.tally.counts).subspan(part.space.offsets[j], part.space.decisions.choices(j)));
        }
    }

    double prior_mass(std::int32_t x) const {
        return ordered_ ? ordered_->prior_mass(x) : categorical_.prior_mass();
    }

    std::int32_t draw(std::int32_t observed, Stream& stream) const {
        return ordered_ ? ordered_->draw(observed, stream) : categorical_.draw(observed, stream);
    }

    // Calls function(observed choice, mass at x) for those of the choices 0.. below `choices` that matter.
    template <class Function>
    void for_observed(std::int32_t choices, std::int32_t x, Function&& function) const {
        if (ordered_) {
            for (std::size_t place = 0; place < ordered_->observed().size(); ++place) {
                function(ordered_->observed()[place], ordered_->mass(x, place));
            }
        } else {
            for (std::int32_t v = 0; v < choices; ++v) {
                function(v, categorical_.mass(x, v));
            }
        }
    }

  private:
    CategoricalKernels categorical_;
    std::unique_ptr<const OrderedKernels> ordered_;
};

// The weights of a part's observations of decision j, summed for each choice.
std::vector<double> weights_of_choices(const ParzenPart& part, std::size_t j) {
    const ParzenSpace& space = part.space;
    const std::size_t choices = space.decisions.choices(j), offset = space.offsets[j];
    const std::int64_t* const counts = part.tally.counts.data() + offset;
    const std::int64_t* const ranks = part.tally.ranks.data() + offset;
    const auto n = static_cast<std::size_t>(part.tally.active[j]);
    const AgeWeights age(n);
    std::vector<double> weights(counts, counts + choices);
    if (part.equal_weights || age.sloped() == 0) {
        return weights;
    }
    // The youngest weigh 1; the others, by what was counted, first + rank * slope.
    std::vector<std::int64_t> young_counts(choices), young_ranks(choices);
    std::size_t rank = n;
    const auto take = [&](std::size_t i) {
        const std::int32_t v = part.rows(i, j);
        if (v >= 0) {
            ++young_counts[static_cast<std::size_t>(v)];
            young_ranks[static_cast<std::size_t>(v)] += static_cast<std::int64_t>(--rank);
        }
    };
    if (part.is_good) {
        for (std::size_t k = part.good.size(); rank > age.sloped();) {
            take(static_cast<std::size_t>(part.good[--k]));
        }
    } else {
        for (std::size_t i = part.rows.rows; rank > age.sloped();) {
            if (part.good_flags[--i] == 0) {
                take(i);
            }
        }
    }
    for (std::size_t v = 0; v < choices; ++v) {
        weights[v] = age.first() * static_cast<double>(counts[v] - young_counts[v]) +
                     age.slope() * static_cast<double>(ranks[v] - young_ranks[v]) +
                     static_cast<double>(young_counts[v]);
    }
    return weights;
}

class Product : public ParzenEstimator {
  public:
    explicit Product(const ParzenPart& part) : decisions_(part.space.decisions) {
        for (std::size_t j = 0; j < decisions_.size(); ++j) {
            std::vector<double> weights = weights_of_choices(part, j);
            double total = 1;  // the prior's
            for (const double weight : weights) {
                total += weight;
            }
            mixtures_.push_back({Kernels(part, j, static_cast<std::size_t>(part.tally.active[j])),
                                 std::move(weights), total,
                                 std::vector<double>(decisions_.choices(j), not_yet)});
        }
    }

    void draw(Stream& stream, std::int32_t* row) override {
        for (std::size_t j = 0; j < decisions_.size(); ++j) {
            row[j] = decisions_.active(j, row) ? mixtures_[j].draw(stream) : -1;
        }
    }

    double log_density(const std::int32_t* row) override {
        double sum = 0;
        for (std::size_t j = 0; j < decisions_.size(); ++j) {
            sum += row[j] >= 0 ? mixtures_[j].log_mass(row[j]) : 0;
        }
        return sum;
    }

  private:
    struct Mixture {
        Kernels kernels;
        std::vector<double> weights;  // (choices,)
        double total;
        std::vector<double> known;  // logarithms of masses, once they were asked for

        std::int32_t draw(Stream& stream) const {
            double at = stream.uniform() * total;
            std::int32_t observed = -1;
            for (std::size_t v = 0; v < weights.size(); ++v) {
                at -= weights[v];
                if (at < 0) {
                    observed = static_cast<std::int32_t>(v);
                    break;
                }
            }
            return kernels.draw(observed, stream);
        }

        double log_mass(std::int32_t x) {
            double& known_mass = known[static_cast<std::size_t>(x)];
            if (std::isnan(known_mass)) {
                double sum = kernels.prior_mass(x);
                kernels.for_observed(
                    static_cast<std::int32_t>(weights.size()), x,
                    [&](std::int32_t v, double mass) { sum += weights[static_cast<std::size_t>(v)] * mass; });
                known_mass = std::log(sum / total);
            }
            return known_mass;
        }
    };

    const Decisions& decisions_;
    std::vector<Mixture> mixtures_;
};

// Densities are sums over kernels of weight * product of masses. Divided by the prior's kernel, a row's
// product over the plain decisions is base * ratio^matches with ratio = n + 2, and that over the others comes
// from a table for each choice of the candidate. All sums are relative to the largest term.
class Joint : public ParzenEstimator {
  public:
    explicit Joint(const ParzenPart& part)
        : part_(part),
          n_(part.is_good ? part.good.size() : part.rows.rows),
          gathered_(part.space),
          weights_(n_) {
        const std::size_t members = part.is_good ? n_ : n_ - part.good.size();
        const AgeWeights age(members);
        for (std::size_t i = 0, rank = 0; i < n_; ++i) {
            if (member(i)) {
                weights_[i] = part.equal_weights ? 1 : age(rank);
                total_ += weights_[i];
                ++rank;
            }
        }
        for (std::size_t j = 0; j < part.space.size(); ++j) {
            kernels_.emplace_back(part, j, members);
        }
        const auto n = static_cast<double>(members);
        log_ratio_ = std::log(n + 2);
        for (const std::size_t j : part.space.plain_decisions) {
            const double choices = part.space.cardinalities[j];
            log_base_ += std::log(choices / (n + 1 + choices));
        }
        if (part.is_good) {
            for (const std::int64_t i : part.good) {
                gathered_.add(part.space, part.rows.row(static_cast<std::size_t>(i)));
            }
        }
        tables_.resize(part.space.size());
        matches_.resize(n_);
    }

    void draw(Stream& stream, std::int32_t* row) override {
        if (cumulative_.empty()) {
            double sum = 0;
            for (const double weight : weights_) {
                cumulative_.push_back(sum += weight);
            }
        }
        const double at = stream.uniform() * (total_ + 1);
        const auto chosen = static_cast<std::size_t>(
            std::upper_bound(cumulative_.begin(), cumulative_.end(), at) - cumulative_.begin());
        const Decisions& decisions = part_.space.decisions;
        for (std::size_t j = 0; j < decisions.size(); ++j) {
            const std::int32_t observed = chosen < n_ ? observation(chosen)[j] : -1;
            row[j] = decisions.active(j, row) ? kernels_[j].draw(observed, stream) : -1;
        }
    }

    double log_density(const std::int32_t* x) override {
        double log_prior = 0;
        for (std::size_t j = 0; j < kernels_.size(); ++j) {
            log_prior += x[j] >= 0 ? std::log(kernels_[j].prior_mass(x[j])) : 0;
        }
        count_matches(x);
        const bool varied = add_others(x);
        return log_prior + (varied ? log_sum_of_rows() : log_sum_of_matches()) - std::log(total_ + 1);
    }

  private:
    // Rows that are dealt with before going on to the next decision, so that their sums stay in the cache.
    static constexpr std::size_t block = 4096;

    const ParzenColumns& columns() const { return part_.is_good ? gathered_ : part_.columns; }
    bool member(std::size_t i) const { return part_.is_good || part_.good_flags[i] == 0; }

    const std::int32_t* observation(std::size_t i) const {
        return part_.rows.row(part_.is_good ? static_cast<std::size_t>(part_.good[i]) : i);
    }

    // Those that are not of this part count as far away.
    template <class T>
    void put_away(std::vector<T>& values, T far) const {
        if (!part_.is_good) {
            for (const std::int64_t i : part_.good) {
                values[static_cast<std::size_t>(i)] = far;
            }
        }
    }

    void count_matches(const std::int32_t* x) {
        const auto& columns = this->columns().plain;
        for (std::size_t begin = 0; begin < n_; begin += block) {
            const std::size_t size = std::min(block, n_ - begin);
            std::int16_t* const matches = matches_.data() + begin;
            std::fill_n(matches, size, std::int16_t{0});
            for (std::size_t k = 0; k < columns.size(); ++k) {
                const auto choice = static_cast<std::uint16_t>(x[part_.space.plain_decisions[k]]);
                const std::uint16_t* const column = columns[k].data() + begin;
                for (std::size_t i = 0; i < size; ++i) {
                    matches[i] = static_cast<std::int16_t>(matches[i] + (column[i] == choice));
                }
            }
        }
        put_away(matches_, std::int16_t{0});
    }

    // Adds up the logarithms over the decisions that are not plain; false if there are none.
    bool add_others(const std::int32_t* x) {
        std::vector<std::pair<const std::int32_t*, const double*>> active;
        for (std::size_t k = 0; k < part_.space.other_decisions.size(); ++k) {
            const std::size_t j = part_.space.other_decisions[k];
            if (x[j] >= 0) {
                active.emplace_back(columns().others[k].data(), table_of(j, x[j]));
            }
        }
        others_.assign(active.empty() ? 0 : n_, 0.0);
        for (std::size_t begin = 0; begin < others_.size(); begin += block) {
            const std::size_t end = std::min(begin + block, n_);
            for (const auto& [column, table] : active) {
                for (std::size_t i = begin; i < end; ++i) {
                    others_[i] += table[column[i] + 1];
                }
            }
        }
        return !active.empty();
    }

    // log(mass / prior mass) at x for each observed choice, after a 0 for none.
    const double* table_of(std::size_t j, std::int32_t x) {
        for (const auto& [choice, table] : tables_[j]) {
            if (choice == x) {
                return table.data();
            }
        }
        const std::int32_t choices = part_.space.cardinalities[j];
        std::vector<double> table(static_cast<std::size_t>(choices) + 1);
        const double prior = kernels_[j].prior_mass(x);
        kernels_[j].for_observed(choices, x, [&](std::int32_t v, double mass) {
            table[static_cast<std::size_t>(v) + 1] = std::log(mass / prior);
        });
        return tables_[j].emplace_back(x, std::move(table)).second.data();
    }

    double log_sum_of_matches() {
        std::int16_t most = 0;
        for (const std::int16_t m : matches_) {
            most = std::max(most, m);
        }
        const double largest = std::max(0.0, log_base_ + most * log_ratio_);
        terms_.clear();
        for (int m = 0; m <= most; ++m) {
            terms_.push_back(std::exp(log_base_ + m * log_ratio_ - largest));
        }
        std::array<double, 4> sums{};
        std::size_t i = 0;
        for (; i + 4 <= n_; i += 4) {
            for (std::size_t lane = 0; lane < 4; ++lane) {
                sums[lane] += weights_[i + lane] * terms_[static_cast<std::size_t>(matches_[i + lane])];
            }
        }
        for (; i < n_; ++i) {
            sums[0] += weights_[i] * terms_[static_cast<std::size_t>(matches_[i])];
        }
        return largest + std::log((sums[0] + sums[1]) + (sums[2] + sums[3]) + std::exp(-largest));
    }

    double log_sum_of_rows() {
        put_away(others_, -std::numeric_limits<double>::infinity());
        double largest = 0;
        for (std::size_t i = 0; i < n_; ++i) {
            others_[i] += log_base_ + matches_[i] * log_ratio_;
            largest = std::max(largest, others_[i]);
        }
        double sum = std::exp(-largest);
        for (std::size_t i = 0; i < n_; ++i) {
            sum += weights_[i] * std::exp(others_[i] - largest);
        }
        return largest + std::log(sum);
    }

    ParzenPart part_;
    std::size_t n_;
    ParzenColumns gathered_;       // of the good part
    std::vector<double> weights_;  // 0 for what is not of this part
    double total_ = 0, log_ratio_ = 0, log_base_ = 0;
    std::vector<Kernels> kernels_;
    std::vector<std::vector<std::pair<std::int32_t, std::vector<double>>>> tables_;
    std::vector<double> cumulative_, others_, terms_;
    std::vector<std::int16_t> matches_;
};

}  // namespace

std::unique_ptr<ParzenEstimator> product_estimator(const ParzenPart& part) {
    return std::make_unique<Product>(part);
}

std::unique_ptr<ParzenEstimator> joint_estimator(const ParzenPart& part) {
    return std::make_unique<Joint>(part);
}

}  // namespace nasx
