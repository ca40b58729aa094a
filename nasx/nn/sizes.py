"""Sizes that are decided: `Elastic`, products of them, and what layers ask of either and of plain numbers."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from torch import nn

from nasx.decisions import Choice as Value
from nasx.nn.choices import ModuleChoice
from nasx.space import Ordinal
from nasx.spaces._images import scaled

__all__ = ["ChosenSize", "Elastic", "ElasticProduct", "Size"]


class Elastic(ModuleChoice):
    """A size that is decided: a width, a kernel size, a depth, or a factor of one.

    Elastic layers, `nasx.nn.ElasticConv2d` and others, take it where plain layers take a number. Sizes that
    must agree are one decision: give the same object to all layers concerned, or objects of the same name.
    Modules of one's own read `value`.

    Parameters
    ----------
    values : sequence of int or float
        The possible sizes, increasing; the largest is that of the weights in a supernet.
    name : str, optional
        The decision's name. By default the path in the network, such as "body.0.out_channels".

    Raises
    ------
    ValueError
        If there are no values, they do not increase, or one is no finite number.

    Notes
    -----
    A supernet computes one size at a time: sizes have no weighted mixture, so that a network with elastic
    layers cannot be searched by DARTS. Weights that a size leaves out have a gradient of zero, not none: an
    optimiser's momentum and weight decay go on to move them.

    Examples
    --------
    >>> import nasx
    >>> from nasx.nn import ElasticLinear
    >>> width = Elastic([4, 8], name="width")
    >>> network = nn.Sequential(ElasticLinear(3, width), nn.ReLU(), ElasticLinear(width, 2))
    >>> space = nasx.space_of(network)
    >>> space.decisions
    {'width': Ordinal([4, 8])}
    >>> space.decode([0]).build()
    Sequential(
      (0): Linear(in_features=3, out_features=4, bias=True)
      (1): ReLU()
      (2): Linear(in_features=4, out_features=2, bias=True)
    )
    """

    def __init__(self, values: Sequence[int | float], *, name: str | None = None) -> None:
        super().__init__(name)
        try:
            self._decision = Ordinal(values)
        except ValueError as error:
            raise ValueError(f"values: {error}") from None

    @property
    def choices(self) -> tuple[str, ...]:
        """The possible sizes, as texts."""
        return tuple(map(str, self.values))

    @property
    def values(self) -> tuple[int | float, ...]:
        """The possible sizes."""
        return self._decision.choices  # type: ignore[return-value]  # ordinal decisions hold numbers

    def decision(self, when: Mapping[str, Sequence[Value]]) -> Ordinal:
        """Make the decision among the sizes."""
        return Ordinal(self.values, when=when)

    @property
    def weights(self) -> int:
        """One weight a size."""
        return len(self.values)

    def chosen(self, choice: str) -> ChosenSize:
        """Give what has the chosen size as its ``value``."""
        return ChosenSize(self.values[self.choices.index(choice)])

    def strongest(self, weights: Sequence[float]) -> str:
        """Give the size of largest weight, the first of equal ones."""
        return self.choices[max(range(len(weights)), key=weights.__getitem__)]

    @property
    def value(self) -> int | float:
        """The size that is set.

        Raises
        ------
        RuntimeError
            If nobody has decided.
        ValueError
            If a mixture of all sizes is asked for.
        """
        choice = self.decided()
        if not isinstance(choice, int):
            raise ValueError(no_mixture(self.name or "of no name"))
        return self.values[choice]

    @contextlib.contextmanager
    def at(self, value: int | float) -> Iterator[None]:
        """Set the size while the context lasts.

        Parameters
        ----------
        value : int or float
            One of `values`.

        Raises
        ------
        ValueError
            If it is none of them.

        Examples
        --------
        >>> width = Elastic([4, 8])
        >>> with width.at(8):
        ...     width.value
        8
        """
        before, self.choice = self.choice, self._decision.index(value)
        try:
            yield
        finally:
            self.choice = before

    def __mul__(self, other: Size | float) -> ElasticProduct:
        """Multiply with another size or a number."""
        return ElasticProduct(self, other)

    __rmul__ = __mul__

    def extra_repr(self) -> str:
        """Give the sizes."""
        return ", ".join([*self.choices, *([] if self.name is None else [f"name={self.name!r}"])])


class ElasticProduct(nn.Module):
    """A product of sizes, such as a width times an expansion: rounded down, at least 1.

    Parameters
    ----------
    *factors : Elastic, ElasticProduct, int or float
        What is multiplied.

    Examples
    --------
    >>> width, expansion = Elastic([4, 8], name="width"), Elastic([1, 1.5], name="expansion")
    >>> hidden = width * expansion
    >>> with width.at(8), expansion.at(1.5):
    ...     hidden.value
    12
    """

    def __init__(self, *factors: Size | float) -> None:
        super().__init__()
        self._constant = math.prod(factor for factor in factors if isinstance(factor, int | float))
        # Looked at in every forward pass: children take longer to find.
        self._sizes = tuple(factor for factor in factors if not isinstance(factor, int | float))
        for i, size in enumerate(self._sizes):
            self.add_module(str(i), size)

    @property
    def values(self) -> tuple[int, ...]:
        """All products, increasing."""
        combined = itertools.product(*(size.values for size in self._sizes))
        return tuple(sorted({_times(self._constant, *factors) for factors in combined}))

    @property
    def value(self) -> int:
        """The product of the sizes that are set."""
        return _times(self._constant, *(size.value for size in self._sizes))

    @property
    def is_decided(self) -> bool:
        """Whether all factors are set."""
        return all(map(is_decided, self._sizes))

    def __mul__(self, other: Size | float) -> ElasticProduct:
        """Multiply with another size or a number."""
        return ElasticProduct(self, other)

    __rmul__ = __mul__


Size: TypeAlias = int | Elastic | ElasticProduct
"""What elastic layers take: a number, or one that is decided."""


class ChosenSize(nn.Module):
    """What an `Elastic` becomes in a network that holds one outside of elastic layers.

    Parameters
    ----------
    value : int or float
        The size.

    Examples
    --------
    >>> ChosenSize(8).value
    8
    """

    def __init__(self, value: int | float) -> None:
        super().__init__()
        self.value = value

    def extra_repr(self) -> str:
        """Give the size."""
        return str(self.value)


def _times(*factors: int | float) -> int:
    return scaled(1, math.prod(factors))


def no_mixture(name: str) -> str:
    """Say that a decision cannot be searched by weights.

    Parameters
    ----------
    name : str
        The decision.

    Returns
    -------
    str
        With the remedy.
    """
    return (
        f"decision {name!r} is an elastic size, which has no weighted mixture: train single paths, with a "
        "strategy such as nasx.SPOS, or choose one architecture with supernet.path(architecture)"
    )


def is_decided(size: Size) -> bool:
    """Whether a size is a number by now."""
    if isinstance(size, Elastic):
        return isinstance(size.choice, int)
    return size.is_decided if isinstance(size, ElasticProduct) else True


def current(size: Size) -> int:
    """Give the number that a size is now."""
    return size if isinstance(size, int) else int(size.value)


def largest(size: Size) -> int:
    """Give the largest number that a size can be."""
    return max(possible(size))


def possible(size: Size) -> tuple[int, ...]:
    """Give all numbers that a size can be."""
    return (size,) if isinstance(size, int) else tuple(int(value) for value in size.values)


def check_size(size: Size, name: str, *, least: int = 1, odd: bool = False) -> None:
    """Refuse what is no size of a layer.

    Parameters
    ----------
    size : int, Elastic or ElasticProduct
        What was given.
    name : str
        The argument.
    least : int, default 1
        The smallest number that it can be.
    odd : bool, default False
        Whether it has to be odd.

    Raises
    ------
    ValueError
        If it is none.
    """
    kind = "odd integer" if odd else "integer"
    values = size.values if isinstance(size, Elastic | ElasticProduct) else (size,)
    for value in values:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or value < least or (odd and value % 2 == 0):
            raise ValueError(
                f"{name} must be an {kind} of at least {least}, or an nasx.nn.Elastic of such; got {value!r}"
            )


def same(one: Size, other: Size) -> bool:
    """Whether two sizes are always equal: one decision, or one number."""
    if one is other:
        return True
    if isinstance(one, Elastic) and isinstance(other, Elastic):
        return one.name is not None and one.name == other.name and one.values == other.values
    if isinstance(one, ElasticProduct) and isinstance(other, ElasticProduct):
        return (
            len(one._sizes) == len(other._sizes)
            and one._constant == other._constant
            and all(map(same, one._sizes, other._sizes))
        )
    return isinstance(one, int) and isinstance(other, int) and one == other
