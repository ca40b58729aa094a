#include <pybind11/stl.h>

#include <algorithm>
#include <optional>

#include "arguments.hpp"
#include "nasx/genotype_set.hpp"
#include "nasx/neighbors.hpp"
#include "nasx/population.hpp"

namespace nasx::bindings {
namespace {

using IntArray = py::array_t<std::int32_t>;

py::ssize_t bind_first_malformed(py::handle genotypes, py::handle cardinalities, py::handle conditions) {
    const Decisions space = decisions(cardinalities, conditions);
    const auto in = matrix<std::int32_t>(genotypes, "genotypes");
    space.check_width(in, "genotypes");
    const py::gil_scoped_release release;
    const std::size_t place = first_malformed(space, in);
    return place == in.rows * in.cols ? -1 : static_cast<py::ssize_t>(place);
}

IntArray bind_sample(py::handle cardinalities, py::handle conditions, py::ssize_t n, std::uint64_t seed,
                     std::uint32_t generation, std::uint64_t first) {
    const Decisions space = decisions(cardinalities, conditions);
    auto out = new_matrix<std::int32_t>(count(n, "n"), space.size());
    const auto rows = matrix_of(out);
    {
        const py::gil_scoped_release release;
        sample(space, {seed, generation, first}, rows);
    }
    return out;
}

IntArray bind_repair(py::handle genotypes, py::handle cardinalities, py::handle conditions,
                     std::uint64_t seed, std::uint32_t generation, std::uint64_t first) {
    const Decisions space = decisions(cardinalities, conditions);
    const auto in = matrix<std::int32_t>(genotypes, "genotypes");
    auto out = new_matrix<std::int32_t>(in.rows, in.cols);
    const auto rows = matrix_of(out);
    {
        const py::gil_scoped_release release;
        repair(space, in, {seed, generation, first}, rows);
    }
    return out;
}

IntArray bind_mutate(py::handle genotypes, py::handle cardinalities, py::handle conditions, py::handle rates,
                     std::uint64_t seed, std::uint32_t generation, std::uint64_t first) {
    const Decisions space = decisions(cardinalities, conditions);
    const auto in = matrix<std::int32_t>(genotypes, "genotypes");
    const auto probabilities = vector<double>(rates, "rates");
    auto out = new_matrix<std::int32_t>(in.rows, in.cols);
    const auto rows = matrix_of(out);
    {
        const py::gil_scoped_release release;
        mutate(space, in, probabilities, {seed, generation, first}, rows);
    }
    return out;
}

IntArray bind_crossover(py::handle a, py::handle b, py::handle cardinalities, py::handle conditions,
                        const std::string& kind, py::ssize_t points, double probability, std::uint64_t seed,
                        std::uint32_t generation, std::uint64_t first) {
    const Decisions space = decisions(cardinalities, conditions);
    const auto left = matrix<std::int32_t>(a, "a");
    const auto right = matrix<std::int32_t>(b, "b");
    const Crossover how = crossover_settings(kind, points, probability);
    auto out = new_matrix<std::int32_t>(left.rows, left.cols);
    const auto rows = matrix_of(out);
    {
        const py::gil_scoped_release release;
        crossover(space, left, right, how, {seed, generation, first}, rows);
    }
    return out;
}

IntArray bind_mutate_one(py::handle genotypes, py::handle cardinalities, py::handle conditions,
                         std::uint64_t seed, std::uint32_t generation, std::uint64_t first) {
    const Decisions space = decisions(cardinalities, conditions);
    const auto in = matrix<std::int32_t>(genotypes, "genotypes");
    auto out = new_matrix<std::int32_t>(in.rows, in.cols);
    const auto rows = matrix_of(out);
    {
        const py::gil_scoped_release release;
        mutate_one(space, in, {seed, generation, first}, rows);
    }
    return out;
}

IntArray bind_tournament(py::handle keys, py::handle crowding, py::ssize_t n, py::ssize_t size,
                         std::uint64_t seed, std::uint32_t generation, std::uint64_t first) {
    const Contestants all = contestants(keys, crowding);
    const std::size_t drawn = count(size, "size");
    auto out = new_vector<std::int32_t>(count(n, "n"));
    const auto winners = span_of(out);
    {
        const py::gil_scoped_release release;
        tournament(all, drawn, {seed, generation, first}, winners);
    }
    return out;
}

py::array_t<std::uint64_t> bind_hash_rows(py::handle genotypes) {
    const auto in = matrix<std::int32_t>(genotypes, "genotypes");
    auto out = new_vector<std::uint64_t>(in.rows);
    const auto hashes = span_of(out);
    {
        const py::gil_scoped_release release;
        hash_rows(in, hashes);
    }
    return out;
}

IntArray bind_neighbors(py::handle genotype, py::handle cardinalities, py::handle conditions,
                        py::handle adjacent, std::optional<py::ssize_t> n, bool shuffled, std::uint64_t seed,
                        std::uint32_t generation, std::uint64_t first) {
    const Decisions space = decisions(cardinalities, conditions);
    const auto row = vector<std::int32_t>(genotype, "genotype");
    const auto steps = optional_vector<bool>(adjacent, "adjacent");
    const Neighborhood neighborhood(space, row, steps.value_or(std::span<const bool>{}));
    const std::size_t wanted = n ? count(*n, "n") : neighborhood.size();
    auto out = new_matrix<std::int32_t>(std::min(wanted, neighborhood.size()), space.size());
    const auto rows = matrix_of(out);
    {
        const py::gil_scoped_release release;
        neighborhood.write(shuffled ? NeighborOrder::shuffled : NeighborOrder::by_decision,
                           {seed, generation, first}, rows);
    }
    return out;
}

py::tuple bind_unique(py::handle genotypes) {
    const auto in = matrix<std::int32_t>(genotypes, "genotypes");
    auto places_out = new_vector<std::int64_t>(in.rows);
    const auto places = span_of(places_out);
    std::vector<std::int64_t> first;
    {
        const py::gil_scoped_release release;
        first = unique(in, places);
    }
    return py::make_tuple(py::array_t<std::int64_t>(static_cast<py::ssize_t>(first.size()), first.data()),
                          std::move(places_out));
}

// A set is served under the GIL, which is its lock: these calls are short, and a child forked meanwhile finds
// no lock held.
py::array_t<bool> bind_insert(GenotypeSet& set, py::handle rows, std::optional<py::ssize_t> most) {
    const auto in = matrix<std::int32_t>(rows, "rows");
    auto out = new_vector<bool>(in.rows);
    const std::size_t taken =
        most ? set.insert(in, span_of(out), count(*most, "most")) : set.insert(in, span_of(out));
    if (taken < in.rows) {
        out.resize({static_cast<py::ssize_t>(taken)});
    }
    return out;
}

py::array_t<bool> bind_mark(GenotypeSet& set, py::handle rows) {
    const auto in = matrix<std::int32_t>(rows, "rows");
    auto out = new_vector<bool>(in.rows);
    set.mark(in, span_of(out));
    return out;
}

py::array_t<bool> bind_contains(const GenotypeSet& set, py::handle rows) {
    const auto in = matrix<std::int32_t>(rows, "rows");
    auto out = new_vector<bool>(in.rows);
    const auto mask = span_of(out);
    set.contains(in, mask);
    return out;
}

py::array_t<std::int64_t> bind_find(const GenotypeSet& set, py::handle rows) {
    const auto in = matrix<std::int32_t>(rows, "rows");
    auto out = new_vector<std::int64_t>(in.rows);
    const auto places = span_of(out);
    set.find(in, places);
    return out;
}

py::array_t<double> bind_look_up(py::handle genotypes, py::handle cardinalities, py::handle table) {
    const auto in = matrix<std::int32_t>(genotypes, "genotypes");
    const auto counts = vector<std::int32_t>(cardinalities, "cardinalities");
    const auto known = vector<double>(table, "table");
    auto out = new_vector<double>(in.rows);
    const auto values = span_of(out);
    {
        const py::gil_scoped_release release;
        look_up(in, counts, known, values);
    }
    return out;
}

IntArray bind_rows(const GenotypeSet& set) {
    const std::vector<std::int32_t> rows = set.rows();
    auto out = new_matrix<std::int32_t>(rows.size() / set.width(), set.width());
    std::copy(rows.begin(), rows.end(), out.mutable_data());
    return out;
}

py::array_t<bool> bind_marks(const GenotypeSet& set) {
    auto out = new_vector<bool>(set.size());
    set.marks(span_of(out));
    return out;
}

}  // namespace

void register_population(py::module_ module) {
    module.def("first_malformed", &bind_first_malformed, py::arg("genotypes"), py::arg("cardinalities"),
               py::arg("conditions"));
    module.def("sample", &bind_sample, py::arg("cardinalities"), py::arg("conditions"), py::arg("n"),
               py::arg("seed"), py::arg("generation"), py::arg("first"), "Random genotypes.");
    module.def("repair", &bind_repair, py::arg("genotypes"), py::arg("cardinalities"), py::arg("conditions"),
               py::arg("seed"), py::arg("generation"), py::arg("first"), "Canonical genotypes.");
    module.def("mutate", &bind_mutate, py::arg("genotypes"), py::arg("cardinalities"), py::arg("conditions"),
               py::arg("rates"), py::arg("seed"), py::arg("generation"), py::arg("first"),
               "Changed genotypes.");
    module.def("crossover", &bind_crossover, py::arg("a"), py::arg("b"), py::arg("cardinalities"),
               py::arg("conditions"), py::arg("kind"), py::arg("points"), py::arg("probability"),
               py::arg("seed"), py::arg("generation"), py::arg("first"), "Children of pairs of rows.");
    module.def("mutate_one", &bind_mutate_one, py::arg("genotypes"), py::arg("cardinalities"),
               py::arg("conditions"), py::arg("seed"), py::arg("generation"), py::arg("first"),
               "Genotypes with one decision changed.");
    module.def("neighbors", &bind_neighbors, py::arg("genotype"), py::arg("cardinalities"),
               py::arg("conditions"), py::arg("adjacent"), py::arg("n"), py::arg("shuffled"), py::arg("seed"),
               py::arg("generation"), py::arg("first"), "Genotypes that differ in one decision.");
    module.def("tournament", &bind_tournament, py::arg("keys"), py::arg("crowding"), py::arg("n"),
               py::arg("size"), py::arg("seed"), py::arg("generation"), py::arg("first"),
               "Indices of winners.");
    module.def("look_up", &bind_look_up, py::arg("genotypes"), py::arg("cardinalities"), py::arg("table"),
               "The value of each row in a table with one axis a decision.");
    module.def("hash_rows", &bind_hash_rows, py::arg("genotypes"), "A 64-bit hash of each row.");
    module.def("unique", &bind_unique, py::arg("genotypes"), "First rows, and the place of each row.");
    py::class_<GenotypeSet>(module, "GenotypeSet", "Genotypes in the order in which they came.")
        .def(py::init([](py::ssize_t width) { return std::make_unique<GenotypeSet>(count(width, "width")); }),
             py::arg("width"))
        .def("insert", &bind_insert, py::arg("rows"), py::arg("most") = py::none())
        .def("mark", &bind_mark, py::arg("rows"))
        .def("contains", &bind_contains, py::arg("rows"))
        .def("find", &bind_find, py::arg("rows"))
        .def("rows", &bind_rows)
        .def("marks", &bind_marks)
        .def("__len__", &GenotypeSet::size)
        .def_property_readonly("marked", &GenotypeSet::marked)
        .def_property_readonly("width", &GenotypeSet::width);
}

}  // namespace nasx::bindings
