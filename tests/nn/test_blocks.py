"""Convolutional blocks."""

import itertools

import pytest
import torch
from torch import nn

from nasx.nn import OPERATIONS, ConvBlock


@pytest.mark.parametrize(
    ("operation", "kernel_size", "stride", "residual"),
    list(itertools.product(OPERATIONS, (1, 3, 5), (1, 2, 3), (False, True))),
)
def test_shapes_for_every_option_and_awkward_sizes(operation, kernel_size, stride, residual):
    for in_channels, out_channels, size in ((3, 8, 8), (8, 8, 7), (8, 4, 1), (1, 1, 28)):
        block = ConvBlock(
            in_channels,
            out_channels,
            operation=operation,
            kernel_size=kernel_size,
            stride=stride,
            residual=residual,
        )
        out = -(-size // stride)
        assert block(torch.randn(2, in_channels, size, size)).shape == (2, out_channels, out, out)


def test_identity_shortcut_has_no_parameters_and_a_projection_has():
    def count(**options):
        return sum(p.numel() for p in ConvBlock(8, **options).parameters())

    assert count(out_channels=8, residual=True) == count(out_channels=8)
    assert count(out_channels=8, residual=True, stride=2) == count(out_channels=8, stride=2)
    assert count(out_channels=4, residual=True) == count(out_channels=4) + 8 * 4 + 2 * 4


def test_residual_adds_the_input_before_the_activation():
    block = ConvBlock(4, 4, residual=True).eval()
    nn.init.zeros_(block.body[0].weight)
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(block(x), x.relu())


def test_residual_pools_the_input_where_the_size_changes():
    block = ConvBlock(4, 4, stride=2, residual=True).eval()
    nn.init.zeros_(block.body[0].weight)
    x = torch.rand(2, 4, 5, 5)
    y = block(x)
    torch.testing.assert_close(y[:, :, 0, 0], x[:, :, :2, :2].mean((2, 3)))
    torch.testing.assert_close(y[:, :, 2, 2], x[:, :, 4, 4])


def test_parameter_counts_by_hand():
    def count(operation):
        return sum(p.numel() for p in ConvBlock(4, 6, operation=operation, kernel_size=5).parameters())

    assert count("conv") == 4 * 6 * 25 + 2 * 6
    assert count("separable") == 4 * 25 + 4 * 6 + 2 * 6
    assert count("bottleneck") == (4 * 12 + 2 * 12) + (12 * 25 + 2 * 12) + (12 * 6 + 2 * 6)


def test_the_input_is_not_modified():
    x = torch.randn(2, 4, 6, 6)
    before = x.clone()
    ConvBlock(4, 4, operation="bottleneck", residual=True)(x).sum().backward()
    assert torch.equal(x, before)


def test_bad_options_are_named():
    with pytest.raises(ValueError, match=r"unknown operation 'seperable'; did you mean 'separable'\?"):
        ConvBlock(4, 4, operation="seperable")
    with pytest.raises(ValueError, match="kernel_size must be odd and positive; got 4"):
        ConvBlock(4, 4, kernel_size=4)
