#include "nasx/population.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "nasx/streams.hpp"

namespace nasx {
namespace {

void check_probability(double p, const std::string& what) {
    if (!(p >= 0 && p <= 1)) {
        throw std::invalid_argument(what + " must be in [0, 1]; got " + std::to_string(p));
    }
}

// Without a way out the loop is vectorised.
bool has_inactive(const std::int32_t* row, std::size_t d) {
    std::int32_t signs = 0;
    for (std::size_t j = 0; j < d; ++j) {
        signs |= row[j];
    }
    return signs < 0;
}

// Whether n choices are from the smallest to below their cardinality. Vectorised for the same reason: a
// choice outside makes one of two differences negative.
bool within(const std::int32_t* choices, const std::int32_t* cardinalities, std::size_t n,
            std::int32_t smallest) {
    std::uint32_t signs = 0;
    for (std::size_t j = 0; j < n; ++j) {
        const auto choice = static_cast<std::uint32_t>(choices[j]);
        signs |= choice - static_cast<std::uint32_t>(smallest);
        signs |= static_cast<std::uint32_t>(cardinalities[j]) - 1 - choice;
    }
    return signs >> 31 == 0;
}

// The same for all rows; short ones are looked at several at a time.
bool all_within(Genotypes rows, std::span<const std::int32_t> cardinalities, std::int32_t smallest) {
    constexpr std::size_t most = 64;
    const std::size_t d = rows.cols, together = std::max(std::min(most / d, rows.rows), std::size_t{1});
    std::array<std::int32_t, most> repeated;
    const std::int32_t* bounds = cardinalities.data();
    if (together > 1) {
        for (std::size_t i = 0; i < together; ++i) {
            std::copy_n(bounds, d, repeated.begin() + i * d);
        }
        bounds = repeated.data();
    }
    for (std::size_t i = 0; i < rows.rows; i += together) {
        if (!within(rows.row(i), bounds, d * std::min(together, rows.rows - i), smallest)) {
            return false;
        }
    }
    return true;
}

bool mutable_at(const Decisions& decisions, const std::int32_t* row, std::size_t j) {
    return row[j] >= 0 && decisions.choices(j) > 1;
}

void check_numbers(std::span<const double> values, const std::string& what) {
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (std::isnan(values[i])) {
            throw std::invalid_argument(what + " holds NaN in row " + std::to_string(i));
        }
    }
}

}  // namespace

Decisions::Decisions(std::span<const std::int32_t> cardinalities, Matrix<const std::int32_t> conditions)
    : cardinalities_(cardinalities) {
    const std::size_t d = cardinalities.size();
    if (d == 0) {
        throw std::invalid_argument("cardinalities is empty; a space needs at least one decision");
    }
    for (std::size_t j = 0; j < d; ++j) {
        if (cardinalities[j] < 1) {
            throw std::invalid_argument("cardinalities must be at least 1; got " +
                                        std::to_string(cardinalities[j]) + " for decision " +
                                        std::to_string(j));
        }
        free_ &= cardinalities[j] > 1;
    }
    if (conditions.rows == 0) {
        return;
    }
    free_ = false;
    if (conditions.cols != 3) {
        throw std::invalid_argument("conditions must have rows of (decision, parent, choice); got " +
                                    std::to_string(conditions.cols) + " columns");
    }
    std::vector<std::array<std::int32_t, 3>> rows(conditions.rows);
    for (std::size_t i = 0; i < conditions.rows; ++i) {
        const auto [decision, parent, choice] =
            rows[i] = {conditions(i, 0), conditions(i, 1), conditions(i, 2)};
        const bool known = decision >= 0 && static_cast<std::size_t>(decision) < d && parent >= 0 &&
                           parent < decision && choice >= 0 &&
                           choice < cardinalities[static_cast<std::size_t>(parent)];
        if (!known) {
            throw std::invalid_argument("conditions: row " + std::to_string(i) +
                                        " must be (decision, parent, choice) with parent < decision < " +
                                        std::to_string(d) + " and a choice of that parent; got (" +
                                        std::to_string(decision) + ", " + std::to_string(parent) + ", " +
                                        std::to_string(choice) + ")");
        }
    }
    std::sort(rows.begin(), rows.end());
    group_starts_.assign(d + 1, 0);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (i == 0 || rows[i][0] != rows[i - 1][0] || rows[i][1] != rows[i - 1][1]) {
            groups_.push_back({static_cast<std::size_t>(rows[i][1]), i, i});
            ++group_starts_[static_cast<std::size_t>(rows[i][0]) + 1];
        }
        allowed_.push_back(rows[i][2]);
        groups_.back().end = i + 1;
    }
    for (std::size_t j = 0; j < d; ++j) {
        group_starts_[j + 1] += group_starts_[j];
    }
}

