"""Random calls of the operators of `nasx.nn.kernels`: each gives a result or a Python error, and nothing else.

    python tests/fuzzing_kernels.py --rounds 100000 --sanitized

is what `fuzzing.py` is to all other native functions, and needs the same module. The functions below the operators
take addresses of memory, which the operators alone make: anybody may call those, with any tensors.
"""

from __future__ import annotations

import argparse
import faulthandler
import math
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from fuzzing import environment, load

# Torch says most things by a RuntimeError, and refuses devices and layouts by a NotImplementedError.
EXPECTED = (TypeError, ValueError, IndexError, RuntimeError, MemoryError, OverflowError)
SIZES = [0, 1, 1, 2, 2, 3, 4, 5, 7, 8, 9]
CHANNELS = [0, 1, 2, 3, 4, 7, 8, 9, 16, 17]
INTEGERS = [-(2**63), -(2**31), -1, 0, 1, 2, 3, 5, 2**31, 2**62, 2**63 - 1]
FLOATS = [math.nan, math.inf, -1.0, 0.0, 1e-300, 1e-5, 1.0, 1e300]


class Calls:
    """Arguments that fit each operator, and odd ones.

    Parameters
    ----------
    torch : module
        PyTorch.
    seed : int
        Same seed, same calls.
    """

    def __init__(self, torch: Any, seed: int) -> None:
        self.torch, self.random = torch, random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.arguments: dict[str, Callable[[], list[Any]]] = {
            "weighted_sum": self.weighted_sum,
            "weighted_sum_backward": lambda: self.with_gradient(self.weighted_sum()),
            "max_pool_3x3": lambda: [self.images(), self.stride()],
            "max_pool_3x3_backward": self.max_pool_backward,
            "avg_pool_3x3": lambda: [self.images(), self.stride()],
            "avg_pool_3x3_backward": self.avg_pool_backward,
            "relu_depthwise": self.depthwise,
            "relu_depthwise_backward": self.depthwise_backward,
            "pointwise": self.pointwise,
            "pointwise_backward": self.pointwise_backward,
            "batch_norm": lambda: [self.images(), 1e-5],
            "batch_norm_backward": self.batch_norm_backward,
            "normalized_sum": self.normalized_sum,
            "normalized_sum_backward": self.normalized_sum_backward,
        }

    # -- arguments that fit --------------------------------------------------------------------------------------

    def numbers(self, *shape: int, dtype: Any = None) -> Any:
        dtype = dtype or self.random.choice([self.torch.float32, self.torch.float64])
        return self.torch.randn(shape, generator=self.generator, dtype=dtype)

    def images(self, shape: tuple[int, ...] | None = None, dtype: Any = None) -> Any:
        if shape is None:
            batch, height, width = (self.random.choice(SIZES) for _ in range(3))
            shape = (batch, self.random.choice(CHANNELS), height, width)
        x = self.numbers(*shape, dtype=dtype)
        return x if self.random.random() < 0.2 else x.contiguous(memory_format=self.torch.channels_last)

    def stride(self) -> int:
        return self.random.choice([1, 2])

    def weighted_sum(self) -> list[Any]:
        first = self.images()
        more = [self.images(tuple(first.shape), first.dtype) for _ in range(self.random.choice([0, 1, 2, 7]))]
        return [[first, *more], self.numbers(1 + len(more), dtype=first.dtype)]

    def with_gradient(self, arguments: list[Any]) -> list[Any]:
        first = arguments[0][0]
        return [self.images(tuple(first.shape), first.dtype), *arguments]

    def pooled(self) -> tuple[int, int, int, Any]:
        height, width, stride = self.random.choice(SIZES), self.random.choice(SIZES), self.stride()
        batch, channels = self.random.choice(SIZES), self.random.choice(CHANNELS)
        return (
            height,
            width,
            stride,
            self.images((batch, channels, -(-height // stride), -(-width // stride))),
        )

    def avg_pool_backward(self) -> list[Any]:
        height, width, stride, grad = self.pooled()
        return [grad, height, width, stride]

    def max_pool_backward(self) -> list[Any]:
        height, width, stride, grad = self.pooled()
        places = self.torch.randint(0, 9, grad.shape, generator=self.generator, dtype=self.torch.int8)
        return [grad, places.contiguous(memory_format=self.torch.channels_last), height, width, stride]

    def depthwise(self) -> list[Any]:
        x, kernel = self.images(), self.random.choice([3, 5])
        return [x, self.numbers(x.shape[1], 1, kernel, kernel, dtype=x.dtype), self.stride(), self.stride()]

    def depthwise_backward(self) -> list[Any]:
        x, weight, stride, dilation = self.depthwise()
        height, width = (-(-size // stride) for size in x.shape[2:])
        return [self.images((*x.shape[:2], height, width), x.dtype), x, weight, stride, dilation]

    def pointwise(self) -> list[Any]:
        x = self.images()
        return [x, self.numbers(self.random.choice([0, 8, 9, 16, 40]), x.shape[1], 1, 1, dtype=x.dtype)]

    def pointwise_backward(self) -> list[Any]:
        x, weight = self.pointwise()
        return [self.images((x.shape[0], len(weight), *x.shape[2:]), x.dtype), x, weight]

    def batch_norm_backward(self) -> list[Any]:
        x = self.images()
        more = [self.numbers(x.shape[1], dtype=x.dtype) for _ in range(2)]
        return [self.images(tuple(x.shape), x.dtype), x, *more]

    def normalized_sum(self) -> list[Any]:
        terms, weights = self.weighted_sum()
        return [terms, [self.random.random() < 0.5 for _ in terms], weights, 1e-5]

    def normalized_sum_backward(self) -> list[Any]:
        terms, normalized, weights, _ = self.normalized_sum()
        more = [self.numbers(len(terms), terms[0].shape[1], dtype=weights.dtype) for _ in range(2)]
        return [self.images(tuple(terms[0].shape), weights.dtype), terms, normalized, weights, *more]

    # -- odd ones ------------------------------------------------------------------------------------------------

    def odd(self, value: Any) -> Any:
        """Make something else of an argument."""
        pick = self.random.choice
        if isinstance(value, self.torch.Tensor):
            return self.odd_tensor(value)
        if isinstance(value, list):
            parts = [self.odd(part) if self.random.random() < 0.5 else part for part in value]
            return pick([parts, parts, value[1:], value * 2, [], None, 3])
        if isinstance(value, bool):
            return pick([not value, None, 3])
        if isinstance(value, int):
            return pick([*INTEGERS, None, 1.5])
        return pick([*FLOATS, None, "1"])

    def odd_tensor(self, x: Any) -> Any:
        torch, pick = self.torch, self.random.choice
        size = [pick(SIZES) for _ in range(pick([0, 1, 2, 3, 4, 4, 5]))]
        return pick(
            [
                lambda: x.to(pick([torch.float16, torch.int32, torch.bool, torch.complex64, torch.bfloat16])),
                lambda: x.double() if x.dtype == torch.float32 else x.float(),
                lambda: self.numbers(*size, dtype=x.dtype if x.is_floating_point() else None),
                lambda: x.mT if x.dim() > 1 else x[None],
                lambda: x[..., 1:],
                lambda: x[1:],
                lambda: x[..., ::2],
                lambda: x[:0],
                lambda: x[:, :1].expand_as(x) if x.dim() > 1 else x,
                lambda: x.flatten(),
                lambda: x.as_strided(x.shape, [0] * x.dim()) if x.numel() else x,
                lambda: torch.full_like(x, pick([0, 1, 9, 100])),
                lambda: x * math.nan if x.is_floating_point() else x,
                lambda: x * math.inf if x.is_floating_point() else x,
                lambda: x.clone().requires_grad_() if x.is_floating_point() else x,
                lambda: x.to_sparse() if x.dim() else x,
                lambda: torch._neg_view(x) if x.is_floating_point() else x,
                lambda: None,
                lambda: 3,
            ]
        )()

    def call(self, name: str) -> str:
        """Call an operator once; returns what came: "result" or the name of an error."""
        arguments = self.arguments[name]()
        if self.random.random() < 0.6:
            for at in self.random.sample(range(len(arguments)), self.random.choice([1, 1, 2])):
                arguments[at] = self.odd(arguments[at])
        try:
            found = getattr(self.torch.ops.nasx, name)(*arguments)
        except EXPECTED as error:
            return type(error).__name__
        for one in found if isinstance(found, list | tuple) else [found]:
            for tensor in one if isinstance(one, list) else [one]:
                if tensor is not None and tensor.device.type == "cpu":
                    tensor.sum()  # all of it is there
        return "result"


def work(options: argparse.Namespace) -> None:
    """Make the calls, in the process that may crash."""
    core = load(options.sanitized)
    sys.modules["nasx._core"] = core
    import torch

    from nasx.nn import kernels  # registers the operators

    assert kernels.tensors.native is core.mixed_op
    torch.set_num_threads(2)
    for name in Calls(torch, 0).arguments:
        if options.only not in (None, name):
            continue
        counts: Counter[str] = Counter()
        for number in range(options.begin, options.begin + -(-options.rounds // 20)):
            if options.at is not None:
                print(name, number, file=options.at, flush=True)
            faulthandler.dump_traceback_later(600, exit=True)
            calls = Calls(torch, number)
            counts.update(calls.call(name) for _ in range(20))
        print(
            f"{name:25} " + ", ".join(f"{count} {kind}" for kind, count in counts.most_common()), flush=True
        )
        if not counts["result"]:
            raise SystemExit(f"{name} never gave a result")
    faulthandler.cancel_dump_traceback_later()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000, help="calls of each operator")
    parser.add_argument("--only", metavar="NAME", help="one operator")
    parser.add_argument(
        "--begin", type=int, default=0, metavar="CHUNK", help="number of the first chunk of 20"
    )
    parser.add_argument("--sanitized", action="store_true", help="call the module of the CMake preset fuzz")
    parser.add_argument(
        "--at", type=argparse.FileType("w"), help="file to write each chunk to before it is called"
    )
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child or not options.sanitized:
        work(options)
        return 0
    begun = time.monotonic()
    command = [sys.executable, __file__, *sys.argv[1:], "--child"]
    status = subprocess.run(command, env=environment(True), check=False).returncode
    print(f"{time.monotonic() - begun:.0f} s, status {status}")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
