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

    def spaces(self) -> tuple[Space, ...]:
        """Give the spaces that most tests search; those of a method for other spaces are overridden.

        Returns
        -------
        tuple of Space
            By default one with conditions, one with a constraint, and one in which several genotypes are one
            network.
        """
        return _conditional(), _limited(), _Unordered()

    def learnable(self) -> Space:
        """Give a space in which there is something to learn from a hundred results.

        Returns
        -------
        Space
            With at least four `numbers` in 0..5, which sum up to 10 on average.
        """
        return Space({name: Integer(0, 5) for name in "abcd"})

    def numbers(self, x: Any) -> npt.NDArray[np.int32]:
        """Give the numbers that the tests' losses are made of.

        Parameters
        ----------
        x : ndarray of int32, shape (n, d)
            Genotypes, in whichever form the space has them.

        Returns
        -------
        ndarray of int32, shape (n, k)
            By default the genotypes themselves.
        """
        numbers: npt.NDArray[np.int32] = x
        return numbers

    # -- what the tests share --------------------------------------------------------------------------------

    def _begin(self, space: Space | None = None, **arguments: Any) -> SampledStrategy:
        """Set up a new strategy for two objectives, if it takes so many."""
        arguments.setdefault("objectives", min(2, max(self.objectives)))
        return self.make().setup(self.spaces()[0] if space is None else space, **arguments)

    def _losses(self, x: Any, objectives: int) -> Floats:
        return _losses(self.numbers(x), objectives)

    def _metrics(self, architecture: Architecture) -> Mapping[str, float]:
        row = architecture.space.stack([architecture.genotype])
        return dict(zip(("f1", "f2", "f3"), self._losses(row, 3)[0].tolist(), strict=True))

    def _run(self, strategy: SampledStrategy, sizes: Sequence[int]) -> Genotypes:
        """Ask and tell batches of the given sizes, and give everything that was asked."""
        asked = []
        for size in sizes:
            x = strategy.ask(size)
            asked.append(x)
            strategy.tell(x, self._losses(x, strategy.objectives))
        return strategy.space.join(asked)

    # -- proposals -------------------------------------------------------------------------------------------

    def test_proposals_are_genotypes_and_never_repeat(self) -> None:
        """Rows are well-formed, int32, and each is proposed once."""
        space = self.spaces()[0]
        x = self._run(self._begin(space), [8] * 10)
        assert _same(space.check(x), x)
        assert space.join([x]).__class__ is x.__class__
        assert _distinct(space, x) == len(x) == 80

    def test_a_space_that_runs_out_is_given_out_whole_and_then_nothing(self) -> None:
        """Every architecture of a small space is proposed once; after that, no row comes."""
        space = _conditional()
        strategy = self._begin(space, seed=1)
        x = self._run(strategy, [7] * (space.size // 7 + 3))
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
            x = self._run(self._begin(space), [1] * 4 + [5] * 2)
            np.testing.assert_array_equal(np.unique(x, axis=0), space.enumerate())
            assert len(x) == space.size

    def test_chains_of_conditions(self) -> None:
        """Decisions that switch each other on and off stay canonical to the last architecture."""
        names = "abcdef"
        space = Space(
            {name: Integer(0, 2, when={names[i - 1]: [1, 2]} if i else None) for i, name in enumerate(names)}
        )
        x = self._run(self._begin(space), [10] * (space.size // 10 + 2))
        np.testing.assert_array_equal(np.unique(x, axis=0), space.enumerate())

    def test_huge_spaces(self) -> None:
        """Nothing is enumerated or counted in a space of 8^200 architectures."""
        space = Space({f"x{i}": Integer(0, 7) for i in range(200)})
        x = self._run(self._begin(space), [10] * 6)
        np.testing.assert_array_equal(space.check(x), x)
        assert len(np.unique(x, axis=0)) == 60

    def test_every_number_of_objectives(self) -> None:
        """The strategy runs with as many objectives as it says it takes."""
        for m in self.objectives:
            x = self._run(self._begin(objectives=m), [6] * 12)
            assert _distinct(self.spaces()[0], x) == 72

    # -- reproducibility -------------------------------------------------------------------------------------

    def test_the_same_seed_gives_the_same_search(self) -> None:
        """Equal seeds and tells give equal proposals, another seed others."""
        first = self._run(self._begin(seed=5), [4] * 12)
        assert _same(first, self._run(self._begin(seed=5), [4] * 12))
        assert not _same(first, self._run(self._begin(seed=6), [4] * 12)), "the seed changes nothing"

    def test_global_random_state_is_neither_read_nor_changed(self) -> None:
        """Randomness comes from the seed alone."""
        np.random.seed(1)  # noqa: NPY002
        before = np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
        first = self._run(self._begin(), [4] * 10)
        assert np.random.get_state()[1].tolist() == before  # type: ignore[index]  # noqa: NPY002
        np.random.seed(2)  # noqa: NPY002
        assert _same(self._run(self._begin(), [4] * 10), first)

    def test_setup_forgets_the_run_before(self) -> None:
        """A second run of one object equals its first."""
        strategy = self._begin(seed=5)
        first = self._run(strategy, [4] * 12)
        again = strategy.setup(strategy.space, objectives=strategy.objectives, seed=5)
        assert _same(self._run(again, [4] * 12), first)

    def test_asking_for_many_is_asking_many_times(self) -> None:
        """Ask and tell may be cut into pieces as one likes."""
        for space in self.spaces():
            whole, single = self._begin(space, seed=2), self._begin(space, seed=2)
            for _ in range(9):
                x = whole.ask(11)
                assert _same(x, space.join([single.ask(1) for _ in range(11)]))
                losses, numbers = self._losses(x, whole.objectives), self.numbers(x)
                over, failed = (numbers[:, 0] == 2) * 1.5, numbers[:, 1] == 1
                whole.tell(x, losses, violations=over, failed=failed)
                for i in range(len(x)):
                    part = slice(i, i + 1)
                    single.tell(x[part], losses[part], violations=over[part], failed=failed[part])

    def test_what_it_proposes_ahead_does_not_depend_on_results(self) -> None:
        """As many as `ahead` says come out the same, whether results are told between them or not."""
        for space in self.spaces():
            at_once, in_turn = self._begin(space, seed=4), self._begin(space, seed=4)
            for _ in range(12):
                n = min(at_once.ahead, 10)
                x = at_once.ask(n)
                for i in range(len(x)):
                    row = in_turn.ask(1)
                    assert _same(row, x[i : i + 1])
                    in_turn.tell(row, self._losses(row, in_turn.objectives))
                at_once.tell(x, self._losses(x, at_once.objectives))

    def test_a_run_can_be_copied(self) -> None:
        """A copy goes on exactly as the original, with results that were still out."""
        strategy = self._begin(seed=7)
        self._run(strategy, [8] * 3)
        out = strategy.ask(5)
        twin = copy.deepcopy(strategy)
        for one in (strategy, twin):
            one.tell(out, self._losses(out, one.objectives))
        assert _same(self._run(strategy, [8] * 4), self._run(twin, [8] * 4))

    def test_a_jump_is_as_good_as_the_same_calls(self) -> None:
        """A fresh strategy that takes over position, proposals and results goes on as the other one does."""
        for space in self.spaces():
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
                    strategy.tell(x, self._losses(x, strategy.objectives), violations=(x[:, 0] == 2) * 1.5)
            twin = self._begin(space, seed=8)
            x = np.array(asked)
            losses, over = self._losses(x, twin.objectives), (x[:, 0] == 2) * 1.5
            twin.jump(position, x, x[:before], losses[:before], violations=over[:before])
            assert twin.position == position
            twin.tell(x[before:told], losses[before:told], violations=over[before:told])
            for one in (strategy, twin):
                one.tell(x[told:], losses[told:], violations=over[told:])
            np.testing.assert_array_equal(self._run(strategy, [8] * 4), self._run(twin, [8] * 4))

    def test_settings_make_an_equal_strategy(self) -> None:
        """Settings survive JSON, and are all that a strategy is made of."""
        strategy = self.make()
        settings = json.loads(json.dumps(strategy.settings))
        for again in (type(strategy)(**settings), strategy.fresh()):
            assert again is not strategy
            assert again.settings == strategy.settings
            again.setup(self.spaces()[0], objectives=min(2, max(self.objectives)), seed=3)
            assert _same(self._run(again, [5] * 8), self._run(self._begin(seed=3), [5] * 8))

    # -- ask and tell in any order ---------------------------------------------------------------------------

    def test_ask_never_waits_for_results(self) -> None:
        """Proposals come with no result told, with some, and with those of the first never told."""
        strategy = self._begin()
        x = strategy.ask(25)
        strategy.tell(x[20:], self._losses(x[20:], strategy.objectives))
        more = strategy.ask(25)
        strategy.tell(more[::-1], self._losses(more[::-1], strategy.objectives))
        last = strategy.ask(25)
        space = strategy.space
        assert _distinct(space, space.join([x, more, last])) == 75

    def test_rows_that_were_never_asked_are_accepted_and_not_proposed(self) -> None:
        """The caller may tell architectures of its own, first or in between."""
        space = self.spaces()[0]
        strategy = self._begin(space)
        mine = space.sample(12, seed=99)
        for part in (mine[:6], mine[6:]):
            strategy.tell(part, self._losses(part, strategy.objectives))
            strategy.tell(part, self._losses(part, strategy.objectives))
            x = self._run(strategy, [10] * 4)
            assert _distinct(space, space.join([x, part])) == len(x) + _distinct(space, part)

    def test_a_search_begun_with_the_callers_results(self) -> None:
        """Results alone are enough to propose from."""
        space = _conditional()
        strategy = self._begin(space)
        mine = space.enumerate()[::2]
        strategy.tell(mine, self._losses(mine, strategy.objectives))
        x = self._run(strategy, [9] * (space.size // 18 + 2))
        np.testing.assert_array_equal(np.unique(x, axis=0), space.enumerate()[1::2])

    def test_inputs_are_not_modified(self) -> None:
        """What is told stays as it is."""
        strategy = self._begin()
        x = strategy.ask(4)
        losses = self._losses(x, strategy.objectives)
        violations, failed = np.array([-1.0, 0, 1, 2]), np.array([True, False, False, False])
        copies = [copy.deepcopy(a) for a in (x, losses, violations, failed)]
        strategy.tell(x, losses, violations=violations, failed=failed)
        for before, after in zip(copies, (x, losses, violations, failed), strict=True):
            assert _same(before, after)

    def test_the_callers_arrays_may_be_used_again(self) -> None:
        """Changing what was asked or told makes no difference to the strategy."""
        expected = self._run(self._begin(), [6] * 10)
        strategy, found = self._begin(), []
        for _ in range(10):
            x = strategy.ask(6)
            found.append(x.copy())
            losses, violations, failed = self._losses(x, strategy.objectives), np.zeros(6), np.zeros(6, bool)
            strategy.tell(x, losses, violations=violations, failed=failed)
            x[:], losses[:], violations[:], failed[:] = 0, 0.0, 9.0, True
        np.testing.assert_array_equal(np.concatenate(found), expected)

    # -- limits, failures, repeats ---------------------------------------------------------------------------

    def test_limits_and_constraints_filter_proposals(self) -> None:
        """Exactly what is within the limits and meets the constraints is proposed."""
        space = _limited()
        x = self._run(self._begin(space, cost_violation=_over_twelve), [9] * 60)
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
        x = self._run(strategy, [5] * 4)
        assert x.shape == (20, 1)
        rare = Space({"a": Integer(0, 999)}, constraints=[lambda x: x[:, 0] == 700])
        strategy = self.make(allow_repeats=True).setup(rare)
        assert self._run(strategy, [1] * 5).tolist() == [[700]] * 5

    def test_failures_and_nan_are_survived(self) -> None:
        """Runs go on through failures, also if nothing else comes."""
        strategy = self._begin()
        for flags in (np.arange(8) == 1, np.ones(8, bool)):
            for _ in range(4):
                x = strategy.ask(8)
                losses = self._losses(x, strategy.objectives)
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
                failed = self.numbers(x)[:, 0] >= 3
                losses = self._losses(x, strategy.objectives)
                losses[failed] = loss
                over = np.where(failed, violation, 0.0)
                strategy.tell(x, losses, violations=over, failed=failed if flagged else None)
            return strategy.space.join(found)

        expected = proposals(np.nan, 0.0, flagged=True)
        for loss, violation, flagged in ((-1e9, 0.0, True), (np.inf, np.nan, True), (np.nan, 0.0, False)):
            assert _same(proposals(loss, violation, flagged), expected)

    def test_a_negative_violation_is_none(self) -> None:
        """By how much an architecture is within the limits makes no difference."""
        strategies = self._begin(), self._begin()
        for _ in range(10):
            x, same = (strategy.ask(5) for strategy in strategies)
            assert _same(x, same)
            strategies[0].tell(x, self._losses(x, strategies[0].objectives), violations=-1.0 - np.arange(5.0))
            strategies[1].tell(x, self._losses(x, strategies[0].objectives))

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
            strategy = self.make().setup(self.learnable(), seed=seed)
            for i in range(100):
                x = strategy.ask(1)
                numbers = self.numbers(x)
                losses, violations, failed = evaluate(numbers)
                strategy.tell(x, np.asarray(losses, float), violations=violations, failed=failed)
                if i >= 50:
                    late.append(numbers)
        return np.concatenate(late)

    # -- bad calls -------------------------------------------------------------------------------------------

    def test_bad_calls_are_named(self) -> None:
        """What does not fit is refused with the name of the argument."""
        pytest = _pytest()
        for call, message in _BAD_CALLS:
            strategy = self._begin()
            x = strategy.ask(2)
            with pytest.raises(ValueError, match=message):
                call(strategy, x, self._losses(x, strategy.objectives))

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
            return self._metrics(architecture)

        space = self.learnable()
        some = space.sample(30)
        sizes = self.numbers(some)[:, 0]
        ends = [space.decode(some[int(i)]) for i in (sizes.argmin(), sizes.argmax())]
        for m in self.objectives:
            result = search(
                space,
                train,
                strategy=self.make(),
                objectives=_directions(m),
                costs={"size": lambda x: self.numbers(x)[:, 0]},
                limits={"size": 3, "f1": 12.0},
                initial=ends,
                evaluations=60,
            )
            assert len(result.trials) == 60
            assert any(trial.state == "infeasible" for trial in result.trials)
            assert result.best is not None
            for trial in (result.best, *result.pareto_front):
                assert trial.metrics["size"] <= 3
                assert trial.metrics["f1"] <= 12
        assert (self.numbers(space.stack([one.genotype for one in trained]))[:, 0] <= 3).all()

    def test_a_search_that_is_stopped_goes_on_as_if_it_never_had(self, tmp_path: pathlib.Path) -> None:
        """Stopped twice and resumed from its journal, a search has the trials of one that was not."""

        def stop(result: Result, trial: Trial) -> None:
            if len(result.trials) in (7, 33):
                raise StopSearch

        def go(name: str, callbacks: Sequence[Callable[[Result, Trial], None]]) -> Result:
            return search(
                self.learnable(),
                self._metrics,
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


def _same(a: Any, b: Any) -> bool:
    """Whether two arrays, or batches of genotypes of any form, are the same."""
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return bool(a == b)


def _distinct(space: Space, x: Any) -> int:
    """Count different genotypes."""
    return len({space.to_bytes(x[i : i + 1]) for i in range(len(x))})


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


def _limited() -> Space:
    return Space({name: Integer(0, 9) for name in "abc"}, constraints=[lambda x: x[:, 0] >= x[:, 1]])


class _Unordered(Space):
    """Four numbers whose order does not matter."""

    canonical = True

    def __init__(self) -> None:
        super().__init__({name: Integer(0, 5) for name in "abcd"})

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    def canonicalize(self, genotypes: Genotypes) -> Genotypes:
        return np.sort(genotypes, axis=1)


def _over_twelve(x: Genotypes) -> Floats:
    excess: Floats = x.sum(axis=1) - 12.0
    return excess


def _losses(x: Genotypes, objectives: int) -> Floats:
    """Conflicting losses that skip inactive decisions."""
    total = np.where(x >= 0, x, 0).sum(axis=1)
    columns = [total, np.abs(total - 9) + (x[:, 0] == 1), (x[:, 0] - 2) ** 2 + total % 3]
    return np.column_stack(columns[:objectives]).astype(np.float64)


def _directions(objectives: int) -> dict[str, Direction]:
    return {f"f{j}": "minimize" for j in range(1, objectives + 1)}


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
