"""NSGA-II beyond the protocol: against a plain twin of the paper, and on problems with a known front."""

import numpy as np
import pytest
from reference.nsga2 import ReferenceNSGA2

import nasx
from nasx import NSGA2, Integer, Space


def losses_of(x):
    """Two objectives whose best trade-offs have all but the first decision at 0."""
    rest = (x[:, 1:] != 0).sum(axis=1)
    return np.column_stack([x[:, 0] + 2 * rest, 9 - x[:, 0] + 2 * rest]).astype(float)


@pytest.fixture
def space():
    return Space({f"x{i}": Integer(0, 9) for i in range(6)})


@pytest.mark.parametrize(
    "settings", [{}, {"crossover": "k_point", "crossover_points": 2, "mutation_rate": 0.3}]
)
def test_equals_the_slow_twin(space, settings):
    native = NSGA2(population_size=10, **settings).setup(space, objectives=2, seed=4)
    twin = ReferenceNSGA2(space.cardinalities, population_size=10, objectives=2, seed=4, **settings)
    for generation in range(12):
        x = native.ask(10)
        np.testing.assert_array_equal(x, twin.ask(10))
        losses, violations = losses_of(x), np.maximum(x[:, 1] - 7.0, 0) if generation % 2 else np.zeros(10)
        native.tell(x, losses, violations=violations)
        twin.tell(x, losses, violations)


def test_finds_a_known_front_that_random_search_misses(space):
    found = {}
    for strategy in (NSGA2(population_size=20), nasx.RandomSearch()):
        fronts = []
        for seed in range(5):
            result = nasx.search(
                space,
                lambda a: dict(zip(("f", "g"), losses_of(a.genotype[None])[0], strict=True)),
                strategy=strategy,
                objectives={"f": "minimize", "g": "minimize"},
                evaluations=600,
                seed=seed,
            )
            fronts.append(sum(t.metrics["f"] + t.metrics["g"] == 9 for t in result.pareto_front))
        found[type(strategy)] = np.mean(fronts)
    assert found[NSGA2] >= 8
    assert found[nasx.RandomSearch] <= 1


def test_survivors_respect_violations(space):
    strategy = NSGA2(population_size=4).setup(space, objectives=2, seed=0)
    x = strategy.ask(4)
    strategy.tell(x, np.zeros((4, 2)), violations=[0.0, 3.0, 1.0, 2.0])
    better = strategy.ask(4)
    strategy.tell(
        better, np.ones((4, 2)), violations=[0.0, 0.0, 0.5, 5.0], failed=[False, False, False, True]
    )
    survivors = set(map(tuple, strategy._x))
    assert survivors == set(map(tuple, [x[0], better[0], better[1], better[2]]))


def test_a_genotype_told_again_does_not_fill_the_population(space):
    strategy = NSGA2(population_size=4).setup(space, objectives=2, seed=0)
    x = strategy.ask(4)
    strategy.tell(x, losses_of(x))
    for _ in range(6):
        strategy.tell(x[:1], np.zeros((1, 2)))
    assert len(np.unique(strategy._x, axis=0)) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"population_size": 1}, "population_size must be at least 2"),
        ({"population_size": 2.5}, "population_size must be an integer"),
        ({"crossover_points": 2.5}, "crossover_points must be an integer"),
        ({"crossover": "blend"}, "crossover must be 'uniform' or 'k_point'"),
        ({"crossover_points": 0}, "crossover_points must be at least 1"),
        ({"crossover_probability": 1.5}, "crossover_probability must be in 0..1"),
        ({"mutation_rate": -0.1}, "mutation_rate must be in 0..1"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        NSGA2(**settings)
