"""Tests that every sampled strategy must pass, yours too.

In a test file, derive from `StrategyConformance`, say how to make the strategy, and run pytest::

    import nasx.testing
    from mine import Mine

    class TestMine(nasx.testing.StrategyConformance):
        def make(self, **settings):
            return Mine(population_size=8, **settings)

Each inherited method is one promise of the protocol (`nasx.SampledStrategy`). pytest comes with
``pip install 'nasx[test]'``; nothing else here needs it.
"""

from __future__ import annotations

import copy
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from nasx.architecture import Architecture
from nasx.errors import StopSearch, require
from nasx.loop import search
from nasx.result import Result
from nasx.space import Boolean, Categorical, Genotypes, Integer, Space
from nasx.strategies.base import SampledStrategy
from nasx.tasks.base import Direction
from nasx.trial import Trial

__all__ = ["StrategyConformance"]

Floats = npt.NDArray[np.float64]


class StrategyConformance:
    """What every sampled strategy promises, whatever its method.

    Attributes
    ----------
    objectives : tuple of int
        The numbers of objectives that the strategy takes, 1 among them; 1, 2 and 3 by default.
    learns : bool
        Whether proposals get better with what is told; True by default. False for a method that ignores
        results, such as random search.

    Examples
    --------
    >>> from nasx import NSGA2
    >>> class TestMine(StrategyConformance):
    ...     def make(self, **settings):
    ...         return NSGA2(population_size=8, **settings)
    >>> TestMine().test_the_same_seed_gives_the_same_search()
    """

    objectives: ClassVar[tuple[int, ...]] = (1, 2, 3)
    learns: bool = True

    def make(self, **settings: Any) -> SampledStrategy:
        """Make a strategy that has seen nothing; derived classes define this.

        Parameters
        ----------
        **settings
            ``allow_repeats``, or nothing.

        Returns
        -------
        SampledStrategy
            With settings small enough that it learns within a hundred evaluations.
        """
        raise NotImplementedError(f"{type(self).__name__} must define make(self, **settings)")

    # -- what the tests share --------------------------------------------------------------------------------

    def _begin(self, space: Space | None = None, **arguments: Any) -> SampledStrategy:
        """Set up a new strategy for two objectives, if it takes so many."""
        arguments.setdefault("objectives", min(2, max(self.objectives)))
        return self.make().setup(_conditional() if space is None else space, **arguments)

    # -- proposals -------------------------------------------------------------------------------------------

    def test_proposals_are_genotypes_and_never_repeat(self) -> None:
        """Rows are well-formed, int32, and each is proposed once."""
        space = _conditional()
        x = _run(self._begin(space), [8] * 10)
        np.testing.assert_array_equal(space.check(x), x)
        assert x.dtype == np.int32
        assert len(np.unique(x, axis=0)) == len(x) == 80

    def test_a_space_that_runs_out_is_given_out_whole_and_then_nothing(self) -> None:
        """Every architecture of a small space is proposed once; after that, no row comes."""
        space = _conditional()
        strategy = self._begin(space, seed=1)
        x = _run(strategy, [7] * (space.size // 7 + 3))
        assert len(x) == space.size
        np.testing.assert_array_equal(np.unique(x, axis=0), space.enumerate())
        assert strategy.ask(3).shape == (0, len(space))

    def test_spaces_of_one_decision_and_of_one_architecture(self) -> None:
        """The smallest spaces are searched like all others."""
        for space in (
            Space({"a": Integer(0, 4)}),
            Space({"a": Categorical(["only"])}),
            Space(
                {"a": Categorical(["only"]), "b": Categorical("b"), "c": Categorical("c", when={"b": "b"})}
            ),
            Space({"a": Boolean(), "b": Categorical("uvw", when={"a": True})}),
        ):
            x = _run(self._begin(space), [1] * 4 + [5] * 2)
            np.testing.assert_array_equal(np.unique(x, axis=0), space.enumerate())
            assert len(x) == space.size

    def test_chains_of_conditions(self) -> None:
        """Decisions that switch each other on and off stay canonical to the last architecture."""
        names = "abcdef"
        space = Space(
            {name: Integer(0, 2, when={names[i - 1]: [1, 2]} if i else None) for i, name in enumerate(names)}
        )
        x = _run(self._begin(space), [10] * (space.size // 10 + 2))
        np.testing.assert_array_equal(np.unique(x, axis=0), space.enumerate())

    def test_huge_spaces(self) -> None:
        """Nothing is enumerated or counted in a space of 8^200 architectures."""
        space = Space({f"x{i}": Integer(0, 7) for i in range(200)})
        x = _run(self._begin(space), [10] * 6)
        np.testing.assert_array_equal(space.check(x), x)
        assert len(np.unique(x, axis=0)) == 60

    def test_every_number_of_objectives(self) -> None:
        """The strategy runs with as many objectives as it says it takes."""
        for m in self.objectives:
            x = _run(self._begin(objectives=m), [6] * 12)
            assert len(np.unique(x, axis=0)) == 72

    # -- reproducibility -------------------------------------------------------------------------------------

    def test_the_same_seed_gives_the_same_search(self) -> None:
        """Equal seeds and tells give equal proposals, another seed others."""
        first = _run(self._begin(seed=5), [4] * 12)
        np.testing.assert_array_equal(first, _run(self._begin(seed=5), [4] * 12))
        assert not np.array_equal(first, _run(self._begin(seed=6), [4] * 12)), "the seed changes nothing"

    def test_global_random_state_is_neither_read_nor_changed(self) -> None:
        """Randomness comes from the seed alone."""
        np.random.seed(1)  # noqa: NPY002
        before = np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
        first = _run(self._begin(), [4] * 10)
        assert np.random.get_state()[1].tolist() == before  # type: ignore[index]  # noqa: NPY002
        np.random.seed(2)  # noqa: NPY002
        np.testing.assert_array_equal(_run(self._begin(), [4] * 10), first)

    def test_setup_forgets_the_run_before(self) -> None:
        """A second run of one object equals its first."""
        strategy = self._begin(seed=5)
        first = _run(strategy, [4] * 12)
        again = strategy.setup(strategy.space, objectives=strategy.objectives, seed=5)
        np.testing.assert_array_equal(_run(again, [4] * 12), first)

    def test_asking_for_many_is_asking_many_times(self) -> None:
        """Ask and tell may be cut into pieces as one likes."""
        for space in (_conditional(), _limited()):
            whole, single = self._begin(space, seed=2), self._begin(space, seed=2)
            for _ in range(9):
                x = whole.ask(11)
                np.testing.assert_array_equal(x, np.concatenate([single.ask(1) for _ in range(11)]))
                losses = _losses(x, whole.objectives)
                over, failed = (x[:, 0] == 2) * 1.5, x[:, 1] == 1
                whole.tell(x, losses, violations=over, failed=failed)
                for i in range(len(x)):
                    part = slice(i, i + 1)
                    single.tell(x[part], losses[part], violations=over[part], failed=failed[part])

    def test_what_it_proposes_ahead_does_not_depend_on_results(self) -> None:
        """As many as `ahead` says come out the same, whether results are told between them or not."""
        for space in (_conditional(), _limited()):
            at_once, in_turn = self._begin(space, seed=4), self._begin(space, seed=4)
            for _ in range(12):
                n = min(at_once.ahead, 10)
                x = at_once.ask(n)
                for row in x:
                    np.testing.assert_array_equal(in_turn.ask(1), row[None])
                    in_turn.tell(row[None], _losses(row[None], in_turn.objectives))
                at_once.tell(x, _losses(x, at_once.objectives))

    def test_a_run_can_be_copied(self) -> None:
        """A copy goes on exactly as the original, with results that were still out."""
        strategy = self._begin(seed=7)
        _run(strategy, [8] * 3)
        out = strategy.ask(5)
        twin = copy.deepcopy(strategy)
        for one in (strategy, twin):
            one.tell(out, _losses(out, one.objectives))
        np.testing.assert_array_equal(_run(strategy, [8] * 4), _run(twin, [8] * 4))

    def test_a_jump_is_as_good_as_the_same_calls(self) -> None:
        """A fresh strategy that takes over position, proposals and results goes on as the other one does."""
        for space in (_conditional(), _limited()):
            strategy = self._begin(space, seed=8)
            if strategy.position is None:
                return
            asked: list[Genotypes] = []
            told = 0
            for n in (3, 1, 8, 8, 1, 1, 8, 8):  # two of the latest results are always out
                asked += list(strategy.ask(n))
                before, position = told, strategy.position
                x = np.array(asked[told : len(asked) - 2])
                told += len(x)
                if len(x):
                    strategy.tell(x, _losses(x, strategy.objectives), violations=(x[:, 0] == 2) * 1.5)
            twin = self._begin(space, seed=8)
            x = np.array(asked)
            losses, over = _losses(x, twin.objectives), (x[:, 0] == 2) * 1.5
            twin.jump(position, x, x[:before], losses[:before], violations=over[:before])
            assert twin.position == position
            twin.tell(x[before:told], losses[before:told], violations=over[before:told])
            for one in (strategy, twin):
                one.tell(x[told:], losses[told:], violations=over[told:])
            np.testing.assert_array_equal(_run(strategy, [8] * 4), _run(twin, [8] * 4))

    def test_settings_make_an_equal_strategy(self) -> None:
        """Settings survive JSON, and are all that a strategy is made of."""
        strategy = self.make()
        settings = json.loads(json.dumps(strategy.settings))
        for again in (type(strategy)(**settings), strategy.fresh()):
            assert again is not strategy
            assert again.settings == strategy.settings
            again.setup(_conditional(), objectives=min(2, max(self.objectives)), seed=3)
            np.testing.assert_array_equal(_run(again, [5] * 8), _run(self._begin(seed=3), [5] * 8))

    # -- ask and tell in any order ---------------------------------------------------------------------------

    def test_ask_never_waits_for_results(self) -> None:
        """Proposals come with no result told, with some, and with those of the first never told."""
        strategy = self._begin()
        x = strategy.ask(25)
        strategy.tell(x[20:], _losses(x[20:], strategy.objectives))
        more = strategy.ask(25)
        strategy.tell(more[::-1], _losses(more[::-1], strategy.objectives))
        last = strategy.ask(25)
        assert len(np.unique(np.concatenate([x, more, last]), axis=0)) == 75

    def test_rows_that_were_never_asked_are_accepted_and_not_proposed(self) -> None:
        """The caller may tell architectures of its own, first or in between."""
        space = _conditional()
        strategy = self._begin(space)
        mine = np.unique(space.sample(12, seed=99), axis=0)
        for part in np.array_split(mine, 2):
            strategy.tell(part, _losses(part, strategy.objectives))
            strategy.tell(part, _losses(part, strategy.objectives))
            x = _run(strategy, [10] * 4)
            assert not (x[:, None] == part[None]).all(axis=2).any()

    def test_a_search_begun_with_the_callers_results(self) -> None:
        """Results alone are enough to propose from."""
        space = _conditional()
        strategy = self._begin(space)
        mine = space.enumerate()[::2]
        strategy.tell(mine, _losses(mine, strategy.objectives))
        x = _run(strategy, [9] * (space.size // 18 + 2))
        np.testing.assert_array_equal(np.unique(x, axis=0), space.enumerate()[1::2])

    def test_inputs_are_not_modified(self) -> None:
        """What is told stays as it is."""
        strategy = self._begin()
        x = strategy.ask(4)
        losses = _losses(x, strategy.objectives)
        violations, failed = np.array([-1.0, 0, 1, 2]), np.array([True, False, False, False])
        copies = [a.copy() for a in (x, losses, violations, failed)]
        strategy.tell(x, losses, violations=violations, failed=failed)
        for before, after in zip(copies, (x, losses, violations, failed), strict=True):
            np.testing.assert_array_equal(before, after)

    def test_the_callers_arrays_may_be_used_again(self) -> None:
        """Changing what was asked or told makes no difference to the strategy."""
        expected = _run(self._begin(), [6] * 10)
        strategy, found = self._begin(), []
        for _ in range(10):
            x = strategy.ask(6)
            found.append(x.copy())
            losses, violations, failed = _losses(x, strategy.objectives), np.zeros(6), np.zeros(6, bool)
            strategy.tell(x, losses, violations=violations, failed=failed)
            x[:], losses[:], violations[:], failed[:] = 0, 0.0, 9.0, True
        np.testing.assert_array_equal(np.concatenate(found), expected)

    # -- limits, failures, repeats ---------------------------------------------------------------------------

    def test_limits_and_constraints_filter_proposals(self) -> None:
        """Exactly what is within the limits and meets the constraints is proposed."""
        space = _limited()
        x = _run(self._begin(space, cost_violation=_over_twelve), [9] * 60)
        allowed = space.enumerate()
        allowed = allowed[allowed.sum(axis=1) <= 12]
        np.testing.assert_array_equal(np.unique(x, axis=0), allowed)
        assert len(x) == len(allowed)

    def test_nothing_within_the_limits_gives_nothing(self) -> None:
        """If no architecture is allowed, `ask` says so with no rows, in huge spaces too."""
        for space in (_conditional(), Space({f"x{i}": Integer(0, 9) for i in range(20)})):
            strategy = self._begin(space, cost_violation=lambda x: np.ones(len(x)))
            assert strategy.ask(5).shape == (0, len(space))

    def test_the_only_architecture_within_a_limit_is_found(self) -> None:
        """One in 50,000 is found, since so many can be enumerated."""
        space = Space({**{name: Integer(0, 9) for name in "abcd"}, "e": Integer(0, 4)})
        strategy = self._begin(space, cost_violation=lambda x: (x != [3, 1, 4, 1, 4]).any(axis=1) * 1.0)
        assert strategy.ask(3).tolist() == [[3, 1, 4, 1, 4]]

    def test_repeats_are_allowed_on_request(self) -> None:
        """``allow_repeats=True`` goes on after everything was proposed."""
        strategy = self.make(allow_repeats=True).setup(Space({"a": Boolean()}))
        x = _run(strategy, [5] * 4)
        assert x.shape == (20, 1)
        rare = Space({"a": Integer(0, 999)}, constraints=[lambda x: x[:, 0] == 700])
        strategy = self.make(allow_repeats=True).setup(rare)
        assert _run(strategy, [1] * 5).tolist() == [[700]] * 5

    def test_failures_and_nan_are_survived(self) -> None:
        """Runs go on through failures, also if nothing else comes."""
        strategy = self._begin()
        for flags in (np.arange(8) == 1, np.ones(8, bool)):
            for _ in range(4):
                x = strategy.ask(8)
                losses = _losses(x, strategy.objectives)
                losses[0] = np.nan
                strategy.tell(x, losses, violations=np.arange(8.0), failed=flags)
        assert len(strategy.ask(8)) == 8

    def test_the_losses_of_a_failure_mean_nothing(self) -> None:
        """NaN, a perfect loss and the worst are the same if the row failed; so is NaN without the flag."""

        def proposals(loss: float, violation: float, flagged: bool) -> Genotypes:
            strategy = self._begin(seed=4)
            found = []
            for _ in range(12):
                x = strategy.ask(6)
                found.append(x)
                failed = x[:, 0] >= 3
                losses = _losses(x, strategy.objectives)
                losses[failed] = loss
                over = np.where(failed, violation, 0.0)
                strategy.tell(x, losses, violations=over, failed=failed if flagged else None)
            return np.concatenate(found)

        expected = proposals(np.nan, 0.0, flagged=True)
        for loss, violation, flagged in ((-1e9, 0.0, True), (np.inf, np.nan, True), (np.nan, 0.0, False)):
            np.testing.assert_array_equal(proposals(loss, violation, flagged), expected)

    def test_a_negative_violation_is_none(self) -> None:
        """By how much an architecture is within the limits makes no difference."""
        strategies = self._begin(), self._begin()
        for _ in range(10):
            x, same = (strategy.ask(5) for strategy in strategies)
            np.testing.assert_array_equal(x, same)
            strategies[0].tell(x, _losses(x, strategies[0].objectives), violations=-1.0 - np.arange(5.0))
            strategies[1].tell(x, _losses(x, strategies[0].objectives))

    def test_better_losses_are_found(self) -> None:
        """Late proposals are better than random ones."""
        if self.learns:
            late = self._late(lambda x: (x.sum(axis=1), None, None))
            assert late.sum(axis=1).mean() < 9, "random architectures have 10 on average"

    def test_failures_lose_to_everything_that_finished(self) -> None:
        """Late proposals avoid a half of the space that fails."""
        if self.learns:
            late = self._late(lambda x: (-x[:, 1], None, x[:, 0] < 3))
            assert (late[:, 0] < 3).mean() < 0.45, "half of the random architectures fail"

    def test_infeasible_ones_lose_to_feasible_ones(self) -> None:
        """Late proposals keep out of a half that is over a limit, however good its losses are."""
        if self.learns:
            late = self._late(lambda x: (x[:, 0], (x[:, 0] < 3) * 1.0, None))
            assert (late[:, 0] < 3).mean() < 0.45, "half of the random architectures are over the limit"

    def test_the_smaller_violation_wins(self) -> None:
        """Where nothing is feasible, late proposals come nearer to the limit, however bad the losses."""
        if self.learns:
            late = self._late(lambda x: (-x.sum(axis=1), x.sum(axis=1) + 1.0, None))
            assert late.sum(axis=1).mean() < 9, "random architectures have 10 on average"

    def _late(self, evaluate: Callable[[Genotypes], tuple[Any, Any, Any]]) -> Genotypes:
        """Give the second half of what five short searches with one loss propose."""
        late = []
        for seed in range(5):
            strategy = self.make().setup(Space({name: Integer(0, 5) for name in "abcd"}), seed=seed)
            for i in range(100):
                x = strategy.ask(1)
                losses, violations, failed = evaluate(x)
                strategy.tell(x, np.asarray(losses, float), violations=violations, failed=failed)
                if i >= 50:
                    late.append(x)
        return np.concatenate(late)

    # -- bad calls -------------------------------------------------------------------------------------------

    def test_bad_calls_are_named(self) -> None:
        """What does not fit is refused with the name of the argument."""
        pytest = _pytest()
        for call, message in _BAD_CALLS:
            strategy = self._begin()
            x = strategy.ask(2)
            with pytest.raises(ValueError, match=message):
                call(strategy, x, _losses(x, strategy.objectives))

    def test_setup_comes_first(self) -> None:
        """Before `setup`, `ask` and `tell` say what is missing."""
        pytest = _pytest()
        with pytest.raises(RuntimeError, match="call setup"):
            self.make().ask(1)
        with pytest.raises(RuntimeError, match="call setup"):
            self.make().tell([[0]], [0.0])

    # -- whole searches --------------------------------------------------------------------------------------

    def test_search_never_returns_an_architecture_over_a_limit(self) -> None:
        """A limit on a cost keeps networks from being trained, one on a measurement from being best."""
        trained: list[Architecture] = []

        def train(architecture: Architecture) -> Mapping[str, float]:
            trained.append(architecture)
            return _metrics(architecture)

        for m in self.objectives:
            result = search(
                _plain(),
                train,
                strategy=self.make(),
                objectives=_directions(m),
                costs={"size": lambda x: x[:, 0]},
                limits={"size": 3, "f1": 12.0},
                initial=[{"a": 0, "b": 0, "c": 0}, {"a": 5, "b": 5, "c": 5}],
                evaluations=60,
            )
            assert len(result.trials) == 60
            assert any(trial.state == "infeasible" for trial in result.trials)
            assert result.best is not None
            for trial in (result.best, *result.pareto_front):
                assert trial.metrics["size"] <= 3
                assert trial.metrics["f1"] <= 12
        assert all(architecture.genotype[0] <= 3 for architecture in trained)

    def test_a_search_that_is_stopped_goes_on_as_if_it_never_had(self, tmp_path: pathlib.Path) -> None:
        """Stopped twice and resumed from its journal, a search has the trials of one that was not."""

        def stop(result: Result, trial: Trial) -> None:
            if len(result.trials) in (7, 33):
                raise StopSearch

        def go(name: str, callbacks: Sequence[Callable[[Result, Trial], None]]) -> Result:
            return search(
                _plain(),
                _metrics,
                strategy=self.make(),
                objectives=_directions(min(2, max(self.objectives))),
                limits={"f1": 12.0},
                evaluations=60,
                seed=3,
                journal=tmp_path / name,
                callbacks=callbacks,
            )

        whole = go("whole.db", [])
        for trials in (7, 33, 60):
            result = go("stopped.db", [stop])
            assert len(result.trials) == trials
        assert [t.architecture for t in result.trials] == [t.architecture for t in whole.trials]
        assert [t.metrics for t in result.trials] == [t.metrics for t in whole.trials]


def _pytest() -> Any:
    return require("pytest", "nasx.testing", "test")


def _conditional() -> Space:
    """Give a small space in which most decisions depend on others."""
    return Space(
        {
            "a": Integer(0, 5),
            "b": Categorical("pqrs"),
            "c": Integer(0, 3, when={"b": ["p", "q"]}),
            "d": Boolean(when={"c": [0, 1]}),
        }
    )


def _plain() -> Space:
    return Space({name: Integer(0, 5) for name in "abc"})


def _limited() -> Space:
    return Space({name: Integer(0, 9) for name in "abc"}, constraints=[lambda x: x[:, 0] >= x[:, 1]])


def _over_twelve(x: Genotypes) -> Floats:
    excess: Floats = x.sum(axis=1) - 12.0
    return excess


def _losses(x: Genotypes, objectives: int) -> Floats:
    """Conflicting losses that skip inactive decisions."""
    total = np.where(x >= 0, x, 0).sum(axis=1)
    columns = [total, np.abs(total - 9) + (x[:, 0] == 1), (x[:, 0] - 2) ** 2 + total % 3]
    return np.column_stack(columns[:objectives]).astype(np.float64)


def _run(strategy: SampledStrategy, sizes: Sequence[int]) -> Genotypes:
    """Ask and tell batches of the given sizes, and give everything that was asked."""
    asked = []
    for size in sizes:
        x = strategy.ask(size)
        asked.append(x)
        strategy.tell(x, _losses(x, strategy.objectives))
    return np.concatenate(asked)


def _directions(objectives: int) -> dict[str, Direction]:
    return {f"f{j}": "minimize" for j in range(1, objectives + 1)}


def _metrics(architecture: Architecture) -> Mapping[str, float]:
    values = _losses(architecture.genotype[None], 3)[0].tolist()
    return dict(zip(("f1", "f2", "f3"), values, strict=True))


_BAD_CALLS: list[tuple[Callable[[SampledStrategy, Genotypes, Floats], object], str]] = [
    (lambda s, x, y: s.ask(0), "n must be at least 1"),
    (lambda s, x, y: s.tell(x, [1.0]), r"losses must have shape \(2, "),
    (lambda s, x, y: s.tell(x[:, :3], y), "one column a decision"),
    (lambda s, x, y: s.tell(x, y, violations=[1.0]), r"violations must have shape \(2,\)"),
    (lambda s, x, y: s.tell(x, y, violations=[np.nan, 0.0]), "violations must not be NaN"),
    (lambda s, x, y: s.tell(x, y, failed=[1, 0]), "failed must be bool"),
    (lambda s, x, y: s.setup(s.space, objectives=0), "objectives must be at least 1"),
    (lambda s, x, y: s.setup(s.space, seed=-1), "seed must be"),
    (
        lambda s, x, y: s.setup(s.space, cost_violation=lambda x: np.zeros(1)).ask(2),
        "cost_violation must return",
    ),
]
