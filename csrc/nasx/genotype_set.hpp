// A set of genotypes that remembers the order in which they came.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "nasx/array.hpp"

namespace nasx {

// Equal rows have equal hashes, on every platform; others differ but by chance. O(n d).
void hash_rows(Matrix<const std::int32_t> rows, std::span<std::uint64_t> hashes);

// Open addressing over 64-bit hashes; rows are always compared too. O(d) for each row, amortised.
// One thread at a time may use a set: a lock of its own would stay locked in a child forked meanwhile. Throws
// std::invalid_argument for rows of a width other than d, and for d = 0.
class GenotypeSet {
  public:
    explicit GenotypeSet(std::size_t width);

    // Writes for each row, in order, whether it was new; a row repeated in one call is new once. Stops after
    // `most` new rows; returns how many rows it took.
    std::size_t insert(Matrix<const std::int32_t> rows, std::span<bool> is_new,
                       std::size_t most = std::numeric_limits<std::size_t>::max());

    // Adds rows, marks them, and writes for each, in order, whether it was not marked before.
    void mark(Matrix<const std::int32_t> rows, std::span<bool> is_first);

    // Adds rows and writes their places in the order of insertion.
    void place(Matrix<const std::int32_t> rows, std::span<std::int64_t> places);

    void contains(Matrix<const std::int32_t> rows, std::span<bool> found) const;

    // Writes each row's place in the order of insertion, or -1.
    void find(Matrix<const std::int32_t> rows, std::span<std::int64_t> places) const;

    std::size_t size() const;
    std::size_t marked() const { return marked_; }
    std::size_t width() const { return width_; }

    // A copy, in the order of insertion.
    std::vector<std::int32_t> rows() const;

    // Writes for each row, in the order of insertion, whether it is marked.
    void marks(std::span<bool> marked) const;

  private:
    struct Slot {
        std::uint64_t hash = 0;
        std::int64_t place = -1;
        bool marked = false;
    };

    void check(Matrix<const std::int32_t> rows) const;
    // Index of the slot that holds the row, or of the free one where it belongs.
    std::size_t slot_of(const std::int32_t* row, std::uint64_t hash) const;
    // The slot that holds the row, and whether it was put there now.
    std::pair<Slot*, bool> put(const std::int32_t* row, std::uint64_t hash);
    // Calls function(i, hash) for each row in order, until it gives false. Slots come from memory meanwhile.
    template <class Function>
    void for_hashed(Matrix<const std::int32_t> rows, Function&& function) const;
    void grow();

    std::size_t width_;
    std::size_t count_ = 0, marked_ = 0;
    std::vector<std::int32_t> data_;
    std::vector<Slot> slots_;  // a power of two, at most half full
};

// Writes each row's place among the distinct rows, in the order in which they first come, and returns the
// indices of those first rows. O(n d). Throws std::invalid_argument for rows of width 0.
std::vector<std::int64_t> unique(Matrix<const std::int32_t> rows, std::span<std::int64_t> places);

}  // namespace nasx
