"""Hyperband and ASHA: their schedules, what they keep back, several objectives, failures, searches."""

import itertools
import json
import math

import numpy as np
import pytest
from reference.multi_fidelity import asha, hyperband

import nasx
from nasx import ASHA, Categorical, Hyperband, Integer, Space, Task
from nasx.registry import get_strategy
from nasx.strategies.multi_fidelity.base import budget_levels

KINDS = [ASHA, Hyperband]


@pytest.fixture
def space():
    return Space({"a": Integer(0, 99), "b": Integer(0, 99)})


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def loss(row, budget):
    """All different; the order changes with the budget; some fail."""
    a, b = int(row[0]), int(row[1])
    return math.nan if (a + b) % 13 == 0 else (a * 37 + b * 101) % 1009 + a / 100 + b / 10_000 + 300 / budget


def run(strategy, jobs, ask=1):
    done = []
    while len(done) < jobs:
        x, budgets = strategy.ask(ask)
        if not len(x):
            break
        strategy.tell(x, [loss(row, b) for row, b in zip(x, budgets, strict=True)], budgets=budgets)
        done += [(tuple(row), b) for row, b in zip(x.tolist(), budgets.tolist(), strict=True)]
    return done


def inner_of(space, seed=0):
    """The architectures in the order in which the strategies' random inner one proposes them."""
    rows = iter(nasx.RandomSearch().setup(space, seed=seed).ask(3000).tolist())
    return lambda: tuple(next(rows))


def test_hyperband_runs_the_published_schedule():
    strategy = Hyperband(max_budget=81).setup(Space({f"x{i}": Integer(0, 99) for i in range(400)}), seed=0)
    assert strategy.budgets == (1, 3, 9, 27, 81)
    counts = {}
    begun = None
    while True:
        x, budgets = strategy.ask()
        if strategy._begun == 6:
            break
        key = (strategy._begun, int(budgets[0]))
        counts[key] = counts.get(key, 0) + 1
        strategy.tell(x, [float(x[0, 0])], budgets=budgets)
    # Table 1 of Li et al. 2018: brackets s = 4..0 of eta = 3, R = 81.
    table = {
        1: {1: 81, 3: 27, 9: 9, 27: 3, 81: 1},
        2: {3: 34, 9: 11, 27: 3, 81: 1},
        3: {9: 15, 27: 5, 81: 1},
        4: {27: 8, 81: 2},
        5: {81: 5},
    }
    assert begun is None
    assert counts == {(b, r): n for b, rungs in table.items() for r, n in rungs.items()}


# A space so wide that the copies of the inner strategy for larger budgets never take over.
WIDE = Space({"a": Integer(0, 99), "b": Integer(0, 99), **{f"c{i}": Categorical(["x"]) for i in range(500)}})


def test_hyperband_equals_its_slow_twin():
    done = run(Hyperband(max_budget=27).setup(WIDE, seed=0), 81)
    # The first bracket takes its architectures from the copy for the smallest budget.
    twin = hyperband(inner_of(WIDE), loss, (1, 3, 9, 27), 3, 1)
    assert done[: len(twin)] == twin
    assert len(twin) == 27 + 9 + 3 + 1


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_asha_equals_its_slow_twin(factor):
    strategy = ASHA(max_budget=factor**3, reduction_factor=factor).setup(WIDE, seed=0)
    budgets = tuple(factor**k for k in range(4))
    assert strategy.budgets == budgets
    assert run(strategy, 300) == asha(inner_of(WIDE), loss, budgets, factor, 300)


def test_asking_for_many_is_asking_many_times(space, kind):
    whole, single = (kind(max_budget=9).setup(space, seed=4) for _ in range(2))
    for _ in range(12):
        x, budgets = whole.ask(7)
        parts = [single.ask(1) for _ in range(7)]
        np.testing.assert_array_equal(x, np.concatenate([p.genotypes for p in parts]))
        np.testing.assert_array_equal(budgets, np.concatenate([p.budgets for p in parts]))
        losses = [loss(row, b) for row, b in zip(x, budgets, strict=True)]
        whole.tell(x, losses, budgets=budgets)
        for i in range(7):
            single.tell(x[i : i + 1], losses[i : i + 1], budgets=budgets[i : i + 1])


