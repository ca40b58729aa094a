// From Python arguments to views, under the GIL. Strict: nothing is converted or copied here.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <type_traits>

#include "nasx/array.hpp"
#include "nasx/genotype_set.hpp"
#include "nasx/population.hpp"
#include "nasx/rng.hpp"

namespace nasx::bindings {

namespace py = pybind11;

// Converts instances of a class of ours, and refuses those that only __new__ made: pybind11 would give them
// memory that no constructor has seen. Each class has a type_caster that derives from this.
template <class T>
struct InitialisedCaster : py::detail::type_caster_base<T> {
    bool load(py::handle source, bool convert) {
        static const auto* const type = py::detail::get_type_info(typeid(T));  // registered before any call
        if (source && type != nullptr &&
            PyObject_TypeCheck(source.ptr(), reinterpret_cast<PyTypeObject*>(type->type))) {
            auto* const instance = reinterpret_cast<py::detail::instance*>(source.ptr());
            if (!instance->get_value_and_holder(type).holder_constructed()) {
                throw py::type_error(std::string(Py_TYPE(source.ptr())->tp_name) +
                                     " has not been initialised: __init__ was not called, or failed");
            }
        }
        return py::detail::type_caster_base<T>::load(source, convert);
    }
};

template <class T>
py::array typed_array(py::handle value, const char* name, py::ssize_t ndim) {
    if (!py::array_t<T>::check_(value)) {
        throw py::type_error(
            std::string(name) + " must be a NumPy array of " + std::string(py::str(py::dtype::of<T>())) +
            "; got " +
            (py::isinstance<py::array>(value)
                 ? "dtype " + std::string(py::str(py::reinterpret_borrow<py::array>(value).dtype()))
                 : std::string(Py_TYPE(value.ptr())->tp_name)));
    }
    auto array = py::reinterpret_borrow<py::array>(value);
    if (array.ndim() != ndim) {
        throw py::value_error(std::string(name) + " must have " + std::to_string(ndim) + " dimension" +
                              (ndim == 1 ? "" : "s") + "; got " + std::to_string(array.ndim()));
    }
    if ((array.flags() & py::array::c_style) == 0) {
        throw py::value_error(std::string(name) + " must be C-contiguous; use numpy.ascontiguousarray");
    }
    if ((array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) == 0) {
        throw py::value_error(std::string(name) + " must be aligned in memory; use numpy.require(" + name +
                              ", requirements='A')");
    }
    return array;
}

template <class T>
Matrix<const T> matrix(py::handle value, const char* name) {
    const py::array array = typed_array<T>(value, name, 2);
    return {static_cast<const T*>(array.data()), static_cast<std::size_t>(array.shape(0)),
            static_cast<std::size_t>(array.shape(1))};
}

template <class T>
std::span<const T> vector(py::handle value, const char* name) {
    const py::array array = typed_array<T>(value, name, 1);
    const auto size = static_cast<std::size_t>(array.shape(0));
    if constexpr (std::is_same_v<T, bool>) {  // views of other arrays can hold anything
        const std::span bytes(static_cast<const unsigned char*>(array.data()), size);
        if (std::ranges::any_of(bytes, [](unsigned char byte) { return byte > 1; })) {
            throw py::value_error(std::string(name) + " must hold only True and False");
        }
    }
    return {static_cast<const T*>(array.data()), size};
}

template <class T>
std::optional<std::span<const T>> optional_vector(py::handle value, const char* name) {
    if (value.is_none()) {
        return std::nullopt;
    }
    return vector<T>(value, name);
}

inline std::size_t count(py::ssize_t value, const char* name) {
    if (value < 0) {
        throw py::value_error(std::string(name) + " must not be negative; got " + std::to_string(value));
    }
    return static_cast<std::size_t>(value);
}

// An array as matrix() takes it, of one dimension or two, or nothing; of one dimension it is a column.
template <class T>
std::optional<Matrix<const T>> plain(py::handle value, py::ssize_t least_ndim, py::ssize_t most_ndim) {
    if (!py::array_t<T>::check_(value)) {
        return std::nullopt;
    }
    const py::detail::PyArray_Proxy& array = *py::detail::array_proxy(value.ptr());
    constexpr int wanted = int{py::array::c_style} | int{py::detail::npy_api::NPY_ARRAY_ALIGNED_};
    if (array.nd < least_ndim || array.nd > most_ndim || (array.flags & wanted) != wanted) {
        return std::nullopt;
    }
    const auto length = [&](int axis) { return static_cast<std::size_t>(array.dimensions[axis]); };
    return Matrix<const T>{reinterpret_cast<const T*>(array.data), length(0), array.nd == 2 ? length(1) : 1};
}

// What is told to a strategy, as the core takes it.
struct Results {
    Genotypes x;
    Matrix<const double> losses;
    std::optional<std::span<const double>> violations;
    std::optional<std::span<const bool>> failed;
};

// Nothing unless all arrays have these types and fit together: the caller converts them or refuses them by
// name. Losses of one objective may have one dimension.
inline std::optional<Results> plain_results(py::handle x, py::handle losses, py::handle violations,
                                            py::handle failed, std::size_t width, std::size_t objectives) {
    const auto rows = plain<std::int32_t>(x, 2, 2);
    const auto told = plain<double>(losses, objectives == 1 ? 1 : 2, 2);
    const bool fit =
        rows && told && rows->cols == width && told->rows == rows->rows && told->cols == objectives;
    if (!fit || (!violations.is_none() && !plain<double>(violations, 1, 1)) ||
        (!failed.is_none() && !plain<bool>(failed, 1, 1))) {
        return std::nullopt;
    }
    const Results results{*rows, *told, optional_vector<double>(violations, "violations"),
                          optional_vector<bool>(failed, "failed")};
    const auto has_all = [&](const auto& values) { return !values || values->size() == rows->rows; };
    return has_all(results.violations) && has_all(results.failed) ? std::optional(results) : std::nullopt;
}

inline Decisions decisions(py::handle cardinalities, py::handle conditions) {
    const auto rows =
        conditions.is_none() ? Matrix<const std::int32_t>{} : matrix<std::int32_t>(conditions, "conditions");
    return {vector<std::int32_t>(cardinalities, "cardinalities"), rows};
}

inline Contestants contestants(py::handle keys, py::handle crowding) {
    return {vector<double>(keys, "keys"), optional_vector<double>(crowding, "crowding")};
}

inline Crossover crossover_settings(const std::string& kind, py::ssize_t points, double probability) {
    if (kind != "uniform" && kind != "k_point") {
        throw py::value_error("kind must be 'uniform' or 'k_point'; got '" + kind + "'");
    }
    return {kind == "uniform" ? CrossoverKind::uniform : CrossoverKind::k_point, count(points, "points"),
            probability};
}

// An array with nothing in it yet. pybind11's constructors take twice as long, for lists of lengths and
// strides on the heap.
template <class T, std::size_t ndim>
py::array_t<T> new_array(std::array<Py_intptr_t, ndim> lengths) {
    const auto& numpy = py::detail::npy_api::get();
    PyObject* const array =
        numpy.PyArray_NewFromDescr_(numpy.PyArray_Type_, py::dtype::of<T>().release().ptr(), int{ndim},
                                    lengths.data(), nullptr, nullptr, 0, nullptr);
    if (array == nullptr) {
        throw py::error_already_set();
    }
    return py::reinterpret_steal<py::array_t<T>>(array);
}

template <class T>
py::array_t<T> new_vector(std::size_t n) {
    if (n > static_cast<std::size_t>(std::numeric_limits<py::ssize_t>::max()) / sizeof(T)) {
        throw py::value_error("the result would have " + std::to_string(n) +
                              " numbers, more than memory has addresses for");
    }
    return new_array<T, 1>({static_cast<Py_intptr_t>(n)});
}

template <class T>
py::array_t<T> new_matrix(std::size_t rows, std::size_t cols) {
    constexpr auto most = static_cast<std::size_t>(std::numeric_limits<py::ssize_t>::max()) / sizeof(T);
    if (cols > most || (cols > 0 && rows > most / cols)) {
        throw py::value_error("the result would have " + std::to_string(rows) + " rows of " +
                              std::to_string(cols) + " numbers, more than memory has addresses for");
    }
    return new_array<T, 2>({static_cast<Py_intptr_t>(rows), static_cast<Py_intptr_t>(cols)});
}

template <class T>
std::span<T> span_of(py::array_t<T>& array) {
    return {array.mutable_data(), static_cast<std::size_t>(array.size())};
}

template <class T>
Matrix<T> matrix_of(py::array_t<T>& array) {
    return {array.mutable_data(), static_cast<std::size_t>(array.shape(0)),
            static_cast<std::size_t>(array.shape(1))};
}

void register_budget(py::module_ module);
void register_evolution(py::module_ module);
void register_gaussian_process(py::module_ module);
void register_gp_ensemble(py::module_ module);
void register_latency_table(py::module_ module);
void register_mixed_op(py::module_ module);
void register_neat(py::module_ module);
void register_outcomes(py::module_ module);
void register_pareto(py::module_ module);
void register_parzen(py::module_ module);
void register_policy(py::module_ module);
void register_population(py::module_ module);
void register_runtime(py::module_ module);

}  // namespace nasx::bindings

template <>
struct pybind11::detail::type_caster<nasx::GenotypeSet>
    : nasx::bindings::InitialisedCaster<nasx::GenotypeSet> {};

namespace nasx::bindings {

inline void check_seen(const GenotypeSet& seen, std::size_t width) {
    if (seen.width() != width) {
        throw py::value_error("seen must hold genotypes of " + std::to_string(width) + " decisions; got " +
                              std::to_string(seen.width()));
    }
}

inline GenotypeSet* optional_set(py::handle seen, std::size_t width) {
    if (seen.is_none()) {
        return nullptr;
    }
    py::detail::make_caster<GenotypeSet> caster;
    if (!caster.load(seen, false)) {
        throw py::type_error("seen must be a GenotypeSet or None; got " +
                             std::string(Py_TYPE(seen.ptr())->tp_name));
    }
    auto& set = py::detail::cast_op<GenotypeSet&>(caster);
    check_seen(set, width);
    return &set;
}

}  // namespace nasx::bindings
