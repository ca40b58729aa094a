"""LocalSearch beyond the protocol: against a plain twin, on real tables, and with results that are late."""

import numpy as np
import pytest
from reference.local_search import local_search, local_search_towards_a_front

import nasx
from nasx import Boolean, Categorical, Integer, LocalSearch, Space
from nasx.tasks import tables


def rugged(row):
    """Many local optima."""
    return float(sum((7 * (j + 1) * v + 3 * v * v) % 11 for j, v in enumerate(row)))


def run(strategy, evaluate, evaluations):
    asked = []
    for _ in range(evaluations):
        x = strategy.ask()
        strategy.tell(x, [evaluate(row) for row in x.tolist()])
        asked += x.tolist()
    return asked


@pytest.mark.parametrize("improvement", ["first", "best"])
@pytest.mark.parametrize("n_init", [1, 4])
@pytest.mark.parametrize("conditional", [False, True])
def test_equals_the_slow_twin(improvement, n_init, conditional):
    when = {"x0": [1, 2]} if conditional else None
    space = Space({f"x{j}": Integer(0, 4, when=when if j > 2 else None) for j in range(6)})
    settings = {"n_init": n_init, "improvement": improvement}
    asked = run(LocalSearch(**settings).setup(space, seed=3), rugged, 200)
    expected = local_search(
        rugged,
        space.cardinalities.tolist(),
        space.conditions.tolist(),
        seed=3,
        evaluations=200,
        **settings,
    )
    assert asked == expected


def test_it_climbs_to_the_optimum_of_a_smooth_space_step_by_step():
    space = Space({f"x{j}": Integer(0, 9) for j in range(8)})
    asked = run(LocalSearch(n_init=1, adjacent=True).setup(space, seed=0), sum, 300)
    assert [0] * 8 in asked
    best = asked[0]
    for row in asked[1 : asked.index([0] * 8) + 1]:
        assert sum(abs(a - b) for a, b in zip(best, row, strict=True)) == 1
        best = min(best, row, key=sum)


def test_a_local_optimum_is_left_for_new_starts():
    space = Space({"a": Integer(0, 9), "b": Integer(0, 9)})
    trap = {(2, 2): -1.0, (7, 7): -2.0}
    asked = run(
        LocalSearch(n_init=3).setup(space, seed=1), lambda row: trap.get(tuple(row), float(sum(row))), 100
    )
    assert sorted(asked) == space.enumerate().tolist()


def test_first_moves_at_once_and_best_waits_for_the_whole_neighborhood():
    space = Space({f"x{j}": Integer(0, 9) for j in range(5)})
    steps = {}
    for improvement in ("first", "best"):
        strategy = LocalSearch(n_init=1, improvement=improvement).setup(space, seed=0)
        asked = np.array(run(strategy, sum, 46))
        steps[improvement] = (asked != asked[0]).sum(axis=1)
    assert (steps["best"][1:] == 1).all()  # 45 neighbours of the start
    assert (steps["first"][1:] > 1).any()


def test_while_neighbors_are_out_other_climbs_go_on_and_a_late_result_reopens_its_own():
    space = Space({f"x{j}": Integer(0, 5) for j in range(4)})
    strategy = LocalSearch(n_init=2).setup(space, seed=0)
    starts = strategy.ask(2)
    strategy.tell(starts, [5.0, 6.0])
    around = strategy.ask(20)
    assert ((around != starts[0]).sum(axis=1) == 1).all()
    others = strategy.ask(4)  # nothing of the first climb is left: two new starts, and two more
    assert ((others != starts[0]).sum(axis=1) > 1).any()
    strategy.tell(others[:2], [7.0, 8.0])
    assert ((strategy.ask(3) != others[0]).sum(axis=1) == 1).all()
    strategy.tell(around[7:8], [1.0])
    assert ((strategy.ask(5) != around[7]).sum(axis=1) == 1).all()


