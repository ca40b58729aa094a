"""The ConvNet space and the registry of spaces."""

import inspect
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from nasx import Space, TaskSpec, spaces
from nasx.spaces import ConvNet

SPEC = TaskSpec((1, 8, 8), 10, "image_classification")


def test_default_size_is_the_formula():
    block = 3 * 4 * 2 * 2 * 2
    assert ConvNet().size == 4 * sum(block**depth for depth in (1, 2, 3, 4, 5)) > 10**5


def test_size_agrees_with_enumeration():
    space = ConvNet(depths=[2, 3], widths=[8], kernel_sizes=[3], operations=["conv"])
    rows = space.enumerate()
    assert space.size == len(rows) == len(np.unique(rows, axis=0)) == 4**2 + 4**3


def test_every_sampled_network_builds_and_gives_scores():
    space = ConvNet()
    for size in (8, 28, 32):
        spec = TaskSpec((3, size, size), 7, "image_classification")
        for row in space.sample(50 if size == 8 else 5, seed=size):
            network = space.decode(row).build(spec)
            for batch in (1, 3):
                assert network.eval()(torch.randn(batch, 3, size, size)).shape == (batch, 7)
            assert network.train()(torch.randn(2, 3, size, size)).shape == (2, 7)


def test_network_follows_the_choices():
    choices = {"depth": 2, "stem_width": 16}
    choices |= {
        f"block{i}.{name}": value
        for i, values in enumerate([("separable", 32, 5, 2, True), ("conv", 8, 3, 1, False)], 1)
        for name, value in zip(
            ("operation", "width", "kernel_size", "stride", "residual"), values, strict=True
        )
    }
    network = ConvNet().decode(ConvNet().encode(choices)).build(SPEC)
    first, second = network.blocks
    assert network.stem.body[0].out_channels == first.body[0].in_channels == 16
    assert first.body[0].kernel_size == (5, 5)
    assert first.body[0].stride == (2, 2)
    assert first.body[1].out_channels == second.body[0].in_channels == 32
    assert second.body[0].out_channels == network.classifier.in_features == 8
    assert first.shortcut is not None
    assert second.shortcut is None


def test_same_seed_gives_the_same_weights():
    architecture = ConvNet().decode(ConvNet().sample(1, seed=4)[0])
    networks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        networks.append(torch.cat([p.flatten() for p in architecture.build(SPEC).parameters()]))
    assert torch.equal(networks[0], networks[1])
    assert not torch.equal(networks[0], networks[2])


def test_without_residual_no_block_decides_on_it():
    space = ConvNet(residual=False)
    assert not [name for name in space if "residual" in name]
    assert all(block.shortcut is None for block in space.decode(space.sample(1)[0]).build(SPEC).blocks)


def test_settings_rebuild_the_space_through_json():
    space = ConvNet(depths=(2, 4), widths=(4, 12), kernel_sizes=(3,), operations=("conv",), residual=False)
    again = Space.from_dict(json.loads(json.dumps(space.to_dict())))
    assert isinstance(again, ConvNet)
    assert again == space
    assert again.settings == space.settings
    assert set(space.settings) == set(inspect.signature(ConvNet).parameters)
    space.settings["depths"].append(9)
    assert space.settings["depths"] == [2, 4]


def test_build_asks_for_images():
    architecture = ConvNet().decode(ConvNet().sample(1)[0])
    with pytest.raises(
        ValueError, match=r"ConvNet needs images, input_shape \(C, H, W\); got input_shape \(64,\)"
    ):
        architecture.build(TaskSpec((64,), 10, "image_classification"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depths": []}, "depths must be a non-empty list of integers"),
        ({"depths": 3}, "depths must be a non-empty list of integers; got 3"),
        ({"depths": [0, 1]}, "depths must hold positive integers; got 0"),
        ({"widths": [8, 8]}, r"widths must increase; got \[8, 8\]"),
        ({"widths": [8.0]}, "widths must hold positive integers; got 8.0"),
        ({"strides": [True]}, "strides must hold positive integers; got True"),
        ({"kernel_sizes": [3, 4]}, r"kernel_sizes must be odd.*got \[3, 4\]"),
        (
            {"operations": ["conv", "skip"]},
            "operations must be a non-empty list of conv, separable, bottleneck",
        ),
        ({"operations": []}, "operations must be a non-empty list"),
        ({"operations": "conv"}, "operations must be a non-empty list"),
        ({"residual": "yes"}, "residual must be True or False; got 'yes'"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ConvNet(**settings)


def test_registry():
    assert spaces.get("ConvNet") is ConvNet is spaces.ConvNet
    networks = ("ConvNet", "DARTS", "ENASCell", "ENASMacro", "FBNet", "NASBench201")
    more = ("NASBenchGraph", "ProxylessMobile", "ShuffleNetV2", "Topology", "Transformer")
    assert spaces.available_spaces() == (*networks, *more)
    assert "ConvNet" in dir(spaces)
    with pytest.raises(ValueError, match=r"unknown space 'Convnet'; did you mean 'ConvNet'\?"):
        spaces.get("Convnet")
    with pytest.raises(AttributeError, match="no attribute 'Resnet'"):
        spaces.Resnet  # noqa: B018


@pytest.mark.parametrize("module", ["nasx.spaces.convnet", "nasx.tasks.datasets", "nasx.hardware"])
def test_import_brings_no_torch(module):
    code = f"import sys, {module}; raise SystemExit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
