"""Transfer between searches: weights, protection from bad sources, other spaces, journals, the short form."""

import json
import warnings
from fractions import Fraction

import numpy as np
import pytest
from reference import transfer as twin

import nasx
from nasx import Categorical, FewShotTransfer, GaussianProcess, Integer, Space
from nasx.registry import get_strategy
from nasx.strategies.bayesian.scores import normal_scores
from nasx.strategies.transfer.ranking import ranking_weights
from nasx.strategies.transfer.sources import MOST_RESULTS, map_record, read_records, to_record
from nasx.testing import StrategyConformance

SPACE = Space({f"x{j}": Categorical(range(4)) for j in range(6)})
PULL = np.array([3, 2, 2, 1, 1, 1])


def good(x):
    """Smooth enough to be learned from a hundred results."""
    return ((x != [0, 1, 2, 3, 0, 1]) * PULL).sum(axis=1) + 0.5 * (x[:, 0] == x[:, 1])


def alike(x):
    """Almost the same order."""
    return np.exp(good(x) / 3) + 0.3 * (x[:, 5] == 2)


def opposite(x):
    return -good(x)


def source(losses, n=100, seed=1, space=SPACE):
    x = space.sample(n, seed=seed)
    return x, losses(x).astype(float)


def shuffled(n=100, seed=1):
    x, y = source(good, n, seed)
    return x, np.random.default_rng(seed).permutation(y)


def run(strategy, n, losses=good, space=SPACE, seed=0):
    strategy.setup(space, seed=seed)
    best = []
    for _ in range(n):
        x = strategy.ask(1)
        strategy.tell(x, losses(x))
        best.append(losses(x)[0])
    return np.minimum.accumulate(best)


# -- the protocol, with sources that do not fit the suite's spaces alike ----------------------------------------


@pytest.mark.filterwarnings("ignore:FewShotTransfer. sources:UserWarning")
class TestWithSources(StrategyConformance):
    objectives = (1, 2)

    def make(self, **settings):
        return FewShotTransfer(sources=self.sources(), n_draws=32, n_candidates=200, **settings)

    def _begin(self, space=None, **arguments):
        self.m = arguments.setdefault("objectives", 2)
        return super()._begin(space, **arguments)

    m = 1

    def sources(self):
        old = Space({"a": Integer(0, 6), "b": Integer(0, 5), "c": Integer(0, 3), "z": Categorical("uv")})
        x = old.sample(30, seed=4)
        y = np.column_stack([x.sum(axis=1), x[:, 0] - x[:, 2]])[:, : self.m]
        record = to_record((x, y), "source")
        return [record | {"decisions": old.to_dict()["decisions"]}]

    # Those whose spaces share no decision with the source.
    test_huge_spaces = None
    test_nothing_within_the_limits_gives_nothing = None
    test_settings_make_an_equal_strategy = None
    test_repeats_are_allowed_on_request = None
    test_spaces_of_one_decision_and_of_one_architecture = None
    # Several numbers of objectives in one search: the sources have one.
    test_search_never_returns_an_architecture_over_a_limit = None
    test_bad_calls_are_named = None

    def test_a_search_that_is_stopped_goes_on_as_if_it_never_had(self, tmp_path):
        self.m = 2
        super().test_a_search_that_is_stopped_goes_on_as_if_it_never_had(tmp_path)


def test_settings_are_json_and_make_an_equal_strategy():
    strategy = FewShotTransfer(sources=[source(good), shuffled()], n_startup=4)
    settings = json.loads(json.dumps(strategy.settings))
    assert get_strategy("few_shot_transfer", **settings).settings == strategy.settings
    found = [run(s, 12) for s in (strategy, FewShotTransfer(**settings), strategy.fresh())]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_without_sources_it_is_the_gaussian_process():
    ours = FewShotTransfer(n_startup=6).setup(SPACE, seed=3)
    theirs = GaussianProcess(n_startup=6).setup(SPACE, seed=3)
    for _ in range(14):
        x = ours.ask(1)
        np.testing.assert_array_equal(x, theirs.ask(1))
        ours.tell(x, good(x))
        theirs.tell(x, good(x))
    assert ours.weights.tolist() == [1.0]