def test_nobody_waits_for_a_result_that_never_comes(space, kind):
    strategy = kind(max_budget=9).setup(space, seed=0)
    lost, _ = strategy.ask(5)
    done = run(strategy, 400)
    assert len(done) == 400
    assert {b for _, b in done} == {1, 3, 9}
    assert not {tuple(row) for row in lost.tolist()} & {a for a, _ in done}


def test_an_architecture_has_each_budget_once_and_climbs(space, kind):
    done = run(kind(max_budget=27).setup(space, seed=1), 600, ask=8)
    assert len(set(done)) == len(done)
    place = {job: i for i, job in enumerate(done)}
    below = {3: 1, 9: 3, 27: 9}
    climbed = [(a, b) for a, b in done if (a, below.get(b)) in place]
    assert len(climbed) > 100
    assert all(place[a, below[b]] < place[a, b] for a, b in climbed)
    failed = {a for a, b in done if math.isnan(loss(a, b))}
    assert not failed & {a for a, _ in climbed}


def test_the_better_ones_go_on(space, kind):
    done = run(kind(max_budget=27).setup(space, seed=2), 2000, ask=4)
    tried = [a for a, b in done if b == 1 and not math.isnan(loss(a, 27))]
    climbed = [a for a, b in done if b == 27 and a in set(tried)]
    assert len(climbed) > 20
    assert np.mean([loss(a, 27) for a in climbed]) < 0.3 * np.mean([loss(a, 27) for a in tried])


def test_several_objectives_go_on_by_front_and_violations_stay_behind(kind):
    space = Space({"a": Integer(0, 30), "b": Integer(0, 30), "c": Integer(0, 1)})
    strategy = kind(max_budget=9).setup(space, objectives=2, seed=0)
    jobs = []
    for _ in range(600):
        x, budgets = strategy.ask(1)
        jobs.append((tuple(x[0].tolist()), int(budgets[0])))
        strategy.tell(
            x, [[x[0, 0], 30 - x[0, 0] + x[0, 1]]], violations=x[:, 2].astype(float), budgets=budgets
        )
    first = np.array([a for a, b in jobs if b == 1])
    last = np.array([a for a, b in jobs if b == 9 and (a, 1) in jobs])  # those that climbed
    assert first[:, 2].mean() > 0.3
    assert last[:, 2].sum() == 0
    # A bracket keeps a third of nine, half of them infeasible.
    assert last[:, 1].mean() < (0.6 if kind is ASHA else 0.9) * first[:, 1].mean()
    assert np.ptp(last[:, 0]) > 15  # the whole front, not one corner


def test_the_inner_strategy_learns_from_the_largest_budget_with_results():
    space = Space({"a": Integer(0, 999), "b": Integer(0, 999)})
    inner = nasx.NSGA2(population_size=6)

    def mean(inner):
        strategy = ASHA(inner=inner, max_budget=9).setup(space, seed=0)
        new = []
        for _ in range(500):
            x, budgets = strategy.ask(1)
            if budgets[0] == 1:
                new.append(x.sum())
            strategy.tell(x, [x.sum() + 100 / budgets[0]], budgets=budgets)
        return np.mean(new[-50:])

    assert mean(inner) < 0.75 * mean("random_search")


def test_a_space_that_runs_out_ends_cleanly(kind):
    space = Space({"a": Integer(0, 9), "b": Integer(0, 4)})
    done = run(kind(max_budget=9).setup(space, seed=0), 10_000)
    assert len({a for a, _ in done}) == 50
    assert len(set(done)) == len(done)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9, 14, 22, 28])
