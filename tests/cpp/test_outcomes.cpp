#include <doctest/doctest.h>

#include <limits>
#include <stdexcept>
#include <vector>

#include "nasx/outcomes.hpp"

using namespace nasx;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

}  // namespace

TEST_CASE("failed rows and rows with NaN become infinite, negative violations zero") {
    const std::vector<double> losses{1, 2, nan, 3, 4, 5, -infinity, 6}, violations{-1, nan, nan, 0.5};
    const bool failed[] = {false, false, true, false};
    std::vector<double> out(8), over(4);
    settle({losses.data(), 4, 2}, violations, std::span<const bool>(failed), {out.data(), 4, 2}, over);
    CHECK(out == std::vector<double>{1, 2, infinity, infinity, infinity, infinity, -infinity, 6});
    CHECK(over == std::vector<double>{0, infinity, infinity, 0.5});
    settle({losses.data(), 4, 2}, std::nullopt, std::nullopt, {out.data(), 4, 2}, over);
    CHECK(out == std::vector<double>{1, 2, infinity, infinity, 4, 5, -infinity, 6});
    CHECK(over == std::vector<double>{0, infinity, 0, 0});
}

TEST_CASE("a violation that is NaN in a row that did not fail is refused, and so are other lengths") {
    const std::vector<double> losses{1, 2}, bad{0, nan};
    const bool one[] = {true};
    std::vector<double> out(2), over(2);
    const Matrix<const double> in{losses.data(), 2, 1};
    const Matrix<double> to{out.data(), 2, 1};
    CHECK_THROWS_AS(settle(in, bad, std::nullopt, to, over), std::invalid_argument);
    CHECK_THROWS_AS(settle(in, std::span(bad).first(1), std::nullopt, to, over), std::invalid_argument);
    CHECK_THROWS_AS(settle(in, std::nullopt, std::span<const bool>(one), to, over), std::invalid_argument);
}
