"""Prescreened strategies: what is chosen, what the inner strategy hears of it, limits, resuming."""

import json

import numpy as np
import pytest

import nasx
from nasx import Integer, Prescreened, Space
from nasx.errors import StopSearch
from nasx.proxies import Proxy, aggregate
from nasx.testing import StrategyConformance

SPACE = Space({name: Integer(0, 9) for name in "abc"})
SPEC = nasx.TaskSpec((2, 6, 6), 3, "image_classification")
NETWORKS = nasx.spaces.ConvNet(depths=[1, 2], widths=[4, 8], kernel_sizes=[3])


def scattered(x):
    """A proxy that has nothing to do with the losses of the suite."""
    return np.sin(x @ np.arange(1.0, x.shape[1] + 1) * 12.9898) * 43758.5453 % 1.0


class ByScatter(Prescreened):
    """With a function that settings need not hold, as a third party would write it."""

    def __init__(self, inner="regularized_evolution", factor=3, allow_repeats=False):
        super().__init__(inner=inner, proxy=scattered, factor=factor, allow_repeats=allow_repeats)

    @property
    def settings(self):
        return {name: value for name, value in super().settings.items() if name != "proxy"}

    def fresh(self):
        return ByScatter(self.inner, self.factor, self.allow_repeats)


INNERS = {
    "regularized_evolution": {"population_size": 8},
    "nsga2": {"population_size": 8},
    "gaussian_process": {},
    "tpe": {},
    "local_search": {},
    "reinforce": {"learning_rate": 0.1},
    "random_search": {},
}


class TestPrescreened(StrategyConformance):
    """All promises of the protocol, whatever is inside."""

    @pytest.fixture(autouse=True, params=["regularized_evolution", "local_search"])
    def _name(self, request):
        self.name = request.param

    def make(self, **settings):
        return ByScatter(inner={"name": self.name, **INNERS[self.name]}, **settings)


@pytest.mark.parametrize("name", list(INNERS))
def test_every_sampled_strategy_can_be_inside(name):
    whole, single = (
        Prescreened(inner={"name": name, **INNERS[name]}, proxy=scattered, factor=3).setup(SPACE, seed=1)
        for _ in range(2)
    )
    chosen = []
    for _ in range(6):
        x = whole.ask(4)
        np.testing.assert_array_equal(x, np.concatenate([single.ask(1) for _ in range(4)]))
        for strategy in (whole, single):
            strategy.tell(x, x.sum(axis=1), failed=x[:, 0] == 3)
        chosen.append(x)
    chosen = np.concatenate(chosen)
    assert len(np.unique(chosen, axis=0)) == 24
    assert scattered(chosen).mean() > 0.6  # the best of three uniform numbers has 0.75 on average


def test_it_evaluates_the_best_by_proxy_of_what_the_inner_one_proposes():
    strategy = Prescreened(inner="random_search", proxy=scattered, factor=5).setup(SPACE, seed=3)
    inner = nasx.RandomSearch().setup(SPACE, seed=3)
    for _ in range(8):
        pool = inner.ask(5)
        assert strategy.ask(1).tolist() == [pool[scattered(pool).argmax()].tolist()]


def test_several_proxies_are_aggregated_among_the_candidates():
    proxies = [scattered, lambda x: x[:, 0], lambda x: -x[:, 1] * 1e9]
    strategy = Prescreened(inner="random_search", proxy=proxies, factor=6).setup(SPACE, seed=3)
    inner = nasx.RandomSearch().setup(SPACE, seed=3)
    for _ in range(8):
        pool = inner.ask(6)
        joined = aggregate({str(i): proxy(pool) for i, proxy in enumerate(proxies)})
        assert strategy.ask(1).tolist() == [pool[joined.argmax()].tolist()]


class Recorder(nasx.RandomSearch):
    """Writes down what it is told and what is taken back."""

    def _start(self):
        self.told, self.withdrawn = [], []

    def _observe(self, x, losses, violations):
        self.told += x.tolist()

    def _withdraw(self, x):
        self.withdrawn += x.tolist()


def test_what_is_not_chosen_is_never_told():
    strategy = Prescreened(inner=Recorder(), proxy=scattered, factor=4).setup(SPACE, seed=0)
    x = strategy.ask(10)
    strategy.tell(x, x.sum(axis=1))
    inner = strategy._inner
    assert inner.told == x.tolist()
    assert len(inner.withdrawn) == 30
    assert not {tuple(row) for row in inner.withdrawn} & {tuple(row) for row in inner.told}
    assert inner._asked == 10


