#include "arguments.hpp"
#include "nasx/pareto.hpp"

namespace nasx::bindings {
namespace {

py::array_t<std::int32_t> bind_rank(py::handle losses, py::handle violations) {
    const auto x = matrix<double>(losses, "losses");
    const auto v = optional_vector<double>(violations, "violations");
    auto out = new_vector<std::int32_t>(x.rows);
    const auto ranks = span_of(out);
    {
        const py::gil_scoped_release release;
        rank(x, v, ranks);
    }
    return out;
}

py::array_t<bool> bind_front(py::handle losses) {
    const auto x = matrix<double>(losses, "losses");
    auto out = new_vector<bool>(x.rows);
    const auto mask = span_of(out);
    {
        const py::gil_scoped_release release;
        front(x, mask);
    }
    return out;
}

py::array_t<double> bind_crowding_distance(py::handle losses, py::handle ranks) {
    const auto x = matrix<double>(losses, "losses");
    const auto r = vector<std::int32_t>(ranks, "ranks");
    auto out = new_vector<double>(x.rows);
    const auto distances = span_of(out);
    {
        const py::gil_scoped_release release;
        crowding_distance(x, r, distances);
    }
    return out;
}

}  // namespace

void register_pareto(py::module_ module) {
    module.def("rank", &bind_rank, py::arg("losses"), py::arg("violations"),
               "Front of each row, 0 the first.");
    module.def("front", &bind_front, py::arg("losses"), "Whether no other row dominates the row.");
    module.def("crowding_distance", &bind_crowding_distance, py::arg("losses"), py::arg("ranks"),
               "Crowding distance of each row in its front.");
}

}  // namespace nasx::bindings
