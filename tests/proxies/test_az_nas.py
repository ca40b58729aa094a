"""The components of AZ-NAS against their twins; which modules are blocks."""

import numpy as np
import pytest
import torch
from reference import proxies as twin
from torch import nn

from nasx import TaskSpec
from nasx.errors import EvaluationError
from nasx.proxies import score
from nasx.proxies.az_nas import blocks_of
from nasx.proxies.subject import Subject
from nasx.spaces import NASBench201

PARTS = ("az_expressivity", "az_progressivity", "az_trainability")


class Blocks(nn.Module):
    """Blocks that begin with an activation in place and halve the images, behind a stem."""

    def __init__(self, *blocks):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
        self.body = nn.ModuleList(blocks or (self.block(3, 4, 1), self.block(4, 5, 2), self.block(5, 5, 1)))
        self.head = nn.Linear(5, 2)

    @staticmethod
    def block(before, after, stride):
        conv = nn.Conv2d(before, after, 3, stride, 1)
        return nn.Sequential(nn.ReLU(inplace=True), conv, nn.BatchNorm2d(after))

    def forward(self, x):
        x = self.stem(x)
        for block in self.body:
            x = block(x)
        return self.head(x.mean((2, 3)))


@pytest.fixture
def images():
    return torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(3))


def run_plainly(images, seed):
    """Features with He weights, and the gradients of random signs from the last block to the first."""
    network = Blocks()
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    features, x = [], network.stem(images)
    for block in network.body:
        x = block(x.clone())
        features.append(x)
    pairs = []
    for before, after in ((1, 2), (0, 1)):
        signs = torch.randint(0, 2, features[after].shape).to(torch.float32) * 2 - 1
        gradient = torch.autograd.grad(features[after], features[before], signs, retain_graph=True)[0]
        pairs.append((signs.numpy(), gradient.numpy()))
    return [f.detach().double().numpy() for f in features], pairs


def test_components_equal_their_twins(images):
    with torch.random.fork_rng():
        features, pairs = run_plainly(images, seed=4)
    found = score(Blocks(), images, PARTS, seed=4)
    entropies = [twin.entropy(f) for f in features]
    assert found["az_expressivity"] == pytest.approx(sum(entropies), rel=1e-5)
    assert found["az_progressivity"] == pytest.approx(min(np.diff(entropies)), rel=1e-4, abs=1e-6)
    gains = [twin.gain(signs, gradient) for signs, gradient in pairs]
    expected = np.mean([2 - gain - 1 / (gain + 1e-6) for gain in gains])
    assert found["az_trainability"] == pytest.approx(expected, rel=1e-4)


def test_initial_weights_do_not_matter(images):
    torch.manual_seed(0)
    one, other = Blocks(), Blocks()
    for name in PARTS:
        assert score(one, images, name)[name] == score(other, images, name)[name]


def blocks(network, images):
    subject = Subject(network, images, None, None, torch.device("cpu"))
    names = {module: name for name, module in subject.network.named_modules()}
    return [names[block] for block in blocks_of(subject)]


def test_blocks_are_the_composite_modules_in_sequences(images, tokens):
    assert blocks(Blocks(), images) == ["body.0", "body.1", "body.2"]
    spec = TaskSpec((2, 8, 8), 2, "image_classification")
    cell = NASBench201(cells=2, channels=4).decode([3, 1, 3, 0, 1, 3]).build(spec)
    assert blocks(cell, images) == [f"body.{i}" for i in range(8)]
    assert blocks(tokens(embed=False), torch.randn(2, 3, 8)) == ["encoder.layers.0", "encoder.layers.1"]
    flat = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 1))
    assert blocks(flat, images) == ["0", "2"]
    whole = nn.Sequential(nn.Sequential(Blocks.block(2, 3, 1), Blocks.block(3, 2, 1)), nn.Flatten())
    assert blocks(whole, images) == ["0.0", "0.1"]


def test_odd_sizes(images):
    network = Blocks(Blocks.block(3, 4, 1), Blocks.block(4, 5, 2))
    assert np.isfinite(score(network, torch.randn(3, 2, 5, 5), "az_trainability")["az_trainability"])


def test_what_is_not_defined_is_said(images):
    with pytest.raises(EvaluationError, match=r"'az_expressivity': it compares the outputs of blocks.*has 1"):
        score(nn.Linear(3, 2), torch.randn(4, 3), "az_expressivity")
    same = Blocks(Blocks.block(3, 5, 1), nn.Sequential(nn.Sequential(nn.Identity())))
    with pytest.raises(EvaluationError, match="'az_trainability': block 1 computes nothing"):
        score(same, images, "az_trainability")
    spec = TaskSpec((2, 8, 8), 2, "image_classification")
    nothing = NASBench201(cells=1, channels=4).decode([0] * 6)
    with pytest.raises(EvaluationError, match="proxy 'az_expressivity'"):
        score(nothing, torch.randn(4, 2, 8, 8), "az_expressivity", spec=spec)
