#include "nasx/neat_graph.hpp"

#include <algorithm>

namespace nasx::neat {

Graph::Graph(const Topology& topology, GenomeView genome)
    : sources_(static_cast<std::size_t>(topology.sources())),
      starts_(sources_ + genome.nodes.size() + 1, 0),
      targets_(genome.links.size()),
      visited_(sources_ + genome.nodes.size(), 0) {
    const auto vertex = [&](std::int32_t id) {
        return id < topology.sources() ? static_cast<std::size_t>(id) : sources_ + genome.find(id);
    };
    std::vector<std::uint32_t> from(genome.links.size());
    for (std::size_t i = 0; i < from.size(); ++i) {
        from[i] = static_cast<std::uint32_t>(vertex(genome.links[i].source));
        ++starts_[from[i] + 1];
    }
    for (std::size_t v = 0; v + 1 < starts_.size(); ++v) {
        starts_[v + 1] += starts_[v];
    }
    std::vector<std::uint32_t> next(starts_.begin(), starts_.end() - 1);
    for (std::size_t i = 0; i < from.size(); ++i) {
        targets_[next[from[i]]++] = static_cast<std::uint32_t>(vertex(genome.links[i].target));
    }
}

bool Graph::cyclic() const {
    std::vector<std::uint32_t> waiting(size(), 0), free;
    for (const std::uint32_t target : targets_) {
        ++waiting[target];
    }
    for (std::uint32_t v = 0; v < size(); ++v) {
        if (waiting[v] == 0) {
            free.push_back(v);
        }
    }
    for (std::size_t done = 0; done < free.size(); ++done) {
        for (std::uint32_t e = starts_[free[done]]; e < starts_[free[done] + 1]; ++e) {
            if (--waiting[targets_[e]] == 0) {
                free.push_back(targets_[e]);
            }
        }
    }
    return free.size() < size();
}

bool Graph::joined(std::size_t source, std::size_t target) const {
    const auto begin = targets_.begin();
    const auto end = begin + starts_[source + 1];
    return std::find(begin + starts_[source], end, static_cast<std::uint32_t>(target)) != end;
}

bool Graph::reaches(std::size_t from, std::size_t to) {
    if (from == to) {
        return true;
    }
    ++visit_;
    stack_.assign(1, static_cast<std::uint32_t>(from));
    while (!stack_.empty()) {
        const std::uint32_t v = stack_.back();
        stack_.pop_back();
        for (std::uint32_t e = starts_[v]; e < starts_[v + 1]; ++e) {
            if (targets_[e] == to) {
                return true;
            }
            if (visited_[targets_[e]] != visit_) {
                visited_[targets_[e]] = visit_;
                stack_.push_back(targets_[e]);
            }
        }
    }
    return false;
}

}  // namespace nasx::neat