def test_phases_last_as_many_evaluations_as_without_prescreening():
    """The random architectures that a population begins with are evaluations, not candidates."""
    strategy = Prescreened(inner=nasx.RegularizedEvolution(population_size=10), proxy=scattered, factor=10)
    strategy.setup(Space({f"x{i}": Integer(0, 9) for i in range(12)}), seed=0)
    distances, told = [], []
    for _ in range(30):
        x = strategy.ask(1)
        distances.append(min(((x[0] != row).sum() for row in told[-10:]), default=12))
        strategy.tell(x, x.sum(axis=1))
        told.append(x[0])
    assert min(distances[:9]) > 3  # nobody's child
    assert distances[10:] == [1] * 20


def test_a_gaussian_process_forgets_what_is_not_evaluated():
    strategy = Prescreened(inner="gaussian_process", proxy=scattered, factor=4).setup(SPACE, seed=0)
    for _ in range(14):
        x = strategy.ask(1)
        assert [row.tolist() for row in strategy._inner._out.values()] == x.tolist()
        strategy.tell(x, x.sum(axis=1))
        assert not strategy._inner._out


def test_alternatives_are_checked():
    strategy = nasx.RandomSearch()
    for call in (lambda: strategy.withdraw([[0, 0, 0]]), lambda: strategy.ask_alternatives(2)):
        with pytest.raises(RuntimeError, match="call setup"):
            call()
    strategy.setup(SPACE)
    with pytest.raises(ValueError, match="n must be at least 1; got 0"):
        strategy.ask_alternatives(0)
    with pytest.raises(ValueError, match="one column a decision"):
        strategy.withdraw([[0]])


def test_the_rest_follows_the_best_by_proxy_first():
    space = Space({"a": Integer(0, 19)})
    strategy = Prescreened(inner="random_search", proxy=lambda x: x[:, 0], factor=5).setup(space, seed=0)
    first = strategy.ask(4)
    strategy.tell([[0]], [1.0])  # told by somebody else meanwhile: not proposed any more
    rest = strategy.ask(100)[:, 0].tolist()
    assert 19 in first
    assert rest == sorted(rest, reverse=True)
    assert sorted([*first[:, 0].tolist(), *rest]) == list(range(20 if 0 in first else 1, 20))


def test_limits_come_before_proxies():
    seen = []

    def proxy(x):
        seen.append(x)
        return x.sum(axis=1)

    space = Space({name: Integer(0, 9) for name in "abc"}, constraints=[lambda x: x[:, 0] >= x[:, 1]])
    strategy = Prescreened(proxy=proxy).setup(space, cost_violation=lambda x: x.sum(axis=1) - 12.0)
    x = strategy.ask(10)
    assert x.sum(axis=1).mean() > 11
    for rows in (x, np.concatenate(seen)):
        assert (rows.sum(axis=1) <= 12).all()
        assert (rows[:, 0] >= rows[:, 1]).all()


def test_a_proxy_that_fails_for_some_puts_them_last():
    def proxy(x):
        if (x[:, 0] < 5).any():
            raise RuntimeError("too small")
        return np.where(x[:, 1] < 5, np.nan, x[:, 2] * 1.0)

    strategy = Prescreened(inner="random_search", proxy=proxy, factor=30).setup(SPACE, seed=0)
    x = strategy.ask(10)
    assert (x[:, 0] >= 5).all()
    assert (x[:, 1] >= 5).all()
    assert (x[:, 2] >= 5).all()


