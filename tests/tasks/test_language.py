"""Text as a task: windows, hidden tokens, training, seeds."""

import math
import pathlib

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nasx
from nasx import TaskSpec
from nasx.errors import EvaluationError
from nasx.spaces import Transformer
from nasx.tasks import LanguageModelling, SupernetTask
from nasx.tasks.texts import IGNORED, Windows

TEXT = (pathlib.Path(__file__).parents[2] / "LICENSE").read_text()
LINE = "how much wood would a woodchuck chuck? "
SPACE = Transformer(hidden=[16, 24], depths=[1, 2], heads=[2], head_dim=8, mlp=[2])


def make(text=60 * LINE, **settings):
    return LanguageModelling(text, **{"context": 12, "epochs": 2, "device": "cpu", **settings})


def windows(text, **settings):
    defaults = {"context": 4, "batch_size": 3, "seed": 0, "training": False, "device": "cpu"}
    return Windows([torch.as_tensor(one) for one in text], **{**defaults, **settings})


class Uniform(nn.Module):
    """Scores all tokens alike."""

    def __init__(self, tokens):
        super().__init__()
        self.tokens = tokens

    def forward(self, x):
        return torch.zeros(*x.shape, self.tokens)


# -- windows -------------------------------------------------------------------------------------------------


def test_in_evaluation_every_token_but_the_first_is_predicted_once_in_its_order():
    for length in (5, 8, 9, 10, 23):
        batches = list(windows([range(length)], batch_size=2))
        inputs = torch.cat([x.flatten() for x, _ in batches])
        targets = torch.cat([y.flatten() for _, y in batches])
        assert inputs.tolist() == list(range(length - 1))
        assert targets.tolist() == list(range(1, length))
        assert all(len(x) <= 2 for x, _ in batches)


def test_no_window_is_of_two_texts():
    texts = [range(10), range(100, 113), range(200, 206)]
    for training in (True, False):
        seen = windows(texts, training=training, batch_size=1)
        for _ in range(5):
            pairs = [(x // 100, y // 100) for x, y in seen]
            assert all((x == x[0, 0]).all() and (y == x[0, 0]).all() for x, y in pairs)
            assert {int(x[0, 0]) for x, _ in pairs} == {0, 1, 2}


def test_in_training_windows_are_shuffled_and_begin_elsewhere_in_each_epoch():
    seen = windows([range(103)], training=True, batch_size=100)
    epochs = [next(iter(seen)) for _ in range(8)]
    for x, y in epochs:
        assert torch.equal(y, x + 1)
        assert torch.equal(x, x[:, :1] + torch.arange(4))
        starts = x[:, 0].sort().values
        assert (starts.diff() == 4).all()  # side by side
        assert len(starts) >= 24
    assert len({int(x.min()) for x, _ in epochs}) > 2
    assert any((x[:, 0].diff() < 0).any() for x, _ in epochs)
    again = windows([range(103)], training=True, batch_size=100)
    again.epoch = 5
    assert torch.equal(next(iter(again))[0], epochs[5][0])
    other = windows([range(103)], training=True, batch_size=100, seed=1)
    assert not torch.equal(next(iter(other))[0], epochs[0][0])


def test_parts_share_no_window_and_leave_none_out():
    task = make(TEXT, context=16)
    halves = [task.loaders("train", 3, part=part) for part in ((0, 0.5), (0.5, 1))]
    sets = [{tuple(row) for x, _ in half for row in x.tolist()} for half in halves]
    for epoch in range(2):
        again = [{tuple(row) for x, _ in half for row in x.tolist()} for half in halves]
        assert again == sets, epoch
    whole = {tuple(row) for x, _ in task.loaders("train", part=(0, 1)) for row in x.tolist()}
    assert sets[0] | sets[1] == whole
    # Texts repeat themselves, but hardly.
    assert len(sets[0] & sets[1]) < 0.05 * len(whole)
    total = sum(len(x) for x, _ in task.loaders("train", part=(0, 1)))
    assert sum(len(x) for half in halves for x, _ in half) == total
    with pytest.raises(ValueError, match=r"part must be a pair \(low, high\)"):
        task.loaders("train", part=(0.5, 0.5))
    with pytest.raises(ValueError, match=r"part=\(0, 1e-06\) holds none of the"):
        task.loaders("train", part=(0, 1e-6))


def test_hidden_tokens_are_predicted_and_no_others():
    task = make(masked=0.25)
    assert task.spec == TaskSpec((12,), 13, "masked_language_modelling")
    assert task.mask == 12
    passes = task.loaders("train", 0)
    (x, y), (other, _) = next(iter(passes)), next(iter(passes))
    hidden = x == task.mask
    assert (hidden.sum(1) == 3).all()
    assert ((y == IGNORED) == ~hidden).all()
    text = torch.where(hidden, y, x)
    assert all(task.decode(row) in 60 * LINE for row in text)
    assert "_" in task.decode(x[0])
    assert not torch.equal(hidden, other == task.mask)
    # All networks are measured on the same ones.
    evaluated = task.loaders("valid")
    first, second = list(evaluated), list(evaluated)
    assert all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True))
    # At least one in the shortest window.
    assert all((y != IGNORED).sum(1).min() > 0 for _, y in first)
    assert first[-1][0].shape[1] < 12


