"""Every registered strategy keeps the promises of `nasx.testing`; names, settings and registration."""

import dataclasses

import numpy as np
import pytest

import nasx
from nasx.registry import get_strategy, strategy_class, strategy_name
from nasx.strategies.supernet import SupernetStrategy
from nasx.testing import StrategyConformance

# Smaller than the defaults where those learn nothing within the suite's few evaluations.
SETTINGS = {name: {"population_size": 8} for name in ("genetic_algorithm", "nsga2", "regularized_evolution")}
SETTINGS["reinforce"] = {"learning_rate": 0.1}
SETTINGS["ppo"] = {"learning_rate": 0.1, "batch_size": 8}
# Those that ignore what they are told.
DEAF = {"random_search"}
# Those that propose budgets too: see test_multi_fidelity.py. NEAT searches another space: TestNEAT below.
SAMPLED = [
    n
    for n in nasx.available_strategies()
    if n != "neat" and issubclass(strategy_class(n), nasx.SampledStrategy)
]


class TestRegisteredStrategies(StrategyConformance):
    """All names there are: a new strategy is tested from its registration on."""

    @pytest.fixture(autouse=True, params=SAMPLED)
    def _name(self, request):
        self.name = request.param
        self.learns = request.param not in DEAF

    def make(self, **settings):
        return get_strategy(self.name, **SETTINGS.get(self.name, {}), **settings)

    def test_names_settings_and_copies(self):
        strategy = self.make()
        assert strategy_name(strategy) == self.name
        assert type(strategy) is strategy_class(self.name)
        assert get_strategy(self.name, **strategy.settings).settings == strategy.settings

    def test_the_default_settings_work_as_well(self):
        strategy = get_strategy(self.name).setup(nasx.Space({"a": nasx.Integer(0, 9)}))
        assert sorted(strategy.ask(12).ravel().tolist()) == list(range(10))

    def test_it_is_a_public_class_of_its_own(self):
        cls = strategy_class(self.name)
        assert getattr(nasx, cls.__name__) is cls


# Settings that are other methods under the same name; the policies' LSTM: see test_lstm_conformance.py.
VARIANTS = {
    "tpe, univariate": nasx.TPE(multivariate=False),
    "reinforce, product": nasx.REINFORCE(learning_rate=0.1, combine="product"),
    "ppo, product": nasx.PPO(learning_rate=0.1, batch_size=8, combine="product"),
    "gaussian_process, ucb": nasx.GaussianProcess(acquisition="ucb", kernel="rbf"),
    "gaussian_process, thompson": nasx.GaussianProcess(acquisition="thompson", n_candidates=100),
}


class TestVariants(StrategyConformance):
    """The same promises."""

    @pytest.fixture(autouse=True, params=VARIANTS)
    def _name(self, request):
        self.variant = VARIANTS[request.param]

    def make(self, **settings):
        return dataclasses.replace(self.variant, **settings)


class TestNEAT(StrategyConformance):
    """All promises that have a meaning where genotypes are networks."""

    # These are about spaces of decisions, which come to an end, and arrays of the caller's.
    test_a_space_that_runs_out_is_given_out_whole_and_then_nothing = None
    test_spaces_of_one_decision_and_of_one_architecture = None
    test_chains_of_conditions = None
    test_huge_spaces = None
    test_a_jump_is_as_good_as_the_same_calls = None
    test_a_search_begun_with_the_callers_results = None
    test_the_callers_arrays_may_be_used_again = None
    test_limits_and_constraints_filter_proposals = None
    test_nothing_within_the_limits_gives_nothing = None
    test_the_only_architecture_within_a_limit_is_found = None
    test_repeats_are_allowed_on_request = None

    SEEN = np.random.default_rng(0).normal(size=(4, 3))

    def make(self, **settings):
        # A dozen generations of eight must learn something: small steps, and rarely a second species.
        return nasx.NEAT(
            population_size=8,
            add_node=0.2,
            add_connection=0.2,
            weight_power=0.5,
            weight_perturbation=1.0,
            compatibility_threshold=10.0,
            **settings,
        )

    def spaces(self):
        return nasx.spaces.Topology(3, 1), nasx.spaces.Topology(
            3, 2, recurrent=True, activations=["tanh", "sin"]
        )

    def learnable(self):
        return nasx.spaces.Topology(3, 1)

    def numbers(self, x):
        space = x.space
        if not len(x):
            return np.empty((0, 4), np.int32)
        y = x(self.SEEN[:, None])[:, :, 0] if space.recurrent else x(self.SEEN)
        return np.clip((y[:, :, 0] + space.recurrent) / (1 + space.recurrent) * 6, 0, 5).astype(np.int32)

    def test_bad_calls_are_named(self):
        strategy = self._begin()
        x = strategy.ask(2)
        y = self._losses(x, 2)
        calls = [
            (lambda: strategy.ask(0), ValueError, "n must be at least 1"),
            (lambda: strategy.tell(x, [1.0]), ValueError, r"losses must have shape \(2, "),
            (
                lambda: strategy.tell([[0, 1]], [[1.0, 1.0]]),
                TypeError,
                "must be those of a Topology; got list",
            ),
            (lambda: strategy.tell(x[0], y[:1]), TypeError, "put the one you have into a list"),
            (lambda: strategy.tell(x, y, violations=[1.0]), ValueError, r"violations must have shape \(2,\)"),
            (lambda: strategy.tell(x, y, violations=[np.nan, 0.0]), ValueError, "violations must not be NaN"),
            (lambda: strategy.tell(x, y, failed=[1, 0]), ValueError, "failed must be bool"),
            (lambda: strategy.setup(x.space, objectives=0), ValueError, "objectives must be at least 1"),
            (lambda: strategy.setup(x.space, seed=-1), ValueError, "seed must be"),
            (lambda: strategy.setup(nasx.Space({"a": nasx.Boolean()})), ValueError, "space: NEAT evolves"),
            (
                lambda: strategy.setup(x.space, cost_violation=lambda x: np.zeros(1)).ask(2),
                ValueError,
                "cost_violation must return",
            ),
        ]
        for call, error, message in calls:
            with pytest.raises(error, match=message):
                call()

    def test_limits_on_costs_filter_proposals(self):
        space = nasx.spaces.Topology(3, 1)
        whole, single = (
            self._begin(space, cost_violation=lambda x: x.connections - 5.0, objectives=1) for _ in range(2)
        )
        for _ in range(20):
            x = whole.ask(7)
            assert len(x) == 7
            assert (x.connections <= 5).all()
            assert x == space.join([single.ask(1) for _ in range(7)])
            for strategy in (whole, single):
                strategy.tell(x, -x.connections.astype(float))
        assert (x.connections == 5).any()
        nothing = self._begin(space, cost_violation=lambda x: np.ones(len(x)))
        assert len(nothing.ask(5)) == 0

    def test_it_is_registered(self):
        assert type(get_strategy("neat")) is nasx.NEAT
        assert strategy_name(nasx.NEAT()) == "neat"


