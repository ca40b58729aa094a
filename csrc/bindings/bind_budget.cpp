#include "arguments.hpp"
#include "nasx/budget.hpp"

namespace nasx::bindings {
namespace {

Sums sums(py::handle cardinalities, py::handle entries, const char* name,
          std::span<const double> intercepts) {
    return {vector<std::int32_t>(cardinalities, "cardinalities"), matrix<double>(entries, name), intercepts};
}

template <class T>
py::array_t<T> copied(const std::vector<T>& values) {
    auto out = new_vector<T>(values.size());
    std::copy(values.begin(), values.end(), out.mutable_data());
    return out;
}

template <class T>
py::array_t<T> copied(const std::vector<T>& values, std::size_t rows, std::size_t cols) {
    auto out = new_matrix<T>(rows, cols);
    std::copy(values.begin(), values.end(), out.mutable_data());
    return out;
}

py::tuple bind_best_under(py::handle cardinalities, py::handle scores, double intercept, py::handle costs,
                          py::handle intercepts, py::handle limits, py::ssize_t resolution,
                          std::uint64_t nodes) {
    const auto scored = sums(cardinalities, scores, "scores", {&intercept, 1});
    const auto costed = sums(cardinalities, costs, "costs", vector<double>(intercepts, "intercepts"));
    const auto most = vector<double>(limits, "limits");
    const BudgetSettings settings{count(resolution, "resolution"), nodes};
    Best best;
    {
        const py::gil_scoped_release release;
        best = best_under(scored, costed, most, settings);
    }
    return py::make_tuple(copied(best.genotype), best.score, copied(best.costs), best.bound, best.nodes);
}

py::tuple bind_pareto_of_sums(py::handle cardinalities, py::handle costs, py::handle intercepts,
                              py::ssize_t cap) {
    const auto costed = sums(cardinalities, costs, "costs", vector<double>(intercepts, "intercepts"));
    const std::size_t most = count(cap, "cap");
    SumsFront found;
    {
        const py::gil_scoped_release release;
        found = pareto_of_sums(costed, most);
    }
    return py::make_tuple(copied(found.genotypes, found.size, costed.size()),
                          copied(found.costs, found.size, costed.entries.rows), copied(found.epsilon));
}

py::array_t<std::int32_t> bind_sample_under(py::handle cardinalities, py::handle costs, double intercept,
                                            double limit, py::ssize_t resolution, py::ssize_t n,
                                            std::uint64_t seed, std::uint32_t generation,
                                            std::uint64_t first) {
    const auto costed = sums(cardinalities, costs, "costs", {&intercept, 1});
    const std::size_t cells = count(resolution, "resolution");
    auto out = new_matrix<std::int32_t>(count(n, "n"), costed.size());
    const auto rows = matrix_of(out);
    {
        const py::gil_scoped_release release;
        sample_under(costed, limit, cells, {seed, generation, first}, rows);
    }
    return out;
}

}  // namespace

void register_budget(py::module_ module) {
    module.def("best_under", &bind_best_under, py::arg("cardinalities"), py::arg("scores"),
               py::arg("intercept"), py::arg("costs"), py::arg("intercepts"), py::arg("limits"),
               py::arg("resolution"), py::arg("nodes"), "Genotype, score, costs, bound and number of nodes.");
    module.def("pareto_of_sums", &bind_pareto_of_sums, py::arg("cardinalities"), py::arg("costs"),
               py::arg("intercepts"), py::arg("cap"), "Genotypes, costs and epsilon of a front.");
    module.def("sample_under", &bind_sample_under, py::arg("cardinalities"), py::arg("costs"),
               py::arg("intercept"), py::arg("limit"), py::arg("resolution"), py::arg("n"), py::arg("seed"),
               py::arg("generation"), py::arg("first"), "Uniform rows within a limit.");
}

}  // namespace nasx::bindings