# -- weights -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prevent", [False, True])
def test_weights_equal_the_twins(prevent):
    rng = np.random.default_rng(0)
    for _ in range(40):
        losses = rng.integers(0, 9, (4, 16)) + rng.integers(0, 5, (4, 1))
        expected = twin.weights(losses.tolist(), prevent)
        np.testing.assert_allclose(
            ranking_weights(losses, prevent_dilution=prevent), np.array(expected, float), atol=1e-12
        )
        assert sum(expected) == Fraction(1)


def test_many_bad_sources_do_not_dilute():
    """Each of thirty is the best once in a while; all of them together would take the weight away."""
    rng = np.random.default_rng(0)
    bad, own = rng.normal(100, 12, (30, 400)), rng.normal(80, 4, (1, 400))
    losses = np.concatenate([bad, own])
    assert ranking_weights(losses, prevent_dilution=False)[-1] < 0.4
    assert ranking_weights(losses)[-1] == 1


def test_weights_follow_how_well_sources_rank():
    x, y = source(good)
    noise = np.random.default_rng(3).normal(size=len(y))
    blurred = y / y.std() + 1.5 * noise
    strategy = FewShotTransfer(sources=[source(alike, seed=7), (x, blurred), source(opposite)])
    run(strategy, 18)
    like, blur, against, _ = strategy.weights
    assert like > blur >= against == 0
    assert strategy.weights.sum() == pytest.approx(1)


def test_sources_that_say_nothing_lose_to_the_new_results():
    strategy = FewShotTransfer(sources=[shuffled(seed=s) for s in range(4)], n_startup=10)
    run(strategy, 45)
    assert strategy.weights[-1] > 0.8


def test_few_results_leave_all_sources_equal():
    strategy = FewShotTransfer(sources=[source(good), source(opposite)], n_startup=1).setup(SPACE)
    x = strategy.ask(1)
    strategy.tell(x, good(x))
    strategy.ask(1)
    assert strategy.weights.tolist() == [0.5, 0.5, 0]


def test_weights_do_not_depend_on_what_is_out():
    strategies = [FewShotTransfer(sources=[source(alike), shuffled()]).setup(SPACE, seed=1) for _ in range(2)]
    for strategy, more in zip(strategies, (0, 6), strict=True):
        x = strategy.ask(8)
        strategy.tell(x, good(x))
        if more:
            strategy.ask(more)  # with none out, then with some
        strategy.ask(1)
    np.testing.assert_array_equal(strategies[0].weights, strategies[1].weights)
    # What is out keeps the sources' processes away too.
    assert [len(e.process) for e in strategies[1]._experts] == [106, 106]
    strategies[1].tell(x[:1] * 0, [9.0])
    strategies[1].ask(1)
    assert [len(e.process) for e in strategies[1]._experts] == [107, 107]


def test_scores_of_the_new_task_are_put_where_the_sources_expect_its_results():
    """Five of the best look like nothing special among themselves; the source says what they are."""
    strategy = FewShotTransfer(sources=[source(good, 200)]).setup(SPACE)
    x = strategy.ask(5)
    strategy.tell(x, good(x))
    strategy.ask(1)
    targets, like = strategy._process.targets()[:, 0], strategy.weights[0]
    means, variances = strategy._experts[0].predict(x)
    assert targets.mean() < -0.5
    spread = like * np.sqrt(means.var() + variances.mean()) + 1 - like
    z = normal_scores(good(x)[:, None].astype(float), np.zeros(5))[:, 0]
    np.testing.assert_allclose(targets, like * means.mean() + spread * z, atol=1e-9)


# -- what it is for --------------------------------------------------------------------------------------------


def test_a_like_source_helps_from_the_first_evaluation_on():
    like = [source(alike, seed=5), shuffled(seed=6)]
    ours = np.array([run(FewShotTransfer(sources=like), 16, seed=s) for s in range(6)])
    alone = np.array([run(GaussianProcess(), 16, seed=s) for s in range(6)])
    assert (ours[:, 4] < np.median(alone[:, 4])).all()
    assert ours[:, 9].mean() < alone[:, 9].mean() - 2
    assert ours[:, -1].mean() <= alone[:, -1].mean()


def test_the_first_proposals_complement_each_other():
    """Two sources with other optima: the best of both come first, not twice what is fair to both."""
    one, two = (lambda x: (x != 0).sum(axis=1)), (lambda x: (x != 3).sum(axis=1))
    strategy = FewShotTransfer(sources=[source(one, 300, 2), source(two, 300, 3)]).setup(SPACE)
    x = strategy.ask(3)
    assert one(x).min() <= 2
    assert two(x).min() <= 2


