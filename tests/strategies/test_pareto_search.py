"""ParetoSearch beyond the protocol: its archive, a plain twin, and real tables with a known front."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.pareto_search import archive as archive_twin
from reference.pareto_search import pareto_search

import nasx
from nasx import Categorical, Integer, ParetoSearch, Space
from nasx.strategies.archive import Archive, Point


def evaluate(row):
    """Losses with a small front, and a violation in one corner."""
    active = [v for v in row if v >= 0]
    f = sum(active) + (3 * row[0]) % 4
    return [float(f), float(12 - f + sum(v * v for v in active[1:])), (5 * row[2]) % 3 - 0.0], max(
        0, row[0] - 2
    ) * 0.5


@pytest.mark.parametrize("objectives", [1, 2, 3])
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("kwargs", [{}, {"n_init": 1, "tournament_size": 1}])
def test_equals_the_slow_twin(objectives, conditional, kwargs):
    when = {"x0": [1, 2]} if conditional else None
    space = Space({f"x{j}": Integer(0, 3, when=when if j > 2 else None) for j in range(5)})

    def losses(row):
        values, violation = evaluate(row)
        return values[:objectives], violation

    strategy = ParetoSearch(**kwargs).setup(space, objectives=objectives, seed=2)
    asked = []
    for _ in range(90):
        x = strategy.ask()
        values, violation = losses(x[0].tolist())
        strategy.tell(x, [values], violations=[violation])
        asked += x.tolist()
    expected = pareto_search(
        losses,
        space.cardinalities.tolist(),
        space.conditions.tolist(),
        **{"n_init": 10, "tournament_size": 3, **kwargs},
        seed=2,
        evaluations=90,
    )
    assert asked == expected


points = st.tuples(
    st.lists(st.integers(-3, 3), min_size=3, max_size=3), st.sampled_from([0.0, 0.0, 0.5, 2.0])
)


@settings(max_examples=200, deadline=None)
@given(st.lists(points, min_size=1, max_size=40), st.integers(1, 3))
def test_the_archive_is_the_first_front_without_doubles(told, m):
    archive = Archive(m)
    everything = [
        Point(np.array([i], np.int32), violation, [float(v) for v in losses[:m]])
        for i, (losses, violation) in enumerate(told)
    ]
    for point in everything:
        archive.add(point)
    losses = np.array([point.losses for point in everything])
    violations = np.array([point.violation for point in everything])
    assert archive.points == [everything[i] for i in archive_twin(losses, violations)]
    np.testing.assert_array_equal(archive.losses, [point.losses for point in archive.points])


@settings(max_examples=200, deadline=None)
@given(st.lists(points, min_size=1, max_size=40), st.sampled_from([[1.5, 1.5], [0.5, 2.0]]))
def test_boxes_cover_everything_told_and_hold_one_each(told, epsilon):
    archive = Archive(2, epsilon)
    everything = [Point(np.array([0]), 0.0, [float(v) for v in losses[:2]]) for losses, _ in told]
    for point in everything:
        archive.add(point)
        boxes = np.floor(archive.losses / epsilon)
        assert len(np.unique(boxes, axis=0)) == len(boxes)
        for box in boxes:
            assert ((boxes <= box).all(axis=1)).sum() == 1  # no other one dominates it
        assert not any(a.beats(b) for a in archive.points for b in archive.points)
    for point in everything:  # within a box of everything: the epsilon-Pareto set of the paper
        assert (archive.losses < np.array(point.losses) + epsilon).all(axis=1).any()


def test_boxes_bound_the_archive():
    angles = np.random.default_rng(0).random(2000) * np.pi / 2
    losses = 1 - np.column_stack([np.cos(angles), np.sin(angles)])  # none dominates another
    for epsilon, most in (([0.01, 0.01], 100), ([0.1, 0.1], 10), ([0.1, 0.5], 2)):
        archive = Archive(2, epsilon)
        for row in losses.tolist():
            archive.add(Point(np.array([0]), 0.0, row))
        boxes = np.unique(np.floor(losses / epsilon), axis=0)
        assert 2 <= len(archive) == nasx.pareto.front(boxes).sum() <= most


def test_infinite_and_huge_losses_have_boxes():
    archive = Archive(2, [1e-300, 1.0])
    assert archive.add(Point(np.array([0]), 0.0, [1e300, np.inf]))
    assert archive.add(Point(np.array([1]), 0.0, [1e300, 0.0]))
    assert archive.losses.tolist() == [[1e300, 0.0]]


def test_proposals_are_neighbors_of_members_until_those_are_explored():
    space = Space({"a": Integer(0, 3), "b": Integer(0, 3)})
    strategy = ParetoSearch(n_init=1).setup(space, objectives=2, seed=0)
    start = strategy.ask()
    strategy.tell(start, [[0.0, 0.0]])
    around = strategy.ask(6)
    assert ((around != start[0]).sum(axis=1) == 1).all()
    strategy.tell(around[:2], [[1.0, 1.0], [2.0, 2.0]])
    further = strategy.ask(2)  # the archive rests: around the better of the two
    assert ((further != around[0]).sum(axis=1) == 1).all()
    members, losses = strategy.archive
    assert members.tolist() == start.tolist()
    assert losses.tolist() == [[0.0, 0.0]]


def test_adjacent_steps_only_and_many_choices():
    space = Space({"a": Integer(0, 100_000), "b": Integer(0, 9)})
    strategy = ParetoSearch(n_init=1, adjacent=True).setup(space, objectives=2, seed=0)
    start = strategy.ask()
    strategy.tell(start, [[0.0, 0.0]])
    assert np.abs(strategy.ask(3) - start).sum(axis=1).tolist() == [1, 1, 1]


def test_feasible_members_replace_infeasible_ones_and_failures_are_no_members():
    space = Space({"a": Integer(0, 9), "b": Integer(0, 9)})
    strategy = ParetoSearch().setup(space, objectives=2, seed=0)
    x = strategy.ask(4)
    strategy.tell(x, np.zeros((4, 2)), failed=np.ones(4, bool))
    assert strategy.archive[0].shape == (0, 2)
    x = strategy.ask(4)
    strategy.tell(x, [[0, 0], [3, 1], [1, 3], [4, 4]], violations=[2.0, 1.0, 1.0, 1.0])
    np.testing.assert_array_equal(strategy.archive[0], x[1:3])
    y = strategy.ask(2)
    strategy.tell(y, [[9, 9], [0, 0]], violations=[0.0, 0.1])
    np.testing.assert_array_equal(strategy.archive[0], y[:1])


def test_with_one_objective_the_archive_is_the_best():
    space = Space({f"x{j}": Integer(0, 5) for j in range(4)})
    result = nasx.search(
        space,
        lambda a: float(sum((v - 2) ** 2 for v in a.values())),
        objectives={"loss": "minimize"},
        strategy="pareto_search",
        evaluations=150,
    )
    assert result.best.metrics == {"loss": 0.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_init": 0}, "n_init must be at least 1; got 0"),
        ({"n_init": True}, "n_init must be an integer; got True"),
        ({"tournament_size": 0}, "tournament_size must be at least 1"),
        ({"adjacent": "yes"}, "adjacent must be True or False; got 'yes'"),
        ({"epsilon": 0.0}, "epsilon must be positive, one number or one for each objective; got 0.0"),
        ({"epsilon": [0.1, -1]}, "epsilon must be positive"),
        ({"epsilon": [[0.1]]}, "epsilon must be positive"),
        ({"epsilon": []}, "epsilon must be positive"),
        ({"epsilon": float("nan")}, "epsilon must be positive"),
        ({"epsilon": "small"}, "epsilon must be positive"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ParetoSearch(**settings)


def test_epsilon_is_one_number_or_one_for_each_objective():
    space = Space({"a": Integer(0, 9)})
    assert ParetoSearch(epsilon=np.array([1, 0.5])).settings["epsilon"] == [1.0, 0.5]
    assert ParetoSearch(epsilon=1).settings["epsilon"] == 1.0
    with pytest.raises(ValueError, match=r"each of the 3 objectives; got \[1.0, 0.5\]"):
        ParetoSearch(epsilon=(1, 0.5)).setup(space, objectives=3)
    strategy = ParetoSearch(epsilon=10.0).setup(space, objectives=2)
    strategy.tell(space.enumerate(), [[i, 9 - i] for i in range(10)])
    assert strategy.archive[1].tolist() == [[0.0, 9.0]]


def nasbench201(table):
    return np.column_stack([1 - table["cifar10_val"] / 100, table["latency_ms/1080ti_1"]])


def transnas101(table):
    return -np.column_stack([table["val/class_scene"], table["val/room_layout"]])


def nasbench_macro(table):
    return np.column_stack([-table["cifar10_test"].mean(axis=1), table["flops"]])


def area(losses, reference):
    """Dominated area of two losses."""
    front = np.unique(losses[nasx.pareto.front(losses)], axis=0)
    heights = np.append(reference[1], front[:-1, 1]) - front[:, 1]
    return ((reference[0] - front[:, 0]) * heights).sum()


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "losses_of", "evaluations", "at_least"),
    [
        ("nasbench201.npz", nasbench201, 500, 0.995),
        ("nasbench201.npz", nasbench201, 100, 0.96),
        ("transnas101_micro.npz", transnas101, 500, 0.985),
        ("nasbench_macro.npz", nasbench_macro, 500, 0.999),
    ],
)
def test_covers_the_true_front_of_real_tables(data_dir, file, losses_of, evaluations, at_least):
    table = np.load(data_dir / file, allow_pickle=False)
    genotypes, values = table["genotypes"].astype(np.int64), losses_of(table).astype(float)
    counts = genotypes.max(axis=0) + 1
    place = np.array([np.prod(counts[j + 1 :]) for j in range(len(counts))])
    losses = np.empty(values.shape)
    losses[genotypes @ place] = values
    space = Space({f"x{j}": Categorical(range(c)) for j, c in enumerate(counts)})
    reference = losses.max(axis=0)
    shares = {}
    for method in (ParetoSearch, nasx.RandomSearch):
        shares[method] = []
        for seed in range(10):
            strategy = method().setup(space, objectives=2, seed=seed)
            found = []
            for _ in range(evaluations):
                x = strategy.ask()
                found.append(losses[x @ place])
                strategy.tell(x, found[-1])
            shares[method].append(area(np.concatenate(found), reference) / area(losses, reference))
    ours, random = np.array(shares[ParetoSearch]), np.array(shares[nasx.RandomSearch])
    assert ours.mean() > at_least
    assert ours.mean() - random.mean() > 3 * np.sqrt((ours.var(ddof=1) + random.var(ddof=1)) / 10)