def test_a_small_space_gives_somebody_the_whole_budget(kind, size):
    space = Space({"a": Integer(0, size - 1)})

    def evaluate(architecture, *, budget):
        if architecture["a"] == 0 and size > 2:
            raise RuntimeError("the best of all fails")
        return architecture["a"] + 1 / budget

    result = nasx.search(
        space, evaluate, strategy=kind(max_budget=27), objectives={"loss": "minimize"}, evaluations=1000
    )
    assert result.stopped == "exhausted"
    assert result.best.budget == 27
    assert result.best.architecture["a"] == (1 if size > 2 else 0)


def test_a_small_space_in_which_the_whole_budget_always_fails_says_so(kind):
    def evaluate(architecture, *, budget):
        if budget == 9:
            raise RuntimeError("too long")
        return float(architecture["a"])

    result = nasx.search(
        Space({"a": Integer(0, 4)}),
        evaluate,
        strategy=kind(max_budget=9),
        objectives={"loss": "minimize"},
        evaluations=1000,
    )
    assert result.best is None
    assert "nothing is left" in result.reason


def test_limits_on_costs_filter_proposals(space, kind):
    strategy = kind(max_budget=9).setup(space, seed=0, cost_violation=lambda x: x.sum(axis=1) - 60.0)
    assert all(sum(a) <= 60 for a, _ in run(strategy, 300))


def test_rows_of_the_users_own_are_accepted_and_not_proposed_anew(space, kind):
    strategy = kind(max_budget=9).setup(space, seed=0)
    mine = space.sample(40, seed=9)
    strategy.tell(mine, np.arange(40.0), budgets=np.full(40, 9))
    done = run(strategy, 300)
    assert not {tuple(row) for row in mine.tolist()} & {a for a, b in done if b == 1}


class Curves(Task):
    """Error curves that fall with the budget and may cross."""

    spec = None
    settings = {"name": "Curves"}  # noqa: RUF012
    max_budget = 9
    seen: list[tuple[int, int]]

    def __init__(self, heeds_budget=True):
        self.heeds_budget, self.seen = heeds_budget, []

    def evaluate(self, architecture, *, seed, device=None, budget=None, report=None):
        steps = budget if self.heeds_budget else 9
        for step in range(1, steps + 1):
            error = architecture["a"] / 100 + architecture["b"] / 100 / step
            if report(step, {"error": error}):
                break
        self.seen.append((budget, step))
        return {"error": error}


def test_a_search_counts_parts_of_evaluations_and_trusts_whole_ones(space, kind):
    task = Curves()
    result = nasx.search(space, task, strategy=kind(), evaluations=20, seed=0)
    assert {t.state for t in result.trials} == {"complete", "partial"}
    assert 20 <= result.spent + 1e-6 < 21
    assert len(result.trials) > 30
    assert result.best.budget == 9
    assert result.best.metrics["error"] == min(t.metrics["error"] for t in result.trials if t.budget == 9)
    assert all((t.state == "complete") == (t.budget == 9) == (t.fraction == 1) for t in result.trials)
    document = json.loads(result.to_json())
    assert document["trials"][0]["budget"] == result.trials[0].budget
    assert "budget" in result.to_dataframe().columns
    assert task.seen == [(t.budget, t.budget) for t in result.trials]


def test_a_task_that_only_reports_is_stopped_at_its_budget(space):
    task = Curves(heeds_budget=False)
    nasx.search(space, task, strategy="asha", evaluations=10)
    assert all(budget == step for budget, step in task.seen)


def test_more_architectures_are_tried_and_a_better_one_is_found_for_the_same_cost(space, kind):
    found = {"parts": [], "whole": []}
    for seed in range(10):
        for name, strategy in (("parts", kind(max_budget=9)), ("whole", "random_search")):
            result = (
                nasx.search(space, Curves(), strategy=strategy, evaluations=30, seed=seed)
                if name == "parts"
                else (
                    nasx.search(
                        space,
                        lambda a: a["a"] / 100 + a["b"] / 900,
                        objectives={"error": "minimize"},
                        strategy=strategy,
                        evaluations=30,
                        seed=seed,
                    )
                )
            )
            found[name].append(result.best.metrics["error"])
    assert np.mean(found["parts"]) < np.mean(found["whole"])


