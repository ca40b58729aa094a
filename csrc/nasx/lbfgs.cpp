#include "nasx/lbfgs.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace nasx {
namespace {

using Vector = std::vector<double>;

double dot(const Vector& a, const Vector& b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

// The direction of descent of the quasi-Newton model, among the numbers that are free.
Vector direction(const std::deque<Curvature>& memory, const Vector& gradient, const std::vector<char>& free) {
    const auto restrict_to_free = [&](Vector v) {
        for (std::size_t i = 0; i < v.size(); ++i) {
            v[i] = free[i] != 0 ? v[i] : 0;
        }
        return v;
    };
    Vector q = restrict_to_free(gradient);
    Vector weights;
    for (auto change = memory.rbegin(); change != memory.rend(); ++change) {
        weights.push_back(dot(change->step, q) / change->product);
        for (std::size_t i = 0; i < q.size(); ++i) {
            q[i] -= weights.back() * change->slope[i];
        }
    }
    if (!memory.empty()) {
        const double scale = memory.back().product / dot(memory.back().slope, memory.back().slope);
        for (double& number : q) {
            number *= scale;
        }
    }
    for (const Curvature& change : memory) {
        const double weight = weights.back() - dot(change.slope, q) / change.product;
        weights.pop_back();
        for (std::size_t i = 0; i < q.size(); ++i) {
            q[i] += weight * change.step[i];
        }
    }
    for (double& number : q) {
        number = -number;
    }
    q = restrict_to_free(std::move(q));
    if (!(dot(q, gradient) < 0)) {
        q = restrict_to_free(gradient);
        for (double& number : q) {
            number = -number;
        }
    }
    return q;
}

}  // namespace

Minimum minimise(SmoothFunction& function, std::span<const double> start, std::span<const double> lower,
                 std::span<const double> upper, const LbfgsSettings& settings, std::deque<Curvature> known) {
    const std::size_t n = start.size();
    Minimum found{{start.begin(), start.end()}, 0, 1, std::move(known)};
    Vector& x = found.x;
    std::deque<Curvature>& memory = found.memory;
    for (std::size_t i = 0; i < n; ++i) {
        x[i] = std::clamp(x[i], lower[i], upper[i]);
    }
    found.value = function.value(x);
    if (!std::isfinite(found.value)) {
        return found;
    }
    Vector gradient(n), next(n), next_gradient(n);
    function.gradient(gradient);
    std::vector<char> free(n);
    std::size_t idle = 0;
    for (std::size_t iteration = 0; iteration < settings.iterations && idle < 2; ++iteration) {
        double steepest = 0;
        for (std::size_t i = 0; i < n; ++i) {
            free[i] = !((x[i] <= lower[i] && gradient[i] > 0) || (x[i] >= upper[i] && gradient[i] < 0));
            steepest = free[i] != 0 ? std::max(steepest, std::fabs(gradient[i])) : steepest;
        }
        if (steepest <= settings.gradient) {
            break;
        }
        const Vector towards = direction(memory, gradient, free);
        double longest = 0;
        for (const double number : towards) {
            longest = std::max(longest, std::fabs(number));
        }
        // Without a model the gradient says nothing about how far to go.
        double length = std::min(1.0, (memory.empty() ? 0.5 : settings.longest) / longest);
        double value = 0;
        bool lower_value = false;
        for (int attempt = 0; attempt < 20 && !lower_value; ++attempt) {
            double expected = 0;
            for (std::size_t i = 0; i < n; ++i) {
                next[i] = std::clamp(x[i] + length * towards[i], lower[i], upper[i]);
                expected += gradient[i] * (next[i] - x[i]);
            }
            value = function.value(next);
            ++found.evaluations;
            lower_value = value <= found.value + 1e-4 * expected;
            if (!lower_value) {
                // The minimum of the parabola through what is known, if it is one.
                const double excess = value - found.value - expected;
                const double shrink = std::isfinite(excess) && excess > 0 ? -0.5 * expected / excess : 0.1;
                length *= std::clamp(shrink, 0.1, 0.5);
            }
        }
        if (!lower_value) {
            if (memory.empty()) {
                break;
            }
            memory.clear();  // the model misleads
            continue;
        }
        function.gradient(next_gradient);
        Curvature change{Vector(n), Vector(n), 0};
        for (std::size_t i = 0; i < n; ++i) {
            change.step[i] = next[i] - x[i];
            change.slope[i] = next_gradient[i] - gradient[i];
        }
        change.product = dot(change.step, change.slope);
        if (change.product > 1e-10 * dot(change.slope, change.slope)) {
            memory.push_back(std::move(change));
            if (memory.size() > settings.memory) {
                memory.pop_front();
            }
        }
        idle = found.value - value < settings.decrease ? idle + 1 : 0;
        x.swap(next);
        gradient.swap(next_gradient);
        found.value = value;
    }
    return found;
}

}  // namespace nasx
