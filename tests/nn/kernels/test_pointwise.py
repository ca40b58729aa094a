"""Convolutions of single pixels: twin, PyTorch, gradients, operators, and what goes to PyTorch."""

import sys

import numpy as np
import pytest
import torch
from reference import mixed_op as twin
from torch.nn import functional as F

import nasx
from nasx._core import mixed_op as native
from nasx.nn import kernels

LAST = torch.channels_last


@pytest.fixture(autouse=True)
def more_channels(monkeypatch):
    """The kernel takes more channels here than where it is used by itself."""
    monkeypatch.setattr(sys.modules["nasx.nn.kernels.pointwise"], "MOST_CHANNELS", 32)


def inputs(batch, channels, outs, height, width, dtype=torch.float32):
    x = torch.randn(batch, channels, height, width, dtype=dtype).contiguous(memory_format=LAST)
    weight = torch.randn(outs, channels, 1, 1, dtype=dtype)
    return x.requires_grad_(), weight.requires_grad_()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_are_the_twins_and_torchs(dtype, threads, calls):
    nasx.set_num_threads(threads)
    near = {"rtol": 1e-5, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    for sizes in [
        *((1, channels, outs, 3, 5) for channels in (8, 16, 24, 32) for outs in (8, 16, 24)),
        *((2, 8, 16, *size) for size in [(1, 1), (1, 7), (5, 2)]),
        (40, 16, 16, 9, 11),
    ]:
        x, weight = inputs(*sizes, dtype)
        before = x.detach().clone(), weight.detach().clone()
        out, expected = kernels.pointwise(x, weight), F.conv2d(x, weight)
        grad = torch.randn_like(expected)
        given = grad.clone()
        found = torch.autograd.grad(out, (x, weight), grad)
        assert calls == ["pointwise", "pointwise_backward"]
        calls.clear()
        torch.testing.assert_close(out, expected, **near)
        for ours, theirs in zip(found, torch.autograd.grad(expected, (x, weight), grad), strict=True):
            torch.testing.assert_close(ours, theirs, **near)
        assert out.is_contiguous(memory_format=LAST)
        assert found[0].is_contiguous(memory_format=LAST)
        arrays = x.detach().numpy(), weight.detach().numpy()[:, :, 0, 0]
        np.testing.assert_allclose(out.detach(), twin.pointwise(*arrays), **near)
        of_x, of_weights = twin.pointwise_gradients(grad.numpy(), *arrays)
        np.testing.assert_allclose(found[0], of_x, **near)
        np.testing.assert_allclose(found[1][:, :, 0, 0], of_weights, **near)
        assert torch.equal(x, before[0])
        assert torch.equal(weight, before[1])
        assert torch.equal(grad, given)


def test_threads_change_no_bit():
    x, weight = inputs(33, 16, 24, 13, 11)
    found = []
    for threads in (1, 2, 3):
        nasx.set_num_threads(threads)
        out = kernels.pointwise(x, weight)
        found.append((out, *torch.autograd.grad(out.square().sum(), (x, weight))))
    for other in found[1:]:
        assert all(torch.equal(*pair) for pair in zip(found[0], other, strict=True))


def test_only_wanted_gradients_are_computed():
    x, weight = inputs(2, 8, 16, 6, 5)
    both = torch.autograd.grad(kernels.pointwise(x, weight).sum(), (x, weight))
    (of_x,) = torch.autograd.grad(kernels.pointwise(x, weight.detach()).sum(), x)
    (of_weight,) = torch.autograd.grad(kernels.pointwise(x.detach(), weight).sum(), weight)
    assert torch.equal(of_x, both[0])
    assert torch.equal(of_weight, both[1])
    assert not kernels.pointwise(x.detach(), weight.detach()).requires_grad


def test_gradients_are_right_once_and_twice():
    x, weight = inputs(1, 8, 8, 2, 1, torch.float64)
    assert torch.autograd.gradcheck(kernels.pointwise, (x, weight))
    # Where gradients are differentiated PyTorch computes them.
    assert torch.autograd.gradgradcheck(kernels.pointwise, (x, weight))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_operators_pass_torchs_check(dtype, last):
    x, weight = inputs(2, 8, 16, 3, 2, dtype)
    if not last:
        x = x.detach().contiguous().requires_grad_()
    grad = torch.randn(2, 16, 3, 2, dtype=dtype)
    torch.library.opcheck(torch.ops.nasx.pointwise, (x, weight))
    torch.library.opcheck(torch.ops.nasx.pointwise_backward, (grad, x.detach(), weight.detach()))


def test_images_without_numbers_give_zeros():
    x, weight = torch.ones(2, 0, 3, 3), torch.ones(8, 0, 1, 1)
    assert torch.equal(torch.ops.nasx.pointwise(x, weight), torch.zeros(2, 8, 3, 3))
    x, weight = torch.ones(0, 8, 3, 3), torch.ones(16, 8, 1, 1)
    of_x, of_weight = torch.ops.nasx.pointwise_backward(torch.ones(0, 16, 3, 3), x, weight)
    assert of_x.shape == x.shape
    assert torch.equal(of_weight, torch.zeros_like(weight))


def test_what_does_not_fit_is_refused():
    ops = torch.ops.nasx
    x, weight = torch.ones(1, 8, 4, 3), torch.ones(16, 8, 1, 1)
    for function in (kernels.pointwise, ops.pointwise):
        for arguments, message in (
            ((x[0], weight), "x must have four dimensions"),
            ((x, torch.ones(16, 8, 3, 3)), r"weight must have shape \(D, 8, 1, 1\).*got \(16, 8, 3, 3\)"),
            ((x, torch.ones(16, 4, 1, 1)), "weight must have shape"),
            ((x, torch.ones(16, 8)), "weight must have shape"),
        ):
            with pytest.raises(ValueError, match=message):
                function(*arguments)
    for call, message in (
        (lambda: ops.pointwise(x.half(), weight.half()), "x must have dtype float32 or float64"),
        (lambda: ops.pointwise(x, weight.double()), "weight must have dtype torch.float32"),
        (lambda: ops.pointwise(x, weight[:4]), "weight must have multiples of 8 channels; got"),
        (lambda: ops.pointwise_backward(x, x, weight), r"grad must have .*\(1, 16, 4, 3\); got"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_compiled_functions_are_one_graph_and_the_same(calls):
    x, weight = inputs(2, 8, 16, 6, 5)
    expected = kernels.pointwise(x, weight)
    wanted = torch.autograd.grad(expected.sum(), (x, weight))
    seen = set(calls)
    calls.clear()
    compiled = torch.compile(kernels.pointwise, backend="aot_eager", fullgraph=True)
    out = compiled(x, weight)
    found = torch.autograd.grad(out.sum(), (x, weight))
    assert set(calls) == seen
    assert torch.equal(out, expected)
    assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))


def test_others_go_to_torch(calls):
    x, weight = (one.detach() for one in inputs(2, 8, 16, 6, 5))
    for one, other in (
        (x.contiguous(), weight),
        (x.bfloat16(), weight.bfloat16()),
        (x, torch.randn(5, 8, 1, 1)),
        (x, torch.randn(40, 8, 1, 1)),
        (x[:, :3].contiguous(memory_format=LAST), torch.randn(8, 3, 1, 1)),
        (x.to("meta"), weight.to("meta")),
    ):
        out = kernels.pointwise(one, other)
        assert (out.dtype, out.device) == (one.dtype, one.device)
        assert one.is_meta or torch.equal(out, F.conv2d(one, other))
    kernels.use_kernels(False)
    assert torch.equal(kernels.pointwise(x, weight), F.conv2d(x, weight))
    assert calls == []


def test_missing_addresses_and_odd_channels_are_refused():
    at = np.zeros(64, np.float32).ctypes.data
    for call, message in (
        (lambda: native.pointwise_float32(1, 7, 8, at, at, at), "in_channels must be a multiple of 8; got 7"),
        (lambda: native.pointwise_float32(1, 8, 9, at, at, at), "out_channels must be a multiple of 8"),
        (lambda: native.pointwise_float32(-1, 8, 8, at, at, at), "pixels must not be neg"),
        (lambda: native.pointwise_float32(1, 8, 8, 0, at, at), "x must be the address"),
        (lambda: native.pointwise_float32(1, 8, 8, at, 0, at), "weights must be the address"),
        (lambda: native.pointwise_backward_float32(1, 8, 8, 0, at, at, 0, 0), "grad must be the address"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
