#include "arguments.hpp"
#include "nasx/latency_table.hpp"

template <>
struct pybind11::detail::type_caster<nasx::LatencyTable>
    : nasx::bindings::InitialisedCaster<nasx::LatencyTable> {};

namespace nasx::bindings {
namespace {

LatencyTable make(py::handle cardinalities, py::handle entries, py::handle pairs, double intercept) {
    const auto matrices = optional_vector<double>(pairs, "pairs");
    return {vector<std::int32_t>(cardinalities, "cardinalities"), vector<double>(entries, "entries"),
            matrices.value_or(std::span<const double>{}), intercept};
}

py::array_t<double> bind_sum(const LatencyTable& table, py::handle genotypes) {
    const auto rows = matrix<std::int32_t>(genotypes, "genotypes");
    auto out = new_vector<double>(rows.rows);
    const auto sums = span_of(out);
    {
        const py::gil_scoped_release release;
        table.sum(rows, sums);
    }
    return out;
}

}  // namespace

void register_latency_table(py::module_ module) {
    py::class_<LatencyTable>(module, "LatencyTable", "Sums over decisions and neighbouring pairs of them.")
        .def(py::init(&make), py::arg("cardinalities"), py::arg("entries"), py::arg("pairs"),
             py::arg("intercept"))
        .def("sum", &bind_sum, py::arg("genotypes"));
}

}  // namespace nasx::bindings
