"""What every sampled strategy promises, whatever its method."""

import pickle

import numpy as np
import pytest

import nasx
from nasx import Boolean, Categorical, Integer, Space
from nasx.registry import get_strategy, strategy_name

STRATEGIES = ["random_search", "nsga2", "genetic_algorithm", "regularized_evolution"]


def make(name, **settings):
    small = {} if name == "random_search" else {"population_size": 8}
    return get_strategy(name, **small, **settings)


def loss(x):
    """Two conflicting objectives that skip inactive decisions."""
    total = np.where(x >= 0, x, 0).sum(axis=1)
    return np.column_stack([total, np.abs(total - 9) + (x[:, 0] == 1)]).astype(float)


@pytest.fixture
def space():
    return Space(
        {
            "a": Integer(0, 5),
            "b": Categorical("pqrs"),
            "c": Integer(0, 3, when={"b": ["p", "q"]}),
            "d": Boolean(when={"c": [0, 1]}),
        }
    )


@pytest.fixture(params=STRATEGIES)
def name(request):
    return request.param


def run(strategy, sizes):
    """Ask and tell batches of the given sizes; returns everything asked."""
    asked = []
    for size in sizes:
        x = strategy.ask(size)
        asked.append(x)
        strategy.tell(x, loss(x))
    return np.concatenate(asked)


def test_every_registered_strategy_is_tested_here():
    multi_fidelity = ["asha", "hyperband"]  # see test_multi_fidelity.py
    assert sorted(nasx.available_strategies()) == sorted(STRATEGIES + multi_fidelity)


def test_proposals_are_genotypes_and_never_repeat(space, name):
    x = run(make(name).setup(space, objectives=2), [8] * 10)
    np.testing.assert_array_equal(space.check(x), x)
    assert x.dtype == np.int32
    assert len(np.unique(x, axis=0)) == len(x) == 80


