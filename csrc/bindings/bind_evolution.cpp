#include <algorithm>
#include <string>

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

// A maker and its arguments, whose arrays it looks at: they must not change meanwhile.
template <class Maker>
struct Bound {
    py::tuple arguments;
    Maker maker;

    void operator()(std::uint64_t first, MutableGenotypes out) const {
        const py::gil_scoped_release release;
        maker.make(first, out);
    }
};

}  // namespace
}  // namespace nasx::bindings

template <class Maker>
struct pybind11::detail::type_caster<nasx::bindings::Bound<Maker>>
    : nasx::bindings::InitialisedCaster<nasx::bindings::Bound<Maker>> {};

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
py::array_t<std::int32_t> make(const Bound<Maker>& bound, py::ssize_t n, std::uint64_t first) {
    auto out = new_matrix<std::int32_t>(count(n, "n"), bound.maker.width());
    bound(first, matrix_of(out));
    return out;
}

template <class Maker>
py::tuple make_new(const Bound<Maker>& bound, py::ssize_t n, std::uint64_t first, GenotypeSet& seen,
                   std::uint64_t rejected, std::uint64_t patience) {
    if (seen.width() != bound.maker.width()) {
        throw py::value_error("seen must hold genotypes of " + std::to_string(bound.maker.width()) +
                              " decisions; got " + std::to_string(seen.width()));
    }
    const Proposed found = propose_new(seen, count(n, "n"), first, rejected, patience, bound);
    auto out = new_matrix<std::int32_t>(found.rows.size() / seen.width(), seen.width());
    std::copy(found.rows.begin(), found.rows.end(), out.mutable_data());
    return py::make_tuple(std::move(out), found.count, found.rejected);
}

template <class Maker>
py::class_<Bound<Maker>> maker_class(py::module_ module, const char* name, const char* what) {
    return py::class_<Bound<Maker>>(module, name, what)
        .def("make", &make<Maker>, py::arg("n"), py::arg("first"), "Children, by their numbers.")
        .def("make_new", &make_new<Maker>, py::arg("n"), py::arg("first"), py::arg("seen"),
             py::arg("rejected"), py::arg("patience"),
             "Children that are new, how many were made, and how many of the last were not new.")
        .def("__reduce__", [](const py::object& self) {
            return py::make_tuple(py::type::of(self), self.cast<const Bound<Maker>&>().arguments);
        });
}

}  // namespace

void register_evolution(py::module_ module) {
    module.def("nsga2_select", &bind_select, py::arg("losses"), py::arg("violations"), py::arg("n"),
               py::arg("seed"), py::arg("generation"), "Survivors, their ranks and crowding distances.");
    maker_class<Offspring>(module, "Offspring", "Makes children of two parents.")
        .def(py::init(&offspring), py::arg("parents"), py::arg("keys"), py::arg("crowding"),
             py::arg("cardinalities"), py::arg("conditions"), py::arg("size"), py::arg("kind"),
             py::arg("points"), py::arg("probability"), py::arg("rates"), py::arg("seed"),
             py::arg("generation"));
    maker_class<Mutants>(module, "Mutants", "Makes children of one parent.")
        .def(py::init(&mutants), py::arg("parents"), py::arg("keys"), py::arg("cardinalities"),
             py::arg("conditions"), py::arg("size"), py::arg("seed"), py::arg("generation"));
}

}  // namespace nasx::bindings
