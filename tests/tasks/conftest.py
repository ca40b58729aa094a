"""Digits, and one architecture that learns them quickly."""

import pytest

from nasx.spaces import ConvNet
from nasx.tasks.datasets import load


@pytest.fixture(scope="session")
def digits():
    return load("digits")


@pytest.fixture(scope="session")
def architecture():
    space = ConvNet(depths=[2], widths=[8, 16], kernel_sizes=[3], operations=["conv"])
    choices = {"depth": 2, "stem_width": 8}
    for i, stride in ((1, 2), (2, 1)):
        choices |= {f"block{i}.operation": "conv", f"block{i}.width": 16, f"block{i}.kernel_size": 3}
        choices |= {f"block{i}.stride": stride, f"block{i}.residual": True}
    return space.decode(space.encode(choices))
