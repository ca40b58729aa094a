#include "nasx/order.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "nasx/parallel.hpp"

namespace nasx {
namespace {

constexpr unsigned digit_bits = 11;
constexpr unsigned digits = 6;
constexpr std::size_t radix = std::size_t{1} << digit_bits;
constexpr std::size_t small = 600;

std::size_t digit(std::uint64_t key, unsigned place) {
    return (key >> (place * digit_bits)) & (radix - 1);
}

}  // namespace

void sort_keyed(std::vector<Keyed>& items) {
    if (items.size() < small) {
        std::sort(items.begin(), items.end(), [](const Keyed& a, const Keyed& b) {
            return a.key != b.key ? a.key < b.key : a.row < b.row;
        });
        return;
    }
    std::vector<std::array<std::uint32_t, radix>> counts(digits);
    for (const Keyed& item : items) {
        for (unsigned place = 0; place < digits; ++place) {
            ++counts[place][digit(item.key, place)];
        }
    }
    std::vector<Keyed> other(items.size());
    for (unsigned place = 0; place < digits; ++place) {
        auto& count = counts[place];
        if (count[digit(items.front().key, place)] == items.size()) {
            continue;
        }
        std::uint32_t before = 0;
        for (std::uint32_t& c : count) {
            before += std::exchange(c, before);
        }
        for (const Keyed& item : items) {
            other[count[digit(item.key, place)]++] = item;
        }
        items.swap(other);
    }
}

std::vector<Keyed> sorted_column(Matrix<const double> values, std::size_t column) {
    std::vector<Keyed> items(values.rows);
    for (std::size_t i = 0; i < values.rows; ++i) {
        items[i] = {ordered_bits(values(i, column)), static_cast<std::uint32_t>(i)};
    }
    sort_keyed(items);
    return items;
}

LexicographicOrder lexicographic_order(Matrix<const double> values) {
    const std::size_t n = values.rows, m = values.cols, width = m - 1;
    LexicographicOrder order;
    order.width = width;
    order.distinct.assign(width, 0);
    order.group.resize(n);

    std::vector<Keyed> first;
    std::vector<std::uint32_t> by_row(n * width);
    const std::size_t grain = n < 8192 ? m : 1;
    parallel_for(0, m, grain, [&](std::size_t begin, std::size_t end) {
        for (std::size_t j = begin; j < end; ++j) {
            std::vector<Keyed> column = sorted_column(values, j);
            if (j == 0) {
                first = std::move(column);
                continue;
            }
            std::uint32_t coordinate = 0;
            for (std::size_t i = 0; i < n; ++i) {
                coordinate += i > 0 && column[i].key != column[i - 1].key;
                by_row[column[i].row * width + j - 1] = coordinate;
            }
            order.distinct[j - 1] = coordinate + (n > 0);
        }
    });

    const auto row = [&](const Keyed& item) { return by_row.data() + item.row * width; };
    for (std::size_t begin = 0, end; begin < n; begin = end) {
        end = begin + 1;
        while (end < n && first[end].key == first[begin].key) {
            ++end;
        }
        if (end - begin > 1) {
            std::sort(first.begin() + static_cast<std::ptrdiff_t>(begin),
                      first.begin() + static_cast<std::ptrdiff_t>(end), [&](const Keyed& a, const Keyed& b) {
                          return std::lexicographical_compare(row(a), row(a) + width, row(b), row(b) + width);
                      });
        }
    }
    order.coordinates.resize(n * width);
    for (std::size_t i = 0; i < n; ++i) {
        const bool repeated = i > 0 && first[i].key == first[i - 1].key &&
                              std::equal(row(first[i]), row(first[i]) + width, row(first[i - 1]));
        if (!repeated) {
            std::copy_n(row(first[i]), width, order.coordinates.data() + order.unique * width);
            ++order.unique;
        }
        order.group[first[i].row] = static_cast<std::uint32_t>(order.unique - 1);
    }
    return order;
}

}  // namespace nasx
