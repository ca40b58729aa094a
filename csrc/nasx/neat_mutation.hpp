// Mutations of NEAT.
#pragma once

#include <cstdint>

#include "nasx/neat_genome.hpp"
#include "nasx/neat_innovations.hpp"

namespace nasx::neat {

// Probabilities are each genome's, but for `perturbed`, which is each weight's.
struct Mutation {
    double weights = 0.8;    // all weights of the genome change
    double perturbed = 0.9;  // a weight is moved by -power..power; else it is drawn anew
    double power = 2.5;
    double range = 2.5;  // of weights drawn anew, and of new connections: -range..range
    double limit = 8.0;  // weights stay in -limit..limit
    double add_node = 0.03;
    double add_connection = 0.05;
    double toggle = 0.0;      // a connection drawn at random is enabled or disabled
    double activation = 0.0;  // a node drawn at random gets another activation
    double aggregation = 0.0;

    // Throws std::invalid_argument for what is out of range.
    void check() const;
};

// New structure that has no numbers yet: they are given in the order of the children, and children are made
// side by side.
struct Growth {
    std::int32_t split = -1;                       // innovation number of the connection that gets a node
    std::int32_t source = -1, target = -1;         // of the new connection; -1 without one
    double weight = 0;                             // of it
    std::uint8_t activation = 0, aggregation = 0;  // of the node

    bool any() const { return split >= 0 || source >= 0; }
};

// Says what is to grow; a genome in which nothing grows has its weights and choices changed in place. So new
// structure is first judged with the weights that it was added to. New connections join nodes that no
// connection joins, enabled or not; without `recurrent` they close no cycle. A pair is drawn up to 64 times
// until one will do.
//
// New nodes split enabled connections, but none from the bias: a node that sees nothing but a constant is no
// more than a bias itself. Which one the paper leaves open, and as in its authors' program old ones come
// first while there are few (below 15, disabled ones counted): from the oldest on, each is split with
// probability 0.7, so that nodes spread over the inputs instead of stacking up behind one another. Later all
// are equally likely. O(genes).
Growth mutate(const Topology& topology, const Mutation& mutation, Stream& stream, Genome& genome);

// Lets it grow: numbers and new genes. The split connection is disabled, the one into the new node has weight
// 1, the one out of it the old weight. O(1) beside the insertion.
void grow(const Growth& growth, Innovations& innovations, Genome& genome);

}  // namespace nasx::neat
