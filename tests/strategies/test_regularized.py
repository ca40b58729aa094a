"""Regularised evolution beyond the protocol: against a plain twin of the paper, and on measured tables."""

from __future__ import annotations

import numpy as np
import pytest
from reference.evolution import ReferenceRegularizedEvolution

from nasx import Boolean, Categorical, Integer, RegularizedEvolution, Space


def losses_of(x, objectives=1):
    values = np.where(x < 0, 3, x) * np.arange(1, x.shape[1] + 1)
    return np.column_stack([values.sum(axis=1) % 17, (values[:, 0] - 4) ** 2])[:, :objectives].astype(float)


@pytest.fixture
def space():
    return Space(
        {
            "a": Integer(0, 7),
            "b": Categorical("pqrs"),
            "c": Integer(0, 5, when={"b": ["p", "q"]}),
            "d": Boolean(when={"c": [0, 1, 2]}),
            "e": Integer(0, 8),
            "f": Categorical("z"),
        }
    )


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
    assert strategy._x.tolist() == [[20, 0], [30, 0], [40, 0], [50, 1]]
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
        members = strategy._x
        for _ in range(3000 // batch):
            x = strategy.ask(batch)
            members = np.concatenate([members, x])[-50:]
            strategy.tell(x, losses_of(x))
            np.testing.assert_array_equal(strategy._x, members)
            np.testing.assert_array_equal(strategy._keys, losses_of(members)[:, 0])


def test_an_architecture_told_again_does_not_fill_the_population(space):
    strategy = RegularizedEvolution(population_size=4).setup(space, seed=0)
    x = strategy.ask(4)
    strategy.tell(x, losses_of(x))
    for _ in range(6):
        strategy.tell(x[:1], [0.0])
    np.testing.assert_array_equal(strategy._x, x)
    noisy = RegularizedEvolution(population_size=4, allow_repeats=True).setup(space, seed=0)
    noisy.tell(np.repeat(x[:1], 4, axis=0), [1.0, 2.0, 3.0, 4.0])
    assert len(noisy._x) == 4


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
