"""Sums of normalised tensors: PyTorch, gradients, operators, mixed operations, and what goes to PyTorch."""

import copy

import numpy as np
import pytest
import reference.mixed_op as reference
import torch
from torch import nn

import nasx
from nasx._core import mixed_op as native
from nasx.nn import MixedOp, kernels
from nasx.nn.kernels import normalized_sums
from nasx.nn.layers import BatchNorm
from nasx.nn.mixed import Zero

LAST = torch.channels_last
FLAGS = [True, False, True]


def inputs(*shape, dtype=torch.float32, count=3):
    terms = [
        torch.randn(shape, dtype=dtype).contiguous(memory_format=LAST).requires_grad_() for _ in range(count)
    ]
    return terms, torch.randn(count, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (1, 3, 4, 5), (3, 8, 7, 1), (2, 17, 3, 3), (40, 4, 16, 15)])
def test_results_are_torchs(shape, dtype, threads, calls):
    nasx.set_num_threads(threads)
    near = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    terms, weights = inputs(*shape, dtype=dtype)
    before = [one.detach().clone() for one in (weights, *terms)]
    total, *statistics = kernels.normalized_sum(terms, FLAGS, weights, 1e-3)
    grad = torch.randn_like(total)
    found = torch.autograd.grad(total, (weights, *terms), grad)
    assert calls == ["normalized_sum", "normalized_sum_backward"]
    expected, *theirs = normalized_sums.plain(terms, FLAGS, weights, 1e-3)
    torch.testing.assert_close(total, expected, **near)
    assert total.is_contiguous(memory_format=LAST)
    for one, other in zip(statistics, theirs, strict=True):
        assert not one.requires_grad
        torch.testing.assert_close(one, other, **near)
    wanted = torch.autograd.grad(expected, (weights, *terms), grad)
    scale = max(1.0, grad.numel() ** 0.5)
    torch.testing.assert_close(found[0], wanted[0], rtol=near["rtol"], atol=scale * near["atol"])
    for one, other in zip(found[1:], wanted[1:], strict=True):
        torch.testing.assert_close(one, other, **near)
    assert all(torch.equal(*pair) for pair in zip((weights, *terms), before, strict=True))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("flags", [[True], [False, True], [True, True, False, True, False]])
@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (1, 3, 4, 5), (3, 19, 7, 1), (33, 5, 6, 11)])
def test_results_are_those_of_the_plain_twin(shape, flags, threads, calls):
    nasx.set_num_threads(threads)
    terms, weights = inputs(*shape, count=len(flags))
    total, *_ = kernels.normalized_sum(terms, flags, weights, 1e-3)
    grad = torch.randn_like(total)
    of_weights, *of_terms = torch.autograd.grad(total, (weights, *terms), grad)
    assert calls == ["normalized_sum", "normalized_sum_backward"]
    plain = [term.detach().numpy() for term in terms], flags, weights.detach().numpy(), 1e-3
    np.testing.assert_allclose(total.detach(), reference.normalized_sum(*plain), rtol=1e-4, atol=1e-4)
    terms_expected, weights_expected = reference.normalized_sum_gradients(grad.numpy(), *plain)
    for found, expected in zip(of_terms, terms_expected, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    scale = 1e-4 * max(1.0, grad.numel() ** 0.5)
    np.testing.assert_allclose(of_weights, weights_expected, rtol=1e-4, atol=scale)


def test_gradients_are_right_once_and_twice():
    terms, weights = inputs(2, 2, 2, 2, dtype=torch.float64)

    def total(weights, *terms):
        return kernels.normalized_sum(terms, FLAGS, weights)[0]

    assert torch.autograd.gradcheck(total, (weights, *terms))
    assert torch.autograd.gradgradcheck(total, (weights, *terms))
    terms[0].requires_grad_(False)
    weights.requires_grad_(False)
    (of_last,) = torch.autograd.grad(total(weights, *terms).square().sum(), terms[2])
    expected = normalized_sums.plain(terms, FLAGS, weights, 1e-5)[0]
    torch.testing.assert_close(of_last, torch.autograd.grad(expected.square().sum(), terms[2])[0])


@pytest.mark.parametrize("last", [False, True])
def test_operators_pass_torchs_check(last):
    terms, weights = inputs(2, 3, 5, 4, count=2)
    if not last:
        terms = [term.detach().contiguous().requires_grad_() for term in terms]
    torch.library.opcheck(torch.ops.nasx.normalized_sum, (terms, FLAGS[:2], weights, 1e-5))
    plain = [term.detach() for term in terms]
    statistics = torch.zeros(2, 3), torch.ones(2, 3)
    torch.library.opcheck(
        torch.ops.nasx.normalized_sum_backward, (plain[0], plain, FLAGS[:2], weights.detach(), *statistics)
    )


def test_what_does_not_fit_is_refused():
    ops = torch.ops.nasx
    x, two, rows = torch.ones(2, 3, 4, 4), torch.ones(2), torch.ones(2, 3)
    at = np.zeros(9, np.float32).ctypes.data
    flags = [True, False]
    for call, message in (
        (lambda: kernels.normalized_sum([], [], two[:0]), "terms must hold at least one tensor"),
        (lambda: kernels.normalized_sum([x, x[:1]], flags, two), r"terms\[1\] \(1, 3, 4, 4\)"),
        (lambda: kernels.normalized_sum([x[0], x[0]], flags, two), "terms must have one shape"),
        (lambda: kernels.normalized_sum([x, x], [True], two), "one entry for each of the 2 terms; got 1"),
        (lambda: kernels.normalized_sum([x, x], flags, two[:1]), r"2 terms; got 2 and shape \(1,\)"),
        (lambda: kernels.normalized_sum([x, x], flags, two, 0.0), "epsilon must be positive"),
        (lambda: kernels.normalized_sum([x[:1, :, :1, :1]] * 2, flags, two), "more than one number for each"),
        (lambda: ops.normalized_sum([x, x.double()], flags, two, 1e-5), r"terms\[1\] must have dtype"),
        (lambda: ops.normalized_sum([x, x], flags, two.double(), 1e-5), "weights must have dtype"),
        (lambda: ops.normalized_sum_backward(x[:1], [x, x], flags, two, rows, rows), "grad must have"),
        (lambda: ops.normalized_sum_backward(x, [x, x], flags, two, rows[:1], rows), "means must have"),
        (lambda: ops.normalized_sum_backward(x, [x, x], flags, two, rows, two), "scales must have"),
        (
            lambda: native.normalized_sum_float32(1, 1, [at], [], at, 1.0, at, at, at, at),
            "normalized must have one entry for each of the 1 terms; got 0",
        ),
        (
            lambda: native.normalized_sum_backward_float32(1, 1, at, [at], [True], at, at, at, [], at),
            "grad_terms must have one entry for each of the 1 terms; got 0",
        ),
        (
            lambda: native.normalized_sum_float32(1, 1, [0], [True], at, 1.0, at, at, at, at),
            "terms must be the address",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def mixed_op():
    return MixedOp(
        {
            "none": Zero(),
            "skip": nn.Identity(),
            "conv": nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), BatchNorm(4, affine=False)),
            "affine": nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), BatchNorm(4)),
            "norm": nn.Sequential(BatchNorm(4, affine=False)),
        }
    )


