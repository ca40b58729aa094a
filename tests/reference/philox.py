"""Philox4x32-10 and the distributions drawn from it, in plain integers."""

from __future__ import annotations

PURPOSES = {
    "sample": 1,
    "repair": 2,
    "mutate": 3,
    "crossover": 4,
    "tournament": 5,
    "select": 6,
    "offspring": 7,
    "mutate_one": 8,
    "mutants": 9,
    "neighbors": 10,
    "parzen": 20,
    "acquisition": 21,
    "posterior": 22,
    "policy": 50,
    "minibatch": 51,
    "neat_start": 60,
    "neat_child": 61,
    "neat_representative": 62,
}
WORD = 0xFFFFFFFF


def philox4x32(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    for _ in range(10):
        left, right = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = (
            (right >> 32) ^ counter[1] ^ key[0],
            right & WORD,
            (left >> 32) ^ counter[3] ^ key[1],
            left & WORD,
        )
        key = ((key[0] + 0x9E3779B9) & WORD, (key[1] + 0xBB67AE85) & WORD)
    return counter


class Stream:
    def __init__(self, purpose: str, seed: int, generation: int, item: int) -> None:
        self.key = (seed & WORD, seed >> 32)
        self.counter = (PURPOSES[purpose] << 24, generation, item & WORD, item >> 32)
        self.words: list[int] = []

    def next_u32(self) -> int:
        if not self.words:
            self.words = list(philox4x32(self.counter, self.key))
            self.counter = (self.counter[0] + 1, *self.counter[1:])
        return self.words.pop(0)

    def next_u64(self) -> int:
        low = self.next_u32()
        return self.next_u32() << 32 | low

    def uniform(self) -> float:
        return (self.next_u64() >> 11) / 2**53

    def below(self, bound: int) -> int:
        while True:
            product = self.next_u32() * bound
            if product & WORD >= 2**32 % bound:
                return product >> 32

    def bernoulli(self, probability: float) -> bool:
        whole = int(probability * 2**32)
        word = self.next_u32()
        if word != whole:
            return word < whole
        return self.uniform() < probability * 2**32 - whole
