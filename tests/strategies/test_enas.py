"""ENAS, trap by trap."""

import copy
import math
import time

import numpy as np
import pytest
import torch
from reference.enas import PlainController
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

import nasx
from nasx.checkpoint import Checkpoint
from nasx.errors import EvaluationError
from nasx.nn import InputChoice, LayerChoice
from nasx.nn.recalibration import batch_statistics
from nasx.registry import get_strategy
from nasx.strategies.one_shot.controller import Controller
from nasx.strategies.one_shot.enas_training import ENASTraining
from nasx.strategies.one_shot.rewards import reward_of
from nasx.strategies.reinforcement.lstm import LSTMPolicy
from nasx.tasks import ImageClassification
from nasx.tasks.datasets import load

CELLS = nasx.spaces.NASBench201(cells=1, channels=4)
MACRO = nasx.spaces.ENASMacro(layers=3, channels=4)
QUICK = {
    "epochs": 1,
    "batch_size": 24,
    "controller_steps": 2,
    "controller_samples": 3,
    "final_samples": 4,
    "baseline": 3,
}
CONDITIONAL = nasx.Space(
    {
        "a": nasx.Categorical("xy"),
        "b": nasx.Categorical("pqr", when={"a": "y"}),
        "c": nasx.Boolean(when={"b": ["q", "r"]}),
    }
)


class Forget(nn.Module):
    """Nothing of the input is left, but its shape."""

    def forward(self, x):
        return x * 0


def nested():
    """A layer that is chosen only within another choice, and inputs that are chosen."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            inner = nn.Sequential(nn.BatchNorm1d(64), LayerChoice({"tanh": nn.Tanh(), "relu": nn.ReLU()}))
            self.first = LayerChoice({"deep": inner, "skip": nn.Identity()}, name="first")
            self.inputs = InputChoice(2, chosen=1, name="inputs")
            self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(64, 10))

        def forward(self, images):
            flat = images.flatten(1)
            return self.head(self.inputs([flat, self.first(flat)]))

    return Network()


MODULES = nasx.space_of(nested)
SPACES = {
    "cell": nasx.spaces.ENASCell(cells=3, channels=4, nodes=2),
    "macro": MACRO,
    "nasbench201": CELLS,
    "darts": nasx.spaces.DARTS(cells=3, channels=4, nodes=2),
    "modules": MODULES,
}


class Recording(ImageClassification):
    """Remembers which batches were asked for."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked = []

    def loaders(self, split, seed=0, **options):
        self.asked.append((split, seed, options))
        return super().loaders(split, seed, **options)


@pytest.fixture(scope="module")
def task():
    data = load("digits")
    (x, y), (a, b) = data["train"], data["valid"]
    return Recording((x[:96], y[:96]), (a[:40], b[:40]), batch_size=16, threads=1, device="cpu")


@pytest.fixture(autouse=True)
def seed(task):
    torch.manual_seed(0)
    task.asked.clear()


def training(task, space=CELLS, seed=0, deadline=None, **settings):
    torch.manual_seed(0)
    supernet = space.supernet(task.spec)
    strategy = nasx.ENAS(**(QUICK | settings))
    return ENASTraining(strategy, supernet, task, seed=seed, device=None, deadline=deadline)


def fit(task, space=CELLS, *, seed=0, deadline=None, checkpoint=None, **settings):
    torch.manual_seed(0)
    supernet = space.supernet(task.spec)
    history = []
    fitted = nasx.ENAS(**(QUICK | settings)).fit(
        supernet, task, seed=seed, history=history, deadline=deadline, checkpoint=checkpoint
    )
    return supernet, history, fitted


def controller(space=CONDITIONAL, seed=0, **settings):
    return Controller(space, nasx.ENAS(**settings), seed=seed)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def drawn(one, n, seed=0):
    rows = one.rows(seed)
    return np.stack([next(rows) for _ in range(n)])


# -- settings --------------------------------------------------------------------------------------------------


