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

// Nothing, and nothing done, unless everything is as the core has it.
py::object bind_receive(py::handle x, py::handle losses, py::handle violations, py::handle failed,
                        py::ssize_t objectives, py::handle cardinalities, py::handle conditions,
                        py::handle seen) {
    const Decisions space = decisions(cardinalities, conditions);
    const auto told =
        plain_results(x, losses, violations, failed, space.size(), count(objectives, "objectives"));
    if (!told || first_malformed(space, told->x) < told->x.rows * told->x.cols) {
        return py::none();
    }
    GenotypeSet* const set = optional_set(seen, space.size());
    auto losses_out = new_matrix<double>(told->losses.rows, told->losses.cols);
    auto violations_out = new_vector<double>(told->losses.rows);
    settle(told->losses, told->violations, told->failed, matrix_of(losses_out), span_of(violations_out));
    py::object first = py::none();
    std::size_t added = 0;
    if (set != nullptr) {
        auto first_out = new_vector<bool>(told->x.rows);
        const std::size_t before = set->size();
        set->mark(told->x, span_of(first_out));
        added = set->size() - before;
        first = std::move(first_out);
    }
    return py::make_tuple(std::move(losses_out), std::move(violations_out), std::move(first), added);
}

}  // namespace

void register_outcomes(py::module_ module) {
    module.def("settle", &bind_settle, py::arg("losses"), py::arg("violations"), py::arg("failed"),
               "Losses and violations with failed rows made infinite.");
    module.def(
        "receive", &bind_receive, py::arg("x"), py::arg("losses"), py::arg("violations"), py::arg("failed"),
        py::arg("objectives"), py::arg("cardinalities"), py::arg("conditions"), py::arg("seen"),
        "Check and settle results and mark their rows: losses, violations, which rows had no mark, how "
        "many rows were new; None, and nothing done, for what is not plain and well-formed.");
}

}  // namespace nasx::bindings
