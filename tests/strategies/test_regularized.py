"""Regularised evolution beyond the protocol: against a plain twin of the paper, and on measured tables."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from reference.evolution import ReferenceRegularizedEvolution
from strategies.conditional import conditional_space, losses_of

from nasx import Categorical, Integer, RegularizedEvolution, Space


@pytest.fixture
def space():
    return conditional_space(f=Categorical("z"))


@pytest.mark.parametrize("objectives", [1, 2])
@pytest.mark.parametrize("batch", [1, 7, 23])
def test_equals_the_slow_twin(space, objectives, batch):
    settings = {"population_size": 10, "sample_size": 3}
    native = RegularizedEvolution(**settings).setup(space, objectives=objectives, seed=4)
    twin = ReferenceRegularizedEvolution(
        space.cardinalities.tolist(), space.conditions.tolist(), seed=4, **settings
    )
    rng = np.random.default_rng(0)
    for told in range(0, 200, batch):
        x = native.ask(batch)
        np.testing.assert_array_equal(x, twin.ask(batch))
        losses, failed = losses_of(x, objectives), rng.random(batch) < 0.1
        # At first nothing is over a limit, then much is, then nothing that is still remembered.
        over = np.maximum(x[:, 0] - 5.0, 0) if 60 <= told < 120 else np.zeros(batch)
        native.tell(x, losses, violations=over, failed=failed)
        twin.tell(x, losses, over, failed)


def test_results_that_come_late_and_out_of_order_enter_as_they_come(space):
    settings = {"population_size": 6, "sample_size": 2}
    native = RegularizedEvolution(**settings).setup(space, seed=1)
    twin = ReferenceRegularizedEvolution(
        space.cardinalities.tolist(), space.conditions.tolist(), seed=1, **settings
    )
    out = np.empty((0, len(space)), np.int32)
    rng = np.random.default_rng(3)
    for _ in range(60):
        x = native.ask(3)
        np.testing.assert_array_equal(x, twin.ask(3))
        out = rng.permutation(np.concatenate([out, x]))
        done, out = out[:2], out[2:]
        native.tell(done, losses_of(done))
        twin.tell(done, losses_of(done), np.zeros(2), np.zeros(2, bool))


def test_the_oldest_leaves_and_not_the_worst():
    space = Space({"a": Integer(0, 99), "b": Integer(0, 99)})
    strategy = RegularizedEvolution(population_size=4, sample_size=64).setup(space, seed=0)
    x = np.array([[10, 0], [20, 0], [30, 0], [40, 0]], np.int32)
    strategy.tell(x, [0.0, 9.0, 1.0, 9.0])

    assert ((strategy.ask(60) == x[0]).sum(axis=1) == 1).all()
    strategy.tell([[50, 1]], [5.0])  # the best is the oldest: it leaves, though it won every tournament
    assert strategy._population.genotypes.tolist() == [[20, 0], [30, 0], [40, 0], [50, 1]]
    assert ((strategy.ask(60) == x[2]).sum(axis=1) == 1).all()


def test_every_child_changes_one_decision_of_a_member():
    space = Space({f"x{i}": Integer(0, 9) for i in range(8)})
    strategy = RegularizedEvolution(population_size=5).setup(space, seed=2)
    x = strategy.ask(5)
    strategy.tell(x, losses_of(x))
    children = strategy.ask(200)
    changes = (children[:, None] != x[None]).sum(axis=2).min(axis=1)
    assert (changes == 1).all()


def test_population_lasts_through_long_runs_in_small_and_large_batches():
    space = Space({f"x{i}": Integer(0, 9) for i in range(8)})
    for batch in (1, 64, 700):  # memory is renewed several times
        strategy = RegularizedEvolution(population_size=50, allow_repeats=True).setup(space, seed=0)
        members = strategy._population.genotypes
        for _ in range(3000 // batch):
            x = strategy.ask(batch)
            members = np.concatenate([members, x])[-50:]
            strategy.tell(x, losses_of(x))
            np.testing.assert_array_equal(strategy._population.genotypes, members)
            np.testing.assert_array_equal(strategy._population.keys, losses_of(members)[:, 0])


def test_an_architecture_told_again_does_not_fill_the_population(space):
    strategy = RegularizedEvolution(population_size=4).setup(space, seed=0)
    x = strategy.ask(4)
    strategy.tell(x, losses_of(x))
    for _ in range(6):
        strategy.tell(x[:1], [0.0])
    np.testing.assert_array_equal(strategy._population.genotypes, x)
    noisy = RegularizedEvolution(population_size=4, allow_repeats=True).setup(space, seed=0)
    noisy.tell(np.repeat(x[:1], 4, axis=0), [1.0, 2.0, 3.0, 4.0])
    assert noisy._population.size == 4


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("objectives", [1, 2])
def test_what_needs_conversion_is_told_like_what_does_not(space, objectives, repeats):
    plain, other = (
        RegularizedEvolution(population_size=6, allow_repeats=repeats).setup(
            space, objectives=objectives, seed=5
        )
        for _ in range(2)
    )
    rng = np.random.default_rng(1)
    strangers = space.sample(3, seed=77)
    for told in range(30):
        x = plain.ask(5)
        np.testing.assert_array_equal(x, other.ask(5))
        x = np.concatenate([x, strangers, x[:1]])
        losses, failed = losses_of(x, objectives), rng.random(len(x)) < 0.1
        over = np.maximum(x[:, 0] - 5.0, 0) if 10 <= told < 20 else None
        plain.tell(x, losses[:, 0] if objectives == 1 else losses, violations=over, failed=failed)
        other.tell(
            x.tolist(),
            losses.astype(np.float32),
            violations=None if over is None else over.tolist(),
            failed=np.repeat(failed, 2)[::2],
        )
        assert plain._asked == other._asked
        np.testing.assert_array_equal(plain._population.keys, other._population.keys)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"x": np.full((1, 6), 9, np.int32)}, r"genotypes\[0\]: decision 'a' has 8 choices"),
        ({"x": np.zeros((1, 5), np.int32)}, r"genotypes must have shape \(n, 6\)"),
        ({"losses": np.zeros(2)}, r"losses must have shape \(1, 1\)"),
        ({"losses": np.zeros((1, 2))}, r"losses must have shape \(1, 1\)"),
        ({"violations": np.full(1, np.nan)}, "violations must not be NaN"),
        ({"violations": np.zeros(3)}, r"violations must have shape \(1,\)"),
        ({"failed": np.zeros(3, bool)}, r"failed must be bool of shape \(1,\)"),
        ({"failed": np.zeros(1)}, r"failed must be bool of shape \(1,\)"),
    ],
)
def test_what_is_refused_leaves_no_trace(space, told, message):
    strategy = RegularizedEvolution(population_size=4).setup(space, seed=0)
    told = {"x": space.sample(1, seed=3), "losses": np.zeros(1)} | told
    with pytest.raises(ValueError, match=message):
        strategy.tell(**told)
    assert strategy._population.size == strategy._asked == len(strategy._seen) == 0
    assert len(strategy.ask(6)) == 6


def test_copies_go_on_alike(space):
    strategy = RegularizedEvolution(population_size=4).setup(space, objectives=2, seed=0)
    x = strategy.ask(9)
    strategy.tell(x, losses_of(x, 2), violations=x[:, 0] > 3)
    for copied in (copy.deepcopy(strategy), pickle.loads(pickle.dumps(strategy))):
        for part in ("genotypes", "losses", "violations", "keys"):
            np.testing.assert_array_equal(
                getattr(copied._population, part), getattr(strategy._population, part)
            )
    np.testing.assert_array_equal(copied.ask(20), strategy.ask(20))


def test_infeasible_and_failed_members_lose_tournaments():
    space = Space({f"x{i}": Integer(0, 9) for i in range(8)})
    strategy = RegularizedEvolution(population_size=4, sample_size=64).setup(space, seed=0)
    x = strategy.ask(4)
    strategy.tell(
        x, [0.0, 1.0, 7.0, 0.0], violations=[2.0, 1.0, 0.0, 0.0], failed=[False, False, False, True]
    )
    assert ((strategy.ask(40) != x[2]).sum(axis=1) == 1).all()


@pytest.mark.data
def test_beats_random_search_on_measured_networks(gain_over_random_search):
    assert gain_over_random_search(RegularizedEvolution()) > 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"population_size": 1}, "population_size must be at least 2"),
        ({"population_size": True}, "population_size must be an integer"),
        ({"sample_size": 0}, "sample_size must be at least 1"),
        ({"sample_size": 2.0}, "sample_size must be an integer"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        RegularizedEvolution(**settings)
