"""Choices that users put into modules of their own: which layer stands there, which inputs it gets."""

from __future__ import annotations

import functools
import itertools
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasx.decisions import Choice as Value
from nasx.nn.mixed import Choice, MixedOp, Pair, PartialChannels, mix
from nasx.space import Categorical, Decision

__all__ = [
    "ChosenInputs",
    "ElasticModule",
    "InputChoice",
    "LayerChoice",
    "ModuleChoice",
]


class ModuleChoice(nn.Module, ABC):
    """A choice within a module; it runs once a supernet has said what.

    Attributes
    ----------
    name : str or None
        The decision's name; None: its path in the network.
    choice : Tensor, int or None
        What a supernet has it run while the supernet runs: weights, the index of one choice, or nothing.
    """

    def __init__(self, name: str | None) -> None:
        super().__init__()
        if name is not None and (not isinstance(name, str) or not name):
            raise ValueError(f"name must be a non-empty string, or None; got {name!r}")
        self.name = name
        self.choice: Choice | None = None

    @property
    @abstractmethod
    def choices(self) -> tuple[str, ...]:
        """What the decision chooses among, as texts."""

    @property
    def values(self) -> Sequence[Value]:
        """What stands in architectures for each of `choices`."""
        return self.choices

    def decision(self, when: Mapping[str, Sequence[Value]]) -> Decision:
        """Make the decision.

        Parameters
        ----------
        when : mapping
            Its condition.

        Returns
        -------
        Decision
            Among `values`.
        """
        return Categorical(self.values, when=when)

    @property
    @abstractmethod
    def weights(self) -> int:
        """How many weights it takes to mix all."""

    @property
    def takes(self) -> list[list[int]]:
        """Which of the weights each of `choices` takes: by default one each, in their order."""
        return [[number] for number in range(len(self.choices))]

    @abstractmethod
    def chosen(self, choice: str) -> nn.Module:
        """Give the module that stands here once the decision is taken."""

    @abstractmethod
    def strongest(self, weights: Sequence[float]) -> str:
        """Give the choice of largest weight."""

    def decided(self) -> Choice:
        """Give what is to run.

        Raises
        ------
        RuntimeError
            If nobody has decided.
        """
        if self.choice is None:
            kind = type(self).__name__ + ("" if self.name is None else f" {self.name!r}")
            raise RuntimeError(
                f"{kind} has not been decided: a module with choices stands for many networks. Search among "
                "them with nasx.search(nasx.space_of(module), ...), build one with nasx.space_of(module)"
                ".decode(genotype).build(), or mix all of them with nasx.space_of(module).supernet()"
            )
        return self.choice


