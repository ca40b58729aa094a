#include "nasx/mixed_op/batch_norm.hpp"

#include <stdexcept>
#include <string>
#include <vector>

#include "nasx/mixed_op/blocks.hpp"
#include "nasx/mixed_op/pass_back.hpp"
#include "nasx/mixed_op/statistics.hpp"

namespace nasx::mixed_op {
template <class T>
void batch_statistics(std::size_t rows, std::size_t channels, const T* x, double epsilon, T* means,
                      T* variances, T* scales) {
    check_rows(rows);
    if (channels == 0) {
        return;
    }
    const Blocks blocks(rows, channels);
    Statistics<T> statistics(blocks.count, channels);
    blocks.run([&](std::size_t block) {
        auto room = statistics.room();
        statistics.set(block, x + blocks.begin(block), blocks.rows_of(block), room);
    });
    statistics.finish(epsilon, means, variances, scales);
}

template <class T>
void batch_norm(std::size_t rows, std::size_t channels, const T* x, double epsilon, T* out, T* means,
                T* variances, T* scales) {
    batch_statistics(rows, channels, x, epsilon, means, variances, scales);
    if (channels == 0) {
        return;
    }
    const Blocks blocks(rows, channels);
    const Aligned<T> all_means = repeated(means, channels), all_scales = repeated(scales, channels);
    blocks.run([&](std::size_t block) {
        const std::size_t begin = blocks.begin(block);
        norm_loops<T>().normalize(x + begin, all_means.data(), all_scales.data(), blocks.period,
                                  blocks.rows_of(block) * channels, out + begin);
    });
}

template <class T>
void batch_norm_backward(std::size_t rows, std::size_t channels, const T* grad, const T* x, const T* means,
                         const T* scales, T* grad_x) {
    check_rows(rows);
    if (channels == 0) {
        return;
    }
    const Blocks blocks(rows, channels);
    const Aligned<T> all_means = repeated(means, channels);
    std::vector<double> sums(blocks.count * channels), products(blocks.count * channels);
    blocks.run([&](std::size_t block) {
        const std::size_t begin = blocks.begin(block);
        Aligned<T> added(blocks.period), multiplied(blocks.period);
        norm_loops<T>().add_products(grad + begin, x + begin, all_means.data(), blocks.period,
                                     blocks.rows_of(block) * channels, added.data(), multiplied.data());
        fold(added, channels, sums.data() + block * channels);
        fold(multiplied, channels, products.data() + block * channels);
    });
    for (std::size_t block = 1; block < blocks.count; ++block) {
        for (std::size_t c = 0; c < channels; ++c) {
            sums[c] += sums[block * channels + c];
            products[c] += products[block * channels + c];
        }
    }
    const PassBack<T> pass_back(rows, channels, means, scales, T{1}, sums.data(), products.data());
    blocks.run([&](std::size_t block) {
        const std::size_t begin = blocks.begin(block);
        pass_back(grad + begin, x + begin, blocks.rows_of(block), grad_x + begin);
    });
}

namespace {

// from + share * (to - from), which is `to` for 1.
template <class T>
T between(T from, T to, T share) {
    return share < T{0.5} ? from + share * (to - from) : to - (to - from) * (T{1} - share);
}

}  // namespace

template <class T>
void follow_statistics(std::size_t channels, std::size_t count, const T* means, const T* variances,
                       const RunningStatistics<T>& running) {
    if (count < 2) {
        throw std::invalid_argument("count must be at least 2: one number has no variance; got " +
                                    std::to_string(count));
    }
    ++*running.batches;
    const auto share = static_cast<T>(running.share.value_or(1 / static_cast<double>(*running.batches)));
    const auto unbiased = static_cast<T>(static_cast<double>(count) / static_cast<double>(count - 1));
    for (std::size_t c = 0; c < channels; ++c) {
        running.means[c] = between(running.means[c], means[c], share);
        running.variances[c] = between(running.variances[c], variances[c] * unbiased, share);
    }
}

template void follow_statistics(std::size_t, std::size_t, const float*, const float*,
                                const RunningStatistics<float>&);
template void follow_statistics(std::size_t, std::size_t, const double*, const double*,
                                const RunningStatistics<double>&);
template void batch_statistics(std::size_t, std::size_t, const float*, double, float*, float*, float*);
template void batch_statistics(std::size_t, std::size_t, const double*, double, double*, double*, double*);
template void batch_norm(std::size_t, std::size_t, const float*, double, float*, float*, float*, float*);
template void batch_norm(std::size_t, std::size_t, const double*, double, double*, double*, double*, double*);
template void batch_norm_backward(std::size_t, std::size_t, const float*, const float*, const float*,
                                  const float*, float*);
template void batch_norm_backward(std::size_t, std::size_t, const double*, const double*, const double*,
                                  const double*, double*);

}  // namespace nasx::mixed_op
