"""Branches that are left out at random."""

import copy
import math

import pytest
import torch
from torch import nn

from nasx.nn import DropPath


def test_whole_images_are_dropped_and_the_rest_is_scaled():
    torch.manual_seed(0)
    for shape in ((4000,), (4000, 3), (4000, 2, 3, 1)):
        for rate in (0.2, 0.75):
            x = torch.rand(shape) + 1
            y = DropPath(rate)(x)
            dropped = (y == 0).reshape(len(x), -1).all(1)
            assert dropped.float().mean().item() == pytest.approx(rate, abs=0.04)
            torch.testing.assert_close(y[~dropped], x[~dropped] / (1 - rate))


def test_gradients_pass_through_what_is_kept_only():
    torch.manual_seed(0)
    x = torch.ones(50, 2, requires_grad=True)
    y = DropPath(0.5)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert {0.0, 2.0} == set(y.detach().flatten().tolist())


def test_identity_in_evaluation_and_at_rate_0():
    x = torch.randn(5, 3)
    state = torch.random.get_rng_state()
    assert DropPath()(x) is x
    assert DropPath(0.9).eval()(x) is x
    assert torch.equal(torch.random.get_rng_state(), state)


def test_inputs_and_types_are_kept():
    for dtype in (torch.float64, torch.bfloat16):
        x = torch.ones(64, 3, 2, dtype=dtype)
        y = DropPath(0.5)(x)
        assert y.dtype == dtype
        assert y.shape == x.shape
        assert (x == 1).all()


def test_masks_follow_from_the_global_generator():
    x, drop = torch.ones(100), DropPath(0.5)

    def draw(seed):
        torch.manual_seed(seed)
        return drop(x)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_the_rate_can_be_set_copied_and_printed_but_is_no_weight():
    network = nn.Sequential(DropPath(), nn.Linear(2, 2))
    network[0].rate = 0.25
    assert copy.deepcopy(network)[0].rate == 0.25
    assert "DropPath(rate=0.25)" in repr(network)
    assert set(network.state_dict()) == {"1.weight", "1.bias"}


@pytest.mark.parametrize("rate", [1, 1.0, -0.1, math.nan, "0.5", None, True])
def test_a_wrong_rate_is_named(rate):
    with pytest.raises(ValueError, match="rate must be a number of at least 0 and less than 1; got"):
        DropPath(rate)
    drop = DropPath(0.5)
    with pytest.raises(ValueError, match="rate must be a number of at least 0 and less than 1; got"):
        drop.rate = rate
    assert drop.rate == 0.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_masks_are_drawn_on_the_device():
    y = DropPath(0.5)(torch.ones(100, 2, device="cuda"))
    assert y.device.type == "cuda"
    assert set(y.flatten().tolist()) == {0.0, 2.0}