def test_strategies_are_made_by_name_and_again_from_their_settings():
    strategy = get_strategy("enas", epochs=7, restart_epochs=None, architecture_data="valid")
    assert type(strategy) is nasx.ENAS
    assert get_strategy("enas", **strategy.settings).settings == strategy.settings
    assert "enas" in nasx.available_strategies()
    assert strategy.total_epochs == 7
    published = nasx.ENAS().settings
    assert published["controller_lr"] == 0.0035
    assert published["entropy_weight"] == 1e-4
    assert (published["temperature"], published["tanh_constant"]) == (5.0, 2.5)
    assert (published["skip_weight"], published["skip_target"]) == (0.8, 0.4)
    assert (published["lr"], published["lr_min"], published["restart_epochs"]) == (0.05, 0.0005, 10)
    assert published["final_samples"] == 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1; got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2; got 1"),
        ({"controller_steps": 0}, "controller_steps must be at least 1; got 0"),
        ({"controller_samples": 2.0}, "controller_samples must be an integer; got 2.0"),
        ({"final_samples": 0}, "final_samples must be at least 1"),
        ({"restart_epochs": 0}, "restart_epochs must be at least 1; got 0"),
        ({"restart_factor": 0}, "restart_factor must be at least 1; got 0"),
        ({"reward": "loss"}, "reward must be 'accuracy' or 'likelihood'; got 'loss'"),
        ({"architecture_data": 1.0}, 'architecture_data must be "valid" or a share between 0 and 1; got 1.0'),
        ({"architecture_data": "test"}, "architecture_data must be"),
        ({"momentum": 1.0}, "momentum must be less than 1; got 1.0"),
        ({"baseline_decay": 1}, "baseline_decay must be less than 1; got 1"),
        ({"skip_target": 1.0}, "skip_target must be less than 1; got 1.0"),
        *(
            ({name: wrong}, f"{name} must be a number of more than 0; got {wrong!r}")
            for name in ("lr", "controller_lr", "temperature", "tanh_constant", "grad_clip", "skip_target")
            for wrong in (0, math.nan, True)
        ),
        *(
            ({name: wrong}, f"{name} must be a number of at least 0; got {wrong!r}")
            for name in (
                "lr_min",
                "momentum",
                "weight_decay",
                "entropy_weight",
                "baseline_decay",
                "skip_weight",
            )
            for wrong in (-1e-9, None)
        ),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        nasx.ENAS(**settings)


def test_the_learning_rate_restarts_or_falls_once(task):
    strategy = nasx.ENAS(lr=0.05, lr_min=0.01, restart_epochs=2, restart_factor=2)
    low, high = 0.01, 0.05
    half = lambda part: low + (high - low) * (1 + math.cos(math.pi * part)) / 2  # noqa: E731
    expected = [half(p) for p in (0, 0.5, 0, 0.25, 0.5, 0.75, *(i / 8 for i in range(8)), 0)]
    np.testing.assert_allclose([strategy.rate(epoch) for epoch in range(15)], expected)
    once = nasx.ENAS(lr=0.05, lr_min=0.01, restart_epochs=None, epochs=4)
    np.testing.assert_allclose([once.rate(epoch) for epoch in range(4)], [half(i / 4) for i in range(4)])
    rates = []
    handle = register_optimizer_step_pre_hook(lambda o, *_: rates.append(o.param_groups[0]["lr"]))
    try:
        _, history, _ = fit(task, epochs=3, batch_size=48, restart_epochs=2)
    finally:
        handle.remove()
    expected = [nasx.ENAS(restart_epochs=2).rate(epoch) for epoch in range(3)]
    assert rates == [rate for rate in expected for _ in range(2)]
    assert [entry["lr"] for entry in history] == expected


# -- the controller --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [CONDITIONAL, MACRO], ids=["conditional", "macro"])
def test_the_controller_is_its_plain_twin(space):
    one = controller(space, entropy_weight=0.5, controller_lr=0.01, baseline_decay=0.9, skip_target=0.3)
    twin = PlainController(
        one.weights,
        space.cardinalities.tolist(),
        [isinstance(space[name], nasx.Boolean) for name in space],
        temperature=5.0,
        bound=2.5,
        rate=0.01,
        entropy_weight=0.5,
        decay=0.9,
        skips=(0.8, 0.3),
    )
    rng = np.random.default_rng(0)
    fixed = drawn(one, 12, seed=99)
    begin = one.log_prob(fixed)
    for step in range(6):
        rows, rewards = drawn(one, 4, seed=step), rng.random(4)
        lesson = one.learn(rows, rewards)
        assert lesson.entropy == pytest.approx(
            np.mean([float(twin.along(r)[1].detach()) for r in rows]), rel=1e-3
        )
        twin.learn(rows.tolist(), rewards)
        assert one.baseline == pytest.approx(twin.baseline, rel=1e-3)
    after = np.array([float(twin.along(row)[0].detach()) for row in fixed])
    assert np.abs(after - begin).max() > 0.05
    np.testing.assert_allclose(one.log_prob(fixed), after, atol=3e-3)


