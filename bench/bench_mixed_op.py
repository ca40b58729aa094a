"""Kernels of mixed operations against PyTorch, forward and backward: python bench/bench_mixed_op.py.

Every formulation in PyTorch is compared in both layouts; the kernels work on channels-last images, as the
supernets do. Outputs and all gradients are first shown to be equal. A second table says what the bytes that a
kernel must move cost at the bandwidth that a copy of as much memory has here, what its operations cost at the
peak of a matrix product, and how far from that it is; bench/README.md derives the bytes and the operations.
`--cpu-time` measures one thread where others use the machine. `--compile` also prints torch.compile's times;
`--small` takes small images instead, all by the kernels, to show from which size on they win.
"""

from __future__ import annotations

import argparse
import copy
import functools
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple
from unittest import mock

import harness  # first: it sets up the process
from harness import compare, describe

import torch  # isort: skip
import darts_twin
from torch import Tensor
from torch.nn import functional as F

import nasx
from nasx.nn import MixedOp, kernels
from nasx.nn import mixed as mixed_operations
from nasx.nn.darts import darts_operation
from nasx.nn.kernels import tensors

SHAPES = [(64, 16, 32, 32), (64, 32, 16, 16), (64, 64, 8, 8)]
SMALL = [(1, 16, 8, 8), (4, 16, 8, 8), (16, 16, 8, 8), (32, 16, 8, 8), (64, 16, 8, 8), (64, 16, 16, 16)]
TERMS = 8
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}

Function = Callable[..., Tensor]


class Kernel(NamedTuple):
    """What is timed, and what it costs at least: per number of the input, and per number of the output."""

    name: str
    target: float
    ours: Function
    theirs: dict[str, Function]
    terms: int
    stride: int
    bytes_in: float
    bytes_out: float
    operations_in: float
    operations_out: float
    size: int = 0  # of the kernels of a convolution
    dense: bool = False  # whether each channel meets all: its operations are for one channel


def products(weights: Tensor, *terms: Tensor) -> Tensor:
    return functools.reduce(torch.add, (term * w for term, w in zip(terms, weights.unbind(), strict=True)))


def stacked(weights: Tensor, *terms: Tensor) -> Tensor:
    return torch.tensordot(weights, torch.stack(terms), 1)


def addcmul(weights: Tensor, *terms: Tensor) -> Tensor:
    first, *rest = weights.unbind()
    out = terms[0] * first
    for term, weight in zip(terms[1:], rest, strict=True):
        out = torch.addcmul(out, term, weight)
    return out


def pooling(stride: int) -> list[Kernel]:
    """Bytes and operations as in bench/README.md."""
    # A pixel is in nine windows at stride 1, and in 9 / 4 on average at stride 2.
    windows = 9 / stride**2
    return [
        Kernel(
            name=f"max pool stride {stride}",
            target=4,
            ours=lambda x: kernels.max_pool_3x3(x, stride),
            theirs={"torch": lambda x: F.max_pool2d(x, 3, stride, padding=1)},
            terms=0,
            stride=stride,
            bytes_in=4 + 4,
            bytes_out=4 + 1 + 4 + 1,
            operations_in=1 + 2 * windows,
            operations_out=2 * stride + 2,
        ),
        Kernel(
            name=f"avg pool stride {stride}",
            target=4,
            ours=lambda x: kernels.avg_pool_3x3(x, stride),
            theirs={
                "torch": lambda x: F.avg_pool2d(x, 3, stride, padding=1, count_include_pad=False),
            },
            terms=0,
            stride=stride,
            bytes_in=4 + 4,
            bytes_out=4 + 4,
            operations_in=(3 / stride - 1) * (1 + 1 / stride),
            operations_out=2 * stride + 4,
        ),
    ]


