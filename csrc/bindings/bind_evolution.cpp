#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "arguments.hpp"
#include "nasx/aging_population.hpp"
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

// A maker and its arguments, whose arrays it looks at: they must not change meanwhile.
template <class Maker>
struct Bound {
    py::tuple arguments;
    Maker maker;

    std::size_t width() const { return maker.width(); }
    void make(std::uint64_t first, MutableGenotypes out) const {
        const py::gil_scoped_release release;
        maker.make(first, out);
    }
};

}  // namespace
}  // namespace nasx::bindings

template <class Maker>
struct pybind11::detail::type_caster<nasx::bindings::Bound<Maker>>
    : nasx::bindings::InitialisedCaster<nasx::bindings::Bound<Maker>> {};

template <>
struct pybind11::detail::type_caster<nasx::AgingPopulation>
    : nasx::bindings::InitialisedCaster<nasx::AgingPopulation> {};

namespace nasx::bindings {
namespace {

Bound<Offspring> offspring(const py::object& parents, const py::object& keys, const py::object& crowding,
                           const py::object& cardinalities, const py::object& conditions, py::ssize_t size,
                           const std::string& kind, py::ssize_t points, double probability,
                           const py::object& rates, std::uint64_t seed, std::uint32_t generation) {
    return {py::make_tuple(parents, keys, crowding, cardinalities, conditions, size, kind, points,
                           probability, rates, seed, generation),
            {decisions(cardinalities, conditions), matrix<std::int32_t>(parents, "parents"),
             contestants(keys, crowding), count(size, "size"), crossover_settings(kind, points, probability),
             vector<double>(rates, "rates"), seed, generation}};
}

Bound<Mutants> mutants(const py::object& parents, const py::object& keys, const py::object& cardinalities,
                       const py::object& conditions, py::ssize_t size, std::uint64_t seed,
                       std::uint32_t generation) {
    return {py::make_tuple(parents, keys, cardinalities, conditions, size, seed, generation),
            {decisions(cardinalities, conditions), matrix<std::int32_t>(parents, "parents"),
             contestants(keys, py::none()), count(size, "size"), seed, generation}};
}

template <class Maker>
py::array_t<std::int32_t> make(const Maker& maker, py::ssize_t n, std::uint64_t first) {
    auto out = new_matrix<std::int32_t>(count(n, "n"), maker.width());
    maker.make(first, matrix_of(out));
    return out;
}

template <class Maker>
py::tuple make_new(const Maker& maker, py::ssize_t n, std::uint64_t first, GenotypeSet& seen,
                   std::uint64_t rejected, std::uint64_t patience) {
    check_seen(seen, maker.width());
    const Proposed found =
        propose_new(seen, count(n, "n"), first, rejected, patience,
                    [&](std::uint64_t from, MutableGenotypes out) { maker.make(from, out); });
    auto out = new_matrix<std::int32_t>(found.rows.size() / seen.width(), seen.width());
    std::copy(found.rows.begin(), found.rows.end(), out.mutable_data());
    return py::make_tuple(std::move(out), found.count, found.rejected);
}

template <class Maker, class... Options>
py::class_<Maker, Options...> maker_class(py::module_ module, const char* name, const char* what) {
    return py::class_<Maker, Options...>(module, name, what)
        .def("make", &make<Maker>, py::arg("n"), py::arg("first"), "Children, by their numbers.")
        .def("make_new", &make_new<Maker>, py::arg("n"), py::arg("first"), py::arg("seen"),
             py::arg("rejected"), py::arg("patience"),
             "Children that are new, how many were made, and how many of the last were not new.");
}

template <class Maker>
py::tuple reduce(const py::object& self) {
    return py::make_tuple(py::type::of(self), self.cast<const Bound<Maker>&>().arguments);
}

// A population changes, and so is served under the GIL, like a set.
std::unique_ptr<AgingPopulation> aging_population(py::handle cardinalities, py::handle conditions,
                                                  py::ssize_t population_size, py::ssize_t sample_size,
                                                  py::ssize_t objectives, std::uint64_t seed) {
    const auto rows =
        conditions.is_none() ? Matrix<const std::int32_t>{} : matrix<std::int32_t>(conditions, "conditions");
    return std::make_unique<AgingPopulation>(
        vector<std::int32_t>(cardinalities, "cardinalities"), rows,
        AgingPopulation::Settings{count(population_size, "population_size"),
                                  count(sample_size, "sample_size"), count(objectives, "objectives"), seed});
}

void enter(AgingPopulation& population, py::handle x, py::handle losses, py::handle violations) {
    population.enter(matrix<std::int32_t>(x, "x"), matrix<double>(losses, "losses"),
                     vector<double>(violations, "violations"));
}

// False, and nothing done, unless everything is as the core has it: the caller converts it or refuses it by
// name.
bool tell(AgingPopulation& population, py::handle x, py::handle losses, py::handle violations,
          py::handle failed, py::handle seen) {
    const auto told =
        plain_results(x, losses, violations, failed, population.width(), population.objectives());
    return told && population.tell(told->x, told->losses, told->violations, told->failed,
                                   optional_set(seen, population.width()));
}

template <class T>
py::array_t<T> copy_of(Matrix<const T> rows) {
    auto out = new_matrix<T>(rows.rows, rows.cols);
    std::ranges::copy(rows.span(), out.mutable_data());
    return out;
}

template <class T>
py::array_t<T> copy_of(std::span<const T> values) {
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

py::tuple state_of(const AgingPopulation& population) {
    const AgingPopulation::Settings& settings = population.settings();
    const std::uint64_t numbers[]{settings.population_size, settings.sample_size, settings.objectives,
                                  settings.seed};
    return py::make_tuple(copy_of(population.cardinalities()), copy_of(population.conditions()),
                          copy_of(std::span<const std::uint64_t>(numbers)), copy_of(population.genotypes()),
                          copy_of(population.losses()), copy_of(population.violations()));
}

std::unique_ptr<AgingPopulation> from_state(const py::tuple& state) {
    if (state.size() != 6) {
        throw py::value_error(
            "state must be cardinalities, conditions, settings, genotypes, losses and violations");
    }
    const auto numbers = vector<std::uint64_t>(state[2], "settings");
    if (numbers.size() != 4) {
        throw py::value_error("settings must be four numbers; got " + std::to_string(numbers.size()));
    }
    auto population = std::make_unique<AgingPopulation>(
        vector<std::int32_t>(state[0], "cardinalities"), matrix<std::int32_t>(state[1], "conditions"),
        AgingPopulation::Settings{numbers[0], numbers[1], numbers[2], numbers[3]});
    enter(*population, state[3], state[4], state[5]);
    return population;
}

}  // namespace

void register_evolution(py::module_ module) {
    module.def("nsga2_select", &bind_select, py::arg("losses"), py::arg("violations"), py::arg("n"),
               py::arg("seed"), py::arg("generation"), "Survivors, their ranks and crowding distances.");
    maker_class<Bound<Offspring>>(module, "Offspring", "Makes children of two parents.")
        .def(py::init(&offspring), py::arg("parents"), py::arg("keys"), py::arg("crowding"),
             py::arg("cardinalities"), py::arg("conditions"), py::arg("size"), py::arg("kind"),
             py::arg("points"), py::arg("probability"), py::arg("rates"), py::arg("seed"),
             py::arg("generation"))
        .def("__reduce__", &reduce<Offspring>);
    maker_class<Bound<Mutants>>(module, "Mutants", "Makes children of one parent.")
        .def(py::init(&mutants), py::arg("parents"), py::arg("keys"), py::arg("cardinalities"),
             py::arg("conditions"), py::arg("size"), py::arg("seed"), py::arg("generation"))
        .def("__reduce__", &reduce<Mutants>);
    maker_class<AgingPopulation>(module, "AgingPopulation", "Members, of which the oldest leave.")
        .def(py::init(&aging_population), py::arg("cardinalities"), py::arg("conditions"),
             py::arg("population_size"), py::arg("sample_size"), py::arg("objectives"), py::arg("seed"))
        .def("enter", &enter, py::arg("x"), py::arg("losses"), py::arg("violations"), "Take members in.")
        .def("tell", &tell, py::arg("x"), py::arg("losses"), py::arg("violations"), py::arg("failed"),
             py::arg("seen"), "Settle results and take in what was not told before, or do nothing.")
        .def(py::pickle(&state_of, &from_state))
        .def_property_readonly("size", &AgingPopulation::size)
        .def_property_readonly("genotypes", [](const AgingPopulation& p) { return copy_of(p.genotypes()); })
        .def_property_readonly("losses", [](const AgingPopulation& p) { return copy_of(p.losses()); })
        .def_property_readonly("violations", [](const AgingPopulation& p) { return copy_of(p.violations()); })
        .def_property_readonly("keys", [](const AgingPopulation& p) { return copy_of(p.keys()); });
}

}  // namespace nasx::bindings
