#include "nasx/mixed_op/channel_parts.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "nasx/mixed_op/rows.hpp"
#include "nasx/parallel.hpp"

namespace nasx::mixed_op {
namespace {

// Calls function(pixel) for all of them, of `numbers` numbers each.
template <class Function>
void for_pixels(std::size_t pixels, std::size_t numbers, Function function) {
    if (numbers == 0) {
        return;
    }
    parallel_for(0, pixels, rows_at_once(numbers), [&](std::size_t first, std::size_t last) {
        for (std::size_t pixel = first; pixel < last; ++pixel) {
            function(pixel);
        }
    });
}

// Calls function(K) with K as a constant if it is a usual one: loops over so few are then unrolled.
template <class Function>
void with_portion(std::size_t portion, Function function) {
    if (portion == 0) {
        throw std::invalid_argument("portion must be at least 1; got 0");
    }
    switch (portion) {
        case 2:
            return function(std::integral_constant<std::size_t, 2>());
        case 4:
            return function(std::integral_constant<std::size_t, 4>());
        case 8:
            return function(std::integral_constant<std::size_t, 8>());
        default:
            return function(portion);
    }
}

}  // namespace

template <class T>
void take_channels(std::size_t pixels, std::size_t channels, std::size_t width, const T* x, T* part) {
    if (width > channels) {
        throw std::invalid_argument("width must be at most channels; got " + std::to_string(width) + " of " +
                                    std::to_string(channels));
    }
    for_pixels(pixels, width,
               [=](std::size_t pixel) { std::copy_n(x + pixel * channels, width, part + pixel * width); });
}

template <class T>
void join_channels(std::size_t pixels, std::size_t width, std::size_t rest_width, const T* part,
                   const T* rest, T* out) {
    const std::size_t channels = width + rest_width;
    for_pixels(pixels, channels, [=](std::size_t pixel) {
        T* const to = std::copy_n(part + pixel * width, width, out + pixel * channels);
        std::copy_n(rest + pixel * rest_width, rest_width, to);
    });
}

template <class T>
void shuffle_channels(std::size_t pixels, std::size_t width, std::size_t portion, const T* part,
                      const T* rest, std::size_t step, T* out) {
    with_portion(portion, [&](auto parts) {
        if (step < (parts - 1) * width) {
            throw std::invalid_argument("step must be at least " + std::to_string((parts - 1) * width) +
                                        ", the channels that pass by; got " + std::to_string(step));
        }
        for_pixels(pixels, parts * width, [=](std::size_t pixel) {
            const T* const first = part + pixel * width;
            const T* const others = rest + pixel * step;
            T* to = out + pixel * parts * width;
            for (std::size_t c = 0; c < width; ++c, to += parts) {
                to[0] = first[c];
                for (std::size_t k = 1; k < parts; ++k) {
                    to[k] = others[(k - 1) * width + c];
                }
            }
        });
    });
}

template <class T>
void unshuffle_channels(std::size_t pixels, std::size_t width, std::size_t portion, const T* shuffled,
                        T* part, T* rest) {
    with_portion(portion, [&](auto parts) {
        for_pixels(pixels, parts * width, [=](std::size_t pixel) {
            const T* from = shuffled + pixel * parts * width;
            T* const first = part + pixel * width;
            T* const others = rest + pixel * (parts - 1) * width;
            for (std::size_t c = 0; c < width; ++c, from += parts) {
                first[c] = from[0];
                for (std::size_t k = 1; k < parts; ++k) {
                    others[(k - 1) * width + c] = from[k];
                }
            }
        });
    });
}

template void take_channels(std::size_t, std::size_t, std::size_t, const float*, float*);
template void join_channels(std::size_t, std::size_t, std::size_t, const float*, const float*, float*);
template void shuffle_channels(std::size_t, std::size_t, std::size_t, const float*, const float*, std::size_t,
                               float*);
template void unshuffle_channels(std::size_t, std::size_t, std::size_t, const float*, float*, float*);
template void take_channels(std::size_t, std::size_t, std::size_t, const double*, double*);
template void join_channels(std::size_t, std::size_t, std::size_t, const double*, const double*, double*);
template void shuffle_channels(std::size_t, std::size_t, std::size_t, const double*, const double*,
                               std::size_t, double*);
template void unshuffle_channels(std::size_t, std::size_t, std::size_t, const double*, double*, double*);

}  // namespace nasx::mixed_op
