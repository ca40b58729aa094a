"""Channels split and shuffled: twin, PyTorch, gradients, and what goes to PyTorch."""

import numpy as np
import pytest
import torch
from reference.darts import shuffled
from torch.nn import functional as F

import nasx
from nasx._core import mixed_op as native
from nasx.nn import MixedOp, PartialChannels, kernels

LAST = torch.channels_last
ALL = {"take_channels", "join_channels", "shuffle_channels", "unshuffle_channels"}


def images(*shape, dtype=torch.float32):
    return torch.randn(*shape, dtype=dtype).contiguous(memory_format=LAST).requires_grad_()


def by_torch(x, width, portion, pooled):
    part, rest = x[:, :width], x[:, width:]
    if pooled:
        part, rest = (F.max_pool2d(one, 2, ceil_mode=True) for one in (part, rest))
    return shuffled(torch.cat([part.exp(), rest], 1), portion)


def by_kernels(x, width, portion, pooled):
    part, rest = kernels.split_channels(x, width)
    if pooled:
        part, rest = (F.max_pool2d(one, 2, ceil_mode=True) for one in (part, rest))
    return kernels.shuffle_channels(part.exp(), rest, portion)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_and_gradients_are_the_bits_of_the_twin(dtype, threads, calls):
    nasx.set_num_threads(threads)
    for portion in (2, 3, 4, 5, 8):
        for batch, width, *size in ((1, 1, 1, 1), (2, 1, 5, 1), (3, 2, 1, 4), (2, 5, 3, 7), (33, 8, 9, 11)):
            for pooled in (False, True):
                x = images(batch, width * portion, *size, dtype=dtype)
                x.data[0, 0, 0, 0] = torch.nan
                out, expected = (f(x, width, portion, pooled) for f in (by_kernels, by_torch))
                grad = torch.randn_like(expected)
                (found,) = torch.autograd.grad(out, x, grad)
                (wanted,) = torch.autograd.grad(expected, x, grad)
                torch.testing.assert_close(out, expected, rtol=0, atol=0, equal_nan=True)
                torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)
                assert out.is_contiguous(memory_format=LAST)
                assert found.is_contiguous(memory_format=LAST)
    assert set(calls) == ALL


def test_gradients_are_right_once_and_twice():
    x = images(2, 6, 3, 2, dtype=torch.float64)
    call = lambda x: by_kernels(x, 2, 3, False)  # noqa: E731
    assert torch.autograd.gradcheck(call, x)
    # Where gradients are differentiated PyTorch computes them.
    assert torch.autograd.gradgradcheck(call, x)


def test_what_is_not_used_has_no_gradient_but_zeros():
    x = images(2, 8, 3, 3)
    part, rest = kernels.split_channels(x, 2)
    (found,) = torch.autograd.grad(part.sum(), x, retain_graph=True)
    assert torch.equal(found[:, :2], torch.ones_like(found[:, :2]))
    assert not found[:, 2:].any()
    (found,) = torch.autograd.grad(rest.sum(), x)
    assert not found[:, :2].any()
    assert torch.equal(found[:, 2:], torch.ones_like(found[:, 2:]))


def test_partial_channels_use_them_and_agree_with_pytorchs_operators(calls):
    layer = PartialChannels(MixedOp({"half": torch.nn.ReLU(), "all": torch.nn.Identity()}), 4)
    x, weights = images(2, 16, 5, 6), torch.tensor([0.25, 0.5])
    found = []
    for on in (True, False):
        kernels.use_kernels(on)
        out = layer(x, weights)
        found.append((out, *torch.autograd.grad(out.square().sum(), x)))
    assert set(calls) >= ALL
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_compiled_functions_are_one_graph_and_the_same():
    x = images(2, 8, 6, 5)
    expected = by_kernels(x, 2, 4, False)
    compiled = torch.compile(by_kernels, backend="aot_eager", fullgraph=True)(x, 2, 4, False)
    assert torch.equal(compiled, expected)
    pairs = (torch.autograd.grad(out.square().sum(), x)[0] for out in (compiled, expected))
    assert torch.equal(*pairs)


def test_others_go_to_torch(calls):
    x = images(2, 8, 6, 5).detach()
    for one in (
        x.contiguous(),
        x.bfloat16(),
        x.to("meta"),
        x[:0],
        x[:, :, :, ::2],
    ):
        out = by_kernels(one, 2, 4, False)
        assert (out.dtype, out.device, out.shape) == (one.dtype, one.device, one.shape)
        assert one.is_meta or torch.equal(out, by_torch(one, 2, 4, False))
    assert calls == []
    out = kernels.shuffle_channels(*kernels.split_channels(x, 8), 1)
    assert torch.equal(out, x)
    # What passes by may lie in another way, or belong elsewhere.
    part, rest = x[:, :2].contiguous(memory_format=LAST), x[:, 2:]
    for other in (rest.contiguous(), torch._neg_view(rest), rest[:, :, :1].expand_as(rest)):
        assert torch.equal(kernels.shuffle_channels(part, other, 4), shuffled(torch.cat([part, other], 1), 4))
    with torch.autocast("cpu"):
        by_kernels(x, 2, 4, False)
    kernels.use_kernels(False)
    by_kernels(x, 2, 4, False)
    assert calls == []


def test_what_does_not_fit_is_refused():
    x = images(1, 8, 2, 2)
    with pytest.raises(ValueError, match="width must be at most the number of channels, 8; got 9"):
        kernels.split_channels(x, 9)
    with pytest.raises(
        ValueError, match=r"rest must have shape \(1, 4, 2, 2\), of 2 parts as the first; got"
    ):
        kernels.shuffle_channels(x[:, :2], x[:, 2:], 3)
    at = np.zeros(64, np.float32).ctypes.data
    for call, message in (
        (lambda: native.take_channels_float32(1, 2, 3, at, at), "width must be at most channels; got 3 of 2"),
        (lambda: native.take_channels_float32(-1, 2, 1, at, at), "pixels must not be neg"),
        (lambda: native.take_channels_float32(1, 2, 1, 0, at), "x must be the address"),
        (lambda: native.join_channels_float32(1, 2, 1, at, 0, at), "rest must be the address"),
        (
            lambda: native.shuffle_channels_float32(1, 2, 0, at, at, 6, at),
            "portion must be at least 1; got 0",
        ),
        (lambda: native.shuffle_channels_float32(1, 2, 4, at, at, 5, at), "step must be at least 6"),
        (lambda: native.unshuffle_channels_float32(1, 2, 4, at, at, 0), "rest must be the address"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
