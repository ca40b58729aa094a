#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "arguments.hpp"
#include "nasx/cpu.hpp"
#include "nasx/parallel.hpp"

namespace nasx::bindings {

void register_runtime(py::module_ module) {
    module.def(
        "set_num_threads", [](py::ssize_t threads) { set_num_threads(count(threads, "threads")); },
        py::arg("threads"), "Number of threads of the core's loops from now on.");
    module.def("get_num_threads", &get_num_threads, "Number of threads of the core's loops.");
    module.def("simd_level", [] { return std::string(name(simd_level())); }, "The level in use.");
    module.def(
        "simd_levels",
        [] {
            std::vector<std::string> names;
            for (const SimdLevel level : available_simd_levels()) {
                names.emplace_back(name(level));
            }
            return names;
        },
        "The levels that this CPU runs, slowest first.");
}

}  // namespace nasx::bindings
