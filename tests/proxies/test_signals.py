"""naswot, jacob_cov and zen against their twins, on every way in which activations are written."""

import math

import numpy as np
import pytest
import torch
from reference import proxies as twin
from torch import nn
from torch.nn import functional as F

from nasx.errors import EvaluationError
from nasx.proxies import score


def naswot(network, inputs):
    return score(network, inputs, "naswot")["naswot"]


@pytest.fixture
def inputs():
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("inplace", [True, False])
def test_naswot_equals_its_twin(inputs, inplace):
    torch.manual_seed(0)
    one, two = nn.Linear(4, 12), nn.Linear(12, 9)
    network = nn.Sequential(one, nn.ReLU(inplace), two, nn.ReLU(inplace), nn.Linear(9, 3))
    with torch.no_grad():
        hidden = one(inputs)
        codes = torch.cat([hidden > 0, two(hidden.relu()) > 0], 1).tolist()
    assert naswot(network, inputs) == pytest.approx(twin.naswot(codes), rel=1e-10)


@pytest.mark.parametrize(
    "activation",
    [
        *(
            F.relu,
            torch.relu,
            lambda x: x.relu(),
            lambda x: x.clone().relu_(),
            lambda x: F.relu(x, inplace=True),
        ),
        *(F.leaky_relu, F.gelu, F.silu, F.hardswish, F.elu, F.relu6, nn.ReLU6(), nn.GELU(), nn.SiLU()),
        *(
            nn.LeakyReLU(inplace=True),
            nn.Hardswish(),
            nn.PReLU(),
            nn.Mish(),
            nn.SELU(),
            nn.Threshold(0.0, 0.0),
        ),
    ],
)
def test_naswot_finds_activations_however_they_are_written(inputs, activation):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.one, self.two = nn.Linear(4, 20), nn.Linear(20, 3)
            if isinstance(activation, nn.Module):
                self.activation = activation

        def forward(self, x):
            return self.two(
                activation(self.one(x)) if not hasattr(self, "activation") else self.activation(self.one(x))
            )

    network = Network()
    expected = twin.naswot((network.one(inputs) > 0).tolist())
    assert naswot(network, inputs) == pytest.approx(expected, rel=1e-10)


def test_naswot_counts_every_call_and_nothing_that_leads_nowhere():
    inputs = torch.randn(5, 16, generator=torch.Generator().manual_seed(2))

    class Network(nn.Module):
        def __init__(self, dead):
            super().__init__()
            torch.manual_seed(0)
            self.one, self.relu, self.head = nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)
            self.dead = dead

        def forward(self, x):
            for _ in range(3):
                x = self.relu(self.one(x))
            if self.dead:
                self.relu(self.one(x) - 1)
            return self.head(x)

    codes, x = [], inputs
    network = Network(dead=False)
    for _ in range(3):
        x = network.one(x)
        codes.append(x > 0)
        x = x.relu()
    expected = twin.naswot(torch.cat(codes, 1).tolist())
    assert math.isfinite(expected)
    assert naswot(network, inputs) == pytest.approx(expected, rel=1e-10)
    assert naswot(Network(dead=True), inputs) == naswot(network, inputs)


def test_naswot_is_higher_the_more_inputs_differ():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 256), nn.ReLU(), nn.Linear(256, 2))
    far = torch.randn(6, 4)
    near = far[:1] + 0.3 * torch.randn(6, 4)
    assert naswot(network, far) > naswot(network, near)


def test_naswot_says_when_inputs_are_taken_for_the_same():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(EvaluationError, match="'naswot': some inputs have all their activations in common"):
        naswot(network, torch.ones(3, 4))
    with pytest.raises(EvaluationError, match="'naswot': it compares activations of ReLU"):
        naswot(nn.Sequential(nn.Linear(4, 8), nn.Tanh()), torch.randn(3, 4))

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return self.layer(F.relu(x.flatten()[:10]).mean() + x)

    with pytest.raises(EvaluationError, match=r"'naswot': an activation has shape \(10,\)"):
        naswot(Mixed(), torch.randn(3, 4))


def test_naswot_uses_the_statistics_of_the_batch(inputs):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 2))
    network[1].running_mean += 100  # by these, everything would be off
    network[1].bias.data.normal_()
    with torch.no_grad():
        hidden = network[0](inputs)
        normal = (hidden - hidden.mean(0)) / hidden.std(0, correction=0)
        codes = (normal * network[1].weight + network[1].bias > 0).tolist()
    for training in (True, False):
        assert naswot(network.train(training), inputs) == pytest.approx(twin.naswot(codes), rel=1e-10)


@pytest.mark.parametrize("norm", [nn.Identity(), nn.BatchNorm1d(20)])
def test_jacob_cov_equals_its_twin(inputs, norm):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 20), norm, nn.ReLU(), nn.Linear(20, 3)).double().train()
    found = score(network, inputs, "jacob_cov")["jacob_cov"]
    assert found == pytest.approx(twin.jacob_cov(network, inputs.double()), rel=1e-6)


def test_jacob_cov_of_a_linear_network_is_the_worst_there_is(inputs):
    # All gradients are alike: eigenvalues n, 0, 0, ...
    found = score(nn.Linear(4, 3), inputs, "jacob_cov")["jacob_cov"]
    values = np.array([5.0, 0, 0, 0, 0]) + 1e-5
    assert found == pytest.approx(-np.sum(np.log(values) + 1 / values), rel=1e-4)
    flat = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    nn.init.zeros_(flat[0].weight)
    with pytest.raises(EvaluationError, match="'jacob_cov': the gradient by an input is constant"):
        score(flat, inputs, "jacob_cov")


class Zen(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.pool, self.head = pool, nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.pool(F.relu_(self.norm(self.conv(x)))).flatten(1))


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d(1), nn.AvgPool2d(4), lambda x: x.mean((2, 3))])
def test_zen_equals_its_definition(pool):
    images = torch.ones(5, 2, 4, 4)
    found = score(Zen(pool), images, "zen", seed=7)["zen"]
    network, values = Zen(pool), []
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(7)
        for _ in range(4):
            for layer in (network.conv, network.head):
                nn.init.normal_(layer.weight)
                nn.init.zeros_(layer.bias)
            x = torch.randn(5, 2, 4, 4)
            noisy = x + 0.01 * torch.randn(5, 2, 4, 4)
            before = F.relu_(network.norm(network.conv(x)))
            after = F.relu_(network.norm(network.conv(noisy)))
            scale = network.conv(x).var((0, 2, 3), correction=0).mean().sqrt()
            values.append(float((before - after).abs().sum((1, 2, 3)).mean().log() + scale.log()))
    assert found == pytest.approx(np.mean(values), rel=1e-5)


def test_zen_does_not_look_at_data_or_weights():
    torch.manual_seed(0)
    one, other = Zen(nn.AdaptiveAvgPool2d(1)), Zen(nn.AdaptiveAvgPool2d(1))
    found = [
        score(n, x, "zen")["zen"]
        for n, x in ((one, torch.ones(3, 2, 4, 4)), (other, torch.zeros(3, 2, 4, 4)))
    ]
    assert found[0] == found[1]
