#include <immintrin.h>

#include "nasx/simd/philox.hpp"

namespace nasx::simd {
namespace {

constexpr int rounds = 10, groups = 2;

inline __m256i in_lanes(uint32_t x) {
    return _mm256_set1_epi64x(static_cast<int64_t>(x));
}

inline void store(uint32_t* to, __m256i x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), x);
}

// Four blocks in each of two groups, of one stream or of two: one group computes while the other waits. Each
// word has a lane of 64 bits to itself, whose upper half may hold anything: products read the lower half
// alone.
template <int64_t streams>
void blocks(const StreamNames& names, uint32_t* out) {
    __m256i keys[2 * rounds];
    auto left_key = static_cast<uint32_t>(names.seed), right_key = static_cast<uint32_t>(names.seed >> 32);
    for (int i = 0; i < rounds; ++i) {
        keys[2 * i] = in_lanes(left_key);
        keys[2 * i + 1] = in_lanes(right_key);
        left_key += 0x9E3779B9u;
        right_key += 0xBB67AE85u;
    }
    const __m256i left_factor = in_lanes(0xD2511F53u), right_factor = in_lanes(0xCD9E8D57u);
    const __m256i block = streams == 1 ? _mm256_setr_epi64x(0, 1, 2, 3) : _mm256_setr_epi64x(0, 1, 0, 1);
    const __m256i stream = streams == 1 ? _mm256_setzero_si256() : _mm256_setr_epi64x(0, 0, 1, 1);
    for (size_t i = 0; i < names.n; i += static_cast<size_t>(groups * streams)) {
        __m256i a[groups], b[groups], c[groups], d[groups];
        for (int g = 0; g < groups; ++g) {
            // Numbers are without a sign and begin anew at 0: so are their sums.
            const auto first = static_cast<int64_t>(names.first + i + static_cast<uint64_t>(g * streams));
            a[g] = _mm256_or_si256(in_lanes(names.purpose << 24), block);
            b[g] = in_lanes(names.generation);
            c[g] = _mm256_add_epi64(_mm256_set1_epi64x(first), stream);
            d[g] = _mm256_srli_epi64(c[g], 32);
        }
        for (int round = 0; round < rounds; ++round) {
            for (int g = 0; g < groups; ++g) {
                const __m256i left = _mm256_mul_epu32(a[g], left_factor);
                const __m256i right = _mm256_mul_epu32(c[g], right_factor);
                a[g] =
                    _mm256_xor_si256(_mm256_srli_epi64(right, 32), _mm256_xor_si256(b[g], keys[2 * round]));
                c[g] = _mm256_xor_si256(_mm256_srli_epi64(left, 32),
                                        _mm256_xor_si256(d[g], keys[2 * round + 1]));
                b[g] = right;
                d[g] = left;
            }
        }
        for (int g = 0; g < groups; ++g, out += 16) {
            const __m256i first = _mm256_blend_epi32(a[g], _mm256_slli_epi64(b[g], 32), 0xAA);
            const __m256i last = _mm256_blend_epi32(c[g], _mm256_slli_epi64(d[g], 32), 0xAA);
            const __m256i even = _mm256_unpacklo_epi64(first, last), odd = _mm256_unpackhi_epi64(first, last);
            store(out, _mm256_permute2x128_si256(even, odd, 0x20));
            store(out + 8, _mm256_permute2x128_si256(even, odd, 0x31));
        }
    }
}

}  // namespace

const PhiloxKernels avx2_philox{blocks<2>, blocks<1>};

}  // namespace nasx::simd
