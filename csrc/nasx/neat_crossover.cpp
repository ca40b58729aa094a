#include "nasx/neat_crossover.hpp"

namespace nasx::neat {

void cross(GenomeView fitter, GenomeView other, const Crossover& how, Stream& stream, Genome& child) {
    child.assign(fitter);
    auto mate = other.nodes.begin();
    for (Node& node : child.nodes) {
        while (mate != other.nodes.end() && mate->id < node.id) {
            ++mate;
        }
        if (mate != other.nodes.end() && mate->id == node.id && *mate != node && stream.bernoulli(0.5)) {
            node = *mate;
        }
    }
    const bool average = how.average > 0 && stream.bernoulli(how.average);
    auto match = other.links.begin();
    for (Link& link : child.links) {
        while (match != other.links.end() && match->innovation < link.innovation) {
            ++match;
        }
        bool disabled = link.enabled == 0;
        if (match != other.links.end() && match->innovation == link.innovation) {
            disabled = disabled || match->enabled == 0;
            if (average) {
                link.weight = (link.weight + match->weight) / 2;
            } else if (stream.bernoulli(0.5)) {
                link.weight = match->weight;
            }
        }
        link.enabled = disabled && stream.bernoulli(how.keep_disabled) ? 0 : 1;
    }
}

}  // namespace nasx::neat