def depthwise(size: int, stride: int, dilation: int) -> Kernel:
    def plain(x: Tensor, weight: Tensor) -> Tensor:
        padding = dilation * (size // 2)
        return F.conv2d(F.relu(x), weight, None, stride, padding, dilation, groups=x.shape[1])

    return Kernel(
        name=f"depthwise {size}x{size}, {stride}, {dilation}",
        target=5,
        ours=lambda x, weight: kernels.relu_depthwise(x, weight, stride, dilation),
        theirs={"torch": plain},
        terms=0,
        stride=stride,
        bytes_in=4 + 4 + 4,
        bytes_out=4 + 4,
        operations_in=2,
        operations_out=6 * size**2,
        size=size,
    )


def normalized(weights: Tensor, *terms: Tensor) -> Tensor:
    return products(weights, *(F.batch_norm(term, None, None, training=True) for term in terms))


POINTWISE = Kernel(
    name="pointwise",
    target=1.5,
    ours=kernels.pointwise,
    theirs={"torch": F.conv2d},
    terms=0,
    stride=1,
    bytes_in=4 + 4 + 4,
    bytes_out=4 + 4,
    operations_in=0,
    operations_out=6,
    size=1,
    dense=True,
)

PORTION = 4


def parts_by_torch(x: Tensor) -> Tensor:
    width = x.shape[1] // PORTION
    return F.channel_shuffle(torch.cat([x[:, :width], x[:, width:]], 1), PORTION)


CHANNELS = Kernel(
    name=f"channels in {PORTION} parts",
    target=1,
    ours=lambda x: kernels.shuffle_channels(*kernels.split_channels(x, x.shape[1] // PORTION), PORTION),
    theirs={"torch": parts_by_torch},
    terms=0,
    stride=1,
    # Split: a part is copied; backward both are joined. Shuffled and back: all is copied.
    bytes_in=4 * (2 / PORTION + 2),
    bytes_out=4 + 4 + 4 + 4,
    operations_in=0,
    operations_out=0,
)

NORMALIZED = [
    Kernel(
        name="batch norm",
        target=1,
        ours=lambda x: kernels.batch_norm(x)[0],
        theirs={"torch": lambda x: F.batch_norm(x, None, None, training=True)},
        terms=0,
        stride=1,
        bytes_in=4 * (2 + 1 + 4 + 1),
        bytes_out=0,
        operations_in=4 + 2 + 4 + 5,
        operations_out=0,
    ),
    Kernel(
        name=f"normalised sum of {TERMS}",
        target=2,
        ours=lambda weights, *terms: kernels.normalized_sum(terms, [True] * len(terms), weights)[0],
        theirs={"torch": normalized},
        terms=TERMS,
        stride=1,
        bytes_in=0,
        bytes_out=4 * (5 * TERMS + 3),
        operations_in=0,
        operations_out=16 * TERMS,
    ),
]

KERNELS = [
    Kernel(
        name=f"weighted sum of {TERMS}",
        target=2,
        ours=lambda weights, *terms: kernels.weighted_sum(terms, weights),
        theirs={"products": products, "stack": stacked, "addcmul": addcmul},
        terms=TERMS,
        stride=1,
        bytes_in=0,
        bytes_out=4 * (3 * TERMS + 2),
        operations_in=0,
        operations_out=5 * TERMS - 1,
    ),
    *pooling(1),
    *pooling(2),
    depthwise(3, 1, 1),
    depthwise(5, 1, 1),
    depthwise(3, 1, 2),
    depthwise(5, 1, 2),
    depthwise(5, 2, 1),
    depthwise(5, 2, 2),
    POINTWISE,
    CHANNELS,
    *NORMALIZED,
]


def step(function: Function, inputs: Sequence[Tensor], grad: Tensor) -> list[Tensor]:
    """An output and the gradients of all inputs."""
    out = function(*inputs)
    return [out, *torch.autograd.grad(out, inputs, grad)]


def inputs_of(
    kernel: Kernel, shape: tuple[int, int, int, int], layout: torch.memory_format
) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(0)

    def images(*size: int) -> Tensor:
        return torch.randn(size, generator=generator).contiguous(memory_format=layout)

    grad = images(*shape[:2], *(-(-size // kernel.stride) for size in shape[2:]))
    inputs = [images(*shape) for _ in range(max(1, kernel.terms))]
    if kernel.terms:
        inputs.insert(0, torch.randn(kernel.terms, generator=generator).softmax(0))
    if kernel.size:
        among = shape[1] if kernel.dense else 1
        inputs.append(torch.randn(shape[1], among, kernel.size, kernel.size, generator=generator))
    return [x.requires_grad_() for x in inputs], grad


def same(theirs: list[Tensor], ours: list[Tensor], within: float = 1e-4) -> bool:
    """Equal to so much of the largest number."""
    return all(bool((a - b).abs().max() <= within * a.abs().max()) for a, b in zip(theirs, ours, strict=True))


def whole(shape: tuple[int, int, int, int]) -> None:
    """Compare a whole mixed operation of DARTS with its twin, with the gradients of all weights."""
    torch.manual_seed(0)
    twin = darts_twin.MixedOp(shape[1], 1)
    ours = MixedOp(
        {
            name: darts_operation(name, shape[1], affine=False, pool_norm=True)
            for name in darts_twin.OPERATIONS
        }
    )
    ours.load_state_dict(twin.state_dict())
    weights, x, grad = torch.randn(TERMS).softmax(0), torch.randn(shape), torch.randn(shape)

    def call(
        mixed: torch.nn.Module, layout: torch.memory_format, dtype: torch.dtype = torch.float32
    ) -> Callable[[], list[Tensor]]:
        mixed = copy.deepcopy(mixed).to(dtype).to(memory_format=layout)
        images, passed = (one.to(dtype, copy=True, memory_format=layout) for one in (x, grad))
        inputs = [images.requires_grad_(), weights.to(dtype, copy=True).requires_grad_()]

        def run() -> list[Tensor]:
            out = mixed(*inputs)
            return [out, *torch.autograd.grad(out, [*inputs, *mixed.parameters()], passed)]

        return run

    # The twin's own gradients of weights are off by 1e-3 with channels last, in single precision.
    exact = call(twin, torch.channels_last, torch.float64)()
    if not same(exact, call(ours, torch.channels_last)()):
        raise AssertionError(f"mixed operation {shape}: nasx and the twin give different answers")
    peers = {f"eager {name}": call(twin, layout) for name, layout in LAYOUTS.items()}
    peers["kernels one by one"] = one_by_one(call(ours, torch.channels_last))
    for name, peer in peers.items():
        compare(
            f"mixed operation {'x'.join(map(str, shape))}",
            name,
            peer,
            call(ours, torch.channels_last),
            functools.partial(same, within=5e-3),
            target=(2.5 if shape[-1] <= 8 else 4) if "eager" in name else None,
        )


def one_by_one(function: Callable[[], list[Tensor]]) -> Callable[[], list[Tensor]]:
    """Run every candidate of mixed operations for itself."""

    def call() -> list[Tensor]:
        with mock.patch.object(mixed_operations, "as_one", return_value=None):
            return function()

    return call


def least(call: Callable[[], object], rounds: int = 15) -> float:
    """Seconds of the fastest of many calls."""
    call()
    found = []
    for _ in range(rounds):
        begun = harness.clock()
        call()
        found.append(harness.clock() - begun)
    return min(found)


def bandwidth(size: float) -> float:
    """Bytes read and written a second, where a copy reads and writes so many in all."""
    source = torch.zeros(max(1, int(size) // 8))
    target = torch.zeros_like(source)
    return 8 * len(source) / least(lambda: target.copy_(source))


def peak() -> float:
    """Operations in float32 a second, in the product of two large matrices."""
    a = torch.rand(1536, 1536)
    return 2 * 1536**3 / least(lambda: a @ a, 5)


def run(
    chosen: Sequence[Kernel],
    shapes: Sequence[tuple[int, int, int, int]],
    threads: int,
    *,
    compiled: bool,
    mixed: bool,
) -> None:
    torch.set_num_threads(threads)
    nasx.set_num_threads(threads)
    describe("torch")
    rows = []
    for kernel in chosen:
        for shape in shapes:
            ours = functools.partial(step, kernel.ours, *inputs_of(kernel, shape, torch.channels_last))
            formulations = dict(kernel.theirs)
            if compiled:
                first = next(iter(kernel.theirs.values()))
                formulations["compiled"] = torch.compile(first, dynamic=False)
            ratios = {}
            for layout, memory_format in LAYOUTS.items():
                given = inputs_of(kernel, shape, memory_format)
                for name, function in formulations.items():
                    peer = f"{name} {layout}"
                    ratios[peer] = compare(
                        f"{kernel.name} {'x'.join(map(str, shape))}",
                        peer,
                        functools.partial(step, function, *given),
                        ours,
                        same,
                        target=kernel.target,
                    )
            best = min(ratios, key=lambda peer: ratios[peer])
            print(f"    against the best, {best}: {ratios[best]:.2f}, wanted {kernel.target:g}")
            rows.append((kernel, shape, least(ours)))
    if mixed:
        for shape in shapes:
            whole(shape)
    bounds(rows)


def bounds(rows: Sequence[tuple[Kernel, tuple[int, int, int, int], float]]) -> None:
    """Print what each kernel costs at least, and what it costs."""
    most = peak()
    print(
        f"\nbounds: {torch.get_num_threads()} threads, {bandwidth(2**29) / 1e9:.1f} GB/s in a copy of large "
        f"memory, {most / 1e9:.0f} GFLOP/s in a matrix product\n"
    )
    print(
        "| kernel | shape | MB | Mop | GB/s of a copy as large | ms at bandwidth | ms at peak | ms | times |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for kernel, shape, seconds in rows:
        batch, channels, height, width = shape
        numbers = batch * channels * height * width
        outputs = batch * channels * -(-height // kernel.stride) * -(-width // kernel.stride)
        size = kernel.bytes_in * numbers + kernel.bytes_out * outputs
        operations = kernel.operations_in * numbers + kernel.operations_out * outputs
        operations *= channels if kernel.dense else 1
        speed = bandwidth(size)
        bound = max(size / speed, operations / most)
        print(
            f"| {kernel.name} | {shape} | {size / 1e6:.1f} | {operations / 1e6:.1f} | {speed / 1e9:.1f} "
            f"| {size / speed * 1e3:.3f} | {operations / most * 1e3:.3f} | {seconds * 1e3:.3f} "
            f"| {seconds / bound:.2f} |"
        )
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", default="", help="kernels whose names begin so")
    parser.add_argument("--compile", action="store_true", help="also time torch.compile")
    parser.add_argument("--small", action="store_true", help="small images, all by the kernels")
    parser.add_argument(
        "--shape", type=int, nargs=4, metavar=("B", "C", "H", "W"), help="of the images, instead of three"
    )
    parser.add_argument("--cpu-time", action="store_true", help="of one thread, on a machine that is shared")
    options = parser.parse_args()
    harness.keep_freed_memory()
    if options.cpu_time:
        harness.clock, options.threads = time.process_time, [1]
    if options.small:
        tensors.LEAST = dict.fromkeys(tensors.LEAST, 0)
    shapes = SMALL if options.small else SHAPES
    if options.shape is not None:
        shapes = [tuple(options.shape)]
    for threads in options.threads:
        chosen = [kernel for kernel in KERNELS if kernel.name.startswith(options.only)]
        mixed = not options.small and "mixed operation".startswith(options.only)
        run(chosen, shapes, threads, compiled=options.compile, mixed=mixed)


if __name__ == "__main__":
    main()
