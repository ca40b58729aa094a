"""Native kernels of mixed operations: twin, PyTorch, gradients, CPU levels, threads, and what goes to PyTorch."""

import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import mixed_op as twin
from torch import nn
from torch.nn import functional as F

import nasx
from nasx._core import mixed_op as native
from nasx._core import runtime
from nasx.nn import kernels
from nasx.nn.kernels import tensors, weighted_sums
from nasx.nn.kernels.mixed_sums import Term, mixed_sum

LAST = torch.channels_last
SIZES = [(1, 1), (1, 4), (2, 2), (3, 3), (5, 4), (7, 8), (9, 1)]
CHANNELS = (1, 3, 8, 16, 17)
POOLS = {
    "max": (
        kernels.max_pool_3x3,
        lambda x, stride: F.max_pool2d(x, 3, stride, padding=1),
        twin.max_pool,
        twin.max_pool_gradient,
    ),
    "avg": (
        kernels.avg_pool_3x3,
        lambda x, stride: F.avg_pool2d(x, 3, stride, padding=1, count_include_pad=False),
        twin.avg_pool,
        twin.avg_pool_gradient,
    ),
}


def tolerance(dtype):
    return {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}


def images(*shape, dtype=torch.float32, levels=None):
    """Channels last; with whole numbers, and so many ties, below `levels`."""
    x = torch.randn(shape) if levels is None else torch.randint(levels, shape)
    return x.to(dtype).contiguous(memory_format=LAST)


# -- weighted sums -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("shape", "last"),
    [
        *((shape, False) for shape in [(), (5,), (3, 700), (1, 3, 5, 7), (8, 16, 32, 32)]),
        *(
            (shape, True)
            for shape in [(1, 1, 1, 1), (1, 3, 5, 7), (2, 8, 3, 3), (3, 17, 9, 11), (8, 16, 32, 32)]
        ),
    ],
)
def test_weighted_sums_are_the_twins_and_torchs(shape, last, dtype, threads, calls):
    nasx.set_num_threads(threads)
    layout = LAST if last else torch.contiguous_format
    for count in (2, 3, 8):
        terms = [
            torch.randn(shape, dtype=dtype).contiguous(memory_format=layout).requires_grad_()
            for _ in range(count)
        ]
        weights = torch.randn(count, dtype=dtype, requires_grad=True)
        grad = torch.randn(shape, dtype=dtype)
        before = [x.detach().clone() for x in (*terms, weights, grad)]
        out = kernels.weighted_sum(terms, weights)
        found = torch.autograd.grad(out, [*terms, weights], grad)
        assert calls == ["weighted_sum", "weighted_sum_backward"]
        calls.clear()

        plain = weighted_sums.plain_sum(terms, weights)
        assert torch.equal(out, plain)  # the same operations in the same order
        assert out.is_contiguous(memory_format=layout)
        for ours, theirs in zip(found, torch.autograd.grad(plain, [*terms, weights], grad), strict=True):
            scale = 1 if ours.shape == shape else max(1, grad.numel()) ** 0.5
            torch.testing.assert_close(
                ours, theirs, rtol=1e-5, atol=scale * (1e-5 if dtype == torch.float32 else 1e-12)
            )
        assert all(torch.equal(x, y) for x, y in zip((*terms, weights, grad), before, strict=True))

        arrays = [term.detach().numpy() for term in terms]
        np.testing.assert_allclose(
            out.detach(), twin.weighted_sum(arrays, weights.detach().numpy()), **tolerance(dtype)
        )
        scaled, products = twin.weighted_sum_gradients(grad.numpy(), arrays, weights.detach().numpy())
        for ours, theirs in zip(found, [*scaled, products], strict=True):
            scale = 1 if ours.shape == shape else max(1, grad.numel()) ** 0.5
            np.testing.assert_allclose(
                ours, theirs, rtol=1e-6, atol=scale * (1e-6 if dtype == torch.float32 else 1e-13)
            )


