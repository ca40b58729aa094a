#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "helpers.hpp"
#include "nasx/acquisition.hpp"
#include "nasx/gaussian_process.hpp"
#include "nasx/gp_likelihood.hpp"
#include "nasx/gp_search.hpp"
#include "nasx/parallel.hpp"

using namespace nasx;
using nasx::test::has;
using nasx::test::refusal;

namespace {

struct Problem {
    std::vector<std::int32_t> cardinalities{4, 3, 5, 2, 6};
    std::vector<std::int32_t> conditions{2, 1, 0, 2, 1, 2, 3, 2, 4};  // c if b in {0, 2}, d if c == 4
    std::vector<char> ordered{0, 0, 1, 0, 1};
    std::vector<std::int32_t> rows;
    std::vector<double> targets;
    Decisions decisions{cardinalities, {conditions.data(), 3, 3}};

    explicit Problem(std::size_t n) : rows(n * 5) {
        sample(decisions, {1, 0, 0}, {rows.data(), n, 5});
        for (std::size_t i = 0; i < n; ++i) {
            targets.push_back(rows[i * 5] == 2 ? -1 : std::sin(rows[i * 5 + 4]));
        }
    }

    GaussianProcess process(Smoothness smoothness = Smoothness::matern52) const {
        return {cardinalities, {reinterpret_cast<const bool*>(ordered.data()), 5}, smoothness};
    }
    Genotypes x(std::size_t first, std::size_t n) const { return {rows.data() + first * 5, n, 5}; }
    Matrix<const double> y(std::size_t n) const { return {targets.data(), n, 1}; }
};

struct Said {
    std::vector<double> means, variances;

    Said(const GaussianProcess& process, Genotypes rows) : means(rows.rows), variances(rows.rows) {
        process.predict(rows, {means.data(), rows.rows, 1}, variances);
    }
    bool near(const Said& other) const {
        for (std::size_t i = 0; i < means.size(); ++i) {
            if (std::fabs(means[i] - other.means[i]) + std::fabs(variances[i] - other.variances[i]) > 1e-9) {
                return false;
            }
        }
        return true;
    }
};

}  // namespace

TEST_CASE("rows added one by one are rows taken at once, and rows dropped were never there") {
    const Problem problem(61);
    for (const Smoothness smoothness : {Smoothness::matern52, Smoothness::rbf}) {
        GaussianProcess whole = problem.process(smoothness), grown = problem.process(smoothness);
        whole.condition(problem.x(0, 50), problem.y(50));
        grown.condition(problem.x(0, 3), problem.y(3));
        for (std::size_t i = 3; i < 60; ++i) {
            grown.append(problem.x(i, 1));
        }
        for (std::size_t i = 0; i < 10; ++i) {
            grown.drop(50);
        }
        grown.set_targets(problem.y(50));
        CHECK(grown.size() == 50);
        CHECK(Said(whole, problem.x(0, 61)).near(Said(grown, problem.x(0, 61))));
        CHECK(whole.log_likelihood() == doctest::Approx(grown.log_likelihood()).epsilon(1e-9));
        grown.drop(0);
        whole.condition(problem.x(1, 49), {problem.targets.data() + 1, 49, 1});
        CHECK(Said(whole, problem.x(0, 61)).near(Said(grown, problem.x(0, 61))));
        CHECK(grown.targets().rows == 49);
    }
}

TEST_CASE("a fit is more likely than where it starts, and threads change nothing") {
    const Problem problem(320);
    const std::size_t before = get_num_threads();
    std::vector<std::vector<double>> found;
    for (const std::size_t threads : {1u, 3u}) {
        set_num_threads(threads);
        GaussianProcess process = problem.process();
        process.condition(problem.x(0, 320), problem.y(320));
        const double start = process.log_likelihood();
        process.fit(problem.x(0, 320), problem.y(320), {});
        CHECK(process.log_likelihood() > start + 10);
        const Said said(process, problem.x(0, 320));
        found.push_back({process.parameters().begin(), process.parameters().end()});
        found.back().insert(found.back().end(), said.means.begin(), said.means.end());
    }
    set_num_threads(before);
    CHECK(found[0] == found[1]);
}

