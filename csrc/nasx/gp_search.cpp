#include "nasx/gp_search.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>

#include "nasx/genotype_set.hpp"

namespace nasx {
namespace {

// Of a decision with more choices, a climber looks at so many.
constexpr std::size_t most_choices = 24;

// All candidates that were looked at, each once, in the order in which they came.
class Pool {
  public:
    Pool(const GpEnsemble& model, const Decisions& decisions, Stream& stream, bool repeats)
        : model_(model), decisions_(decisions), stream_(stream), known_(decisions.size()) {
        if (!repeats) {
            std::vector<char> is_new(model.first().size());
            known_.insert(model.first().genotypes(), {reinterpret_cast<bool*>(is_new.data()), is_new.size()});
        }
        excluded_ = known_.size();
    }

    std::size_t size() const { return rows_.size() / width(); }
    std::size_t width() const { return decisions_.size(); }
    const std::int32_t* row(std::size_t i) const { return rows_.data() + i * width(); }
    const std::vector<std::int32_t>& rows() const { return rows_; }

    void add_random(std::size_t n) {
        std::vector<std::int32_t> row(width());
        for (std::size_t i = 0; i < n; ++i) {
            std::fill(row.begin(), row.end(), -1);
            repair_row(decisions_, stream_, row.data());
            add(row);
        }
    }

    // Adds the neighbours of a genotype, or so many of them, drawn at random.
    void add_neighbors(const std::int32_t* of, std::size_t most) {
        std::size_t count = 0;
        for (std::size_t j = 0; j < width(); ++j) {
            count += of[j] >= 0 ? decisions_.choices(j) - 1 : 0;
        }
        std::vector<std::int32_t> row(width());
        if (count > most) {
            for (std::size_t i = 0; i < most; ++i) {
                mutate_one_row(decisions_, stream_, of, row.data());
                add(row);
            }
            return;
        }
        for (std::size_t j = 0; j < width(); ++j) {
            for (std::int32_t choice = 0; of[j] >= 0 && choice < decisions_.cardinality(j); ++choice) {
                if (choice != of[j]) {
                    row.assign(of, of + width());
                    row[j] = choice;
                    repair_row(decisions_, stream_, row.data());
                    add(row);
                }
            }
        }
    }

    // Adds what differs from a candidate in one active decision, or, of many choices, the nearest and some
    // drawn at random. Writes the places of these and of those known before, but for the process's own.
    void add_choices(std::size_t of, std::size_t j, std::vector<std::size_t>& places) {
        constexpr auto most = static_cast<std::int32_t>(most_choices);
        places.clear();
        const std::vector<std::int32_t> centre(row(of), row(of) + width());
        const std::int32_t choices = decisions_.cardinality(j), mine = centre[j];
        for (std::int32_t k = 0; mine >= 0 && k < std::min(choices, most); ++k) {
            std::int32_t choice = k;
            if (choices > most) {
                choice = k < 4 ? mine + (k < 2 ? 1 + k : 1 - k)
                               : static_cast<std::int32_t>(stream_.below(decisions_.choices(j)));
            }
            if (choice != mine && choice >= 0 && choice < choices) {
                std::vector<std::int32_t> changed = centre;
                changed[j] = choice;
                repair_row(decisions_, stream_, changed.data());
                add(changed, &places);
            }
        }
    }

    // Computes the values of what has none yet.
    void evaluate(const Acquisition& acquisition) {
        const std::size_t from = values_.size(), n = size() - from, m = model_.first().outputs();
        std::vector<double> means(n * m), variances(n);
        model_.predict({row(from), n, width()}, {means.data(), n, m}, variances);
        for (std::size_t i = 0; i < n; ++i) {
            values_.push_back(acquisition.value(means.data() + i * m, variances[i]));
        }
    }

    double value(std::size_t i) const { return values_[i]; }

