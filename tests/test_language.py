"""A search over a small language model: layers of attention, convolution or nothing, on text."""

import hashlib
import pathlib
from types import MappingProxyType

import pytest
import torch
from nn.test_choices import CONTEXT, WIDTH, Decoder
from torch import nn
from torch.nn import functional as F

import nasx
from nasx import TaskSpec
from nasx.nn.found_choices import find_choices
from nasx.tasks import SupernetTask, Task

pytestmark = pytest.mark.filterwarnings("ignore:.*skip connections:UserWarning")


class Windows:
    """Random windows of a text; every pass has others."""

    def __init__(self, text, seed, batch_size, *, training):
        self.text, self.seed, self.batch_size, self.training = text, seed, batch_size, training
        self.epoch = 0

    def __iter__(self):
        places = torch.arange(0, len(self.text) - CONTEXT, CONTEXT)
        if self.training:
            generator = torch.Generator().manual_seed(1000 * self.seed + self.epoch)
            places = torch.randint(len(self.text) - CONTEXT, places.shape, generator=generator)
        self.epoch += 1
        for chosen in places.split(self.batch_size):
            yield self.text[chosen[:, None] + torch.arange(CONTEXT + 1)]


class NextCharacter(Task):
    """Predict the next character of a text: the first four fifths to learn from, the rest to validate."""

    device = torch.device("cpu")
    spec = settings = None  # known once the text is read
    objectives = MappingProxyType({"bits": "minimize"})

    def __init__(self):
        text = (pathlib.Path(__file__).parents[1] / "LICENSE").read_text()
        self.letters = sorted(set(text))
        data = torch.tensor([self.letters.index(letter) for letter in text])
        end = 4 * len(data) // 5
        self.splits = {"train": data[:end], "valid": data[end:]}
        self.settings = {"text": hashlib.sha256(text.encode()).hexdigest()}
        self.spec = TaskSpec((CONTEXT,), len(self.letters), "language_modelling")

    def loaders(self, split, seed=0, *, training=None, device=None, batch_size=None, part=None):
        text = self.splits[split]
        low, high = part or (0.0, 1.0)
        text = text[int(low * len(text)) : int(high * len(text))]
        return Windows(
            text, seed, batch_size or 32, training=split == "train" if training is None else training
        )

    def loss(self, model, batch):
        outputs = model(batch[:, :-1])
        return F.cross_entropy(outputs.flatten(0, 1), batch[:, 1:].flatten()), outputs

    @torch.no_grad()
    def score(self, model, split="valid", *, device=None):
        model.eval()
        losses = [self.loss(model, batch)[0] for batch in self.loaders(split)]
        return {"bits": float(torch.stack(losses).mean()) / 0.6931471805599453}

    def evaluate(self, architecture, *, seed, device=None, budget=None, report=None):
        torch.manual_seed(seed)
        model = architecture.build(self.spec)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for batch in self.loaders("train", seed):
            optimizer.zero_grad()
            self.loss(model, batch)[0].backward()
            optimizer.step()
        return self.score(model)


class Dropping(Decoder):
    """With dropout before every layer."""

    def __init__(self, tokens):
        super().__init__(tokens, layers=2)
        self.layers = nn.Sequential(*(nn.Sequential(nn.Dropout(0.2), layer) for layer in self.layers))


@pytest.fixture(scope="module")
def task():
    return NextCharacter()


def run(task, strategy, make=Decoder, **options):
    space = nasx.space_of(lambda: make(len(task.letters)))
    return nasx.search(space, task, strategy=strategy, seed=1, **options)


SETTINGS = {"lr": 0.3, "weight_decay": 0.0, "architecture_lr": 0.02, "batch_size": 16}


def test_a_transformers_layers_are_searched_by_gradients(task, tmp_path):
    assert isinstance(task, SupernetTask)
    result = run(task, nasx.DARTS(epochs=4, **SETTINGS), journal=tmp_path / "run.db")
    losses = [entry["loss"] for entry in result.history]
    assert losses[-1] < 0.85 * losses[0]
    # Better than the frequencies of letters, in bits for each.
    counts = torch.bincount(task.splits["train"]).double()
    shares = counts / counts.sum()
    frequencies = -float((shares * torch.log2(shares.clamp(min=1e-12))).sum())
    assert task.score(result.supernet)["bits"] < frequencies
    assert dict(result.best.architecture).keys() == {f"layers.{i}.mixer" for i in range(3)}
    rows = [entry["probabilities"]["layers.0.mixer"][0] for entry in result.history]
    assert rows[0] != rows[-1]
    network = result.supernet.extract(result.best.architecture)
    assert type(network) is Decoder
    assert not find_choices(network)
    assert network.tokens.weight.shape == (len(task.letters), WIDTH)
    assert task.score(network)["bits"] == pytest.approx(result.best.metrics["bits"], rel=1e-5)
    again = run(task, nasx.DARTS(epochs=4, **SETTINGS), journal=tmp_path / "run.db")
    assert again.history == result.history
    trained = task.evaluate(result.best.architecture, seed=0)
    assert trained["bits"] < 6


def test_dropout_and_second_order_go_together(task):
    results = [run(task, nasx.DARTS(epochs=1, order=2, **SETTINGS), Dropping) for _ in range(2)]
    assert results[0].stopped == "epochs"
    assert all(
        torch.equal(a, b) for a, b in zip(*(r.supernet.state_dict().values() for r in results), strict=True)
    )
