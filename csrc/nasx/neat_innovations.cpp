#include "nasx/neat_innovations.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace nasx::neat {
namespace {

// Of foreign numbers: more than any search invents, and a table that still fits into memory.
constexpr std::int32_t most = 1 << 26;

std::uint64_t key(std::int32_t source, std::int32_t target) {
    return (std::uint64_t{static_cast<std::uint32_t>(source)} << 32) | static_cast<std::uint32_t>(target);
}

}  // namespace

Innovations::Innovations(const Topology& topology)
    : next_node_(topology.first_hidden()), first_hidden_(topology.first_hidden()) {
    for (std::int32_t i = 0; i < topology.first_innovation(); ++i) {
        ends_.emplace_back(i % topology.sources(), topology.sources() + i / topology.sources());
    }
}

std::int32_t Innovations::invent(std::int32_t source, std::int32_t target) {
    ends_.emplace_back(source, target);
    return static_cast<std::int32_t>(ends_.size() - 1);
}

Innovations::Split Innovations::split(const Link& link) {
    const auto [place, is_new] = split_.try_emplace(link.innovation);
    if (is_new) {
        const std::int32_t node = next_node_++;
        place->second = {node, invent(link.source, node), invent(node, link.target)};
    }
    return place->second;
}

std::int32_t Innovations::connect(std::int32_t source, std::int32_t target) {
    const auto [place, is_new] = connected_.try_emplace(key(source, target));
    if (is_new) {
        place->second = invent(source, target);
    }
    return place->second;
}

void Innovations::next_generation() {
    connected_.clear();
    split_.clear();
}

void Innovations::adopt(GenomeView genome, std::size_t number) {
    for (const Link& link : genome.links) {
        const auto i = static_cast<std::size_t>(link.innovation);
        if (link.innovation > most) {
            throw std::invalid_argument("genome " + std::to_string(number) + ": connection " +
                                        std::to_string(link.innovation) +
                                        " leaves no room for further numbers");
        }
        if (i < ends_.size() && ends_[i].first >= 0 && ends_[i] != std::pair(link.source, link.target)) {
            throw std::invalid_argument(
                "genome " + std::to_string(number) + " is of another search: its connection " +
                std::to_string(link.innovation) + " joins nodes " + std::to_string(link.source) + " and " +
                std::to_string(link.target) + ", and here it joins " + std::to_string(ends_[i].first) +
                " and " + std::to_string(ends_[i].second));
        }
    }
    if (!genome.nodes.empty() && genome.nodes.back().id > most) {
        throw std::invalid_argument("genome " + std::to_string(number) + ": node " +
                                    std::to_string(genome.nodes.back().id) +
                                    " leaves no room for further ids");
    }
    for (const Link& link : genome.links) {
        const auto i = static_cast<std::size_t>(link.innovation);
        if (i >= ends_.size()) {
            ends_.resize(i + 1, {-1, -1});
        }
        ends_[i] = {link.source, link.target};
    }
    if (!genome.nodes.empty()) {
        next_node_ = std::max(next_node_, genome.nodes.back().id + 1);
    }
}

}  // namespace nasx::neat
