// A Gaussian process as Python holds it, for all files that take one.
#pragma once

#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>

#include "arguments.hpp"
#include "nasx/acquisition.hpp"
#include "nasx/gaussian_process.hpp"
#include "nasx/gp_search.hpp"

namespace nasx::bindings {

using Floats = py::array_t<double>;

inline Smoothness smoothness(const std::string& kernel) {
    if (kernel != "matern52" && kernel != "rbf") {
        throw py::value_error("kernel must be 'matern52' or 'rbf'; got '" + kernel + "'");
    }
    return kernel == "rbf" ? Smoothness::rbf : Smoothness::matern52;
}

// A process with what is needed to make it again. It works without the GIL, so it says when it is busy.
struct BoundProcess {
    py::tuple arguments;
    GaussianProcess process;
    bool busy = false;  // read and written under the GIL

    BoundProcess(py::handle cardinalities, py::handle ordered, const std::string& kernel)
        : arguments(py::make_tuple(cardinalities, ordered, kernel)),
          process(vector<std::int32_t>(cardinalities, "cardinalities"), vector<bool>(ordered, "ordered"),
                  smoothness(kernel)) {}
};

}  // namespace nasx::bindings

template <>
struct pybind11::detail::type_caster<nasx::bindings::BoundProcess>
    : nasx::bindings::InitialisedCaster<nasx::bindings::BoundProcess> {};

namespace nasx::bindings {

class Busy {
  public:
    explicit Busy(const BoundProcess& bound) : bound_(const_cast<BoundProcess&>(bound)) {
        if (bound_.busy) {
            throw std::runtime_error("the process is at work in another thread; use one in each thread");
        }
        bound_.busy = true;
    }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;
    ~Busy() { bound_.busy = false; }

  private:
    BoundProcess& bound_;
};

template <class T>
py::array_t<T> copy_matrix(Matrix<const T> from) {
    auto out = new_matrix<T>(from.rows, from.cols);
    if (from.rows * from.cols > 0) {
        std::memcpy(out.mutable_data(), from.data, from.rows * from.cols * sizeof(T));
    }
    return out;
}

inline Floats copy_vector(std::span<const double> from) {
    return Floats(static_cast<py::ssize_t>(from.size()), from.data());
}

inline GpSearchSettings search_settings(py::ssize_t random, bool repeats) {
    GpSearchSettings settings;
    settings.random = count(random, "random");
    settings.repeats = repeats;
    return settings;
}

}  // namespace nasx::bindings