def test_no_gradient_goes_through_the_entropy():
    one = controller(entropy_weight=3.0, controller_lr=0.01, skip_weight=0.0)
    rows, rewards = drawn(one, 6), np.random.default_rng(0).random(6)
    other = LSTMPolicy(CONDITIONAL.cardinalities, CONDITIONAL.conditions)
    wrong = LSTMPolicy(CONDITIONAL.cardinalities, CONDITIONAL.conditions)
    for policy in (other, wrong):
        policy.weights = copy.deepcopy(one.weights)
    entropy = one._along(one._tensors(), rows)[1].numpy()
    assert len(set(entropy.tolist())) > 2  # rows of different lengths
    gains = rewards + 3.0 * entropy
    before = copy.deepcopy(one.weights)
    lesson = one.learn(rows, rewards)
    assert one.baseline == pytest.approx(gains.mean())
    assert lesson.entropy == pytest.approx(entropy.mean())
    # What a policy gradient does with these numbers as rewards; and what it does with a gradient of entropy.
    other.reinforce(rows, gains - gains.mean(), 0.0, 0.01)
    wrong.reinforce(rows, gains - gains.mean(), 3.0, 0.01)
    for name, weight in one.weights.items():
        np.testing.assert_allclose(weight, other.weights[name], rtol=1e-3, atol=2e-5)
    assert any(not np.allclose(one.weights[n], wrong.weights[n], rtol=1e-2, atol=1e-3) for n in one.weights)
    assert not np.array_equal(one.weights["heads"], before["heads"])
    # It is in the reward all the same.
    plain = controller(entropy_weight=0.0, controller_lr=0.01, skip_weight=0.0)
    plain.learn(rows, rewards)
    assert plain.baseline == pytest.approx(rewards.mean())


def test_the_baseline_is_a_moving_average_that_moves_first():
    one = controller(entropy_weight=0.0, baseline_decay=0.9, skip_weight=0.0)
    assert one.baseline == 0.0
    before = copy.deepcopy(one.weights)
    one.learn(drawn(one, 1), np.array([0.7]))  # its own mean: no advantage
    assert all(np.array_equal(weight, before[name]) for name, weight in one.weights.items())
    seen = [0.7]
    for reward in (0.1, 0.5, 0.9):
        one.learn(drawn(one, 1), np.array([reward]))
        seen.append(reward)
        weights = 0.9 ** np.arange(len(seen))[::-1]
        assert one.baseline == pytest.approx((weights * seen).sum() / weights.sum())
    assert not np.array_equal(one.weights["heads"], before["heads"])


def test_decisions_that_are_not_active_count_for_nothing():
    one = controller(skip_target=0.3)
    rows = np.array([[0, -1, -1], [1, 0, -1], [1, 1, 0]], np.int32)
    tensors = one._tensors(learned=True)
    along = one._along(tensors, rows)
    log_prob, entropy, penalty = (part.detach() for part in along)
    log_probs = {
        j: decided.log_probs.detach()[:, k]
        for decided in one._decide(one._tensors(), rows)
        for k, j in enumerate(decided.columns.tolist())
    }
    for i, row in enumerate(rows):
        taken = [log_probs[j][i] for j in range(3) if row[j] >= 0]
        choices = [int(choice) for choice in row if choice >= 0]
        expected = sum(float(p[choice]) for p, choice in zip(taken, choices, strict=True))
        assert float(log_prob[i]) == pytest.approx(expected, rel=1e-5)
        assert float(entropy[i]) == pytest.approx(sum(-float((p.exp() * p).sum()) for p in taken), rel=1e-5)
    np.testing.assert_allclose(log_prob, one.log_prob(rows), rtol=1e-5)
    # One Boolean, active in one of three rows; two other decisions.
    p = log_probs[2][2].exp().double().numpy()
    divergence = (p * np.log(p / np.array([0.7, 0.3]))).sum()
    assert float(penalty) == pytest.approx(divergence / 3 / 2, rel=1e-5)
    # No choice of an inactive decision has a gradient.
    along[0][0].backward()
    heads = tensors["heads"].grad.abs().sum(1)
    assert [bool(part > 0) for part in heads] == [True] * 2 + [False] * 5


