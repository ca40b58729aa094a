#include <algorithm>
#include <memory>

#include "arguments.hpp"
#include "nasx/parzen.hpp"

namespace nasx::bindings {
namespace {

// A history with what is needed to make it again.
struct BoundHistory {
    py::tuple arguments;
    ParzenHistory history;

    BoundHistory(py::handle cardinalities, py::handle conditions, py::handle ordered, bool joint,
                 bool equal_good)
        : arguments(py::make_tuple(cardinalities, conditions, ordered, joint, equal_good)),
          history(vector<std::int32_t>(cardinalities, "cardinalities"),
                  conditions.is_none() ? Matrix<const std::int32_t>{}
                                       : matrix<std::int32_t>(conditions, "conditions"),
                  vector<bool>(ordered, "ordered"), {joint, equal_good}) {}
};

}  // namespace
}  // namespace nasx::bindings

template <>
struct pybind11::detail::type_caster<nasx::bindings::BoundHistory>
    : nasx::bindings::InitialisedCaster<nasx::bindings::BoundHistory> {};

namespace nasx::bindings {
namespace {

// A history is served under the GIL, which is its lock.
void bind_append(BoundHistory& bound, py::handle rows) {
    bound.history.append(matrix<std::int32_t>(rows, "rows"));
}

void bind_set_good(BoundHistory& bound, py::handle indices) {
    bound.history.set_good(vector<std::int64_t>(indices, "indices"));
}

py::tuple bind_propose(const BoundHistory& bound, py::ssize_t candidates, std::uint64_t seed,
                       std::uint32_t generation, std::uint64_t first) {
    const std::size_t n = count(candidates, "candidates");
    auto rows = new_matrix<std::int32_t>(n, bound.history.width());
    auto scores = new_vector<double>(n);
    bound.history.propose({seed, generation, first}, matrix_of(rows), span_of(scores));
    return py::make_tuple(std::move(rows), std::move(scores));
}

py::array_t<double> bind_log_densities(const BoundHistory& bound, py::handle rows) {
    const auto in = matrix<std::int32_t>(rows, "rows");
    auto out = new_matrix<double>(in.rows, 2);
    bound.history.log_densities(in, matrix_of(out));
    return out;
}

py::array_t<std::int32_t> bind_rows(const BoundHistory& bound) {
    const std::vector<std::int32_t> rows = bound.history.rows();
    auto out = new_matrix<std::int32_t>(bound.history.size(), bound.history.width());
    std::copy(rows.begin(), rows.end(), out.mutable_data());
    return out;
}

py::array_t<std::int64_t> bind_good(const BoundHistory& bound) {
    const std::vector<std::int64_t> good = bound.history.good();
    return py::array_t<std::int64_t>(static_cast<py::ssize_t>(good.size()), good.data());
}

}  // namespace

void register_parzen(py::module_ module) {
    py::class_<BoundHistory>(module, "History", "Genotypes, the good ones among them, and their densities.")
        .def(py::init<py::handle, py::handle, py::handle, bool, bool>(), py::arg("cardinalities"),
             py::arg("conditions"), py::arg("ordered"), py::arg("joint"), py::arg("equal_good"))
        .def("append", &bind_append, py::arg("rows"))
        .def("set_good", &bind_set_good, py::arg("indices"))
        .def("propose", &bind_propose, py::arg("candidates"), py::arg("seed"), py::arg("generation"),
             py::arg("first"))
        .def("log_densities", &bind_log_densities, py::arg("rows"))
        .def("rows", &bind_rows)
        .def("good", &bind_good)
        .def("__len__", [](const BoundHistory& bound) { return bound.history.size(); })
        .def(py::pickle(
            [](const BoundHistory& bound) {
                return py::make_tuple(bound.arguments, bind_rows(bound), bind_good(bound));
            },
            [](const py::tuple& state) {
                if (state.size() != 3 || !py::isinstance<py::tuple>(state[0]) || py::len(state[0]) != 5) {
                    throw py::value_error("state must be the arguments, the rows and the good ones' indices");
                }
                const py::tuple a = state[0];
                const auto flag = [&a](std::size_t i) {
                    if (!py::isinstance<py::bool_>(a[i])) {
                        throw py::type_error("state: joint and equal_good must be True or False");
                    }
                    return a[i].cast<bool>();
                };
                auto made = std::make_unique<BoundHistory>(a[0], a[1], a[2], flag(3), flag(4));
                bind_append(*made, state[1]);
                bind_set_good(*made, state[2]);
                return made;
            }));
}

}  // namespace nasx::bindings
