#include <pybind11/stl.h>

#include <memory>

#include "bound_process.hpp"

namespace nasx::bindings {
namespace {

void bind_fit(BoundProcess& bound, py::handle rows, py::handle targets, bool priors, py::ssize_t starts,
              py::ssize_t start_rows, py::ssize_t iterations, double tolerance) {
    const auto x = matrix<std::int32_t>(rows, "rows");
    const auto y = matrix<double>(targets, "targets");
    const GpFitSettings settings{priors, count(starts, "starts"), count(start_rows, "start_rows"),
                                 count(iterations, "iterations"), tolerance};
    const Busy busy(bound);
    const py::gil_scoped_release release;
    bound.process.fit(x, y, settings);
}

void bind_condition(BoundProcess& bound, py::handle rows, py::handle targets) {
    const auto x = matrix<std::int32_t>(rows, "rows");
    const auto y = matrix<double>(targets, "targets");
    const Busy busy(bound);
    const py::gil_scoped_release release;
    bound.process.condition(x, y);
}

void bind_append(BoundProcess& bound, py::handle rows) {
    const auto x = matrix<std::int32_t>(rows, "rows");
    const Busy busy(bound);
    const py::gil_scoped_release release;
    bound.process.append(x);
}

void bind_truncate(BoundProcess& bound, py::ssize_t size) {
    const Busy busy(bound);
    bound.process.truncate(count(size, "size"));
}

void bind_drop(BoundProcess& bound, py::ssize_t i) {
    const std::size_t place = count(i, "i");
    const Busy busy(bound);
    const py::gil_scoped_release release;
    bound.process.drop(place);
}

void bind_set_targets(BoundProcess& bound, py::handle targets) {
    const auto y = matrix<double>(targets, "targets");
    const Busy busy(bound);
    const py::gil_scoped_release release;
    bound.process.set_targets(y);
}

void bind_set_parameters(BoundProcess& bound, py::handle parameters) {
    const Busy busy(bound);
    bound.process.set_parameters(vector<double>(parameters, "parameters"));
}

py::tuple bind_predict(const BoundProcess& bound, py::handle rows) {
    const auto x = matrix<std::int32_t>(rows, "rows");
    auto means = new_matrix<double>(x.rows, bound.process.outputs());
    auto variances = new_vector<double>(x.rows);
    const auto means_out = matrix_of(means);
    const auto variances_out = span_of(variances);
    {
        const Busy busy(bound);
        const py::gil_scoped_release release;
        bound.process.predict(x, means_out, variances_out);
    }
    return py::make_tuple(std::move(means), std::move(variances));
}

Floats bind_sample(const BoundProcess& bound, py::handle rows, py::ssize_t draws, std::uint64_t seed,
                   std::uint32_t generation, std::uint64_t first) {
    const auto x = matrix<std::int32_t>(rows, "rows");
    auto out = new_matrix<double>(count(draws, "draws"), x.rows);
    const auto to = matrix_of(out);
    {
        const Busy busy(bound);
        const py::gil_scoped_release release;
        bound.process.sample(x, {seed, generation, first}, to);
    }
    return out;
}

Floats bind_covariance(const BoundProcess& bound, py::handle rows) {
    const auto x = matrix<std::int32_t>(rows, "rows");
    auto out = new_matrix<double>(x.rows, x.rows);
    const auto to = matrix_of(out);
    {
        const Busy busy(bound);
        const py::gil_scoped_release release;
        bound.process.prior_covariance(x, to);
    }
    return out;
}

// The value and gradient that a fit climbs, for tests.
py::tuple bind_objective(const BoundProcess& bound, py::handle rows, py::handle targets,
                         py::handle parameters, bool priors) {
    const auto x = matrix<std::int32_t>(rows, "rows");
    const auto y = matrix<double>(targets, "targets");
    const auto p = vector<double>(parameters, "parameters");
    auto gradient = new_vector<double>(p.size());
    const auto slopes = span_of(gradient);
    double value = 0;
    {
        const Busy busy(bound);
        const py::gil_scoped_release release;
        value = bound.process.objective(x, y, p, priors, slopes);
    }
    return py::make_tuple(value, std::move(gradient));
}

py::tuple bind_search(const BoundProcess& bound, py::handle cardinalities, py::handle conditions,
                      const std::string& acquisition, double best, double deviations, py::handle points,
                      py::handle reference, py::handle starts, py::ssize_t random, py::ssize_t wanted,
                      std::uint64_t seed, std::uint64_t first, bool repeats) {
    const Decisions space = decisions(cardinalities, conditions);
    const auto from = matrix<std::int32_t>(starts, "starts");
    const GpSearchSettings settings = search_settings(random, repeats);
    Acquisition how;
    how.best = best;
    how.deviations = deviations;
    std::unique_ptr<ExpectedArea> area;
    if (acquisition == "log_ehvi") {
        const auto worst = vector<double>(reference, "reference");
        const auto known = matrix<double>(points, "points");
        if (worst.size() != 2 || known.cols != 2) {
            throw py::value_error("points and reference must be of two losses; got " +
                                  std::to_string(known.cols) + " and " + std::to_string(worst.size()));
        }
        area = std::make_unique<ExpectedArea>(known, worst);
        how.kind = AcquisitionKind::log_ehvi;
        how.area = area.get();
    } else if (acquisition == "ucb") {
        how.kind = AcquisitionKind::ucb;
    } else if (acquisition != "log_ei") {
        throw py::value_error("acquisition must be 'log_ei', 'ucb' or 'log_ehvi'; got '" + acquisition + "'");
    }
    GpCandidates found;
    const std::size_t most = count(wanted, "wanted");
    {
        const Busy busy(bound);
        const py::gil_scoped_release release;
        found = search_acquisition(bound.process, space, how, from, {seed, 0, first}, settings, most);
    }
    return py::make_tuple(copy_matrix<std::int32_t>({found.rows.data(), found.values.size(), space.size()}),
                          copy_vector(found.values));
}

py::array_t<std::int32_t> bind_first_candidates(const BoundProcess& bound, py::handle cardinalities,
                                                py::handle conditions, py::handle starts, py::ssize_t random,
                                                std::uint64_t seed, std::uint64_t first, bool repeats) {
    const Decisions space = decisions(cardinalities, conditions);
    const Busy busy(bound);
    const std::vector<std::int32_t> rows =
        first_candidates(bound.process, space, matrix<std::int32_t>(starts, "starts"), {seed, 0, first},
                         search_settings(random, repeats));
    return copy_matrix<std::int32_t>({rows.data(), rows.size() / space.size(), space.size()});
}

Floats bind_expected_improvement(py::handle means, py::handle variances, double best) {
    const auto mean = vector<double>(means, "means"), variance = vector<double>(variances, "variances");
    if (mean.size() != variance.size()) {
        throw py::value_error("means and variances must have one length; got " + std::to_string(mean.size()) +
                              " and " + std::to_string(variance.size()));
    }
    auto out = new_vector<double>(mean.size());
    const Acquisition how{AcquisitionKind::log_ei, best, 0, nullptr};
    for (std::size_t i = 0; i < mean.size(); ++i) {
        out.mutable_data()[i] = how.value(&mean[i], variance[i]);
    }
    return out;
}

Floats bind_expected_area(py::handle means, py::handle variances, py::handle points, py::handle reference) {
    const auto mean = matrix<double>(means, "means"), known = matrix<double>(points, "points");
    const auto variance = vector<double>(variances, "variances");
    const auto worst = vector<double>(reference, "reference");
    if (mean.cols != 2 || known.cols != 2 || worst.size() != 2 || mean.rows != variance.size()) {
        throw py::value_error("means, points and reference must be of two losses, and variances one a row");
    }
    const ExpectedArea area(known, worst);
    const Acquisition how{AcquisitionKind::log_ehvi, 0, 0, &area};
    auto out = new_vector<double>(mean.rows);
    for (std::size_t i = 0; i < mean.rows; ++i) {
        out.mutable_data()[i] = how.value(mean.row(i), variance[i]);
    }
    return out;
}

}  // namespace

void register_gaussian_process(py::module_ module) {
    py::class_<BoundProcess>(module, "Process", "A Gaussian process over genotypes.")
        .def(py::init<py::handle, py::handle, const std::string&>(), py::arg("cardinalities"),
             py::arg("ordered"), py::arg("kernel"))
        .def("fit", &bind_fit, py::arg("rows"), py::arg("targets"), py::arg("priors"), py::arg("starts"),
             py::arg("start_rows"), py::arg("iterations"), py::arg("tolerance"))
        .def("condition", &bind_condition, py::arg("rows"), py::arg("targets"))
        .def("append", &bind_append, py::arg("rows"))
        .def("truncate", &bind_truncate, py::arg("size"))
        .def("drop", &bind_drop, py::arg("i"))
        .def("set_targets", &bind_set_targets, py::arg("targets"))
        .def("set_parameters", &bind_set_parameters, py::arg("parameters"))
        .def("parameters", [](const BoundProcess& b) { return copy_vector(b.process.parameters()); })
        .def("rows", [](const BoundProcess& b) { return copy_matrix(b.process.genotypes()); })
        .def("targets", [](const BoundProcess& b) { return copy_matrix(b.process.targets()); })
        .def("log_likelihood", [](const BoundProcess& b) { return b.process.log_likelihood(); })
        .def("predict", &bind_predict, py::arg("rows"))
        .def("sample", &bind_sample, py::arg("rows"), py::arg("draws"), py::arg("seed"),
             py::arg("generation"), py::arg("first"))
        .def("prior_covariance", &bind_covariance, py::arg("rows"))
        .def("objective", &bind_objective, py::arg("rows"), py::arg("targets"), py::arg("parameters"),
             py::arg("priors"))
        .def("search", &bind_search, py::arg("cardinalities"), py::arg("conditions"), py::arg("acquisition"),
             py::arg("best"), py::arg("deviations"), py::arg("points"), py::arg("reference"),
             py::arg("starts"), py::arg("random"), py::arg("wanted"), py::arg("seed"), py::arg("first"),
             py::arg("repeats"))
        .def("first_candidates", &bind_first_candidates, py::arg("cardinalities"), py::arg("conditions"),
             py::arg("starts"), py::arg("random"), py::arg("seed"), py::arg("first"), py::arg("repeats"))
        .def("__len__", [](const BoundProcess& b) { return b.process.size(); })
        .def(py::pickle(
            [](const BoundProcess& b) {
                const GaussianProcess& p = b.process;
                return py::make_tuple(b.arguments, copy_vector(p.parameters()), copy_matrix(p.genotypes()),
                                      copy_matrix(p.targets()), copy_vector(p.inverse_factor()));
            },
            [](const py::tuple& state) {
                if (state.size() != 5 || !py::isinstance<py::tuple>(state[0]) || py::len(state[0]) != 3) {
                    throw py::value_error(
                        "state must be the arguments, parameters, rows, targets and the inverse factor");
                }
                const py::tuple a = state[0];
                std::string kernel;
                try {
                    kernel = a[2].cast<std::string>();
                } catch (const py::cast_error&) {
                    throw py::type_error("state: kernel must be a text");
                }
                auto made = std::make_unique<BoundProcess>(a[0], a[1], kernel);
                bind_set_parameters(*made, state[1]);
                made->process.restore(matrix<std::int32_t>(state[2], "rows"),
                                      matrix<double>(state[3], "targets"),
                                      vector<double>(state[4], "inverse_factor"));
                return made;
            }));
    module.def("log_expected_improvement", &bind_expected_improvement, py::arg("means"), py::arg("variances"),
               py::arg("best"));
    module.def("log_expected_area", &bind_expected_area, py::arg("means"), py::arg("variances"),
               py::arg("points"), py::arg("reference"));
    register_gp_ensemble(module);
}

}  // namespace nasx::bindings
