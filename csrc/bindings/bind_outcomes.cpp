#include "arguments.hpp"
#include "nasx/outcomes.hpp"

namespace nasx::bindings {
namespace {

py::tuple bind_settle(py::handle losses, py::handle violations, py::handle failed) {
    const auto x = matrix<double>(losses, "losses");
    const auto v = optional_vector<double>(violations, "violations");
    const auto f = optional_vector<bool>(failed, "failed");
    auto losses_out = new_matrix<double>(x.rows, x.cols);
    auto violations_out = new_vector<double>(x.rows);
    const auto settled_losses = matrix_of(losses_out);
    const auto settled_violations = span_of(violations_out);
    {
        const py::gil_scoped_release release;
        settle(x, v, f, settled_losses, settled_violations);
    }
    return py::make_tuple(std::move(losses_out), std::move(violations_out));
}

}  // namespace

void register_outcomes(py::module_ module) {
    module.def("settle", &bind_settle, py::arg("losses"), py::arg("violations"), py::arg("failed"),
               "Losses and violations with failed rows made infinite.");
}

}  // namespace nasx::bindings
