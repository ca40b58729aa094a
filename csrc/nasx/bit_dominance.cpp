#include "nasx/bit_dominance.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>

#include "nasx/parallel.hpp"
#include "nasx/simd/kernels.hpp"
#include "nasx/simd/level.hpp"

namespace nasx {
namespace {

using simd::Bits;
constexpr std::size_t chunk_points = Bits::size;
using Places = std::array<std::size_t, chunk_points>;  // which bit stands for each point of a chunk

const simd::Kernels& kernels() {
    return NASX_AT_LEVEL(kernels);
}

class Ranker {
  public:
    Ranker(const LexicographicOrder& order)
        : width_(order.width),
          stride_(width_ == 0 ? 0 : *std::max_element(order.distinct.begin(), order.distinct.end())),
          coordinates_(order.coordinates.begin(),
                       order.coordinates.begin() + static_cast<std::ptrdiff_t>(order.unique * order.width)),
          ranks_(order.unique, 0),
          counts_(width_ * stride_),
          sets_(std::min(chunk_points, order.unique) + 1),
          prefixes_(width_ * sets_),
          closed_(sets_) {}

    std::size_t size() const { return ranks_.size(); }
    const std::vector<std::int32_t>& ranks() const { return ranks_; }

    // Settles the ranks of rows [begin, end), given those of all earlier rows, and raises the later ones.
    void settle(std::size_t begin, std::size_t end) {
        count(begin, end);
        Places bit;
        std::iota(bit.begin(), bit.end(), std::size_t{0});
        fill_prefixes(begin, end, bit);
        const simd::Chunk chunk{width_, prefixes_.data(), sets_, counts_.data(), stride_, sorted_.data()};
        kernels().rank_inside(chunk, row(begin), ranks_.data() + begin, end - begin, closed_.data());
        if (end == size()) {
            return;
        }
        arrange_by_rank(begin, end, bit);
        fill_prefixes(begin, end, bit);
        parallel_for(end, size(), 4096, [&](std::size_t b, std::size_t e) {
            kernels().raise_ranks(chunk, coordinates_.data(), ranks_.data(), b, e);
        });
    }

    // Drops the rows from `begin` on whose rank is not 0, and calls moved(from, to) for those that stay.
    template <class Moved>
    void drop_dominated(std::size_t begin, Moved&& moved) {
        std::size_t kept = begin;
        for (std::size_t i = begin; i < size(); ++i) {
            if (ranks_[i] == 0) {
                std::copy_n(row(i), width_, coordinates_.data() + kept * width_);
                moved(i, kept++);
            }
        }
        ranks_.assign(kept, 0);
    }

  private:
    const std::uint32_t* row(std::size_t i) const { return coordinates_.data() + i * width_; }
    std::uint16_t* counts(std::size_t j) { return counts_.data() + j * stride_; }

    void count(std::size_t begin, std::size_t end) {
        std::fill(counts_.begin(), counts_.end(), std::uint16_t{0});
        for (std::size_t i = begin; i < end; ++i) {
            for (std::size_t j = 0; j < width_; ++j) {
                ++counts(j)[row(i)[j]];
            }
        }
        for (std::size_t j = 0; j < width_; ++j) {
            std::partial_sum(counts(j), counts(j) + stride_, counts(j), [](std::uint16_t a, std::uint16_t b) {
                return static_cast<std::uint16_t>(a + b);
            });
        }
    }

    // Points with equal coordinates meet in the set of their common count; sets between are never asked for.
    void fill_prefixes(std::size_t begin, std::size_t end, const Places& bit) {
        const std::size_t sets = end - begin + 1;
        for (std::size_t j = 0; j < width_; ++j) {
            Bits* const prefix = prefixes_.data() + j * sets_;
            std::fill_n(prefix, sets, Bits{});
            for (std::size_t i = begin; i < end; ++i) {
                const std::size_t b = bit[i - begin];
                prefix[counts(j)[row(i)[j]]].word[b / 64] |= std::uint64_t{1} << (b % 64);
            }
            for (std::size_t t = 1; t < sets; ++t) {
                for (std::size_t w = 0; w < Bits::words; ++w) {
                    prefix[t].word[w] |= prefix[t - 1].word[w];
                }
            }
        }
    }

    void arrange_by_rank(std::size_t begin, std::size_t end, Places& bit) {
        std::array<std::uint64_t, chunk_points> keyed;
        for (std::size_t i = 0; i < end - begin; ++i) {
            keyed[i] = (std::uint64_t{static_cast<std::uint32_t>(ranks_[begin + i])} << 32) | i;
        }
        std::sort(keyed.begin(), keyed.begin() + static_cast<std::ptrdiff_t>(end - begin), std::greater<>());
        for (std::size_t b = 0; b < end - begin; ++b) {
            bit[keyed[b] & 0xFFFFFFFFu] = b;
            sorted_[b] = static_cast<std::int32_t>(keyed[b] >> 32);
        }
    }

    std::size_t width_;
    std::size_t stride_;
    std::vector<std::uint32_t> coordinates_;
    std::vector<std::int32_t> ranks_;
    std::vector<std::uint16_t> counts_;
    std::size_t sets_;
    std::vector<Bits> prefixes_;
    std::vector<Bits> closed_;
    std::array<std::int32_t, chunk_points> sorted_{};
};

}  // namespace

std::vector<std::int32_t> bit_ranks(const LexicographicOrder& order) {
    Ranker ranker(order);
    for (std::size_t begin = 0; begin < ranker.size(); begin += chunk_points) {
        ranker.settle(begin, std::min(begin + chunk_points, ranker.size()));
    }
    return ranker.ranks();
}

std::vector<bool> bit_front(const LexicographicOrder& order) {
    Ranker ranker(order);
    std::vector<std::size_t> place(order.unique);
    std::iota(place.begin(), place.end(), std::size_t{0});
    for (std::size_t begin = 0; begin < ranker.size();) {
        const std::size_t end = std::min(begin + chunk_points, ranker.size());
        ranker.settle(begin, end);
        std::size_t next = begin;
        ranker.drop_dominated(begin, [&](std::size_t from, std::size_t to) {
            place[to] = place[from];
            next += from < end;
        });
        begin = next;
    }
    std::vector<bool> mask(order.unique, false);
    for (std::size_t i = 0; i < ranker.size(); ++i) {
        mask[place[i]] = true;
    }
    return mask;
}

}  // namespace nasx
