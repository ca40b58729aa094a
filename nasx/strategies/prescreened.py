"""`Prescreened`: a strategy proposes many, a score without training chooses which are evaluated."""

from __future__ import annotations

import dataclasses
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from nasx.errors import StopSearch
from nasx.space import Genotypes, Space
from nasx.strategies.base import CostViolation, Losses, SampledStrategy, Violations
from nasx.strategies.inner import make_inner

if TYPE_CHECKING:
    from nasx.tasks.base import TaskSpec

__all__ = ["Prescreened"]

ScoreFunction = Callable[[Genotypes], npt.ArrayLike]


@dataclasses.dataclass(kw_only=True, eq=False)
class Prescreened(SampledStrategy):
    """Evaluate only the best by proxy of what another strategy proposes.

    For each evaluation the inner strategy is asked for `factor` architectures, and the one that the proxy
    prefers is evaluated [1]_; of several proxies, the one that `nasx.proxies.aggregate` ranks first. The
    inner strategy learns from what was evaluated alone: the others are alternatives
    (`SampledStrategy.ask_alternatives`), which are withdrawn and never told; `TPE` goes on counting them
    among the worse ones, as all that has no result. Limits and constraints are applied before the proxies.
    When the inner strategy has nothing new left, the others follow, the best by proxy first, so that a small
    space is still given out whole.

    ``nasx.search(..., strategy=inner, prescreen=proxy)`` is short for this with a factor of 10.

    Parameters
    ----------
    inner : str, SampledStrategy or mapping, default "regularized_evolution"
        What proposes: a name, an instance, or a mapping of "name" and settings.
    proxy : str, nasx.proxies.Proxy, callable, or a list of them, default "synflow"
        Names of `nasx.proxies.available`, then computed on random inputs; a `Proxy`, with data of yours; or
        functions from genotypes ``(n, d)`` to scores ``(n,)``, such as those of a table. Higher is better for
        all of them; a list decides by all.
    factor : int, default 10
        Architectures proposed for each that is evaluated.
    allow_repeats : bool, default False
        Propose architectures that were already proposed or told; for noisy objectives.

    Raises
    ------
    ValueError
        If a setting is out of range, or `inner` allows repeats itself.

    Warns
    -----
    RuntimeWarning
        Once, if a proxy fails for all candidates of an evaluation, so that it chooses nothing. One that fails
        for some puts them last.

    Notes
    -----
    Proxies are computed in this process, between evaluations; a resumed search computes them again. A
    function is known to a journal by its name alone, as costs and constraints are.

    References
    ----------
    .. [1] M. S. Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021.

    Examples
    --------
    >>> from nasx import Integer, Prescreened, Space
    >>> space = Space({f"x{i}": Integer(0, 9) for i in range(4)})
    >>> strategy = Prescreened(inner="random_search", proxy=lambda x: -x[:, 0]).setup(space, seed=0)
    >>> bool(strategy.ask(20)[:, 0].mean() < 2)
    True
    """

    inner: str | SampledStrategy | Mapping[str, Any] = "regularized_evolution"
    proxy: Any = "synflow"
    factor: int = 10

    def __post_init__(self) -> None:
        self._check_integers(factor=1)
        self._make_inner()
        if not self._proxies():
            raise ValueError("proxy must be one proxy at least; got an empty list")

    def _make_inner(self) -> SampledStrategy:
        return make_inner(self.inner, why="give allow_repeats to Prescreened, which hands it on")

    def _proxies(self) -> list[Any]:
        """Costs and functions that the setting stands for."""
        single = isinstance(self.proxy, str | Mapping) or callable(self.proxy)
        if not single and not isinstance(self.proxy, Iterable):
            raise ValueError(f"proxy must be a name, a nasx.proxies.Proxy or a function; got {self.proxy!r}")
        return [_proxy(one) for one in ([self.proxy] if single else self.proxy)]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as JSON types; functions by their names, and data of proxies by their digests."""
        from nasx.registry import strategy_name

        inner = self._make_inner()
        described = [_described(one) for one in self._proxies()]
        return super().settings | {
            "inner": {"name": strategy_name(inner), **inner.settings},
            "proxy": described[0] if len(described) == 1 else described,
        }

    def setup(
        self,
        space: Space,
        *,
        objectives: int = 1,
        seed: int = 0,
        cost_violation: CostViolation | None = None,
        spec: TaskSpec | None = None,
    ) -> Self:
        """Begin a run; the state of an earlier one is dropped.

        Parameters
        ----------
        space, objectives, seed, cost_violation
            As for `SampledStrategy.setup`.
        spec : TaskSpec, optional
            What networks are for, where a proxy builds them and does not say so itself.

        Returns
        -------
        Prescreened
            The strategy itself.

        Raises
        ------
        ValueError
            If an argument is out of range, or a proxy needs a spec and there is none.
        TypeError
            If a proxy builds networks and the space cannot.
        """
        self._spec = spec
        return super().setup(space, objectives=objectives, seed=seed, cost_violation=cost_violation)

    def ask(self, n: int = 1) -> Genotypes:
        """Propose architectures, each the best by proxy of `factor`; see `SampledStrategy.ask`."""
        self._require_setup()
        if n < 1:
            raise ValueError(f"n must be at least 1; got {n}")
        found = [self._none()]
        while len(found) <= n and len(row := self._propose(1, 0)):
            found.append(row)
        self._asked += len(found) - 1
        return np.concatenate(found)

    @property
    def warmup(self) -> int:
        """The inner strategy's."""
        return self._inner.warmup

    def portion(self, n: int) -> int:
        """Say how many of `n` to ask for, as the inner strategy does; see `SampledStrategy.portion`."""
        return self._inner.portion(n)

    def _start(self) -> None:
        self._inner = self._make_inner()
        self._inner.allow_repeats = self.allow_repeats
        self._inner.setup(
            self.space, objectives=self.objectives, seed=self.seed, cost_violation=self._cost_violation
        )
        self._bound: list[ScoreFunction] = [
            one.bind(self.space, self._spec) if hasattr(one, "bind") and _unbound(one) else one
            for one in self._proxies()
        ]
        self._spare: list[tuple[Genotypes, npt.NDArray[np.float64]]] = []  # not chosen, with their scores
        self._queue: deque[Genotypes] | None = None  # of those, once there is nothing else
        self._warned = False

    def _propose(self, n: int, first: int) -> Genotypes:
        """Give the next architecture; no row if nothing is left."""
        pool = self._inner.ask_alternatives(self.factor) if self._queue is None else self._none()
        if not len(pool):
            return self._left_over()
        best = 0
        if self._limited:  # they came one by one; all at once, a function of limits of a wrong shape shows
            self._within_limits(pool)
        if len(pool) > 1:
            scores = self._scores(pool)
            best = int(_joined(scores).argmax())
            others = np.arange(len(pool)) != best
            self._inner.withdraw(pool[others])
            if not self.allow_repeats:
                self._spare.append((pool[others], scores[:, others]))
        chosen: Genotypes = pool[best : best + 1]
        self._seen.insert(chosen)
        return chosen

    def _left_over(self) -> Genotypes:
        """Give the best by proxy of what was not chosen and is still new."""
        if self._queue is None:
            self._queue = deque()
            if self._spare:
                order = (-_joined(np.concatenate([scores for _, scores in self._spare], axis=1))).argsort(
                    kind="stable"
                )
                self._queue.extend(np.concatenate([rows for rows, _ in self._spare])[order])
            self._spare = []
        while self._queue:
            row = self._queue.popleft()[None]
            if self._seen.insert(row)[0]:
                return row
        return self._none()

    def _observe(self, x: Genotypes, losses: Losses, violations: Violations) -> None:
        self._inner.tell(x, losses, violations=violations, failed=np.isinf(violations))

    # -- proxies ---------------------------------------------------------------------------------------------

    def _scores(self, rows: Genotypes) -> npt.NDArray[np.float64]:
        """Scores by each proxy, shape (proxies, n); minus infinity where one fails."""
        return np.array([self._scores_by(proxy, rows) for proxy in self._bound])

    def _scores_by(self, proxy: ScoreFunction, rows: Genotypes) -> npt.NDArray[np.float64]:
        values, error = _values(proxy, rows)
        failed = np.isnan(values)
        if failed.all() and not self._warned:
            self._warned = True
            instead = "the other proxies choose"
            if len(self._bound) == 1:
                instead = "nothing is prescreened, the first candidate is evaluated"
            warnings.warn(
                f"proxy {_name(proxy)} failed for all {len(rows)} candidates: {error or 'all are NaN'}. "
                f"Where all fail, {instead}, and it is not said again; to prescreen, give another proxy",
                RuntimeWarning,
                stacklevel=2,
            )
        return np.where(failed, -np.inf, values)


