"""`FewShotSupernet`: several supernets, each for some choices of one decision."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from nasx.architecture import Architecture
from nasx.nn.supernet import EdgeChoices, Supernet
from nasx.space import Genotypes

__all__ = ["FewShotSupernet"]


class FewShotSupernet(Supernet):
    """A supernet that can be split into children, each of which holds some choices of one decision [1]_.

    It is made with a single one, which holds everything. Whatever is asked of an architecture is asked of the
    child that holds it.

    Parameters
    ----------
    supernet : Supernet
        The one to begin with.

    Attributes
    ----------
    members : torch.nn.ModuleList
        The supernets.
    decision : str or None
        What they are split by; None before that.
    groups : tuple of tuple of int
        The choices of that decision that each holds, by their indices.

    References
    ----------
    .. [1] Y. Zhao et al., "Few-Shot Neural Architecture Search", ICML 2021.

    Examples
    --------
    >>> import nasx, torch
    >>> space = nasx.spaces.NASBench201(cells=1, channels=4)
    >>> supernet = FewShotSupernet(space.supernet(nasx.TaskSpec((1, 8, 8), 10, "image_classification")))
    >>> supernet.split(space.names[0], [[0, 1], [2, 3, 4]])
    >>> supernet.holder(space.encode([space.decode([3, 0, 0, 0, 0, 0]), space.decode([1, 0, 0, 0, 0, 0])]))
    array([1, 0])
    """

    def __init__(self, supernet: Supernet) -> None:
        super().__init__(supernet.space, {})
        self.members = nn.ModuleList([supernet])
        self.decision: str | None = None
        self.groups: tuple[tuple[int, ...], ...] = ()
        self._running: Supernet | None = None

    def split(self, decision: str, groups: Sequence[Sequence[int]]) -> None:
        """Give every group of choices a supernet of its own, which begins with all weights of the one.

        Parameters
        ----------
        decision : str
            The decision that they differ in.
        groups : sequence of sequence of int
            Indices of its choices, each in one group.

        Raises
        ------
        ValueError
            If it is split already, there is no such decision, or the groups are not its choices.
        """
        if self.decision is not None:
            raise ValueError(f"the supernet is split by {self.decision!r} already")
        if decision not in self.space.decisions:
            raise ValueError(f"decision must be one of {', '.join(self.space.names)}; got {decision!r}")
        taken = sorted(choice for group in groups for choice in group)
        if taken != list(range(len(self.space.decisions[decision].choices))) or not all(map(len, groups)):
            raise ValueError(f"groups must hold each choice of {decision!r} once; got {groups!r}")
        (whole,) = self.members
        for _ in groups[1:]:
            self.members.append(copy.deepcopy(whole))
        self.decision, self.groups = decision, tuple(tuple(group) for group in groups)

    def holder(self, genotypes: Genotypes) -> npt.NDArray[np.intp]:
        """Say which member holds each architecture.

        Parameters
        ----------
        genotypes : ndarray of int32, shape (n, d)
            Architectures; where the decision is inactive, the first member holds them.

        Returns
        -------
        ndarray of intp, shape (n,)
            Indices into `members`.
        """
        if self.decision is None:
            return np.zeros(len(genotypes), np.intp)
        member = np.zeros(len(self.space.decisions[self.decision].choices) + 1, np.intp)
        for i, group in enumerate(self.groups):
            member[list(group)] = i
        return member[genotypes[:, self.space.names.index(self.decision)]]  # -1 is the last, of the first

    def member_of(self, architecture: Architecture) -> Supernet:
        """Give the member that holds an architecture.

        Parameters
        ----------
        architecture : Architecture
            One of the space.

        Returns
        -------
        Supernet
            The member.
        """
        member = self.members[int(self.holder(architecture.genotype[None])[0])]
        assert isinstance(member, Supernet)
        return member

    def architecture_parameters(self) -> list[nn.Parameter]:
        """Give those of all members."""
        return [parameter for member in self._all() for parameter in member.architecture_parameters()]

    def _all(self) -> Iterator[Supernet]:
        for member in self.members:
            assert isinstance(member, Supernet)
            yield member

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the member whose path is chosen; before the split also without one.

        Raises
        ------
        RuntimeError
            If it is split and no path is chosen.
        """
        if self._running is None and self.decision is not None:
            raise RuntimeError("a split supernet runs inside `with supernet.path(architecture):` only")
        return (self._running or self.members[0])(*args, **kwargs)

    @contextlib.contextmanager
    def path(self, architecture: Architecture) -> Iterator[None]:
        """Compute only one architecture, by the member that holds it, while the context lasts.

        Parameters
        ----------
        architecture : Architecture
            One of the space.
        """
        member, before = self.member_of(architecture), self._running
        with member.path(architecture):
            self._running = member
            try:
                yield
            finally:
                self._running = before

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """As those of each member."""
        return next(self._all()).columns

    def choices_of(self, architecture: Architecture) -> dict[str, EdgeChoices]:
        """Say which operation an architecture has on each edge: group -> an index or None for each edge."""
        return self.member_of(architecture).choices_of(architecture)

    def derive(self) -> Genotypes:
        """Find the architecture that the first member's parameters say is best: its genotype ``(d,)``."""
        return next(self._all()).derive()

    def extract(self, architecture: Architecture) -> nn.Module:
        """Make an architecture's network with copies of the weights of the member that holds it."""
        return self.member_of(architecture).extract(architecture)

    def skips(self, architecture: Architecture) -> tuple[int, int]:
        """Count the skip connections among an architecture's operations, and all those operations."""
        return self.member_of(architecture).skips(architecture)