def test_skips_are_drawn_to_their_share():
    space = nasx.Space({"op": nasx.Categorical("ab"), **{str(i): nasx.Boolean() for i in range(3)}})
    shares = {}
    for weight in (0.8, 0.0):
        one = controller(space, skip_weight=weight, skip_target=0.2, entropy_weight=0.0, controller_lr=0.02)
        for step in range(60):
            one.learn(drawn(one, 8, seed=step), np.zeros(8))
        shares[weight] = drawn(one, 2000, seed=999)[:, 1:].mean()
    assert shares[0.8] == pytest.approx(0.2, abs=0.04)
    assert shares[0.0] == pytest.approx(0.5, abs=0.05)


def test_the_controller_learns_what_is_rewarded():
    one = controller(CELLS, controller_lr=0.02)
    begin = np.mean(drawn(one, 500, seed=1000) == 3)
    for step in range(60):
        rows = drawn(one, 10, seed=step)
        one.learn(rows, (rows == 3).mean(axis=1))
    assert begin == pytest.approx(0.2, abs=0.05)
    assert np.mean(drawn(one, 500, seed=1000) == 3) > 0.6


def test_temperature_and_bound_are_those_of_the_settings():
    sure = [
        controller(CELLS, tanh_constant=bound, temperature=t)
        for bound, t in ((2.5, 5.0), (0.1, 5.0), (2.5, 100.0))
    ]
    for one in sure:
        one.weights["head_bias"][:] = np.tile([0.0, 0.0, 20.0, 0.0, 0.0], 6)
    shares = [np.mean(drawn(one, 500) == 2) for one in sure]
    expected = [
        math.exp(bound * math.tanh(20 / t)) / (4 + math.exp(bound * math.tanh(20 / t)))
        for bound, t in ((2.5, 5.0), (0.1, 5.0), (2.5, 100.0))
    ]
    np.testing.assert_allclose(shares, expected, atol=0.03)
    for one in sure:
        rows, log_probs = one.draw(5, 0, 0)
        np.testing.assert_allclose(one.log_prob(rows), log_probs.sum(1), rtol=1e-4)


def test_constraints_are_met():
    space = nasx.Space(
        {"a": nasx.Integer(0, 4), "b": nasx.Integer(0, 4)}, constraints=[lambda x: x[:, 0] != x[:, 1]]
    )
    rows = drawn(controller(space), 200)
    assert (rows[:, 0] != rows[:, 1]).all()
    assert drawn(controller(space), 5).tolist() == rows[:5].tolist()
    few = controller(space).rows(0, block=3)
    assert [next(few).tolist() for _ in range(20)] == rows[:20].tolist()
    space = nasx.Space({"a": nasx.Boolean()}, constraints=[lambda x: x[:, 0] > 1])
    with pytest.raises(EvaluationError, match="constraints or limits refuse 4096 architectures in a row"):
        next(controller(space).rows(0))


def test_a_controllers_state_is_all_of_it():
    one, other = controller(), controller(seed=5)
    for step in range(3):
        one.learn(drawn(one, 4, seed=step), np.arange(4.0))
    state = one.state()
    kept = copy.deepcopy(state)
    other.load_state(state)
    for step in range(3, 6):
        rows = drawn(one, 4, seed=step)
        np.testing.assert_array_equal(drawn(other, 4, seed=step), rows)
        assert one.learn(rows, np.arange(4.0)) == other.learn(rows, np.arange(4.0))
    assert one.baseline == other.baseline
    assert all(np.array_equal(one.weights[name], other.weights[name]) for name in one.weights)
    assert same(state["tensors"], kept["tensors"])  # what was given out did not learn on
    with pytest.raises(ValueError, match="controller: embeddings must have shape"):
        controller(CELLS).load_state(state)


# -- the two phases --------------------------------------------------------------------------------------------