def test_results_of_the_callers_own_are_climbed_from():
    space = Space({f"x{j}": Integer(0, 5) for j in range(4)})
    strategy = LocalSearch(n_init=3).setup(space, seed=0)
    strategy.tell([[1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]], [2.0, 1.0, 3.0])
    assert ((strategy.ask(20) != 2).sum(axis=1) == 1).all()


def test_violations_come_first_and_failures_are_not_climbed_from():
    space = Space({f"x{j}": Integer(0, 5) for j in range(3)})
    strategy = LocalSearch(n_init=3).setup(space, seed=0)
    x = strategy.ask(3)
    strategy.tell(x, [0.0, 1.0, 9.0], violations=[2.0, 1.0, 0.5])
    assert ((strategy.ask(5) != x[2]).sum(axis=1) == 1).all()
    strategy = LocalSearch(n_init=3).setup(space, seed=0)
    x = strategy.ask(3)
    strategy.tell(x, [0.0, 1.0, 9.0], failed=[True, True, True])
    again = strategy.ask(3)  # nothing to climb from: new starts
    strategy.tell(again, [3.0, 2.0, 0.0], failed=[False, False, True])
    assert ((strategy.ask(5) != again[1]).sum(axis=1) == 1).all()


def test_several_objectives_equal_the_slow_twin():
    space = Space({f"x{j}": Integer(0, 4) for j in range(5)})

    def evaluate(row):
        return [rugged(row), float(sum(abs(v - j) for j, v in enumerate(row))) * 1e6]

    strategy = LocalSearch(n_init=4).setup(space, objectives=2, seed=3)
    asked = []
    for _ in range(120):
        x = strategy.ask()
        strategy.tell(x, [evaluate(row) for row in x.tolist()])
        asked += x.tolist()
    assert asked == local_search_towards_a_front(
        evaluate, space.cardinalities.tolist(), space.conditions.tolist(), n_init=4, seed=3, evaluations=120
    )


def test_with_several_objectives_it_goes_to_all_of_the_front_whatever_their_scales():
    """Two bowls of which one is counted in millions: the front is the way from one bottom to the other."""
    space = Space({f"x{j}": Integer(0, 5) for j in range(6)})
    strategy = LocalSearch().setup(space, objectives=2, seed=0)
    found = set()
    for _ in range(600):
        x = strategy.ask()
        losses = np.column_stack([(x != 0).sum(axis=1), (x != 5).sum(axis=1) * 1e6])
        strategy.tell(x, losses)
        found.add(tuple(losses[0]))
    assert found >= {(k, (6 - k) * 1e6) for k in range(7)}


def test_with_several_objectives_violations_come_first_and_nothing_explored_is_looked_at_again():
    space = Space({f"x{j}": Integer(0, 2) for j in range(3)})
    strategy = LocalSearch(n_init=2).setup(space, objectives=2, seed=0)
    x = strategy.ask(2)
    strategy.tell(x, [[0.0, 0.0], [9.0, 9.0]], violations=[1.0, 0.0])
    around = strategy.ask(6)  # all there are
    assert ((around != x[1]).sum(axis=1) == 1).all()
    rest = strategy.ask(27)  # then those of the other one, and what is left
    assert len({tuple(row) for row in [*x.tolist(), *around.tolist(), *rest.tolist()]}) == 27
    assert (rest[0] != x[0]).sum() == 1


def test_known_neighbors_are_not_proposed_again_unless_asked():
    space = Space({"a": Boolean(), "b": Boolean(), "c": Boolean()})
    x = run(LocalSearch(n_init=1).setup(space, seed=0), lambda row: 1.0, 8)
    assert len({tuple(row) for row in x}) == 8
    x = run(LocalSearch(n_init=1, allow_repeats=True).setup(space, seed=0), lambda row: 1.0, 40)
    assert len({tuple(row) for row in x}) < 40


