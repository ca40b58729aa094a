// Minima of smooth functions between bounds, by a limited memory of gradients.
//
// Source: J. Nocedal, S. J. Wright, "Numerical Optimization", 2nd edition, Springer 2006, algorithm 7.4;
// bounds by projection as in D. P. Bertsekas, "Projected Newton methods for optimization problems with simple
// constraints", SIAM Journal on Control and Optimization 20 (1982).
#pragma once

#include <cstddef>
#include <deque>
#include <span>
#include <vector>

namespace nasx {

class SmoothFunction {
  public:
    virtual ~SmoothFunction() = default;

    // Infinite where the function has no value.
    virtual double value(std::span<const double> x) = 0;

    // Writes the gradient at the place of the last value.
    virtual void gradient(std::span<double> out) = 0;
};

struct LbfgsSettings {
    std::size_t iterations = 100;
    std::size_t memory = 50;  // steps; as many as the function has numbers tell all of its curvature
    double gradient = 1e-3;   // stop when no number of the gradient, 0 at a bound it points beyond, is larger
    double decrease = 1e-5;   // stop when two steps in a row gain less
    double longest = 2;       // of a step, in its largest number
};

// How the gradient changes along a step, and the product of the two.
struct Curvature {
    std::vector<double> step, slope;
    double product = 0;
};

struct Minimum {
    std::vector<double> x;
    double value = 0;
    std::size_t evaluations = 0;
    std::deque<Curvature> memory;  // the latest steps, oldest first
};

// Starts at x, moved between the bounds. Values are asked for before gradients, and gradients only of steps
// that were taken. Each step takes O(memory * x) beside the function. If the function is infinite at the
// start, gives the start. `known` is what is remembered at first, from a function of nearly the same
// curvature.
Minimum minimise(SmoothFunction& function, std::span<const double> x, std::span<const double> lower,
                 std::span<const double> upper, const LbfgsSettings& settings,
                 std::deque<Curvature> known = {});

}  // namespace nasx