# Those that train a supernet have no setup: see test_darts.py.
SUPERNET = {n for n in nasx.available_strategies() if issubclass(strategy_class(n), SupernetStrategy)}


@pytest.mark.parametrize("name", sorted({*nasx.available_strategies()} - SUPERNET - {"neat"}))
def test_strategies_for_decisions_refuse_a_topology(name):
    more = {"max_budget": 9} if name not in SAMPLED else {}
    with pytest.raises(ValueError, match=r'Topology has none; use strategy="neat"'):
        get_strategy(name).setup(nasx.spaces.Topology(2, 1), **more)


class Meddler(nasx.RandomSearch):
    """Writes into what it is told."""

    def tell(self, x, losses, **rest):
        super().tell(x, losses, **rest)
        losses[:] = 0


class Borrower(nasx.RandomSearch):
    """Keeps the caller's array instead of a copy."""

    def _observe(self, x, losses, violations):
        self.last = x

    def _propose(self, n, first):
        if not hasattr(self, "last"):
            return super()._propose(n, first)
        space = self.space
        parents = self.last[np.arange(n) % len(self.last)]
        return nasx.population.mutate(
            parents, space.cardinalities, rates=0.9, first=first, conditions=space.conditions
        )


class Batchy(nasx.RandomSearch):
    """Proposes by the size of the batch."""

    def _propose(self, n, first):
        return super()._propose(n, first * n)


class Seedless(nasx.RandomSearch):
    """Draws from NumPy's global generator."""

    def _propose(self, n, first):
        return self.space.sample(n, seed=np.random.randint(2**31))  # noqa: NPY002


class Hoarder(nasx.RandomSearch):
    """Keeps a setting to itself."""

    def __init__(self, allow_repeats=False, offset=5):
        super().__init__(allow_repeats=allow_repeats)
        self.offset = offset

    def fresh(self):
        return Hoarder(offset=0)

    def _propose(self, n, first):
        return super()._propose(n, first + self.offset)


@pytest.mark.parametrize(
    ("cls", "test"),
    [
        (Meddler, "test_inputs_are_not_modified"),
        (Borrower, "test_the_callers_arrays_may_be_used_again"),
        (Batchy, "test_asking_for_many_is_asking_many_times"),
        (Seedless, "test_the_same_seed_gives_the_same_search"),
        (Seedless, "test_global_random_state_is_neither_read_nor_changed"),
        (Hoarder, "test_settings_make_an_equal_strategy"),
        (nasx.RandomSearch, "test_better_losses_are_found"),
        (nasx.RandomSearch, "test_failures_lose_to_everything_that_finished"),
        (nasx.RandomSearch, "test_infeasible_ones_lose_to_feasible_ones"),
        (nasx.RandomSearch, "test_the_smaller_violation_wins"),
    ],
)
def test_the_suite_notices(cls, test):
    suite = StrategyConformance()
    suite.make = cls
    with pytest.raises(AssertionError):
        getattr(suite, test)()


def test_the_suite_says_what_to_define():
    with pytest.raises(NotImplementedError, match=r"StrategyConformance must define make"):
        StrategyConformance().test_the_same_seed_gives_the_same_search()


def test_unknown_strategies_list_the_known_ones():
    with pytest.raises(ValueError, match=r"did you mean 'nsga2'.*random_search"):
        get_strategy("nsga3")
    with pytest.raises(TypeError, match="must be a name"):
        get_strategy(3)


def test_registering():
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
