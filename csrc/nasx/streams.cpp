#include "nasx/streams.hpp"

#include "nasx/cpu.hpp"
#include "nasx/simd/philox.hpp"

namespace nasx {

template <std::size_t blocks>
    requires(blocks == 2 || blocks == 4)
void begin_streams(const StreamKey& key, Purpose purpose, std::size_t begin, std::size_t n,
                   std::uint32_t* words) {
#ifdef NASX_HAS_AVX2
    if (simd_level() >= SimdLevel::avx2) {
        const auto make = blocks == 2 ? simd::avx2_philox.two_blocks : simd::avx2_philox.four_blocks;
        make({key.seed, static_cast<std::uint32_t>(purpose), key.generation, key.first + begin, n}, words);
        return;
    }
#endif
    for (std::size_t i = begin; i < begin + n; ++i) {
        Stream stream(key, purpose, i);
        for (std::size_t k = 0; k < 4 * blocks; ++k) {
            *words++ = stream.next_u32();
        }
    }
}

template void begin_streams<2>(const StreamKey&, Purpose, std::size_t, std::size_t, std::uint32_t*);
template void begin_streams<4>(const StreamKey&, Purpose, std::size_t, std::size_t, std::uint32_t*);

}  // namespace nasx
