// The points of the plane that no other point covers, kept while points are added.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nasx {

// Steps in ascending y and descending z, in blocks of at most 128, so that one huge staircase does not move
// itself at every insertion. Both operations are O(log n) but for moves inside a block, and for moving the
// list of blocks (n / 64 numbers) once in 64 insertions.
class Staircase {
  public:
    // Whether some step has both coordinates at most these.
    bool covers(std::uint32_t y, std::uint32_t z) const {
        const std::size_t b = block_of(y);
        if (b == blocks_.size()) {
            return false;
        }
        const Block& block = blocks_[b];
        return block[steps_up_to(block, y) - 1].z <= z;
    }

    // Adds a step that is not covered, and drops those that it covers.
    void insert(std::uint32_t y, std::uint32_t z);

  private:
    struct Step {
        std::uint32_t y, z;
    };
    using Block = std::vector<Step>;

    static std::size_t steps_up_to(const Block& block, std::uint32_t y) {
        const Step* base = block.data();
        for (std::size_t length = block.size(); length > 1;) {
            const std::size_t half = length / 2;
            base += base[half].y <= y ? half : 0;
            length -= half;
        }
        return static_cast<std::size_t>(base - block.data()) + (base->y <= y);
    }

    // The last block whose first step has at most this y; blocks_.size() when none has.
    std::size_t block_of(std::uint32_t y) const;

    std::vector<Block> blocks_;
    std::vector<std::uint32_t> first_y_;
};

}  // namespace nasx
