"""Policies: drawing and learning against slow twins and against torch, and files."""

from __future__ import annotations

import copy
import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from reference import policy as reference

import nasx
from nasx import Boolean, Categorical, Integer, Space
from nasx._core import policy as native
from nasx._core import runtime
from nasx.errors import MissingDependencyError
from nasx.strategies.reinforcement import lstm
from nasx.strategies.reinforcement.lstm import LSTMPolicy
from nasx.strategies.reinforcement.policies import IndependentPolicy, Policy, PpoSettings

SPACE = Space(
    {
        "a": Integer(0, 6),
        "b": Categorical("pqrs"),
        "c": Integer(0, 5, when={"b": ["p", "q"]}),
        "d": Boolean(when={"c": [0, 1, 2]}),
        "e": Categorical("z"),
    }
)
CARDINALITIES = SPACE.cardinalities.tolist()
RULES = SPACE.conditions.tolist()
CHOICES = sum(CARDINALITIES)
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=CHOICES)
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def drawn(n=37, logits=LOGITS):
    return native.sample(SPACE.cardinalities, SPACE.conditions, logits, n, 3, 0)


def settings(**changes):
    values = {
        "learning_rate": 0.05,
        "clip": 0.2,
        "entropy_weight": 0.02,
        "value_weight": 0.5,
        "gae_lambda": 0.9,
        "max_norm": 0.5,
        "target_kl": 0.0,
        "epochs": 1,
        "minibatch_size": 1000,
    }
    return PpoSettings(**{**values, **changes})


def random_policy(**more):
    policy = IndependentPolicy(SPACE.cardinalities, SPACE.conditions)
    policy._parameters[:] = RNG.normal(size=2 * CHOICES + 1) * 0.3
    return policy


# -- free logits ---------------------------------------------------------------------------------------------


def test_draws_equal_the_twin():
    rows, log_probs = drawn()
    SPACE.check(rows)
    for i in range(len(rows)):
        row, expected = reference.draw(CARDINALITIES, RULES, LOGITS, 3, i)
        assert rows[i].tolist() == row
        np.testing.assert_allclose(log_probs[i], expected, **CLOSE)
    again = native.log_probs(SPACE.cardinalities, SPACE.conditions, LOGITS, rows)
    np.testing.assert_array_equal(again, log_probs)
    assert (log_probs[rows < 0] == 0).all()


def test_choices_come_as_often_as_their_probabilities_say():
    policy = random_policy()
    rows = policy.sample(20_000, seed=1)
    for column, p in zip(rows.T, policy.probabilities(), strict=True):
        taken = column[column >= 0]
        error = np.sqrt(p * (1 - p) / len(taken))
        assert (np.abs(np.bincount(taken, minlength=len(p)) / len(taken) - p) <= 4 * error + 1e-12).all()
    whole = SPACE.enumerate()
    np.testing.assert_allclose(np.exp(policy.log_prob(whole)).sum(), 1)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_policy_gradient_equals_the_twin_and_autograd(weight):
    torch = pytest.importorskip("torch")
    rows, _ = drawn()
    advantages = RNG.normal(size=len(rows))
    args = (SPACE.cardinalities, SPACE.conditions, LOGITS, rows, advantages, weight)
    gradient = native.policy_gradient(*args)
    np.testing.assert_allclose(
        gradient, reference.policy_gradient(CARDINALITIES, LOGITS, rows, advantages, weight), **CLOSE
    )
    logits = torch.tensor(LOGITS, requires_grad=True)
    total = 0.0
    for j, part in enumerate(logits.split(CARDINALITIES)):
        log_p = part.log_softmax(0)
        active = torch.tensor(rows[:, j] >= 0)
        chosen = log_p[torch.tensor(np.maximum(rows[:, j], 0)).long()]
        entropy = -(log_p.exp() * log_p).sum()
        total = total + ((torch.tensor(advantages) * chosen + weight * entropy) * active).sum()
    (-total / len(rows)).backward()
    np.testing.assert_allclose(gradient, logits.grad.numpy(), **CLOSE)


