// What kernels that work on images row by row share: pieces of rows for threads, and rows that are kept.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <new>
#include <numeric>
#include <type_traits>
#include <utility>
#include <vector>

#include "nasx/parallel.hpp"

namespace nasx::mixed_op {

// Pieces for threads: large beside what it costs to hand one out, and to begin one a few rows early.
inline constexpr std::size_t numbers_at_once = 16384;

// Rows of so many numbers, not zero, that make up a piece.
inline std::size_t rows_at_once(std::size_t numbers) {
    return std::max<std::size_t>(1, numbers_at_once / numbers);
}

// Numbers per channel are repeated until they fill whole vectors: the least multiple of the channels and
// of 8.
inline std::size_t period_of(std::size_t channels) {
    return channels / std::gcd(channels, std::size_t{8}) * 8;
}

// Arrays that begin with a line of the cache: no vector of them lies in two.
template <class T>
struct LineAllocator {
    using value_type = T;
    static constexpr std::align_val_t line{64};

    LineAllocator() = default;
    template <class Other>
    LineAllocator(const LineAllocator<Other>&) {}
    T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), line)); }
    void deallocate(T* numbers, std::size_t) { ::operator delete(numbers, line); }
    template <class Other>
    bool operator==(const LineAllocator<Other>&) const {
        return true;
    }
};
template <class T>
using Aligned = std::vector<T, LineAllocator<T>>;

// Asks for numbers that are read soon, so that they are in the cache by then. Compilers take functions that
// only ask for ones without effects, and leave out their calls: hence the empty instruction.
template <class T>
inline void ask_for(const T* numbers, std::size_t n) {
    for (std::size_t i = 0; i < n; i += 64 / sizeof(T)) {
        __builtin_prefetch(numbers + i, 0, 2);
    }
    __asm__ volatile("");
}

// The same for numbers that are written soon.
template <class T>
inline void ask_for_room(const T* numbers, std::size_t n) {
    for (std::size_t i = 0; i < n; i += 64 / sizeof(T)) {
        __builtin_prefetch(numbers + i, 1, 2);
    }
    __asm__ volatile("");
}

// Rows of images, one after another in memory, that are asked for a little before they are worked on.
template <class T>
struct RowsAhead {
    T* first;
    std::size_t count, numbers;  // rows, and numbers of each

    // So many rows before they are needed: memory takes as long to answer as to send so much.
    std::size_t distance() const { return std::max<std::size_t>(1, at_once / numbers); }

    // Rows [row, row + some), as far as there are any: to be read, or to be written if T is not const.
    void ask(std::size_t row, std::size_t some) const {
        if (row >= count) {
            return;
        }
        const std::size_t n = std::min(some, count - row) * numbers;
        if constexpr (std::is_const_v<T>) {
            ask_for(first + row * numbers, n);
        } else {
            ask_for_room(first + row * numbers, n);
        }
    }

    // The same where row `row` is the next that is needed.
    void ask_ahead(std::size_t row, std::size_t some) const { ask(row + distance() * some, some); }

    // Those that an output row has to do with, as far as there are any, in an image of so many rows.
    void ask_of_image(std::size_t image, std::size_t rows, std::size_t stride, std::size_t out_row) const {
        ask(image * rows + out_row * stride, std::min(stride, rows - out_row * stride));
    }

  private:
    static constexpr std::size_t at_once = 1024;  // numbers
};

// The sums, as double, of arrays of so many numbers that lie one after another. O(sums.size()).
template <class T>
std::vector<double> add_parts(const Aligned<T>& sums, std::size_t numbers) {
    std::vector<double> all(numbers);
    for (std::size_t begin = 0; begin < sums.size(); begin += numbers) {
        for (std::size_t i = 0; i < numbers; ++i) {
            all[i] += static_cast<double>(sums[begin + i]);
        }
    }
    return all;
}

// The last `count` rows that were worked on, of which the next output needs most again. They begin as zeros,
// each at the beginning of a line of the cache.
template <class T>
class LastRows {
  public:
    LastRows(std::size_t size, std::size_t count)
        : size_((size + in_line - 1) / in_line * in_line), values_(count * size_), held_(count, none) {}

    // Where the row of this number goes; `number` counts through all images, `row` in its own.
    T* slot(std::size_t row) { return values_.data() + place(row) * size_; }
    // Whether it must be made; it counts as made from now on.
    bool lacks(std::size_t row, std::size_t number) {
        return std::exchange(held_[place(row)], number) != number;
    }

    // All must be made.
    void forget() { std::fill(held_.begin(), held_.end(), none); }

  private:
    // Divisions are slow, and where all rows of an image are kept, none is needed.
    std::size_t place(std::size_t row) const { return row < held_.size() ? row : row % held_.size(); }

    static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();
    static constexpr std::size_t in_line = 64 / sizeof(T);

    std::size_t size_;
    Aligned<T> values_;
    std::vector<std::size_t> held_;
};

// Calls function(kept, image, row, number) for every row, of `numbers` numbers, of every image, those of a
// piece in this order; begin() makes what a piece keeps.
template <class Begin, class Function>
void for_rows(std::size_t images, std::size_t rows, std::size_t numbers, Begin&& begin, Function&& function) {
    if (numbers == 0) {
        return;
    }
    parallel_for(0, images * rows, rows_at_once(numbers), [&](std::size_t first, std::size_t last) {
        auto kept = begin();
        for (std::size_t i = first; i < last; ++i) {
            function(kept, i / rows, i % rows, i);
        }
    });
}

}  // namespace nasx::mixed_op