def test_a_space_that_runs_out_is_given_out_whole_and_then_nothing(space, name):
    strategy = make(name).setup(space, objectives=2, seed=1)
    x = run(strategy, [7] * (space.size // 7 + 3))
    np.testing.assert_array_equal(np.unique(x, axis=0), space.enumerate())
    assert len(x) == space.size
    assert strategy.ask(3).shape == (0, 4)


def test_same_seed_same_search_and_other_seed_another(space, name):
    first = run(make(name).setup(space, objectives=2, seed=5), [4] * 12)
    np.testing.assert_array_equal(first, run(make(name).setup(space, objectives=2, seed=5), [4] * 12))
    assert not np.array_equal(first, run(make(name).setup(space, objectives=2, seed=6), [4] * 12))


def test_setup_forgets_the_run_before(space, name):
    strategy = make(name).setup(space, objectives=2, seed=5)
    first = run(strategy, [4] * 12)
    np.testing.assert_array_equal(run(strategy.setup(space, objectives=2, seed=5), [4] * 12), first)


def test_asking_for_many_is_asking_many_times(space, name):
    whole, single = (make(name).setup(space, objectives=2, seed=2) for _ in range(2))
    for _ in range(9):
        x = whole.ask(11)
        y = np.concatenate([single.ask(1) for _ in range(11)])
        np.testing.assert_array_equal(x, y)
        whole.tell(x, loss(x))
        for row in x:  # telling one at a time is telling all at once
            single.tell(row[None], loss(row[None]))


def test_ask_never_waits_for_results(space, name):
    strategy = make(name).setup(space, objectives=2)
    x = strategy.ask(30)
    strategy.tell(x[20:25], loss(x[20:25]))
    more = strategy.ask(30)
    assert len(np.unique(np.concatenate([x, more]), axis=0)) == 60


def test_rows_that_were_never_asked_are_accepted_and_not_proposed(space, name):
    strategy = make(name).setup(space, objectives=2)
    mine = space.sample(6, seed=99)
    strategy.tell(mine, loss(mine))
    x = run(strategy, [10] * 5)
    assert not (x[:, None] == mine[None]).all(axis=2).any()


def test_limits_and_constraints_filter_proposals(name):
    space = Space(
        {"a": Integer(0, 9), "b": Integer(0, 9), "c": Integer(0, 9)},
        constraints=[lambda x: x[:, 0] >= x[:, 1]],
    )
    strategy = make(name).setup(space, objectives=2, cost_violation=lambda x: x.sum(axis=1) - 12.0)
    x = run(strategy, [9] * 60)
    allowed = space.enumerate()
    allowed = allowed[allowed.sum(axis=1) <= 12]
    np.testing.assert_array_equal(np.unique(x, axis=0), allowed)
    assert len(x) == len(allowed)


def test_nothing_within_the_limits_gives_nothing(space, name):
    strategy = make(name).setup(space, cost_violation=lambda x: np.ones(len(x)))
    assert strategy.ask(5).shape == (0, 4)
    huge = Space({f"x{i}": Integer(0, 9) for i in range(20)})
    strategy = make(name).setup(huge, cost_violation=lambda x: np.ones(len(x)))
    assert strategy.ask(5).shape == (0, 20)


def test_failures_and_nan_are_survived(space, name):
    strategy = make(name).setup(space, objectives=2)
    for _ in range(8):
        x = strategy.ask(8)
        losses = loss(x)
        losses[0] = np.nan
        strategy.tell(x, losses, violations=np.arange(8.0), failed=np.arange(8) == 1)
    assert len(strategy.ask(8)) == 8


def test_inputs_are_not_modified(space, name):
    strategy = make(name).setup(space, objectives=2)
    x = strategy.ask(4)
    losses, violations, failed = loss(x), np.array([-1.0, 0, 1, 2]), np.array([True, False, False, False])
    copies = [a.copy() for a in (x, losses, violations, failed)]
    strategy.tell(x, losses, violations=violations, failed=failed)
    for before, after in zip(copies, (x, losses, violations, failed), strict=True):
        np.testing.assert_array_equal(before, after)


def test_repeats_are_allowed_on_request(name):
    space = Space({"a": Boolean()})
    strategy = make(name, allow_repeats=True).setup(space)
    x = np.concatenate([strategy.ask(5) for _ in range(4)])
    assert x.shape == (20, 1)
    rare = Space({"a": Integer(0, 999)}, constraints=[lambda x: x[:, 0] == 700])
    strategy = make(name, allow_repeats=True).setup(rare)
    assert [strategy.ask(1).tolist() for _ in range(5)] == [[[700]]] * 5


def test_the_only_architecture_within_a_limit_is_found_in_a_large_enumerable_space(name):
    space = Space(
        {"a": Integer(0, 9), "b": Integer(0, 9), "c": Integer(0, 9), "d": Integer(0, 9), "e": Integer(0, 4)}
    )
    strategy = make(name).setup(space, cost_violation=lambda x: (x != [3, 1, 4, 1, 4]).any(axis=1) * 1.0)
    assert strategy.ask(3).tolist() == [[3, 1, 4, 1, 4]]


def test_a_run_survives_pickling(space, name):
    strategy = make(name).setup(space, objectives=2, seed=7)
    run(strategy, [8] * 3)
    copy = pickle.loads(pickle.dumps(strategy))
    np.testing.assert_array_equal(run(strategy, [8] * 3), run(copy, [8] * 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, x: s.ask(0), "n must be at least 1"),
        (lambda s, x: s.tell(x, [1.0]), r"losses must have shape \(2, 2\)"),
        (lambda s, x: s.tell(x[:, :3], loss(x)), "one column a decision"),
        (lambda s, x: s.tell(x, loss(x), violations=[1.0]), r"violations must have shape \(2,\)"),
        (lambda s, x: s.tell(x, loss(x), violations=[np.nan, 0.0]), "violations must not be NaN"),
        (lambda s, x: s.tell(x, loss(x), failed=[1, 0]), "failed must be bool"),
        (lambda s, x: s.setup(s.space, objectives=0), "objectives must be at least 1"),
        (lambda s, x: s.setup(s.space, seed=-1), "seed must be"),
        (lambda s, x: s.setup(s.space, cost_violation=lambda x: 0.0).ask(2), "cost_violation must return"),
    ],
)
def test_bad_calls_are_named(space, name, call, message):
    strategy = make(name).setup(space, objectives=2)
    x = strategy.ask(2)
    with pytest.raises(ValueError, match=message):
        call(strategy, x)


def test_setup_comes_first(name):
    with pytest.raises(RuntimeError, match="call setup"):
        make(name).ask(1)
    with pytest.raises(RuntimeError, match="call setup"):
        make(name).tell([[0]], [0.0])


def test_names_settings_and_copies(name):
    strategy = make(name)
    assert strategy_name(strategy) == name
    again = get_strategy(name, **strategy.settings)
    assert again.settings == strategy.settings
    copy = get_strategy(strategy)
    assert copy is not strategy
    assert copy.settings == strategy.settings


def test_unknown_strategies_list_the_known_ones():
    with pytest.raises(ValueError, match=r"did you mean 'nsga2'.*random_search"):
        get_strategy("nsga3")
    with pytest.raises(TypeError, match="must be a name"):
        get_strategy(3)


def test_registering(space):
    class Mine(nasx.RandomSearch):
        """A user's own."""

    nasx.register_strategy("mine", Mine)
    try:
        assert "mine" in nasx.available_strategies()
        assert isinstance(get_strategy("mine"), Mine)
        nasx.register_strategy("mine", Mine)
        with pytest.raises(ValueError, match="is taken"):
            nasx.register_strategy("nsga2", Mine)
        with pytest.raises(TypeError, match="subclass"):
            nasx.register_strategy("other", int)
    finally:
        from nasx import registry

        del registry._STRATEGIES["mine"]
