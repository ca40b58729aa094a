#include "arguments.hpp"
#include "nasx/cpu.hpp"

PYBIND11_MODULE(_core, module) {
    using namespace nasx::bindings;
    module.doc() = "The compiled core of nasx. Use nasx.pareto and nasx.population, which check and convert.";
    module.attr("__version__") = NASX_VERSION;
    // A wrong NASX_SIMD shows at import, not in the middle of a search.
    nasx::simd_level();
    register_runtime(module.def_submodule("runtime", "Threads and CPU levels."));
    register_pareto(module.def_submodule("pareto", "Non-dominated sorting and crowding distances."));
    register_population(module.def_submodule("population", "Operations on genotype matrices."));
    register_neat(module.def_submodule("neat", "Networks whose structure evolves."));
    register_outcomes(module.def_submodule("outcomes", "Told results made uniform."));
    register_budget(module.def_submodule("budget", "Search under limits of sums over decisions."));
    register_evolution(module.def_submodule("evolution", "Steps of evolutionary methods."));
    register_gaussian_process(
        module.def_submodule("gaussian_process", "Gaussian processes and acquisition functions."));
    register_latency_table(module.def_submodule("latency_table", "Costs that are sums over decisions."));
    register_mixed_op(
        module.def_submodule("mixed_op", "Kernels on tensors, by address: use nasx.nn.kernels."));
    register_parzen(module.def_submodule("parzen", "Parzen estimators of good and bad genotypes."));
    register_policy(module.def_submodule("policy", "Policies that are sampled and learned."));
}