def test_failures_and_infeasible_results_of_a_source_are_no_recommendation():
    x, y = source(good)
    failed = x[:, 0] == 0
    y[failed] = np.nan
    strategy = FewShotTransfer(sources=[(x, y)]).setup(SPACE)
    assert (strategy.ask(5)[:, 0] != 0).all()
    record = to_record((x, good(x)), "source")
    record["violations"] = [float(row[0] == 0) for row in x]
    strategy = FewShotTransfer(sources=[record]).setup(SPACE)
    assert (strategy.ask(5)[:, 0] != 0).all()


def test_limits_and_the_callers_results_come_before_the_sources_best():
    limit = lambda x: (x[:, 0] == 0) * 1.0  # noqa: E731
    strategy = FewShotTransfer(sources=[source(good)]).setup(SPACE, cost_violation=limit)
    x = strategy.ask(8)
    assert (x[:, 0] != 0).all()
    strategy = FewShotTransfer(sources=[source(good)]).setup(SPACE)
    best = strategy.ask(1)
    strategy = FewShotTransfer(sources=[source(good)]).setup(SPACE)
    strategy.tell(best, good(best))
    assert best[0].tolist() not in strategy.ask(20).tolist()


def test_a_canonical_space_and_conditions():
    graph = nasx.spaces.NASBench201()
    table = lambda x: (x != 3).sum(axis=1).astype(float)  # noqa: E731
    found = run(FewShotTransfer(sources=[source(table, 60, 1, graph)]), 12, table, graph)
    assert found[-1] <= 1
    space = Space({"a": Integer(0, 3), "b": Integer(0, 5, when={"a": [2, 3]}), "c": Categorical("xyz")})
    losses = lambda x: np.where(x[:, 1] < 0, 6, np.abs(x[:, 1] - 4)) + (x[:, 2] != 1)  # noqa: E731
    assert run(FewShotTransfer(sources=[source(losses, 20, 1, space)]), 12, losses, space)[-1] == 0


# -- sources -----------------------------------------------------------------------------------------------------


OLD = Space({"op": Categorical(["conv", "pool", "skip"]), "depth": Integer(1, 4), "bias": nasx.Boolean()})
NEW = Space({"width": Integer(1, 8), "op": Categorical(["skip", "conv"]), "depth": Integer(2, 6)})


def search(space, evaluations=12, **more):
    return nasx.search(
        space,
        lambda a: {"loss": a["depth"] + 2.0 * (a["op"] == "skip"), "score": -1.0 * a["depth"]},
        objectives={"loss": "minimize"},
        evaluations=evaluations,
        **{"strategy": "random_search"} | more,
    )


def test_spaces_are_matched_by_names_and_a_warning_names_what_is_missing():
    result = search(OLD, 24)
    mapped = map_record(to_record(result, "sources[0]"), NEW, "sources[0]")
    assert mapped.shared.tolist() == [False, True, True]
    for trial, row in zip(result.trials, mapped.rows, strict=True):
        expected = [
            -1,
            {"skip": 0, "conv": 1}.get(trial.architecture["op"], -1),
            trial.architecture["depth"] - 2,
        ]
        assert row.tolist() == [expected[0], expected[1], max(expected[2], -1)]
    strategy = FewShotTransfer(sources=[result])
    message = (
        r"sources\[0\] and the space differ: decision 'bias'; no decision 'width'; "
        r"choices 'pool' of 'op'; choices 1 of 'depth'\. The rest is matched by name"
    )
    with pytest.warns(UserWarning, match=message):
        strategy.setup(NEW)
    x = strategy.ask(5)
    np.testing.assert_array_equal(NEW.check(x), x)
    assert NEW.decode(x[0])["op"] == "conv"
    assert NEW.decode(x[0])["depth"] == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FewShotTransfer(sources=[result]).setup(OLD)


def test_what_a_source_does_not_know_makes_no_difference_to_it():
    result = search(OLD, 24)
    with pytest.warns(UserWarning, match="no decision 'width'"):
        strategy = FewShotTransfer(sources=[result]).setup(NEW)
    x = NEW.sample(20, seed=2)
    changed = x.copy()
    changed[:, 0] = (x[:, 0] + 3) % 8
    np.testing.assert_array_equal(
        strategy._experts[0].predict(x)[0], strategy._experts[0].predict(changed)[0]
    )