def test_phases_take_turns(task, monkeypatch):
    events = []
    learn = Controller.learn
    monkeypatch.setattr(Controller, "learn", lambda *args: events.append("controller") or learn(*args))
    handle = register_optimizer_step_pre_hook(lambda o, *_: events.append(type(o).__name__))
    try:
        _, history, _ = fit(task, epochs=2, controller_steps=3)
    finally:
        handle.remove()
    assert events == (["SGD"] * 4 + ["controller"] * 3) * 2  # 87 images in batches of 24
    assert [entry["epoch"] for entry in history] == [1, 2]


def test_each_phase_leaves_what_the_other_learns_as_it_is_to_the_bit(task):
    run = training(task)
    weights, policy = copy.deepcopy(run.supernet.state_dict()), run.controller.state()
    modes = [module.training for module in run.supernet.modules()]
    assert run._train_controller(0)
    assert same(run.supernet.state_dict(), weights)  # running statistics too
    assert [module.training for module in run.supernet.modules()] == modes
    assert all(p.grad is None for p in run.supernet.parameters())
    assert not same(run.controller.state()["tensors"], policy["tensors"])
    policy = run.controller.state()
    assert run._train_weights(0)
    after = run.controller.state()
    assert same(after.pop("tensors"), policy.pop("tensors"))
    assert after == policy
    assert not same(run.supernet.state_dict(), weights)
    assert all(torch.equal(p, weights[n]) for n, p in run.supernet.named_parameters() if "logits" in n)


def test_weights_off_the_path_do_not_move_though_they_have_momentum_and_decay(task):
    run = training(task, weight_decay=0.1, lr=0.1)
    batch = next(iter(run.batches))
    every = np.full(6, CELLS.operations.index("nor_conv_3x3"), np.int32)
    run.weight_step(batch, every)
    names = {n: p.detach().clone() for n, p in run.supernet.named_parameters()}
    run.weight_step(batch, np.full(6, CELLS.operations.index("skip_connect"), np.int32))
    moved = {n for n, p in run.supernet.named_parameters() if not torch.equal(p, names[n])}
    assert moved == {n for n in names if not n.startswith("logits") and ".operations." not in n}
    assert isinstance(run.optimizer, torch.optim.SGD)
    assert run.optimizer.defaults["nesterov"]
    assert run.optimizer.defaults["momentum"] == 0.9
    assert not training(task, momentum=0.0).optimizer.defaults["nesterov"]


def test_gradients_are_clipped(task):
    norms = []

    def hook(optimizer, *_):
        gradients = [
            p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None
        ]
        norms.append(math.sqrt(sum(float(g.square().sum()) for g in gradients)))

    handle = register_optimizer_step_pre_hook(hook)
    try:
        fit(task, grad_clip=1e-6)
        assert max(norms) == pytest.approx(1e-6, rel=1e-2)
        norms.clear()
        fit(task, grad_clip=None)
        assert max(norms) > 0.01
    finally:
        handle.remove()


def test_every_batch_has_a_path_of_its_own(task, monkeypatch):
    paths = []
    run = training(task, batch_size=8)
    path = run.supernet.path
    monkeypatch.setattr(run.supernet, "path", lambda one: paths.append(tuple(one.genotype)) or path(one))
    run._train_weights(0)
    assert len(paths) == 11  # 86 images
    assert len(set(paths)) > 8
    first = list(paths)
    paths.clear()
    run._train_weights(1)
    assert first != paths


def test_both_learn_from_their_own_images(task):
    fit(task, seed=5, architecture_data=0.25)
    options = {"training": True, "device": "cpu", "batch_size": 24}
    assert task.asked == [
        ("train", 5, options | {"part": (0.0, 0.75)}),
        ("train", 5, options | {"part": (0.75, 1.0)}),
        ("train", 5, options | {"part": (0.75, 1.0), "training": False}),
    ]
    task.asked.clear()
    fit(task, architecture_data="valid")
    assert task.asked == [
        ("train", 0, options | {"part": None}),
        ("valid", 0, options | {"part": None}),
        ("valid", 0, options | {"part": None, "training": False}),
    ]


# -- how candidates are scored ---------------------------------------------------------------------------------


