"""REINFORCE and PPO beyond the protocol: against plain twins, rewards, rollouts, and on measured tables."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from reference import policy as reference
from strategies.conditional import losses_of

import nasx
from nasx import PPO, REINFORCE, Boolean, Categorical, Integer, Space
from nasx._core import policy as native
from nasx.strategies.reinforcement import base
from nasx.tasks import tables


@pytest.fixture
def space():
    return Space(
        {
            "a": Integer(0, 5),
            "b": Categorical("pqrs"),
            "c": Integer(0, 3, when={"b": ["p", "q"]}),
            "d": Boolean(when={"c": [0, 1]}),
            "e": Integer(0, 7),
        }
    )


# -- whole runs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objectives", [1, 2])
@pytest.mark.parametrize("late", [1, 5])
@pytest.mark.parametrize("method", ["reinforce", "ppo"])
def test_equals_the_slow_twin(space, method, objectives, late):
    """Results of up to `late` proposals are out; some fail, some are over a limit, many are drawn again."""
    if method == "reinforce":
        settings = {"learning_rate": 0.1, "entropy_weight": 0.05, "batch_size": 3}
        native_one, ppo = REINFORCE(**settings), None
    else:
        ppo = {
            "learning_rate": 0.1,
            "epochs": 3,
            "minibatch_size": 5,
            "clip": 0.2,
            "gae_lambda": 0.9,
            "value_weight": 0.5,
            "max_norm": 0.5,
            "target_kl": 0.05,
            "entropy_weight": 0.05,
        }
        settings = {"batch_size": 8}
        native_one = PPO(**settings, **ppo)
    native_one.setup(space, objectives=objectives, seed=4)
    twin = reference.ReferencePolicySearch(
        space.cardinalities.tolist(),
        space.conditions.tolist(),
        objectives=objectives,
        seed=4,
        ppo=ppo,
        **settings,
    )
    out = []
    for i in range(80):
        x = native_one.ask(1)
        assert x[0].tolist() == twin.ask(), f"proposal {i}"
        out.append(x)
        if len(out) == late:
            for row in out:
                failed, over = row[0, 0] == 2, float(row[0, 1] == 1) * row[0, 0]
                losses = losses_of(row, objectives)
                native_one.tell(row, losses, violations=[over], failed=[bool(failed)])
                twin.tell(row[0].tolist(), losses[0].tolist(), math.inf if failed else over)
            out = []
    assert twin.proposed > 90, "nothing was drawn again"
    logits = native_one.learned_policy.logits
    np.testing.assert_allclose(logits, twin.parameters[: len(logits)], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cls", [REINFORCE, PPO])
def test_runs_with_an_lstm(space, cls):
    pytest.importorskip("torch")
    found = []
    for sizes in ([1] * 24, [6] * 4):
        strategy = cls(policy="lstm", batch_size=4, learning_rate=0.01).setup(space, seed=1)
        x = []
        for n in sizes:
            x.append(strategy.ask(n))
            strategy.tell(x[-1], losses_of(x[-1]))
        twin = copy.deepcopy(strategy)
        for one in (strategy, twin):
            one.tell(one.ask(4), np.arange(4.0))
        np.testing.assert_array_equal(strategy.ask(9), twin.ask(9))
        found.append(np.concatenate(x))
    assert len(np.unique(found[0], axis=0)) == 24
    many = cls(policy="lstm").setup(space, seed=1)
    np.testing.assert_array_equal(
        many.ask(11),
        np.concatenate(
            [twin.ask(1) for twin in [cls(policy="lstm").setup(space, seed=1)] for _ in range(11)]
        ),
    )


def test_an_lstm_learns_what_depends_on_earlier_choices():
    pytest.importorskip("torch")
    space = Space({"a": Integer(0, 3), "b": Integer(0, 3)})
    strategy = REINFORCE(policy="lstm", batch_size=8, learning_rate=0.02, allow_repeats=True).setup(space)
    for _ in range(60):
        x = strategy.ask(8)
        strategy.tell(x, (x[:, 0] != x[:, 1]) * 1.0)
    rows = strategy.learned_policy.sample(200)
    assert (rows[:, 0] == rows[:, 1]).mean() > 0.5, "a quarter at first"


# -- rollouts ------------------------------------------------------------------------------------------------


def rollouts(m=1, batch_size=1, repeats=False, weights=None, exponent=None):
    weights = np.full(m, 1 / m) if weights is None else np.array(weights, float)
    return native.Rollouts(2, m, batch_size, repeats, weights, 0.9, exponent)


def rows(*values):
    return np.array(values, np.int32).reshape(-1, 2)


def rewards_of(book, losses, violations):
    """Of one rollout after another."""
    found = []
    for i, (loss, over) in enumerate(zip(losses, violations, strict=True)):
        x = rows([i, 0])
        book.draw(x, x, np.zeros((1, 2)))
        book.tell(x, np.array(loss, float).reshape(1, -1), np.array([over], float))
        found.append([float(column[0]) for column in book.take()[2:]])
    return np.array(found)


@pytest.mark.parametrize("exponent", [None, -0.07, 0.0])
@pytest.mark.parametrize("m", [1, 3])
def test_rewards_equal_the_twin(m, exponent):
    rng = np.random.default_rng(m)
    losses = rng.normal(size=(60, m)) * [10, 0.1, 1][:m] - 1
    over = np.where(rng.random(60) < 0.3, rng.random(60) * 3, 0)
    over[rng.random(60) < 0.2] = np.inf
    weights = rng.random(m)
    twin = reference.Rewards(weights.tolist(), exponent=exponent)
    expected = [twin.observe(loss, violation) for loss, violation in zip(losses, over, strict=True)]
    found = rewards_of(rollouts(m, weights=weights, exponent=exponent), losses, over)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_rewards_have_no_scale():
    losses = np.random.default_rng(0).normal(size=50)
    plain = rewards_of(rollouts(), losses, np.zeros(50))
    np.testing.assert_allclose(rewards_of(rollouts(), 100 * losses + 7, np.zeros(50)), plain, atol=1e-9)
    assert abs(plain[:, 0].std() - 1) < 0.2
    assert plain[0].tolist() == [0, 0], "the first is its own baseline"


def test_failed_and_infeasible_rows_lose_and_failures_leave_the_baseline_alone():
    losses, over = [1.0, 2.0, 3.0, -99.0, -99.0, -99.0], [0, 0, 0, 1, 5, np.inf]
    rewards, baselines = rewards_of(rollouts(), losses, over).T
    assert rewards[3:5].max() < rewards[:3].min()
    assert rewards[4] < rewards[3]
    assert rewards[5] < rewards[4]
    assert baselines[5] == baselines[4]
    assert rewards_of(rollouts(), [np.nan_to_num(np.inf)], [np.inf]).tolist() == [[-1, 0]]


def test_soft_limits_shape_the_reward_as_in_mnasnet():
    """Accuracy times (latency / target)^w: 0.8 at twice the target against 0.8 * 2^w within it."""
    soft = rewards_of(rollouts(exponent=-0.07), [-0.5, -0.8, -0.7], [0, 1.0, 0])
    same = rewards_of(rollouts(), [-0.5, -0.8 * 2**-0.07, -0.7], [0, 0, 0])
    np.testing.assert_allclose(soft, same, atol=1e-12)
    # A loss grows by the same factor.
    soft = rewards_of(rollouts(exponent=-0.07), [0.5, 0.2, 0.3], [0, 1.0, 0])
    same = rewards_of(rollouts(), [0.5, 0.2 * 2**0.07, 0.3], [0, 0, 0])
    np.testing.assert_allclose(soft, same, atol=1e-12)


@pytest.mark.parametrize("cls", [REINFORCE, PPO])
@pytest.mark.parametrize("target", [0.5, 40.0])
def test_a_product_is_the_soft_reward_of_mnasnet(space, cls, target):
    """Accuracy times (latency / target)^w, below the target as above it: told as one reward, it is the same."""
    settings = {"learning_rate": 0.1, "batch_size": 4}
    two = cls(combine="product", weights=[1, 0.07], **settings).setup(space, objectives=2, seed=3)
    one = cls(**settings).setup(space, seed=3)
    for _ in range(40):
        x = two.ask(3)
        np.testing.assert_array_equal(one.ask(3), x)
        # The one decision that matters slows the network down.
        accuracy, latency = 0.5 + 0.05 * x[:, 0], 1.0 + 10 * x[:, 0] + x[:, 4]
        two.tell(x, np.column_stack([-accuracy, latency]))
        one.tell(x, -accuracy * (latency / target) ** -0.07)


def test_products_of_values():
    product = base.product_of_values
    losses = np.array([[-0.8, 20.0], [-0.8, 10.0], [-0.4, 10.0], [-0.0, 10.0], [-0.8, 0.0], [5.0, np.inf]])
    found = product(losses, np.array([1.0, 0.07]))
    np.testing.assert_allclose(found[:3], [0.8 * 20**-0.07, 0.8 * 10**-0.07, 0.4 * 10**-0.07], rtol=1e-12)
    assert 0 < found[3] < 1e-140, "no accuracy at all is the worst"
    assert 1e9 < found[4] < np.inf, "no latency at all is the best"
    assert 0 < found[5] < 1e-10
    # Values of one sign keep their order also where they are below 0: log-likelihoods that are maximised.
    assert (np.diff(product(np.array([[3.0], [2.0], [0.1]]), np.ones(1))) > 0).all()
    extreme = np.array([[-1e308, 1e-308], [1e308, -1e-308]])
    np.testing.assert_allclose(product(extreme, np.ones(2)), [1e150, 1e-150])


@pytest.mark.parametrize("bad", [np.inf, -np.inf, 1e308, -1e308])
def test_absurd_losses_leave_finite_rewards(bad):
    found = rewards_of(rollouts(), [1.0, 2.0, bad, bad, 1.5], np.zeros(5))
    assert np.isfinite(found).all()


def test_a_repeat_is_a_rollout_at_once_and_a_waiting_one_is_skipped():
    book, log_probs = rollouts(batch_size=2), np.array([[-1.0, -2.0]])
    x, y = rows([0, 1]), rows([1, 1])
    assert book.draw(x, x, log_probs) == 1
    assert book.draw(np.concatenate([x, y]), np.concatenate([x, y]), np.repeat(log_probs, 2, axis=0)) == 2
    book.tell(x, np.array([[3.0]]), np.zeros(1))
    assert not book.ready, "it was drawn twice and counts once"
    three = np.concatenate([y, x, y])
    assert book.draw(three, three, np.zeros((3, 2))) == 2, "the repeat completes the batch"
    drawn, found, rewards, _ = book.take()
    np.testing.assert_array_equal(drawn, np.concatenate([x, x]))
    np.testing.assert_array_equal(found, [[-1, -2], [0, 0]])
    assert rewards.tolist() == [0, 0]
    with pytest.raises(ValueError, match="must hold a batch of 2; there are 0"):
        book.take()


def test_results_of_rows_that_nobody_drew_are_kept_but_not_learned_from():
    book, x = rollouts(), rows([0, 1], [1, 0])
    book.tell(x, np.array([[1.0], [2.0]]), np.zeros(2))
    assert not book.ready
    assert book.is_new(rows([0, 1], [2, 2])).tolist() == [False, True]
    assert book.draw(x, x, np.zeros((2, 2))) == 1
    assert book.ready


def test_with_repeats_each_draw_waits_for_a_result_of_its_own():
    book, x = rollouts(repeats=True), rows([0, 1], [0, 1])
    assert book.draw(x, x, np.array([[-1.0, 0], [-2.0, 0]])) == 2
    for first in (-1.0, -2.0):
        book.tell(x[:1], np.array([[1.0]]), np.zeros(1))
        assert book.take()[1][0, 0] == first
    book.tell(x[:1], np.array([[1.0]]), np.zeros(1))
    assert not book.ready
    assert book.draw(x, x, np.zeros((2, 2))) == 2


def test_rollouts_can_be_copied():
    book, x = rollouts(), rows([0, 1])
    book.draw(x, x, np.zeros((1, 2)))
    twin = copy.deepcopy(book)
    twin.tell(x, np.array([[1.0]]), np.zeros(1))
    assert twin.ready
    assert not book.ready


def test_canonical_spaces_learn_what_was_drawn():
    """Results are those of the canonical form, gradients those of the choices that were made."""

    class Unordered(Space):
        canonical = True

        def canonicalize(self, genotypes):
            return np.sort(genotypes, axis=1)

    strategy = REINFORCE(learning_rate=0.1).setup(Unordered({"a": Integer(0, 3), "b": Integer(0, 3)}), seed=2)
    for _ in range(5):
        x = strategy.ask()
        assert x[0, 0] <= x[0, 1]
        strategy.tell(x, x.sum(axis=1))
    logits = strategy.learned_policy.logits.reshape(2, 4)
    assert (logits != 0).all()
    assert len(strategy.ask(9)) == 5


def test_limits_on_costs_are_learned_without_evaluations():
    """One architecture in 8^3 is within the limit on most decisions; the policy finds the region for free."""
    space = Space({f"x{j}": Integer(0, 7) for j in range(6)})
    strategy = REINFORCE(learning_rate=0.1).setup(space, seed=0, cost_violation=lambda x: x.sum(axis=1) - 8.0)
    before = strategy.learned_policy.sample(500).sum(axis=1).mean()
    for _ in range(30):
        x = strategy.ask()
        assert x.sum() <= 8
        strategy.tell(x, [0.0])
    after = strategy.learned_policy.sample(500).sum(axis=1).mean()
    assert before > 20
    assert after < 12


@pytest.mark.parametrize("cls", [REINFORCE, PPO])
def test_the_policy_is_not_driven_away_from_a_limit(cls):
    """The best are next to the limit, beyond which most of the space is; inside it is safe and bad."""
    space = Space({f"x{j}": Integer(0, 7) for j in range(8)})
    strategy = cls().setup(space, seed=0, cost_violation=lambda x: x.sum(axis=1) - 24.0)
    sums = []
    for _ in range(200):
        x = strategy.ask()
        strategy.tell(x, [abs(24.0 - x.sum())])
        sums.append(x.sum())
    assert np.mean(sums[-50:]) > 20  # 18 and less, where what is over the limit is punished


@pytest.mark.parametrize("cls", [REINFORCE, PPO])
@pytest.mark.parametrize("limit", [24.0, 10.0])
def test_under_limits_many_proposals_at_once_are_those_of_one_at_a_time(cls, limit):
    space = Space({f"x{j}": Integer(0, 7) for j in range(8)})
    found = []
    for sizes in ([1] * 40, [8] * 5, [40]):
        strategy = cls(batch_size=4).setup(space, seed=3, cost_violation=lambda x: x.sum(axis=1) - limit)
        found.append(np.concatenate([strategy.ask(n) for n in sizes]))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_updates_are_reported(space):
    strategy = PPO(batch_size=4, epochs=3).setup(space)
    assert strategy.last_update is None
    strategy.tell(strategy.ask(4), np.arange(4.0))
    assert strategy.last_update.steps == 3
    assert strategy.warmup == 4


# -- settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "transformer"}, "policy must be 'independent' or 'lstm'"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": 1.5}, "batch_size must be an integer"),
        ({"learning_rate": -1.0}, "learning_rate must be a number in"),
        ({"entropy_weight": math.nan}, "entropy_weight must be a number in"),
        ({"combine": "mean"}, "combine must be 'sum' or 'product'"),
        ({"weights": [0.0]}, "weights must be at least 0 and not all 0"),
        ({"limit_exponent": 0.07}, "limit_exponent must be a number in"),
    ],
)
@pytest.mark.parametrize("cls", [REINFORCE, PPO])
def test_settings_out_of_range_are_named(cls, settings, message):
    with pytest.raises(ValueError, match=message):
        cls(**settings)


@pytest.mark.parametrize(
    ("cls", "settings", "message"),
    [
        (REINFORCE, {"momentum": 1.0}, "momentum must be"),
        (PPO, {"epochs": 0}, "epochs must be at least 1"),
        (PPO, {"minibatch_size": 0}, "minibatch_size must be at least 1"),
        (PPO, {"clip": 2.0}, "clip must be"),
        (PPO, {"gae_lambda": -0.1}, "gae_lambda must be"),
        (PPO, {"target_kl": -1.0}, "target_kl must be"),
    ],
)
def test_settings_of_one_method_out_of_range_are_named(cls, settings, message):
    with pytest.raises(ValueError, match=message):
        cls(**settings)


def test_weights_must_fit_the_objectives(space):
    with pytest.raises(ValueError, match="one number for each of the 2 objectives"):
        REINFORCE(weights=[1.0]).setup(space, objectives=2)
    assert REINFORCE(weights=[1, 0]).setup(space, objectives=2).settings["weights"] == [1.0, 0.0]


# -- measured tables -----------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize("table", ["nasbench201", "arxiv"])
def test_beats_random_search_on_measured_networks(table, data_dir):
    """By three standard errors after 300 evaluations; 30 seeds, so that it is short."""
    if table == "nasbench201":
        task = tables.read_npz(data_dir / "nasbench201.npz", objectives={"cifar10_val": "maximize"})
    else:
        task = tables.nas_bench_graph(table)
    methods = ["reinforce", "ppo", "random_search"]
    comparison = nasx.compare(task.space, task, methods, evaluations=300, seeds=30)
    for method in methods[:2]:
        assert comparison.versus(method, "random_search").z > 3, method
