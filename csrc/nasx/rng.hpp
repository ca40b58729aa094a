// Counter-based random numbers: the same on every platform, thread count and CPU level.
//
// A Stream is named, not seeded in sequence: (seed, purpose, generation, item) is put into the key and the
// counter of Philox4x32-10, so item 17 of generation 3 draws the same numbers whoever computes it, and
// different purposes never share a number.
//
// Source: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011. Bounded integers: D. Lemire, "Fast random integer generation in an interval", ACM TOMACS 29
// (2019).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace nasx {

// What the numbers are for. The values are part of every saved search: never renumber them.
enum class Purpose : std::uint32_t {
    sample = 1,
    repair = 2,
    mutate = 3,
    crossover = 4,
    tournament = 5,
    select = 6,
    offspring = 7,
    mutate_one = 8,
    mutants = 9,
    neighbors = 10,
    within = 11,
    parzen = 20,
    acquisition = 21,
    posterior = 22,
    policy = 50,
    minibatch = 51,
    neat_start = 60,
    neat_child = 61,
    neat_representative = 62,
};

// One block of Philox4x32-10.
inline std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                               std::array<std::uint32_t, 2> key) {
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t left = std::uint64_t{0xD2511F53u} * counter[0];
        const std::uint64_t right = std::uint64_t{0xCD9E8D57u} * counter[2];
        counter = {
            static_cast<std::uint32_t>(right >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(right),
            static_cast<std::uint32_t>(left >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(left)};
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
    return counter;
}

// The rows of one batch: row i draws from the stream of item first + i.
struct StreamKey {
    std::uint64_t seed = 0;
    std::uint32_t generation = 0;
    std::uint64_t first = 0;
};

// 2^26 numbers of 32 bits; then it repeats, far beyond what one row of a population draws.
class Stream {
  public:
    Stream(std::uint64_t seed, Purpose purpose, std::uint32_t generation, std::uint64_t item)
        : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)},
          counter_{static_cast<std::uint32_t>(purpose) << 24, generation, static_cast<std::uint32_t>(item),
                   static_cast<std::uint32_t>(item >> 32)} {}

    Stream(const StreamKey& key, Purpose purpose, std::uint64_t row)
        : Stream(key.seed, purpose, key.generation, key.first + row) {}

    // The same numbers; the first blocks of them, at most four, were made elsewhere (see streams.hpp).
    Stream(const StreamKey& key, Purpose purpose, std::uint64_t row, const std::uint32_t* begun,
           std::size_t blocks)
        : Stream(key, purpose, row) {
        std::copy_n(begun, 4 * blocks, words_.begin());
        counter_[0] += static_cast<std::uint32_t>(blocks);
        filled_ = 4 * blocks;
    }

    std::uint32_t next_u32() {
        if (used_ == filled_) {
            refill();
        }
        return words_[used_++];
    }

    // The low half is drawn first.
    std::uint64_t next_u64() {
        const std::uint64_t low = next_u32();
        return (std::uint64_t{next_u32()} << 32) | low;
    }

    // In [0, 1), a multiple of 2^-53.
    double uniform() { return static_cast<double>(next_u64() >> 11) * 0x1.0p-53; }

    // Unbiased in [0, bound); bound >= 1.
    std::uint32_t below(std::uint32_t bound) {
        std::uint64_t product = std::uint64_t{next_u32()} * bound;
        if (static_cast<std::uint32_t>(product) < bound) {
            const std::uint32_t rejected = (0u - bound) % bound;
            while (static_cast<std::uint32_t>(product) < rejected) {
                product = std::uint64_t{next_u32()} * bound;
            }
        }
        return static_cast<std::uint32_t>(product >> 32);
    }

    // True with this probability. One word decides unless it ties with the probability's first 32 bits.
    bool bernoulli(double probability) {
        const double scaled = probability * 0x1.0p32;
        const auto whole = static_cast<std::uint64_t>(scaled);
        const std::uint64_t word = next_u32();
        if (word != whole) {
            return word < whole;
        }
        return uniform() < scaled - static_cast<double>(whole);
    }

  private:
    // Two blocks at first, for most rows are short; then four. The CPU computes them side by side.
    void refill() {
        const std::size_t blocks = filled_ == 0 ? 2 : 4;
        for (std::size_t b = 0; b < blocks; ++b) {
            const auto block = philox4x32(counter_, key_);
            std::copy(block.begin(), block.end(), words_.begin() + 4 * b);
            counter_[0] = (counter_[0] & 0xFF000000u) | ((counter_[0] + 1) & 0x00FFFFFFu);
        }
        used_ = 0;
        filled_ = 4 * blocks;
    }

    std::array<std::uint32_t, 2> key_;
    std::array<std::uint32_t, 4> counter_;
    std::array<std::uint32_t, 16> words_;
    std::size_t used_ = 0;
    std::size_t filled_ = 0;
};

}  // namespace nasx
