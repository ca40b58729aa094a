"""`Architecture`: an immutable view of one genotype in one space."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from nasx.decisions import Choice
    from nasx.nn import Supernet
    from nasx.space import Space
    from nasx.tasks.base import TaskSpec

__all__ = ["Architecture", "Block"]


class Block(NamedTuple):
    """A part of a network, which costs the same wherever it stands: what it does to inputs of which shape.

    Parameters
    ----------
    kind : str
        What it is; with the settings, what ``space.build_block`` builds.
    input_shape : tuple of int
        Shape of one input, without the batch axis.
    settings : tuple of (str, value)
        The rest of what it takes to build it.
    channels_last : bool, default False
        Whether it is given images in torch's "channels last" layout.
    """

    kind: str
    input_shape: tuple[int, ...]
    settings: tuple[tuple[str, Any], ...] = ()
    channels_last: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the block as JSON types.

        Returns
        -------
        dict
            Its parts by name.
        """
        return self._asdict()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Block:
        """Rebuild a block from what `to_dict` gave, or from its JSON.

        Parameters
        ----------
        data : mapping
            The parts.

        Returns
        -------
        Block
            An equal one.

        Raises
        ------
        ValueError
            If the data describe no block.
        """
        try:
            kind, shape, settings, last = (data[name] for name in cls._fields)
            block = cls(kind, _frozen(shape), _frozen(settings), last)
            named = all(isinstance(name, str) for name, _ in block.settings)
            hash(block)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"not a block: {error!r}") from None
        sizes = isinstance(block.input_shape, tuple) and all(type(size) is int for size in block.input_shape)
        if not (named and sizes and isinstance(kind, str) and isinstance(last, bool)):
            raise ValueError(f"not a block: {data!r}")
        return block


def _frozen(value: Any) -> Any:
    """Turn lists of JSON into tuples, all the way down."""
    return tuple(_frozen(each) for each in value) if isinstance(value, list | tuple) else value