    // Places of the best values, the largest first, of equals the first.
    std::vector<std::size_t> best(std::size_t wanted) const {
        std::vector<std::size_t> order(size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        const auto end = order.begin() + static_cast<std::ptrdiff_t>(std::min(wanted, order.size()));
        std::partial_sort(order.begin(), end, order.end(), [&](std::size_t a, std::size_t b) {
            return values_[a] != values_[b] ? values_[a] > values_[b] : a < b;
        });
        order.erase(end, order.end());
        return order;
    }

  private:
    void add(const std::vector<std::int32_t>& row, std::vector<std::size_t>* places = nullptr) {
        bool is_new = false;
        const Genotypes one{row.data(), 1, row.size()};
        known_.insert(one, {&is_new, 1});
        if (is_new) {
            rows_.insert(rows_.end(), row.begin(), row.end());
        }
        if (places != nullptr) {
            std::int64_t place = 0;
            known_.find(one, {&place, 1});
            if (static_cast<std::size_t>(place) >= excluded_) {
                places->push_back(static_cast<std::size_t>(place) - excluded_);
            }
        }
    }

    const GpEnsemble& model_;
    const Decisions& decisions_;
    Stream& stream_;
    std::size_t excluded_ = 0;
    GenotypeSet known_;
    std::vector<std::int32_t> rows_;
    std::vector<double> values_;
};

void check(const GaussianProcess& process, const Decisions& decisions, Genotypes starts) {
    if (process.width() != decisions.size()) {
        throw std::invalid_argument("cardinalities must have one number for each of the " +
                                    std::to_string(process.width()) + " decisions of the process; got " +
                                    std::to_string(decisions.size()));
    }
    decisions.check(starts, "starts");
    decisions.check(process.genotypes(), "rows of the process");
}

void fill(Pool& pool, Genotypes starts, const GpSearchSettings& settings) {
    for (std::size_t i = 0; i < starts.rows; ++i) {
        pool.add_neighbors(starts.row(i), settings.neighbors);
    }
    pool.add_random(settings.random);
}

// Decision by decision, in random order, each climber takes the best choice; until none moves. All climb in
// step, so that predictions come in large numbers.
void climb(Pool& pool, const Decisions& decisions, const Acquisition& acquisition,
           const GpSearchSettings& settings, Stream& stream) {
    std::size_t around_one = 0;
    for (std::size_t j = 0; j < decisions.size(); ++j) {
        around_one += std::min<std::size_t>(decisions.choices(j), most_choices) - 1;
    }
    const std::size_t affordable = settings.most / 2 / (around_one + 1) + 1;
    std::vector<std::size_t> climbers = pool.best(std::min(settings.climbs, affordable));
    std::vector<std::vector<std::size_t>> around(climbers.size());
    std::vector<std::size_t> order(decisions.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (bool moved = true; moved && pool.size() < settings.most;) {
        moved = false;
        for (std::size_t i = order.size(); i > 1; --i) {
            std::swap(order[i - 1], order[stream.below(static_cast<std::uint32_t>(i))]);
        }
        for (const std::size_t j : order) {
            for (std::size_t c = 0; c < climbers.size(); ++c) {
                pool.add_choices(climbers[c], j, around[c]);
            }
            pool.evaluate(acquisition);
            for (std::size_t c = 0; c < climbers.size(); ++c) {
                for (const std::size_t place : around[c]) {
                    if (pool.value(place) > pool.value(climbers[c])) {
                        climbers[c] = place;
                        moved = true;
                    }
                }
            }
        }
        // Those that met go on as one.
        std::sort(climbers.begin(), climbers.end());
        climbers.erase(std::unique(climbers.begin(), climbers.end()), climbers.end());
    }
}

}  // namespace

std::vector<std::int32_t> first_candidates(const GaussianProcess& process, const Decisions& decisions,
                                           Genotypes starts, const StreamKey& key,
                                           const GpSearchSettings& settings) {
    check(process, decisions, starts);
    Stream stream(key, Purpose::acquisition, 0);
    Pool pool(process, decisions, stream, settings.repeats);
    fill(pool, starts, settings);
    return pool.rows();
}

GpCandidates search_acquisition(const GpEnsemble& model, const Decisions& decisions,
                                const Acquisition& acquisition, Genotypes starts, const StreamKey& key,
                                const GpSearchSettings& settings, std::size_t wanted) {
    check(model.first(), decisions, starts);
    const std::size_t outputs = acquisition.kind == AcquisitionKind::log_ehvi ? 2 : 1;
    if (model.first().outputs() != outputs) {
        throw std::invalid_argument("the acquisition needs " + std::to_string(outputs) +
                                    " columns of targets; got " + std::to_string(model.first().outputs()));
    }
    Stream stream(key, Purpose::acquisition, 0);
    Pool pool(model, decisions, stream, settings.repeats);
    fill(pool, starts, settings);
    pool.evaluate(acquisition);
    climb(pool, decisions, acquisition, settings, stream);
    GpCandidates found;
    for (const std::size_t place : pool.best(wanted)) {
        found.rows.insert(found.rows.end(), pool.row(place), pool.row(place) + pool.width());
        found.values.push_back(pool.value(place));
    }
    return found;
}

}  // namespace nasx