def test_candidates_are_scored_by_the_statistics_of_the_batch_without_dropout(task):
    run = training(task, MODULES)
    space = MODULES
    batch = next(iter(run.batches))
    row = space.encode({"first": "deep", "first.deep.1": "tanh", "inputs": "1"})
    for norm in run.supernet.modules():
        if isinstance(norm, nn.BatchNorm1d):
            norm.running_mean.fill_(1e3)  # of no use to anybody
    before = copy.deepcopy(run.supernet.state_dict())
    with torch.no_grad(), batch_statistics(run.supernet):
        found, count = run.reward(row, batch)
        again, _ = run.reward(row, batch)
    assert torch.equal(found, again)  # no dropout
    assert count == len(batch[1])
    network = run.supernet.extract(space.decode(row)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.train()
    expected = (network(batch[0]).argmax(1) == batch[1]).float().mean()
    assert torch.equal(found, expected)
    running = run.supernet.extract(space.decode(row)).eval()
    assert not torch.equal(running(batch[0]), network(batch[0]))
    assert same(run.supernet.state_dict(), before)


def test_batch_statistics_are_those_of_training_and_everything_is_put_back():
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.BatchNorm1d(3, track_running_stats=False))
    network[0].eval()
    x = torch.randn(6, 3) + 2
    expected = network[2](nn.functional.batch_norm(x, None, None, training=True))
    before = copy.deepcopy(network.state_dict())
    with batch_statistics(network):
        torch.testing.assert_close(network(x), expected)
    assert [module.training for module in network] == [False, True, True]
    assert same(network.state_dict(), before)
    assert network[0].track_running_stats
    with pytest.raises(KeyError), batch_statistics(network):
        raise KeyError
    assert [module.training for module in network] == [False, True, True]


def test_tokens_are_rewarded_each_and_those_that_are_not_predicted_not_at_all():
    text = nasx.tasks.LanguageModelling(40 * "abcabd", context=6, masked=0.5, device="cpu")

    class Fixed(nn.Module):
        def forward(self, x):
            return nn.functional.one_hot(x.clamp(max=0), text.spec.num_outputs).float()  # always "a"

    x, y = batch = next(iter(text.loaders("train")))
    reward = reward_of(text, Fixed(), batch, "accuracy")
    hidden = y[x == text.mask]
    assert 0 < float(reward.value) < 1
    assert float(reward.value) == pytest.approx(float((hidden == 0).float().mean()))


def test_rewards_may_be_likelihoods_and_accuracy_needs_labels(task):
    run = training(task, reward="likelihood")
    batch = next(iter(run.batches))
    row = drawn(run.controller, 1)[0]
    with torch.no_grad(), batch_statistics(run.supernet):
        value, _ = run.reward(row, batch)
        with run.supernet.path(CELLS.decode(row)):
            loss, _ = task.loss(run.supernet, batch)
    assert float(value) == pytest.approx(math.exp(-float(loss)))
    _, history, _ = fit(task, reward="likelihood")
    assert 0 < history[0]["reward"] < 1

    class Unlabelled(Recording):
        def loss(self, model, batch):
            return super().loss(model, (batch["x"], batch["y"]))

        def loaders(self, *args, **kwargs):
            inner = super().loaders(*args, **kwargs)

            class Dicts:
                epoch = 0

                def __iter__(self):
                    return ({"x": x, "y": y} for x, y in inner)

            return Dicts()

    (x, y), (a, b) = load("digits")["train"], load("digits")["valid"]
    other = Unlabelled((x[:96], y[:96]), (a[:40], b[:40]), batch_size=16, threads=1, device="cpu")
    with pytest.raises(EvaluationError, match='with this task, take reward="likelihood"'):
        fit(other)
    fit(other, reward="likelihood")