def test_a_proxy_that_always_fails_is_reported_once():
    def broken(x):
        raise RuntimeError("no such file")

    strategy = Prescreened(inner="random_search", proxy=broken, factor=3).setup(SPACE, seed=0)
    with pytest.warns(
        RuntimeWarning,
        match=r"proxy .*broken failed for all 3 candidates: no such file\. .* nothing is prescreened, the first "
        "candidate is evaluated.* give another proxy",
    ) as w:
        strategy.ask(5)
    assert len(w) == 1
    strategy = Prescreened(inner="random_search", proxy=[broken, scattered], factor=3).setup(SPACE, seed=0)
    with pytest.warns(RuntimeWarning, match="broken failed for all 3 candidates.*the other proxies choose"):
        x = strategy.ask(5)
    pools = nasx.RandomSearch().setup(SPACE, seed=0).ask(15).reshape(5, 3, -1)
    assert x.tolist() == [pool[scattered(pool).argmax()].tolist() for pool in pools]
    strategy = Prescreened(inner="random_search", proxy=lambda x: [1.0], factor=3).setup(SPACE, seed=0)
    with pytest.raises(ValueError, match=r"must return shape \(3,\); got \(1,\)"):
        strategy.ask()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factor": 0}, "factor must be at least 1"),
        ({"proxy": "naswott"}, "unknown proxy 'naswott'"),
        ({"proxy": 3}, "proxy must be a name"),
        ({"proxy": [scattered, 3]}, "proxy must be a name"),
        ({"proxy": []}, "one proxy at least"),
        ({"proxy": {"function": "scattered"}}, "'scattered' is a function, which settings do not hold"),
        ({"inner": "hyperband"}, "inner must be a sampled strategy"),
        ({"inner": nasx.RandomSearch(allow_repeats=True)}, "give allow_repeats to Prescreened"),
        ({"inner": {"population_size": 3}}, "inner needs a name"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Prescreened(**settings)


def test_settings_with_named_proxies_make_an_equal_strategy():
    strategy = Prescreened(inner="random_search", proxy=["synflow", Proxy("params", 8, spec=SPEC)], factor=2)
    settings = json.loads(json.dumps(strategy.settings))
    assert settings["proxy"][0] == {"name": "synflow", "batch": 64, "seed": 0}
    again = Prescreened(**settings)
    assert again.settings == strategy.settings
    rows = [s.setup(NETWORKS, seed=1, spec=SPEC).ask().tolist() for s in (strategy, again, strategy.fresh())]
    assert rows[0] == rows[1] == rows[2]
    assert Prescreened(proxy=scattered).settings["proxy"] == {"function": "scattered"}
    with pytest.raises(ValueError, match="nothing says what for"):
        Prescreened().setup(NETWORKS)


def test_search_takes_it_in_short_and_binds_it_to_the_task():
    class Count(nasx.Task):
        spec, settings, objectives = SPEC, {}, {"width": "maximize"}

        def evaluate(self, architecture, *, seed, device=None, budget=None, report=None):
            return {"width": float(architecture.genotype.sum())}

    def found(**arguments):
        result = nasx.search(NETWORKS, Count(), evaluations=3, **arguments)
        return [trial.architecture for trial in result.trials]

    proxy = Proxy("synflow", 4)
    short = found(strategy="random_search", prescreen=proxy)
    assert short == found(strategy=Prescreened(inner="random_search", proxy=proxy))
    pool = nasx.RandomSearch().setup(NETWORKS).ask(10)
    assert short[0] == NETWORKS.decode(pool[proxy.bind(NETWORKS, SPEC)(pool).argmax()])


def test_what_cannot_be_prescreened_says_so():
    arguments = {"objectives": {"x": "minimize"}, "evaluations": 3}
    for strategy, message in (
        ("hyperband", r"nasx.Hyperband\(inner=nasx.Prescreened"),
        ("darts", "prescreen is for sampled strategies that are not prescreened; got 'darts'"),
        (Prescreened(proxy=scattered), "prescreen is for sampled strategies"),
    ):
        with pytest.raises(ValueError, match=message):
            nasx.search(SPACE, lambda a: 1.0, strategy=strategy, prescreen=scattered, **arguments)


def test_inside_hyperband():
    strategy = nasx.Hyperband(inner=Prescreened(inner="random_search", proxy=scattered), max_budget=9)
    x, _ = strategy.setup(SPACE, seed=0).ask(9)
    assert scattered(x).mean() > 0.8


@pytest.mark.parametrize("inner", ["regularized_evolution", "tpe", "reinforce"])
def test_a_search_that_is_stopped_goes_on_exactly(tmp_path, inner):
    def stop(result, trial):
        if len(result.trials) in (5, 17):
            raise StopSearch

    def go(name, callbacks=(), proxy=scattered):
        return nasx.search(
            SPACE,
            lambda a: float(sum(a.values())),
            strategy=Prescreened(inner=inner, proxy=proxy, factor=4),
            objectives={"x": "minimize"},
            costs={"a": lambda x: x[:, 0]},
            limits={"a": 7},
            evaluations=30,
            journal=tmp_path / name,
            callbacks=callbacks,
        )

    whole = go("whole.db")
    for trials in (5, 17, 30):
        result = go("stopped.db", [stop])
        assert len(result.trials) == trials
    assert [t.architecture for t in result.trials] == [t.architecture for t in whole.trials]
    with pytest.raises(nasx.errors.JournalError):
        go("whole.db", proxy=lambda x: -x[:, 0])  # another search


def test_several_workers_and_matrices():
    arguments = {"objectives": {"x": "minimize"}, "prescreen": scattered, "seed": 1}
    result = nasx.search(SPACE, lambda x: x.sum(axis=1), vectorized=True, evaluations=40, **arguments)
    x = np.array([trial.architecture.genotype for trial in result.trials])
    assert len(np.unique(x, axis=0)) == 40
    assert scattered(x).mean() > 0.8