TEST_CASE("rows that are all active are as likely whether that is known or not") {
    const std::vector<std::int32_t> cardinalities(19, 4);
    const bool ordered[19] = {true, false, true, true, true, true, true, true, true, true,
                              true, true,  true, true, true, true, true, true, true};
    for (const Smoothness smoothness : {Smoothness::matern52, Smoothness::rbf}) {
        for (const std::size_t n : {1, 11, 12, 13, 40}) {
            const GpFeatures features(cardinalities, ordered, smoothness);
            std::vector<std::int32_t> values(n * 19);
            sample({cardinalities, {}}, {3, 0, 0}, {values.data(), n, 19});
            std::vector<double> targets(n);
            for (std::size_t i = 0; i < n; ++i) {
                targets[i] = std::sin(static_cast<double>(i));
            }
            GpRows known, unknown;
            known.append(features, {values.data(), n, 19});
            unknown.append(features, {values.data(), n, 19});
            values[2] = -1;
            unknown.append(features, {values.data(), 1, 19});
            unknown.truncate(features, n);
            CHECK(known.all_active());
            CHECK_FALSE(unknown.all_active());
            const GpPriors priors = default_priors(features);
            GpLikelihood one(features, known, {targets.data(), n, 1}, priors);
            GpLikelihood other(features, unknown, {targets.data(), n, 1}, priors);
            CHECK(one.value(priors.centre) == doctest::Approx(other.value(priors.centre)).epsilon(1e-12));
            std::vector<double> slopes(21), other_slopes(21);
            one.gradient(slopes);
            other.gradient(other_slopes);
            for (std::size_t p = 0; p < 21; ++p) {
                CHECK(slopes[p] == doctest::Approx(other_slopes[p]).epsilon(1e-10));
            }
        }
    }
}

TEST_CASE("what was kept is put back") {
    const Problem problem(30);
    GaussianProcess process = problem.process(), again = problem.process();
    process.condition(problem.x(0, 20), problem.y(20));
    process.append(problem.x(20, 10));
    again.restore(process.genotypes(), process.targets(), process.inverse_factor());
    CHECK(Said(process, problem.x(0, 30)).means == Said(again, problem.x(0, 30)).means);
    CHECK(Said(process, problem.x(0, 30)).variances == Said(again, problem.x(0, 30)).variances);
}

TEST_CASE("a process without rows is the prior") {
    const Problem problem(9);
    const GaussianProcess process = problem.process();
    const Said said(process, problem.x(0, 9));
    for (std::size_t i = 0; i < 9; ++i) {
        CHECK(said.means[i] == 0);
        CHECK(said.variances[i] == doctest::Approx(1));
    }
}

TEST_CASE("candidates are new, well formed and in order") {
    const Problem problem(40);
    GaussianProcess process = problem.process();
    process.fit(problem.x(0, 40), problem.y(40), {});
    const Acquisition acquisition{AcquisitionKind::log_ei, -1.0, 0, nullptr};
    const GpCandidates found =
        search_acquisition(process, problem.decisions, acquisition, problem.x(0, 4), {7, 0, 3}, {}, 50);
    const Genotypes rows{found.rows.data(), found.values.size(), 5};
    CHECK(rows.rows > 10);
    CHECK(first_malformed(problem.decisions, rows) == found.rows.size());
    for (std::size_t i = 0; i < rows.rows; ++i) {
        CHECK((i == 0 || found.values[i] <= found.values[i - 1]));
        for (std::size_t k = 0; k < 40; ++k) {
            CHECK_FALSE(std::equal(rows.row(i), rows.row(i) + 5, problem.rows.data() + k * 5));
        }
    }
}

TEST_CASE("wrong arguments are named") {
    const Problem problem(10);
    GaussianProcess process = problem.process();
    CHECK(has(refusal([&] { process.fit(problem.x(0, 0), problem.y(0), {}); }), "rows is empty"));
    CHECK(has(refusal([&] { process.fit(problem.x(0, 5), problem.y(4), {}); }), "targets must have 5 rows"));
    CHECK(has(refusal([&] { process.fit(problem.x(0, 5), problem.y(5), {.starts = 0}); }), "starts must be"));
    CHECK(has(refusal([&] { process.drop(0); }), "i must be below 0"));
    CHECK(has(refusal([&] { process.truncate(1); }), "size must be at most 0"));
    const std::vector<std::int32_t> bad{0, 0, 5, 0, 0};
    CHECK(has(refusal([&] { process.append({bad.data(), 1, 5}); }), "rows row 0, decision 2"));
    CHECK(has(refusal([&] { process.append({bad.data(), 1, 4}); }), "rows must have one column"));
}

TEST_CASE("the logarithm of an expected excess has no seam") {
    for (double z = -24.9; z > -25.1; z -= 0.001) {
        const double step = log_expected_excess(z) - log_expected_excess(z - 0.001);
        CHECK(step == doctest::Approx(-0.001 * z + 0.00008).epsilon(1e-3));
    }
    CHECK(log_expected_excess(0) == doctest::Approx(std::log(0.3989422804014327)));
    CHECK(log_expected_excess(40) == doctest::Approx(std::log(40)));
}
