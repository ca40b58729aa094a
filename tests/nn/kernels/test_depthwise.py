"""ReLU and depthwise convolution in one: twin, PyTorch, gradients, operators, and what goes to PyTorch."""

import itertools

import numpy as np
import pytest
import torch
from reference import mixed_op as twin
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import nasx
from nasx._core import mixed_op as native
from nasx.nn import kernels

LAST = torch.channels_last
STEPS = list(itertools.product((3, 5), (1, 2), (1, 2)))  # kernel, stride, dilation


def plain(x, weight, stride, dilation):
    padding = dilation * (weight.shape[-1] // 2)
    return F.conv2d(F.relu(x), weight, None, stride, padding, dilation, groups=x.shape[1])


def inputs(batch, channels, height, width, kernel, dtype=torch.float32):
    x = torch.randn(batch, channels, height, width, dtype=dtype).contiguous(memory_format=LAST)
    weight = torch.randn(channels, 1, kernel, kernel, dtype=dtype)
    return x.requires_grad_(), weight.requires_grad_()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), STEPS)
def test_results_are_the_twins_and_torchs(kernel, stride, dilation, dtype, threads, calls):
    nasx.set_num_threads(threads)
    near = {"rtol": 1e-5, "atol": 2e-5} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    for batch, channels, height, width in [
        *((1, channels, 4, 7) for channels in (1, 3, 4, 8, 16, 17)),
        *((2, 5, *size) for size in [(1, 1), (1, 4), (5, 2), (9, 1), (3, 11)]),
        (40, 8, 5, 6),
    ]:
        x, weight = inputs(batch, channels, height, width, kernel, dtype)
        before = x.detach().clone(), weight.detach().clone()
        out, expected = (f(x, weight, stride, dilation) for f in (kernels.relu_depthwise, plain))
        grad = torch.randn_like(expected)
        given = grad.clone()
        found = torch.autograd.grad(out, (x, weight), grad)
        assert calls == ["relu_depthwise", "relu_depthwise_backward"]
        calls.clear()
        wanted = torch.autograd.grad(expected, (x, weight), grad)
        torch.testing.assert_close(out, expected, **near)
        for ours, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(ours, theirs, **near)
        assert out.is_contiguous(memory_format=LAST)
        assert found[0].is_contiguous(memory_format=LAST)
        arrays = x.detach().numpy(), weight.detach().numpy()[:, 0]
        np.testing.assert_allclose(
            out.detach(), twin.relu_depthwise(*arrays, stride, dilation), **near, strict=False
        )
        of_x, of_weights = twin.relu_depthwise_gradients(grad.numpy(), *arrays, stride, dilation)
        np.testing.assert_allclose(found[0], of_x, **near)
        np.testing.assert_allclose(found[1][:, 0], of_weights, **near)
        assert torch.equal(x, before[0])
        assert torch.equal(weight, before[1])
        assert torch.equal(grad, given)


def test_nan_zero_and_infinity_pass_as_in_torch():
    x, weight = inputs(1, 3, 6, 5, 3)
    with torch.no_grad():
        x[0, 0, 2, 2], x[0, 1, 0, 0], x[0, 1, 3, 3] = torch.nan, 0.0, -torch.inf
        x[0, 2, 4, 4] = torch.inf
    out, expected = kernels.relu_depthwise(x, weight), plain(x, weight, 1, 1)
    torch.testing.assert_close(out, expected, equal_nan=True)
    grad = torch.randn_like(out)
    for ours, theirs in zip(
        *(torch.autograd.grad(one, (x, weight), grad) for one in (out, expected)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, equal_nan=True, rtol=1e-5, atol=1e-5)


def test_only_wanted_gradients_are_computed():
    x, weight = inputs(2, 8, 6, 5, 5)
    both = torch.autograd.grad(kernels.relu_depthwise(x, weight).sum(), (x, weight))
    (of_x,) = torch.autograd.grad(kernels.relu_depthwise(x, weight.detach()).sum(), x)
    (of_weight,) = torch.autograd.grad(kernels.relu_depthwise(x.detach(), weight).sum(), weight)
    assert torch.equal(of_x, both[0])
    assert torch.equal(of_weight, both[1])
    assert not kernels.relu_depthwise(x.detach(), weight.detach()).requires_grad


def test_a_gradient_in_another_layout_is_brought_into_order():
    x, weight = inputs(2, 3, 4, 5, 3)
    for grad in (torch.randn(2, 3, 4, 5), torch.randn(1, 3, 1, 5).expand(2, 3, 4, 5)):
        for ours, theirs in zip(
            *(
                torch.autograd.grad(f(x, weight, 1, 1), (x, weight), grad)
                for f in (kernels.relu_depthwise, plain)
            ),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), STEPS)