def step(mixed, x, weights):
    out = mixed(x, weights)
    grad = torch.linspace(-1, 1, x.numel()).reshape(x.shape)
    return [out, *torch.autograd.grad(out, (x, weights, *mixed.parameters()), grad)]


def test_mixed_operations_normalise_in_their_sum(calls):
    ours = mixed_op()
    theirs = copy.deepcopy(ours)
    (x,), _ = inputs(2, 4, 5, 3, count=1)
    weights = torch.randn(5, requires_grad=True)
    for _ in range(2):
        found = step(ours, x, weights)
        kernels.use_kernels(False)
        expected = step(theirs, x, weights)
        kernels.use_kernels(True)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        for name, value in theirs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[name], value)
    assert set(calls) == {"normalized_sum", "normalized_sum_backward"}
    assert int(ours.operations[2][1].num_batches_tracked) == 2


def test_who_watches_an_operation_sees_it_and_evaluation_is_as_before(calls):
    mixed = mixed_op()
    (x,), _ = inputs(2, 4, 5, 3, count=1)
    weights = torch.randn(5)
    expected = mixed(x, weights)
    seen = []
    for operation in mixed.operations:
        operation.register_forward_hook(lambda *_: seen.append(1))
    torch.testing.assert_close(mixed(x, weights), expected, rtol=1e-4, atol=1e-5)
    assert len(seen) == 4  # all but "none"
    calls.clear()
    mixed = mixed_op().eval()
    out = mixed(x, weights)
    assert calls == ["weighted_sum"]
    kernels.use_kernels(False)
    torch.testing.assert_close(mixed(x, weights), out)


def test_compiled_mixed_operations_are_one_graph_and_the_same(calls):
    plain = mixed_op()
    layer = copy.deepcopy(plain)
    (x,), _ = inputs(2, 4, 5, 3, count=1)
    weights = torch.randn(5, requires_grad=True)
    expected = step(plain, x, weights)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    out = compiled(x, weights)
    torch.testing.assert_close(out, expected[0])
    assert calls.count("normalized_sum") == 2
    grad = torch.linspace(-1, 1, x.numel()).reshape(x.shape)
    for one, other in zip(
        torch.autograd.grad(out, (x, weights, *layer.parameters()), grad), expected[1:], strict=True
    ):
        torch.testing.assert_close(one, other)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(layer.state_dict()[name], value)


def test_others_go_to_torch(calls):
    terms, weights = inputs(2, 4, 5, 3)
    expected = normalized_sums.plain(terms, FLAGS, weights, 1e-5)
    for given in (
        [term.contiguous() for term in terms],
        [terms[0], terms[1].contiguous(), terms[2]],
    ):
        for ours, theirs in zip(kernels.normalized_sum(given, FLAGS, weights), expected, strict=True):
            torch.testing.assert_close(ours, theirs)
    kernels.use_kernels(False)
    assert torch.equal(kernels.normalized_sum(terms, FLAGS, weights)[0], expected[0])
    assert calls == []
