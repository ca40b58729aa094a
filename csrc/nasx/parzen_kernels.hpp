// What Parzen estimators over choices are made of: weights by age, and kernels around observations.
//
// Sources: J. Bergstra, R. Bardenet, Y. Bengio, B. Kegl, "Algorithms for hyper-parameter optimization",
// NeurIPS 2011; J. Bergstra, D. Yamins, D. D. Cox, "Making a science of model search", ICML 2013; S.
// Watanabe, "Tree-structured Parzen estimator: understanding its algorithm components", arXiv 2304.11127
// (2023).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "nasx/rng.hpp"

namespace nasx {

// Weights of n observations by their rank, the oldest first: 1 for the last 25, before them a straight line
// that begins with 1/n and ends with 1.
class AgeWeights {
  public:
    static constexpr std::size_t flat = 25;

    explicit AgeWeights(std::size_t n);

    // How many are on the line.
    std::size_t sloped() const { return sloped_; }
    // The weight at rank r < sloped() is first() + r * slope().
    double first() const { return first_; }
    double slope() const { return slope_; }

    double operator()(std::size_t rank) const {
        return rank < sloped_ ? first_ + static_cast<double>(rank) * slope_ : 1.0;
    }

  private:
    std::size_t sloped_ = 0;
    double first_ = 1, slope_ = 0;
};

// Kernels over c unordered choices for n observations: the choice observed has 1 + 1/(n + 1), the others have
// 1/(n + 1), divided by their sum. The prior kernel is uniform.
class CategoricalKernels {
  public:
    CategoricalKernels(std::uint32_t choices, std::size_t n)
        : choices_(choices), smoothing_(1.0 / static_cast<double>(n + 1)) {}

    double mass(std::int32_t x, std::int32_t observed) const {
        return (smoothing_ + (x == observed ? 1.0 : 0.0)) / (1 + choices_ * smoothing_);
    }
    double prior_mass() const { return 1.0 / choices_; }

    // From the kernel of an observation; from the prior kernel for -1.
    std::int32_t draw(std::int32_t observed, Stream& stream) const;

  private:
    std::uint32_t choices_;
    double smoothing_;
};

// Kernels over c ordered choices: normal densities around the observed ones, cut off half a choice beyond the
// first and the last and summed over each choice. An observation's width is the larger of the distances to
// its neighbours in sorted order; to the only neighbour for the first and the last of several; to the farther
// bound for a single one. Widths are at least c / min(100, n + 2) and at most c. Equal observations are
// sorted in every order: their kernel is the mean over the orders. The prior kernel is centred with width c.
class OrderedKernels {
  public:
    // counts (c,): how often each choice was observed. O(c).
    explicit OrderedKernels(std::span<const std::int64_t> counts);

    // The observed choices, increasing.
    std::span<const std::int32_t> observed() const { return observed_; }
    // Of the kernel of observed()[place]. O(1).
    double mass(std::int32_t x, std::size_t place) const;
    double prior_mass(std::int32_t x) const;

    // From the kernel of an observed choice; from the prior kernel for -1. O(log c).
    std::int32_t draw(std::int32_t observed, Stream& stream) const;

  private:
    // A normal density around `centre`, divided by what of it is within the bounds.
    struct Normal {
        double centre = 0, width = 1, below = 0, within = 1;
    };
    // The kernel of `count` equal observations: the first and the last of them, and those between.
    struct Kernel {
        std::int64_t count = 0;
        Normal first, last, between;
    };

    Normal normal(double centre, double width) const;
    double mass(const Normal& normal, std::int32_t x) const;
    std::int32_t draw(const Normal& normal, Stream& stream) const;

    std::int32_t choices_;
    std::vector<std::int32_t> observed_;
    std::vector<Kernel> kernels_;  // of observed_
    Normal prior_;
};

}  // namespace nasx