# -- the task ------------------------------------------------------------------------------------------------


def test_texts_files_and_tokens_are_one_task(tmp_path):
    (tmp_path / "text.txt").write_text(60 * LINE, encoding="utf-8")
    tasks = [make(), make(tmp_path / "text.txt")]
    letters = sorted(set(LINE))
    tokens = np.array([letters.index(letter) for letter in 60 * LINE], np.uint16)
    tasks += [make(tokens), make(torch.as_tensor(tokens.astype(int)))]
    assert len({str(task.settings) for task in tasks}) == 1
    assert tasks[0].alphabet == tuple(letters)
    assert tasks[0].decode(tasks[0].encode(LINE)) == LINE
    assert tasks[2].alphabet is None
    with pytest.raises(TypeError, match="only their tokenizer knows"):
        tasks[2].decode([1])
    with pytest.raises(ValueError, match="text holds 'X', which is not in the alphabet"):
        tasks[0].encode("XX")
    assert make(tokens, vocabulary=100).spec.num_outputs == 100
    assert isinstance(tasks[0], SupernetTask)


def test_shares_are_taken_off_the_end():
    task = make("a" * 80 + "b" * 100 + "c" * 20, valid=0.5, test=0.1)
    texts = {name: task.decode(task._texts[name]) for name in task.splits}
    assert texts == {"train": "a" * 80, "valid": "b" * 100, "test": "c" * 20}
    assert LanguageModelling("a" * 50, "ab" * 20, context=12).alphabet == ("a", "b")


@pytest.mark.parametrize(
    ("data", "settings", "error", "message"),
    [
        (("short",), {}, ValueError, "train must hold more tokens than context=12; it holds 5"),
        ((50 * LINE, "short"), {}, ValueError, "valid must hold more tokens than context=12; it holds 5"),
        ((50 * LINE, np.arange(40)), {}, TypeError, "train, valid must all be texts, or all arrays"),
        ((np.zeros((4, 4), int),), {}, ValueError, r"integers of shape \(n,\).*got int64 of shape \(4, 4\)"),
        ((np.zeros(400),), {}, ValueError, "got float64 of shape"),
        ((np.arange(400) - 1,), {}, ValueError, "train: tokens must be numbers of at least 0; got -1"),
        ((50 * LINE, 1.5), {}, ValueError, "valid must be a text, an array of tokens, or a share of train"),
        ((0.5,), {}, ValueError, "train must be a text"),
        ((50 * LINE, 0.6, 0.4), {}, ValueError, "must leave something of train"),
        ((50 * LINE,), {"context": 0}, ValueError, "context must be an integer of at least 1"),
        ((50 * LINE,), {"masked": 1}, ValueError, "masked must be a number of more than 0 and less than 1"),
        ((50 * LINE,), {"vocabulary": 30}, ValueError, "vocabulary must be left out where texts are given"),
        ((np.arange(400),), {"vocabulary": 30}, ValueError, "more than the largest token, 399; got 30"),
        ((50 * LINE,), {"threads": 0}, ValueError, "threads must be an integer of at least 1"),
        ((50 * LINE,), {"epochs": 0}, ValueError, "epochs must be an integer of at least 1"),
        ((50 * LINE,), {"optimizer": "adam"}, ValueError, "unknown optimizer 'adam'; did you mean 'adamw'"),
        ((50 * LINE,), {"device": "gpu"}, ValueError, "device must be a name that torch knows"),
    ],
)
def test_what_is_wrong_is_named(data, settings, error, message):
    with pytest.raises(error, match=message):
        LanguageModelling(*data, **{"context": 12, "device": "cpu", **settings})


