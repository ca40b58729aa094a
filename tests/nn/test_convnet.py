"""The network of the ConvNet space, without the space."""

import torch

from nasx.nn import ConvBlock, ConvNetModule


def test_stem_blocks_and_classifier_follow_the_options():
    network = ConvNetModule(
        3,
        5,
        stem_width=8,
        blocks=[{"width": 16, "stride": 2}, {"width": 4, "operation": "separable", "residual": True}],
    )
    assert all(isinstance(block, ConvBlock) for block in network.blocks)
    assert network.stem.body[0].weight.shape == (8, 3, 3, 3)
    assert [block.body[0].stride for block in network.blocks] == [(2, 2), (1, 1)]
    assert [block.shortcut is None for block in network.blocks] == [True, False]
    assert network.classifier.weight.shape == (5, 4)


def test_no_blocks_is_a_network_too():
    assert ConvNetModule(1, 3, stem_width=4, blocks=[])(torch.randn(2, 1, 8, 8)).shape == (2, 3)


def test_the_memory_layout_inside_changes_nothing():
    torch.manual_seed(0)
    network = ConvNetModule(1, 5, stem_width=8, blocks=[{"width": 8, "operation": "bottleneck"}] * 2).eval()
    images = torch.randn(4, 1, 8, 8)
    plain = network.classifier(network.blocks(network.stem(images)))
    torch.testing.assert_close(network(images), plain)
    assert all(p.is_contiguous() for p in network.parameters())