def test_the_best_of_the_samples_is_taken(task):
    supernet, history, fitted = fit(task, final_samples=12, architecture_data=0.4, lr=0.1, epochs=2)
    assert fitted.stopped == "epochs"
    final = history[-1]["final"]
    assert fitted.genotype.tolist() == final["genotype"]
    # Again, by hand.
    run = training(task, final_samples=12, architecture_data=0.4, lr=0.1, epochs=2)
    again = []
    run.run(2, checkpoint=None, history=again, report=None)
    assert same(run.supernet.state_dict(), supernet.state_dict())
    rows = CELLS.canonicalize(run._drawn(12, nasx.tasks.batches.stream(0, 0, 9)))
    images = list(task.loaders("train", 0, training=False, part=(0.6, 1.0), batch_size=24))
    assert [len(y) for _, y in images] == [24, 14]  # two fifths of 96
    scores = []
    for row in rows:
        network = supernet.extract(CELLS.decode(row)).train()
        scores.append(sum(int((network(x).argmax(1) == y).sum()) for x, y in images) / 38)
    assert final["reward"] == pytest.approx(max(scores))
    assert CELLS.decode(fitted.genotype) == CELLS.decode(rows[int(np.argmax(scores))])
    assert len(set(scores)) > 2
    assert final["scored"] == len({tuple(row) for row in rows.tolist()})
    assert final["mean_reward"] < final["reward"]


def test_the_best_is_taken_wherever_it_is(task, monkeypatch):
    seen = []
    scores = iter([0.2, 0.1, 0.9, 0.3, 0.9])
    monkeypatch.setattr(ENASTraining, "_score", lambda self, row, batches: seen.append(row) or next(scores))
    _, history, fitted = fit(task, final_samples=5)
    assert len({tuple(row) for row in seen}) == 5
    assert fitted.genotype.tolist() == seen[2].tolist()
    final = {"genotype": seen[2].tolist(), "reward": 0.9, "mean_reward": pytest.approx(0.48), "scored": 5}
    assert history[-1]["final"] == final


def test_history_holds_what_the_epoch_was(task):
    _, history, _ = fit(task, MACRO, epochs=2)
    for entry in history:
        assert set(entry) - {"final"} == {
            "epoch", "loss", "lr", "reward", "baseline", "entropy", "skip_penalty", "genotype", "best_reward", "seconds",
        }  # fmt: skip
        assert 0 <= entry["reward"] <= entry["best_reward"] <= 1
        # Three choices of six operations and three Booleans, all as good as equal.
        assert entry["entropy"] == pytest.approx(3 * math.log(6) + 3 * math.log(2), rel=0.01)
        assert MACRO.check([entry["genotype"]]).shape == (1, 6)
        assert entry["skip_penalty"] > 0
    assert "final" not in history[0]