def test_only_wanted_gradients_are_computed(calls):
    terms = [torch.randn(4, 5) for _ in range(3)]
    terms[1].requires_grad_()
    weights = torch.tensor([0.5, 2.0, -1.0])
    kernels.weighted_sum(terms, weights).sum().backward()
    assert torch.equal(terms[1].grad, torch.full((4, 5), 2.0))
    assert terms[0].grad is None
    weights.requires_grad_()
    terms[1].requires_grad_(False)
    (found,) = torch.autograd.grad(kernels.weighted_sum(terms, weights).sum(), weights)
    torch.testing.assert_close(found, torch.stack([term.sum() for term in terms]))
    assert calls == ["weighted_sum", "weighted_sum_backward"] * 2
    with torch.no_grad():
        assert not kernels.weighted_sum(terms, weights).requires_grad


def test_one_tensor_may_be_several_terms():
    x = torch.randn(4, 5, requires_grad=True)
    weights = torch.tensor([0.5, 2.0, -1.0], requires_grad=True)
    out = kernels.weighted_sum([x, x, x], weights)
    torch.testing.assert_close(out, 1.5 * x)
    (found,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(found, torch.full((4, 5), 1.5))


def test_a_gradient_in_another_layout_is_brought_into_order():
    terms = [images(2, 3, 4, 5).requires_grad_() for _ in range(2)]
    weights = torch.tensor([0.5, 2.0])
    expanded = torch.randn(1, 3, 1, 5).expand(2, 3, 4, 5)
    strided = torch.randn(2, 3, 4, 10)[..., ::2]
    negative = torch.imag(torch.randn(2, 3, 4, 5, dtype=torch.complex64).conj())
    assert negative.is_neg()
    for grad in (torch.randn(2, 3, 4, 5), expanded, strided, negative):
        found = torch.autograd.grad(kernels.weighted_sum(terms, weights), terms, grad)
        for weight, ours in zip(weights, found, strict=True):
            assert torch.equal(ours, weight * grad)
            assert ours.is_contiguous(memory_format=LAST)
        for pool, theirs, *_ in POOLS.values():
            (ours,) = torch.autograd.grad(pool(terms[0]), terms[0], grad)
            (expected,) = torch.autograd.grad(theirs(terms[0], 1), terms[0], grad)
            torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize(
    ("terms", "weights", "message"),
    [
        ([], torch.ones(0), "terms must hold at least one tensor; got none"),
        ([torch.ones(2)] * 2, torch.ones(3), r"weights must have shape \(2,\).*got \(3,\)"),
        ([torch.ones(2)], torch.ones(1, 1), r"weights must have shape \(1,\).*got \(1, 1\)"),
        ([torch.ones(2), torch.ones(1)], torch.ones(2), r"terms\[0\] has \(2,\), terms\[1\] \(1,\)"),
    ],
)
def test_weighted_sums_refuse_what_does_not_fit(terms, weights, message):
    with pytest.raises(ValueError, match=message):
        kernels.weighted_sum(terms, weights)


# -- pooling -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", POOLS)
def test_pooling_is_the_twins_and_torchs(kind, stride, dtype, threads, calls):
    ours, theirs, by_hand, gradient_by_hand = POOLS[kind]
    nasx.set_num_threads(threads)
    for (height, width), channels, levels in [
        *((size, channels, None) for size in SIZES for channels in CHANNELS),
        *((size, 3, 2) for size in SIZES),  # with ties
    ]:
        for batch in (1, 2):
            x = images(batch, channels, height, width, dtype=dtype, levels=levels).requires_grad_()
            before = x.detach().clone()
            out, expected = ours(x, stride), theirs(x, stride)
            grad = torch.randn_like(expected)
            given = grad.clone()
            (found,) = torch.autograd.grad(out, x, grad)
            assert calls == [f"{kind}_pool_3x3", f"{kind}_pool_3x3_backward"]
            calls.clear()
            (wanted,) = torch.autograd.grad(expected, x, grad)
            torch.testing.assert_close(out, expected, **tolerance(dtype))
            torch.testing.assert_close(found, wanted, **tolerance(dtype))
            assert out.is_contiguous(memory_format=LAST)
            assert found.is_contiguous(memory_format=LAST)
            if kind == "max":
                assert torch.equal(out, expected)
            array = x.detach().numpy()
            np.testing.assert_allclose(out.detach(), by_hand(array, stride), **tolerance(dtype))
            np.testing.assert_allclose(
                found, gradient_by_hand(grad.numpy(), array, stride), **tolerance(dtype)
            )
            assert torch.equal(x, before)
            assert torch.equal(grad, given)


@pytest.mark.parametrize("stride", [1, 2])
def test_nan_and_infinity_pass_as_in_torch(stride):
    x = images(2, 5, 7, 6, levels=3)
    x[torch.rand(x.shape) < 0.15] = torch.nan
    x[0, 0] = -torch.inf
    x[0, 1] = torch.nan
    x[0, 2, 3:] = torch.inf
    x.requires_grad_()
    for kind, (ours, theirs, by_hand, gradient_by_hand) in POOLS.items():
        out, expected = ours(x, stride), theirs(x, stride)
        assert out.isnan().any()
        assert not out.isnan().all()
        torch.testing.assert_close(out, expected, equal_nan=True)
        grad = torch.randn_like(expected)
        (found,), (wanted,) = (torch.autograd.grad(one, x, grad) for one in (out, expected))
        torch.testing.assert_close(found, wanted)
        array = x.detach().numpy()
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(out.detach(), by_hand(array, stride), rtol=1e-6)
        np.testing.assert_allclose(
            found, gradient_by_hand(grad.numpy(), array, stride), rtol=1e-5, atol=1e-6, err_msg=kind
        )


@pytest.mark.parametrize("pool", [kernels.max_pool_3x3, kernels.avg_pool_3x3])
def test_pooling_refuses_what_does_not_fit(pool):
    with pytest.raises(ValueError, match="stride must be 1 or 2; got 3"):
        pool(torch.ones(1, 1, 3, 3), 3)
    with pytest.raises(ValueError, match=r"x must have four dimensions \(B, C, H, W\); got shape \(3, 3\)"):
        pool(torch.ones(3, 3))


# -- gradients of gradients, and operators -------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_are_right_once_and_twice(stride, calls):
    x = images(2, 3, 5, 4, dtype=torch.float64).requires_grad_()
    for pool in (kernels.max_pool_3x3, kernels.avg_pool_3x3):
        assert torch.autograd.gradcheck(lambda x, pool=pool: pool(x, stride), x)
        # Where gradients are differentiated PyTorch computes them, with the same result.
        assert torch.autograd.gradgradcheck(lambda x, pool=pool: pool(x, stride), x)
        grad = torch.randn_like(pool(x, stride))
        (native_one,) = torch.autograd.grad(pool(x, stride), x, grad)
        (torchs,) = torch.autograd.grad(pool(x, stride), x, grad, create_graph=True)
        torch.testing.assert_close(native_one, torchs)
    terms = [torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    weights = torch.randn(3, dtype=torch.float64, requires_grad=True)
    inputs = (weights, *terms)
    assert torch.autograd.gradcheck(lambda w, *terms: kernels.weighted_sum(terms, w), inputs)
    assert torch.autograd.gradgradcheck(lambda w, *terms: kernels.weighted_sum(terms, w), inputs)
    assert {"weighted_sum_backward", "max_pool_3x3_backward", "avg_pool_3x3_backward"} <= set(calls)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_operators_pass_torchs_check(dtype, last):
    layout = LAST if last else torch.contiguous_format
    x = torch.randn(2, 3, 5, 4, dtype=dtype).contiguous(memory_format=layout).requires_grad_()
    terms = [x, torch.randn(2, 3, 5, 4, dtype=dtype, requires_grad=True)]
    weights = torch.randn(2, dtype=dtype, requires_grad=True)
    grad = torch.randn(2, 3, 3, 2, dtype=dtype)
    ops = torch.ops.nasx
    torch.library.opcheck(ops.weighted_sum, (terms, weights))
    plain = [term.detach() for term in terms]
    torch.library.opcheck(ops.weighted_sum_backward, (plain[0], plain, weights.detach()))
    for stride in (1, 2):
        torch.library.opcheck(ops.max_pool_3x3, (x, stride))
        torch.library.opcheck(ops.avg_pool_3x3, (x, stride))
    places = ops.max_pool_3x3(x.detach(), 2)[1]
    torch.library.opcheck(ops.max_pool_3x3_backward, (grad, places, 5, 4, 2))
    torch.library.opcheck(ops.avg_pool_3x3_backward, (grad, 5, 4, 2))


def test_operators_refuse_what_a_kernel_must_not_see():
    ops = torch.ops.nasx
    x, y, two = torch.ones(1, 2, 4, 3), torch.ones(1, 2, 2, 2), torch.ones(2)
    places = torch.zeros(1, 2, 2, 2, dtype=torch.int8)
    for call, message in (
        (lambda: ops.weighted_sum([], two[:0]), "terms must hold at least one tensor"),
        (lambda: ops.weighted_sum([x, x[:, :1]], two), r"terms\[1\] must have dtype torch.float32 and shape"),
        (lambda: ops.weighted_sum([x, x.double()], two), r"terms\[1\] must have .*; got torch.float64"),
        (lambda: ops.weighted_sum([x, x], two[:1]), r"weights must have .* \(2,\); got .* \(1,\)"),
        (lambda: ops.weighted_sum([x.half()] * 2, two.half()), "float32 or float64; got torch.float16"),
        (lambda: ops.weighted_sum_backward(y, [x, x], two), r"grad must have .*\(1, 2, 4, 3\); got"),
        (lambda: ops.max_pool_3x3(x, 3), "stride must be 1 or 2; got 3"),
        (lambda: ops.max_pool_3x3(x.int(), 1), "x must have dtype float32 or float64; got torch.int32"),
        (lambda: ops.avg_pool_3x3(x[0], 1), "x must have four dimensions"),
        (lambda: ops.avg_pool_3x3_backward(y, 5, 3, 2), r"grad must have .*\(1, 2, 3, 2\); got"),
        (lambda: ops.avg_pool_3x3_backward(y, -4, 3, 2), r"grad must have"),
        (lambda: ops.max_pool_3x3_backward(y, places[:, :1], 4, 3, 2), "places must have"),
        (lambda: ops.max_pool_3x3_backward(y, places.int(), 4, 3, 2), "places must have"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert ops.max_pool_3x3_backward(y, places, 4, 3, 2).shape == x.shape


def mixture(x, weights):
    return kernels.weighted_sum(
        [x, kernels.max_pool_3x3(x), kernels.avg_pool_3x3(x), x.relu()], weights
    ) + kernels.max_pool_3x3(x.exp())


def test_compiled_functions_are_one_graph_and_the_same(calls):
    graphs = []

    def look(module, _):
        graphs.append(module)
        return module.forward

    x = images(2, 3, 6, 5).requires_grad_()
    weights = torch.randn(4, requires_grad=True)
    expected = mixture(x, weights)
    grad = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, [x, weights], grad)
    seen = set(calls)
    for backend in (look, "aot_eager"):
        calls.clear()
        compiled = torch.compile(mixture, backend=backend, fullgraph=True)
        out = compiled(x, weights)
        found = torch.autograd.grad(out, [x, weights], grad)
        torch.testing.assert_close(out, expected)
        for ours, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(ours, theirs)
        assert set(calls) == seen
    (graph,) = graphs
    named = {str(node.target) for node in graph.graph.nodes}
    assert {"nasx.weighted_sum", "nasx.max_pool_3x3", "nasx.avg_pool_3x3"} <= named


# -- levels and threads --------------------------------------------------------------------------------------


def chains(x, numbers, *, recompute):
    """Whole mixed operations, with all gradients."""
    answers, channels = [], x.shape[1]
    for stride in (1, 2):
        terms = [Term("max_pool", True), Term("avg_pool", False), Term("convolutions", True, (1, 2))]
        terms += [Term("identity", False)] * (stride == 1)
        sizes = (
            (channels, 1, 5, 5),
            (channels, channels, 1, 1),
            (channels, 1, 3, 3),
            (channels, channels, 1, 1),
        )
        weights = [numbers(*size, dtype=x.dtype).detach().contiguous().requires_grad_() for size in sizes]
        factors = numbers(len(terms), dtype=x.dtype)
        found = mixed_sum(x, terms, weights, [], factors, stride=stride, recompute=recompute)
        grads = torch.autograd.grad(found.total, (x, factors, *weights), found.total.detach())
        answers += [*found, *grads]
    return answers


def fingerprint() -> str:
    """One hash over outputs and gradients; computed here and in processes at other levels."""
    tensors.LEAST = dict.fromkeys(tensors.LEAST, 0)
    digest = hashlib.sha256()
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape, dtype):
        x = torch.randn(shape, generator=generator, dtype=dtype)
        return (x.contiguous(memory_format=LAST) if len(shape) == 4 else x).requires_grad_()

    for dtype in (torch.float32, torch.float64):
        for shape in [
            (1, 1, 1, 1),
            (2, 3, 7, 5),
            (1, 17, 9, 8),
            (3, 24, 6, 9),
            (8, 16, 32, 31),
            (2, 32, 5, 12),
        ]:
            terms = [numbers(*shape, dtype=dtype) for _ in range(5)]
            weights = numbers(5, dtype=dtype)
            answers = [kernels.weighted_sum(terms, weights)]
            answers += torch.autograd.grad(answers[0], [*terms, weights], terms[0].detach())
            for pool in (kernels.max_pool_3x3, kernels.avg_pool_3x3):
                for stride in (1, 2):
                    out = pool(terms[0], stride)
                    answers += [out, *torch.autograd.grad(out, terms[0], out.detach())]
            for kernel, stride, dilation in itertools.product((3, 5), (1, 2), (1, 2)):
                weight = numbers(shape[1], 1, kernel, kernel, dtype=dtype).detach().contiguous()
                inputs = terms[0], weight.requires_grad_()
                out = kernels.relu_depthwise(*inputs, stride, dilation)
                answers += [out, *torch.autograd.grad(out, inputs, out.detach())]
            if shape[1] % 8 == 0:
                inputs = terms[0], numbers(24, shape[1], 1, 1, dtype=dtype).detach().contiguous()
                inputs[1].requires_grad_()
                out = kernels.pointwise(*inputs)
                answers += [out, *torch.autograd.grad(out, inputs, out.detach())]
                for recompute in (False, True):
                    answers += chains(terms[0], numbers, recompute=recompute)
            if terms[0].numel() > 1:
                out, *statistics = kernels.batch_norm(terms[0])
                answers += [out, *statistics, *torch.autograd.grad(out, terms[0], terms[1].detach())]
                flags = [True, False, True, True, False]
                out, *statistics = kernels.normalized_sum(terms, flags, weights)
                inputs = weights, *terms
                answers += [out, *statistics, *torch.autograd.grad(out, inputs, terms[1].detach())]
            if terms[0].dim() == 4:
                parts = kernels.split_channels(terms[0], terms[0].shape[1] // 2)
                if parts[0].shape == parts[1].shape:
                    answers.append(kernels.shuffle_channels(*parts, 2))
            for answer in answers:
                digest.update(answer.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("threads", [1, 2])
def test_cpu_levels_and_threads_give_the_same_bits(threads):
    nasx.set_num_threads(threads)
    expected = fingerprint()
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    code = "import nasx, test_kernels; nasx.set_num_threads(1); print(test_kernels.fingerprint())"
    for level in runtime.simd_levels():
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "NASX_SIMD": level, "PYTHONPATH": os.pathsep.join(folders)},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert done.stdout.strip() == expected, level


# -- what goes to PyTorch ------------------------------------------------------------------------------------


class Marked(torch.Tensor):
    """A subclass, as those of other libraries."""


def others():
    x = images(2, 3, 5, 4)
    return {
        "meta": x.to("meta"),
        "bfloat16": x.bfloat16(),
        "strided": torch.randn(2, 3, 5, 8)[..., ::2],
        "transposed": torch.randn(2, 3, 4, 5).transpose(2, 3),
        "subclass": x.as_subclass(Marked),
    }


@pytest.mark.parametrize("name", [*others(), "rows first"])
def test_other_tensors_go_to_torch(name, calls):
    x = torch.randn(2, 3, 5, 4) if name == "rows first" else others()[name]
    weights = torch.tensor([0.5, 2.0], dtype=x.dtype, device=x.device)
    for ours, theirs, *_ in POOLS.values():
        out, expected = ours(x, 2), theirs(x, 2)
        assert (out.dtype, out.device, out.stride()) == (expected.dtype, expected.device, expected.stride())
        assert x.is_meta or torch.equal(out, expected)
    if name != "rows first":  # which weighted sums take
        out, expected = kernels.weighted_sum([x, x], weights), 0.5 * x + 2.0 * x
        assert (out.dtype, out.device) == (expected.dtype, expected.device)
        assert x.is_meta or torch.equal(out, expected)
    assert calls == []


def test_what_is_mixed_or_one_goes_to_torch(calls):
    x = images(2, 3, 5, 4)
    half = torch.tensor([0.5, 0.5])
    for terms, weights in (
        ([x, x.contiguous()], half),
        ([x, x.double()], half),
        ([x, x], half.double()),
        ([x, x], torch.ones(4)[::2]),
        ([x], torch.ones(1)),
    ):
        out = kernels.weighted_sum(terms, weights)
        expected = sum(term * weight for term, weight in zip(terms, weights, strict=True))
        torch.testing.assert_close(out, expected)
    assert calls == []


def test_small_tensors_autocast_functions_and_exports_go_to_torch(calls, monkeypatch):
    x = images(2, 3, 5, 4)
    pool = kernels.max_pool_3x3
    expected = F.max_pool2d(x, 3, 1, padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(pool(x), expected)
    assert torch.equal(torch.func.vmap(lambda one: pool(one[None])[0])(x), expected)
    (found,) = torch.func.grad(lambda x: pool(x).sum())(x)[None]
    assert found.shape == x.shape

    class Pool(nn.Module):
        def forward(self, x):
            return pool(x)

    exported = torch.export.export(Pool(), (x,)).graph_module
    assert not any("nasx" in str(node.target) for node in exported.graph.nodes)
    monkeypatch.setattr(tensors, "LEAST", dict.fromkeys(tensors.LEAST, x.numel() + 1))
    assert torch.equal(pool(x), expected)
    kernels.weighted_sum([x, x], torch.ones(2))
    assert calls == []
    monkeypatch.setattr(tensors, "LEAST", dict.fromkeys(tensors.LEAST, x.numel()))
    pool(x)
    assert calls == ["max_pool_3x3"]


def test_kernels_can_be_turned_off(calls):
    x = images(2, 3, 5, 4)
    kernels.use_kernels(False)
    assert not kernels.kernels_in_use()
    assert torch.equal(kernels.max_pool_3x3(x), F.max_pool2d(x, 3, 1, padding=1))
    kernels.weighted_sum([x, x], torch.ones(2))
    kernels.avg_pool_3x3(x)
    assert calls == []
    code = "from nasx.nn import kernels; print(kernels.kernels_in_use())"

    def run(value):
        environment = {**os.environ, "NASX_KERNELS": value}
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )

    assert run("off").stdout.strip() == "False"
    assert run("on").stdout.strip() == "True"
    assert "NASX_KERNELS must be 'on' or 'off'; got 'maybe'" in run("maybe").stderr


# -- the native functions themselves -------------------------------------------------------------------------


def test_missing_addresses_and_wrong_numbers_are_refused():
    x, out = np.zeros(4, np.float32), np.zeros(4, np.float32)
    at, to = x.ctypes.data, out.ctypes.data
    for call, message in (
        (lambda: native.weighted_sum_float32([at, 0], at, 2, to), "terms must be the address"),
        (lambda: native.weighted_sum_float32([at], 0, 2, to), "weights must be the address"),
        (lambda: native.weighted_sum_float32([at], at, -1, to), "n must not be negative; got -1"),
        (lambda: native.weighted_sum_float32([], at, 1, to), "terms must hold at least one array"),
        (
            lambda: native.weighted_sum_backward_float32(at, [at], at, 1, [to, to], 0),
            "grad_terms must have one entry for each of the 1 terms; got 2",
        ),
        (lambda: native.avg_pool_3x3_float32(1, 1, 1, 1, 3, at, to), "stride must be 1 or 2; got 3"),
        (lambda: native.avg_pool_3x3_float32(1, 1, -1, 1, 1, at, to), "width must not be negative"),
        (lambda: native.avg_pool_3x3_float32(1, 1, 1, 1, 1, 0, to), "x must be the address"),
        (lambda: native.max_pool_3x3_float32(1, 1, 1, 1, 1, at, to, 0), "places must be the address"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert not out.any()
