#include <algorithm>

#include "arguments.hpp"
#include "nasx/evolution.hpp"

namespace nasx::bindings {
namespace {

py::tuple bind_select(py::handle losses, py::handle violations, py::ssize_t n, std::uint64_t seed,
                      std::uint32_t generation) {
    const auto x = matrix<double>(losses, "losses");
    const auto v = optional_vector<double>(violations, "violations");
    const std::size_t kept = std::min(count(n, "n"), x.rows);
    auto rows_out = new_vector<std::int32_t>(kept);
    auto ranks_out = new_vector<std::int32_t>(kept);
    auto crowding_out = new_vector<double>(kept);
    const auto rows = span_of(rows_out);
    const auto ranks = span_of(ranks_out);
    const auto crowding = span_of(crowding_out);
    {
        const py::gil_scoped_release release;
        nsga2_select(x, v, seed, generation, rows, ranks, crowding);
    }
    return py::make_tuple(std::move(rows_out), std::move(ranks_out), std::move(crowding_out));
}

py::array_t<std::int32_t> bind_offspring(py::handle parents, py::handle keys, py::handle crowding,
                                         py::handle cardinalities, py::handle conditions, py::ssize_t n,
                                         py::ssize_t size, const std::string& kind, py::ssize_t points,
                                         double probability, py::handle rates, std::uint64_t seed,
                                         std::uint32_t generation, std::uint64_t first) {
    const auto p = matrix<std::int32_t>(parents, "parents");
    const Contestants all = contestants(keys, crowding);
    const std::size_t drawn = count(size, "size");
    const Decisions space = decisions(cardinalities, conditions);
    const Crossover how = crossover_settings(kind, points, probability);
    const auto probabilities = vector<double>(rates, "rates");
    auto out = new_matrix<std::int32_t>(count(n, "n"), space.size());
    const auto children = matrix_of(out);
    {
        const py::gil_scoped_release release;
        offspring(space, p, all, drawn, how, probabilities, {seed, generation, first}, children);
    }
    return out;
}

py::array_t<std::int32_t> bind_mutants(py::handle parents, py::handle keys, py::handle cardinalities,
                                       py::handle conditions, py::ssize_t n, py::ssize_t size,
                                       std::uint64_t seed, std::uint32_t generation, std::uint64_t first) {
    const auto p = matrix<std::int32_t>(parents, "parents");
    const Contestants all = contestants(keys, py::none());
    const std::size_t drawn = count(size, "size");
    const Decisions space = decisions(cardinalities, conditions);
    auto out = new_matrix<std::int32_t>(count(n, "n"), space.size());
    const auto children = matrix_of(out);
    {
        const py::gil_scoped_release release;
        mutants(space, p, all, drawn, {seed, generation, first}, children);
    }
    return out;
}

}  // namespace

void register_evolution(py::module_ module) {
    module.def("nsga2_select", &bind_select, py::arg("losses"), py::arg("violations"), py::arg("n"),
               py::arg("seed"), py::arg("generation"), "Survivors, their ranks and crowding distances.");
    module.def("offspring", &bind_offspring, py::arg("parents"), py::arg("keys"), py::arg("crowding"),
               py::arg("cardinalities"), py::arg("conditions"), py::arg("n"), py::arg("size"),
               py::arg("kind"), py::arg("points"), py::arg("probability"), py::arg("rates"), py::arg("seed"),
               py::arg("generation"), py::arg("first"), "Children of two parents.");
    module.def("mutants", &bind_mutants, py::arg("parents"), py::arg("keys"), py::arg("cardinalities"),
               py::arg("conditions"), py::arg("n"), py::arg("size"), py::arg("seed"), py::arg("generation"),
               py::arg("first"), "Children of one parent.");
}

}  // namespace nasx::bindings
