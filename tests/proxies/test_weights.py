"""Proxies of weights against twins that go path by path and differentiate numerically."""

import itertools
import math

import numpy as np
import pytest
import torch
from reference import proxies as twin
from torch import nn
from torch.nn import functional as F

from nasx.errors import EvaluationError
from nasx.proxies import score


@pytest.fixture
def small():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(12, 3)
    ).double()
    return network, (torch.randn(4, 2, 3, 3).double(), torch.tensor([0, 1, 2, 1]))


def layers(network):
    return [m.weight for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def test_synflow_equals_its_twin():
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Linear(3, 4, bias=False), nn.ReLU(inplace=True), nn.Linear(4, 2, bias=False)),
        *(nn.ReLU(inplace=True), nn.Linear(2, 3, bias=False)),
    )
    expected = twin.synflow([m.weight.detach().numpy() for m in network if isinstance(m, nn.Linear)])
    # The values of the inputs do not matter, nor does the size of the batch.
    for inputs in (torch.randn(1, 3), torch.randn(5, 3) - 100):
        assert score(network, inputs, "synflow")["synflow"] == pytest.approx(expected, rel=1e-12)


def test_synflow_sums_over_branches_and_calls():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1, bias=False)
            nn.init.constant_(self.layer.weight, -3.0)

        def forward(self, x):
            return F.relu(self.layer(self.layer(x))) + self.layer(x)

    # R = w^2 + w, so w dR/dw = 2 w^2 + w at w = 3.
    assert score(Twice(), torch.ones(1, 1), "synflow")["synflow"] == pytest.approx(math.log(21))


@pytest.mark.parametrize(
    "norm",
    [
        lambda: nn.BatchNorm2d(3),
        lambda: nn.GroupNorm(3, 3),
        lambda: nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
        lambda: nn.LayerNorm([3, 2, 2]),
    ],
)
def test_synflow_leaves_normalisations_out(norm):
    def network(norm):
        torch.manual_seed(0)
        layers = nn.Conv2d(2, 3, 2, bias=False), norm, nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)
        return nn.Sequential(*layers)

    images = torch.randn(4, 2, 3, 3)
    normed = network(norm()).train()
    normed(images)  # running statistics that would subtract something
    with torch.no_grad():
        normed[1].weight.mul_(5.0)
    expected = score(network(nn.Identity()), images, "synflow")["synflow"]
    for training in (True, False):
        assert score(normed.train(training), images, "synflow")["synflow"] == expected


def test_synflow_of_deep_networks_stays_within_double_precision():
    torch.manual_seed(0)
    deep = [module for _ in range(150) for module in (nn.Linear(100, 100, bias=False), nn.ReLU())]
    images = torch.randn(2, 100)
    found = score(nn.Sequential(*deep), images, "synflow")["synflow"]
    # Each layer multiplies by about 100 / 2 / sqrt(100) = 5: far beyond float32, which ends at exp(88).
    assert found == pytest.approx(150 * math.log(5) + math.log(100 * 150), rel=0.02)
    for layer in deep[::2]:
        nn.init.constant_(layer.weight, 1e3)
    with pytest.raises(EvaluationError, match="proxy 'synflow': the flow is too large for double precision"):
        score(nn.Sequential(*deep), images, "synflow")
    nn.init.zeros_(deep[0].weight)
    with pytest.raises(EvaluationError, match="proxy 'synflow': nothing flows"):
        score(nn.Sequential(*deep[:10]), images, "synflow")


def test_snip_equals_its_twin(small):
    network, batch = small
    expected = twin.snip(lambda: F.cross_entropy(network(batch[0]), batch[1]), layers(network))
    assert score(network, batch, "snip")["snip"] == pytest.approx(expected, rel=1e-6)


def test_grad_norm_equals_its_twin(small):
    network, batch = small
    expected = twin.grad_norm(lambda: F.cross_entropy(network(batch[0]), batch[1]), layers(network))
    assert score(network, batch, "grad_norm")["grad_norm"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("inplace", [True, False])
def test_fisher_equals_its_twin(inplace):
    torch.manual_seed(0)
    conv, linear = nn.Conv2d(2, 3, 2).double(), nn.Linear(12, 3).double()
    batch = torch.randn(4, 2, 3, 3).double(), torch.tensor([0, 1, 2, 1])

    def loss(gates):
        features = F.relu(conv(batch[0]) * gates[0][:, :, None, None])
        return F.cross_entropy(linear(features.flatten(1)) * gates[1], batch[1])

    # No batch norm in between: the activation works right on what is kept.
    network = nn.Sequential(conv, nn.ReLU(inplace=inplace), nn.Flatten(), linear)
    expected = twin.fisher(loss, [(4, 3), (4, 3)])
    assert score(network, batch, "fisher")["fisher"] == pytest.approx(expected, rel=1e-6)


def test_fisher_of_tokens_has_a_channel_last_and_adds_up_calls():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x, gate=None):
            gate = 1 if gate is None else gate[:, None]
            return (self.layer(F.relu(self.layer(x) * gate)) * gate).mean(1)

    torch.manual_seed(0)
    network = Shared().double()
    batch = torch.randn(4, 5, 3).double(), torch.tensor([0, 1, 2, 1])
    expected = twin.fisher(lambda gates: F.cross_entropy(network(batch[0], gates[0]), batch[1]), [(4, 3)])
    assert score(network, batch, "fisher")["fisher"] == pytest.approx(expected, rel=1e-6)


def test_layers_that_lead_nowhere_add_nothing(branching, batch):
    with torch.no_grad():
        before = {
            name: score(branching, batch, name)[name] for name in ("snip", "grad_norm", "fisher", "synflow")
        }
        for parameter in branching.dead.parameters():
            parameter.mul_(1000)
        for name, value in before.items():
            assert score(branching, batch, name)[name] == value
    with torch.inference_mode():
        assert score(branching, batch, "snip")["snip"] == before["snip"]


def test_weights_that_layers_share_count_once():
    torch.manual_seed(0)
    one, other = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    other.weight = one.weight
    network = nn.Sequential(one, nn.ReLU(), other)
    found = score(network, torch.randn(3, 4), "l2_norm")["l2_norm"]
    assert found == pytest.approx(float(one.weight.detach().norm()), rel=1e-6)


def test_frozen_weights_count():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    batch = torch.randn(5, 4), torch.tensor([0, 1, 2, 1, 0])
    names = ["synflow", "snip", "grad_norm", "fisher", "naswot", "jacob_cov"]
    expected = dict(score(network, batch, names))
    found = dict(score(network.requires_grad_(False), batch, names))
    assert found.pop("params") == 0 < expected.pop("params")
    assert found == expected


def test_twins_agree_with_what_is_written_in_papers():
    # One layer: R is the sum of |w|, and every weight has exactly its own flow.
    assert twin.synflow([np.array([[1.0, -2.0], [3.0, 4.0]])]) == pytest.approx(math.log(10))
    codes = list(itertools.product([0, 1], repeat=2))
    assert twin.hamming_kernel(codes).tolist() == [[2, 1, 1, 0], [1, 2, 0, 1], [1, 0, 2, 1], [0, 1, 1, 2]]