def test_scores_are_those_of_all_tokens():
    task = make()
    scores = task.score(Uniform(12))
    assert scores["perplexity"] == pytest.approx(12)
    assert scores["loss"] == pytest.approx(math.log(12))
    text = task._texts["valid"]
    assert scores["accuracy"] == pytest.approx(float((text[1:] == 0).double().mean()))
    assert scores["error"] == 1 - scores["accuracy"]
    with pytest.raises(ValueError, match="unknown split 'test'"):
        task.score(Uniform(12), "test")
    with pytest.raises(EvaluationError, match=r"must return outputs of shape \(\d+, 12, 12\)"):
        task.score(Uniform(11))


def test_shorter_windows_count_for_what_they_hold():
    task = make(TEXT, context=32)
    torch.manual_seed(0)
    network = SPACE.decode(SPACE.sample(1)[0]).build(task.spec).eval()
    losses = []
    for x, y in task.loaders("valid", batch_size=7):
        losses.append(F.cross_entropy(network(x).flatten(0, 1), y.flatten(), reduction="none").detach())
    losses = torch.cat(losses).double()
    assert len(losses) == len(task._texts["valid"]) - 1
    scores = task.score(network)
    assert scores["loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
    assert scores["perplexity"] == pytest.approx(math.exp(scores["loss"]))


def test_networks_learn_to_predict_and_seeds_decide():
    task = make(epochs=5, batch_size=16)
    architecture = SPACE.decode(SPACE.encode({"hidden": 24, "depth": 1, "layer1.kind": "attention"}))
    state = torch.random.get_rng_state()
    metrics = task.evaluate(architecture, seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert set(metrics) == set(task.metrics)
    assert metrics["perplexity"] < 0.75 * 12
    assert metrics["epochs"] == 5
    assert task.evaluate(architecture, seed=0) == metrics
    assert task.evaluate(architecture, seed=1)["loss"] != metrics["loss"]
    assert task.max_budget == 5
    assert task.evaluate(architecture, seed=0, budget=1)["epochs"] == 1


def test_encoders_learn_what_is_hidden():
    space = Transformer(hidden=[16, 24], depths=[1], heads=[2], head_dim=8, mlp=[2], causal=False)
    task = make(epochs=6, batch_size=16, masked=0.2)
    architecture = space.decode(space.encode({"hidden": 24, "layer1.kind": "convolution"}))
    assert task.evaluate(architecture, seed=0)["perplexity"] < 0.75 * 13
    with pytest.raises(ValueError, match="with causal=False each token sees the next one"):
        make().evaluate(architecture, seed=0)


def test_the_best_epoch_is_kept_where_there_is_a_patience():
    task = make(epochs=6, lr=0.3, grad_clip=None, patience=2, schedule="constant")
    seen = []
    architecture = SPACE.decode(SPACE.sample(1, seed=1)[0])
    model, history = task.train(architecture, seed=0, report=lambda epoch, entry: seen.append(entry) and None)
    best = min(entry["perplexity"] for entry in history)
    assert task.score(model)["perplexity"] == pytest.approx(best, rel=1e-5)
    assert task.evaluate(architecture, seed=0)["perplexity"] == pytest.approx(best)


def test_the_chosen_network_is_trained_on_all_but_the_test_text():
    task = make(test=0.2)
    model, metrics = task.retrain(SPACE.decode(SPACE.sample(1)[0]), epochs=1)
    assert metrics["test_perplexity"] == task.score(model, "test")["perplexity"]
    assert metrics["epochs"] == 1
    assert sum(len(x) for x, _ in task.loaders(("train", "valid"))) > sum(
        len(x) for x, _ in task.loaders("train")
    )


def test_a_search_over_text_says_what_it_minimises():
    result = nasx.search(SPACE, make(epochs=1), strategy="random_search", evaluations=2, seed=0)
    assert result.best.metrics["perplexity"] == min(t.metrics["perplexity"] for t in result.trials)
    assert result.best.architecture.build() is not None