class LayerChoice(ModuleChoice):
    """A layer of which several candidates are there: put it into any module, in the place of the layer.

    `nasx.space_of` makes a search space of a module with such layers. Its networks hold the chosen candidate
    itself in this place, its supernet a sum of all of them.

    Parameters
    ----------
    candidates : mapping of str to torch.nn.Module, or sequence of torch.nn.Module
        The candidates by name; those of a sequence are named by their classes, numbered if these are equal.
        They are called with what this layer is called with, keywords included, and mixing them takes outputs
        of one shape. A candidate may hold choices itself: they are decided only where it is chosen. With
        `channels` they are functions instead, from a number of channels to a module.
    name : str, optional
        The decision's name; layers of one name are one decision and need the same candidates. By default the
        path in the network, such as "body.0.mixer".
    channels : int, optional
        Number of channels: candidates are functions, and this number is what they are called with. It is what
        supernets on a part of the channels need (``partial_channels`` of PC-DARTS): they make operations on
        fewer of them. Their modules map ``(B, channels, ...)`` to the same shape.

    Raises
    ------
    ValueError
        If there are no candidates, a name or `channels` is wrong.
    TypeError
        If a candidate is no module, or no function where `channels` is given.

    Examples
    --------
    >>> import nasx
    >>> network = nn.Sequential(
    ...     nn.Linear(4, 8), LayerChoice({"relu": nn.ReLU(), "tanh": nn.Tanh()}, name="activation")
    ... )
    >>> space = nasx.space_of(network)
    >>> space.decisions
    {'activation': Categorical(['relu', 'tanh'])}
    >>> space.decode([1]).build()
    Sequential(
      (0): Linear(in_features=4, out_features=8, bias=True)
      (1): Tanh()
    )
    >>> LayerChoice([nn.Conv1d(2, 2, 1), nn.Conv1d(2, 2, 3, padding=1), nn.Identity()]).choices
    ('Conv1d_1', 'Conv1d_2', 'Identity')
    """

    def __init__(
        self,
        candidates: Mapping[str, Any] | Sequence[Any],
        *,
        name: str | None = None,
        channels: int | None = None,
    ) -> None:
        super().__init__(name)
        if channels is not None and (
            isinstance(channels, bool) or not isinstance(channels, int) or channels < 1
        ):
            raise ValueError(f"channels must be a positive integer, or None; got {channels!r}")
        named = dict(candidates.items()) if isinstance(candidates, Mapping | nn.ModuleDict) else None
        given = list(candidates if named is None else named.values())
        if not given:
            raise ValueError("candidates must hold at least one; got none")
        for candidate in given:
            _check(candidate, channels)
        self.channels = channels
        self.makers: tuple[Callable[[int], nn.Module], ...] = () if channels is None else tuple(given)
        modules = given if channels is None else _made(given, channels)
        self._choices = tuple(_class_names(modules) if named is None else named)
        for key in self._choices:
            if not isinstance(key, str) or not key:
                raise ValueError(f"candidates must be named by non-empty strings; got {key!r}")
        self.mixed: MixedOp | PartialChannels = MixedOp(dict(zip(self._choices, modules, strict=True)))

    def on_part(self, portion: int) -> LayerChoice:
        """Make this choice anew, with candidates that work on one of so many parts of the channels.

        Parameters
        ----------
        portion : int
            It divides the channels.

        Returns
        -------
        LayerChoice
            One for supernets: the other channels pass by.
        """
        assert self.channels is not None
        makers = dict(zip(self._choices, self.makers, strict=True))
        part = LayerChoice(makers, name=self.name, channels=self.channels // portion)
        assert isinstance(part.mixed, MixedOp)
        part.mixed = PartialChannels(part.mixed, portion)
        return part

    @property
    def choices(self) -> tuple[str, ...]:
        """The candidates' names."""
        return self._choices

    @property
    def weights(self) -> int:
        """One weight a candidate."""
        return len(self._choices)

    def chosen(self, choice: str) -> nn.Module:
        """Give a candidate by its name."""
        return self.mixed.operations[self._choices.index(choice)]

    def strongest(self, weights: Sequence[float]) -> str:
        """Give the candidate of largest weight, the first of equal ones."""
        return self._choices[max(range(len(weights)), key=weights.__getitem__)]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the chosen candidate, or sum all of them by their weights.

        Raises
        ------
        RuntimeError
            Outside a supernet.
        TypeError
            On a part of the channels, if the input is not the first argument.
        """
        choice = self.decided()
        if not args:  # by name only
            if isinstance(self.mixed, PartialChannels):
                raise TypeError(
                    f"{self.name or 'LayerChoice'}: on a part of the channels (partial_channels) the input "
                    f"must be the first argument, without a name; got {', '.join(kwargs) or 'none'} by name"
                )
            return mix(self.mixed.operations, choice, **kwargs)
        return self.mixed(args[0], choice, *args[1:], **kwargs)

    def extra_repr(self) -> str:
        """Name the candidates."""
        return ", ".join([*self._choices, *([] if self.name is None else [f"name={self.name!r}"])])


class InputChoice(ModuleChoice):
    """A choice among inputs: call it with all of them, and it gives the chosen one or the sum of the chosen.

    Parameters
    ----------
    inputs : int
        How many there are.
    chosen : int, default 1
        How many of them are summed.
    name : str, optional
        The decision's name; those of one name are one decision, among as many inputs. By default the path in
        the network. Its choices are the inputs' numbers, "0", "1" and so on, or "0+2" where two are chosen.

    Raises
    ------
    ValueError
        If a number is no positive integer, or more are chosen than there are.

    Notes
    -----
    In a supernet the inputs are summed, each times its weight; there is one weight an input, however many are
    chosen in the end: those of largest weight.

    Examples
    --------
    >>> InputChoice(3, chosen=2).choices
    ('0+1', '0+2', '1+2')
    """

    def __init__(self, inputs: int, *, chosen: int = 1, name: str | None = None) -> None:
        super().__init__(name)
        for key, value in (("inputs", inputs), ("chosen", chosen)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{key} must be a positive integer; got {value!r}")
        if chosen > inputs:
            raise ValueError(f"chosen must be at most the number of inputs, {inputs}; got {chosen}")
        self.inputs = inputs
        self.combinations = tuple(itertools.combinations(range(inputs), chosen))

    @property
    def choices(self) -> tuple[str, ...]:
        """The sets of inputs that can be chosen."""
        return tuple("+".join(map(str, combination)) for combination in self.combinations)

    @property
    def weights(self) -> int:
        """One weight an input."""
        return self.inputs

    @property
    def takes(self) -> list[list[int]]:
        """Which inputs each of `choices` takes."""
        return [list(combination) for combination in self.combinations]

    def chosen(self, choice: str) -> nn.Module:
        """Give a module that sums the chosen inputs."""
        return ChosenInputs(self.combinations[self.choices.index(choice)])

    def strongest(self, weights: Sequence[float]) -> str:
        """Give the inputs of largest weights, the first of equal ones."""
        order = sorted(range(self.inputs), key=lambda i: -weights[i])[: len(self.combinations[0])]
        return "+".join(map(str, sorted(order)))

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Sum the chosen inputs, or all of them by their weights.

        Parameters
        ----------
        inputs : sequence of Tensor
            As many as were announced, all of one shape.

        Raises
        ------
        RuntimeError
            Outside a supernet.
        ValueError
            If there are not as many inputs.
        """
        choice = self.decided()
        if len(inputs) != self.inputs:
            raise ValueError(f"inputs must be {self.inputs} tensors; got {len(inputs)}")
        if isinstance(choice, int):
            return _sum(inputs[i] for i in self.combinations[choice])
        if isinstance(choice, Pair):
            taken, other = (
                _sum(inputs[i] for i in self.combinations[k]) for k in (choice.taken, choice.other)
            )
            return taken * choice.gates[0] + other.detach() * choice.gates[1]
        return _sum(x * weight for x, weight in zip(inputs, choice.unbind(), strict=True))

    def extra_repr(self) -> str:
        """Say how many of how many."""
        number = f"{len(self.combinations[0])} of {self.inputs}"
        return number if self.name is None else f"{number}, name={self.name!r}"


class ChosenInputs(nn.Module):
    """What an `InputChoice` becomes in a network: the sum of some of its inputs.

    Parameters
    ----------
    chosen : sequence of int
        The inputs' numbers.

    Examples
    --------
    >>> ChosenInputs([0, 2])([torch.ones(1), torch.zeros(1), torch.ones(1)])
    tensor([2.])
    """

    def __init__(self, chosen: Sequence[int]) -> None:
        super().__init__()
        self.chosen = tuple(chosen)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Sum the chosen ones of the inputs."""
        return _sum(inputs[i] for i in self.chosen)

    def extra_repr(self) -> str:
        """Give their numbers."""
        return ", ".join(map(str, self.chosen))


class ElasticModule(nn.Module, ABC):
    """A module whose size is decided by children of its own; networks have a plain one in its place."""

    @abstractmethod
    def extract(self, memo: dict[int, Any] | None = None) -> nn.Module:
        """Make the plain module of the sizes that are set.

        Parameters
        ----------
        memo : dict, optional
            As for `copy.deepcopy`: what is to be taken for modules that were copied already.

        Returns
        -------
        torch.nn.Module
            With copies of the weights.

        Raises
        ------
        RuntimeError
            If a size has not been decided.
        """

    @property
    @abstractmethod
    def is_decided(self) -> bool:
        """Whether all of its own sizes are set."""

    def needed_for(self, child: str) -> tuple[ModuleChoice, Sequence[str]] | None:
        """Say of which choices a child is part.

        Parameters
        ----------
        child : str
            Its name.

        Returns
        -------
        tuple or None
            A child before it that is a choice, and those of its choices; None: it is always part.
        """
        return None


def _sum(terms: Iterable[Tensor]) -> Tensor:
    return functools.reduce(torch.add, terms)


def _check(candidate: Any, channels: int | None) -> None:
    if channels is None and not isinstance(candidate, nn.Module):
        remedy = "; functions of a number of channels need channels=" if callable(candidate) else ""
        raise TypeError(f"candidates must be modules; got {candidate!r}{remedy}")
    if channels is not None and (isinstance(candidate, nn.Module) or not callable(candidate)):
        raise TypeError(
            "with channels= candidates must be functions from a number of channels to a module, such as "
            f"lambda c: nn.Conv2d(c, c, 3, padding=1); got {candidate!r}"
        )


def _made(makers: Iterable[Callable[[int], Any]], channels: int) -> list[nn.Module]:
    """Make candidates for so many channels."""
    modules = [maker(channels) for maker in makers]
    for module in modules:
        if not isinstance(module, nn.Module):
            raise TypeError(f"candidates must be functions that return modules; one returned {module!r}")
    return modules


def _class_names(modules: Iterable[nn.Module]) -> list[str]:
    """Name modules by their classes, numbered from 1 where several have the same."""
    names = [type(module).__name__ for module in modules]
    total, seen = Counter(names), Counter[str]()
    numbered = []
    for name in names:
        seen[name] += 1
        numbered.append(name if total[name] == 1 else f"{name}_{seen[name]}")
    return numbered