std::size_t Decisions::all_choices(std::size_t most) const {
    std::size_t sum = 0;
    for (const std::int32_t cardinality : cardinalities_) {
        sum += static_cast<std::size_t>(cardinality);
    }
    if (sum > most) {
        throw std::invalid_argument("cardinalities must sum to at most " + std::to_string(most) + "; got " +
                                    std::to_string(sum));
    }
    return sum;
}

void Decisions::check_width(Genotypes genotypes, const char* argument) const {
    if (genotypes.cols != size()) {
        throw std::invalid_argument(std::string(argument) + " must have one column for each of the " +
                                    std::to_string(size()) + " cardinalities; got " +
                                    std::to_string(genotypes.cols));
    }
}

void Decisions::check(Genotypes genotypes, const char* argument) const {
    check_width(genotypes, argument);
    if (all_within(genotypes, cardinalities_, -1)) {
        return;
    }
    for (std::size_t i = 0; i < genotypes.rows; ++i) {
        const std::int32_t* const row = genotypes.row(i);
        if (within(row, cardinalities_.data(), size(), -1)) {
            continue;
        }
        std::size_t j = 0;
        while (row[j] >= -1 && row[j] < cardinality(j)) {
            ++j;
        }
        throw std::invalid_argument(std::string(argument) + ": row " + std::to_string(i) + ", decision " +
                                    std::to_string(j) + ": choices must be in [-1, " +
                                    std::to_string(cardinality(j)) + "); got " + std::to_string(row[j]));
    }
}

std::size_t first_malformed(const Decisions& decisions, Genotypes genotypes) {
    if (!decisions.conditional() && all_within(genotypes, decisions.cardinalities(), 0)) {
        return genotypes.rows * genotypes.cols;
    }
    for (std::size_t i = 0; i < genotypes.rows; ++i) {
        const std::int32_t* const row = genotypes.row(i);
        for (std::size_t j = 0; j < genotypes.cols; ++j) {
            const bool fits =
                decisions.active(j, row) ? row[j] >= 0 && row[j] < decisions.cardinality(j) : row[j] == -1;
            if (!fits) {
                return i * genotypes.cols + j;
            }
        }
    }
    return genotypes.rows * genotypes.cols;
}

void Crossover::check() const {
    check_probability(probability, "probability");
    if (points < 1) {
        throw std::invalid_argument("points must be at least 1; got 0");
    }
}

MutationRates::MutationRates(std::span<const double> rates, const Decisions& decisions) : rates_(rates) {
    if (rates.size() != decisions.size()) {
        throw std::invalid_argument("rates must have one value for each of the " +
                                    std::to_string(decisions.size()) + " decisions; got " +
                                    std::to_string(rates.size()));
    }
    for (std::size_t j = 0; j < rates.size(); ++j) {
        check_probability(rates[j], "rates: decision " + std::to_string(j));
    }
    if (!rates.empty()) {
        largest_ = *std::max_element(rates.begin(), rates.end());
    }
    double none = 1;  // probability that no decision so far is a candidate
    for (std::size_t k = 0; k < rates.size(); ++k) {
        none *= 1 - largest_;
        gap_below_.push_back(1 - none);
    }
}

std::size_t MutationRates::gap(double u, std::size_t most) const {
    constexpr std::size_t few = 16;
    if (most <= few) {  // counted without a way out: no CPU foresees where that would be
        std::size_t below = 0;
        for (std::size_t k = 0; k < most; ++k) {
            below += gap_below_[k] <= u;
        }
        return below;
    }
    const auto begin = gap_below_.begin(), end = begin + static_cast<std::ptrdiff_t>(most);
    return static_cast<std::size_t>(std::upper_bound(begin, end, u) - begin);
}

