"""The network of NAS-Bench-201, without the space."""

import pytest
import torch
from torch import nn

from nasx.nn import NASBench201Cell, NASBench201Module
from nasx.nn.layers import BatchNorm

EDGES = [
    (1, 0, "nor_conv_3x3"),
    (2, 0, "avg_pool_3x3"),
    (2, 1, "skip_connect"),
    (3, 0, "none"),
    (3, 1, "nor_conv_1x1"),
    (3, 2, "nor_conv_3x3"),
]


def test_nodes_are_the_sums_of_their_edges():
    torch.manual_seed(0)
    cell = NASBench201Cell(4, EDGES).train()
    x = torch.randn(2, 4, 5, 6)
    conv, pool, skip, pointwise, last = cell.operations
    one = conv(x)
    two = pool(x) + skip(one)
    torch.testing.assert_close(cell(x), pointwise(one) + last(two))


def test_operations_are_a_relu_a_convolution_and_a_norm():
    conv, pool, skip, pointwise, _ = NASBench201Cell(4, EDGES).operations
    assert [type(layer) for layer in conv] == [nn.ReLU, nn.Conv2d, BatchNorm]
    assert conv[1].kernel_size == (3, 3)
    assert pointwise[1].kernel_size == (1, 1)
    assert conv[1].bias is None
    assert isinstance(skip, nn.Identity)
    # What lies beyond the border does not count in the mean.
    torch.testing.assert_close(pool(torch.ones(1, 1, 3, 3)), torch.ones(1, 1, 3, 3))


def test_a_node_without_input_is_zero_and_what_reads_it_has_its_biases():
    cell = NASBench201Cell(2, [(1, 0, "none"), (2, 1, "nor_conv_3x3"), (3, 2, "skip_connect")])
    nn.init.constant_(cell.operations[0][2].bias, 0.5)
    torch.testing.assert_close(cell(torch.randn(3, 2, 4, 4)), torch.full((3, 2, 4, 4), 0.5))
    empty = NASBench201Cell(2, [(1, 0, "none")])
    assert not empty(torch.randn(3, 2, 4, 4)).any()


def test_the_input_is_not_modified():
    x = torch.randn(2, 4, 6, 6)
    before = x.clone()
    NASBench201Cell(4, EDGES)(x)
    assert torch.equal(x, before)


def test_sizes_are_halved_and_channels_doubled_between_stages():
    network = NASBench201Module(1, 10, edges=EDGES, cells=2, channels=4)
    shapes = []
    for layer in network.body:
        layer.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
    network(torch.randn(2, 1, 9, 14))
    assert shapes == [(4, 9, 14)] * 2 + [(8, 5, 7)] * 3 + [(16, 3, 4)] * 3


def test_unknown_operations_are_named():
    with pytest.raises(ValueError, match=r"unknown operation 'conv_3x3'; did you mean 'nor_conv_3x3'\?"):
        NASBench201Cell(4, [(1, 0, "conv_3x3")])
