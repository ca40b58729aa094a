// The channels of images in parts, as partial channel connections take them: the first part goes through a
// mixed operation, the rest passes by, and both are then shuffled.
//
// Images lie with their channels last: a pixel is a row of channels. T is float or double. Numbers are copied
// and nothing else, so that neither the CPU level nor the number of threads changes a bit. All is O(pixels
// channels) time, every number read and written once, and no memory but the result. Arrays that are written
// are arrays of their own.
#pragma once

#include <cstddef>

namespace nasx::mixed_op {

// part (pixels, width) = the first `width` of x (pixels, channels).
//
// Throws std::invalid_argument when there are fewer channels than that.
template <class T>
void take_channels(std::size_t pixels, std::size_t channels, std::size_t width, const T* x, T* part);

// out (pixels, width + rest_width) = part (pixels, width) and rest (pixels, rest_width), one after the other:
// the gradient of what is split into them.
template <class T>
void join_channels(std::size_t pixels, std::size_t width, std::size_t rest_width, const T* part,
                   const T* rest, T* out);

// Shuffles K = `portion` parts of `width` channels each, of which part (pixels, width) is the first and rest,
// whose pixels begin `step` numbers apart, holds the others:
//
//     out[pixel, c * K]     = part[pixel, c]
//     out[pixel, c * K + k] = rest[pixel, (k - 1) * width + c]    for k = 1 ... K - 1
//
// Throws std::invalid_argument when K is 0, or `step` less than (K - 1) width.
template <class T>
void shuffle_channels(std::size_t pixels, std::size_t width, std::size_t portion, const T* part,
                      const T* rest, std::size_t step, T* out);

// The other way: part (pixels, width) and rest (pixels, (K - 1) width) of what was shuffled from them.
//
// Throws std::invalid_argument when K is 0.
template <class T>
void unshuffle_channels(std::size_t pixels, std::size_t width, std::size_t portion, const T* shuffled,
                        T* part, T* rest);

}  // namespace nasx::mixed_op
