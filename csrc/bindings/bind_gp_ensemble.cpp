#include <algorithm>
#include <memory>
#include <vector>

#include "bound_process.hpp"
#include "nasx/gp_ensemble.hpp"

namespace nasx::bindings {
namespace {

// The processes of a list, all busy while it lives, with their weights and the decisions that they know.
class Experts {
  public:
    Experts(const py::list& processes, py::handle weights, py::handle shared) {
        const auto w = vector<double>(weights, "weights");
        const auto known = matrix<bool>(shared, "shared");
        if (w.size() != processes.size() || known.rows != processes.size()) {
            throw py::value_error("weights and shared must have one entry for each of the " +
                                  std::to_string(processes.size()) + " processes; got " +
                                  std::to_string(w.size()) + " and " + std::to_string(known.rows));
        }
        const std::span bytes(reinterpret_cast<const unsigned char*>(known.data), known.rows * known.cols);
        if (std::ranges::any_of(bytes, [](unsigned char byte) { return byte > 1; })) {
            throw py::value_error("shared must hold only True and False");
        }
        for (std::size_t i = 0; i < processes.size(); ++i) {
            const py::object process = processes[i];
            if (!py::isinstance<BoundProcess>(process)) {
                throw py::type_error("processes must hold nothing but Process; got " +
                                     std::string(Py_TYPE(process.ptr())->tp_name));
            }
            const auto& bound = py::cast<const BoundProcess&>(process);
            for (std::size_t k = 0; k < i; ++k) {
                if (all_[k].process == &bound.process) {
                    throw py::value_error("processes must be different ones; two of them are the same");
                }
            }
            busy_.push_back(std::make_unique<Busy>(bound));
            kept_.push_back(process);
            all_.push_back({&bound.process, w[i], {known.row(i), known.cols}});
        }
    }

    GpEnsemble ensemble() const { return GpEnsemble(all_); }

  private:
    std::vector<py::object> kept_;
    std::vector<std::unique_ptr<Busy>> busy_;
    std::vector<GpExpert> all_;
};

py::tuple bind_ensemble_predict(const py::list& processes, py::handle weights, py::handle shared,
                                py::handle rows) {
    const auto x = matrix<std::int32_t>(rows, "rows");
    const Experts experts(processes, weights, shared);
    const GpEnsemble ensemble = experts.ensemble();
    auto means = new_matrix<double>(x.rows, ensemble.first().outputs());
    auto variances = new_vector<double>(x.rows);
    const auto means_out = matrix_of(means);
    const auto variances_out = span_of(variances);
    {
        const py::gil_scoped_release release;
        ensemble.predict(x, means_out, variances_out);
    }
    return py::make_tuple(std::move(means), std::move(variances));
}

py::tuple bind_ensemble_search(const py::list& processes, py::handle weights, py::handle shared,
                               py::handle cardinalities, py::handle conditions,
                               const std::string& acquisition, double best, double deviations,
                               py::handle starts, py::ssize_t random, py::ssize_t wanted, std::uint64_t seed,
                               std::uint64_t first, bool repeats) {
    const Decisions space = decisions(cardinalities, conditions);
    const auto from = matrix<std::int32_t>(starts, "starts");
    const GpSearchSettings settings = search_settings(random, repeats);
    Acquisition how;
    how.best = best;
    how.deviations = deviations;
    if (acquisition != "log_ei" && acquisition != "ucb") {
        throw py::value_error("acquisition must be 'log_ei' or 'ucb'; got '" + acquisition + "'");
    }
    how.kind = acquisition == "ucb" ? AcquisitionKind::ucb : AcquisitionKind::log_ei;
    const std::size_t most = count(wanted, "wanted");
    const Experts experts(processes, weights, shared);
    const GpEnsemble ensemble = experts.ensemble();
    GpCandidates found;
    {
        const py::gil_scoped_release release;
        found = search_acquisition(ensemble, space, how, from, {seed, 0, first}, settings, most);
    }
    return py::make_tuple(copy_matrix<std::int32_t>({found.rows.data(), found.values.size(), space.size()}),
                          copy_vector(found.values));
}

py::tuple bind_leave_one_out(const BoundProcess& bound) {
    const std::size_t n = bound.process.targets().rows;
    auto means = new_vector<double>(n), variances = new_vector<double>(n);
    const auto means_out = span_of(means), variances_out = span_of(variances);
    {
        const Busy busy(bound);
        const py::gil_scoped_release release;
        leave_one_out(bound.process, means_out, variances_out);
    }
    return py::make_tuple(std::move(means), std::move(variances));
}

py::array_t<std::int64_t> bind_ranking_losses(py::handle values, py::handle targets, bool held_out) {
    const auto draws = matrix<double>(values, "values");
    const auto y = vector<double>(targets, "targets");
    auto losses = new_vector<std::int64_t>(draws.rows);
    const auto out = span_of(losses);
    {
        const py::gil_scoped_release release;
        ranking_losses(draws, y, held_out, out);
    }
    return losses;
}

}  // namespace

void register_gp_ensemble(py::module_ module) {
    module.def("ensemble_predict", &bind_ensemble_predict, py::arg("processes"), py::arg("weights"),
               py::arg("shared"), py::arg("rows"));
    module.def("ensemble_search", &bind_ensemble_search, py::arg("processes"), py::arg("weights"),
               py::arg("shared"), py::arg("cardinalities"), py::arg("conditions"), py::arg("acquisition"),
               py::arg("best"), py::arg("deviations"), py::arg("starts"), py::arg("random"),
               py::arg("wanted"), py::arg("seed"), py::arg("first"), py::arg("repeats"));
    module.def("leave_one_out", &bind_leave_one_out, py::arg("process"));
    module.def("ranking_losses", &bind_ranking_losses, py::arg("values"), py::arg("targets"),
               py::arg("held_out"));
}

}  // namespace nasx::bindings
