"""`Topology`: networks whose structure and weights evolve."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from nasx._arguments import unsigned
from nasx._core import neat as _neat
from nasx.errors import unknown
from nasx.space import Space
from nasx.spaces.networks import ACTIVATIONS, AGGREGATIONS, Network, Networks

if TYPE_CHECKING:
    from torch import nn

    from nasx.architecture import Architecture
    from nasx.tasks.base import TaskSpec

__all__ = ["Topology"]


class Topology(Space):
    """Networks of any structure between given inputs and outputs; `nasx.NEAT` searches them.

    There are no decisions: a genotype is a `Network`, with nodes, connections and weights, and a batch of
    them is `Networks`. Both compute, so a task is a function of a network, or with ``vectorized=True`` of all
    networks of a batch.

    Parameters
    ----------
    inputs, outputs : int
        How many.
    bias : bool, default True
        Have a further input that is always 1.
    recurrent : bool, default False
        Allow cycles: networks then have a memory, and go on in steps. Otherwise there are none.
    activations : sequence of str, default ("steep_sigmoid",)
        What output and hidden nodes may do with their input: "steep_sigmoid" (1 / (1 + exp(-4.9 x)), the
        paper's), "sigmoid", "tanh", "relu", "gauss" (exp(-x^2)), "sin", "identity", "softplus".
    aggregations : sequence of str, default ("sum",)
        How nodes join their weighted inputs: "sum", "mean", "max", "product".
    initial_connections : float, default 1.0
        Share of the connections from inputs to outputs that the first networks have; each has one at least.

    Raises
    ------
    ValueError
        If there are no inputs or outputs, or an activation or aggregation is unknown.

    References
    ----------
    K. O. Stanley, R. Miikkulainen, "Evolving neural networks through augmenting topologies", Evolutionary
    Computation 10 (2002).

    Examples
    --------
    >>> import nasx
    >>> space = Topology(inputs=2, outputs=1)
    >>> x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0], [1], [1], [0]])
    >>> def fitness(networks):
    ...     return (4 - np.abs(networks(x) - y).sum(axis=(1, 2))) ** 2
    >>> result = nasx.search(
    ...     space,
    ...     fitness,
    ...     strategy=nasx.NEAT(),
    ...     objectives={"fitness": "maximize"},
    ...     vectorized=True,
    ...     batch_size=150,
    ...     evaluations=9000,
    ...     seed=1,
    ... )
    >>> bool(np.abs(result.best.architecture(x) - y).max() < 0.5)
    True
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: bool = True,
        recurrent: bool = False,
        activations: Sequence[str] = ("steep_sigmoid",),
        aggregations: Sequence[str] = ("sum",),
        initial_connections: float = 1.0,
    ) -> None:
        self.inputs, self.outputs = _positive("inputs", inputs), _positive("outputs", outputs)
        self.bias, self.recurrent = _flag("bias", bias), _flag("recurrent", recurrent)
        self.activations = _names("activations", activations, ACTIVATIONS)
        self.aggregations = _names("aggregations", aggregations, AGGREGATIONS)
        if not 0 < initial_connections <= 1:
            raise ValueError(f"initial_connections must be above 0 and at most 1; got {initial_connections}")
        self.initial_connections = float(initial_connections)
        self.native = _neat.Topology(
            self.inputs,
            self.outputs,
            self.bias,
            self.recurrent,
            [ACTIVATIONS.index(name) for name in self.activations],
            [AGGREGATIONS.index(name) for name in self.aggregations],
        )
        # What other spaces hold, of no decisions.
        self.decisions, self.names, self.constraints, self._position = {}, (), (), {}
        self.cardinalities = np.empty(0, np.int32)
        self.conditions = np.empty((0, 3), np.int32)
        self._freeze()

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON types."""
        return {
            "inputs": self.inputs,
            "outputs": self.outputs,
            "bias": self.bias,
            "recurrent": self.recurrent,
            "activations": list(self.activations),
            "aggregations": list(self.aggregations),
            "initial_connections": self.initial_connections,
        }

    @property
    def _identity(self) -> str:
        return repr(self)

    @property
    def size(self) -> Any:
        """Infinite: there are networks of any size."""
        return math.inf

    # -- genotypes -------------------------------------------------------------------------------------------

    def sample(self, n: int, *, seed: int = 0) -> Networks:  # type: ignore[override]
        """Draw networks without hidden nodes, such as the first generation of `nasx.NEAT`.

        Parameters
        ----------
        n : int
            How many.
        seed : int, default 0
            Same seed, same networks; the first ones do not depend on `n`.

        Returns
        -------
        Networks
            With weights in -1..1.

        Raises
        ------
        ValueError
            If `n` is negative.

        Examples
        --------
        >>> Topology(3, 2, bias=False).sample(10)[0].connections
        6
        """
        drawn = self.native.start(n, self.initial_connections, 1.0, unsigned(seed, "seed", 64), 0)
        return Networks(self, drawn)

    def check(self, genotypes: Any) -> Networks:  # type: ignore[override]
        """Check that networks are of this space.

        Parameters
        ----------
        genotypes : Networks, or sequence of Network
            Networks, of an equal topology.

        Returns
        -------
        Networks
            The same ones.

        Raises
        ------
        ValueError
            If one is of another topology.
        TypeError
            If they are no networks.

        Examples
        --------
        >>> Topology(2, 1).check(Topology(3, 1).sample(1))
        Traceback (most recent call last):
            ...
        ValueError: genome 0 is none of this topology: it has 0 of 1 outputs
        """
        if isinstance(genotypes, Networks):
            if genotypes.space is self or genotypes.space == self:
                return genotypes
            native = genotypes.native
        elif isinstance(genotypes, Network):
            raise TypeError("networks must be a sequence of them; put the one you have into a list")
        else:
            rows = list(genotypes) if isinstance(genotypes, Iterable) else [genotypes]
            for row in rows:
                if not isinstance(row, Network):
                    raise TypeError(f"networks must be those of a Topology; got {type(row).__name__}")
            native = _neat.Genomes.join([row.native for row in rows])
            if all(row.space == self for row in rows):
                return Networks(self, native)
        self.native.check(native)
        return Networks(self, native)

    def encode(self, architectures: Any) -> Any:
        """Turn genes into networks.

        Parameters
        ----------
        architectures : mapping or sequence of mapping
            ``nodes`` and ``connections``, as ``dict(network)`` gives them; a `Network` is such a mapping.

        Returns
        -------
        Network or Networks
            One for one mapping.

        Raises
        ------
        ValueError
            If genes are missing, or make no network of this space.
        TypeError
            If an architecture is no mapping.
        """
        if not isinstance(architectures, Mapping):
            networks = []
            for one in architectures:
                if not isinstance(one, Mapping):
                    raise TypeError(
                        f"an architecture must map 'nodes' and 'connections' to genes; got {one!r}"
                    )
                networks.append(self.encode(one))
            return self.stack(networks)
        if isinstance(architectures, Network) and architectures.space == self:
            return architectures
        native = _from_genes(architectures)
        self.native.check(native)
        return Network(self, native)

    def decode(self, genotype: Any, *, spec: TaskSpec | None = None) -> Network:
        """Look at a network as an architecture of a task.

        Parameters
        ----------
        genotype : Network
            One of this space.
        spec : TaskSpec, optional
            What it is for.

        Returns
        -------
        Network
            The same network.
        """
        return self.architecture(self.check([genotype])[0], spec=spec)

    def architecture(self, genotype: Any, *, spec: TaskSpec | None = None) -> Network:
        """As `decode`, of a network that was checked."""
        return Network(self, genotype.native, spec=spec)

    def stack(self, genotypes: Sequence[Any]) -> Networks:  # type: ignore[override]
        """Put networks into a batch."""
        return Networks(self, _neat.Genomes.join([row.native for row in genotypes]))

    def join(self, batches: Sequence[Any]) -> Networks:  # type: ignore[override]
        """Put batches behind each other."""
        return Networks(self, _neat.Genomes.join([batch.native for batch in batches]))

    def to_bytes(self, genotypes: Any) -> bytes:
        """Write networks as bytes."""
        return genotypes.native.to_bytes()  # type: ignore[no-any-return]

    def from_bytes(self, blobs: Sequence[bytes]) -> list[Any]:
        """Read what `to_bytes` wrote, and check it."""
        batches = [_neat.Genomes.from_bytes(blob) for blob in blobs]
        for batch in batches:
            self.native.check(batch)
        return [Networks(self, batch) for batch in batches]

    def satisfies(self, genotypes: Any) -> npt.NDArray[np.bool_]:
        """All networks are allowed, shape ``(n,)``."""
        return np.ones(len(genotypes), bool)

    def enumerate(self) -> NoReturn:
        """Raise ValueError: there are infinitely many networks."""
        raise ValueError("a Topology has infinitely many networks; sample it, or search it with nasx.NEAT")

    def neighbors(self, genotype: Any, **settings: Any) -> NoReturn:
        """Raise ValueError: nothing changes by single decisions here."""
        raise ValueError("a Topology has no decisions to change; search it with nasx.NEAT")

    def random_walk(
        self, steps: int, *, start: Any = None, adjacent: bool = False, seed: int = 0
    ) -> NoReturn:
        """Raise ValueError: nothing changes by single decisions here."""
        raise ValueError("a Topology has no decisions to change; search it with nasx.NEAT")

    # -- networks --------------------------------------------------------------------------------------------

    def build(self, architecture: Architecture, spec: TaskSpec | None) -> nn.Module:
        """Make a torch module of a network, with its weights, in torch's default type.

        Parameters
        ----------
        architecture : Network
            One of this space.
        spec : TaskSpec or None
            Inputs and outputs of the task, which must be as many.

        Returns
        -------
        nasx.nn.EvolvedModule
            A new module.

        Raises
        ------
        ValueError
            If the task has other inputs or outputs.
        """
        if spec is not None and (math.prod(spec.input_shape), spec.num_outputs) != (
            self.inputs,
            self.outputs,
        ):
            raise ValueError(
                f"the task has inputs of shape {tuple(spec.input_shape)} and {spec.num_outputs} outputs; "
                f"this topology has {self.inputs} inputs and {self.outputs} outputs"
            )
        import torch

        assert isinstance(architecture, Network)
        return architecture.to_torch(torch.get_default_dtype())


def _positive(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be a positive integer; got {value!r}")
    return int(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False; got {value!r}")
    return value


def _names(name: str, values: Any, known: Sequence[str]) -> tuple[str, ...]:
    if isinstance(values, str) or not values:
        raise ValueError(f"{name} must be a list with one at least; got {values!r}")
    for value in values:
        if value not in known:
            raise ValueError(f"{name}: {unknown(name.removesuffix('s'), value, known)}")
    if len(set(values)) < len(values):
        raise ValueError(f"{name} must not hold one twice; got {list(values)}")
    return tuple(values)


def _from_genes(genes: Mapping[str, Any]) -> _neat.Genomes:
    """Read genes as `Network` shows them."""
    try:
        nodes = [
            (int(node["id"]), ACTIVATIONS.index(node["activation"]), AGGREGATIONS.index(node["aggregation"]))
            for node in genes["nodes"]
        ]
        links = [
            (
                int(link["innovation"]),
                int(link["source"]),
                int(link["target"]),
                float(link["weight"]),
                bool(link["enabled"]),
            )
            for link in genes["connections"]
        ]
        return _neat.Genomes.from_genes(nodes, links)
    except KeyError as error:
        raise ValueError(f"a network needs {error} among its genes") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"not the genes of a network: {error}") from None
