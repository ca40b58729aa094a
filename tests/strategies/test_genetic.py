"""The genetic algorithm beyond the protocol: against a plain twin, and on measured tables."""

from __future__ import annotations

import numpy as np
import pytest
from reference.evolution import ReferenceGeneticAlgorithm
from strategies.conditional import conditional_space, losses_of

from nasx import GeneticAlgorithm, Integer, Space


@pytest.fixture
def space():
    return conditional_space()


@pytest.fixture
def plain():
    return Space({f"x{i}": Integer(0, 9) for i in range(8)})


SETTINGS = [
    ({}, {"elites": 2, "breeders": 10, "contestants": 5, "crossover": "uniform", "points": 2, "rate": 0.2}),
    (
        {"selection": "truncation", "elites": 0, "crossover": "k_point", "crossover_points": 3},
        {"elites": 0, "breeders": 3, "contestants": 1, "crossover": "k_point", "points": 3, "rate": 0.2},
    ),
    (
        {"tournament_size": 2, "elites": 9, "mutation_rate": 0.6},
        {"elites": 9, "breeders": 10, "contestants": 2, "crossover": "uniform", "points": 2, "rate": 0.6},
    ),
]


@pytest.mark.parametrize("objectives", [1, 2])
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize(("settings", "twins"), SETTINGS)
def test_equals_the_slow_twin(space, settings, twins, batch, objectives):
    native = GeneticAlgorithm(population_size=10, **settings).setup(space, objectives=objectives, seed=4)
    twin = ReferenceGeneticAlgorithm(
        space.cardinalities.tolist(), space.conditions.tolist(), population_size=10, seed=4, **twins
    )
    rng = np.random.default_rng(0)
    for told in range(0, 100, batch):
        x = native.ask(batch)
        np.testing.assert_array_equal(x, twin.ask(batch))
        losses, failed = losses_of(x, objectives), rng.random(batch) < 0.1
        over = np.maximum(x[:, 0] - 5.0, 0) if told >= 50 else np.zeros(batch)
        native.tell(x, losses, violations=over, failed=failed)
        twin.tell(x, losses, over, failed)


def test_the_elite_lives_on_and_the_rest_of_its_generation_does_not(plain):
    strategy = GeneticAlgorithm(population_size=6, elites=2).setup(plain, seed=0)
    first = strategy.ask(6)
    strategy.tell(first, [5.0, 1.0, 4.0, 0.0, 3.0, 2.0])
    np.testing.assert_array_equal(strategy._x, first)
    second = strategy.ask(4)
    strategy.tell(second, [9.0, 9.0, 9.0, 9.0])
    np.testing.assert_array_equal(strategy._x, np.concatenate([first[[3, 1]], second]))
    third = strategy.ask(4)
    strategy.tell(third, [-1.0, 8.0, 8.0, 8.0])
    np.testing.assert_array_equal(strategy._x, np.concatenate([first[[3, 1]], third]))
    fourth = strategy.ask(4)
    strategy.tell(fourth, [8.0, 8.0, 8.0, 8.0])
    np.testing.assert_array_equal(strategy._x, np.concatenate([third[:1], first[[3]], fourth]))


def test_feasible_members_are_the_elite_before_better_ones_over_a_limit(plain):
    strategy = GeneticAlgorithm(population_size=4, elites=2).setup(plain, seed=0)
    x = strategy.ask(4)
    strategy.tell(
        x, [0.0, 5.0, 1.0, 0.0], violations=[2.0, 0.0, 1.0, 0.0], failed=[0 > 1, 0 > 1, 0 > 1, 1 > 0]
    )
    children = strategy.ask(2)
    strategy.tell(children, [9.0, 9.0])
    np.testing.assert_array_equal(strategy._x[:2], x[[1, 2]])


@pytest.mark.parametrize(
    ("settings", "parents"),
    [
        ({"selection": "truncation", "truncation": 0.25}, {0, 1}),
        ({"selection": "truncation", "truncation": 0.01}, {0}),
        ({"tournament_size": 300}, {0, 1}),  # the best, and the best of the others
        ({"tournament_size": 1}, set(range(8))),
    ],
)
def test_selection_decides_who_breeds(settings, parents):
    space = Space({f"x{i}": Integer(0, 9) for i in range(12)})
    strategy = GeneticAlgorithm(population_size=8, mutation_rate=0.0, **settings).setup(space, seed=0)
    # Each member is marked by its own choice.
    strategy.tell(np.arange(8)[:, None].repeat(12, axis=1), np.arange(8.0))
    assert set(np.unique(strategy._propose(200, 0)).tolist()) == parents


def test_breeds_from_what_is_known_before_the_first_generation_is_complete(plain):
    strategy = GeneticAlgorithm(population_size=8, mutation_rate=0.0).setup(plain, seed=0)
    x = strategy.ask(8)
    strategy.tell(x[:2], [1.0, 2.0])
    assert (strategy.ask(20)[:, None] == x[None, :2]).any(axis=1).all()
    strategy.tell(x[2:3], [0.0])  # the best so far: it breeds at once
    children = strategy.ask(20)
    assert (children[:, None] == x[None, :3]).any(axis=1).all()
    assert (children == x[2]).mean() > 0.4


def test_children_of_one_parent_when_only_one_is_known(plain):
    strategy = GeneticAlgorithm(population_size=4).setup(plain, seed=0)
    x = strategy.ask(4)
    strategy.tell(x[:1], [1.0])
    assert (strategy.ask(10) == x[0]).mean() > 0.6


@pytest.mark.data
@pytest.mark.parametrize("settings", [{}, {"selection": "truncation", "crossover": "k_point"}])
def test_beats_random_search_on_measured_networks(gain_over_random_search, settings):
    assert gain_over_random_search(GeneticAlgorithm(**settings)) > 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"population_size": 1}, "population_size must be at least 2"),
        ({"selection": "roulette"}, "selection must be 'tournament' or 'truncation'; got 'roulette'"),
        ({"tournament_size": 0}, "tournament_size must be at least 1"),
        ({"truncation": 0.0}, "truncation must be above 0 and at most 1; got 0.0"),
        ({"truncation": 1.5}, "truncation must be above 0"),
        ({"elites": -1}, "elites must be at least 0"),
        ({"elites": 20}, "elites must be less than population_size=20; got 20"),
        ({"crossover": "blend"}, "crossover must be 'uniform' or 'k_point'"),
        ({"crossover_points": 0}, "crossover_points must be at least 1"),
        ({"crossover_probability": 1.5}, "crossover_probability must be in 0..1"),
        ({"mutation_rate": -0.1}, "mutation_rate must be in 0..1"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        GeneticAlgorithm(**settings)