def _values(proxy: ScoreFunction, rows: Genotypes) -> tuple[npt.NDArray[np.float64], Exception | None]:
    """Scores by a proxy, NaN where it fails, and an error that it raised."""
    try:
        values = np.asarray(proxy(rows.copy()), np.float64)
    except StopSearch:
        raise
    except Exception as error:  # whatever a proxy has to say against a network
        if len(rows) == 1:
            return np.array([np.nan]), error
        # Find out which ones it is.
        return np.concatenate([_values(proxy, row[None])[0] for row in rows]), error
    if values.shape != (len(rows),):
        raise ValueError(f"proxy {_name(proxy)} must return shape ({len(rows)},); got {values.shape}")
    return values, None


def _joined(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """One number for each column of scores."""
    from nasx.proxies import aggregate

    return (
        scores[0]
        if len(scores) == 1
        else aggregate(dict(zip(map(str, range(len(scores))), scores, strict=True)))
    )


def _proxy(one: Any) -> Any:
    if isinstance(one, str):
        one = {"name": one}
    if not isinstance(one, Mapping):
        if not callable(one):
            raise ValueError(f"proxy must be a name, a nasx.proxies.Proxy or a function; got {one!r}")
        return one
    if "function" in one:
        raise ValueError(
            f"proxy {one['function']!r} is a function, which settings do not hold: give it again"
        )
    from nasx.proxies import Proxy

    return Proxy(**one)


def _described(one: Any) -> Any:
    settings = getattr(one, "settings", None)
    if isinstance(settings, dict) and "name" in settings:
        return settings
    return {"function": _name(one)}


def _name(one: Any) -> str:
    return str(getattr(one, "name", None) or getattr(one, "__qualname__", type(one).__qualname__))


def _unbound(one: Any) -> bool:
    """Whether a cost has no space yet."""
    return getattr(one, "_space", None) is None