class Architecture(Mapping[str, "Choice"]):
    """One architecture: a mapping from the active decisions' names to the choices taken.

    Hashable, comparable, immutable; made by ``space.decode`` or found in a trial.

    Parameters
    ----------
    space : Space
        The space it belongs to.
    genotype : ndarray of int32, shape (d,)
        A genotype that the space has checked.
    spec : TaskSpec, optional
        What the network is for, bound by a search so that `build` needs no argument.

    Examples
    --------
    >>> from nasx import Categorical, Ordinal, Space
    >>> space = Space({"op": Categorical(["conv", "skip"]), "width": Ordinal([8, 16])})
    >>> architecture = space.decode([0, 1])
    >>> dict(architecture)
    {'op': 'conv', 'width': 16}
    >>> Architecture.from_json(architecture.to_json()) == architecture
    True
    """

    __slots__ = ("_genotype", "_space", "_spec")

    def __init__(
        self, space: Space, genotype: npt.NDArray[np.int32], *, spec: TaskSpec | None = None
    ) -> None:
        genotype = genotype.astype(np.int32)  # a copy
        genotype.setflags(write=False)
        self._space, self._genotype, self._spec = space, genotype, spec

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._space, self._genotype, self._spec)

    @property
    def space(self) -> Space:
        """The space it belongs to."""
        return self._space

    @property
    def genotype(self) -> npt.NDArray[np.int32]:
        """Choice indices, shape ``(d,)``, -1 where inactive; read-only."""
        return self._genotype

    @property
    def spec(self) -> TaskSpec | None:
        """What the network is for, if a search bound it."""
        return self._spec

    def __getitem__(self, name: str) -> Choice:
        try:
            position = self._space._position[name]
        except KeyError:
            raise KeyError(f"{name!r} is no decision of this space") from None
        index = int(self._genotype[position])
        if index < 0:
            raise KeyError(f"decision {name!r} is inactive in this architecture")
        return self._space.decisions[name].choices[index]

    def __iter__(self) -> Iterator[str]:
        return (
            name for name, index in zip(self._space.names, self._genotype.tolist(), strict=True) if index >= 0
        )

    def __len__(self) -> int:
        return int((self._genotype >= 0).sum())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Architecture):
            return np.array_equal(self._genotype, other._genotype) and self._space == other._space
        return Mapping.__eq__(self, other)

    def __hash__(self) -> int:
        return hash(self._genotype.tobytes())

    def __repr__(self) -> str:
        return f"Architecture({dict(self)})"

    def build(self, spec: TaskSpec | None = None) -> nn.Module:
        """Make the network.

        Parameters
        ----------
        spec : TaskSpec, optional
            Shape of the inputs and number of outputs; needed unless a search bound it or the space's networks
            do not depend on it.

        Returns
        -------
        torch.nn.Module
            A freshly initialised network; seed torch first for the same weights.

        Raises
        ------
        ValueError
            If neither `spec` nor a bound one is there, and the space needs it.
        TypeError
            If the space cannot build networks.
        """
        spec = spec or self._spec
        if spec is None and self._space.can_build and self._space.needs_spec:
            raise ValueError(
                "build needs spec=nasx.TaskSpec(input_shape, num_outputs, kind): this architecture does not "
                "come from a search on a task, so nothing says what the network is for"
            )
        return self._space.build(self, spec)  # type: ignore[arg-type]  # or it needs none, or cannot build

    def extract(self, supernet: Supernet, *, batches: Iterable[Any] | None = None) -> nn.Module:
        """Take the network out of a supernet, with copies of the weights that it has there.

        Parameters
        ----------
        supernet : nasx.nn.Supernet
            Of the same space, such as ``result.supernet``; it is left as it is.
        batches : iterable, optional
            Training batches, such as ``task.loaders("train")``, over which batch normalisations are measured
            for this network alone. Without them it gives what the supernet gives, whose statistics are of all
            its paths together.

        Returns
        -------
        torch.nn.Module
            A plain module, in which no class is of nasx; see `nasx.nn.plain`. It can be trained on, written
            by `nasx.nn.save_network`, and exported by `nasx.nn.to_onnx`.

        Raises
        ------
        ValueError
            If the supernet works on a part of the channels: a whole network's weights are not in it.
        """
        from nasx.nn.export import extract

        return extract(supernet, self, batches=batches)

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the architecture.

        Parameters
        ----------
        path : path-like, optional
            Write the picture here too.

        Returns
        -------
        matplotlib.figure.Figure
            The picture; notebooks show it.

        Raises
        ------
        TypeError
            If the space draws none.
        MissingDependencyError
            If matplotlib is not installed.
        """
        return self._space.draw(self, path)

    def to_dict(self) -> dict[str, Any]:
        """Return the architecture and its space as JSON types.

        Returns
        -------
        dict
            ``space``, ``spec`` (None if no search bound one) and ``choices``.
        """
        spec = dataclasses.asdict(self._spec) if self._spec else None
        return {"space": self._space.to_dict(), "spec": spec, "choices": dict(self)}

    def to_json(self) -> str:
        """Write the architecture, with its space, as JSON.

        Returns
        -------
        str
            A document that `from_json` reads.
        """
        return json.dumps(self.to_dict(), indent=1)

    @staticmethod
    def from_json(text: str, *, space: Space | None = None, spec: TaskSpec | None = None) -> Architecture:
        """Read what `to_json` wrote.

        Parameters
        ----------
        text : str
            The document.
        space : Space, optional
            Use this space instead of the one in the document.
        spec : TaskSpec, optional
            What the network is for; by default what the document says.

        Returns
        -------
        Architecture
            An equal architecture.

        Raises
        ------
        ValueError
            If the text is no such document or does not fit the space.
        """
        from nasx.space import Space
        from nasx.tasks.base import TaskSpec

        try:
            data = json.loads(text)
            choices = data["choices"]
            space = space or Space.from_dict(data["space"])
            if spec is None and data.get("spec") is not None:
                spec = TaskSpec(**data["spec"])
            return space.architecture(space.encode(choices), spec=spec)
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not an architecture in JSON: {error!r}") from None


def _rebuild(space: Space, genotype: npt.NDArray[np.int32], spec: TaskSpec | None) -> Architecture:
    """Make an architecture again after pickling, immutable as it was."""
    return Architecture(space, genotype, spec=spec)
