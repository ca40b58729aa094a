"""Batch normalisation: twin, PyTorch, gradients, operators, running statistics, and what goes to PyTorch."""

import copy

import numpy as np
import pytest
import torch
from reference import mixed_op as twin
from torch import nn
from torch.nn import functional as F

import nasx
from nasx._core import mixed_op as native
from nasx.nn import kernels
from nasx.nn.layers import BatchNorm
from nasx.nn.recalibration import frozen_statistics, recalibrate

LAST = torch.channels_last
SHAPES = [(2, 1, 1, 1), (1, 3, 4, 5), (3, 8, 7, 1), (2, 17, 3, 3), (5, 12, 9, 8), (40, 4, 16, 15)]


def images(*shape, dtype=torch.float32):
    return torch.randn(shape, dtype=dtype).contiguous(memory_format=LAST).requires_grad_()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_results_are_the_twins_and_torchs(shape, dtype, threads, calls):
    nasx.set_num_threads(threads)
    near = {"rtol": 1e-4, "atol": 2e-5} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-10}
    x = images(*shape, dtype=dtype)
    before = x.detach().clone()
    out, means, variances = kernels.batch_norm(x, 1e-3)
    grad = torch.randn_like(out)
    given = grad.clone()
    (found,) = torch.autograd.grad(out, x, grad)
    assert calls == ["batch_norm", "batch_norm_backward"]
    assert out.is_contiguous(memory_format=LAST)
    assert found.is_contiguous(memory_format=LAST)
    assert not means.requires_grad
    assert not variances.requires_grad
    expected = F.batch_norm(x, None, None, training=True, eps=1e-3)
    torch.testing.assert_close(out, expected, **near)
    torch.testing.assert_close(found, torch.autograd.grad(expected, x, grad)[0], **near)
    for ours, theirs in zip((out, means, variances), twin.batch_norm(before.numpy(), 1e-3), strict=True):
        np.testing.assert_allclose(ours.detach(), theirs, **near)
    np.testing.assert_allclose(found, twin.batch_norm_gradient(grad.numpy(), before.numpy(), 1e-3), **near)
    assert torch.equal(x, before)
    assert torch.equal(grad, given)


def test_means_far_from_zero_cost_no_digits():
    x = images(8, 4, 16, 16).detach() + 1e4
    x = x.contiguous(memory_format=LAST)
    _, means, variances = kernels.batch_norm(x)
    np.testing.assert_allclose(means, x.double().mean((0, 2, 3)), rtol=1e-7)
    np.testing.assert_allclose(variances, x.double().var((0, 2, 3), correction=0), rtol=1e-4)


def test_gradients_are_right_once_and_twice():
    x = images(3, 2, 3, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: kernels.batch_norm(x)[0], x)
    assert torch.autograd.gradgradcheck(lambda x: kernels.batch_norm(x)[0], x)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_operators_pass_torchs_check(dtype, last):
    x = images(2, 3, 5, 4, dtype=dtype)
    if not last:
        x = x.detach().contiguous().requires_grad_()
    torch.library.opcheck(torch.ops.nasx.batch_norm, (x, 1e-5))
    x = x.detach()
    statistics = torch.zeros(3, dtype=dtype), torch.ones(3, dtype=dtype)
    torch.library.opcheck(torch.ops.nasx.batch_norm_backward, (x, x, *statistics))


def test_what_does_not_fit_is_refused():
    ops = torch.ops.nasx
    x, three = torch.ones(2, 3, 4, 4), torch.ones(3)
    at = np.zeros(9, np.float32).ctypes.data
    for call, message in (
        (lambda: kernels.batch_norm(x[0]), "x must have four dimensions"),
        (lambda: kernels.batch_norm(x[:1, :, :1, :1]), "more than one number for each channel; got shape"),
        (lambda: ops.batch_norm(x[:1, :, :1, :1], 1e-5), "more than one number for each channel"),
        (lambda: kernels.batch_norm(x, 0.0), "epsilon must be positive; got 0.0"),
        (lambda: ops.batch_norm(x.half(), 1e-5), "x must have dtype float32 or float64"),
        (lambda: ops.batch_norm_backward(x[:1], x, three, three), "grad must have"),
        (lambda: ops.batch_norm_backward(x, x, three[:2], three), "means must have"),
        (lambda: ops.batch_norm_backward(x, x, three, three.double()), "scales must have"),
        (lambda: native.batch_norm_float32(0, 1, at, 1e-5, at, at, at, at), "rows must not be 0"),
        (lambda: native.batch_norm_float32(1, 1, at, 1e-5, at, at, at, 0), "scales must be the address"),
        (lambda: native.batch_norm_backward_float32(1, 1, 0, at, at, at, at), "grad must be the address"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("momentum", [0.1, 0.3, None])
def test_the_layer_keeps_statistics_as_torchs_does(momentum, calls):
    ours = BatchNorm(4, affine=False)
    theirs = nn.BatchNorm2d(4, affine=False)
    ours.momentum = theirs.momentum = momentum
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for _ in range(3):
        x = images(2, 4, 5, 3)
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    assert calls == ["batch_norm"] * 3
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    kept = copy.deepcopy(ours.state_dict())
    with frozen_statistics(ours):
        ours(x)
    ours.eval()
    theirs.eval()
    torch.testing.assert_close(ours(x), theirs(x))
    assert calls == ["batch_norm"] * 4
    assert all(torch.equal(ours.state_dict()[name], value) for name, value in kept.items())
    batches = [images(2, 4, 5, 3).detach() for _ in range(2)]
    for norm in (ours, theirs):
        recalibrate(norm, batches, norm)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    assert ours.momentum == momentum


def test_others_go_to_torch(calls):
    x = images(2, 4, 5, 3).detach()
    for norm, given in (
        (BatchNorm(4), x),
        (BatchNorm(4, affine=False), x.contiguous()),
        (BatchNorm(4, affine=False).to("meta"), x.to("meta")),
        (BatchNorm(4, affine=False).eval(), x),
    ):
        out = norm(given)
        assert out.shape == x.shape
        plain = nn.BatchNorm2d(4).train(norm.training)
        assert given.is_meta or torch.allclose(out, plain(given), atol=1e-6)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        BatchNorm(4, affine=False)(x[:1, :, :1, :1])
    kernels.use_kernels(False)
    BatchNorm(4, affine=False)(x)
    out, means, variances = kernels.batch_norm(x)
    assert calls == []
    kernels.use_kernels(True)
    for ours, theirs in zip(kernels.batch_norm(x), (out, means, variances), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_compiled_layers_are_one_graph_and_the_same(calls):
    x = images(2, 4, 5, 3)
    plain = BatchNorm(4, affine=False)
    layer = copy.deepcopy(plain)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    grad = torch.randn(x.shape)
    answers = [(out, *torch.autograd.grad(out, x, grad)) for out in (plain(x), compiled(x))]
    for ours, theirs in zip(*answers, strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(layer.running_var, plain.running_var)
    assert sorted(calls) == ["batch_norm"] * 2 + ["batch_norm_backward"] * 2


def test_running_statistics_of_other_channels_are_refused_and_nothing_beside_them_is_written():
    x = images(16, 8, 16, 16)
    for size in (4, 16):
        layer = BatchNorm(8, affine=False)
        around = torch.zeros(size + 16)
        layer.running_mean = around[:size]
        with pytest.raises(RuntimeError):
            layer(x)
        assert not around.any()