std::size_t MutationRates::next(std::size_t from, Stream& stream) const {
    const std::size_t d = rates_.size();
    for (std::size_t j = from; j < d; ++j) {
        j += gap(stream.uniform(), d - j);
        if (j < d && (rates_[j] == largest_ || stream.bernoulli(rates_[j] / largest_))) {
            return j;
        }
    }
    return d;
}

void Contestants::check(std::size_t size, std::size_t n) const {
    if (size < 1 || size > largest_size) {
        throw std::invalid_argument("size must be at least 1 and at most " + std::to_string(largest_size) +
                                    "; got " + std::to_string(size));
    }
    if (keys.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
        throw std::invalid_argument("keys must have fewer than 2^31 values; got " +
                                    std::to_string(keys.size()));
    }
    if (keys.empty() && n > 0) {
        throw std::invalid_argument("keys is empty; a tournament needs contestants");
    }
    check_numbers(keys, "keys");
    if (crowding) {
        if (crowding->size() != keys.size()) {
            throw std::invalid_argument("crowding must have one value for each of the " +
                                        std::to_string(keys.size()) + " keys; got " +
                                        std::to_string(crowding->size()));
        }
        check_numbers(*crowding, "crowding");
    }
}

void repair_row(const Decisions& decisions, Stream& stream, std::int32_t* row) {
    if (!decisions.conditional() && !has_inactive(row, decisions.size())) {
        return;
    }
    for (std::size_t j = 0; j < decisions.size(); ++j) {
        if (!decisions.active(j, row)) {
            row[j] = -1;
        } else if (row[j] == -1) {
            row[j] = static_cast<std::int32_t>(stream.below(decisions.choices(j)));
        }
    }
}

void mutate_row(const Decisions& decisions, const MutationRates& rates, Stream& stream, std::int32_t* row) {
    for (std::size_t j = rates.next(0, stream); j < decisions.size(); j = rates.next(j + 1, stream)) {
        if (mutable_at(decisions, row, j)) {
            row[j] = other_choice(decisions, j, row[j], stream);
        }
    }
    repair_row(decisions, stream, row);
}

void mutate_one_row(const Decisions& decisions, Stream& stream, const std::int32_t* parent,
                    std::int32_t* row) {
    const std::size_t d = decisions.size();
    std::copy_n(parent, d, row);
    std::size_t candidates = 0;
    for (std::size_t j = 0; j < d; ++j) {
        candidates += mutable_at(decisions, parent, j);
    }
    if (candidates > 0) {
        std::size_t at = stream.below(static_cast<std::uint32_t>(candidates));
        if (candidates < d) {
            for (std::size_t j = 0; j <= at; ++j) {
                at += !mutable_at(decisions, parent, j);
            }
        }
        row[at] = other_choice(decisions, at, parent[at], stream);
    }
    if (candidates < d || decisions.conditional()) {
        repair_row(decisions, stream, row);
    }
}

void crossover_row(const Decisions& decisions, const std::int32_t* a, const std::int32_t* b,
                   const Crossover& how, Stream& stream, std::int32_t* child) {
    const std::size_t d = decisions.size();
    if (!stream.bernoulli(how.probability)) {
        std::copy_n(a, d, child);
    } else if (how.kind == CrossoverKind::uniform) {
        for (std::size_t j = 0; j < d;) {
            std::uint32_t coins = stream.next_u32();
            for (const std::size_t end = std::min(d, j + 32); j < end; ++j, coins >>= 1) {
                child[j] = a[j] ^ ((a[j] ^ b[j]) & -static_cast<std::int32_t>(coins & 1));
            }
        }
    } else {
        // Each place is cut with probability (cuts left) / (places left): all sets of cuts are equally
        // likely.
        std::size_t cuts = std::min(how.points, d > 0 ? d - 1 : 0);
        for (std::size_t j = 0; j < d; ++j) {
            if (j > 0 && cuts > 0 && stream.below(static_cast<std::uint32_t>(d - j)) < cuts) {
                --cuts;
                std::swap(a, b);
            }
            child[j] = a[j];
        }
    }
    repair_row(decisions, stream, child);
}