# -- searches --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPACES)
def test_a_search_from_end_to_end(task, name):
    space = SPACES[name]
    before = torch.get_rng_state()
    result = nasx.search(space, task, strategy=nasx.ENAS(**QUICK), seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert result.stopped == "epochs"
    assert result.best is not None
    assert result.best.architecture.genotype.tolist() == result.history[-1]["final"]["genotype"]
    assert len(result.baseline) == 3
    assert "3 random ones" in repr(result)
    network = result.supernet.extract(result.best.architecture).eval()
    supernet = result.supernet.eval()
    x = torch.randn(3, 1, 8, 8)
    with supernet.path(result.best.architecture):
        torch.testing.assert_close(network(x), supernet(x), rtol=1e-5, atol=1e-5)
    again = nasx.search(space, task, strategy=nasx.ENAS(**QUICK), seed=3)
    assert again.best.metrics == result.best.metrics
    assert same(again.supernet.state_dict(), result.supernet.state_dict())
    assert again.history[0]["reward"] == result.history[0]["reward"]


def test_limits_on_costs_hold_for_all_that_is_drawn(task, monkeypatch):
    space = MACRO
    costs = nasx.hardware.get_cost("parameters").bind(space, task.spec)
    limit = float(np.quantile(costs(space.sample(50)), 0.3))
    paths = []
    path = nasx.nn.Supernet.path
    monkeypatch.setattr(
        nasx.nn.Supernet, "path", lambda self, one: paths.append(one.genotype) or path(self, one)
    )
    options = {"costs": ["parameters"], "limits": {"parameters": limit}}
    result = nasx.search(space, task, strategy=nasx.ENAS(**QUICK), **options)
    assert result.best.state == "complete"
    assert len(paths) > 10
    assert (costs(np.stack(paths)) <= limit).all()
    paths.clear()
    nasx.search(space, task, strategy=nasx.ENAS(**QUICK))
    assert not (costs(np.stack(paths)) <= limit).all()
    options["limits"] = {"parameters": 10}
    result = nasx.search(space, task, strategy=nasx.ENAS(**QUICK), **options)
    assert (result.stopped, result.history, result.best) == ("exhausted", [], None)


def test_the_better_operation_is_found(task):
    """Where one operation keeps the image and the other forgets it."""

    def layers():
        choices = [LayerChoice({"forget": Forget(), "keep": nn.Identity()}, name=f"{i}") for i in range(3)]
        return nn.Sequential(nn.Flatten(), *choices, nn.Linear(64, 10))

    space = nasx.space_of(layers)
    result = nasx.search(
        space,
        task,
        strategy=nasx.ENAS(epochs=8, batch_size=16, architecture_data=0.5, lr=0.1, controller_lr=0.02,
                           controller_steps=15, final_samples=20),
        seed=1,
    )  # fmt: skip
    rewards = [entry["reward"] for entry in result.history]
    assert rewards[0] < 0.3
    assert rewards[-1] > rewards[0] + 0.2
    assert result.history[-1]["entropy"] < 0.8 * result.history[0]["entropy"]
    assert dict(result.best.architecture) == {"0": "keep", "1": "keep", "2": "keep"}
    figure = nasx.plots.plot_history(result)
    assert [axes.get_title() for axes in figure.axes] == ["losses", "rewards", "entropy of the controller"]
    assert figure.axes[1].lines[0].get_ydata().tolist() == rewards


def test_time_that_is_over(task, monkeypatch):
    _, history, fitted = fit(task, deadline=time.monotonic() - 1)
    assert (fitted.stopped, history) == ("seconds", [])
    assert CELLS.check(fitted.genotype[None]).shape == (1, 6)
    # Between the phases of the second epoch: the best of the first is taken.
    clock = {"now": 0.0, "calls": 0}
    learn = Controller.learn

    def late(self, *args):
        clock["calls"] += 1
        clock["now"] = 100.0 * (clock["calls"] >= 3)
        return learn(self, *args)

    monkeypatch.setattr(Controller, "learn", late)
    monkeypatch.setattr(time, "monotonic", lambda: clock["now"])
    _, history, fitted = fit(task, epochs=3, deadline=50.0)
    assert fitted.stopped == "seconds"
    assert len(history) == 1
    assert fitted.genotype.tolist() == history[0]["genotype"]
    # While samples are scored: the best so far, and no "final" in the history.
    clock |= {"now": 0.0, "calls": -100}
    score = ENASTraining._score
    monkeypatch.setattr(
        ENASTraining, "_score", lambda self, *args: clock.update(now=100.0) or score(self, *args)
    )
    _, history, fitted = fit(task, deadline=50.0)
    assert fitted.stopped == "seconds"
    assert "final" not in history[0]


def test_a_search_that_diverges_says_what_to_lower(task):
    with pytest.raises(EvaluationError, match=r"training diverged: the loss became .* in epoch 1; lower lr"):
        fit(task, lr=1e30, grad_clip=None)


def test_killed_in_either_phase_and_resumed_equals_never_killed(task, tmp_path, monkeypatch):
    def state(supernet, history, fitted):
        timeless = [{k: v for k, v in entry.items() if k != "seconds"} for entry in history]
        return supernet.state_dict(), timeless, fitted.genotype.tolist()

    options = {"epochs": 2, "architecture_data": 0.5}  # several held-out batches: their order counts
    whole = state(*fit(task, **options))
    for phase in ("_train_weights", "_train_controller", "choose"):
        checkpoint = Checkpoint(tmp_path / f"{phase}.checkpoint", {})
        method, calls = getattr(ENASTraining, phase), []

        def killed(self, *args, method=method, calls=calls, phase=phase):
            calls.append(0)
            found = method(self, *args)
            if len(calls) == 1 + (phase != "choose"):
                raise KeyboardInterrupt
            return found

        with monkeypatch.context() as patch:
            patch.setattr(ENASTraining, phase, killed)
            with pytest.raises(KeyboardInterrupt):
                fit(task, checkpoint=checkpoint, **options)
            weights, *rest = state(*fit(task, checkpoint=checkpoint, **options))
        assert same(weights, whole[0])
        assert tuple(rest) == whole[1:]
    # What is finished is not scored again.
    monkeypatch.setattr(ENASTraining, "_score", None)
    assert state(*fit(task, checkpoint=checkpoint, **options))[1:] == whole[1:]
