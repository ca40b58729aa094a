#include "nasx/staircase.hpp"

#include <algorithm>

namespace nasx {
namespace {

constexpr std::size_t block_limit = 128;

std::ptrdiff_t offset(std::size_t i) {
    return static_cast<std::ptrdiff_t>(i);
}

}  // namespace

std::size_t Staircase::block_of(std::uint32_t y) const {
    if (blocks_.empty() || first_y_.front() > y) {
        return blocks_.size();
    }
    if (blocks_.size() == 1) {
        return 0;
    }
    const auto after = std::upper_bound(first_y_.begin(), first_y_.end(), y);
    return static_cast<std::size_t>(after - first_y_.begin()) - 1;
}

void Staircase::insert(std::uint32_t y, std::uint32_t z) {
    if (blocks_.empty()) {
        blocks_.push_back({{y, z}});
        first_y_.push_back(y);
        return;
    }
    std::size_t b = block_of(y);
    std::size_t at = 0;
    if (b == blocks_.size()) {
        b = 0;
    } else {
        at = steps_up_to(blocks_[b], y);
        // A step with the same y lies above the new one and is covered by it.
        at -= blocks_[b][at - 1].y == y;
    }
    Block& block = blocks_[b];
    std::size_t end = at;
    while (end < block.size() && block[end].z >= z) {
        ++end;
    }
    if (end == block.size()) {
        std::size_t last = b + 1;
        while (last < blocks_.size() && blocks_[last].back().z >= z) {
            ++last;
        }
        if (last < blocks_.size()) {
            Block& partly = blocks_[last];
            const auto kept =
                std::find_if(partly.begin(), partly.end(), [&](const Step& s) { return s.z < z; });
            partly.erase(partly.begin(), kept);
            first_y_[last] = partly.front().y;
        }
        blocks_.erase(blocks_.begin() + offset(b + 1), blocks_.begin() + offset(last));
        first_y_.erase(first_y_.begin() + offset(b + 1), first_y_.begin() + offset(last));
    }
    Block& target = blocks_[b];
    if (end > at) {
        target[at] = {y, z};
        target.erase(target.begin() + offset(at + 1), target.begin() + offset(end));
    } else {
        target.insert(target.begin() + offset(at), {y, z});
    }
    first_y_[b] = target.front().y;
    if (target.size() > block_limit) {
        Block upper(target.begin() + offset(block_limit / 2), target.end());
        target.resize(block_limit / 2);
        first_y_.insert(first_y_.begin() + offset(b + 1), upper.front().y);
        blocks_.insert(blocks_.begin() + offset(b + 1), std::move(upper));
    }
}

}  // namespace nasx
