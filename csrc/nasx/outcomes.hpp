// What a search tells a strategy, made uniform: failures lose to everything that finished.
#pragma once

#include <optional>
#include <span>

#include "nasx/array.hpp"

namespace nasx {

// Copies losses (n, m) and violations (n,), none meaning 0, into the outputs of the same shapes. A row that
// failed, or has a NaN among its losses, becomes infinite in both. Negative violations become 0. O(n m).
//
// Throws std::invalid_argument when lengths differ, or when the violation of a row that did not fail is NaN.
void settle(Matrix<const double> losses, std::optional<std::span<const double>> violations,
            std::optional<std::span<const bool>> failed, Matrix<double> settled_losses,
            std::span<double> settled_violations);

}  // namespace nasx
