"""Small networks in which everything is that goes wrong in larger ones."""

import pytest
import torch
from torch import nn


class Branching(nn.Module):
    """Batch norms, activations in place, a module that runs twice, dropout, and a branch that leads nowhere."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
        self.relu = nn.ReLU(inplace=True)
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.dead = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 1))
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(4, 5)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        x = self.relu(self.stem(x))
        self.dead(x)
        y = self.relu(self.shared(x))
        y = self.relu(self.shared(y)) if float(y.detach().sum()) > -1 else y
        return self.head(self.dropout(self.norm(y)).mean((2, 3)))


class Tokens(nn.Module):
    """A small transformer over token indices, or over vectors."""

    def __init__(self, embed=True):
        super().__init__()
        self.embed = nn.Embedding(11, 8) if embed else nn.Identity()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x)).mean(1))


@pytest.fixture
def branching():
    torch.manual_seed(0)
    network = Branching()
    network(torch.randn(4, 3, 6, 6))  # statistics that are not those of a new network
    return network


@pytest.fixture
def tokens():
    torch.manual_seed(0)
    return Tokens


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(6, 3, 6, 6, generator=generator), torch.arange(6) % 5