void sample(const Decisions& decisions, const StreamKey& key, MutableGenotypes out) {
    for_rows(out.rows, out.cols, [&](std::size_t begin, std::size_t end) {
        for_streams<2>(key, Purpose::sample, begin, end, [&](std::size_t i, Stream& stream) {
            std::fill_n(out.row(i), out.cols, -1);
            repair_row(decisions, stream, out.row(i));
        });
    });
}

void repair(const Decisions& decisions, Genotypes genotypes, const StreamKey& key, MutableGenotypes out) {
    decisions.check(genotypes, "genotypes");
    for_rows(out.rows, out.cols, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            Stream stream(key, Purpose::repair, i);
            std::copy_n(genotypes.row(i), out.cols, out.row(i));
            repair_row(decisions, stream, out.row(i));
        }
    });
}

void mutate(const Decisions& decisions, Genotypes genotypes, std::span<const double> rates,
            const StreamKey& key, MutableGenotypes out) {
    decisions.check(genotypes, "genotypes");
    const MutationRates ready(rates, decisions);
    for_rows(out.rows, out.cols, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            Stream stream(key, Purpose::mutate, i);
            std::copy_n(genotypes.row(i), out.cols, out.row(i));
            mutate_row(decisions, ready, stream, out.row(i));
        }
    });
}

void mutate_one(const Decisions& decisions, Genotypes genotypes, const StreamKey& key, MutableGenotypes out) {
    decisions.check(genotypes, "genotypes");
    for_rows(out.rows, out.cols, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            Stream stream(key, Purpose::mutate_one, i);
            mutate_one_row(decisions, stream, genotypes.row(i), out.row(i));
        }
    });
}

void crossover(const Decisions& decisions, Genotypes a, Genotypes b, const Crossover& how,
               const StreamKey& key, MutableGenotypes out) {
    decisions.check(a, "a");
    decisions.check(b, "b");
    how.check();
    if (a.rows != b.rows) {
        throw std::invalid_argument("b must have as many rows as a (" + std::to_string(a.rows) + "); got " +
                                    std::to_string(b.rows));
    }
    for_rows(out.rows, out.cols, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            Stream stream(key, Purpose::crossover, i);
            crossover_row(decisions, a.row(i), b.row(i), how, stream, out.row(i));
        }
    });
}

void tournament(const Contestants& contestants, std::size_t size, const StreamKey& key,
                std::span<std::int32_t> winners) {
    contestants.check(size, winners.size());
    for_rows(winners.size(), size, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            Stream stream(key, Purpose::tournament, i);
            winners[i] = static_cast<std::int32_t>(contestants.winner(size, stream));
        }
    });
}

void look_up(Genotypes genotypes, std::span<const std::int32_t> cardinalities, std::span<const double> table,
             std::span<double> out) {
    const Decisions decisions(cardinalities, {});
    decisions.check_width(genotypes, "genotypes");
    std::size_t size = 1;
    for (const std::int32_t count : cardinalities) {
        const auto choices = static_cast<std::size_t>(count);
        // Of too many, one too many: products do not overflow.
        size = size > table.size() / choices ? table.size() + 1 : size * choices;
    }
    if (size != table.size()) {
        throw std::invalid_argument("table must have a value for each genotype of these cardinalities; got " +
                                    std::to_string(table.size()) + " values");
    }
    for_rows(genotypes.rows, genotypes.cols, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            const std::int32_t* row = genotypes.row(i);
            std::size_t place = 0;
            bool outside = false;
            for (std::size_t j = 0; j < cardinalities.size(); ++j) {
                const auto choices = static_cast<std::uint32_t>(cardinalities[j]);
                const auto choice = static_cast<std::uint32_t>(row[j]);
                outside |= choice >= choices;  // -1 is the largest of all
                place = place * choices + choice;
            }
            if (outside) {
                decisions.check(genotypes, "genotypes");  // names the first row that is out of range
                throw std::invalid_argument("genotypes has an inactive decision in row " + std::to_string(i) +
                                            "; the table has none");
            }
            out[i] = table[place];
        }
    });
}

}  // namespace nasx
