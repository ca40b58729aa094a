"""NEAT: networks whose structure and weights evolve from nothing, in species that protect what is new."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from nasx._core import neat as _neat
from nasx.space import Space
from nasx.spaces.networks import Networks
from nasx.spaces.topology import Topology
from nasx.strategies.base import CostViolation, Losses, SampledStrategy, Violations, check_setup, settle

__all__ = ["NEAT", "Species"]

# So many proposals in a row over a limit on costs, and there seems to be nothing within it.
_PATIENCE = 4096


class Species(NamedTuple):
    """A species of the last complete generation."""

    number: int
    """Counted from 0 in the order of their origin."""
    members: list[int]
    """Places in the population, the best first."""
    created: int
    """The generation that it appeared in."""
    improved: int
    """The generation of its best result so far."""


@dataclasses.dataclass(kw_only=True, eq=False)
class NEAT(SampledStrategy):
    """Evolve networks, structure and weights together, from the smallest up.

    It searches a `nasx.spaces.Topology`. The first generation has no hidden nodes; mutations change weights,
    split connections by new nodes and add connections. Every new gene gets an innovation number, by which
    genes are matched in crossover and in a distance between genomes. By that distance the population falls
    into species, whose members share their fitness, so that a new structure has time to be tuned before it
    competes with all others.

    Fitness is the negated loss, as the paper's is maximised; where losses are positive, it is what they are
    below the worst of the generation. Violations decide first, failures lose to everything that finished,
    and several objectives count by non-dominated fronts and crowding distances.

    A generation is complete when `population_size` networks have been told. `ask` never waits: asked for more
    than a generation while results are out, it breeds further children from the last complete one. To get
    generations as the paper has them, ask for `ahead`, or let ``nasx.search(..., vectorized=True,
    batch_size=population_size)`` do it.

    Parameters
    ----------
    population_size : int, default 150
        Networks in a generation, at least 2.
    weight_mutation : float, default 0.8
        Probability that the weights of a child are changed; those of one that gets new genes stay.
    weight_perturbation : float, default 0.9
        Probability that a weight is then moved, by up to `weight_power`; otherwise it is drawn anew.
    weight_power : float, default 2.5
        Weights are moved by a uniform number in -power..power. The paper does not say how far; its authors'
        program has 2.5.
    weight_range : float, default 2.5
        New weights are uniform in -range..range.
    weight_limit : float, default 8.0
        Weights stay in -limit..limit, as in the authors' program.
    add_node : float, default 0.03
        Probability that a connection of a child is split by a new node: none from the bias, and in a network
        of fewer than 15 the older ones first, as in the authors' program.
    add_connection : float, default 0.05
        Probability that two nodes of a child are joined that were not; the paper has 0.3 for large
        populations.
    toggle_connection : float, default 0.0
        Probability that a connection of a child is enabled or disabled.
    activation_mutation, aggregation_mutation : float, default 0.1
        Probability that a node of a child gets another one, if the topology has several.
    mutation_only : float, default 0.25
        Share of the children with one parent.
    interspecies_mating : float, default 0.001
        Probability that the parents of a child are of different species.
    averaging_crossover : float, default 0.0
        Probability that matching weights are the mean of the parents' instead of either's.
    keep_disabled : float, default 0.75
        Probability that a connection is disabled that is so in either parent.
    excess_coefficient, disjoint_coefficient, weight_coefficient : float, default 1.0, 1.0, 0.4
        The distance is c1 E / N + c2 D / N + c3 W: E excess and D disjoint genes, N genes of the larger
        genome, W the mean difference of matching weights.
    small_genome : int, default 20
        N is 1 where both genomes have fewer genes.
    compatibility_threshold : float, default 3.0
        Networks nearer to the species' representative are of its species.
    target_species : int, optional
        Adjust the threshold by `threshold_step` after each generation towards so many species.
    threshold_step : float, default 0.3
        By how much.
    survival : float, default 0.2
        Share of a species, the best, that may have children.
    champion_from : int, default 6
        A species of so many keeps its best network unchanged.
    stagnation : int, default 15
        A species without improvement for more generations has no children.
    population_stagnation : int, default 20
        If nothing has improved for more generations, only the two best species have children.
    protected_species : int, default 0
        So many of the best species have children in spite of their stagnation; none in the paper.
    allow_repeats : bool, default False
        Evaluate copies again, of champions for instance, as the paper does; for noisy objectives. Otherwise a
        network that equals one of the generation before enters its own with the known result.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    K. O. Stanley, R. Miikkulainen, "Evolving neural networks through augmenting topologies", Evolutionary
    Computation 10 (2002).

    Examples
    --------
    >>> from nasx import NEAT
    >>> from nasx.spaces import Topology
    >>> x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0], [1], [1], [0]])
    >>> strategy = NEAT().setup(Topology(inputs=2, outputs=1), seed=0)
    >>> best = 4.0
    >>> while best > 0.5 and strategy.generation < 100:
    ...     networks = strategy.ask(strategy.ahead)
    ...     errors = np.abs(networks(x) - y)
    ...     strategy.tell(networks, -((4 - errors.sum(axis=(1, 2))) ** 2))
    ...     best = errors.max(axis=(1, 2)).min()
    >>> bool(best <= 0.5)
    True
    """

    population_size: int = 150
    weight_mutation: float = 0.8
    weight_perturbation: float = 0.9
    weight_power: float = 2.5
    weight_range: float = 2.5
    weight_limit: float = 8.0
    add_node: float = 0.03
    add_connection: float = 0.05
    toggle_connection: float = 0.0
    activation_mutation: float = 0.1
    aggregation_mutation: float = 0.1
    mutation_only: float = 0.25
    interspecies_mating: float = 0.001
    averaging_crossover: float = 0.0
    keep_disabled: float = 0.75
    excess_coefficient: float = 1.0
    disjoint_coefficient: float = 1.0
    weight_coefficient: float = 0.4
    small_genome: int = 20
    compatibility_threshold: float = 3.0
    target_species: int | None = None
    threshold_step: float = 0.3
    survival: float = 0.2
    champion_from: int = 6
    stagnation: int = 15
    population_stagnation: int = 20
    protected_species: int = 0

    def __post_init__(self) -> None:
        self._check_integers(
            population_size=2,
            small_genome=0,
            champion_from=1,
            stagnation=1,
            population_stagnation=1,
            protected_species=0,
        )
        if self.target_species is not None:
            self._check_integers(target_species=1)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "float" and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise ValueError(f"{field.name} must be a number; got {value!r}")
        _neat.check_settings(self._native_settings(1.0))

    def _native_settings(self, initial_connections: float) -> dict[str, Any]:
        return self.settings | {
            "initial_connections": initial_connections,
            "target_species": self.target_species or 0,
        }

    def setup(
        self, space: Space, *, objectives: int = 1, seed: int = 0, cost_violation: CostViolation | None = None
    ) -> Self:
        """Begin a run; the state of an earlier one is dropped.

        Parameters
        ----------
        space : Topology
            What networks have in common.
        objectives : int, default 1
            Number of losses told for each network.
        seed : int, default 0
            Same seed and same tells, same proposals.
        cost_violation : callable, optional
            Maps `Networks` to float64 ``(n,)``: how far each is over the limits on costs, 0 or less where it
            is within them. Only networks within them are proposed.

        Returns
        -------
        NEAT
            The strategy itself.

        Raises
        ------
        ValueError
            If `objectives` or `seed` is out of range, or the space is another one.
        """
        check_setup(objectives, seed)
        if not isinstance(space, Topology):
            raise ValueError(
                f"space: NEAT evolves networks of a nasx.spaces.Topology; got {type(space).__name__}, whose "
                "decisions other strategies search"
            )
        self.space: Topology = space
        self.objectives, self.seed = objectives, seed
        self._cost_violation = cost_violation
        self._rejected = 0
        self._start()
        return self

    def ask(self, n: int = 1) -> Networks:  # type: ignore[override]  # genotypes of a Topology
        """Propose networks; never waits for results that are still out.

        Parameters
        ----------
        n : int, default 1
            How many.

        Returns
        -------
        Networks
            At most `n`. Fewer mean that nothing else is left within the limits.

        Raises
        ------
        ValueError
            If `n` is less than 1.
        RuntimeError
            If `setup` was not called.
        """
        self._require_setup()
        if n < 1:
            raise ValueError(f"n must be at least 1; got {n}")
        if self._cost_violation is None:
            return self._propose(n, 0)
        found: list[Networks] = []
        missing = n
        while missing and self._rejected < _PATIENCE:
            networks = self._propose(min(missing, _PATIENCE - self._rejected), 0)
            if not len(networks):
                break
            violation = np.asarray(self._cost_violation(networks), np.float64)  # type: ignore[arg-type]
            if violation.shape != (len(networks),):
                raise ValueError(
                    f"cost_violation must return shape ({len(networks)},); got {violation.shape}"
                )
            within = violation <= 0
            if within.all():
                self._rejected = 0
            else:
                self._native.withdraw(networks[~within].native)
                self._rejected = (
                    int(np.argmax(within[::-1])) if within.any() else self._rejected + len(networks)
                )
                networks = networks[within]
            found.append(networks)
            missing -= len(networks)
        if missing:
            self._rejected = 0
        return self.space.join(found)

    def tell(
        self,
        x: Any,
        losses: npt.ArrayLike,
        *,
        violations: npt.ArrayLike | None = None,
        failed: npt.ArrayLike | None = None,
    ) -> None:
        """Learn from evaluated networks, asked for or not.

        Parameters
        ----------
        x : Networks, or sequence of Network
            What was evaluated.
        losses : array_like of float, shape (n, objectives), or (n,) for one objective
            Smaller is better. A row with NaN counts as failed.
        violations : array_like of float, shape (n,), optional
            How far each is over the limits, 0 where it is within them.
        failed : array_like of bool, shape (n,), optional
            Evaluations that gave no result; their losses are ignored.

        Raises
        ------
        ValueError
            If a shape does not fit, a violation is NaN, or a network is of another topology, or of another
            search in which its innovation numbers mean other connections.
        RuntimeError
            If `setup` was not called.
        """
        self._require_setup()
        networks = self.space.check(x)
        self._observe(networks, *settle(losses, (len(networks), self.objectives), violations, failed))

    @property
    def position(self) -> None:
        """None: only the same calls again bring another one here."""
        return None

    @property
    def warmup(self) -> int:
        """The first generation."""
        return self.population_size

    @property
    def ahead(self) -> int:
        """The rest of the generation."""
        self._require_setup()
        return self._native.ahead

    def portion(self, n: int) -> int:
        """Say how many of `n` that can be evaluated at once to ask for: at most the rest of a generation.

        Parameters
        ----------
        n : int
            How many the search has room for.

        Returns
        -------
        int
            From 1 to `n`.
        """
        return min(n, self.ahead)

    # -- the state of evolution ------------------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """How many generations are complete."""
        self._require_setup()
        return self._native.generation

    @property
    def population(self) -> Networks:
        """The last complete generation, which children come from; none before the first."""
        self._require_setup()
        return Networks(self.space, self._native.parents())

    @property
    def species(self) -> list[Species]:
        """The species of `population`, in the order of their origin."""
        self._require_setup()
        return [Species(*one) for one in self._native.species()]

    @property
    def threshold(self) -> float:
        """The distance at which species begin to differ."""
        self._require_setup()
        return self._native.threshold

    # -- what the base class asks for ------------------------------------------------------------------------

    def _start(self) -> None:
        settings = self._native_settings(self.space.initial_connections)
        self._native = _neat.Neat(self.space.native, settings, self.objectives, self.seed)

    def _propose(self, n: int, first: int) -> Networks:  # type: ignore[override]
        return Networks(self.space, self._native.propose(n))

    def _observe(self, x: Any, losses: Losses, violations: Violations) -> None:
        self._native.tell(x.native, losses, violations)
