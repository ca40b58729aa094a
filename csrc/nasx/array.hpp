// Light views of memory that somebody else owns.
#pragma once

#include <cstddef>
#include <span>
#include <type_traits>

namespace nasx {

// A row-major matrix without padding. Vectors are std::span.
template <class T>
struct Matrix {
    T* data = nullptr;
    std::size_t rows = 0;
    std::size_t cols = 0;

    T* row(std::size_t i) const { return data + i * cols; }
    T& operator()(std::size_t i, std::size_t j) const { return data[i * cols + j]; }
    std::span<T> span() const { return {data, rows * cols}; }

    operator Matrix<const T>() const
        requires(!std::is_const_v<T>)
    {
        return {data, rows, cols};
    }
};

}  // namespace nasx