def test_initial_architectures_get_the_whole_budget(space, kind):
    result = nasx.search(space, Curves(), strategy=kind(), evaluations=5, initial=[{"a": 1, "b": 2}])
    assert result.trials[0].budget == 9
    assert result.trials[0].state == "complete"


def test_without_a_whole_evaluation_there_is_no_best_and_the_reason_is_given(space):
    result = nasx.search(space, Curves(), strategy="hyperband", evaluations=1)
    assert result.best is None
    assert "whole budget" in result.reason


def test_functions_take_a_budget_too(space, kind):
    def task(architecture, budget):
        return architecture["a"] + 1 / budget

    result = nasx.search(
        space, task, objectives={"x": "minimize"}, strategy=kind(max_budget=9), evaluations=10
    )
    assert result.best is not None
    with pytest.raises(TypeError, match="takes a budget"):
        nasx.search(
            space, lambda a: 1.0, objectives={"x": "minimize"}, strategy=kind(max_budget=9), evaluations=1
        )
    with pytest.raises(ValueError, match="max_budget is missing"):
        nasx.search(space, task, objectives={"x": "minimize"}, strategy=kind(), evaluations=10)


def test_settings_make_an_equal_strategy(kind):
    strategy = kind(inner=nasx.NSGA2(population_size=12), max_budget=27, reduction_factor=2)
    settings = json.loads(json.dumps(strategy.settings))
    assert settings["inner"]["population_size"] == 12
    again = get_strategy(kind.__name__.lower(), **settings)
    assert again.settings == settings
    assert again.fresh().settings == settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_budget": 0}, "min_budget must be at least 1"),
        ({"max_budget": 1.5}, "max_budget must be an integer"),
        ({"min_budget": 5, "max_budget": 4}, "max_budget must be at least min_budget, 5"),
        ({"reduction_factor": 1}, "reduction_factor must be at least 2"),
        ({"inner": "nothing"}, "unknown strategy"),
        ({"inner": {"population_size": 3}}, "inner needs a name"),
        ({"inner": ASHA()}, "inner must be a sampled strategy"),
        ({"inner": nasx.RandomSearch(allow_repeats=True)}, "inner must not allow repeats"),
    ],
)
def test_bad_settings_are_named(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)


def test_bad_calls_are_named(space, kind):
    with pytest.raises(RuntimeError, match="call setup"):
        kind().ask()
    with pytest.raises(ValueError, match="max_budget is missing"):
        kind().setup(space)
    with pytest.raises(ValueError, match="min_budget must be at most"):
        kind(min_budget=10).setup(space, max_budget=9)
    strategy = kind().setup(space, max_budget=9)
    x, budgets = strategy.ask(2)
    with pytest.raises(ValueError, match="n must be at least 1"):
        strategy.ask(0)
    with pytest.raises(ValueError, match=r"budgets must be among \(1, 3, 9\); got 2"):
        strategy.tell(x, [1.0, 2.0], budgets=[1, 2])
    with pytest.raises(ValueError, match=r"budgets must have shape \(2,\)"):
        strategy.tell(x, [1.0, 2.0], budgets=budgets[:1])
    with pytest.raises(ValueError, match=r"losses must have shape \(2, 1\)"):
        strategy.tell(x, [1.0], budgets=budgets)


def test_levels():
    assert budget_levels(1, 1, 3) == (1,)
    assert budget_levels(1, 2, 3) == (1, 2)
    assert budget_levels(1, 100, 4) == (2, 6, 25, 100)
    for whole in range(1, 60):
        for factor in (2, 3, 4, 5):
            levels = budget_levels(1, whole, factor)
            assert levels[-1] == whole
            assert all(a < b for a, b in itertools.pairwise(levels))
