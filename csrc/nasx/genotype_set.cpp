#include "nasx/genotype_set.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace nasx {
namespace {

// The 128-bit product of two words, folded: every bit of either reaches every bit of the result.
std::uint64_t fold_product(std::uint64_t a, std::uint64_t b) {
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

// Two choices of a row, or the last one.
std::uint64_t word(const std::int32_t* row, std::size_t j, std::size_t width) {
    const std::uint64_t low = static_cast<std::uint32_t>(row[j]);
    const std::uint64_t high = j + 1 < width ? static_cast<std::uint32_t>(row[j + 1]) : 0u;
    return high << 32 | low;
}

std::uint64_t hash_row(const std::int32_t* row, std::size_t width) {
    // Odd constants from the digits of pi and of the golden ratio. A product waits for the one before it, so
    // two lines of them run side by side.
    constexpr std::uint64_t factor = 0x243F6A8885A308D3u, addend = 0x13198A2E03707345u;
    std::uint64_t even = 0x9E3779B97F4A7C15u ^ width, odd = 0xA4093822299F31D1u;
    std::size_t j = 0;
    for (; j + 4 <= width; j += 4) {
        even = fold_product(even ^ word(row, j, width), factor) + addend;
        odd = fold_product(odd ^ word(row, j + 2, width), factor) + addend;
    }
    for (; j < width; j += 2) {
        even = fold_product(even ^ word(row, j, width), factor) + addend;
    }
    return fold_product(even ^ (odd << 32 | odd >> 32), 0x9E3779B97F4A7C15u);
}

}  // namespace

void hash_rows(Matrix<const std::int32_t> rows, std::span<std::uint64_t> hashes) {
    for (std::size_t i = 0; i < rows.rows; ++i) {
        hashes[i] = hash_row(rows.row(i), rows.cols);
    }
}

GenotypeSet::GenotypeSet(std::size_t width) : width_(width), slots_(16) {
    if (width == 0) {
        throw std::invalid_argument("d must be at least 1; got 0");
    }
}

void GenotypeSet::check(Matrix<const std::int32_t> rows) const {
    if (rows.cols != width_) {
        throw std::invalid_argument("rows must have " + std::to_string(width_) + " columns; got " +
                                    std::to_string(rows.cols));
    }
}

std::size_t GenotypeSet::slot_of(const std::int32_t* row, std::uint64_t hash) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = static_cast<std::size_t>(hash) & mask;
    while (slots_[at].place >= 0) {
        const std::int32_t* known = data_.data() + static_cast<std::size_t>(slots_[at].place) * width_;
        if (slots_[at].hash == hash && std::equal(row, row + width_, known)) {
            break;
        }
        at = (at + 1) & mask;
    }
    return at;
}

void GenotypeSet::grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    const std::size_t mask = slots_.size() - 1;
    for (const Slot& slot : old) {
        if (slot.place >= 0) {
            std::size_t at = static_cast<std::size_t>(slot.hash) & mask;
            while (slots_[at].place >= 0) {
                at = (at + 1) & mask;
            }
            slots_[at] = slot;
        }
    }
}

std::pair<GenotypeSet::Slot*, bool> GenotypeSet::put(const std::int32_t* row, std::uint64_t hash) {
    if ((count_ + 1) * 2 > slots_.size()) {
        grow();
    }
    Slot& slot = slots_[slot_of(row, hash)];
    const bool is_new = slot.place < 0;
    if (is_new) {
        data_.insert(data_.end(), row, row + width_);
        slot = {hash, static_cast<std::int64_t>(count_++)};
    }
    return {&slot, is_new};
}

template <class Function>
void GenotypeSet::for_hashed(Matrix<const std::int32_t> rows, Function&& function) const {
    constexpr std::size_t together = 16;
    std::uint64_t hashes[together];
    for (std::size_t first = 0; first < rows.rows; first += together) {
        const std::size_t n = std::min(together, rows.rows - first);
        for (std::size_t k = 0; k < n; ++k) {
            hashes[k] = hash_row(rows.row(first + k), width_);
            __builtin_prefetch(&slots_[static_cast<std::size_t>(hashes[k]) & (slots_.size() - 1)]);
        }
        for (std::size_t k = 0; k < n; ++k) {
            if (!function(first + k, hashes[k])) {
                return;
            }
        }
    }
}

std::size_t GenotypeSet::insert(Matrix<const std::int32_t> rows, std::span<bool> is_new, std::size_t most) {
    check(rows);
    if (most == 0) {
        return 0;
    }
    std::size_t taken = 0, added = 0;
    for_hashed(rows, [&](std::size_t i, std::uint64_t hash) {
        is_new[i] = put(rows.row(i), hash).second;
        added += is_new[i];
        ++taken;
        return added < most;
    });
    return taken;
}

void GenotypeSet::mark(Matrix<const std::int32_t> rows, std::span<bool> is_first) {
    check(rows);
    for_hashed(rows, [&](std::size_t i, std::uint64_t hash) {
        Slot* const slot = put(rows.row(i), hash).first;
        is_first[i] = !slot->marked;
        marked_ += is_first[i];
        slot->marked = true;
        return true;
    });
}

void GenotypeSet::place(Matrix<const std::int32_t> rows, std::span<std::int64_t> places) {
    check(rows);
    for_hashed(rows, [&](std::size_t i, std::uint64_t hash) {
        places[i] = put(rows.row(i), hash).first->place;
        return true;
    });
}

void GenotypeSet::contains(Matrix<const std::int32_t> rows, std::span<bool> found) const {
    check(rows);
    for_hashed(rows, [&](std::size_t i, std::uint64_t hash) {
        found[i] = slots_[slot_of(rows.row(i), hash)].place >= 0;
        return true;
    });
}

void GenotypeSet::find(Matrix<const std::int32_t> rows, std::span<std::int64_t> places) const {
    check(rows);
    for_hashed(rows, [&](std::size_t i, std::uint64_t hash) {
        places[i] = slots_[slot_of(rows.row(i), hash)].place;
        return true;
    });
}

std::size_t GenotypeSet::size() const {
    return count_;
}

std::vector<std::int32_t> GenotypeSet::rows() const {
    return data_;
}

void GenotypeSet::marks(std::span<bool> marked) const {
    for (const Slot& slot : slots_) {
        if (slot.place >= 0) {
            marked[static_cast<std::size_t>(slot.place)] = slot.marked;
        }
    }
}

std::vector<std::int64_t> unique(Matrix<const std::int32_t> rows, std::span<std::int64_t> places) {
    if (rows.cols == 0) {
        throw std::invalid_argument("genotypes must have at least one column; got none");
    }
    GenotypeSet set(rows.cols);
    std::vector<std::int64_t> first;
    for (std::size_t i = 0; i < rows.rows; ++i) {
        set.place({rows.row(i), 1, rows.cols}, places.subspan(i, 1));
        if (set.size() > first.size()) {
            first.push_back(static_cast<std::int64_t>(i));
        }
    }
    return first;
}

}  // namespace nasx