def test_gradients_are_right_once_and_twice(kernel, stride, dilation):
    x, weight = inputs(2, 2, 4, 3, kernel, torch.float64)
    assert torch.autograd.gradcheck(lambda *xw: kernels.relu_depthwise(*xw, stride, dilation), (x, weight))
    # Where gradients are differentiated PyTorch computes them.
    assert torch.autograd.gradgradcheck(
        lambda *xw: kernels.relu_depthwise(*xw, stride, dilation), (x, weight)
    )


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_operators_pass_torchs_check(dtype, last):
    x, weight = inputs(2, 3, 5, 4, 3, dtype)
    if not last:
        x = x.detach().contiguous().requires_grad_()
    grad = torch.randn(2, 3, 3, 2, dtype=dtype)
    torch.library.opcheck(torch.ops.nasx.relu_depthwise, (x, weight, 2, 1))
    torch.library.opcheck(torch.ops.nasx.relu_depthwise_backward, (grad, x.detach(), weight.detach(), 2, 1))


def test_what_does_not_fit_is_refused():
    ops = torch.ops.nasx
    x, weight = torch.ones(1, 2, 4, 3), torch.ones(2, 1, 3, 3)
    for function in (kernels.relu_depthwise, ops.relu_depthwise):
        for arguments, message in (
            ((x[0], weight, 1, 1), "x must have four dimensions"),
            ((x, weight, 3, 1), "stride must be 1 or 2; got 3"),
            ((x, weight, 1, 0), "dilation must be 1 or 2; got 0"),
            ((x, torch.ones(2, 1, 4, 4), 1, 1), r"\(2, 1, 3, 3\) or \(2, 1, 5, 5\).*got \(2, 1, 4, 4\)"),
            ((x, torch.ones(2, 2, 3, 3), 1, 1), r"weight must have shape"),
            ((x, torch.ones(4, 1, 3, 3), 1, 1), r"weight must have shape"),
        ):
            with pytest.raises(ValueError, match=message):
                function(*arguments)
    for call, message in (
        (lambda: ops.relu_depthwise(x.half(), weight.half(), 1, 1), "x must have dtype float32 or float64"),
        (lambda: ops.relu_depthwise(x, weight.double(), 1, 1), "weight must have dtype torch.float32"),
        (lambda: ops.relu_depthwise_backward(x, x, weight, 2, 1), r"grad must have .*\(1, 2, 2, 2\); got"),
        (lambda: ops.relu_depthwise_backward(x.double(), x, weight, 1, 1), "grad must have dtype"),
        (
            lambda: ops.relu_depthwise_backward(x[:, :1], x, weight, 1, 1),
            r"grad must have .*\(1, 2, 4, 3\); got .*\(1, 1, 4, 3\)",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_compiled_functions_are_one_graph_and_the_same(calls):
    x, weight = inputs(2, 8, 6, 5, 3)
    expected = kernels.relu_depthwise(x, weight, 2)
    wanted = torch.autograd.grad(expected.sum(), (x, weight))
    seen = set(calls)
    calls.clear()
    compiled = torch.compile(kernels.relu_depthwise, backend="aot_eager", fullgraph=True)
    out = compiled(x, weight, 2)
    found = torch.autograd.grad(out.sum(), (x, weight))
    assert set(calls) == seen
    assert torch.equal(out, expected)
    assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))


def test_others_go_to_torch(calls):
    x, weight = (one.detach() for one in inputs(2, 4, 6, 5, 3))
    expected = plain(x, weight, 1, 1)
    for one, other in (
        (x.contiguous(), weight),
        (x.bfloat16(), weight.bfloat16()),
        (x, torch.randn(4, 1, 3, 6)[..., ::2]),
        (x.to("meta"), weight.to("meta")),
    ):
        out = kernels.relu_depthwise(one, other)
        assert (out.dtype, out.device) == (one.dtype, one.device)
        assert one.is_meta or torch.equal(out, plain(one, other, 1, 1))
    with torch.autocast("cpu", torch.bfloat16):
        assert kernels.relu_depthwise(x, weight).dtype == torch.bfloat16
    with FlopCounterMode(display=False) as counter:  # it sees what is computed
        kernels.relu_depthwise(x, weight)
    assert counter.get_total_flops() == 2 * expected.numel() * 9
    kernels.use_kernels(False)
    assert torch.equal(kernels.relu_depthwise(x, weight), expected)
    assert calls == []


def test_missing_addresses_are_refused():
    at = np.zeros(9, np.float32).ctypes.data
    for call, message in (
        (lambda: native.relu_depthwise_float32(1, 1, 1, 1, 4, 1, 1, at, at, at), "kernel must be 3 or 5"),
        (lambda: native.relu_depthwise_float32(1, 1, -1, 1, 3, 1, 1, at, at, at), "width must not be neg"),
        (lambda: native.relu_depthwise_float32(1, 1, 1, 1, 3, 1, 1, 0, at, at), "x must be the address"),
        (lambda: native.relu_depthwise_float32(1, 1, 1, 1, 3, 1, 1, at, 0, at), "weights must be the add"),
        (
            lambda: native.relu_depthwise_backward_float32(1, 1, 1, 1, 3, 1, 1, 0, at, at, 0, 0),
            "grad must be the address",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