def test_adam_equals_torch():
    torch = pytest.importorskip("torch")
    policy, tensor = random_policy(), None
    tensor = torch.tensor(policy.logits.copy(), requires_grad=True)
    adam = torch.optim.Adam([tensor], lr=0.03)
    for step in range(20):
        rows, _ = drawn(5, policy.logits)
        advantages = np.random.default_rng(step).normal(size=5)
        tensor.grad = torch.tensor(
            native.policy_gradient(
                SPACE.cardinalities, SPACE.conditions, policy.logits, rows, advantages, 0.1
            )
        )
        adam.step()
        policy.reinforce(rows, advantages, 0.1, 0.03)
        np.testing.assert_allclose(policy.logits, tensor.detach().numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("lambda_", [0.0, 0.7, 1.0])
def test_advantages_equal_their_definition(lambda_):
    rows, _ = drawn()
    critic, rewards = RNG.normal(size=CHOICES + 1), RNG.normal(size=len(rows))
    values = native.critic_values(SPACE.cardinalities, SPACE.conditions, critic, rows)
    np.testing.assert_allclose(values, reference.values_of(CARDINALITIES, critic, rows), **CLOSE)
    found = native.generalized_advantages(rows, values, rewards, lambda_)
    np.testing.assert_allclose(found, reference.advantages_of(rows, values, rewards, lambda_), **CLOSE)
    if lambda_ == 1:
        np.testing.assert_allclose(found, np.where(rows >= 0, rewards[:, None] - values, 0), **CLOSE)


def test_ppo_gradient_equals_the_twin():
    rows, log_probs = drawn()
    parameters = RNG.normal(size=2 * CHOICES + 1)
    gains, goals = RNG.normal(size=rows.shape), RNG.normal(size=rows.shape)
    found = native.ppo_gradient(
        SPACE.cardinalities, SPACE.conditions, parameters, rows, log_probs, gains, goals, 0.2, 0.1, 0.5
    )
    expected = reference.ppo_gradient(CARDINALITIES, parameters, rows, log_probs, gains, goals, 0.2, 0.1, 0.5)
    np.testing.assert_allclose(found[0], expected[0], **CLOSE)
    np.testing.assert_allclose(found[1:], expected[1:], **CLOSE)
    assert 0 < found[2] < 1


def test_one_epoch_over_the_whole_batch_is_the_policy_gradient():
    policy = random_policy()
    rows, log_probs = policy.draw(32, 1, 0)
    rewards = RNG.normal(size=32)
    values = native.critic_values(SPACE.cardinalities, SPACE.conditions, policy._parameters[CHOICES:], rows)
    advantages = native.generalized_advantages(rows, values, rewards, 0.9)
    gradient, kl, clipped = native.ppo_gradient(
        SPACE.cardinalities,
        SPACE.conditions,
        policy._parameters,
        rows,
        log_probs,
        advantages,
        advantages + values,
        0.2,
        0.1,
        0.5,
    )
    assert abs(kl) < 1e-15
    assert clipped == 0
    # One decision after another, since each has an advantage of its own.
    expected = np.zeros(CHOICES)
    for j in range(len(CARDINALITIES)):
        only = np.where(np.arange(len(CARDINALITIES)) == j, rows, -1).astype(np.int32)
        expected += reference.policy_gradient(CARDINALITIES, policy.logits, only, advantages[:, j], 0.1)
    np.testing.assert_allclose(gradient[:CHOICES], expected, **CLOSE)
    before = policy._parameters.copy()
    report = policy.improve(rows, log_probs, rewards, settings(max_norm=0.0, entropy_weight=0.1), 0, 0)
    assert report.steps == 1
    np.testing.assert_allclose(
        policy._parameters, reference.Adam(len(before)).step(before, gradient, 0.05), **CLOSE
    )


def test_several_epochs_leave_the_behaviour_and_are_clipped():
    policy = random_policy()
    rows, log_probs = policy.draw(32, 1, 0)
    report = policy.improve(rows, log_probs, RNG.normal(size=32), settings(epochs=30), 0, 0)
    assert report.steps == 30
    assert report.kl > 1e-3
    assert report.clipped > 0
    ratio = np.exp(native.log_probs(SPACE.cardinalities, SPACE.conditions, policy.logits, rows) - log_probs)
    assert np.abs(ratio - 1).max() > 0.2


def test_updates_stop_when_they_have_gone_far():
    policy = random_policy()
    rows, log_probs = policy.draw(32, 1, 0)
    report = policy.improve(rows, log_probs, RNG.normal(size=32), settings(epochs=100, target_kl=0.01), 0, 0)
    assert report.steps < 100
    assert report.kl > 0.015


@pytest.mark.parametrize(
    ("logits", "message"),
    [(LOGITS[:-1], "logits must have"), (np.append(LOGITS[:-1], np.nan), "logits must be finite")],
)
def test_bad_logits_are_named(logits, message):
    with pytest.raises(ValueError, match=message):
        drawn(1, logits)


# -- LSTM ----------------------------------------------------------------------------------------------------


@pytest.fixture
def controller():
    policy = LSTMPolicy(SPACE.cardinalities, SPACE.conditions, seed=1)
    for weight in policy.weights.values():  # far from uniform
        weight *= 4
    return policy


def test_native_draws_of_the_lstm_have_the_probabilities_that_torch_gives(controller):
    torch = pytest.importorskip("torch")
    rows, log_probs = controller.draw(200, 5, 0)
    SPACE.check(rows)
    found, entropies, values = (
        tensor.numpy() for tensor in controller._evaluate(controller._tensors(), rows)
    )
    np.testing.assert_allclose(log_probs, found, atol=1e-5)
    for column in (found, entropies, values):
        assert (column[rows < 0] == 0).all()
    assert log_probs.sum(axis=1).std() > 0.1
    cell = torch.nn.LSTMCell(100, 100)
    w = {name: torch.from_numpy(weight) for name, weight in controller.weights.items()}
    with torch.no_grad():
        for name, value in (
            ("weight_ih", w["from_input"].T),
            ("weight_hh", w["from_hidden"].T),
            ("bias_ih", w["bias"]),
            ("bias_hh", torch.zeros(400)),
        ):
            getattr(cell, name).copy_(value)
        row, x, state, begin = rows[0], w["start"][None], None, 0
        for j, choices in enumerate(CARDINALITIES):
            part = slice(begin, begin + choices)
            if row[j] >= 0:
                state = cell(x, state)
                logits = 2.5 * ((state[0] @ w["heads"][part].T + w["head_bias"][part]) / 5).tanh()
                assert abs(float(logits.log_softmax(1)[0, row[j]]) - log_probs[0, j]) < 1e-5
                x = w["embeddings"][begin + row[j]][None]
            begin += choices


def test_lstm_draws_come_as_often_as_their_probabilities_say(controller):
    pytest.importorskip("torch")
    whole = SPACE.enumerate()
    p = np.exp(controller.log_prob(whole))
    np.testing.assert_allclose(p.sum(), 1, atol=1e-5)
    n = 20_000
    places = {row.tobytes(): i for i, row in enumerate(whole)}
    found = np.bincount([places[row.tobytes()] for row in controller.sample(n)], minlength=len(p))
    assert (np.abs(found - n * p) <= 5 * np.sqrt(n * p) + 2).all()
    for column in controller.probabilities():
        np.testing.assert_allclose(column.sum(), 1)


def test_lstm_draws_do_not_depend_on_batches_or_threads(controller):
    import nasx

    rows, log_probs = controller.draw(9, 5, 100)
    threads = nasx.get_num_threads()
    try:
        nasx.set_num_threads(1)
        one = [controller.draw(1, 5, 100 + i) for i in range(9)]
    finally:
        nasx.set_num_threads(threads)
    np.testing.assert_array_equal(rows, np.concatenate([x for x, _ in one]))
    np.testing.assert_array_equal(log_probs, np.concatenate([p for _, p in one]))


def lstm_fingerprint() -> str:
    """One hash over draws, with numbers of units that fill vectors and that do not."""
    rng = np.random.default_rng(0)
    digest = hashlib.sha256()
    for h, n in itertools.product((1, 7, 8, 19, 100), (1, 3, 21)):
        choices = int(SPACE.cardinalities.sum())
        shapes = (h,), (choices, h), (h, 4 * h), (h, 4 * h), (4 * h,), (choices, h), (choices,)
        weights = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        drawn = native.sample_lstm(SPACE.cardinalities, SPACE.conditions, *weights, 1.5, 2.0, n, 5, 0)
        for array in drawn:
            digest.update(array.tobytes())
    return digest.hexdigest()


def test_lstm_draws_are_the_same_bits_at_every_cpu_level():
    expected = lstm_fingerprint()
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    for level in runtime.simd_levels():
        done = subprocess.run(
            [sys.executable, "-c", "import test_policies; print(test_policies.lstm_fingerprint())"],
            env={**os.environ, "NASX_SIMD": level, "PYTHONPATH": os.pathsep.join(folders)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == expected


@pytest.mark.parametrize("name", ["independent", "lstm"])
def test_rewarded_rows_become_more_probable(name):
    if name == "lstm":
        pytest.importorskip("torch")
    for learn in ("reinforce", "improve"):
        policy = (IndependentPolicy if name == "independent" else LSTMPolicy)(
            SPACE.cardinalities, SPACE.conditions
        )
        rows, log_probs = policy.draw(8, 0, 0)
        gains = np.arange(8) - 3.5
        before = policy.log_prob(rows)
        for step in range(10):
            if learn == "reinforce":
                policy.reinforce(rows, gains, 0.0, 0.01)
            else:
                policy.improve(rows, log_probs, gains, settings(learning_rate=0.01), 0, step)
        assert np.cov(policy.log_prob(rows) - before, gains)[0, 1] > 0


def test_lstm_ppo_of_one_epoch_follows_the_policy_gradient(controller):
    pytest.importorskip("torch")
    rows, log_probs = controller.draw(16, 1, 0)
    rewards = RNG.normal(size=16)
    controller.weights["critic"][:] = 0
    controller.weights["critic_bias"][:] = 0
    twin = copy.deepcopy(controller)
    # Without a critic and with lambda 1, the advantage of every decision is the reward.
    more = {"gae_lambda": 1.0, "max_norm": 0.0, "value_weight": 0.0, "learning_rate": 1e-3}
    report = controller.improve(rows, log_probs, rewards, settings(**more), 0, 0)
    assert report.steps == 1
    assert abs(report.kl) < 1e-6
    assert report.clipped == 0
    twin.reinforce(rows, rewards, 0.02, 1e-3)
    for name in ("heads", "from_hidden", "embeddings"):
        np.testing.assert_allclose(controller.weights[name], twin.weights[name], atol=2e-5)
    report = controller.improve(
        rows, log_probs, rewards, settings(epochs=30, learning_rate=0.01, minibatch_size=5), 0, 1
    )
    assert report.steps == 120
    assert report.clipped > 0
    assert controller.improve(rows, log_probs, rewards, settings(target_kl=1e-9), 0, 2).steps == 0


@pytest.mark.parametrize("discount", [0.0, 0.7, 1.0])
def test_lstm_ppo_takes_generalised_advantages_of_its_own_critic(controller, discount):
    """One step equals one of Adam up the twin's advantages times the log-probabilities, less the error."""
    pytest.importorskip("torch")
    torch = lstm._torch()
    controller.weights["critic"][:] = RNG.normal(size=len(controller.weights["critic"]))
    controller.weights["critic_bias"][:] = 0.3
    rows, log_probs = controller.draw(12, 5, 0)
    rewards = RNG.normal(size=12)
    twin = copy.deepcopy(controller)
    more = {"gae_lambda": discount, "max_norm": 0.0, "entropy_weight": 0.0, "learning_rate": 1e-3}
    controller.improve(rows, log_probs, rewards, settings(**more), 0, 0)
    with torch.enable_grad():
        tensors = twin._tensors(learned=True)
        log_prob, _, critic = twin._evaluate(tensors, rows)
        values = critic.detach().double().numpy()
        advantages = reference.advantages_of(rows.tolist(), values, rewards.tolist(), discount)
        assert np.ptp(advantages[rows >= 0]) > 0.1
        gains, goals = (torch.from_numpy(a).float() for a in (advantages, advantages + values))
        error = torch.where(torch.from_numpy(rows >= 0), critic - goals, 0.0)
        (0.5 * error.square() / 2 - gains * log_prob).sum(dim=1).mean().backward()
    twin._descend(tensors, 1e-3, 0.0)
    for name, weight in controller.weights.items():
        np.testing.assert_allclose(weight, twin.weights[name], atol=2e-5, err_msg=name)


def test_learning_of_the_lstm_says_what_it_needs(controller, monkeypatch):
    def missing(*_):
        raise MissingDependencyError("pip install 'nasx[torch]'")

    monkeypatch.setattr(lstm, "require", missing)
    controller.sample(3)
    with pytest.raises(MissingDependencyError, match="torch"):
        controller.log_prob(SPACE.enumerate())


# -- files ---------------------------------------------------------------------------------------------------


def lstm_policy(**settings):
    return LSTMPolicy(SPACE.cardinalities, SPACE.conditions, **settings)


@pytest.mark.parametrize(
    "make", [random_policy, lstm_policy, lambda: lstm_policy(temperature=0.1, bound=20.0)]
)
def test_a_saved_policy_draws_the_same(make, tmp_path):
    policy = make()
    path = tmp_path / "policy.file"
    policy.save(path)
    again = Policy.load(path)
    assert type(again) is type(policy)
    for mine, theirs in zip(policy.draw(20, 7, 3), again.draw(20, 7, 3), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_search_gives_what_was_learned(tmp_path):
    result = nasx.search(SPACE, lambda a: 1.0, strategy="ppo", objectives={"loss": "minimize"}, evaluations=5)
    result.policy.save(tmp_path / "policy.npz")
    again = nasx.Policy.load(tmp_path / "policy.npz")
    np.testing.assert_array_equal(again.sample(9, seed=1), result.policy.sample(9, seed=1))
    assert nasx.search(SPACE, lambda a: 1.0, objectives={"loss": "minimize"}, evaluations=5).policy is None


def test_lstms_whose_logits_are_not_bounded_are_refused(tmp_path):
    lstm_policy(bound=np.inf).save(tmp_path / "policy.npz")
    with pytest.raises(ValueError, match="temperature and bound must be positive numbers"):
        Policy.load(tmp_path / "policy.npz")


def test_files_that_hold_no_policy_are_refused(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, a=np.zeros(3))
    with pytest.raises(ValueError, match="holds no policy"):
        Policy.load(path)
    random_policy().save(path)
    with np.load(path) as file:
        arrays = dict(file)
    for change, message in (
        ({"kind": np.array("tree")}, "unknown policy 'tree'"),
        ({"parameters": np.zeros(3)}, "parameters must have shape"),
        ({"parameters": np.array([{"a": 1}])}, "allow_pickle"),
    ):
        np.savez(path, **{**arrays, **change})
        with pytest.raises(ValueError, match=message):
            Policy.load(path)
    del arrays["parameters"]
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="without 'parameters'"):
        Policy.load(path)