def test_results_journals_and_arrays_are_the_same_source(tmp_path):
    result = search(OLD, journal=tmp_path / "old.db")
    x = OLD.stack([trial.genotype for trial in result.trials])
    losses = np.array([trial.metrics["loss"] for trial in result.trials])
    strategies = [
        FewShotTransfer(sources=one)
        for one in ([result], result, [tmp_path / "old.db"], str(tmp_path / "old.db"), [(x, losses)])
    ]
    assert (
        strategies[0].settings == strategies[1].settings == strategies[2].settings == strategies[3].settings
    )
    first = strategies[0].setup(OLD).ask(6)
    for strategy in strategies[1:]:
        np.testing.assert_array_equal(strategy.setup(OLD).ask(6), first)
    (tmp_path / "old.db").unlink()
    strategies[2].fresh().setup(OLD)  # needs the file no more


def test_metrics_of_the_new_objectives_are_taken_where_there_are_some():
    result = search(OLD)
    record = to_record(result, "s", objectives={"score": "maximize", "loss": "minimize"})
    assert record["losses"] == [[-t.metrics["score"], t.metrics["loss"]] for t in result.trials]
    record = to_record(result, "s", objectives={"other": "maximize"})
    assert record["losses"] == [[t.metrics["loss"]] for t in result.trials]


def test_trials_without_a_finite_metric_of_the_new_objectives_count_as_failed():
    def task(a):
        return {"loss": float(a["depth"]), "time": float("nan") if a["depth"] == 1 else 2.0}

    old = nasx.search(OLD, task, objectives={"loss": "minimize"}, strategy="random_search", evaluations=20)
    objectives = {"loss": "minimize", "time": "minimize"}
    record = to_record(old, "s", objectives=objectives)
    lost = [trial.architecture["depth"] == 1 for trial in old.trials]
    assert [losses is None for losses in record["losses"]] == lost
    assert any(lost)
    new = nasx.search(
        OLD,
        lambda a: {"loss": float(a["depth"]), "time": 1.0},
        objectives=objectives,
        strategy="gaussian_process",
        warm_start=old,
        evaluations=2,
    )
    assert len(new.trials) == 2


def test_failed_trials_stay_failed():
    def task(a):
        if a["depth"] == 1:
            raise RuntimeError("no")
        return float(a["depth"])

    result = nasx.search(OLD, task, objectives={"x": "minimize"}, strategy="random_search", evaluations=20)
    mapped = map_record(to_record(result, "s"), OLD, "s")
    states = [trial.state == "failed" for trial in result.trials]
    assert np.isinf(mapped.violations).tolist() == states
    assert any(states)


def test_of_a_long_source_the_better_half_and_others_are_kept():
    x, y = source(good, 2000)
    (record,) = read_records([(x, y)])
    kept = np.array(record["losses"])[:, 0]
    assert len(kept) == MOST_RESULTS
    assert (np.sort(kept)[:150] == np.sort(y)[:150]).all()
    assert kept.max() == y.max()
    places = [np.flatnonzero((x == row).all(axis=1))[0] for row in record["genotypes"]]
    assert [y[p] for p in places] == kept.tolist()
    assert read_records([record]) == [record]


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (3, TypeError, "sources must be a list"),
        ([3], TypeError, r"sources\[0\] must be a Result, the path of a journal or"),
        ([np.zeros((3, 6), int)], TypeError, r"sources\[0\] must be a Result"),
        ([(np.zeros((3, 6), int), np.zeros(4))], ValueError, r"sources\[0\] must be integer genotypes"),
        ([(np.zeros((3, 6)), np.zeros(3))], ValueError, "must be integer genotypes"),
        ([(np.zeros((2, 6), int), [0.0, np.inf])], ValueError, "losses must be finite, or NaN"),
        ([(np.zeros((2, 6), int), [np.nan, np.nan])], ValueError, "holds no result that did not fail"),
        ([(np.zeros((0, 6), int), [])], ValueError, "holds no result that did not fail"),
        ([{"genotypes": []}], ValueError, "must have the keys decisions, genotypes"),
        (
            [{"decisions": None, "genotypes": [[0]], "losses": [[1.0, 2.0], [1.0]], "violations": [0, 0]}],
            ValueError,
            r"sources\[0\]:",
        ),
    ],
)
def test_what_is_no_source_is_named(bad, error, message):
    with pytest.raises(error, match=message):
        FewShotTransfer(sources=bad)


