"""Every other pixel: as slices give them, with gradients that keep the images' layout."""

import pytest
import torch

from nasx.nn import kernels
from nasx.nn.darts import FactorizedReduce

LAST = torch.channels_last


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 4, 4), (3, 8, 5, 7), (2, 4, 1, 6)])
def test_they_are_slices(shape, dtype):
    x = torch.randn(shape, dtype=dtype).contiguous(memory_format=LAST).requires_grad_()
    found = kernels.quarters(x)
    expected = x[:, :, ::2, ::2], x[:, :, 1::2, 1::2]
    grads = [torch.randn_like(one) for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    (of_x,) = torch.autograd.grad(found, x, grads)
    assert torch.equal(of_x, torch.autograd.grad(expected, x, grads)[0])
    assert of_x.is_contiguous(memory_format=LAST)
    (of_one,) = torch.autograd.grad(kernels.quarters(x)[0].sum(), x)  # the other has no gradient
    assert torch.equal(of_one, torch.autograd.grad(expected[0].sum(), x)[0])


def test_gradients_are_right_once_and_twice():
    x = torch.randn(2, 3, 3, 4, dtype=torch.float64).contiguous(memory_format=LAST).requires_grad_()
    assert torch.autograd.gradcheck(kernels.quarters, x)
    assert torch.autograd.gradgradcheck(kernels.quarters, x)


def test_others_are_slices_of_torch():
    x = torch.randn(2, 3, 4, 4)
    for given in (x, x.contiguous(memory_format=LAST), x.clone().requires_grad_()):
        for one, other in zip(kernels.quarters(given), (x[:, :, ::2, ::2], x[:, :, 1::2, 1::2]), strict=True):
            assert torch.equal(one, other)
    last = x.contiguous(memory_format=LAST).requires_grad_()
    kernels.use_kernels(False)
    assert kernels.quarters(last)[0].grad_fn.name().startswith("Slice")
    with pytest.raises(ValueError, match="four dimensions"):
        kernels.quarters(torch.ones(2, 3, 4))


@pytest.mark.parametrize("size", [6, 7])
def test_factorised_reductions_are_the_same_without_kernels(size):
    layer = FactorizedReduce(8, 16, affine=False).double()
    x = torch.randn(3, 8, size, size, dtype=torch.float64).contiguous(memory_format=LAST).requires_grad_()
    answers = []
    for on in (True, False):
        kernels.use_kernels(on)
        out = layer(x)
        answers.append([out, *torch.autograd.grad(out.sin().sum(), [x, *layer.parameters()])])
    for one, other in zip(*answers, strict=True):
        torch.testing.assert_close(one, other)