def test_with_repeats_allowed_all_starts_are_drawn_before_the_climb():
    space = Space({f"x{j}": Integer(0, 9) for j in range(6)})
    starts = nasx.RandomSearch().setup(space, seed=5).ask(8).tolist()
    strategy = LocalSearch(n_init=8, allow_repeats=True).setup(space, seed=5)
    assert run(strategy, sum, 8) == starts
    best = min(starts, key=sum)
    assert ((strategy.ask(20) != best).sum(axis=1) == 1).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_init": 0}, "n_init must be at least 1; got 0"),
        ({"n_init": 2.0}, "n_init must be an integer; got 2.0"),
        ({"improvement": "any"}, "improvement must be 'first' or 'best'; got 'any'"),
        ({"adjacent": 1}, "adjacent must be True or False; got 1"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        LocalSearch(**settings)


def nasbench201(table):
    return table["cifar10_val"]


def transnas101(table):
    return table["val/class_scene"]


def nasbench_macro(table):
    return table["cifar10_test"].mean(axis=1)


@pytest.mark.data
def test_with_several_objectives_it_beats_random_search_on_measured_networks(data_dir):
    table = tables.read_npz(
        data_dir / "nasbench201.npz",
        objectives={"cifar10_val": "maximize", "latency_ms/1080ti_1": "minimize"},
    )
    found = nasx.compare(
        table.space,
        table,
        ["local_search", "random_search"],
        evaluations=200,
        seeds=8,
        front=table.pareto_front()[1],
        reference={"cifar10_val": 0.0, "latency_ms/1080ti_1": float(table.losses()[:, 1].max())},
    )
    assert found.versus("local_search", "random_search").z > 3


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "score"),
    [
        ("nasbench201.npz", nasbench201),
        ("transnas101_micro.npz", transnas101),
        ("nasbench_macro.npz", nasbench_macro),
    ],
)
def test_beats_random_search_on_real_tables(data_dir, file, score):
    table = np.load(data_dir / file, allow_pickle=False)
    genotypes, scores = table["genotypes"].astype(np.int64), score(table).astype(float)
    counts = genotypes.max(axis=0) + 1
    place = np.array([np.prod(counts[j + 1 :]) for j in range(len(counts))])
    losses = np.empty(len(scores))
    losses[genotypes @ place] = -scores
    space = Space({f"x{j}": Categorical(range(c)) for j, c in enumerate(counts)})
    best = {}
    for method in (LocalSearch, nasx.RandomSearch):
        best[method] = []
        for seed in range(40):
            strategy = method().setup(space, seed=seed)
            found = []
            for _ in range(100):
                x = strategy.ask()
                found.append(losses[x @ place])
                strategy.tell(x, found[-1])
            best[method].append(min(found))
    ours, theirs = np.array(best[LocalSearch]), np.array(best[nasx.RandomSearch])
    error = np.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / 40)
    assert theirs.mean() - ours.mean() > 3 * error


@pytest.mark.parametrize("objectives", [1, 2])
@pytest.mark.parametrize("method", [LocalSearch, nasx.ParetoSearch])
def test_neighborhoods_where_several_genotypes_are_one_network(method, objectives, monkeypatch):
    """Known networks under other genotypes are no new neighbours: nothing is proposed in vain."""
    space = nasx.spaces.NASBenchGraph()
    monkeypatch.setattr(method, "_draw_left", lambda self: pytest.fail("looked at random"))
    strategy = method().setup(space, objectives=objectives, seed=0)
    weights = np.random.default_rng(0).random((len(space), objectives))
    for _ in range(300):
        x = strategy.ask()
        strategy.tell(x, (x @ weights) % 1)
    assert strategy.position is None or strategy._proposed < 330


def test_late_results_find_their_climb_where_several_genotypes_are_one_network():
    space = nasx.spaces.NASBenchGraph()
    strategy = LocalSearch(n_init=4).setup(space, seed=0)
    starts = strategy.ask(4)
    strategy.tell(starts, [0.0, 1.0, 2.0, 3.0])
    first = strategy._climb
    around = strategy.ask(12)
    while strategy._climb is first:
        strategy.ask(4)
    strategy.tell(around, np.full(12, -1.0) - np.arange(12))
    assert first.best.losses == [-12.0]