def test_sources_that_do_not_fit_the_search_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no journal"):
        FewShotTransfer(sources=[tmp_path / "none.db"])
    with pytest.raises(ValueError, match=r"sources\[1\]: genotypes"):
        FewShotTransfer(sources=[source(good), (np.zeros((2, 3), int), [1.0, 2])]).setup(SPACE)
    with pytest.raises(ValueError, match=r"sources\[0\] has 1 objectives and the search 2"):
        FewShotTransfer(sources=[source(good)]).setup(SPACE, objectives=2)
    with pytest.raises(ValueError, match=r"sources\[0\] has none of the decisions x0, x1"):
        FewShotTransfer(sources=[search(OLD)]).setup(SPACE)
    with pytest.raises(ValueError, match="acquisition must be 'log_ei' or 'ucb'; got 'thompson'"):
        FewShotTransfer(acquisition="thompson")
    with pytest.raises(ValueError, match="n_draws must be at least 1"):
        FewShotTransfer(n_draws=0)


# -- whole searches --------------------------------------------------------------------------------------------------


def test_the_short_form(tmp_path):
    search(OLD, 20, journal=tmp_path / "old.db")
    settings = {"evaluations": 8, "journal": tmp_path / "new.db"}
    result = search(OLD, strategy="gaussian_process", warm_start=tmp_path / "old.db", **settings)
    assert result.strategy == "few_shot_transfer"
    by_hand = search(OLD, 8, strategy=FewShotTransfer(sources=[tmp_path / "old.db"]))
    assert [t.architecture for t in result.trials] == [t.architecture for t in by_hand.trials]
    for name in ("nsga2", "random_search", nasx.GaussianProcess(acquisition="thompson")):
        result = search(
            OLD,
            8,
            strategy=name,
            warm_start=[tmp_path / "old.db"],
            initial=[dict(by_hand.trials[7].architecture)],
        )
        assert result.trials[0].architecture == by_hand.trials[7].architecture
        assert [t.architecture for t in result.trials[1:6]] == [t.architecture for t in by_hand.trials[:5]]
    more = search(OLD, 5, strategy=FewShotTransfer(sources=[by_hand]), warm_start=tmp_path / "old.db")
    assert more.strategy == "few_shot_transfer"


def test_the_short_form_keeps_settings_and_limits(tmp_path):
    old = search(OLD, 20)
    result = search(
        OLD,
        6,
        strategy="nsga2",
        warm_start=old,
        costs={"size": lambda x: x[:, 1].astype(float)},
        limits={"size": 2.0},
        journal=tmp_path / "run.db",
    )
    assert all(trial.state == "complete" for trial in result.trials)
    ours = GaussianProcess(n_candidates=77, deviations=1.0)
    search(OLD, 4, strategy=ours, warm_start=old, journal=tmp_path / "two.db")
    with nasx.journal.Journal(tmp_path / "two.db", read_only=True) as journal:
        settings = journal.header()["strategy"]["settings"]
    assert settings["n_candidates"] == 77
    assert settings["n_startup"] == 5
    assert len(settings["sources"][0]["genotypes"]) == 20


def test_bad_uses_of_the_short_form_are_named():
    with pytest.raises(ValueError, match="warm_start is empty"):
        search(OLD, 4, warm_start=[])
    with pytest.raises(ValueError, match="learns its architecture: leave warm_start out"):
        search(OLD, strategy="darts", warm_start=search(OLD, 3))
    with pytest.raises(ValueError, match="Topology has none"):
        nasx.search(
            nasx.spaces.Topology(2, 1), len, objectives={"x": "minimize"}, strategy="neat", evaluations=3, warm_start=search(OLD, 3)
        )  # fmt: skip


def test_a_journal_with_other_sources_belongs_to_another_search(tmp_path):
    old = search(OLD, 20)
    search(OLD, 6, strategy="gaussian_process", warm_start=old, journal=tmp_path / "run.db")
    again = search(OLD, 9, strategy="gaussian_process", warm_start=old, journal=tmp_path / "run.db")
    whole = search(OLD, 9, strategy="gaussian_process", warm_start=old)
    assert [t.architecture for t in again.trials] == [t.architecture for t in whole.trials]
    with pytest.raises(nasx.errors.JournalError, match=r"strategy\.settings\.sources"):
        search(OLD, 9, strategy="gaussian_process", warm_start=search(OLD, 12), journal=tmp_path / "run.db")
